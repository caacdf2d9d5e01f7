//! What a name of the file stands for: a value for each picture, a constant, or integers that say a shape.

use std::sync::Arc;

use tract_onnx::{
    data_resolver::FopenDataResolver,
    pb::{
        TensorProto,
        tensor_proto::{DataLocation, DataType},
    },
    tensor::load_tensor,
};

pub(super) use super::data::Data;
use super::fixed::Fixed;
use super::index::Index;
use super::integers::{Integers, bits, integers};
pub(super) use super::size::{MAX_SIZES, Made, Size, Sizes};
use super::turned::TURNED;
use crate::graph::{Constant, InFile};
use crate::onnx::paths::is_parameter;
use crate::panics::attempt;

/// The longest name of a constant, in bytes. Each use of it has the name once more.
const MAX_NAME: usize = 1000;

/// A constant of floats, whose numbers are missing where shapes alone are wanted.
#[derive(Clone)]
pub(super) struct Tensor {
    pub name: String,
    pub dims: Vec<usize>,
    pub values: Option<Arc<[f32]>>,
    /// Whether it is a matrix of the file with rows and columns exchanged.
    pub turned: bool,
    /// The file's parameter that it is, where it is one.
    pub parameter: Option<Parameter>,
}

/// A parameter of the file, as it stands there.
#[derive(Clone)]
pub(super) struct Parameter {
    pub name: String,
    pub dims: Vec<usize>,
}

impl Tensor {
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Its numbers in rows of this shape.
    pub fn constant(&self, shape: impl Into<Vec<usize>>) -> Constant {
        let none = || Arc::from(Vec::new());
        let constant = Constant::new(shape, self.values.clone().unwrap_or_else(none)).named(&self.name);
        // One that was repeated is no parameter as it stands.
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let parameter = self.parameter.as_ref();
        match parameter.filter(|parameter| count(&parameter.dims) == count(constant.shape())) {
            None => constant,
            Some(Parameter { name, dims }) => {
                let own = self.name.strip_suffix(TURNED).filter(|_| self.turned);
                let other = own.unwrap_or(&self.name) != name;
                constant.held_as(InFile {
                    shape: dims.clone(),
                    turned: self.turned,
                    name: other.then(|| name.clone()),
                })
            }
        }
    }

    /// Numbers computed of these, under the same name.
    pub fn map(&self, number: impl Fn(f32) -> f32) -> Self {
        Self {
            values: (self.values.as_ref()).map(|values| values.iter().map(|&x| number(x)).collect()),
            ..self.clone()
        }
    }
}

#[derive(Clone)]
pub(super) enum Value {
    Data(Data),
    Held(Tensor),
    Sizes(Sizes),
    /// Constants of a quantised network.
    Integers(Integers),
    /// Other constants of integers and truth values.
    Fixed(Fixed),
    /// Places of numbers of all pictures.
    Index(Index),
    /// Parts of a value, one after the other.
    Sequence(Vec<Data>),
}

impl From<Data> for Value {
    fn from(data: Data) -> Self {
        Self::Data(data)
    }
}

/// Whether numbers of an element type are floats.
pub(super) fn is_float(element_type: i32) -> bool {
    matches!(
        DataType::try_from(element_type),
        Ok(DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16)
    )
}

/// A constant of the file. Of a `sketch` the numbers are not looked at.
pub(super) fn decode(name: &str, tensor: &TensorProto, sketch: bool) -> Made<Value> {
    let refuse = |what: &str| format!("reads the constant `{name}`, {what}");
    if tensor.dims == [0] && tensor.data_type == DataType::Int64 as i32 {
        return Ok(Value::Sizes(Sizes::row(Vec::new())));
    }
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.filter(|dims| dims.iter().all(|&dim| dim > 0));
    let dims = dims.ok_or_else(|| refuse("which holds nothing"))?;
    let numbers = dims.iter().try_fold(1usize, |all, &dim| all.checked_mul(dim));
    let numbers = numbers.ok_or_else(|| refuse("which is too large"))?;
    if name.len() > MAX_NAME {
        return Err(format!(
            "reads a constant with a name of more than {MAX_NAME} bytes"
        ));
    }
    let held = |values| {
        Value::Held(Tensor {
            name: name.to_owned(),
            dims: dims.clone(),
            values,
            turned: false,
            parameter: is_parameter(name, numbers).then(|| Parameter {
                name: name.to_owned(),
                dims: dims.clone(),
            }),
        })
    };
    let kind = tensor.data_type;
    let whole = |values| {
        Value::Integers(Integers {
            name: name.to_owned(),
            dims: dims.clone(),
            kind,
            values,
        })
    };
    let can_say_a_shape = dims.len() <= 1 && numbers <= MAX_SIZES;
    let of_integers = bits(kind)
        .filter(|&(bits, _)| bits < 32 || !can_say_a_shape)
        .is_some();
    let wrong_count = || {
        refuse(
            "which does not hold as many numbers as its dimensions say: the file is damaged, export it again",
        )
    };
    if Fixed::holds(kind) && !of_integers && (kind == DataType::Bool as i32 || !can_say_a_shape) {
        let fixed = Fixed::of(tensor, &dims, sketch);
        return fixed.map(Value::Fixed).ok_or_else(wrong_count);
    }
    if sketch && is_float(kind) {
        return Ok(held(None));
    }
    if sketch && of_integers {
        return Ok(whole(None));
    }
    if tensor.data_location == Some(DataLocation::External as i32) {
        return Err(refuse(
            "whose numbers are in another file: read it by its path (`import_graph_from`), or export the network with its \
             weights inside",
        ));
    }
    if of_integers {
        let values = integers(tensor, numbers).ok_or_else(wrong_count)?;
        return Ok(whole(Some(values.into())));
    }
    let wide = |bytes: usize, listed: usize| match tensor.raw_data.len() {
        0 => listed == numbers,
        raw => Some(raw) == numbers.checked_mul(bytes),
    };
    let (known, sizes) = match DataType::try_from(kind) {
        Ok(DataType::Float) => (wide(4, tensor.float_data.len()), false),
        Ok(DataType::Float16 | DataType::Bfloat16) => (wide(2, tensor.int32_data.len()), false),
        Ok(DataType::Double) => (wide(8, tensor.double_data.len()), false),
        Ok(DataType::Int64) => (wide(8, tensor.int64_data.len()), true),
        Ok(DataType::Int32) => (wide(4, tensor.int32_data.len()), true),
        _ => {
            return Err(refuse(
                "whose numbers are no floats of 16 bits or more, and no integers of 2 to 32 bits",
            ));
        }
    };
    if !known {
        return Err(wrong_count());
    }
    if kind == DataType::Bfloat16 as i32 {
        return Ok(held(Some(brain_floats(tensor))));
    }
    let failed = || refuse("whose numbers cannot be read");
    let loaded = attempt(|| load_tensor(&FopenDataResolver, tensor, None).ok());
    let loaded = loaded.ok().flatten().ok_or_else(failed)?;
    if sizes {
        let cast = loaded.cast_to::<i64>().map_err(|_| failed())?;
        let plain = cast.try_as_plain_ram().map_err(|_| failed())?;
        let sizes = plain.as_slice::<i64>().map_err(|_| failed())?;
        return Ok(Value::Sizes(Sizes {
            row: dims.len() == 1,
            sizes: sizes.iter().map(|&size| Size::Whole(size)).collect(),
        }));
    }
    let cast = loaded.cast_to::<f32>().map_err(|_| failed())?;
    let plain = cast.try_as_plain_ram().map_err(|_| failed())?;
    let values = plain.as_slice::<f32>().map_err(|_| failed())?;
    Ok(held(Some(values.into())))
}

/// Floats that are the upper halves of those of 32 bits. tract does not know them.
fn brain_floats(tensor: &TensorProto) -> Arc<[f32]> {
    let float = |upper: u16| f32::from_bits(u32::from(upper) << 16);
    if tensor.raw_data.is_empty() {
        return tensor
            .int32_data
            .iter()
            .map(|&upper| float(upper as u16))
            .collect();
    }
    let pairs = tensor.raw_data.chunks_exact(2);
    pairs
        .map(|pair| float(u16::from_le_bytes([pair[0], pair[1]])))
        .collect()
}
