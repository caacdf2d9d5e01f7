//! A Burn module made of a graph: a network from an ONNX file, or one that is known by its name, to be trained.
//!
//! ```text
//! config       what a network is: its sketch, and what of it is quantised
//! parameters   the parameters of a node, under their names in the file, and Burn's `Module`
//! plan         which layers are quantised, and how
//! resize       a sketch with the widths that parameters have
//! compute      what a node computes, with this crate's kernels
//! fold         a convolution and the batch norm behind it as one
//! calibrate    first steps of activation quantisers, from pictures
//! ```

mod calibrate;
mod compute;
mod config;
mod fold;
mod groups;
mod parameters;
mod plan;
mod resize;
mod sensitivity;

use std::fmt;

use burn::module::{Content, Module, ModuleDisplay, ModuleDisplayDefault};
use burn::tensor::{Device, Tensor, TensorData};

use self::calibrate::some_of;
use self::compute::{Kept, Way, compute, sum, ways};
use self::parameters::{Layer, Quantizer};
pub use config::GraphNetConfig;
pub use plan::{LayerPlan, QuantPlan};
pub use sensitivity::LayerSensitivity;

use super::{Network, NetworkConfig};
use crate::Error;
use crate::graph::{Constant, Graph, Op, Sketch};
use crate::module::Parameters;
use crate::module::any::AnyTensor;
use crate::quant::{Grids, LearnedSteps, STEP, WeightQuantizer, best_step};

/// A [`Graph`] as a network that trains: its constants are parameters.
///
/// Parameters are called as the graph calls its constants: of a file that PyTorch exported, as in PyTorch. A constant without such a
/// name is called by its node, `conv1.weight`. Where several nodes read one constant, each has its own from then on.
/// Weights of layers, and scale and shift of batch norms and other affine nodes, are trained; running statistics follow the batches,
/// as in [`BatchNorm`](burn::nn::BatchNorm); what is taken off or divided by elsewhere stays as it is, and so do single numbers.
/// Of a file that names its parameters, these are trained, a class token among them, and what the exporter computed of them is not.
///
/// In evaluation it computes what the graph does: on `flex` with sums in the order of this crate's kernels, and of integers where a convolution
/// reads values that are quantised. Rounding has a gradient of one, so that quantisers of a file train, too.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::graph::{Constant, Conv, Function, Graph, Linear, NodeSpec, Op, Reduction};
/// use vwc_sdk::models::{GraphNet, GraphNetConfig, Network};
/// use vwc_sdk::quant::Bits;
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let numbers = |shape: &[usize]| {
///     let count = shape.iter().product::<usize>();
///     Constant::new(shape, (0..count).map(|n| (n as f32).sin()).collect::<Vec<_>>())
/// };
/// let conv = |shape: [usize; 4], name: &str| Conv::new(numbers(&shape).named(name));
/// let linear = Linear { weight: numbers(&[6, 10]).named("fc.weight"), bias: None };
/// let graph = Graph::new(
///     [
///         NodeSpec::input("picture", [3, 8, 8]),
///         NodeSpec::new("stem", conv([4, 3, 3, 3], "stem.weight"), ["picture"]),
///         NodeSpec::new("relu", Function::Relu, ["stem"]),
///         NodeSpec::new("body", conv([6, 4, 3, 3], "body.weight"), ["relu"]),
///         NodeSpec::new("mean", Op::Reduce { kind: Reduction::Mean, axes: vec![1, 2] }, ["body"]),
///         NodeSpec::new("flat", Op::Reshape { shape: vec![6] }, ["mean"]),
///         NodeSpec::new("fc", linear, ["flat"]),
///     ],
///     ["fc"],
/// )?;
/// let device = Device::default();
/// let net = GraphNet::of(&graph, "mine", &device)?;
/// let x = Tensor::<4>::ones([1, 3, 8, 8], &device);
/// let expected: Tensor<2> = graph.on(&device).forward(x.clone())?;
/// let apart = (net.forward(x) - expected).abs().max().into_scalar::<f32>();
/// assert!(apart < 1e-4);
///
/// // What is between the first layer and the last is quantised.
/// let net = net.quantized(Bits::TWO, Bits::TWO)?;
/// assert_eq!(net.quantized_layers(), ["body"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GraphNet {
    config: GraphNetConfig,
    /// One for each node, and one of the parameters that no node computes with: those of [`Graph::computed_of`] that are kept.
    layers: Vec<Layer>,
    /// For each layer, what rounds its result on the way to quantised layers.
    quantizers: Vec<Option<Quantizer>>,
    /// For each node, how often its result is read, outputs included.
    reads: Vec<usize>,
    /// For each node, how it is computed.
    ways: Vec<Way>,
    /// For each node, whether it reads values that are rounded for it.
    reads_codes: Vec<bool>,
}

/// Where the parameters of a [`GraphNet`] are not those of the file it was read from, by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotInFile {
    /// Constants that the exporter computed of parameters, which are not trained.
    pub computed: Vec<String>,
    /// Parameters of layers that the file has no name for: batch norms were folded into them, or they were computed of others.
    pub unnamed: Vec<String>,
    /// Parameters that are one constant with others in the file, and are trained each by itself: they were equal, or are tied.
    pub copies: Vec<String>,
    /// Parameters that are trained, while constants that were computed of them in the file stay what they were.
    pub trained_alone: Vec<String>,
    /// Parameters of the file that the network has nothing but results of.
    pub lost: Vec<String>,
}

impl GraphNet {
    /// The network that `graph` describes, called `name`, with its weights, on `device`.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] for a graph that is no classifier of pictures: see [`GraphNetConfig::new`].
    pub fn of(graph: &Graph, name: &str, device: &Device) -> Result<Self, Error> {
        let config = GraphNetConfig::new(name, Sketch::of(graph))?;
        let numbers = |node: usize| Some(graph.nodes()[node].op());
        Ok(Self::made(config, device, Some(graph), &numbers))
    }

    /// A network of this structure. Numbers are those of the operation that `numbers` knows for a node, random ones otherwise. `source`:
    /// the graph with the numbers of [`Graph::computed_of`].
    fn made<'a>(
        config: GraphNetConfig,
        device: &Device,
        source: Option<&Graph>,
        numbers: &dyn Fn(usize) -> Option<&'a Op>,
    ) -> Self {
        let graph = config.sketch.graph();
        let computed_of = graph.computed_of().kept.iter().map(|parameter| {
            let same = |other: &&Constant| other.name() == parameter.name();
            source
                .and_then(|source| source.computed_of().kept.iter().find(same))
                .unwrap_or(parameter)
        });
        let names = parameters::names(graph);
        let from_file = is_from_file(&config.sketch);
        let layers = graph
            .nodes()
            .iter()
            .zip(names)
            .enumerate()
            .map(|(n, (node, names))| Layer::new(node, names, numbers(n), from_file, device));
        let kept = Layer::kept(computed_of, device);
        let layers: Vec<Layer> = layers.chain(std::iter::once(kept)).collect();
        let reads = graph.reads();
        let quantizers = vec![None; layers.len()];
        let net = Self {
            config,
            layers,
            quantizers,
            reads,
            ways: Vec::new(),
            reads_codes: Vec::new(),
        };
        net.with_quantizers(device)
    }

    /// This network with weights and activations of so many bits in all layers but the first and the last: weights by a learned step
    /// ([`WeightQuantizer::Lsq`]), one bit by [`WeightQuantizer::Xnor`]; what these layers read by
    /// [`QuantInput`](crate::quant::QuantInput), with a sign where it may be below zero. 32 bits leave a side as it is.
    ///
    /// Steps of weights start where they round the weights with the least mean squared error, and those of activations from a guess:
    /// [`calibrated`](Self::calibrated) measures them.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] where the network is quantised already, or has no layer between the first and the last.
    pub fn quantized(
        self,
        weights: crate::quant::Bits,
        activations: crate::quant::Bits,
    ) -> Result<Self, Error> {
        self.quantized_by(QuantPlan::new(weights, activations))
    }

    /// This network quantised as `plan` says.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] where the network is quantised already or a layer would have what it reads rounded twice, a pattern of the plan fits no
    /// layer, or nothing is quantised.
    pub fn quantized_by(self, plan: QuantPlan) -> Result<Self, Error> {
        let device = self.device();
        if self.config.plan.is_some() {
            return Err(self.config.refuse(format!(
                "it is quantised already, {}: quantise the network in full precision",
                self.config.precision()
            )));
        }
        let config = self.config.clone().with_plan(plan)?;
        if let Some((reader, rounding)) = config.rounded_twice() {
            return Err(config.refuse(format!(
                "`{reader}` reads what `{rounding}` has rounded already: leave its activations as they are, 32 bits, or give the network in full \
                 precision"
            )));
        }
        let latent = Parameters::of(&self);
        let network = Self { config, ..self }.with_quantizers(&device);
        let mut parameters = Parameters::of(&network);
        let folds = network.config.folds();
        for layer in network.config.quantized_layers() {
            let (Some(path), Some(codes)) = (
                network.layers[layer.node].weight_path(),
                layer.weights.steps().and_then(LearnedSteps::codes),
            ) else {
                continue;
            };
            let (step, weight) = (format!("{path}{STEP}"), latent.get(&path)?);
            let Ok(first) = parameters.values(&step) else {
                continue;
            };
            let mut steps = first.to_vec();
            let mut values = latent.values(&path)?.to_vec();
            // What is rounded of a layer that is folded.
            let norm = folds.iter().find(|(conv, _)| *conv == layer.node);
            if let Some(factors) = norm.and_then(|&(_, norm)| network.layers[norm].factors()) {
                let filter = values.len() / factors.len();
                for (values, factor) in values.chunks_exact_mut(filter).zip(factors) {
                    values.iter_mut().for_each(|value| *value *= factor);
                }
            }
            if let [only] = &mut steps[..] {
                *only = best_step(&some_of(&values), codes).unwrap_or(*only);
            } else {
                // Filters are along the last dimension of a matrix and along the first of a kernel, or the second of a transposed one.
                let transposed = matches!(
                    network.config.sketch.nodes()[layer.node].op(),
                    Op::ConvTranspose(_)
                );
                let along = usize::from(weight.shape().len() == 2 || transposed);
                let behind: usize = weight.shape()[along + 1..].iter().product();
                let count = steps.len();
                for (filter, step) in steps.iter_mut().enumerate() {
                    let own = values.chunks_exact(behind).skip(filter).step_by(count).flatten();
                    let own: Vec<f32> = own.copied().collect();
                    *step = best_step(&own, codes).unwrap_or(*step);
                }
            }
            parameters.insert(step, TensorData::from(steps.as_slice()));
        }
        parameters.put_into(network)
    }

    /// The layers whose weights and inputs are quantised, by name.
    #[must_use]
    pub fn quantized_layers(&self) -> Vec<&str> {
        let nodes = self.config.sketch.nodes();
        let layers = self.config.quantized_layers().into_iter();
        layers.map(|layer| nodes[layer.node].name()).collect()
    }

    /// Where the parameters are not those of the file that the network was read from, under its names. `None` of a network of no file, or of one
    /// that names no parameter.
    #[must_use]
    pub fn not_in_file(&self) -> Option<NotInFile> {
        let computed_of = self.config.sketch.graph().computed_of();
        if !is_from_file(&self.config.sketch) && computed_of.is_empty() {
            return None;
        }
        let mut found = NotInFile {
            trained_alone: computed_of.trained.clone(),
            lost: computed_of.lost.clone(),
            ..NotInFile::default()
        };
        for node in self.config.sketch.nodes() {
            let norm = matches!(node.op(), Op::Affine(affine) if affine.epsilon.is_some());
            for (_, constant) in parameters::part_names(node.op()) {
                let list = match constant.in_file() {
                    Some(in_file) if in_file.name.is_none() => continue,
                    Some(_) => &mut found.copies,
                    None if norm || node.weight().is_some() => &mut found.unnamed,
                    None => &mut found.computed,
                };
                list.push(constant.name().unwrap_or_default().to_owned());
            }
        }
        Some(found)
    }

    /// All parameters but those of quantisers, each with whether it is the matrix of a linear layer.
    pub(crate) fn parameter_constants(&self) -> impl Iterator<Item = (&Constant, bool)> {
        let nodes = self.config.sketch.nodes().iter();
        let of_nodes = nodes.flat_map(|node| {
            let linear = matches!(node.op(), Op::Linear(_));
            let parts = parameters::part_names(node.op());
            parts.map(move |(part, constant)| (constant, linear && part == "weight"))
        });
        let kept = self.config.sketch.graph().computed_of().kept.iter();
        of_nodes.chain(kept.map(|constant| (constant, false)))
    }

    /// This network with another number of classes: its last layer is made anew, with random weights that follow from the seed of the
    /// device. With the name of that layer.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] where the last layer does not give one number for each class, or there is a number of classes that no
    /// network has.
    pub fn with_classes(self, classes: usize) -> Result<(Self, String), Error> {
        let (config, layer) = self.config.clone().with_classes(classes)?;
        let device = self.device();
        let fresh = config.init(&device);
        let kept = Parameters::of(&self);
        let mut parameters = Parameters::of(&fresh);
        let shapes = Parameters::shapes(&fresh);
        for (path, data) in kept.iter() {
            if shapes.get(path).is_some_and(|shape| **shape == **data.shape()) && !config.is_last(path) {
                parameters.insert(path, data.clone());
            }
        }
        Ok((parameters.put_into(fresh)?, layer))
    }

    /// This network with the weights of `drawn`, the same network from [`GraphNetConfig::init`]: random ones. Parameters that are not trained, and
    /// single numbers, stay.
    pub(crate) fn with_weights_of(&self, drawn: Self) -> Result<Self, Error> {
        let own = Parameters::of(self);
        let mut parameters = Parameters::of(&drawn);
        let sketch = &self.config.sketch;
        for path in parameters::undrawn(sketch.graph(), is_from_file(sketch)) {
            parameters.insert(path, own.get(path)?.clone());
        }
        parameters.put_into(drawn)
    }

    /// Puts the quantisers that the configuration says beside weights and behind values.
    fn with_quantizers(mut self, device: &Device) -> Self {
        self.ways = ways(&self.config, &self.reads);
        self.reads_codes = self.config.reads_codes();
        for rounded in self.config.rounded_values() {
            self.quantizers[rounded.value] = Some(Quantizer::new(&rounded, device));
        }
        let layers = self.config.quantized_layers().into_iter();
        let weights: Vec<(String, WeightQuantizer)> = layers
            .filter(|layer| layer.weights != WeightQuantizer::Identity)
            .filter_map(|layer| Some((self.layers[layer.node].weight_path()?, layer.weights)))
            .collect();
        if weights.is_empty() {
            return self;
        }
        let plan = WeightQuantizer::Identity.on(&self).each(&weights);
        plan.apply(self).expect("the plan is of this network")
    }

    /// The device that it is on.
    fn device(&self) -> Device {
        self.devices().into_iter().next().unwrap_or_default()
    }

    /// Logits, with `seen` shown what each value is before it is rounded, by the place of its node.
    fn computed(&self, images: Tensor<4>, seen: &mut dyn FnMut(usize, &AnyTensor)) -> Tensor<2> {
        let graph = self.config.sketch.graph();
        let batch = images.dims()[0];
        let trains = images.is_autodiff();
        let mut left = self.reads.clone();
        // As they are, and as quantised layers read them.
        let mut values: Vec<[Option<Kept>; 2]> = vec![[None, None]; graph.nodes().len()];
        for (id, node) in graph.iter() {
            let n = id.index();
            let mut inputs = Vec::with_capacity(node.inputs().len());
            for input in node.inputs() {
                let input = input.index();
                left[input] -= 1;
                let side = usize::from(self.reads_codes[n] && self.quantizers[input].is_some());
                let value = values[input][side].as_ref().map(Kept::read);
                if left[input] == 0 {
                    values[input] = [None, None];
                }
                inputs.push(value.expect("it was computed, and is kept until it was read"));
            }
            let value = match (node.op(), &self.ways[n]) {
                (Op::Input { .. }, _) => images.clone().into(),
                (_, Way::ByNorm) => inputs.remove(0),
                (_, Way::Norm(act)) => self.layers[n].norm(inputs.remove(0), act),
                (_, Way::Sum(act)) => {
                    let b = inputs.remove(1);
                    sum(inputs.remove(0), b, act)
                }
                (_, &Way::Folded(before)) => {
                    let Op::Conv(conv) = graph.nodes()[before].op() else {
                        unreachable!("convolutions are folded");
                    };
                    let grids = self.grids(before, &inputs[0]);
                    self.layers[before].folded(conv, &self.layers[n], inputs.remove(0), grids)
                }
                (op, Way::Alone) if trains && rounds(op) => straight_through(op, inputs, batch),
                (op, Way::Alone) => {
                    let grids = inputs.first().and_then(|x| self.grids(n, x));
                    compute(op, &self.layers[n].constants(node), inputs, grids, batch)
                }
            };
            seen(n, &value);
            let codes = self.quantizers[n]
                .as_ref()
                .map(|quantizer| quantizer.forward(value.clone()));
            let shared = trains && self.reads[n] > 1;
            values[n] = [Some(value), codes].map(|value| value.map(|value| Kept::new(value, shared)));
        }
        let [output, _] = std::mem::take(&mut values[graph.outputs()[0].index()]);
        output.expect("outputs are kept").read().into_tensor()
    }
}

impl GraphNet {
    /// What the weights of node `n` and what it reads were rounded to, where it is a convolution on a device whose kernels want to know.
    #[cfg(feature = "flex")]
    fn grids(&self, n: usize, x: &AnyTensor) -> Option<Grids> {
        let node = &self.config.sketch.nodes()[n];
        let input = self.quantizers[node.inputs().first()?.index()].as_ref()?;
        let known = self.reads_codes[n] && matches!(node.op(), Op::Conv(_));
        if !known || !crate::kernels::apply_to(&x.clone().try_tensor::<4>()?) {
            return None;
        }
        self.layers[n].grids(input.grid()?)
    }

    #[cfg(not(feature = "flex"))]
    fn grids(&self, _: usize, _: &AnyTensor) -> Option<Grids> {
        None
    }
}

/// Whether a sketch is that of a file, whose parameters have names.
fn is_from_file(sketch: &Sketch) -> bool {
    let mut constants = sketch.nodes().iter().flat_map(|node| node.op().constants());
    constants.any(|constant| constant.in_file().is_some())
}

pub(super) fn rounds(op: &Op) -> bool {
    use crate::graph::Function;
    matches!(
        op,
        Op::Function(Function::Round | Function::Floor | Function::Sign)
    )
}

/// What a rounding makes of its input, with a gradient of one.
fn straight_through(op: &Op, mut inputs: Vec<AnyTensor>, batch: usize) -> AnyTensor {
    use crate::module::any::Function2;
    struct Through;
    impl Function2 for Through {
        fn apply<const D: usize>(&self, x: Tensor<D>, rounded: Tensor<D>) -> Tensor<D> {
            crate::quant::straight_through(x, rounded.detach())
        }
    }
    let x = inputs.remove(0);
    let rounded = compute(op, &[], vec![x.clone()], None, batch);
    x.zip(rounded, Through)
}

impl Network for GraphNet {
    type Config = GraphNetConfig;

    fn config(&self) -> &GraphNetConfig {
        &self.config
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.computed(images, &mut |_, _| {})
    }

    fn refit(&mut self) {
        let shapes = Parameters::shapes(self);
        self.config = self.config.fitted(&|path| shapes.get(path).cloned());
    }
}

impl fmt::Display for GraphNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.config.name(), self.config.precision())?;
        self.config.sketch.fmt(f)
    }
}

impl ModuleDisplayDefault for GraphNet {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&self.config.name()).optional()
    }
}

impl ModuleDisplay for GraphNet {}
