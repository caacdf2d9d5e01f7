//! The convolutions of any module for the mapper, read off its recorded forward pass.

use std::collections::HashSet;

use burn::module::Module;
use burn::tensor::Tensor;
use burn_ir::{FloatOperationIr, ModuleOperationIr, OperationIr, TensorId};

use super::{Convolution, Trace};
use crate::Error;
use crate::mapping::ConvLayer;

/// The layers of a module, as [`conv_layers`] finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleLayers {
    /// The 2-D convolutions, by the paths of their weights, in the order in which `forward` computes them, one for each time
    /// it does.
    pub layers: Vec<ConvLayer>,
    /// What else multiplies by weights and is not mapped, in the same order: the path of the weights, and what it is.
    ///
    /// That is "linear layer" (any product with a matrix of weights), "convolution over 1 axis", "convolution over 3 axes",
    /// "transposed convolution" or "deformable convolution".
    pub left_out: Vec<(String, String)>,
}

/// The 2-D convolutions of any module, for the mapper, and what else multiplies by weights, for an input of this shape.
///
/// # Errors
///
/// [`Error::Graph`] where the forward pass cannot be recorded.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::mapping::{MappingConfig, Method, PimArray, map_network};
/// use vwc_sdk::module::conv_layers;
///
/// #[derive(Module, Debug)]
/// struct Net {
///     conv: Conv2d,
///     head: Linear,
/// }
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let device = Device::default();
/// let net = Net {
///     conv: Conv2dConfig::new([16, 32], [3, 3]).init(&device),
///     head: LinearConfig::new(32 * 12 * 12, 10).init(&device),
/// };
/// let found = conv_layers(&net, [1, 16, 14, 14], |net: &Net, x: Tensor<4>| {
///     net.head.forward(net.conv.forward(x).flatten::<2>(1, 3))
/// })?;
/// assert_eq!((found.layers[0].in_channels, found.layers[0].out_channels), (16, 32));
/// assert_eq!(found.left_out, [("head".to_owned(), "linear layer".to_owned())]);
/// let config = MappingConfig::new(PimArray::new(512, 256)?);
/// assert!(map_network(&found.layers, Method::VwSdk, &config)?[0].cycles > 0);
/// # Ok(())
/// # }
/// ```
pub fn conv_layers<M: Module, const D: usize, const E: usize>(
    module: &M,
    input: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
) -> Result<ModuleLayers, Error> {
    let trace = Trace::record(module, input, forward)?;
    Ok(ModuleLayers {
        layers: traced_layers(&trace)
            .into_iter()
            .map(|(_, layer)| layer)
            .collect(),
        left_out: left_out(&trace),
    })
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
        let [(top, bottom), (left, right)] = op.options.padding;
        let layer = ConvLayer {
            name: name(trace, parameter, n),
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

/// What multiplies by weights other than [`traced_layers`]: names, and what they are.
fn left_out(trace: &Trace) -> Vec<(String, String)> {
    // What is computed of parameters and constants alone: weights, which an input does not change.
    let parameters = trace.parameters.iter().map(|parameter| parameter.id);
    let mut weights: HashSet<TensorId> = parameters.chain(trace.constants().map(|(id, _)| id)).collect();
    let mut found = Vec::new();
    for (n, operation) in trace.operations.iter().enumerate() {
        let is_weight = |id: TensorId| weights.contains(&id);
        if operation.inputs().all(|input| is_weight(input.id)) {
            // The module's input is an `Init` like any other tensor that was there before.
            if !matches!(operation, OperationIr::Init(_)) {
                weights.extend(operation.outputs().map(|output| output.id));
            }
            continue;
        }
        let multiplied = match operation {
            OperationIr::Module(ModuleOperationIr::Conv2d(_)) => None,
            OperationIr::Module(ModuleOperationIr::Linear(op)) => {
                is_weight(op.weight.id).then(|| (op.weight.id, "linear layer".to_owned()))
            }
            OperationIr::Module(ModuleOperationIr::DeformableConv2d(op)) => {
                Some((op.weight.id, "deformable convolution".to_owned()))
            }
            OperationIr::Float(_, FloatOperationIr::Matmul(op)) => [op.lhs.id, op.rhs.id]
                .into_iter()
                .find(|id| is_weight(*id))
                .map(|id| (id, "linear layer".to_owned())),
            _ => Convolution::of(operation).map(|conv| (conv.weight.id, kind(&conv))),
        };
        if let Some((weight, what)) = multiplied {
            found.push((name(trace, trace.parameter(weight), n), what));
        }
    }
    found
}

/// What a convolution is that is not one over two axes.
fn kind(conv: &Convolution) -> String {
    if conv.transposed {
        return "transposed convolution".into();
    }
    match conv.x.shape.num_dims() - 2 {
        1 => "convolution over 1 axis".into(),
        axes => format!("convolution over {axes} axes"),
    }
}

/// The path of the layer whose weight this parameter is, or the operation's number.
fn name(trace: &Trace, parameter: Option<usize>, operation: usize) -> String {
    match parameter {
        Some(n) => trace.parameters[n].path.trim_end_matches(".weight").to_owned(),
        None => format!("operation {operation}"),
    }
}
