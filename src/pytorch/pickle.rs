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

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, Read};

use burn::tensor::DType;

/// The most bytes of a pickle: 32 MiB. It says where numbers lie, and holds none itself.
const MAX_BYTES: u64 = 32 << 20;
/// The most values that a pickle may build, and the most steps to find the tensors among them.
const MAX_VALUES: usize = 4_000_000;
/// The deepest that dictionaries and modules may lie in each other.
const MAX_DEPTH: usize = 100;
/// The most tensors of a file, and the most storages, and names of functions and classes.
const MAX_TENSORS: usize = 100_000;
/// The most steps to find out which dictionaries hold tensors.
const MAX_STEPS: usize = 1 << 26;
/// The most bytes that the names of everything in a file may take, those of dictionaries counted with what is in them.
const MAX_NAMES: usize = 64 << 20;
/// The longest name of a function or class, the longest key of a storage, in bytes, and the most dimensions of a tensor.
/// A pickle may use one text or tuple over and over, which must not fill the memory.
const MAX_GLOBAL: usize = 256;
const MAX_KEY: usize = 64;
const MAX_DIMENSIONS: usize = 64;
/// The most entries of a tensor's metadata, and of its attributes.
const MAX_METADATA: usize = 256;

/// A value, by its place in [`Pickle::values`].
type Id = u32;

/// `None`, truth values, numbers with a fraction, bytes, and whatever else is never looked at.
const PLAIN: Id = 0;

#[derive(Debug)]
enum Value {
    Plain,
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
    /// What its numbers are, as [`Storage::kind`] has it.
    pub kind: Result<DType, String>,
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
            values: vec![Value::Plain],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            globals: HashMap::new(),
            tensors: 0,
            storages: 0,
            entries: 0,
        };
        let root = machine.run().map_err(|reason| match machine.input.limit() {
            0 => format!("its pickle is longer than {} MiB", MAX_BYTES >> 20),
            _ => reason,
        })?;
        Ok(Self {
            values: machine.values,
            root,
        })
    }

    /// The tensors by their names, or why one cannot be read.
    pub fn tensors(&self) -> Result<BTreeMap<String, Result<&Tensor, &'static str>>, Reason> {
        let mut walk = Walk {
            pickle: self,
            holders: self.holders()?,
            steps: 0,
            names: 0,
            found: BTreeMap::new(),
        };
        walk.value(self.root, "", 0)?;
        Ok(walk.found)
    }

    /// The storages that a file of before PyTorch 1.6 holds, by their keys.
    pub fn storages(&self) -> HashMap<&str, &Storage> {
        // Under two names the first decides, as in PyTorch.
        let storages = self.values.iter().rev().filter_map(|value| match value {
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

    /// For each value whether it is or holds a tensor: most of a checkpoint may be lists of numbers.
    fn holders(&self) -> Result<Vec<bool>, Reason> {
        let mut holders: Vec<bool> = (self.values.iter())
            .map(|value| matches!(value, Value::Tensor(_) | Value::Unreadable(_)))
            .collect();
        let mut steps = 0;
        // What holds something is mostly made before it, so one round backwards finds nearly all.
        for _ in 0..MAX_DEPTH {
            let mut changed = false;
            for at in (0..self.values.len()).rev() {
                if holders[at] {
                    continue;
                }
                let holds = |id: &Id| holders[*id as usize];
                let found = match &self.values[at] {
                    Value::List(items) => {
                        steps += items.len();
                        items.iter().any(holds)
                    }
                    Value::Dict(entries) => {
                        steps += entries.len();
                        entries.iter().any(|(_, item)| holds(item))
                    }
                    Value::Object(state) => holds(state),
                    _ => false,
                };
                holders[at] = found;
                changed |= found;
            }
            if steps > MAX_STEPS {
                return Err(too_deep());
            }
            if !changed {
                break;
            }
        }
        Ok(holders)
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
    /// For each value whether it is or holds a tensor.
    holders: Vec<bool>,
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
                    if self.holders[item as usize] {
                        self.entry(&at.to_string(), item, name, depth)?;
                    }
                }
            }
            Value::Dict(entries) => self.entries(entries, name, depth, |_| true)?,
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

    /// The entries of a dictionary: of those of one key the last, as in Python.
    fn entries(
        &mut self,
        entries: &'a [(Id, Id)],
        name: &str,
        depth: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), Reason> {
        self.count(entries.len())?;
        let mut seen = HashSet::new();
        for &(key, item) in entries.iter().rev() {
            match self.pickle.value(key) {
                Value::Text(text)
                    if seen.insert(text.as_str()) && self.holders[item as usize] && wanted(text) =>
                {
                    self.entry(text, item, name, depth)?;
                }
                Value::Whole(number) if self.holders[item as usize] => {
                    self.entry(&number.to_string(), item, name, depth)?;
                }
                // By such a key no state_dict calls a tensor.
                _ => {}
            }
        }
        Ok(())
    }

    /// A module has its parameters, buffers and modules in dictionaries of these names. Any other object is passed over.
    /// Buffers that its `state_dict()` leaves out are left out.
    fn module(&mut self, state: Id, name: &str, depth: usize) -> Result<(), Reason> {
        if let Value::Dict(attributes) = self.pickle.value(state) {
            self.count(5 * attributes.len())?;
        }
        if self.pickle.entry(state, "_modules").is_none() {
            return Ok(());
        }
        let left_out = self.pickle.entry(state, "_non_persistent_buffers_set");
        let left_out: HashSet<&str> = match left_out.map(|set| self.pickle.value(set)) {
            Some(Value::List(names)) => {
                self.count(names.len())?;
                names.iter().filter_map(|&name| self.pickle.text(name)).collect()
            }
            _ => HashSet::new(),
        };
        for attribute in ["_parameters", "_buffers", "_modules"] {
            let held = self.pickle.entry(state, attribute);
            if let Some(Value::Dict(entries)) = held.map(|held| self.pickle.value(held)) {
                let wanted = |key: &str| attribute != "_buffers" || !left_out.contains(key);
                self.entries(entries, name, depth + 1, wanted)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, key: &str, item: Id, parent: &str, depth: usize) -> Result<(), Reason> {
        let name = match parent {
            "" => key.to_owned(),
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
    /// The names of functions and classes that there are.
    globals: HashMap<String, Id>,
    /// How many tensors and storages there are, and how many entries of ordered dictionaries were looked at.
    tensors: usize,
    storages: usize,
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
                b'N' | 0x88 | 0x89 | 0x97 => self.stack.push(PLAIN),
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
                    "00" | "01" => self.stack.push(PLAIN),
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
                    let name = global(&self.line()?, &self.line()?);
                    self.global(name)?;
                }
                0x93 => {
                    let names = self.popped(2)?;
                    let (Value::Text(module), Value::Text(name)) =
                        (self.value(names[0]), self.value(names[1]))
                    else {
                        return Err(damaged());
                    };
                    let name = global(module, name);
                    self.global(name)?;
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
                    let value = self.counted(value)?;
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

    fn global(&mut self, name: Option<String>) -> Result<(), Reason> {
        let Some(name) = name else {
            return self.object();
        };
        match self.globals.get(&name) {
            Some(&known) => self.stack.push(known),
            None if self.globals.len() >= MAX_TENSORS => {
                return Err(format!(
                    "its pickle names more than {MAX_TENSORS} functions and classes"
                ));
            }
            None => {
                self.push(Value::Global(name.clone()))?;
                self.globals.insert(name, self.top()?);
            }
        }
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
        let parts = match self.value(state) {
            Value::List(parts)
                if matches!(parts.first().map(|&id| self.value(id)), Some(Value::Storage(_))) =>
            {
                Some(parts)
            }
            _ => None,
        };
        self.values[target] = match (&self.values[target], parts) {
            (Value::Object(_) | Value::Tensor(_), Some(parts)) if parts.len() == 4 => {
                let tensor = self.tensor(None, parts, PLAIN);
                self.counted(tensor)?
            }
            (Value::Object(_), None) => Value::Object(state),
            (Value::Object(_) | Value::Tensor(_), _) => {
                Value::Unreadable("a tensor that is changed after it was made")
            }
            _ => return Ok(()),
        };
        Ok(())
    }

    /// `value`, unless it is a tensor too many.
    fn counted(&mut self, value: Value) -> Result<Value, Reason> {
        match &value {
            Value::Tensor(_) => self.tensors += 1,
            Value::Storage(_) => self.storages += 1,
            _ => {}
        }
        if self.tensors.max(self.storages) > MAX_TENSORS {
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
        // The pairs of `OrderedDict([...])` are gone through each time.
        if let Value::List(arguments) = self.value(arguments)
            && let Some(Value::List(pairs)) = arguments.first().map(|&id| self.value(id))
        {
            self.entries += pairs.len();
        }
        if self.entries > MAX_STEPS {
            return Err("its pickle goes through the same lists too many times".into());
        }
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
            "torch._utils._rebuild_parameter" | "torch.nn.parameter.Parameter" => {
                return Called::Known(argument(0));
            }
            "torch._utils._rebuild_parameter_with_state" if !self.sets_data(argument(3)) => {
                return Called::Known(argument(0));
            }
            "torch._utils._rebuild_device_tensor_from_cpu_tensor"
                if let (Value::Tensor(tensor), Value::Global(kind)) =
                    (self.value(argument(0)), self.value(argument(1)))
                    && numbers(kind) == tensor.kind =>
            {
                return Called::Known(argument(0));
            }
            "torch._utils._rebuild_parameter_with_state"
            | "torch._utils._rebuild_device_tensor_from_cpu_tensor" => {
                Value::Unreadable("a tensor that is changed after it was made")
            }
            // A subclass of tensors: what it is made from.
            "torch._tensor._rebuild_from_type_v2" if self.sets_data(argument(3)) => {
                Value::Unreadable("a tensor that is changed after it was made")
            }
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
            "builtins.set" | "__builtin__.set" | "builtins.frozenset" | "__builtin__.frozenset" => {
                match self.value(argument(0)) {
                    Value::List(_) => return Called::Known(argument(0)),
                    _ => Value::List(Vec::new()),
                }
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
        Value::Tensor(Box::new(Tensor {
            kind: kind.unwrap_or_else(|| storage.kind.clone()),
            storage: Storage::clone(storage),
            offset: offset as u64,
            shape,
            strides,
            negated,
        }))
    }

    /// Whether the attributes that a tensor is given hold its numbers, or are too many to look at for each tensor.
    fn sets_data(&self, state: Id) -> bool {
        match self.value(state) {
            Value::Dict(entries) => {
                entries.len() > MAX_METADATA
                    || (entries.iter())
                        .any(|(key, _)| matches!(self.value(*key), Value::Text(key) if key == "data"))
            }
            // Attributes and slots. Each is a dictionary, so this goes no deeper.
            Value::List(both) => (both.iter().take(2)).any(|&state| match self.value(state) {
                Value::Dict(_) => self.sets_data(state),
                _ => false,
            }),
            _ => false,
        }
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
        // PyTorch goes by the key, whatever stands there.
        let negated = |(key, _): &(Id, Id)| matches!(self.value(*key), Value::Text(key) if key == "neg");
        (entries.len() <= MAX_METADATA).then(|| entries.iter().any(negated))
    }
}

/// What a call gives.
enum Called {
    /// One of the values that are there.
    Known(Id),
    New(Value),
}

/// The name of a function or class, unless it is longer than any that is known here: long texts, which a pickle may look up
/// over and over, are not copied.
fn global(module: &str, name: &str) -> Option<String> {
    (module.len() + name.len() < MAX_GLOBAL).then(|| format!("{module}.{name}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A pickle of these instructions.
    fn pickle(parts: &[&[u8]]) -> Result<Pickle, Reason> {
        Pickle::read(&mut &parts.concat()[..])
    }

    /// `LONG_BINPUT` and `LONG_BINGET`.
    const KEEP: [&[u8]; 4] = [b"r\0\0\0\0", b"r\x01\0\0\0", b"r\x02\0\0\0", b"r\x03\0\0\0"];
    const GET: [&[u8]; 4] = [b"h\0", b"h\x01", b"h\x02", b"h\x03"];

    /// One number, and a call that makes a tensor of it.
    const TENSOR: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
        X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0K\x01\x85K\x01\x85\x89Nt";

    fn text(text: &str) -> Vec<u8> {
        [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn what_holds_no_tensor_costs_nothing() {
        // A list of a million entries, held ten thousand times; a list that holds itself; one in one, two hundred deep.
        let wide = [b"](", &b"N".repeat(1_000_000)[..], b"e", KEEP[0], b"0"].concat();
        let held = [b"](", &GET[0].repeat(10_000)[..], b"e"].concat();
        let own = [b"]", KEEP[1], GET[1], b"a"].concat();
        let deep = [&b"]".repeat(200)[..], &b"a".repeat(199)].concat();
        let named = [text("t"), TENSOR.to_vec(), b"R".to_vec()].concat();
        let found = pickle(&[
            &wide,
            b"}(",
            &text("a"),
            &held,
            &text("b"),
            &own,
            &text("c"),
            &deep,
            &named,
            b"u.",
        ]);
        let found = found.unwrap();
        let tensors = found.tensors().unwrap();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["t"]);
        assert!(tensors["t"].is_ok());
    }

    #[test]
    fn what_is_used_over_and_over_is_kept_once_or_refused() {
        // A name of a function, looked up two million times.
        let names = [
            text(&"m".repeat(120)),
            KEEP[0].to_vec(),
            text(&"n".repeat(120)),
            KEEP[1].to_vec(),
        ]
        .concat();
        let looked_up = [GET[0], GET[1], b"\x93"].concat().repeat(2_000_000);
        let found = pickle(&[&names, b"(", &looked_up, b"l."]).unwrap();
        assert!(found.values.len() < 10);
        // A storage.
        let id = [
            b"(",
            &text("storage")[..],
            b"ctorch\nFloatStorage\n",
            &text("0"),
            &text("cpu"),
            b"K\x01t",
            KEEP[0],
        ];
        let found = pickle(&[
            &id.concat(),
            b"(",
            &[GET[0], b"Q"].concat().repeat(200_000),
            b"l.",
        ]);
        assert!(found.unwrap_err().contains("more than 100000 tensors"));
        // A list of what are no pairs, gone through for each dictionary.
        let list = [b"](", &b"N".repeat(1_000_000)[..], b"e\x85", KEEP[0], b"0"].concat();
        let ordered = [b"ccollections\nOrderedDict\n", GET[0], b"R"].concat();
        let found = pickle(&[&list, b"(", &ordered.repeat(1000), b"l."]);
        assert!(found.unwrap_err().contains("the same lists too many times"));
        // Metadata that each of many tensors has.
        let metadata = [b"}(", &b"K\x01N".repeat(1000)[..], b"u", KEEP[0], b"0"].concat();
        let tensor = [&TENSOR[..TENSOR.len() - 1], GET[0], b"tR"].concat();
        let found = pickle(&[&metadata, &tensor, b"."]).unwrap();
        assert!(found.tensors().unwrap().values().all(Result::is_err));
        // The attributes of an object, which many objects have.
        let state = [
            b"}(",
            &text("_modules")[..],
            TENSOR,
            b"R",
            &b"K\x01N".repeat(100_000),
            b"u",
            KEEP[0],
            b"0",
        ]
        .concat();
        let objects = [b"\x82\x01", GET[0], b"b"].concat().repeat(100_000);
        let found = pickle(&[&state, b"(", &objects, b"l."]).unwrap();
        assert!(found.tensors().unwrap_err().contains("too many times"));
        // Dictionaries that hold the next one twice.
        let doubled = |n: u8| {
            [
                b"}(",
                &text("a")[..],
                b"h",
                &[n],
                &text("b"),
                b"h",
                &[n],
                b"uq",
                &[n + 1],
                b"0",
            ]
            .concat()
        };
        let doubled: Vec<u8> = (0..60).flat_map(doubled).collect();
        let found = pickle(&[TENSOR, b"Rq\x000", &doubled, b"h\x3c."]).unwrap();
        assert!(found.tensors().unwrap_err().contains("too many times"));
    }

    #[test]
    fn a_tensor_that_is_changed_later_is_never_the_old_one() {
        let start = TENSOR.iter().position(|&byte| byte == b'(').unwrap();
        let mut other = TENSOR[start + 1..TENSOR.len() - 3].to_vec();
        let key = other.iter().position(|&byte| byte == b'0').unwrap();
        other[key] = b'1';
        // `set_` to another storage, of which PyTorch's loader takes four parts.
        let set = [TENSOR, b"R(", &other, b"tb."].concat();
        let set = pickle(&[&set]).unwrap();
        let tensors = set.tensors().unwrap();
        assert_eq!(tensors[""].unwrap().storage.key, "1");
        // Attributes that hold the numbers.
        let state = [b"}", &text("data")[..], b"Ns"].concat();
        let with = [
            b"ctorch._utils\n_rebuild_parameter_with_state\n(",
            TENSOR,
            b"R\x89N",
            &state,
            b"tR.",
        ]
        .concat();
        assert!(pickle(&[&with]).unwrap().tensors().unwrap()[""].is_err());
        let plain = [
            b"ctorch._utils\n_rebuild_parameter_with_state\n(",
            TENSOR,
            b"R\x89N}tR.",
        ]
        .concat();
        assert!(pickle(&[&plain]).unwrap().tensors().unwrap()[""].is_ok());
    }

    #[test]
    fn of_entries_with_one_key_the_last_counts() {
        let entries = [
            &text("a")[..],
            TENSOR,
            b"R",
            &text("a"),
            b"N",
            &text("b"),
            b"N",
            &text("b"),
            TENSOR,
            b"R",
        ];
        let found = pickle(&[b"}(", &entries.concat(), b"u."]).unwrap();
        assert_eq!(found.tensors().unwrap().keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn long_pickles_are_called_so() {
        let found = pickle(&[&b"N".repeat(MAX_BYTES as usize + 1)]);
        assert_eq!(found.unwrap_err(), "its pickle is longer than 32 MiB");
        assert!(pickle(&[b"N"]).unwrap_err().contains("cut short"));
    }
}
