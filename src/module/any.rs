//! A tensor of floats whose number of dimensions is known at run time.

use burn::tensor::DispatchTensor;
use burn::tensor::{Device, Slice, Tensor, TensorData};

/// The most dimensions, the batch among them.
const MAX_DIMS: usize = 6;

/// A tensor of floats of 1 to 6 dimensions.
#[derive(Clone, Debug)]
pub struct AnyTensor {
    shape: Vec<usize>,
    tensor: DispatchTensor,
}

/// Evaluates `$body` with `$tensor` as a tensor of as many dimensions as `$any` has.
macro_rules! with_dims {
    ($any:expr, $tensor:ident => $body:expr) => {
        match $any.shape.len() {
            1 => with_dims!(1, $any, $tensor => $body),
            2 => with_dims!(2, $any, $tensor => $body),
            3 => with_dims!(3, $any, $tensor => $body),
            4 => with_dims!(4, $any, $tensor => $body),
            5 => with_dims!(5, $any, $tensor => $body),
            6 => with_dims!(6, $any, $tensor => $body),
            dims => panic!("a tensor of {dims} dimensions: expected 1 to {}", MAX_DIMS),
        }
    };
    ($dims:literal, $any:expr, $tensor:ident => $body:expr) => {{
        let $tensor = Tensor::<$dims>::from_dispatch($any.tensor);
        $body
    }};
}

impl<const D: usize> From<Tensor<D>> for AnyTensor {
    fn from(tensor: Tensor<D>) -> Self {
        Self {
            shape: tensor.dims().to_vec(),
            tensor: tensor.into_dispatch(),
        }
    }
}

impl AnyTensor {
    pub(crate) fn from_data(values: Vec<f32>, shape: Vec<usize>, device: &Device) -> Self {
        let flat = Tensor::<1>::from_data(TensorData::from(values.as_slice()), device);
        Self::from(flat).reshape(&shape)
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    /// Its numbers, the last dimension side by side.
    pub(crate) fn numbers(&self) -> Vec<f32> {
        let data = with_dims!(self.clone(), x => x.into_data()).convert::<f32>();
        data.try_into_vec().expect("they are 32-bit floats by now")
    }

    pub(crate) fn dtype(&self) -> burn::tensor::DType {
        with_dims!(self.clone(), x => x.dtype())
    }

    /// The tensor of so many dimensions, if it has as many.
    pub(crate) fn try_tensor<const D: usize>(self) -> Option<Tensor<D>> {
        (self.shape.len() == D).then(|| Tensor::from_dispatch(self.tensor))
    }

    /// The tensor of so many dimensions.
    ///
    /// # Panics
    ///
    /// Where it has another number of them.
    pub(crate) fn into_tensor<const D: usize>(self) -> Tensor<D> {
        let dims = self.shape.len();
        self.try_tensor()
            .unwrap_or_else(|| panic!("a tensor of {dims} dimensions: expected {D}"))
    }

    pub(crate) fn map(self, function: impl Function) -> Self {
        with_dims!(self, x => function.apply(x).into())
    }

    pub(crate) fn zip(self, other: Self, function: impl Function2) -> Self {
        assert_eq!(self.shape.len(), other.shape.len(), "as many dimensions");
        let tensor = other.tensor;
        with_dims!(self, x => function.apply(x, Tensor::from_dispatch(tensor)).into())
    }

    pub(crate) fn to_device(&self, device: &Device) -> Self {
        with_dims!(self.clone(), x => x.to_device(device).into())
    }

    pub(crate) fn reshape(self, shape: &[usize]) -> Self {
        fn to<const D: usize>(x: AnyTensor, shape: &[usize]) -> AnyTensor {
            let shape: [usize; D] = shape.try_into().expect("counted");
            with_dims!(x, x => x.reshape(shape).into())
        }
        match shape.len() {
            1 => to::<1>(self, shape),
            2 => to::<2>(self, shape),
            3 => to::<3>(self, shape),
            4 => to::<4>(self, shape),
            5 => to::<5>(self, shape),
            6 => to::<6>(self, shape),
            dims => panic!("a shape of {dims} dimensions: expected 1 to {MAX_DIMS}"),
        }
    }

    /// Dimensions of size 1 repeated.
    pub(crate) fn expand(self, shape: &[usize]) -> Self {
        fn sized<const D: usize>(x: Tensor<D>, shape: &[usize]) -> AnyTensor {
            let shape: [usize; D] = shape.try_into().expect("as many dimensions");
            x.expand(shape).into()
        }
        with_dims!(self, x => sized(x, shape))
    }

    pub(crate) fn permute(self, axes: &[usize]) -> Self {
        fn ordered<const D: usize>(x: Tensor<D>, axes: &[usize]) -> AnyTensor {
            let axes: [usize; D] = axes.try_into().expect("as many dimensions");
            x.permute(axes.map(|axis| axis as isize)).into()
        }
        with_dims!(self, x => ordered(x, axes))
    }

    pub(crate) fn slice(self, axis: usize, slice: Slice) -> Self {
        with_dims!(self, x => x.slice_dim(axis, slice).into())
    }

    pub(crate) fn pad(self, sides: &[(usize, usize)], value: f32) -> Self {
        fn padded<const D: usize>(x: Tensor<D>, sides: &[(usize, usize)], value: f32) -> AnyTensor {
            let sides: [(usize, usize); D] = sides.try_into().expect("as many dimensions");
            x.pad(sides, burn::tensor::ops::PadMode::Constant(value)).into()
        }
        with_dims!(self, x => padded(x, sides, value))
    }

    /// Tensors side by side. There is one at least.
    pub(crate) fn cat(mut tensors: Vec<Self>, axis: usize) -> Self {
        fn joined<const D: usize>(first: Tensor<D>, rest: Vec<AnyTensor>, axis: usize) -> AnyTensor {
            let all = std::iter::once(first).chain(rest.into_iter().map(AnyTensor::into_tensor));
            Tensor::cat(all.collect(), axis).into()
        }
        let first = tensors.remove(0);
        with_dims!(first, x => joined(x, tensors, axis))
    }
}

/// A function of a tensor of any number of dimensions, which it keeps.
pub(crate) trait Function {
    fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D>;
}

/// A function of two tensors of the same, any number of dimensions.
pub(crate) trait Function2 {
    fn apply<const D: usize>(&self, x: Tensor<D>, y: Tensor<D>) -> Tensor<D>;
}
