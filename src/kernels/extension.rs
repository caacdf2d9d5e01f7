//! The kernels as operations of Burn's `flex` backend, with their gradients.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Shape, TensorData};

use super::buffer::{Buffer, Codes};
use super::conv::{self, OutputGradient};
use super::dropout::DropoutMask;
use super::grouped;
use super::integer::{Grids, OnGrid};
use super::multiples::{self, Multiples};
use super::norm::{self, Act, Affine, NormShape};
use super::optimizer::{AdamStep, adam};
use super::pictures::{Pictures, channels_last};
use super::shape::ConvShape;
use super::sum;
use super::weight::{WeightScale, quantize_weight, quantize_weight_backward};

/// Stride, padding, dilation and groups of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvSteps {
    pub stride: [usize; 2],
    /// At top and bottom, and at left and right.
    pub padding: [(usize, usize); 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

impl ConvSteps {
    /// Without dilation and groups, and with opposite sides padded alike.
    pub fn whole(stride: [usize; 2], padding: [usize; 2]) -> Self {
        Self {
            stride,
            padding: padding.map(|side| (side, side)),
            dilation: [1, 1],
            groups: 1,
        }
    }
}

impl From<&ConvOptions<2>> for ConvSteps {
    fn from(options: &ConvOptions<2>) -> Self {
        Self {
            stride: options.stride,
            padding: options.padding,
            dilation: options.dilation,
            groups: options.groups,
        }
    }
}

/// How weights are quantised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightLevels {
    /// Steps of the unit interval, where anything is rounded.
    pub levels: Option<u32>,
    /// The smallest `max|tanh W|` that is divided by.
    pub smallest: f32,
}

/// A convolution whose weights and activations are quantised.
#[derive(Clone, Debug)]
pub(crate) struct QuantSteps {
    pub steps: ConvSteps,
    pub weight: WeightLevels,
    pub grids: Grids,
}

/// What follows a convolution, batch norm aside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolAct {
    pub pool: bool,
    pub act: Act,
}

/// Operations on feature maps, `[batch, channels, height, width]`, in 32 bits.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait KernelOps: Backend {
    /// A convolution without bias, of codes where it has grids.
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        steps: ConvSteps,
        grids: Option<Grids>,
    ) -> FloatTensor<Self>;

    /// A convolution with bias, of codes where it has grids.
    fn kernel_conv2d_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        steps: ConvSteps,
        grids: Option<Grids>,
    ) -> FloatTensor<Self>;

    /// A convolution with quantised weights, given latent.
    fn kernel_quant_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        steps: QuantSteps,
    ) -> FloatTensor<Self>;

    /// A convolution with bias, a 2x2 max-pool and an activation.
    fn kernel_conv2d_pool(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        steps: ConvSteps,
        act: Act,
    ) -> FloatTensor<Self>;

    /// Quantised weights, of any shape.
    fn kernel_quantize_weight(weight: FloatTensor<Self>, levels: WeightLevels) -> FloatTensor<Self>;

    /// Multiples of a step, `[1]`, above zero, of any shape.
    fn kernel_multiples(x: FloatTensor<Self>, step: FloatTensor<Self>, codes: Multiples)
    -> FloatTensor<Self>;

    /// Dropout.
    fn kernel_dropout(x: FloatTensor<Self>, mask: DropoutMask) -> FloatTensor<Self>;

    /// The activation of a sum of two of the same shape.
    fn kernel_sum_act(a: FloatTensor<Self>, b: FloatTensor<Self>, act: Act) -> FloatTensor<Self>;

    /// Pool and activation.
    fn kernel_pool_act(x: FloatTensor<Self>, pool_act: PoolAct) -> FloatTensor<Self>;

    /// Batch norm with the batch's own statistics, pool and activation; with it mean and variance, which carry no
    /// gradient.
    fn kernel_norm_pool_act(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        pool_act: PoolAct,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Operations that no gradient goes through.
#[backend_extension(Flex)]
pub(crate) trait ConstantOps: Backend {
    /// Batch norm with the given statistics, pool and activation.
    fn kernel_fixed_norm_pool_act(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        epsilon: f64,
        pool_act: PoolAct,
    ) -> FloatTensor<Self>;

    /// Parameter, mean and mean square after a step of Adam.
    fn kernel_adam(
        parameter: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        square: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl ConstantOps for Flex {
    fn kernel_fixed_norm_pool_act(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        epsilon: f64,
        pool_act: PoolAct,
    ) -> FlexTensor {
        let shape = norm_shape(&x, pool_act);
        let [gamma, beta, mean, variance] =
            [gamma, beta, mean, variance].map(|tensor| tensor.to_contiguous());
        let mean = numbers(&mean).to_vec();
        let affine = Affine::new(mean, numbers(&variance), numbers(&gamma), numbers(&beta), epsilon);
        norm_forward(&shape, &to_channels_last(x), Some(&affine))
    }

    fn kernel_adam(
        parameter: FlexTensor,
        grad: FlexTensor,
        mean: FlexTensor,
        square: FlexTensor,
        step: AdamStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let shape = parameter.shape();
        let len = shape.num_elements();
        let [parameter, grad, mean, square] =
            [parameter, grad, mean, square].map(|tensor| tensor.to_contiguous());
        let mut after = [(); 3].map(|()| Buffer::unwritten(len));
        let [to_parameter, to_mean, to_square] = &mut after;
        adam(
            step,
            [&parameter, &mean, &square].map(numbers),
            numbers(&grad),
            [to_parameter, to_mean, to_square],
        );
        let [parameter, mean, square] = after.map(|numbers| tensor(numbers, shape.clone()));
        (parameter, mean, square)
    }
}

impl KernelOps for Flex {
    fn kernel_conv2d(
        x: FlexTensor,
        weight: FlexTensor,
        steps: ConvSteps,
        grids: Option<Grids>,
    ) -> FlexTensor {
        conv2d(x, weight, None, steps, grids.as_ref())
    }

    fn kernel_conv2d_bias(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        steps: ConvSteps,
        grids: Option<Grids>,
    ) -> FlexTensor {
        conv2d(x, weight, Some(bias), steps, grids.as_ref())
    }

    fn kernel_quant_conv2d(x: FlexTensor, weight: FlexTensor, steps: QuantSteps) -> FlexTensor {
        quant_conv2d(x, &weight.to_contiguous(), &steps).0
    }

    fn kernel_conv2d_pool(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        steps: ConvSteps,
        act: Act,
    ) -> FlexTensor {
        conv2d_pool(x, weight, bias, steps, act).0
    }

    fn kernel_quantize_weight(weight: FlexTensor, levels: WeightLevels) -> FlexTensor {
        quantized(&weight.to_contiguous(), levels).weight
    }

    fn kernel_multiples(x: FlexTensor, step: FlexTensor, codes: Multiples) -> FlexTensor {
        multiples(&rounded_in(x, codes), numbers(&step)[0], codes)
    }

    fn kernel_dropout(x: FlexTensor, mask: DropoutMask) -> FlexTensor {
        dropout(to_channels_last(x), mask)
    }

    fn kernel_sum_act(a: FlexTensor, b: FlexTensor, act: Act) -> FlexTensor {
        sum_act(a, b, act, false).0
    }

    fn kernel_pool_act(x: FlexTensor, pool_act: PoolAct) -> FlexTensor {
        let shape = norm_shape(&x, pool_act);
        norm_forward(&shape, &to_channels_last(x), None)
    }

    fn kernel_norm_pool_act(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f64,
        pool_act: PoolAct,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let shape = norm_shape(&x, pool_act);
        let normed = normed(&shape, &to_channels_last(x), gamma, beta, epsilon);
        (normed.output, normed.mean, normed.variance)
    }
}

impl<C: CheckpointStrategy> KernelOps for Autodiff<Flex, C> {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        steps: ConvSteps,
        grids: Option<Grids>,
    ) -> FloatTensor<Self> {
        let prep = Conv2d.prepare::<C>([x.node(), weight.node()]);
        let (x, weight, grids) = (x.into_primitive(), weight.into_primitive(), grids.as_ref());
        match prep.compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = conv2d(x.clone(), weight.clone(), None, steps, grids);
                prep.finish((x, weight, steps), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(conv2d(x, weight, None, steps, grids)),
        }
    }

    fn kernel_conv2d_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        steps: ConvSteps,
        grids: Option<Grids>,
    ) -> FloatTensor<Self> {
        let prep = Conv2d.prepare::<C>([x.node(), weight.node(), bias.node()]);
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
        match prep.compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = conv2d(x.clone(), weight.clone(), Some(bias), steps, grids.as_ref());
                prep.finish((x, weight, steps), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(conv2d(x, weight, Some(bias), steps, grids.as_ref())),
        }
    }

    fn kernel_quant_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        steps: QuantSteps,
    ) -> FloatTensor<Self> {
        let prep = QuantConv2d
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive().to_contiguous());
        match prep {
            OpsKind::Tracked(prep) => {
                let (output, quantized) = quant_conv2d(x.clone(), &weight, &steps);
                prep.finish((x, weight, quantized, steps.steps), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(quant_conv2d(x, &weight, &steps).0),
        }
    }

    fn kernel_conv2d_pool(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        steps: ConvSteps,
        act: Act,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let prep = Conv2dPool.prepare::<C>(nodes).compute_bound().stateful();
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
        let (output, codes) = conv2d_pool(x.clone(), weight.clone(), bias, steps, act);
        match prep {
            OpsKind::Tracked(prep) => prep.finish((x, weight, codes.into(), steps), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn kernel_quantize_weight(weight: FloatTensor<Self>, levels: WeightLevels) -> FloatTensor<Self> {
        match QuantizeWeight
            .prepare::<C>([weight.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let weight = weight.into_primitive();
                let output = Flex::kernel_quantize_weight(weight.clone(), levels);
                prep.finish((weight, levels), output)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(Flex::kernel_quantize_weight(weight.into_primitive(), levels))
            }
        }
    }

    fn kernel_multiples(
        x: FloatTensor<Self>,
        step: FloatTensor<Self>,
        codes: Multiples,
    ) -> FloatTensor<Self> {
        let prep = RoundToMultiples
            .prepare::<C>([x.node(), step.node()])
            .compute_bound()
            .stateful();
        let x = rounded_in(x.into_primitive(), codes);
        let step = numbers(&step.into_primitive())[0];
        let output = multiples(&x, step, codes);
        match prep {
            OpsKind::Tracked(prep) => prep.finish((x, step, codes), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn kernel_dropout(x: FloatTensor<Self>, mask: DropoutMask) -> FloatTensor<Self> {
        let prep = Dropout.prepare::<C>([x.node()]).compute_bound().stateful();
        let output = Flex::kernel_dropout(x.into_primitive(), mask);
        match prep {
            OpsKind::Tracked(prep) => prep.finish(mask, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn kernel_sum_act(a: FloatTensor<Self>, b: FloatTensor<Self>, act: Act) -> FloatTensor<Self> {
        let prep = SumAct
            .prepare::<C>([a.node(), b.node()])
            .compute_bound()
            .stateful();
        let (a, b) = (a.into_primitive(), b.into_primitive());
        match prep {
            OpsKind::Tracked(prep) => {
                let (output, passes) = sum_act(a, b, act, true);
                prep.finish(passes, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(sum_act(a, b, act, false).0),
        }
    }

    fn kernel_pool_act(x: FloatTensor<Self>, pool_act: PoolAct) -> FloatTensor<Self> {
        match NormPoolAct.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                let shape = norm_shape(&x, pool_act);
                let x = to_channels_last(x);
                let output = norm_forward(&shape, &x, None);
                prep.finish((x, None, pool_act), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::kernel_pool_act(x.into_primitive(), pool_act)),
        }
    }

    fn kernel_norm_pool_act(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        pool_act: PoolAct,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let prep = NormPoolAct.prepare::<C>(nodes).compute_bound().stateful();
        let x = x.into_primitive();
        let shape = norm_shape(&x, pool_act);
        let x = to_channels_last(x);
        let normed = normed(&shape, &x, gamma.into_primitive(), beta.into_primitive(), epsilon);
        let output = match prep {
            OpsKind::Tracked(prep) => prep.finish((x, Some(normed.affine), pool_act), normed.output),
            OpsKind::UnTracked(prep) => prep.finish(normed.output),
        };
        let constant = |tensor| <Self as burn::backend::AutodiffBackend>::from_inner(tensor);
        (output, constant(normed.mean), constant(normed.variance))
    }
}

/// Of input, weight and, with three parents, bias.
#[derive(Debug)]
struct Conv2d;

impl<const N: usize> Backward<Flex, N> for Conv2d {
    type State = (FlexTensor, FlexTensor, ConvSteps);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = usable(grads.consume::<Flex>(&ops.node));
        let (x, weight, steps) = ops.state;
        let shape = conv_shape(&x, &weight, steps);
        let (x, weight) = (usable(x), weight.to_contiguous());
        if let Some(node) = &ops.parents[0] {
            grads.register::<Flex>(node.id, input_gradient(&shape, steps.groups, &dy, &weight));
        }
        if let Some(node) = &ops.parents[1] {
            let gradient = weight_gradient(&shape, steps.groups, &x, OutputGradient::Maps(pictures(&dy)));
            grads.register::<Flex>(node.id, tensor(gradient, weight.shape()));
        }
        if let Some(Some(node)) = ops.parents.get(2) {
            let mut out = Buffer::unwritten(shape.channels[1]);
            conv::backward_bias(&shape, pictures(&dy), &mut out);
            grads.register::<Flex>(node.id, tensor(out, Shape::new([shape.channels[1]])));
        }
    }
}

/// Of input and latent weight.
#[derive(Debug)]
struct QuantConv2d;

impl Backward<Flex, 2> for QuantConv2d {
    /// Input, weight, the quantised weight and what it was quantised with.
    type State = (FlexTensor, FlexTensor, Quantized, ConvSteps);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = usable(grads.consume::<Flex>(&ops.node));
        let (x, weight, quantized, steps) = ops.state;
        let shape = conv_shape(&x, &weight, steps);
        let x = usable(x);
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, input_gradient(&shape, 1, &dy, &quantized.weight));
        }
        if let Some(node) = weight_node {
            let gradient = weight_gradient(&shape, 1, &x, OutputGradient::Maps(pictures(&dy)));
            let latent = latent_gradient(&weight, quantized.scale, &gradient);
            grads.register::<Flex>(node.id, latent);
        }
    }
}

/// Of input, weight and bias.
#[derive(Debug)]
struct Conv2dPool;

impl Backward<Flex, 3> for Conv2dPool {
    type State = (FlexTensor, FlexTensor, Arc<Codes>, ConvSteps);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = to_channels_last(grads.consume::<Flex>(&ops.node));
        let (x, weight, codes, steps) = ops.state;
        let shape = conv_shape(&x, &weight, steps);
        let x = usable(x);
        let dy = numbers(&dy);
        let [x_node, weight_node, bias_node] = ops.parents;
        if let Some(node) = x_node {
            let [height, width] = shape.output();
            let mut maps_dy = Buffer::unwritten(shape.batch * height * width * shape.channels[1]);
            conv::unpool(&shape, dy, &codes, &mut maps_dy);
            let maps_dy = maps(maps_dy, shape.batch, shape.channels[1], [height, width]);
            let gradient = input_gradient(&shape, 1, &maps_dy, &weight.clone().to_contiguous());
            grads.register::<Flex>(node.id, gradient);
        }
        if let Some(node) = weight_node {
            let gradient = weight_gradient(&shape, 1, &x, OutputGradient::Pooled(dy, &codes));
            grads.register::<Flex>(node.id, tensor(gradient, weight.shape()));
        }
        if let Some(node) = bias_node {
            let mut out = Buffer::unwritten(shape.channels[1]);
            conv::backward_bias_pooled(shape.channels[1], dy, &codes, &mut out);
            grads.register::<Flex>(node.id, tensor(out, Shape::new([shape.channels[1]])));
        }
    }
}

#[derive(Debug)]
struct QuantizeWeight;

impl Backward<Flex, 1> for QuantizeWeight {
    type State = (FlexTensor, WeightLevels);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (weight, levels) = ops.state;
        let [Some(node)] = ops.parents else { return };
        let weight = weight.to_contiguous();
        let scale = WeightScale::of(numbers(&weight), levels.smallest);
        grads.register::<Flex>(node.id, latent_gradient(&weight, scale, numbers(&grad)));
    }
}

/// Of numbers and the step.
#[derive(Debug)]
struct RoundToMultiples;

impl Backward<Flex, 2> for RoundToMultiples {
    type State = (FlexTensor, f32, Multiples);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, step, codes) = ops.state;
        let dy = in_order_of(&x, grads.consume::<Flex>(&ops.node));
        let mut dx = Buffer::unwritten(numbers(&x).len());
        let slope = multiples::backward(codes, step, numbers(&x), numbers(&dy), &mut dx);
        let [x_node, step_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(
                node.id,
                FlexTensor::new(dx.into_bytes(), layout_of(&x), DType::F32),
            );
        }
        if let Some(node) = step_node {
            grads.register::<Flex>(node.id, vector(&[slope]));
        }
    }
}

#[derive(Debug)]
struct Dropout;

impl Backward<Flex, 1> for Dropout {
    type State = DropoutMask;

    fn backward(self, ops: Ops<DropoutMask, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = to_channels_last(grads.consume::<Flex>(&ops.node));
        let [Some(node)] = ops.parents else { return };
        grads.register::<Flex>(node.id, dropout(grad, ops.state));
    }
}

/// Of two values, whose gradients are the same.
#[derive(Debug)]
struct SumAct;

impl Backward<Flex, 2> for SumAct {
    /// Where a gradient passes the activation, where it does not do so everywhere.
    type State = Option<Arc<Codes>>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut dy = grads.consume::<Flex>(&ops.node);
        if let Some(passes) = ops.state {
            let last = to_channels_last(dy);
            let mut dx = Buffer::unwritten(numbers(&last).len());
            sum::backward(&passes, numbers(&last), &mut dx);
            dy = FlexTensor::new(dx.into_bytes(), layout_of(&last), DType::F32);
        }
        for node in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(node.id, dy.clone());
        }
    }
}

/// Of feature maps and, with three parents, gamma and beta.
#[derive(Debug)]
struct NormPoolAct;

impl<const N: usize> Backward<Flex, N> for NormPoolAct {
    type State = (FlexTensor, Option<Affine>, PoolAct);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = to_channels_last(grads.consume::<Flex>(&ops.node));
        let (x, affine, pool_act) = ops.state;
        let shape = norm_shape(&x, pool_act);
        let mut dx = Buffer::unwritten(numbers(&x).len());
        let gradients = norm::backward(&shape, numbers(&x), affine.as_ref(), numbers(&dy), &mut dx);
        if let Some(node) = &ops.parents[0] {
            grads.register::<Flex>(node.id, maps(dx, shape.batch, shape.channels, shape.size));
        }
        let Some(gradients) = gradients else { return };
        if let Some(Some(node)) = ops.parents.get(1) {
            grads.register::<Flex>(node.id, vector(&gradients.gamma));
        }
        if let Some(Some(node)) = ops.parents.get(2) {
            grads.register::<Flex>(node.id, vector(&gradients.beta));
        }
    }
}

/// A convolution, of codes where it has `grids`.
fn conv2d(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    steps: ConvSteps,
    grids: Option<&Grids>,
) -> FlexTensor {
    let shape = conv_shape(&x, &weight, steps);
    let (x, weight, bias) = (
        usable(x),
        weight.to_contiguous(),
        bias.map(|bias| bias.to_contiguous()),
    );
    let weight = numbers(&weight);
    let units = grids.map(|grids| grids.units_of(weight, shape.channels[1]));
    let grid = grids
        .zip(units.as_deref())
        .map(|(grids, units)| OnGrid { grids, units });
    let size = shape.output();
    let mut out = Buffer::unwritten(shape.batch * size[0] * size[1] * shape.channels[1]);
    grouped::forward(
        &shape,
        steps.groups,
        pictures(&x),
        weight,
        bias.as_ref().map(numbers),
        grid,
        &mut out,
    );
    maps(out, shape.batch, shape.channels[1], size)
}

/// Quantised weights.
#[derive(Clone, Debug)]
struct Quantized {
    weight: FlexTensor,
    scale: WeightScale,
}

/// `weight` is contiguous.
fn quantized(weight: &FlexTensor, levels: WeightLevels) -> Quantized {
    let latent = numbers(weight);
    let scale = WeightScale::of(latent, levels.smallest);
    let mut out = Buffer::unwritten(latent.len());
    quantize_weight(latent, scale, levels.levels, &mut out);
    Quantized {
        weight: tensor(out, weight.shape()),
        scale,
    }
}

/// The output and the weights it was computed with. `weight` is contiguous.
fn quant_conv2d(x: FlexTensor, weight: &FlexTensor, quant: &QuantSteps) -> (FlexTensor, Quantized) {
    let quantized = quantized(weight, quant.weight);
    let output = conv2d(x, quantized.weight.clone(), None, quant.steps, Some(&quant.grids));
    (output, quantized)
}

/// `dy` is usable, `weight` contiguous.
fn input_gradient(shape: &ConvShape, groups: usize, dy: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let [batch, inputs, size] = [shape.batch, shape.channels[0], shape.input[0] * shape.input[1]];
    let mut out = Buffer::unwritten(batch * inputs * size);
    grouped::backward_input(shape, groups, pictures(dy), numbers(weight), &mut out);
    maps(out, batch, inputs, shape.input)
}

/// `x` is usable.
fn weight_gradient(shape: &ConvShape, groups: usize, x: &FlexTensor, dy: OutputGradient<'_>) -> Buffer {
    let [inputs, outputs] = shape.channels;
    let mut out = Buffer::unwritten(inputs / groups * outputs * shape.kernel[0] * shape.kernel[1]);
    grouped::backward_weight(shape, groups, pictures(x), dy, &mut out);
    out
}

/// The gradient of latent weights, which are contiguous, from that of the quantised ones.
fn latent_gradient(weight: &FlexTensor, scale: WeightScale, grad: &[f32]) -> FlexTensor {
    let mut out = Buffer::unwritten(grad.len());
    quantize_weight_backward(numbers(weight), scale, grad, &mut out);
    tensor(out, weight.shape())
}

/// The output, and what its gradient needs to know.
fn conv2d_pool(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    steps: ConvSteps,
    act: Act,
) -> (FlexTensor, Codes) {
    let shape = conv_shape(&x, &weight, steps);
    let (x, weight, bias) = (usable(x), weight.to_contiguous(), bias.to_contiguous());
    let [height, width] = shape.output().map(|side| side / 2);
    let mut out = Buffer::unwritten(shape.batch * height * width * shape.channels[1]);
    let mut codes = Codes::unwritten(out.len());
    let bias = Some(numbers(&bias));
    conv::forward_pool(
        &shape,
        pictures(&x),
        numbers(&weight),
        bias,
        act,
        &mut out,
        &mut codes,
    );
    (maps(out, shape.batch, shape.channels[1], [height, width]), codes)
}

/// `x` lies channels last.
fn dropout(x: FlexTensor, mask: DropoutMask) -> FlexTensor {
    let [batch, channels, height, width] = x.shape().dims();
    let mut out = Buffer::unwritten(x.layout().num_elements());
    mask.apply(numbers(&x), &mut out);
    maps(out, batch, channels, [height, width])
}

/// The activation of a sum and, where they are `wanted` and not all, the places where a gradient passes it.
fn sum_act(a: FlexTensor, b: FlexTensor, act: Act, wanted: bool) -> (FlexTensor, Option<Arc<Codes>>) {
    let (a, b) = (to_channels_last(a), to_channels_last(b));
    let mut out = Buffer::unwritten(numbers(&a).len());
    let mut passes = (wanted && act != Act::Identity).then(|| Codes::unwritten(out.len()));
    sum::forward(act, numbers(&a), numbers(&b), &mut out, passes.as_deref_mut());
    let output = FlexTensor::new(out.into_bytes(), layout_of(&a), DType::F32);
    (output, passes.map(Arc::new))
}

/// What batch norm, pool and activation give in training.
struct Normed {
    output: FlexTensor,
    mean: FlexTensor,
    variance: FlexTensor,
    affine: Affine,
}

/// `x` lies channels last.
fn normed(shape: &NormShape, x: &FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> Normed {
    let (gamma, beta) = (gamma.to_contiguous(), beta.to_contiguous());
    let (mean, variance) = norm::statistics(shape, numbers(x));
    let affine = Affine::new(mean, &variance, numbers(&gamma), numbers(&beta), epsilon);
    Normed {
        output: norm_forward(shape, x, Some(&affine)),
        mean: vector(&affine.mean),
        variance: vector(&variance),
        affine,
    }
}

fn norm_forward(shape: &NormShape, x: &FlexTensor, affine: Option<&Affine>) -> FlexTensor {
    let [height, width] = shape.output();
    let mut out = Buffer::unwritten(shape.batch * height * width * shape.channels);
    norm::forward(shape, numbers(x), affine, &mut out);
    maps(out, shape.batch, shape.channels, [height, width])
}

fn conv_shape(x: &FlexTensor, weight: &FlexTensor, steps: ConvSteps) -> ConvShape {
    let [batch, inputs, height, width] = x.shape().dims();
    let [outputs, _, kernel_h, kernel_w] = weight.shape().dims();
    ConvShape {
        batch,
        input: [height, width],
        channels: [inputs, outputs],
        kernel: [kernel_h, kernel_w],
        stride: steps.stride,
        padding: steps.padding,
        dilation: steps.dilation,
    }
}

fn norm_shape(x: &FlexTensor, PoolAct { pool, act }: PoolAct) -> NormShape {
    let [batch, channels, height, width] = x.shape().dims();
    NormShape {
        batch,
        size: [height, width],
        channels,
        pool,
        act,
    }
}

/// A tensor whose strides lead forward.
fn usable(x: FlexTensor) -> FlexTensor {
    if x.layout().has_positive_strides() {
        x
    } else {
        x.to_contiguous()
    }
}

/// Feature maps in any layout.
fn pictures(x: &FlexTensor) -> Pictures<'_> {
    let layout = x.layout();
    let strides: Vec<usize> = layout.strides().iter().map(|&stride| stride as usize).collect();
    Pictures {
        data: &x.storage::<f32>()[layout.start_offset()..],
        strides: strides.try_into().expect("feature maps have four dimensions"),
    }
}

/// The numbers of a tensor that fills its memory without gaps, in the order they lie in.
fn numbers(x: &FlexTensor) -> &[f32] {
    &x.storage::<f32>()[x.layout().start_offset()..][..x.layout().num_elements()]
}

/// A tensor that fills its memory without gaps: in the order of its dimensions, or feature maps with the channels last.
fn dense(x: FlexTensor) -> FlexTensor {
    if is_channels_last(&x) {
        x
    } else {
        x.to_contiguous()
    }
}

/// Numbers as they are to lie when they are rounded: what reads feature maps next reads them channels last.
fn rounded_in(x: FlexTensor, codes: Multiples) -> FlexTensor {
    if codes.maps { to_channels_last(x) } else { dense(x) }
}

/// Whether feature maps lie with the channels last in memory.
pub(super) fn is_channels_last(x: &FlexTensor) -> bool {
    let dims: Result<[usize; 4], _> = x.shape().to_vec().try_into();
    dims.is_ok_and(|[batch, channels, height, width]| {
        x.layout().has_positive_strides()
            && (pictures(x).as_channels_last(batch, channels, [height, width])).is_some()
    })
}

/// `gradient` with its numbers in the order in which those of `x`, which is [`dense`], lie.
fn in_order_of(x: &FlexTensor, gradient: FlexTensor) -> FlexTensor {
    if is_channels_last(x) {
        to_channels_last(gradient)
    } else {
        gradient.to_contiguous()
    }
}

/// The layout of a tensor like `x`, which is [`dense`], in memory of its own.
fn layout_of(x: &FlexTensor) -> Layout {
    Layout::new(x.shape(), x.layout().strides().to_vec(), 0)
}

/// `x` is [`dense`].
fn multiples(x: &FlexTensor, step: f32, codes: Multiples) -> FlexTensor {
    let mut out = Buffer::unwritten(numbers(x).len());
    multiples::forward(codes, step, numbers(x), &mut out);
    FlexTensor::new(out.into_bytes(), layout_of(x), DType::F32)
}

/// Feature maps with the channels last in memory, copied where they lie otherwise.
fn to_channels_last(x: FlexTensor) -> FlexTensor {
    let x = usable(x);
    let [batch, channels, height, width] = x.shape().dims();
    let size = [height, width];
    if pictures(&x).as_channels_last(batch, channels, size).is_some() {
        return x;
    }
    let mut data = Buffer::unwritten(batch * channels * height * width);
    pictures(&x).copy_channels_last(channels, size, &mut data);
    maps(data, batch, channels, size)
}

/// Feature maps that lie channels last.
fn maps(data: Buffer, batch: usize, channels: usize, size: [usize; 2]) -> FlexTensor {
    let strides = channels_last(channels, size).map(|stride| stride as isize);
    let layout = Layout::new(
        Shape::new([batch, channels, size[0], size[1]]),
        strides.to_vec(),
        0,
    );
    FlexTensor::new(data.into_bytes(), layout, DType::F32)
}

fn vector(data: &[f32]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data.to_vec(), [data.len()]))
}

fn tensor(data: Buffer, shape: Shape) -> FlexTensor {
    FlexTensor::new(data.into_bytes(), Layout::contiguous(shape), DType::F32)
}
