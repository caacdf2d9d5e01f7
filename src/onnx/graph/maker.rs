//! The graph that is being made: its nodes, their names, and what each name of the file stands for.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{NodeProto, TensorProto};

use super::{
    MAX_MADE, Paths, Prepared, Shapes,
    data::{Part, Place},
    gelu::Gelus,
    integers::bits,
    opset,
    parameters::Parameters,
    turned::{TURNED, Turned, plainly_named},
    values::{Data, Made, Size, Sizes, Tensor, Value, decode},
};
use crate::graph::{Constant, NodeSpec, Op, shape};
use crate::onnx::{called, printable, tensors::constant};

/// The most bytes of names of nodes.
const MAX_LETTERS: usize = 1 << 26;

/// The most numbers that are read to compute others, each as often as it is read.
const MAX_LOOKED_AT: usize = 1 << 30;

/// The one number of a list of one.
fn only<T: Copy>(list: &[T]) -> Option<T> {
    match *list {
        [number] => Some(number),
        _ => None,
    }
}

/// A graph on the way.
pub(super) struct Maker<'a> {
    pub shapes: &'a Shapes<'a>,
    pub opset: i64,
    /// Weights have no numbers: shapes alone are wanted.
    sketch: bool,
    /// The size of the batch that the inputs state, 1 where they leave it open.
    pub batch: Option<usize>,
    /// Whether an input leaves it open.
    pub open: bool,
    /// Constants of the file: those that shapes may depend on, and weights.
    constants: HashMap<&'a str, &'a TensorProto>,
    held: HashMap<&'a str, &'a TensorProto>,
    values: HashMap<String, Value>,
    specs: Vec<NodeSpec>,
    names: HashSet<String>,
    /// Constants that are nodes.
    nodes: HashMap<String, Data>,
    /// Weights that were turned round.
    pub turned: HashMap<String, Turned>,
    made: usize,
    /// Numbers that were read to compute others.
    looked_at: usize,
    /// Bytes of the names of nodes, each time that they stand there.
    letters: usize,
    /// For each wanted name the last number behind it.
    numbers: HashMap<String, usize>,
    /// The paths of layers by the names of their nodes.
    pub paths: &'a Paths,
    parameters: Parameters,
    /// How many floats were made of integers.
    pub dequantised: usize,
    /// What nodes of the file compute.
    computed: HashSet<&'a str>,
    /// GELUs that are written as their formula.
    pub gelus: Gelus,
}

impl<'a> Maker<'a> {
    pub fn new(model: &Prepared<'a>, held: HashMap<&'a str, &'a TensorProto>, sketch: bool) -> Self {
        let graph = model.graph;
        Self {
            shapes: model.shapes,
            opset: opset(model.model),
            sketch,
            batch: None,
            open: model.open_batch,
            constants: (graph.initializer.iter().map(|tensor| (&*tensor.name, tensor)))
                .chain(graph.node.iter().filter_map(|node| {
                    let name = node.output.first().filter(|name| !name.is_empty())?;
                    Some((&**name, constant(node)?))
                }))
                .collect(),
            held,
            values: HashMap::new(),
            specs: Vec::new(),
            names: graph.node.iter().map(|node| node.name.clone()).collect(),
            nodes: HashMap::new(),
            turned: HashMap::new(),
            made: 0,
            looked_at: 0,
            letters: 0,
            numbers: HashMap::new(),
            paths: model.paths,
            parameters: Parameters::default(),
            dequantised: 0,
            computed: graph
                .node
                .iter()
                .flat_map(|node| &node.output)
                .map(|name| &**name)
                .collect(),
            gelus: Gelus::default(),
        }
    }

    /// Whether the file has a constant of this name.
    pub fn is_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name) || self.held.contains_key(name)
    }

    /// What a constant is called as the parameter of a layer: see [`Parameters::name`].
    pub fn parameter(&mut self, stems: [&str; 2], source: &str, leaf: &str, matrix: bool) -> String {
        let (constants, held) = (&self.constants, &self.held);
        let taken = |name: &str| constants.contains_key(name) || held.contains_key(name);
        self.parameters.name(stems, source, leaf, matrix, taken)
    }

    /// What a constant is called as that of the module `scope`: see [`Parameters::of_module`].
    pub fn parameter_of(&mut self, scope: &str, source: &str) -> Option<String> {
        let (constants, held) = (&self.constants, &self.held);
        let taken = |name: &str| constants.contains_key(name) || held.contains_key(name);
        self.parameters.of_module(scope, source, taken)
    }

    /// An input of the network, with the batch.
    pub fn input(&mut self, name: &str, sizes: &[usize]) -> Made<()> {
        let [batch, rest @ ..] = sizes else {
            return Err("has no batch".to_owned());
        };
        if *self.batch.get_or_insert(*batch) != *batch {
            return Err("has another batch than the input before it".to_owned());
        }
        let op = Op::Input { shape: rest.to_vec() };
        let called = self.fresh(name);
        let data = self.push(called, op, &[])?;
        self.values.insert(name.to_owned(), Value::Data(data));
        Ok(())
    }

    /// A name like this one that no node has.
    pub fn fresh(&mut self, name: &str) -> String {
        let stem = printable(name);
        if !stem.is_empty() && self.names.insert(stem.clone()) {
            return stem;
        }
        let last = self.numbers.entry(stem.clone()).or_insert(1);
        loop {
            *last += 1;
            let name = format!("{stem}.{last}");
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// A node of the graph under a name that no other has.
    pub fn push(&mut self, name: String, op: Op, reads: &[&Data]) -> Made<Data> {
        let letters = name.len() + reads.iter().map(|data| data.node.len()).sum::<usize>();
        self.write(letters)?;
        let shapes: Vec<&[usize]> = reads.iter().map(|data| &*data.shape).collect();
        let shape = shape(&op, &shapes)?;
        let place = reads.first().map_or(Place::FIRST, |data| data.place);
        let reads = reads.iter().map(|data| data.node.clone());
        self.specs.push(NodeSpec::new(name.clone(), op, reads));
        Ok(Data {
            node: name,
            shape,
            place,
        })
    }

    /// Counts the names that are written down.
    fn write(&mut self, letters: usize) -> Made<()> {
        self.letters = self.letters.saturating_add(letters);
        if self.letters > MAX_LETTERS {
            return Err(format!("makes more than {MAX_LETTERS} letters of names of nodes"));
        }
        Ok(())
    }

    /// A node of the graph that is not the last one of a node of the file.
    pub fn step(&mut self, node: &NodeProto, part: &str, op: impl Into<Op>, reads: &[&Data]) -> Made<Data> {
        let name = self.fresh(&format!("{}.{part}", called(node)));
        self.push(name, op.into(), reads)
    }

    /// The node of the graph that computes the first output of one of the file.
    pub fn last(&mut self, node: &NodeProto, op: impl Into<Op>, reads: &[&Data]) -> Made<()> {
        let data = self.push(node.name.clone(), op.into(), reads)?;
        self.give(node, 0, data)
    }

    /// What output `n` of a node is. Its shape has to be the one that was inferred.
    pub fn give(&mut self, node: &NodeProto, n: usize, value: impl Into<Value>) -> Made<()> {
        let Some(name) = node.output.get(n).filter(|name| !name.is_empty()) else {
            return Ok(());
        };
        let value = value.into();
        if let Value::Data(data) = &value {
            self.write(data.node.len())?;
            let inferred = self
                .shapes
                .find(name, |sizes| sizes.iter().copied().collect::<Option<Vec<_>>>());
            if let Some(inferred) = inferred
                && !self.is_shape(&data.parts(), &inferred)
            {
                return Err(format!(
                    "results in {:?} for each picture, where {inferred:?} was inferred with the batch",
                    data.shape
                ));
            }
        }
        self.values.insert(name.clone(), value);
        Ok(())
    }

    /// Whether a value with these dimensions in the file has the inferred shape. How large a batch alone is is not compared: a constant
    /// may stand for a value.
    fn is_shape(&self, parts: &[Part], inferred: &[usize]) -> bool {
        let batch = self.batch.unwrap_or(1);
        let fits = |(&part, &size): (&Part, &usize)| part == Part::BATCH || part.with_batch(batch) == size;
        parts.len() == inferred.len() && parts.iter().zip(inferred).all(fits)
    }

    /// Whether a node is given an input there.
    pub fn has(node: &NodeProto, n: usize) -> bool {
        node.input.get(n).is_some_and(|name| !name.is_empty())
    }

    pub fn value(&mut self, node: &NodeProto, n: usize) -> Made<Value> {
        let name = node.input.get(n).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("has no input {n}"))?;
        self.named(name)
    }

    /// What a name of the file stands for.
    pub fn named(&mut self, name: &str) -> Made<Value> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let held = self.held.get(name).map(|&tensor| (tensor, self.sketch));
        let constant = self.constants.get(name).map(|&tensor| (tensor, false));
        let value = if let Some((tensor, sketch)) = constant.or(held) {
            if bits(tensor.data_type).is_some() && !sketch {
                // Each may be a part of a byte in the file, and takes four here.
                let sizes = tensor.dims.iter().map(|&size| usize::try_from(size).unwrap_or(0));
                self.dequantised(sizes.fold(1, usize::saturating_mul))?;
            }
            decode(name, tensor, sketch)?
        } else {
            return Err(if self.computed.contains(name) {
                format!(
                    "reads `{name}`, which this node or one behind it computes: expected nodes in the order in which they compute, \
                     and none in a circle"
                )
            } else {
                format!(
                    "reads `{name}`, which is no float, or which nothing computes: expected a network that reads and computes floats. Of \
                     networks of integers, QDQ and QOperator files are read"
                )
            });
        };
        self.values.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// A value for each picture, whose first dimension is the batch alone.
    pub fn data(&mut self, node: &NodeProto, n: usize) -> Made<Data> {
        let data = self.anywhere(node, n)?;
        self.plain(data)
    }

    /// A value for each picture, wherever its batch is. A constant with a batch of 1 is the same for every picture.
    pub fn anywhere(&mut self, node: &NodeProto, n: usize) -> Made<Data> {
        match self.value(node, n)? {
            Value::Data(data) => Ok(data),
            Value::Held(tensor) => self.constant_node(&tensor),
            Value::Sequence(_) => Err(format!("reads several values as input {n}")),
            Value::Sizes(_) | Value::Integers(_) | Value::Fixed(_) | Value::Index(_) => {
                Err(format!("reads integers as input {n}"))
            }
        }
    }

    fn constant_node(&mut self, tensor: &Tensor) -> Made<Data> {
        let tensor = self.for_every_picture(tensor)?;
        let constant = tensor.constant(tensor.dims[1..].to_vec());
        self.constant(&tensor.name, constant)
    }

    /// A node of the graph that holds a constant.
    pub fn constant(&mut self, name: &str, constant: Constant) -> Made<Data> {
        if let Some(data) = self.nodes.get(name).filter(|data| data.shape == constant.shape()) {
            return Ok(data.clone());
        }
        let called = self.fresh(name);
        let data = self.push(called, Op::Constant(constant), &[])?;
        self.nodes.insert(name.to_owned(), data.clone());
        Ok(data)
    }

    /// A constant of floats.
    pub fn held(&mut self, node: &NodeProto, n: usize) -> Made<Tensor> {
        match self.value(node, n)? {
            Value::Held(tensor) => Ok(tensor),
            _ => Err(format!("reads what is no constant of floats as input {n}")),
        }
    }

    /// The scale of a quantisation, which is no parameter.
    pub fn scale(&mut self, node: &NodeProto, n: usize) -> Made<Tensor> {
        let held = self.held(node, n)?;
        Ok(Tensor {
            parameter: None,
            ..held
        })
    }

    /// Integers, with the batch among them where that is one.
    pub fn sizes(&mut self, node: &NodeProto, n: usize) -> Made<Sizes> {
        match self.value(node, n)? {
            Value::Sizes(sizes) => Ok(sizes),
            _ => Err(format!("reads what is no constant list of integers as input {n}")),
        }
    }

    /// One number that a constant holds.
    pub fn number(&mut self, node: &NodeProto, n: usize) -> Made<f32> {
        let number = match self.value(node, n)? {
            Value::Held(tensor) => tensor.values.as_deref().and_then(only),
            Value::Integers(integers) => integers
                .values
                .as_deref()
                .and_then(only)
                .map(|number| number as f32),
            Value::Sizes(sizes) => only(&sizes.sizes)
                .and_then(Size::known)
                .map(|number| number as f32),
            _ => None,
        };
        number.ok_or_else(|| format!("reads no single number as input {n}"))
    }

    /// Whether a value is a constant of this number alone, but for its last digits.
    pub fn is_number(&mut self, name: &str, number: f32) -> bool {
        let Ok(Value::Held(tensor)) = self.named(name) else {
            return false;
        };
        match tensor.values.as_deref() {
            Some(&[found]) => (found - number).abs() <= 1e-4 * number,
            // Shapes alone are looked at.
            None => tensor.len() == 1,
            _ => false,
        }
    }

    /// Counts numbers that others are computed of, however often.
    pub fn look_at(&mut self, numbers: usize) -> Made<()> {
        self.looked_at = self.looked_at.saturating_add(numbers);
        if self.looked_at > MAX_LOOKED_AT {
            return Err("is one step too many: constants are computed of too many others".to_owned());
        }
        Ok(())
    }

    /// Counts numbers that are computed of the file's.
    pub fn count(&mut self, numbers: usize) -> Made<()> {
        self.made = self.made.saturating_add(numbers);
        if self.made > MAX_MADE {
            return Err(format!(
                "needs more than {MAX_MADE} numbers that are not in the file"
            ));
        }
        Ok(())
    }

    /// The node that computes an output, another one than `others`.
    pub fn output(&mut self, name: &str, others: &[String]) -> Made<String> {
        let data = match self.named(name)? {
            Value::Data(data) => self.plain(data)?,
            Value::Held(tensor) => self.constant_node(&tensor)?,
            _ => return Err("is a list of integers".to_owned()),
        };
        if !others.contains(&data.node) {
            return Ok(data.node);
        }
        // The same value once more.
        let called = self.fresh(name);
        let op = Op::Reshape {
            shape: data.shape.clone(),
        };
        Ok(self.push(called, op, &[&data])?.node)
    }

    /// The nodes that outputs are computed of. A constant that is read turned and as it is would tie rows of one use to columns of
    /// the other, which a graph cannot say.
    pub fn read(self, outputs: &[String]) -> Made<Vec<NodeSpec>> {
        let mut wanted: HashSet<String> = outputs.iter().cloned().collect();
        let mut kept = Vec::new();
        for spec in self.specs.into_iter().rev() {
            // An input that nothing reads is named by the check of the graph.
            if wanted.contains(spec.name()) || matches!(spec.op(), Op::Input { .. }) {
                wanted.extend(spec.inputs().iter().cloned());
                kept.push(spec);
            }
        }
        kept.reverse();
        let constants = || kept.iter().flat_map(|spec: &NodeSpec| spec.op().constants());
        let names: HashSet<&str> = constants().filter_map(Constant::name).collect();
        let both = |name: &&&str| name.strip_suffix(TURNED).is_some_and(|stem| names.contains(stem));
        match names.iter().find(both) {
            Some(name) => Err(format!(
                "reads the constant `{}` turned round and as it is: use two parameters",
                name.strip_suffix(TURNED).unwrap_or(name)
            )),
            None => Ok(kept.into_iter().map(plainly_named).collect()),
        }
    }
}
