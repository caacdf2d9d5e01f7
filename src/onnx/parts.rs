//! What is read off a file's bytes without the decoder: how many parts it has, counted before memory is taken for them, as an
//! empty part takes two bytes of a file and hundreds of memory; and the module that each node was exported of, which the decoder
//! leaves out.

use std::{
    io::{self, Read},
    mem,
};

/// The most that the parts of a file may weigh together: a pair of names or a size is 1, any other part is [`HEAVY`].
pub(super) const MAX_WEIGHT: usize = 800_000;

/// What a part weighs that has parts of its own, or data. It takes up to 700 bytes of memory.
const HEAVY: usize = 4;

/// The deepest that messages are nested, which is as deep as the decoder goes.
const MAX_DEPTH: usize = 100;

/// The messages of ONNX, as far as they take memory.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Training,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Value,
    Type,
    TensorType,
    Shape,
    Function,
    /// A message without others in it.
    Leaf,
}

impl Message {
    /// The message in a field of this number; `None` where there is text, bytes or numbers in it.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::Value,
            (Self::Value, 2) | (Self::Attribute, 14 | 15) => Self::Type,
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1)
            | (Self::Model, 8 | 14)
            | (Self::Training, 3 | 4)
            | (Self::Graph, 14 | 16)
            | (Self::Node, 9)
            | (Self::Tensor, 3 | 13 | 16)
            | (Self::Value, 4)
            | (Self::Function, 9 | 14) => Self::Leaf,
            _ => return None,
        })
    }
}

/// What the parts of a file weigh, or `None` where it is no protobuf.
pub(super) fn weight(file: &[u8]) -> Option<usize> {
    weigh(Message::Model, file, MAX_DEPTH)
}

fn weigh(message: Message, mut bytes: &[u8], depth: usize) -> Option<usize> {
    let mut found = HEAVY;
    while !bytes.is_empty() {
        let Some((field, inside)) = field(&mut bytes)? else {
            continue;
        };
        if let Some(message) = message.field(field) {
            found += match message {
                Message::Leaf => 1,
                message => weigh(message, inside, depth.checked_sub(1)?)?,
            };
        }
    }
    Some(found)
}

/// Takes a field off the front: its number and its bytes, or `None` of one that is a number.
#[expect(
    clippy::option_option,
    reason = "bytes that are no protobuf, and a field of another kind"
)]
fn field<'a>(bytes: &mut &'a [u8]) -> Option<Option<(u64, &'a [u8])>> {
    let key = varint(bytes)?;
    let skipped = match key & 7 {
        0 => {
            varint(bytes)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        // Groups, which ONNX does not have.
        _ => return None,
    };
    let (inside, behind) = bytes.split_at_checked(skipped)?;
    *bytes = behind;
    Some((key & 7 == 2).then_some((key >> 3, inside)))
}

/// The note of a node in which PyTorch's exporter writes the modules around it, outermost first, and last what it calls itself.
const SCOPES: &[u8] = b"pkg.torch.onnx.name_scopes";

/// For each node of the graph the path of the module that it was exported of, where the file says so.
pub(super) fn scopes(file: &[u8]) -> Vec<Option<String>> {
    let nodes = fields(file, 7).flat_map(|graph| fields(graph, 1));
    nodes.map(scope).collect()
}

fn scope(node: &[u8]) -> Option<String> {
    let note = fields(node, 9).find(|note| fields(note, 1).any(|key| key == SCOPES))?;
    let scopes = std::str::from_utf8(fields(note, 2).last()?).ok()?;
    // A list of texts as Python writes it.
    let scopes: Vec<&str> = scopes.split('\'').skip(1).step_by(2).collect();
    let (_, modules) = scopes.split_last()?;
    Some((*modules.last()?).to_owned()).filter(|path| !path.is_empty())
}

/// The fields of this number that hold bytes. They end where the bytes are no protobuf.
fn fields(mut bytes: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while !bytes.is_empty() {
            match field(&mut bytes)? {
                Some((found, inside)) if found == number => return Some(inside),
                _ => {}
            }
        }
        None
    })
}

/// Reads a number of one to ten bytes, seven bits in each.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The bytes of a file, which a reader of the whole file takes without a copy.
pub(super) struct Whole(pub Vec<u8>);

impl Read for Whole {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = (&self.0[..]).read(to)?;
        self.0.drain(..read);
        Ok(read)
    }

    fn read_to_end(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        let read = self.0.len();
        if to.is_empty() {
            mem::swap(to, &mut self.0);
        } else {
            to.append(&mut self.0);
        }
        Ok(read)
    }
}
