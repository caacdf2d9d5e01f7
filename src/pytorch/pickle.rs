//! Pickles of `torch.save`, read as a description: which tensors lie in which dictionaries, lists and modules.
//!
//! A pickle is a program for a stack machine. This reader carries out the instructions that build values, and none that
//! would import or call something. It knows the calls that make tensors and containers, and keeps the result of any other
//! call as an object whose attributes it does not look at, unless the object is a module. So a file may hold beside the
//! network whatever its writer liked, and nothing of it is run.
//!
//! Burn's own reader is stricter: one sparse tensor or one filled `defaultdict` beside a network refuses the whole file.
//!
//! Formats: Python's `pickletools` documents the instructions, PyTorch's `torch/_utils.py` the calls that make tensors.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Read};

use burn::tensor::DType;

/// The most bytes of a pickle: 32 MiB. It says where numbers lie, and holds none itself.
const MAX_BYTES: u64 = 32 << 20;
/// The most values that a pickle may build, and the most steps to find the tensors among them.
const MAX_VALUES: usize = 4_000_000;
/// The deepest that dictionaries and modules may lie in each other.
const MAX_DEPTH: usize = 100;
/// The most tensors of a file.
const MAX_TENSORS: usize = 100_000;
/// The most bytes that the names of everything in a file may take, those of dictionaries counted with what is in them.
const MAX_NAMES: usize = 64 << 20;
/// The longest name of a function or class, the longest key of a storage, in bytes, and the most dimensions of a tensor.
/// A pickle may use one text or tuple over and over, which must not fill the memory.
const MAX_GLOBAL: usize = 256;
const MAX_KEY: usize = 64;
const MAX_DIMENSIONS: usize = 64;
/// The most entries of a tensor's metadata.
const MAX_METADATA: usize = 16;

/// A value, by its place in [`Pickle::values`].
type Id = u32;

/// `None`, numbers with a fraction, bytes, and whatever else is never looked at.
const PLAIN: Id = 0;
const FALSE: Id = 1;
const TRUE: Id = 2;

#[derive(Debug)]
enum Value {
    Plain,
    Truth(bool),
    Whole(i64),
    Text(String),
    /// A list, a tuple or a set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A function or class, by its name: `torch.FloatStorage`.
    Global(String),
    /// What an unknown call gave, and its attributes.
    Object(Id),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    /// A tensor that cannot be read, and why.
    Unreadable(&'static str),
}

/// Numbers that tensors look upon.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// What its numbers are, or PyTorch's name for them where they are no floats.
    pub kind: Result<DType, String>,
    pub key: String,
    /// From which number on a view begins.
    pub from: u64,
    /// How many numbers the file says it has.
    pub length: u64,
}

/// A tensor of the file.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub offset: u64,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    /// Whether its numbers are those of the storage with the other sign.
    pub negated: bool,
}

/// Why something is not read.
type Reason = String;

/// What one pickle describes.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads up to the end of the pickle, and not beyond.
    pub fn read(input: &mut impl BufRead) -> Result<Self, Reason> {
        let mut machine = Machine {
            input: input.take(MAX_BYTES),
            values: vec![Value::Plain, Value::Truth(false), Value::Truth(true)],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            tensors: 0,
            entries: 0,
        };
        let root = machine.run()?;
        Ok(Self {
            values: machine.values,
            root,
        })
    }

    /// The tensors by their names, or why one cannot be read.
    pub fn tensors(&self) -> Result<BTreeMap<String, Result<&Tensor, &'static str>>, Reason> {
        let mut walk = Walk {
            pickle: self,
            steps: 0,
            names: 0,
            found: BTreeMap::new(),
        };
        walk.value(self.root, "", 0)?;
        Ok(walk.found)
    }

    /// The storages that a file of before PyTorch 1.6 holds, by their keys.
    pub fn storages(&self) -> HashMap<&str, &Storage> {
        let storages = self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some((storage.key.as_str(), &**storage)),
            _ => None,
        });
        storages.collect()
    }

    /// The whole number that it is.
    pub fn whole(&self) -> Option<i64> {
        match self.value(self.root) {
            Value::Whole(number) => Some(*number),
            _ => None,
        }
    }

    /// The texts that it lists.
    pub fn texts(&self) -> Option<Vec<&str>> {
        let Value::List(items) = self.value(self.root) else {
            return None;
        };
        items.iter().map(|&id| self.text(id)).collect()
    }

    fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn entry(&self, dict: Id, key: &str) -> Option<Id> {
        let Value::Dict(entries) = self.value(dict) else {
            return None;
        };
        let entry = entries
            .iter()
            .rev()
            .find(|(name, _)| self.text(*name) == Some(key));
        entry.map(|&(_, value)| value)
    }
}

/// Collects tensors with their names.
struct Walk<'a> {
    pickle: &'a Pickle,
    steps: usize,
    names: usize,
    found: BTreeMap<String, Result<&'a Tensor, &'static str>>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, id: Id, name: &str, depth: usize) -> Result<(), Reason> {
        // Dictionaries may hold each other, or one of them over and over.
        if depth > MAX_DEPTH || self.found.len() > MAX_TENSORS {
            return Err(too_deep());
        }
        self.count(1)?;
        match self.pickle.value(id) {
            Value::Tensor(tensor) => self.add(name, Ok(tensor)),
            Value::Unreadable(reason) => self.add(name, Err(reason)),
            Value::List(items) => {
                self.count(items.len())?;
                for (at, &item) in items.iter().enumerate() {
                    self.entry(&at.to_string(), item, name, depth)?;
                }
            }
            Value::Dict(entries) => {
                self.count(entries.len())?;
                for &(key, item) in entries {
                    match self.pickle.value(key) {
                        Value::Text(key) => self.entry(key, item, name, depth)?,
                        Value::Whole(key) => self.entry(&key.to_string(), item, name, depth)?,
                        // By such a key no state_dict calls a tensor.
                        _ => {}
                    }
                }
            }
            Value::Object(state) => self.module(*state, name, depth)?,
            _ => {}
        }
        Ok(())
    }

    /// Counts steps, of which a file may take so many.
    fn count(&mut self, steps: usize) -> Result<(), Reason> {
        self.steps += steps;
        if self.steps > MAX_VALUES {
            Err(too_deep())
        } else {
            Ok(())
        }
    }

    /// A module has its parameters, buffers and modules in dictionaries of these names. Any other object is passed over.
    fn module(&mut self, state: Id, name: &str, depth: usize) -> Result<(), Reason> {
        if let Value::Dict(attributes) = self.pickle.value(state) {
            self.count(4 * attributes.len())?;
        }
        if self.pickle.entry(state, "_modules").is_none() {
            return Ok(());
        }
        for attribute in ["_parameters", "_buffers", "_modules"] {
            if let Some(held) = self.pickle.entry(state, attribute) {
                self.value(held, name, depth + 1)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, key: &str, item: Id, parent: &str, depth: usize) -> Result<(), Reason> {
        let name = match self.pickle.value(item) {
            // Most of a checkpoint may be such: no name is made for it.
            Value::Plain | Value::Truth(_) | Value::Whole(_) | Value::Text(_) => return Ok(()),
            _ if parent.is_empty() => key.to_owned(),
            _ => format!("{parent}.{key}"),
        };
        self.names += name.len();
        if self.names > MAX_NAMES {
            return Err(format!("its names take more than {} MiB", MAX_NAMES >> 20));
        }
        self.value(item, &name, depth + 1)
    }

    fn add(&mut self, name: &str, tensor: Result<&'a Tensor, &'static str>) {
        let known = self.found.remove(name);
        let tensor = known.map_or(tensor, |_| Err("one of two tensors of this name"));
        self.found.insert(name.to_owned(), tensor);
    }
}

/// The stack machine.
struct Machine<R> {
    input: R,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// How long the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// How many tensors, and entries of ordered dictionaries, calls have given.
    tensors: usize,
    entries: usize,
}

fn too_deep() -> Reason {
    "its dictionaries lie in each other too deeply, or too many times".into()
}

fn damaged() -> Reason {
    "its pickle is cut short or damaged".into()
}

impl<R: BufRead> Machine<R> {
    fn run(&mut self) -> Result<Id, Reason> {
        loop {
            match self.byte()? {
                // Protocol and frames: how to buffer, not what to build.
                0x80 => drop(self.byte()?),
                0x95 => drop(self.number::<8>()?),
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => {
                    if self.marks.last() == Some(&self.stack.len()) {
                        self.marks.pop();
                    } else {
                        self.pop()?;
                    }
                }
                b'1' => drop(self.marked()?),
                b'2' => self.stack.push(self.top()?),
                b'N' => self.stack.push(PLAIN),
                0x88 => self.stack.push(TRUE),
                0x89 => self.stack.push(FALSE),
                b'J' => {
                    let bytes = self.array::<4>()?;
                    self.push(Value::Whole(i32::from_le_bytes(bytes).into()))?;
                }
                b'K' => {
                    let number = self.number::<1>()?;
                    self.push(Value::Whole(number as i64))?;
                }
                b'M' => {
                    let number = self.number::<2>()?;
                    self.push(Value::Whole(number as i64))?;
                }
                b'I' => match self.line()?.as_str() {
                    "00" => self.stack.push(FALSE),
                    "01" => self.stack.push(TRUE),
                    number => self.whole(number.parse().ok())?,
                },
                b'L' => {
                    let line = self.line()?;
                    self.whole(line.trim_end_matches('L').parse().ok())?;
                }
                0x8a => {
                    let length = self.number::<1>()?;
                    self.long(length)?;
                }
                0x8b => {
                    let length = self.number::<4>()?;
                    self.long(length)?;
                }
                b'F' => {
                    self.line()?;
                    self.stack.push(PLAIN);
                }
                b'G' => {
                    self.number::<8>()?;
                    self.stack.push(PLAIN);
                }
                b'S' => {
                    let line = self.line()?;
                    self.push(Value::Text(line.trim_matches(['\'', '"']).into()))?;
                }
                b'V' => {
                    let line = self.line()?;
                    self.push(Value::Text(line))?;
                }
                b'U' | 0x8c => {
                    let length = self.number::<1>()?;
                    self.text(length)?;
                }
                b'T' | b'X' => {
                    let length = self.number::<4>()?;
                    self.text(length)?;
                }
                0x8d => {
                    let length = self.number::<8>()?;
                    self.text(length)?;
                }
                b'C' => {
                    let length = self.number::<1>()?;
                    self.plain(length)?;
                }
                b'B' => {
                    let length = self.number::<4>()?;
                    self.plain(length)?;
                }
                0x8e | 0x96 => {
                    let length = self.number::<8>()?;
                    self.plain(length)?;
                }
                0x97 => self.stack.push(PLAIN),
                0x98 => {}
                b']' | b')' | 0x8f => self.push(Value::List(Vec::new()))?,
                b'l' | b't' | 0x91 => {
                    let items = self.marked()?;
                    self.push(Value::List(items))?;
                }
                code @ 0x85..=0x87 => {
                    let items = self.popped(usize::from(code - 0x84))?;
                    self.push(Value::List(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' | 0x90 => {
                    let items = self.marked()?;
                    self.append(&items)?;
                }
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b'd' => {
                    let items = self.marked()?;
                    self.push(Value::Dict(pairs(&items)?))?;
                }
                b's' => {
                    let items = self.popped(2)?;
                    self.set(&items)?;
                }
                b'u' => {
                    let items = self.marked()?;
                    self.set(&items)?;
                }
                b'p' => {
                    let at = self.line()?.parse().map_err(|_| damaged())?;
                    self.keep(at)?;
                }
                b'q' => {
                    let at = self.number::<1>()?;
                    self.keep(at)?;
                }
                b'r' => {
                    let at = self.number::<4>()?;
                    self.keep(at)?;
                }
                0x94 => self.keep(self.memo.len() as u64)?,
                b'g' => {
                    let at = self.line()?.parse().map_err(|_| damaged())?;
                    self.recall(at)?;
                }
                b'h' => {
                    let at = self.number::<1>()?;
                    self.recall(at)?;
                }
                b'j' => {
                    let at = self.number::<4>()?;
                    self.recall(at)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(global(&module, &name))?;
                }
                0x93 => {
                    let names = self.popped(2)?;
                    let (Value::Text(module), Value::Text(name)) =
                        (self.value(names[0]), self.value(names[1]))
                    else {
                        return Err(damaged());
                    };
                    let value = global(module, name);
                    self.push(value)?;
                }
                // Registered numbers of classes.
                0x82 => drop((self.number::<1>()?, self.object()?)),
                0x83 => drop((self.number::<2>()?, self.object()?)),
                0x84 => drop((self.number::<4>()?, self.object()?)),
                b'R' | 0x81 => {
                    let call = self.popped(2)?;
                    self.call(call[0], call[1])?;
                }
                0x92 => {
                    let call = self.popped(3)?;
                    self.call(call[0], call[1])?;
                }
                b'i' => {
                    self.line()?;
                    self.line()?;
                    self.marked()?;
                    self.object()?;
                }
                b'o' => {
                    self.marked()?;
                    self.object()?;
                }
                b'b' => {
                    let state = self.pop()?;
                    self.build(state)?;
                }
                b'P' => {
                    self.line()?;
                    self.stack.push(PLAIN);
                }
                b'Q' => {
                    let id = self.pop()?;
                    let value = self.persistent(id);
                    self.push(value)?;
                }
                _ => return Err(damaged()),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, Reason> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|_| damaged())?;
        Ok(bytes)
    }

    /// An unsigned number of `N` bytes.
    fn number<const N: usize>(&mut self) -> Result<u64, Reason> {
        let bytes = self.array::<N>()?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// As many bytes as `length` says, if there are so many. Memory is taken for those that are there.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, Reason> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(length).read_to_end(&mut bytes);
        if read.is_ok_and(|read| read as u64 == length) {
            Ok(bytes)
        } else {
            Err(damaged())
        }
    }

    fn line(&mut self) -> Result<String, Reason> {
        let mut line = Vec::new();
        let read = self.input.read_until(b'\n', &mut line);
        if read.is_err() || line.pop() != Some(b'\n') {
            return Err(damaged());
        }
        Ok(text(line))
    }

    fn text(&mut self, length: u64) -> Result<(), Reason> {
        let bytes = self.bytes(length)?;
        self.push(Value::Text(text(bytes)))
    }

    fn plain(&mut self, length: u64) -> Result<(), Reason> {
        self.bytes(length)?;
        self.stack.push(PLAIN);
        Ok(())
    }

    /// A whole number in as many bytes as `length` says. One that needs more than 64 bits is never looked at.
    fn long(&mut self, length: u64) -> Result<(), Reason> {
        let bytes = self.bytes(length)?;
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        let number = (bytes.len() <= wide.len()).then(|| {
            wide[..bytes.len()].copy_from_slice(&bytes);
            i64::from_le_bytes(wide)
        });
        self.whole(number)
    }

    fn whole(&mut self, number: Option<i64>) -> Result<(), Reason> {
        match number {
            Some(number) => self.push(Value::Whole(number))?,
            None => self.stack.push(PLAIN),
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<(), Reason> {
        if self.values.len() >= MAX_VALUES {
            return Err(format!("its pickle holds more than {MAX_VALUES} values"));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn object(&mut self) -> Result<(), Reason> {
        self.push(Value::Object(PLAIN))
    }

    fn top(&self) -> Result<Id, Reason> {
        self.stack.last().copied().ok_or_else(damaged)
    }

    fn pop(&mut self) -> Result<Id, Reason> {
        self.stack.pop().ok_or_else(damaged)
    }

    fn popped(&mut self, count: usize) -> Result<Vec<Id>, Reason> {
        let at = self.stack.len().checked_sub(count).ok_or_else(damaged)?;
        Ok(self.stack.split_off(at))
    }

    /// What lies above the last mark.
    fn marked(&mut self) -> Result<Vec<Id>, Reason> {
        let at = self.marks.pop().filter(|&at| at <= self.stack.len());
        Ok(self.stack.split_off(at.ok_or_else(damaged)?))
    }

    fn keep(&mut self, at: u64) -> Result<(), Reason> {
        let id = self.top()?;
        self.memo.insert(at, id);
        Ok(())
    }

    fn recall(&mut self, at: u64) -> Result<(), Reason> {
        let id = self.memo.get(&at).copied().ok_or_else(damaged)?;
        self.stack.push(id);
        Ok(())
    }

    fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    fn append(&mut self, items: &[Id]) -> Result<(), Reason> {
        let target = self.top()? as usize;
        match &mut self.values[target] {
            Value::List(list) => list.extend(items),
            // Of a class that is a list, too.
            value @ Value::Object(PLAIN) => *value = Value::List(items.into()),
            _ => {}
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), Reason> {
        let entries = pairs(items)?;
        let target = self.top()? as usize;
        match &mut self.values[target] {
            Value::Dict(dict) => dict.extend(entries),
            // Of a class that is a dictionary, too.
            value @ Value::Object(PLAIN) => *value = Value::Dict(entries),
            _ => {}
        }
        Ok(())
    }

    /// Gives an object its attributes. What PyTorch before 0.2 wrote as a tensor is one only now.
    fn build(&mut self, state: Id) -> Result<(), Reason> {
        let target = self.top()? as usize;
        if !matches!(self.values[target], Value::Object(_)) {
            return Ok(());
        }
        let tensor = match self.value(state) {
            Value::List(parts)
                if matches!(parts.first().map(|&id| self.value(id)), Some(Value::Storage(_))) =>
            {
                Some(self.tensor(None, parts, PLAIN))
            }
            _ => None,
        };
        self.values[target] = match tensor {
            Some(tensor) => self.counted(tensor)?,
            None => Value::Object(state),
        };
        Ok(())
    }

    /// `value`, unless it is a tensor too many.
    fn counted(&mut self, value: Value) -> Result<Value, Reason> {
        match &value {
            Value::Tensor(_) => self.tensors += 1,
            Value::Dict(entries) => self.entries += entries.len(),
            _ => {}
        }
        if self.tensors > MAX_TENSORS || self.entries > MAX_VALUES {
            return Err(format!("its pickle makes more than {MAX_TENSORS} tensors"));
        }
        Ok(value)
    }

    /// The storage that an identifier names: `("storage", torch.FloatStorage, "0", "cpu", 12)`, and in the old format what
    /// a view of it is called, where it begins and how long it is.
    fn persistent(&self, id: Id) -> Value {
        let storage = || {
            let Value::List(parts) = self.value(id) else {
                return None;
            };
            let [tag, kind, key, _, length, ..] = parts[..] else {
                return None;
            };
            let (Value::Text(tag), Value::Global(kind), Value::Text(key)) =
                (self.value(tag), self.value(kind), self.value(key))
            else {
                return None;
            };
            let from = match parts.get(5).map(|&view| self.value(view)) {
                Some(Value::List(view)) => self.size(*view.get(1)?)?,
                _ => 0,
            };
            let length = self.size(length)? as u64;
            (tag == "storage" && key.len() <= MAX_KEY).then(|| Storage {
                kind: numbers(kind),
                key: key.clone(),
                from: from as u64,
                length,
            })
        };
        storage().map_or(Value::Object(PLAIN), |storage| Value::Storage(storage.into()))
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.value(id) {
            Value::Whole(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        match self.value(id) {
            Value::List(items) if items.len() <= MAX_DIMENSIONS => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            _ => None,
        }
    }

    /// Pushes what a call gives.
    fn call(&mut self, function: Id, arguments: Id) -> Result<(), Reason> {
        let (Value::Global(name), Value::List(arguments)) = (self.value(function), self.value(arguments))
        else {
            return self.object();
        };
        match self.called(name, arguments) {
            Called::Known(id) => self.stack.push(id),
            Called::New(value) => {
                let value = self.counted(value)?;
                self.push(value)?;
            }
        }
        Ok(())
    }

    fn called(&self, name: &str, arguments: &[Id]) -> Called {
        let argument = |at: usize| arguments.get(at).copied().unwrap_or(PLAIN);
        Called::New(match name {
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                self.tensor(None, arguments, argument(6))
            }
            // Of storages without a type.
            "torch._utils._rebuild_tensor_v3" => {
                let kind = match self.value(argument(6)) {
                    Value::Global(name) => numbers(name),
                    _ => Err("unknown numbers".into()),
                };
                self.tensor(Some(kind), arguments, argument(7))
            }
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch._utils._rebuild_device_tensor_from_cpu_tensor"
            | "torch.nn.parameter.Parameter" => return Called::Known(argument(0)),
            // A subclass of tensors: what it is made from.
            "torch._tensor._rebuild_from_type_v2" => match (self.value(argument(0)), self.value(argument(2)))
            {
                // Not itself again: a file may say so without end.
                (Value::Global(inner), Value::List(arguments)) if inner != name => {
                    return self.called(inner, arguments);
                }
                _ => Value::Object(PLAIN),
            },
            "torch._utils._rebuild_sparse_tensor" => {
                Value::Unreadable("a sparse tensor, which to_dense() makes a plain one")
            }
            "torch._utils._rebuild_qtensor" => {
                Value::Unreadable("a quantised tensor, which dequantize() makes a plain one")
            }
            "torch._utils._rebuild_nested_tensor" => Value::Unreadable("a nested tensor"),
            "torch._utils._rebuild_meta_tensor_no_storage" => {
                Value::Unreadable("a tensor of the device `meta`, which has no numbers")
            }
            "torch._utils._rebuild_wrapper_subclass" | "torch._utils._rebuild_device_tensor_from_numpy" => {
                Value::Unreadable("a tensor that another library keeps")
            }
            "collections.OrderedDict" | "collections.Counter" => match self.value(argument(0)) {
                Value::Dict(_) => return Called::Known(argument(0)),
                Value::List(items) => Value::Dict(self.entries(items)),
                _ => Value::Dict(Vec::new()),
            },
            _ => Value::Object(PLAIN),
        })
    }

    /// A tensor by its storage, where it begins, its shape and its strides.
    fn tensor(&self, kind: Option<Result<DType, String>>, parts: &[Id], metadata: Id) -> Value {
        let &[storage, offset, shape, strides, ..] = parts else {
            return Value::Unreadable("a tensor without a shape");
        };
        let Value::Storage(storage) = self.value(storage) else {
            return Value::Unreadable("a tensor whose numbers are not in the file");
        };
        let (Some(offset), Some(shape), Some(strides)) =
            (self.size(offset), self.sizes(shape), self.sizes(strides))
        else {
            return Value::Unreadable("a tensor without a shape");
        };
        if shape.len() != strides.len() {
            return Value::Unreadable("a tensor without a shape");
        }
        let Some(negated) = self.is_negated(metadata) else {
            return Value::Unreadable("a tensor with more metadata than torch.save writes");
        };
        let mut storage = Storage::clone(storage);
        storage.kind = kind.unwrap_or(storage.kind);
        Value::Tensor(Box::new(Tensor {
            storage,
            offset: offset as u64,
            shape,
            strides,
            negated,
        }))
    }

    /// The pairs of a list of pairs, as `OrderedDict([("a", 1)])` has them.
    fn entries(&self, items: &[Id]) -> Vec<(Id, Id)> {
        let pair = |&item: &Id| match self.value(item) {
            Value::List(pair) => Some((*pair.first()?, *pair.get(1)?)),
            _ => None,
        };
        items.iter().filter_map(pair).collect()
    }

    /// Whether a tensor's metadata says that its sign is turned; none for metadata of too many entries to look at for each
    /// tensor.
    fn is_negated(&self, metadata: Id) -> Option<bool> {
        let Value::Dict(entries) = self.value(metadata) else {
            return Some(false);
        };
        let negated = |(key, value): &(Id, Id)| {
            matches!(self.value(*key), Value::Text(key) if key == "neg")
                && matches!(self.value(*value), Value::Truth(true))
        };
        (entries.len() <= MAX_METADATA).then(|| entries.iter().any(negated))
    }
}

/// What a call gives.
enum Called {
    /// One of the values that are there.
    Known(Id),
    New(Value),
}

fn global(module: &str, name: &str) -> Value {
    if module.len() + name.len() < MAX_GLOBAL {
        Value::Global(format!("{module}.{name}"))
    } else {
        Value::Object(PLAIN)
    }
}

/// Texts of Python 2 need not be UTF-8. What is not is shown as such.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Reason> {
    if items.len() % 2 == 1 {
        return Err(damaged());
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// The numbers of a storage class (`torch.cuda.HalfStorage`) or an element type (`torch.bfloat16`): floats, or their name.
fn numbers(name: &str) -> Result<DType, String> {
    let name = name.rsplit('.').next().unwrap_or(name);
    match name {
        "DoubleStorage" | "float64" => Ok(DType::F64),
        "FloatStorage" | "float32" => Ok(DType::F32),
        "HalfStorage" | "float16" => Ok(DType::F16),
        "BFloat16Storage" | "bfloat16" => Ok(DType::BF16),
        "LongStorage" => Err("int64".into()),
        "IntStorage" => Err("int32".into()),
        "ShortStorage" => Err("int16".into()),
        "CharStorage" => Err("int8".into()),
        "ByteStorage" => Err("uint8".into()),
        "BoolStorage" => Err("bool".into()),
        name => Err(name.strip_suffix("Storage").unwrap_or(name).to_lowercase()),
    }
}
