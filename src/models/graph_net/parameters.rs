//! The parameters of a network made of a graph: under their names in the file, for Burn to visit, map and move.

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer};
use burn::tensor::{Device, Tensor, TensorData};

use super::GraphNet;
use super::fold::{self, as_norm};
use super::plan::RoundedValue;
use crate::graph::{Affine, Constant, Conv, Graph, Node, Op, beside, computed_with};
use crate::module::any::{self, AnyTensor};
use crate::quant::{
    Activation, ActivationQuantizer, Bits, Grids, Observer, ObserverError, Pact, PactConfig, QuantInput,
    QuantInputConfig,
};

/// The constants of an operation that become parameters, in the order in which it computes with them, each with what it is.
pub(super) fn part_names(op: &Op) -> impl Iterator<Item = (&'static str, &Constant)> {
    let names: &[&str] = match op {
        Op::Constant(_) => &["value"],
        Op::Affine(_) => &[],
        _ => &["weight", "bias"],
    };
    let of_affine = match op {
        Op::Affine(affine) => affine_names(affine),
        _ => Vec::new(),
    };
    let names: Vec<&'static str> = if of_affine.is_empty() {
        names.to_vec()
    } else {
        of_affine
    };
    names.into_iter().zip(computed_with(op))
}

/// What the parts of an affine node are that are not one number.
fn affine_names(affine: &Affine) -> Vec<&'static str> {
    let names = match affine.epsilon {
        Some(_) => ["running_mean", "running_var", "weight", "bias"],
        None => ["minus", "divisor", "scale", "shift"],
    };
    let parts = [&affine.minus, &affine.divisor, &affine.factor, &affine.plus];
    let there = |part: &Option<Constant>| part.as_ref().is_some_and(|part| part.as_scalar().is_none());
    names
        .into_iter()
        .zip(parts)
        .filter(|(_, part)| there(part))
        .map(|(name, _)| name)
        .collect()
}

/// For each node the paths of its parameters.
pub(super) fn names(graph: &Graph) -> Vec<Vec<String>> {
    let of_node = |node: &Node| {
        let names = part_names(node.op()).map(|(_, constant)| constant.name().unwrap_or_default().to_owned());
        names.collect()
    };
    graph.nodes().iter().map(of_node).collect()
}

/// A parameter of any number of dimensions.
#[derive(Clone, Debug)]
enum AnyParam {
    D1(Param<Tensor<1>>),
    D2(Param<Tensor<2>>),
    D3(Param<Tensor<3>>),
    D4(Param<Tensor<4>>),
    D5(Param<Tensor<5>>),
}

/// Evaluates `$body` with `$param` as the parameter of as many dimensions as it has.
macro_rules! with_param {
    ($any:expr, $param:ident => $body:expr) => {
        match $any {
            AnyParam::D1($param) => $body,
            AnyParam::D2($param) => $body,
            AnyParam::D3($param) => $body,
            AnyParam::D4($param) => $body,
            AnyParam::D5($param) => $body,
        }
    };
}

/// The same, where the result is a parameter of as many dimensions.
macro_rules! map_param {
    ($any:expr, $param:ident => $body:expr) => {
        match $any {
            AnyParam::D1($param) => AnyParam::D1($body),
            AnyParam::D2($param) => AnyParam::D2($body),
            AnyParam::D3($param) => AnyParam::D3($body),
            AnyParam::D4($param) => AnyParam::D4($body),
            AnyParam::D5($param) => AnyParam::D5($body),
        }
    };
}

impl AnyParam {
    /// A parameter of this shape: these numbers, else random ones as Burn's layers start from.
    fn new(shape: &[usize], values: Option<&[f32]>, fan_in: usize, trained: bool, device: &Device) -> Self {
        fn of<const D: usize>(
            shape: &[usize],
            values: Option<&[f32]>,
            fan_in: usize,
            trained: bool,
            device: &Device,
        ) -> Param<Tensor<D>> {
            let shape: [usize; D] = shape.try_into().expect("counted");
            let param = match values {
                Some(values) => {
                    let data = TensorData::new(values.to_vec(), shape);
                    Param::from_tensor(Tensor::from_data(data, device))
                }
                None => {
                    let gain = 1.0 / 3f64.sqrt();
                    let draw = Initializer::KaimingUniform {
                        gain,
                        fan_out_only: false,
                    };
                    draw.init_with(shape, Some(fan_in), None, device)
                }
            };
            if trained { param } else { param.no_grad() }
        }
        match shape.len() {
            0 | 1 => Self::D1(of(&[shape.iter().product()], values, fan_in, trained, device)),
            2 => Self::D2(of(shape, values, fan_in, trained, device)),
            3 => Self::D3(of(shape, values, fan_in, trained, device)),
            4 => Self::D4(of(shape, values, fan_in, trained, device)),
            _ => Self::D5(of(shape, values, fan_in, trained, device)),
        }
    }

    fn tensor(&self) -> AnyTensor {
        with_param!(self, param => param.val().into())
    }
}

/// A parameter with its path.
#[derive(Clone, Debug)]
struct Named {
    path: Path,
    value: AnyParam,
}

/// Where a parameter is, part by part, and what Burn calls what holds it.
#[derive(Clone, Debug)]
struct Path {
    parts: Vec<String>,
    container: &'static str,
}

impl Path {
    fn new(path: &str, container: &'static str) -> Self {
        Self {
            parts: path.split('.').map(str::to_owned).collect(),
            container,
        }
    }

    /// What is called so beside it.
    fn beside(&self, name: &str) -> Self {
        let mut beside = self.clone();
        if let Some(last) = beside.parts.last_mut() {
            *last = name.into();
        }
        beside
    }

    /// Each part with what holds it: the last is held by the layer.
    fn steps(&self) -> impl DoubleEndedIterator<Item = (&str, &'static str)> {
        let last = self.parts.len() - 1;
        let parts = self.parts.iter().enumerate();
        parts.map(move |(n, part)| {
            (
                part.as_str(),
                if n == last {
                    self.container
                } else {
                    "Struct:GraphNet"
                },
            )
        })
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V, module: &impl Module) {
        self.steps()
            .for_each(|(part, container)| visitor.enter_module(part, container));
        module.visit(visitor);
        self.steps()
            .rev()
            .for_each(|(part, container)| visitor.exit_module(part, container));
    }

    fn map<M: ModuleMapper, T: Module>(&self, mapper: &mut M, module: T) -> T {
        self.steps()
            .for_each(|(part, container)| mapper.enter_module(part, container));
        let module = module.map(mapper);
        self.steps()
            .rev()
            .for_each(|(part, container)| mapper.exit_module(part, container));
        module
    }
}

/// A batch norm, and the paths of its parameters.
#[derive(Clone, Debug)]
struct Norm {
    norm: BatchNorm,
    /// Of running mean, running variance, scale and shift.
    paths: [Path; 4],
}

/// The parameters of a node.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    parameters: Vec<Named>,
    norm: Option<Norm>,
}

/// What rounds a value, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Quantizer {
    path: Path,
    quantizer: Rounding,
}

/// What rounds a value.
#[derive(Module, Debug)]
pub(super) enum Rounding {
    Steps(QuantInput),
    Clip(Pact),
    Unit(Activation),
}

impl Rounding {
    /// Learned steps have a sign, or an offset, where numbers may be below zero.
    fn new(quantizer: ActivationQuantizer, bits: Bits, not_below_zero: bool, device: &Device) -> Self {
        match quantizer {
            ActivationQuantizer::Pact => Self::Clip(PactConfig::new(bits).init(device)),
            ActivationQuantizer::Dorefa => Self::Unit(Activation::quantized(bits)),
            quantizer => {
                let config = QuantInputConfig::new(bits)
                    .with_signed(!not_below_zero)
                    .with_offset(quantizer == ActivationQuantizer::LsqPlus);
                Self::Steps(config.init(device))
            }
        }
    }

    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Steps(steps) => steps.forward(x),
            Self::Clip(clip) => clip.forward(x),
            Self::Unit(unit) => unit.forward(x),
        }
    }
}

impl Quantizer {
    pub fn new(value: &RoundedValue, device: &Device) -> Self {
        let RoundedValue {
            path,
            quantizer,
            bits,
            not_below_zero,
            ..
        } = value;
        Self {
            path: Path::new(path, "Struct:GraphNet"),
            quantizer: Rounding::new(*quantizer, *bits, *not_below_zero, device),
        }
    }

    pub fn forward(&self, x: AnyTensor) -> AnyTensor {
        struct Rounded<'a>(&'a Rounding);
        impl any::Function for Rounded<'_> {
            fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
                self.0.forward(x)
            }
        }
        x.map(Rounded(&self.quantizer))
    }

    /// The codes that it rounds to, for the kernels.
    #[cfg(feature = "flex")]
    pub fn grid(&self) -> Option<crate::kernels::Grid> {
        match &self.quantizer {
            Rounding::Steps(steps) => steps.grid(),
            Rounding::Clip(clip) => clip.grid(),
            Rounding::Unit(unit) => unit.grid(),
        }
    }

    pub fn calibrated(self, batches: &[Vec<f32>], observer: Observer) -> Result<Self, ObserverError> {
        let quantizer = match self.quantizer {
            Rounding::Steps(steps) => Rounding::Steps(steps.calibrated(batches, observer)?),
            Rounding::Clip(clip) => Rounding::Clip(clip.calibrated(batches, observer)?),
            // It has nothing to measure.
            unit @ Rounding::Unit(_) => unit,
        };
        Ok(Self { quantizer, ..self })
    }

    // Which of the three it is, is no part of a parameter's path.
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        match &self.quantizer {
            Rounding::Steps(steps) => self.path.visit(visitor, steps),
            Rounding::Clip(clip) => self.path.visit(visitor, clip),
            Rounding::Unit(_) => {}
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let quantizer = match self.quantizer {
            Rounding::Steps(steps) => Rounding::Steps(self.path.map(mapper, steps)),
            Rounding::Clip(clip) => Rounding::Clip(self.path.map(mapper, clip)),
            unit @ Rounding::Unit(_) => unit,
        };
        Self { quantizer, ..self }
    }
}

/// Whether a part of a node that is no batch norm is trained. `weighted`: whether the node has weights. `from_file`: whether parameters of
/// the file are known, so that what was computed of them is told apart.
fn is_trained(part: &str, constant: &Constant, weighted: bool, from_file: bool) -> bool {
    let in_file = constant.in_file().is_some();
    match part {
        "scale" | "shift" => in_file || !from_file,
        "value" => in_file,
        _ => weighted,
    }
}

/// The paths of the parameters that are not drawn at random: those that are not trained, and single numbers, which begin with no number that
/// can be told from the network.
pub(super) fn undrawn(graph: &Graph, from_file: bool) -> Vec<&str> {
    let of_nodes = graph.nodes().iter().filter(|node| as_norm(node).is_none());
    let stay = of_nodes.flat_map(|node| {
        let weighted = node.weight().is_some();
        part_names(node.op()).filter(move |(part, constant)| {
            let single = !weighted && constant.shape().iter().all(|&size| size == 1);
            single || !is_trained(part, constant, weighted, from_file)
        })
    });
    let stay = stay.map(|(_, constant)| constant);
    stay.chain(&graph.computed_of().kept)
        .filter_map(Constant::name)
        .collect()
}

/// The sizes of a constant as a parameter: that of each channel as a vector.
fn stored(constant: &Constant, weighted: bool) -> Vec<usize> {
    let shape = constant.shape();
    let mut wide = shape.iter().filter(|&&size| size != 1);
    match (weighted, wide.next(), wide.next()) {
        (false, size, None) => vec![size.copied().unwrap_or(1)],
        _ => shape.to_vec(),
    }
}

impl Layer {
    /// The parameters of `node` called `names`, with the numbers of `op` where it is given. `from_file`: whether those of the file are
    /// known, so that what was computed of them is told apart.
    pub fn new(node: &Node, names: Vec<String>, op: Option<&Op>, from_file: bool, device: &Device) -> Self {
        let numbers: Vec<Option<&[f32]>> = match op {
            Some(op) => {
                // What has a number in the sketch is no parameter.
                let missing = node
                    .op()
                    .constants()
                    .map(|constant| constant.as_scalar().is_none());
                let constants = op.constants().zip(missing).filter(|(_, missing)| *missing);
                constants.map(|(constant, _)| Some(constant.values())).collect()
            }
            None => vec![None; names.len()],
        };
        if let Some(norm) = Norm::new(node, &names, &numbers, device) {
            return Self {
                parameters: Vec::new(),
                norm: Some(norm),
            };
        }
        let weighted = node.weight().is_some();
        let container = match node.op() {
            Op::Conv(_) => "Struct:Conv2d",
            Op::ConvTranspose(_) => "Struct:ConvTranspose2d",
            Op::Linear(_) => "Struct:Linear",
            _ => "Struct:Affine",
        };
        let fan_in = match node.op() {
            Op::Conv(conv) => conv.weight.shape()[1..].iter().product(),
            Op::ConvTranspose(conv) => {
                let shape = conv.weight.shape();
                shape[0] / conv.groups.max(1) * shape[2] * shape[3]
            }
            Op::Linear(linear) => linear.weight.shape()[0],
            _ => 1,
        };
        let parts = part_names(node.op()).zip(names).zip(numbers);
        let parameters = parts.map(|(((part, constant), name), numbers)| {
            let neutral = match part {
                "scale" | "divisor" => Some(1.0),
                "shift" | "minus" | "value" => Some(0.0),
                _ => None,
            };
            let shape = stored(constant, weighted);
            let usual = neutral.map(|number| vec![number; shape.iter().product()]);
            let trained = is_trained(part, constant, weighted, from_file);
            Named {
                path: Path::new(&name, container),
                value: AnyParam::new(&shape, numbers.or(usual.as_deref()), fan_in, trained, device),
            }
        });
        Self {
            parameters: parameters.collect(),
            norm: None,
        }
    }

    /// Parameters that no node computes with, and that are kept as they are: constants of nodes were computed of them.
    pub fn kept<'a>(parameters: impl Iterator<Item = &'a Constant>, device: &Device) -> Self {
        let parameters = parameters.map(|constant| {
            let shape = constant.shape();
            let zeros = || vec![0.0; shape.iter().product()];
            let values = Some(constant.values()).filter(|values| !values.is_empty());
            let values = values.map_or_else(zeros, <[f32]>::to_vec);
            Named {
                path: Path::new(constant.name().unwrap_or_default(), "Struct:Kept"),
                value: AnyParam::new(shape, Some(&values), 1, false, device),
            }
        });
        Self {
            parameters: parameters.collect(),
            norm: None,
        }
    }

    /// What the convolution `conv` of this layer and the batch norm `behind` it make of `x` as one.
    pub fn folded(&self, conv: &Conv, behind: &Self, x: AnyTensor, grids: Option<Grids>) -> AnyTensor {
        let (
            Some(Named {
                value: AnyParam::D4(weight),
                ..
            }),
            Some(norm),
        ) = (self.parameters.first(), &behind.norm)
        else {
            unreachable!("a convolution and a batch norm are folded");
        };
        let bias = self
            .parameters
            .get(1)
            .map(|bias| bias.value.tensor().into_tensor());
        fold::conv_norm(conv, weight, bias, &norm.norm, x.into_tensor(), grids).into()
    }

    /// What the kernels know of a convolution that reads these codes.
    #[cfg(feature = "flex")]
    pub fn grids(&self, input: crate::kernels::Grid) -> Option<Grids> {
        match &self.parameters.first()?.value {
            AnyParam::D4(weight) => weight
                .reparameterization::<crate::quant::FakeQuantized>()?
                .grids(input),
            _ => None,
        }
    }

    /// What a batch norm that is folded multiplies each filter's weights by.
    pub fn factors(&self) -> Option<Vec<f32>> {
        self.norm.as_ref().map(|norm| fold::factors(&norm.norm))
    }

    /// The path of the weight of a convolution or a linear layer.
    pub fn weight_path(&self) -> Option<String> {
        let weight = self.parameters.first()?;
        Some(weight.path.parts.join("."))
    }

    /// What a batch norm, which the node is, and the function behind it make of `x`.
    pub fn norm(&self, x: AnyTensor, act: &Activation) -> AnyTensor {
        let norm = self.norm.as_ref().expect("the node is a batch norm");
        super::compute::norm(x, &norm.norm, act)
    }

    /// The constants that the node is computed with, in their shapes.
    pub fn constants(&self, node: &Node) -> Vec<AnyTensor> {
        let tensors = self.parameters.iter().map(|parameter| parameter.value.tensor());
        if node.weight().is_some() {
            return tensors.collect();
        }
        let shapes = computed_with(node.op()).map(|constant| beside(constant.shape(), node.shape().len()));
        tensors
            .zip(shapes)
            .map(|(tensor, shape)| tensor.reshape(&shape))
            .collect()
    }
}

impl Norm {
    fn new(node: &Node, names: &[String], numbers: &[Option<&[f32]>], device: &Device) -> Option<Self> {
        let (epsilon, channels) = as_norm(node)?;
        let ([mean, variance, scale, shift], [mean_of, deviation, scale_of, shift_of]) = (names, numbers)
        else {
            return None;
        };
        let mut norm = BatchNormConfig::new(channels)
            .with_epsilon(f64::from(epsilon))
            .init(device);
        let vector = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::from(values.as_slice()), device);
        if let (Some(mean), Some(deviation), Some(scale), Some(shift)) =
            (mean_of, deviation, scale_of, shift_of)
        {
            let variance = deviation.iter().map(|&root| Affine::variance(root, epsilon));
            norm.gamma = Param::from_tensor(vector(scale.to_vec()));
            norm.beta = Param::from_tensor(vector(shift.to_vec()));
            norm.running_mean = burn::module::RunningState::new(vector(mean.to_vec()));
            norm.running_var = burn::module::RunningState::new(vector(variance.collect()));
        }
        let path = |name: &String| Path::new(name, "Struct:BatchNorm");
        Some(Self {
            norm,
            paths: [mean, variance, scale, shift].map(path),
        })
    }
}

/// Both, part by part: one that is missing in either is left out of both.
macro_rules! each_part {
    ($self:ident, $method:ident $(, $argument:expr)*) => {{
        let mut this = $self;
        this.layers = this.layers.into_iter().map(|layer| Layer {
            parameters: layer.parameters.into_iter().map(|Named { path, value }| Named {
                path,
                value: map_param!(value, param => param.$method($($argument),*)),
            }).collect(),
            norm: layer.norm.map(|Norm { norm, paths }| Norm { norm: norm.$method($($argument),*), paths }),
        }).collect();
        this.quantizers = this.quantizers.into_iter().map(|quantizer| {
            quantizer.map(|Quantizer { path, quantizer }| Quantizer { path, quantizer: quantizer.$method($($argument),*) })
        }).collect();
        this
    }};
}

impl Module for GraphNet {
    fn collect_devices(&self, mut devices: Devices) -> Devices {
        for layer in &self.layers {
            for Named { value, .. } in &layer.parameters {
                devices = with_param!(value, param => param.collect_devices(devices));
            }
            if let Some(Norm { norm, .. }) = &layer.norm {
                devices = norm.collect_devices(devices);
            }
        }
        for Quantizer { quantizer, .. } in self.quantizers.iter().flatten() {
            devices = quantizer.collect_devices(devices);
        }
        devices
    }

    fn fork(self, device: &Device) -> Self {
        each_part!(self, fork, device)
    }

    fn to_device(self, device: &Device) -> Self {
        each_part!(self, to_device, device)
    }

    fn train(self) -> Self {
        each_part!(self, train)
    }

    fn valid(&self) -> Self {
        let this = self.clone();
        // Running statistics are behind a lock that clones share, and are read by reference.
        let mut valid = Self {
            layers: Vec::new(),
            quantizers: Vec::new(),
            ..this
        };
        valid.layers = self
            .layers
            .iter()
            .map(|layer| Layer {
                parameters: layer
                    .parameters
                    .iter()
                    .map(|Named { path, value }| Named {
                        path: path.clone(),
                        value: map_param!(value, param => param.valid()),
                    })
                    .collect(),
                norm: layer.norm.as_ref().map(|Norm { norm, paths }| Norm {
                    norm: norm.valid(),
                    paths: paths.clone(),
                }),
            })
            .collect();
        valid.quantizers = self
            .quantizers
            .iter()
            .map(|quantizer| {
                quantizer.as_ref().map(|Quantizer { path, quantizer }| Quantizer {
                    path: path.clone(),
                    quantizer: quantizer.valid(),
                })
            })
            .collect();
        valid
    }

    fn materialize(self) -> Self {
        each_part!(self, materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (layer, quantizer) in self.layers.iter().zip(&self.quantizers) {
            for Named { path, value } in &layer.parameters {
                with_param!(value, param => path.visit(visitor, param));
            }
            if let Some(Norm {
                norm,
                paths: [mean, variance, scale, shift],
            }) = &layer.norm
            {
                scale.visit(visitor, &norm.gamma);
                scale.beside("training").visit(visitor, &norm.training);
                shift.visit(visitor, &norm.beta);
                mean.visit(visitor, &norm.running_mean);
                variance.visit(visitor, &norm.running_var);
            }
            if let Some(quantizer) = quantizer {
                quantizer.visit(visitor);
            }
        }
    }

    fn map<M: ModuleMapper>(mut self, mapper: &mut M) -> Self {
        let layers = std::mem::take(&mut self.layers);
        let quantizers = std::mem::take(&mut self.quantizers);
        for (mut layer, quantizer) in layers.into_iter().zip(quantizers) {
            layer.parameters = (layer.parameters.into_iter())
                .map(|Named { path, value }| {
                    let value = map_param!(value, param => path.map(mapper, param));
                    Named { path, value }
                })
                .collect();
            layer.norm = layer.norm.map(|Norm { mut norm, paths }| {
                let [mean, variance, scale, shift] = &paths;
                norm.gamma = scale.map(mapper, norm.gamma);
                norm.training = scale.beside("training").map(mapper, norm.training);
                norm.beta = shift.map(mapper, norm.beta);
                norm.running_mean = mean.map(mapper, norm.running_mean);
                norm.running_var = variance.map(mapper, norm.running_var);
                Norm { norm, paths }
            });
            self.layers.push(layer);
            self.quantizers
                .push(quantizer.map(|quantizer| quantizer.map(mapper)));
        }
        self
    }
}
