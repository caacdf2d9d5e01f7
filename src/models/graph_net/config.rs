//! What a network made of a graph is: its sketch, and what of it is quantised.

use std::collections::HashSet;

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::GraphNet;
use super::fold::as_norm;
use super::parameters::part_names;
use super::plan::{LayerPlan, QuantPlan, RoundedValue};
use crate::Error;
use crate::graph::{Binary, Constant, Function, Graph, MAX_DIMS, Node, Op, Sketch};
use crate::models::{NetworkConfig, check_classes, precision};
use crate::pattern::{fits, nearest};
use crate::quant::{ActivationQuantizer, Bits, WeightQuantizer};

/// What a [`GraphNet`] is: saved beside its weights, it is all that is needed to read them again.
///
/// The constants of its sketch have the paths of the parameters for names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct GraphNetConfig {
    pub(super) name: String,
    pub(super) plan: Option<QuantPlan>,
    pub(super) sketch: Sketch,
}

/// A configuration in a file. A plan of bits alone is written as these.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    weight_bits: Option<Bits>,
    #[serde(default)]
    activation_bits: Option<Bits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<QuantPlan>,
    sketch: Sketch,
}

impl From<Written> for GraphNetConfig {
    fn from(written: Written) -> Self {
        let bits = written.weight_bits.zip(written.activation_bits);
        let plain = bits.map(|(weights, activations)| QuantPlan::new(weights, activations));
        Self {
            name: written.name,
            plan: written.plan.or(plain),
            sketch: written.sketch,
        }
    }
}

impl From<GraphNetConfig> for Written {
    fn from(config: GraphNetConfig) -> Self {
        let (plain, plan) = match config.plan {
            Some(plan) if plan.is_plain() => (Some(plan), None),
            plan => (None, plan),
        };
        Self {
            name: config.name,
            weight_bits: plain.as_ref().map(|plan| plan.bits()[0]),
            activation_bits: plain.as_ref().map(|plan| plan.bits()[1]),
            plan,
            sketch: config.sketch,
        }
    }
}

impl Config for GraphNetConfig {}

/// The most parameters of a network: 4 GiB of them. A configuration of a few kilobytes may ask for any number.
const MAX_PARAMETERS: usize = 1 << 30;

/// The most numbers of a value of one picture: 1 GiB of them.
const MAX_VALUE: usize = 1 << 28;

/// The longest name of a parameter, in bytes.
const MAX_PATH: usize = 1000;

impl GraphNetConfig {
    /// The network that a sketch describes, called `name`, in full precision.
    ///
    /// Constants that have no name, one that is no path of a parameter, or that of a constant before them are called by their nodes.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] where the sketch is no classifier of pictures: it has one input, `[3, height, width]`, and one output of a
    /// number for each class.
    pub fn new(name: &str, sketch: Sketch) -> Result<Self, Error> {
        let config = Self {
            name: name.into(),
            plan: None,
            sketch: with_paths(sketch),
        };
        config.validate()?;
        Ok(config)
    }

    /// What the network computes, without its weights.
    #[must_use]
    pub fn sketch(&self) -> &Sketch {
        &self.sketch
    }

    /// The same network quantised, as [`GraphNet::quantized`] says.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] where it has no layer between the first and the last.
    pub fn with_bits(self, weights: Bits, activations: Bits) -> Result<Self, Error> {
        self.with_plan(QuantPlan::new(weights, activations))
    }

    /// The same network quantised as `plan` says.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] where a pattern of the plan fits no layer, or nothing is quantised.
    pub fn with_plan(self, plan: QuantPlan) -> Result<Self, Error> {
        plan.check(&self, &self.layer_names(), &self.join_names())?;
        let folds = plan.folds_norms();
        let config = Self {
            plan: Some(plan),
            ..self
        };
        if folds && config.folds().is_empty() {
            return Err(config.refuse(
                "no batch norm can be folded: expected a convolution with quantised weights whose result one batch norm alone reads; an exporter that \
                 folds them itself has to leave them in the file"
                    .into(),
            ));
        }
        Ok(config)
    }

    /// What the plan asks for that changes nothing, and why.
    pub(crate) fn without_effect(&self) -> Option<String> {
        let plan = self.plan.as_ref()?;
        plan.without_effect(&self.planned(), &self.layer_names())
    }

    /// Says what is wrong with a pattern that fits no layer, nor one of the `joins` where these count.
    pub(crate) fn check_pattern(&self, pattern: &str, joins: bool) -> Result<(), String> {
        let names = || {
            let joins = self.join_names().into_iter().filter(|_| joins);
            self.layer_names().into_iter().chain(joins).map(|(_, name)| name)
        };
        if names().any(|name| fits(pattern, name)) {
            return Ok(());
        }
        let of_join = !joins && self.join_names().iter().any(|(_, name)| fits(pattern, name));
        if of_join {
            return Err(format!(
                "no layer fits {pattern:?}, an addition or a concatenation: what these read stays in full precision without --joins"
            ));
        }
        let nearest = nearest(pattern, names()).join(", ");
        Err(format!("no layer fits {pattern:?}: expected some of {nearest}"))
    }

    /// The convolutions whose weights are quantised with the batch norms behind them folded in, with these, by their places.
    pub(super) fn folds(&self) -> Vec<(usize, usize)> {
        if !self.plan.as_ref().is_some_and(QuantPlan::folds_norms) {
            return Vec::new();
        }
        let graph = self.sketch.graph();
        let (nodes, reads) = (graph.nodes(), graph.reads());
        let layers = self.planned().into_iter();
        let layers = layers.filter(|layer| layer.weights != WeightQuantizer::Identity);
        let convs =
            layers.filter(|layer| matches!(nodes[layer.node].op(), Op::Conv(_)) && reads[layer.node] == 1);
        let pairs = convs.filter_map(|layer| {
            let mut readers = (0..nodes.len())
                .filter(|&n| nodes[n].inputs().iter().any(|input| input.index() == layer.node));
            let norm = readers.next().filter(|&n| as_norm(&nodes[n]).is_some())?;
            Some((layer.node, norm))
        });
        pairs.collect()
    }

    /// The same by their names.
    pub(crate) fn folded_norms(&self) -> Vec<[&str; 2]> {
        let nodes = self.sketch.nodes();
        let folds = self.folds().into_iter();
        folds
            .map(|(conv, norm)| [conv, norm].map(|n| nodes[n].name()))
            .collect()
    }

    /// How it is quantised, where it is.
    #[must_use]
    pub fn plan(&self) -> Option<&QuantPlan> {
        self.plan.as_ref()
    }

    /// The layers that are quantised, in computing order, and how.
    #[must_use]
    pub fn quantized_layers(&self) -> Vec<LayerPlan> {
        let mut layers = self.planned();
        layers.retain(|layer| !layer.join);
        layers
    }

    /// The additions and concatenations that read rounded values, in computing order, and how: the bits of the one that has most.
    #[must_use]
    pub fn quantized_joins(&self) -> Vec<LayerPlan> {
        let mut joins = self.planned();
        joins.retain(|join| join.join);
        joins
    }

    /// What the plan asks for: of layers, and of joins behind them.
    fn asked_for(&self) -> Vec<LayerPlan> {
        let Some(plan) = &self.plan else {
            return Vec::new();
        };
        let mut asked_for = plan.of(&self.layer_names());
        asked_for.extend(plan.of_joins(&self.join_names()));
        asked_for
    }

    /// The same with the bits that each reads, where others ask for more of the same value.
    fn planned(&self) -> Vec<LayerPlan> {
        let mut planned = self.asked_for();
        let rounded = self.rounded(&planned);
        for layer in planned
            .iter_mut()
            .filter(|layer| layer.activations.levels().is_some())
        {
            let read = self.read_by(layer);
            let of_layer = rounded.iter().filter(|rounded| read.contains(&rounded.value));
            // A join reads several values, of which some may have what is usual.
            let most =
                of_layer.max_by_key(|rounded| (rounded.bits, rounded.quantizer != ActivationQuantizer::Lsq));
            if let Some(most) = most {
                (layer.activations, layer.quantizer) = (most.bits, most.quantizer);
            }
        }
        planned
    }

    /// The values that a layer or a join reads rounded where it rounds what it reads, by the places of their nodes.
    fn read_by(&self, layer: &LayerPlan) -> Vec<usize> {
        let nodes = self.sketch.nodes();
        let inputs = nodes[layer.node].inputs();
        let count = if layer.join { inputs.len() } else { 1 };
        let values = inputs.iter().take(count).map(|input| input.index());
        values
            .filter(|&value| !matches!(nodes[value].op(), Op::Constant(_)))
            .collect()
    }

    /// What becomes of the values that these read rounded, where they ask for so many bits: each has the most that one of its own readers asks for.
    fn rounded(&self, asked_for: &[LayerPlan]) -> Vec<RoundedValue> {
        let graph = self.sketch.graph();
        let positive = not_below_zero(graph);
        let mut rounded: Vec<RoundedValue> = Vec::new();
        for layer in asked_for
            .iter()
            .filter(|layer| layer.activations.levels().is_some())
        {
            let node = &graph.nodes()[layer.node];
            for (n, value) in self.read_by(layer).into_iter().enumerate() {
                if let Some(known) = rounded.iter_mut().find(|rounded| rounded.value == value) {
                    known.bits = known.bits.max(layer.activations);
                    continue;
                }
                let path = if layer.join {
                    format!("{}.input{}", plain_path(node.name()), n + 1)
                } else {
                    let weight = node.weight().and_then(Constant::name).unwrap_or(node.name());
                    format!("{}.input", weight.strip_suffix(".weight").unwrap_or(weight))
                };
                rounded.push(RoundedValue {
                    value,
                    path,
                    quantizer: layer.quantizer.of_value(positive[value]),
                    bits: layer.activations,
                    not_below_zero: positive[value],
                });
            }
        }
        rounded
    }

    /// The layers with weights: the places of their nodes, and their names.
    fn layer_names(&self) -> Vec<(usize, &str)> {
        let nodes = self.sketch.nodes();
        let weighted = self.weighted_nodes().into_iter();
        weighted.map(|n| (n, nodes[n].name())).collect()
    }

    /// The additions and concatenations of two computed values and more: the places of their nodes, and their names. The sum that a
    /// PReLU is, of what is above zero and a part of what is below it, is an activation and none of them.
    fn join_names(&self) -> Vec<(usize, &str)> {
        let nodes = self.sketch.nodes();
        let computed = |input: usize| !matches!(nodes[input].op(), Op::Constant(_));
        let joins = nodes.iter().enumerate().filter(|(_, node)| {
            let inputs = node.inputs().iter().filter(|input| computed(input.index()));
            matches!(node.op(), Op::Binary(Binary::Add) | Op::Concat { .. })
                && inputs.count() > 1
                && !is_prelu(nodes, node)
        });
        joins.map(|(n, node)| (n, node.name())).collect()
    }

    /// The same network with another number of classes, and the name of its last layer, which gives them.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] where the last layer with weights is no linear layer and no convolution whose outputs are the classes.
    pub fn with_classes(self, classes: usize) -> Result<(Self, String), Error> {
        check_classes(&self.name, classes)?;
        let Some(last) = self.weighted_nodes().pop() else {
            return Err(self.refuse(
                "it has no layer with weights: expected one that gives a number for each class".into(),
            ));
        };
        let node = &self.sketch.nodes()[last];
        let layer = node.name().to_owned();
        let before = self.classes();
        let shapes: Vec<(String, Vec<usize>)> = part_names(node.op())
            .filter_map(|(part, constant)| {
                let mut shape = constant.shape().to_vec();
                let outputs = if part == "weight" && matches!(node.op(), Op::Linear(_)) {
                    1
                } else {
                    0
                };
                let size = shape.get_mut(outputs).filter(|size| **size == before)?;
                *size = classes;
                Some((constant.name()?.to_owned(), shape))
            })
            .collect();
        let resized = (!shapes.is_empty()).then(|| {
            let shape = |path: &str| {
                shapes
                    .iter()
                    .find(|(name, _)| name == path)
                    .map(|(_, shape)| shape.clone())
            };
            super::resize::resized(&self.sketch, &shape)
        });
        let config = match resized {
            Some(Ok(sketch)) => Self { sketch, ..self },
            _ => {
                return Err(self.refuse(format!(
                    "its last layer, `{layer}`, does not give a number for each of its {before} classes: a network of other classes \
                     cannot be made of it"
                )));
            }
        };
        if config.classes() != classes {
            return Err(config.refuse(format!(
                "more than its last layer, `{layer}`, depends on the number of classes"
            )));
        }
        Ok((config, layer))
    }

    /// Whether a parameter is of the last layer with weights.
    pub(super) fn is_last(&self, path: &str) -> bool {
        let Some(last) = self.weighted_nodes().pop() else {
            return false;
        };
        let parts = part_names(self.sketch.nodes()[last].op());
        parts
            .into_iter()
            .any(|(_, constant)| constant.name() == Some(path))
    }

    pub(super) fn refuse(&self, reason: String) -> Error {
        Error::Structure {
            network: self.name.clone(),
            reason,
        }
    }

    /// The places of the nodes with weights.
    fn weighted_nodes(&self) -> Vec<usize> {
        let nodes = self.sketch.nodes().iter().enumerate();
        nodes
            .filter(|(_, node)| node.weight().is_some())
            .map(|(n, _)| n)
            .collect()
    }

    /// For each node whether it reads values that are rounded for it.
    pub(super) fn reads_codes(&self) -> Vec<bool> {
        let mut reads = vec![false; self.sketch.nodes().len()];
        let layers = self.planned().into_iter();
        layers
            .filter(|layer| layer.activations.levels().is_some())
            .for_each(|layer| reads[layer.node] = true);
        reads
    }

    /// Whether steps or clips of what layers read are measured on pictures before training.
    pub(crate) fn measures_steps(&self) -> bool {
        let mut values = self.rounded_values().into_iter();
        values.any(|value| value.quantizer != ActivationQuantizer::Dorefa)
    }

    /// The values that are rounded for what reads them.
    pub(crate) fn rounded_values(&self) -> Vec<RoundedValue> {
        self.rounded(&self.asked_for())
    }

    /// The first layer or join that would read rounded what is rounded already, and the node that rounds it.
    pub(super) fn rounded_twice(&self) -> Option<(String, String)> {
        let nodes = self.sketch.nodes();
        let rounding = |mut value: usize| loop {
            let node = &nodes[value];
            let op = node.op();
            if super::rounds(op) {
                return Some(node.name().to_owned());
            }
            // What leaves codes codes, with another unit perhaps.
            let keeps = match op {
                Op::Affine(_) | Op::Function(_) => op
                    .constants()
                    .all(|constant| constant.shape().iter().product::<usize>() == 1),
                Op::MaxPool(_)
                | Op::Reshape { .. }
                | Op::Permute { .. }
                | Op::Slice { .. }
                | Op::Upsample { .. } => true,
                _ => false,
            };
            match (keeps, node.inputs()) {
                (true, [before]) => value = before.index(),
                _ => return None,
            }
        };
        let mut values = self.rounded_values().into_iter();
        values.find_map(|rounded| {
            let rounding = rounding(rounded.value)?;
            Some((self.reader_of(rounded.value)?, rounding))
        })
    }

    /// The first layer or join that reads a value rounded.
    pub(super) fn reader_of(&self, value: usize) -> Option<String> {
        let mut planned = self.planned().into_iter();
        let reader = planned
            .find(|layer| layer.activations.levels().is_some() && self.read_by(layer).contains(&value));
        reader.map(|layer| layer.layer)
    }
}

impl NetworkConfig for GraphNetConfig {
    type Network = GraphNet;

    const NAME: &'static str = "graph";

    fn init(&self, device: &Device) -> GraphNet {
        GraphNet::made(self.clone(), device, None, &|_| None)
    }

    fn classes(&self) -> usize {
        let graph = self.sketch.graph();
        graph.output(0).shape().iter().product()
    }

    fn input(&self) -> [usize; 2] {
        let graph = self.sketch.graph();
        match *graph.node(graph.inputs()[0]).shape() {
            [_, height, width] => [height, width],
            _ => [1, 1],
        }
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), Error> {
        let graph = self.sketch.graph();
        if let ([_, _, ..], _) | (_, [_, _, ..]) = (graph.inputs(), graph.outputs()) {
            return Err(self.refuse(format!(
                "it has inputs: {}, outputs: {}; expected a classifier, which has one of each",
                graph.inputs().len(),
                graph.outputs().len()
            )));
        }
        let [input, output] = [graph.node(graph.inputs()[0]), graph.output(0)].map(|node| node.shape());
        if !matches!(input, [3, _, _]) {
            return Err(self.refuse(format!(
                "it reads {input:?}: expected pictures of 3 channels, [3, height, width]"
            )));
        }
        let [classes] = output else {
            return Err(self.refuse(format!(
                "it results in {output:?}: expected a number for each class"
            )));
        };
        check_classes(&self.name, *classes)?;
        let of_nodes = || graph.nodes().iter().flat_map(|node| part_names(node.op()));
        let constants = || {
            of_nodes()
                .map(|(_, constant)| constant)
                .chain(&graph.computed_of().kept)
        };
        let numbers = |shape: &[usize]| shape.iter().fold(1usize, |all, &size| all.saturating_mul(size));
        let all = constants().map(|constant| numbers(constant.shape()));
        if all.fold(0usize, usize::saturating_add) > MAX_PARAMETERS {
            return Err(self.refuse(format!(
                "it has more than {MAX_PARAMETERS} parameters: expected a network that memory holds"
            )));
        }
        if let Some(largest) = self.largest_value().filter(|&largest| largest > MAX_VALUE) {
            return Err(self.refuse(format!(
                "it computes {largest} numbers at once of one picture, and more than {MAX_VALUE} fit no memory: expected a smaller input or \
                 smaller feature maps"
            )));
        }
        let mut paths = HashSet::new();
        for constant in constants() {
            let path = constant.name().unwrap_or_default();
            let (dims, count) = (constant.shape().len(), numbers(constant.shape()));
            if dims > MAX_DIMS || count == 0 {
                return Err(self.refuse(format!(
                    "`{path}` has the shape {:?}: expected {MAX_DIMS} dimensions at most, and none of 0",
                    constant.shape()
                )));
            }
            let others = [constant.in_file().map(|in_file| numbers(&in_file.shape))];
            let held = Some(constant.values().len()).filter(|&held| held > 0);
            if others
                .into_iter()
                .flatten()
                .chain(held)
                .any(|other| other != count)
            {
                return Err(self.refuse(format!(
                    "`{path}` has the shape {:?}, and other numbers in its file: expected as many",
                    constant.shape()
                )));
            }
            if !is_path(path) || !paths.insert(path.to_owned()) {
                return Err(self.refuse(format!(
                    "a parameter is called `{path}`: expected paths like `layer1.conv.weight`, each once"
                )));
            }
        }
        Ok(())
    }

    fn bits(&self) -> Option<[Bits; 2]> {
        self.plan.as_ref().map(QuantPlan::bits)
    }

    fn precision(&self) -> String {
        let Some(plan) = &self.plan else {
            let rounds = self.sketch.nodes().iter().any(|node| super::rounds(node.op()));
            return if rounds {
                "rounded by its own graph".to_owned()
            } else {
                precision(None)
            };
        };
        [vec![precision(self.bits())], plan.remarks()].concat().join(", ")
    }

    fn largest_value(&self) -> Option<usize> {
        let nodes = self.sketch.nodes().iter();
        nodes.map(|node| node.shape().iter().product()).max()
    }

    fn folds_norms(&self) -> bool {
        self.plan.as_ref().is_some_and(QuantPlan::folds_norms)
    }

    fn fitted(&self, shape: &dyn Fn(&str) -> Option<Vec<usize>>) -> Self {
        // One whose widths do not go together is no network, which shows when it computes.
        let sketch = super::resize::resized(&self.sketch, shape).unwrap_or_else(|_| self.sketch.clone());
        Self {
            sketch,
            ..self.clone()
        }
    }
}

/// Whether a name is the path of a parameter: parts between dots, none of them empty.
fn is_path(name: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    !name.is_empty()
        && name.len() <= MAX_PATH
        && name.split('.').all(|part| !part.is_empty())
        && name.chars().all(plain)
}

/// A node's name as the beginning of a path.
fn plain_path(node: &str) -> String {
    let plain = |c: char| {
        if c.is_whitespace() || c.is_control() {
            '_'
        } else {
            c
        }
    };
    let node: String = node.chars().map(plain).collect();
    let parts: Vec<&str> = node.split('.').filter(|part| !part.is_empty()).collect();
    parts.join(".")
}

/// The sketch with a path of its own for each constant that becomes a parameter.
fn with_paths(sketch: Sketch) -> Sketch {
    let mut taken: HashSet<String> = HashSet::new();
    let mut computed_of = sketch.graph().computed_of().clone();
    let sketch = sketch.with_constants(|node, op| {
        let names: Vec<String> = part_names(op)
            .map(|(part, constant)| {
                let own = constant
                    .name()
                    .filter(|name| is_path(name) && !taken.contains(*name));
                let name = own.map(str::to_owned).unwrap_or_else(|| {
                    let stem = format!("{}.{part}", plain_path(node));
                    let numbered = (2..).map(|n| format!("{stem}{n}"));
                    let mut names = std::iter::once(stem.clone()).chain(numbered);
                    names
                        .find(|name| !taken.contains(name))
                        .expect("there are more numbers than names")
                });
                taken.insert(name.clone());
                name
            })
            .collect();
        names
    });
    let name = |constant: &Constant| constant.name().unwrap_or_default().to_owned();
    let (kept, lost): (Vec<Constant>, Vec<Constant>) = computed_of
        .kept
        .into_iter()
        .partition(|constant| is_path(&name(constant)) && !taken.contains(&name(constant)));
    computed_of.kept = kept;
    computed_of.lost.extend(lost.iter().map(name));
    sketch.computed_of(computed_of)
}

/// Whether a sum is a PReLU: what is above zero of a value, and what is below zero of the same times its slopes.
fn is_prelu(nodes: &[Node], sum: &Node) -> bool {
    let [above, scaled] = sum.inputs() else {
        return false;
    };
    let [above, scaled] = [above, scaled].map(|input| &nodes[input.index()]);
    if !matches!(scaled.op(), Op::Affine(_)) {
        return false;
    }
    let below = &nodes[scaled.inputs()[0].index()];
    matches!(above.op(), Op::Function(Function::Relu))
        && matches!(
            below.op(),
            Op::Function(Function::Clamp {
                min: f32::NEG_INFINITY,
                max: 0.0
            })
        )
        && above.inputs() == below.inputs()
}

/// For each node whether what it computes is certainly not below zero.
fn not_below_zero(graph: &Graph) -> Vec<bool> {
    let mut known = vec![false; graph.nodes().len()];
    for (id, node) in graph.iter() {
        let all = || node.inputs().iter().all(|input| known[input.index()]);
        known[id.index()] = match node.op() {
            Op::Function(function) => match *function {
                Function::Relu | Function::Sigmoid | Function::HardSigmoid { .. } | Function::Abs => true,
                Function::Exp | Function::Sqrt => true,
                Function::Clamp { min, max } => min >= 0.0 || (max >= 0.0 && all()),
                Function::HardSwish { .. } | Function::Silu | Function::Gelu | Function::LeakyRelu { .. } => {
                    all()
                }
                Function::Round | Function::Floor | Function::Sign | Function::Tanh | Function::Erf => all(),
                _ => false,
            },
            Op::Binary(Binary::Sub) => false,
            Op::Binary(Binary::Max) => node.inputs().iter().any(|input| known[input.index()]),
            Op::Binary(_)
            | Op::MaxPool(_)
            | Op::AvgPool { .. }
            | Op::AdaptiveAvgPool { .. }
            | Op::Reduce { .. }
            | Op::MatMul
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Reshape { .. }
            | Op::Permute { .. }
            | Op::Expand { .. }
            | Op::Upsample { .. } => all(),
            Op::Pad { value, .. } => *value >= 0.0 && all(),
            Op::Softmax { log, .. } => !log,
            _ => false,
        };
    }
    known
}
