//! Constants of integers, as quantised networks hold their weights.

use std::sync::Arc;

use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// The numbers of `UINT2` and `INT2` among ONNX's types, which tract's version of ONNX ends before.
const UINT2: i32 = 25;
const INT2: i32 = 26;

/// Integers of a file, whose numbers are missing where shapes alone are wanted.
#[derive(Clone)]
pub(super) struct Integers {
    pub name: String,
    pub dims: Vec<usize>,
    /// ONNX's number of their type.
    pub kind: i32,
    pub values: Option<Arc<[i32]>>,
}

/// How many bits integers of a type have, and whether one may be below zero. `None` of other types.
pub(super) fn bits(kind: i32) -> Option<(u32, bool)> {
    Some(match DataType::try_from(kind) {
        Ok(DataType::Uint4) => (4, false),
        Ok(DataType::Int4) => (4, true),
        Ok(DataType::Uint8) => (8, false),
        Ok(DataType::Int8) => (8, true),
        Ok(DataType::Uint16) => (16, false),
        Ok(DataType::Int16) => (16, true),
        Ok(DataType::Int32) => (32, true),
        Err(_) if kind == UINT2 => (2, false),
        Err(_) if kind == INT2 => (2, true),
        _ => return None,
    })
}

/// The integers of a tensor. `numbers`: how many there are. `None` where it holds another number of them.
pub(super) fn integers(tensor: &TensorProto, numbers: usize) -> Option<Vec<i32>> {
    let (bits, signed) = bits(tensor.data_type)?;
    let low: &dyn Fn(u32) -> i32 = &|raw| {
        let above = 32 - bits;
        let raw = raw << above;
        if signed {
            raw as i32 >> above
        } else {
            (raw >> above) as i32
        }
    };
    // Less than a byte: the first number is in the lowest bits.
    let split = |bytes: &mut dyn Iterator<Item = u32>| -> Option<Vec<i32>> {
        let each = (8 / bits) as usize;
        let mut found = Vec::new();
        for byte in bytes {
            found.extend((0..each).map(|n| low(byte >> (n as u32 * bits))));
        }
        (found.len() == numbers.div_ceil(each) * each).then(|| {
            found.truncate(numbers);
            found
        })
    };
    let raw = &tensor.raw_data;
    if raw.is_empty() {
        let mut listed = tensor.int32_data.iter().map(|&number| number as u32);
        return if bits < 8 {
            split(&mut listed)
        } else {
            (listed.len() == numbers).then(|| listed.map(low).collect())
        };
    }
    if bits < 8 {
        return split(&mut raw.iter().map(|&byte| byte.into()));
    }
    let width = bits as usize / 8;
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0u32, |all, &byte| all << 8 | u32::from(byte))
    };
    (raw.len() == numbers.checked_mul(width)?)
        .then(|| raw.chunks_exact(width).map(|bytes| low(number(bytes))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(kind: i32, raw: &[u8]) -> TensorProto {
        TensorProto {
            data_type: kind,
            raw_data: raw.to_vec(),
            ..TensorProto::default()
        }
    }

    #[test]
    fn integers_of_all_widths_are_read() {
        let (uint4, int4) = (DataType::Uint4 as i32, DataType::Int4 as i32);
        assert_eq!(integers(&held(uint4, &[0x21, 0x0f]), 3), Some(vec![1, 2, 15]));
        assert_eq!(integers(&held(int4, &[0x87, 0x0f]), 3), Some(vec![7, -8, -1]));
        assert_eq!(
            integers(&held(INT2, &[0b11_10_01_00]), 4),
            Some(vec![0, 1, -2, -1])
        );
        assert_eq!(integers(&held(UINT2, &[0b11_10_01_00]), 3), Some(vec![0, 1, 2]));
        assert_eq!(
            integers(&held(DataType::Int8 as i32, &[0xff, 1]), 2),
            Some(vec![-1, 1])
        );
        assert_eq!(
            integers(&held(DataType::Uint8 as i32, &[0xff, 1]), 2),
            Some(vec![255, 1])
        );
        assert_eq!(
            integers(&held(DataType::Int16 as i32, &[0, 0x80]), 1),
            Some(vec![-32768])
        );
        assert_eq!(
            integers(&held(DataType::Int32 as i32, &[0xfe, 0xff, 0xff, 0xff]), 1),
            Some(vec![-2])
        );
        let listed = TensorProto {
            data_type: DataType::Int8 as i32,
            int32_data: vec![-3, 4],
            ..TensorProto::default()
        };
        assert_eq!(integers(&listed, 2), Some(vec![-3, 4]));
        // One number too few, or a type of floats.
        assert_eq!(integers(&held(uint4, &[0x21]), 3), None);
        assert_eq!(integers(&listed, 3), None);
        assert_eq!(integers(&held(DataType::Float as i32, &[0; 4]), 1), None);
    }
}
