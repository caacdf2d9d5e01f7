//! ONNX files as this crate writes them: nodes, constants, inputs and outputs, in one operator set. Packed networks
//! ([`Model::to_onnx`](crate::packed::Model::to_onnx)) and graphs ([`Graph::to_onnx`](crate::graph::Graph::to_onnx)) are
//! written by it.
//!
//! The numbers in the code are those of the fields in ONNX's schema, `onnx.proto`.

mod protobuf;

use protobuf::Message;

/// The operator set. ONNX Runtime reads it since version 1.12, and so does tract. `Shape` can take one dimension since set 15,
/// and `Softmax` works along one dimension since set 13.
const OPSET: u64 = 17;
/// The version of the format that belongs to the operator set.
const IR_VERSION: u64 = 8;
/// The operator set of files with integers of 4 bits, and its format. ONNX Runtime reads it since version 1.18.
const OPSET_OF_4_BITS: u64 = 21;
const IR_VERSION_OF_4_BITS: u64 = 10;

/// Types of numbers, as ONNX counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    /// 32-bit floats.
    F32 = 1,
    /// Bytes.
    U8 = 2,
    /// Bytes with a sign.
    I8 = 3,
    /// Integers of 32 bits.
    #[cfg(feature = "packed")]
    I32 = 6,
    /// Integers of 64 bits, as sizes and places are.
    I64 = 7,
    /// Integers of 4 bits.
    U4 = 21,
    /// Integers of 4 bits with a sign.
    I4 = 22,
}

/// QONNX's operators that round floats to codes, their domain, and its version.
const QONNX_OPERATORS: [&str; 2] = ["Quant", "BipolarQuant"];
const QONNX: &str = "qonnx.custom_op.general";
const QONNX_VERSION: u64 = 1;

/// A setting of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attribute<'a> {
    /// An integer.
    Int(i64),
    /// Integers.
    Ints(&'a [i64]),
    /// A number.
    Float(f32),
    /// A word.
    Text(&'a str),
}

/// The size of a value along a dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side<'a> {
    /// A number.
    Fixed(usize),
    /// Any number; it is the same wherever this name is.
    Open(&'a str),
}

/// What a reader of the file is told about a value: its name, the type of its numbers, and its shape.
#[derive(Clone, Debug)]
pub(crate) struct Value(Message);

impl Value {
    /// A value of this name, type and shape.
    pub fn new<'a>(name: &str, of: Type, shape: impl IntoIterator<Item = Side<'a>>) -> Self {
        let mut sides = Message::default();
        for side in shape {
            let mut dimension = Message::default();
            match side {
                Side::Fixed(size) => dimension.number(1, size as u64),
                Side::Open(name) => dimension.text(2, name),
            }
            sides.message(1, dimension);
        }
        let mut tensor = Message::default();
        tensor.number(1, of as u64);
        tensor.message(2, sides);
        let mut kind = Message::default();
        kind.message(1, tensor);
        let mut value = Message::default();
        value.text(1, name);
        value.message(2, kind);
        Self(value)
    }
}

/// The graph of an ONNX file that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnnxGraph {
    graph: Message,
    /// Whether there is an operator of [`QONNX`].
    has_qonnx: bool,
}

impl OnnxGraph {
    /// A node that computes `output` of `inputs`. An input without a name is left out.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[String],
        output: &str,
        attributes: &[(&str, Attribute<'_>)],
    ) {
        let domain = if QONNX_OPERATORS.contains(&op) { QONNX } else { "" };
        self.has_qonnx |= domain == QONNX;
        let mut node = Message::default();
        for input in inputs {
            node.text(1, input);
        }
        node.text(2, output);
        node.text(3, name);
        node.text(4, op);
        for (name, value) in attributes {
            let mut attribute = Message::default();
            attribute.text(1, name);
            let kind = match value {
                Attribute::Float(number) => {
                    attribute.float(2, *number);
                    1
                }
                Attribute::Int(number) => {
                    attribute.number(3, *number as u64);
                    2
                }
                Attribute::Text(text) => {
                    attribute.text(4, text);
                    3
                }
                Attribute::Ints(numbers) => {
                    for &number in *numbers {
                        attribute.number(8, number as u64);
                    }
                    7
                }
            };
            attribute.number(20, kind);
            node.message(5, attribute);
        }
        if !domain.is_empty() {
            node.text(7, domain);
        }
        self.graph.message(1, node);
    }

    /// A constant of this shape; the lowest byte of each number first.
    pub fn tensor(&mut self, name: &str, of: Type, shape: &[i64], bytes: &[u8]) {
        let mut tensor = Message::default();
        for &side in shape {
            tensor.number(1, side as u64);
        }
        tensor.number(2, of as u64);
        tensor.text(8, name);
        tensor.bytes(9, bytes);
        self.graph.message(5, tensor);
    }

    /// The shape of a value between input and output, which viewers show.
    pub fn describe(&mut self, value: Value) {
        self.graph.message(13, value.0);
    }

    /// The bytes of a file with this graph in it, in the newer operator set where it has integers of 4 bits.
    pub fn into_file<'a>(
        mut self,
        has_4_bits: bool,
        network: &str,
        inputs: impl IntoIterator<Item = Value>,
        outputs: impl IntoIterator<Item = Value>,
        metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Vec<u8> {
        self.graph.text(2, network);
        for input in inputs {
            self.graph.message(11, input.0);
        }
        for output in outputs {
            self.graph.message(12, output.0);
        }
        let mut opset = Message::default();
        opset.text(1, "");
        opset.number(2, if has_4_bits { OPSET_OF_4_BITS } else { OPSET });
        let mut file = Message::default();
        file.number(
            1,
            if has_4_bits {
                IR_VERSION_OF_4_BITS
            } else {
                IR_VERSION
            },
        );
        file.text(2, "vwc-sdk");
        file.text(3, env!("CARGO_PKG_VERSION"));
        file.message(7, self.graph);
        file.message(8, opset);
        if self.has_qonnx {
            let mut opset = Message::default();
            opset.text(1, QONNX);
            opset.number(2, QONNX_VERSION);
            file.message(8, opset);
        }
        for (key, text) in metadata {
            let mut entry = Message::default();
            entry.text(1, key);
            entry.text(2, text);
            file.message(14, entry);
        }
        file.into_bytes()
    }
}
