//! Constants of integers and truth values that no layer computes with: masks and tables of places, on their way to a constant of
//! floats.

use std::sync::Arc;

use tract_onnx::{
    data_resolver::FopenDataResolver,
    pb::{
        TensorProto,
        tensor_proto::{DataLocation, DataType},
    },
    tensor::load_tensor,
    tract_hir::internal::{DatumType, Tensor},
};

use crate::panics::attempt;

/// Integers of 64 bits or truth values. They are missing where shapes alone are wanted.
#[derive(Clone)]
pub(super) struct Fixed {
    pub dims: Vec<usize>,
    pub numbers: Option<Arc<Tensor>>,
}

impl Fixed {
    /// Whether numbers of an element type are held like this.
    pub fn holds(kind: i32) -> bool {
        matches!(
            DataType::try_from(kind),
            Ok(DataType::Int64 | DataType::Int32 | DataType::Bool)
        )
    }

    /// The constant of a file. `None` where it does not hold its numbers.
    pub fn of(tensor: &TensorProto, dims: &[usize], sketch: bool) -> Option<Self> {
        let count = dims.iter().try_fold(1usize, |all, &size| all.checked_mul(size))?;
        let (width, listed) = match DataType::try_from(tensor.data_type) {
            Ok(DataType::Int64) => (8, tensor.int64_data.len()),
            Ok(DataType::Int32) => (4, tensor.int32_data.len()),
            _ => (1, tensor.int32_data.len()),
        };
        let here = tensor.data_location != Some(DataLocation::External as i32);
        let whole = match tensor.raw_data.len() {
            0 => listed == count,
            raw => Some(raw) == count.checked_mul(width),
        };
        if !here || !whole {
            // A sketch is made of files without their larger constants.
            return sketch.then(|| Self {
                dims: dims.to_vec(),
                numbers: None,
            });
        }
        let loaded = attempt(|| load_tensor(&FopenDataResolver, tensor, None).ok());
        Self::of_tensor(&loaded.ok().flatten()?)
    }

    /// Integers of any width, or truth values.
    pub fn of_tensor(tensor: &Tensor) -> Option<Self> {
        let kind = match tensor.datum_type() {
            DatumType::Bool => DatumType::Bool,
            kind if kind.is_integer() || kind.is_tdim() => DatumType::I64,
            _ => return None,
        };
        let cast = tensor.cast_to_dt(kind).ok()?.into_owned();
        Some(Self {
            dims: cast.shape().to_vec(),
            numbers: Some(Arc::new(cast)),
        })
    }

    /// Integers in rows of this shape.
    pub fn integers(dims: &[usize], numbers: &[i64]) -> Option<Self> {
        let tensor = Tensor::from_shape(dims, numbers).ok()?;
        Some(Self {
            dims: dims.to_vec(),
            numbers: Some(Arc::new(tensor)),
        })
    }

    /// The integers, the last dimension side by side.
    pub fn whole(&self) -> Option<&[i64]> {
        let plain = self.numbers.as_ref()?.try_as_plain_ram().ok()?;
        plain.as_slice::<i64>().ok()
    }
}
