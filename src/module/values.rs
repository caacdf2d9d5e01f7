//! What a forward pass takes and gives: one tensor, or several.

use burn::backend::Capture;
use burn::tensor::{Device, Tensor};
use burn_ir::TensorId;

use super::any::AnyTensor;

/// One tensor, a tuple of up to four, or a vector of them, as a forward pass takes or gives.
///
/// Implemented for `Tensor<D>`, tuples of what it is implemented for, and `Vec<Tensor<D>>`. Not for other types.
pub trait Values: Sized + sealed::Recorded {
    /// The sizes of the dimensions: `[usize; D]` of one tensor, and a tuple or a vector of them of several.
    type Shapes: Clone + std::fmt::Debug;

    #[doc(hidden)]
    fn zeros(shapes: &Self::Shapes, sealed: &sealed::Sealed) -> Self;

    #[doc(hidden)]
    fn sizes(shapes: &Self::Shapes, found: &mut Vec<Vec<usize>>);

    /// The shapes with this many in the batch, the first dimension.
    #[doc(hidden)]
    fn with_batch(shapes: &Self::Shapes, batch: usize) -> Self::Shapes;
}

pub(crate) mod sealed {
    use super::*;

    /// What only this crate makes.
    #[derive(Debug)]
    pub struct Sealed(pub(crate) Device);

    /// Tensors on the device that records.
    pub trait Recorded: Sized {
        #[doc(hidden)]
        fn on(self, device: &Device) -> Self;

        #[doc(hidden)]
        fn ids(&self, found: &mut Vec<TensorId>);

        #[doc(hidden)]
        fn into_any(self, found: &mut Vec<AnyTensor>);

        #[doc(hidden)]
        fn from_any(tensors: &mut std::vec::IntoIter<AnyTensor>) -> Option<Self>;
    }
}

use sealed::{Recorded, Sealed};

/// The id of a tensor on the device that records.
pub(super) fn id<const D: usize>(tensor: Tensor<D>) -> TensorId {
    let tensor = tensor.try_into_primitive::<Capture>();
    tensor.expect("it is on the device that records").id()
}

impl<const D: usize> Recorded for Tensor<D> {
    fn on(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn ids(&self, found: &mut Vec<TensorId>) {
        found.push(id(self.clone()));
    }

    fn into_any(self, found: &mut Vec<AnyTensor>) {
        found.push(self.into());
    }

    fn from_any(tensors: &mut std::vec::IntoIter<AnyTensor>) -> Option<Self> {
        tensors.next()?.try_tensor()
    }
}

impl<const D: usize> Values for Tensor<D> {
    type Shapes = [usize; D];

    fn zeros(shapes: &[usize; D], sealed: &Sealed) -> Self {
        Tensor::zeros(*shapes, &sealed.0)
    }

    fn sizes(shapes: &[usize; D], found: &mut Vec<Vec<usize>>) {
        found.push(shapes.to_vec());
    }

    fn with_batch(shapes: &[usize; D], batch: usize) -> [usize; D] {
        let mut shapes = *shapes;
        if let Some(first) = shapes.first_mut() {
            *first = batch;
        }
        shapes
    }
}

impl<const D: usize> Recorded for Vec<Tensor<D>> {
    fn on(self, device: &Device) -> Self {
        self.into_iter().map(|tensor| tensor.on(device)).collect()
    }

    fn ids(&self, found: &mut Vec<TensorId>) {
        self.iter().for_each(|tensor| tensor.ids(found));
    }

    fn into_any(self, found: &mut Vec<AnyTensor>) {
        self.into_iter().for_each(|tensor| tensor.into_any(found));
    }

    fn from_any(tensors: &mut std::vec::IntoIter<AnyTensor>) -> Option<Self> {
        tensors.map(AnyTensor::try_tensor).collect()
    }
}

impl<const D: usize> Values for Vec<Tensor<D>> {
    type Shapes = Vec<[usize; D]>;

    fn zeros(shapes: &Self::Shapes, sealed: &Sealed) -> Self {
        shapes
            .iter()
            .map(|shape| Tensor::zeros(*shape, &sealed.0))
            .collect()
    }

    fn sizes(shapes: &Self::Shapes, found: &mut Vec<Vec<usize>>) {
        found.extend(shapes.iter().map(|shape| shape.to_vec()));
    }

    fn with_batch(shapes: &Self::Shapes, batch: usize) -> Self::Shapes {
        shapes
            .iter()
            .map(|shape| Tensor::<D>::with_batch(shape, batch))
            .collect()
    }
}

macro_rules! tuples {
    ($(($($kind:ident $n:tt),+))+) => {$(
        impl<$($kind: Recorded),+> Recorded for ($($kind,)+) {
            fn on(self, device: &Device) -> Self {
                ($(self.$n.on(device),)+)
            }

            fn ids(&self, found: &mut Vec<TensorId>) {
                $(self.$n.ids(found);)+
            }

            fn into_any(self, found: &mut Vec<AnyTensor>) {
                $(self.$n.into_any(found);)+
            }

            fn from_any(tensors: &mut std::vec::IntoIter<AnyTensor>) -> Option<Self> {
                Some(($($kind::from_any(tensors)?,)+))
            }
        }

        impl<$($kind: Values),+> Values for ($($kind,)+) {
            type Shapes = ($($kind::Shapes,)+);

            fn zeros(shapes: &Self::Shapes, sealed: &Sealed) -> Self {
                ($($kind::zeros(&shapes.$n, sealed),)+)
            }

            fn sizes(shapes: &Self::Shapes, found: &mut Vec<Vec<usize>>) {
                $($kind::sizes(&shapes.$n, found);)+
            }

            fn with_batch(shapes: &Self::Shapes, batch: usize) -> Self::Shapes {
                ($($kind::with_batch(&shapes.$n, batch),)+)
            }
        }
    )+};
}
tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}
