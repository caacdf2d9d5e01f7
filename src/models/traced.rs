use burn::module::Module;
use burn::tensor::Tensor;
use burn_ir::{ModuleOperationIr, OperationIr};

use crate::Error;
use crate::mapping::ConvLayer;
use crate::trace::{Convolution, Trace};

/// The 2-D convolutions of any module, for the mapper: by the paths of their weights, in the order in which `forward` computes
/// them for an input of this shape, one for each time it does. Linear layers are none.
///
/// # Errors
///
/// [`Error::Graph`] where the forward pass cannot be recorded.
///
/// ```
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::mapping::{MappingConfig, Method, PimArray, map_network};
/// use vwc_sdk::models::conv_layers;
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let conv = Conv2dConfig::new([16, 32], [3, 3]).init(&Device::default());
/// let layers = conv_layers(&conv, [1, 16, 14, 14], |conv: &Conv2d, x: Tensor<4>| conv.forward(x))?;
/// assert_eq!((layers[0].in_channels, layers[0].out_channels), (16, 32));
/// let config = MappingConfig::new(PimArray::new(512, 256)?);
/// assert!(map_network(&layers, Method::VwSdk, &config)?[0].cycles > 0);
/// # Ok(())
/// # }
/// ```
pub fn conv_layers<M: Module, const D: usize, const E: usize>(
    module: &M,
    input: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
) -> Result<Vec<ConvLayer>, Error> {
    let trace = Trace::record(module, input, forward)?;
    Ok(traced_layers(&trace)
        .into_iter()
        .map(|(_, layer)| layer)
        .collect())
}

/// As [`conv_layers`], each with its weight's place among the parameters.
pub(crate) fn traced_layers(trace: &Trace) -> Vec<(Option<usize>, ConvLayer)> {
    let layer = |(n, operation): (usize, &OperationIr)| {
        let OperationIr::Module(ModuleOperationIr::Conv2d(op)) = operation else {
            return None;
        };
        let Convolution {
            x, weight, groups, ..
        } = Convolution::of(operation)?;
        let parameter = trace.parameter(weight.id);
        let name = match parameter {
            Some(n) => trace.parameters[n].path.trim_end_matches(".weight").to_owned(),
            None => format!("operation {n}"),
        };
        let [(top, bottom), (left, right)] = op.options.padding;
        let layer = ConvLayer {
            name,
            input: [x.shape[2], x.shape[3]],
            kernel: [weight.shape[2], weight.shape[3]],
            stride: op.options.stride,
            padding: [top, bottom, left, right].into(),
            dilation: op.options.dilation,
            groups,
            in_channels: x.shape[1],
            out_channels: weight.shape[0],
        };
        Some((parameter, layer))
    };
    trace.operations.iter().enumerate().filter_map(layer).collect()
}
