//! Files of weights: which tensors they hold, where in the file their numbers lie, and the numbers themselves.
//!
//! Three formats are read: what `torch.save` writes today (a zip archive of a pickle and of one record for each storage), what
//! it wrote before PyTorch 1.6 (pickles, and the storages behind them), and safetensors. The first bytes of a file tell which
//! it is. Opening a file reads no numbers: a network's shapes are compared first, as a small file may declare tensors of any
//! size.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, SafeTensors};
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, Pickle};

/// How much more memory numbers may take than their file, in bytes: 64 MiB. Tensors may share numbers, or say one of them
/// over and over, and an archive may be compressed; a small file then fills any memory.
pub(super) const MAX_BEYOND_FILE: u64 = 64 << 20;
/// The most bytes of a safetensors header.
const MAX_HEADER: u64 = 100_000_000;
/// The most entries of an archive. An entry that holds nothing takes 100 bytes of the file, and several times that in memory.
const MAX_ENTRIES: usize = 200_000;
/// What a file of `torch.save` before 1.6 begins with.
const MAGIC: &[u8] = &[
    0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
];

/// What stands before the type of numbers that are no floats.
const OF_TYPE: &str = "of type ";
const CUT: &str = "its archive is cut short or damaged, copy it again";

/// What a file holds.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub tensors: BTreeMap<String, Stored>,
    /// Texts, which only safetensors hold.
    pub metadata: HashMap<String, String>,
    pub source: Source,
}

/// A tensor, and where its numbers lie.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// What its numbers are; where they are no floats, what they are instead.
    pub kind: Result<DType, String>,
    pub shape: Vec<usize>,
    place: Place,
    /// The first of its numbers in the storage, and the steps from one to the next along each dimension.
    offset: u64,
    strides: Vec<usize>,
    negated: bool,
}

/// A storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// From a byte of the file on, so many bytes.
    Bytes(u64, u64),
    /// An entry of the archive, and how many bytes of it.
    Entry(usize, u64),
    Absent,
}

/// An open file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    file: Arc<File>,
    pub length: u64,
    big_endian: bool,
}

impl Contents {
    /// Lists the tensors of a file, or says why it cannot.
    pub fn read(path: &Path) -> io::Result<Result<Self, String>> {
        let mut file = File::open(path)?;
        let source = |big_endian| {
            Ok::<_, io::Error>(Source {
                file: Arc::new(File::open(path)?),
                length: std::fs::metadata(path)?.len(),
                big_endian,
            })
        };
        let mut start = Vec::new();
        (&mut file).take(262).read_to_end(&mut start)?;
        file.rewind()?;
        // Safetensors begin with the length of a header in JSON.
        let header = start.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let header = header.filter(|&length| start.get(8) == Some(&b'{') && length <= MAX_HEADER);
        let (contents, big_endian) = if header.is_some() {
            (safetensors(file), false)
        } else if start.ends_with(b"ustar") {
            let reason = "this is a tar archive: unpack it and give the file in it that torch.save wrote; one that PyTorch \
                          before 0.1.10 wrote has to be saved again by a later version";
            return Ok(Err(reason.into()));
        } else if start.starts_with(b"PK") {
            match archive(&file) {
                Ok((tensors, big_endian)) => (Ok((tensors, HashMap::new())), big_endian),
                Err(reason) => (Err(reason), false),
            }
        } else if start[..start.len().min(32)]
            .windows(MAGIC.len())
            .any(|at| at == MAGIC)
        {
            let length = source(false)?.length;
            let tensors = old_format(&file, length);
            (tensors.map(|tensors| (tensors, HashMap::new())), false)
        } else {
            let reason =
                "this is no PyTorch or safetensors file: save the network's state_dict() with torch.save";
            return Ok(Err(reason.into()));
        };
        let source = source(big_endian)?;
        Ok(contents.map(|(tensors, metadata)| Self {
            tensors,
            metadata,
            source,
        }))
    }
}

type Tensors = BTreeMap<String, Stored>;

/// A file of `torch.save`, and whether its numbers begin with their high bytes.
fn archive(file: &File) -> Result<(Tensors, bool), String> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|_| CUT.to_string())?;
    if archive.len() > MAX_ENTRIES {
        return Err(format!(
            "its archive has {} entries, more than {MAX_ENTRIES}",
            archive.len()
        ));
    }
    // Everything lies in one folder, which is called as the file was.
    let folder = archive.file_names().flatten().find_map(|name| {
        let folder = name.strip_suffix("data.pkl")?;
        (folder.matches('/').count() <= 1).then(|| folder.to_owned())
    });
    let Some(folder) = folder else {
        return Err(
            "this is an archive without data.pkl, which torch.save does not write: save the network's \
                    state_dict() with torch.save"
                .into(),
        );
    };
    if archive
        .index_for_name(&format!("{folder}constants.pkl"))
        .is_some()
    {
        return Err(
            "this is TorchScript, which holds a program: save the module's state_dict() with torch.save"
                .into(),
        );
    }
    let damaged = |error: ZipError| format!("{CUT} ({error})");
    let big_endian = match archive.index_for_name(&format!("{folder}byteorder")) {
        Some(at) => {
            let mut order = Vec::new();
            let entry = entry(&mut archive, at).map_err(damaged)?;
            let read = entry.take(16).read_to_end(&mut order);
            read.map_err(|_| CUT.to_string())?;
            match &order[..] {
                b"little" => false,
                b"big" => true,
                _ => {
                    return Err("its record `byteorder` is neither `little` nor `big`: copy it again".into());
                }
            }
        }
        // Before PyTorch 2.1 there was none.
        None => false,
    };
    let at = archive.index_for_name(&format!("{folder}data.pkl")).ok_or(CUT)?;
    let entry = entry(&mut archive, at).map_err(damaged)?;
    let pickle = Pickle::read(&mut BufReader::new(entry))?;
    let tensors = listed(&pickle, |storage, bytes| {
        let at = archive.index_for_name(&format!("{folder}data/{}", storage.key));
        at.map_or(Place::Absent, |at| Place::Entry(at, bytes))
    })?;
    Ok((tensors, big_endian))
}

/// A file of `torch.save` before PyTorch 1.6.
fn old_format(file: &File, length: u64) -> Result<Tensors, String> {
    let mut input = BufReader::new(file);
    // What it is, the version of the format, and sizes of C's types.
    Pickle::read(&mut input)?;
    let version = Pickle::read(&mut input)?.whole();
    if version != Some(1001) {
        return Err("it is of a version of torch.save's old format other than 1001: save it again with a later PyTorch".into());
    }
    Pickle::read(&mut input)?;
    let pickle = Pickle::read(&mut input)?;
    let keys = Pickle::read(&mut input)?;
    let keys = keys.texts().ok_or("its list of storages is damaged")?;
    let storages = pickle.storages();
    let cut = || "it is cut short or damaged, copy it again".to_string();
    let mut places = HashMap::new();
    let mut at = input.stream_position().map_err(|error| error.to_string())?;
    for key in keys {
        let size = storages.get(key).and_then(|storage| size_of(&storage.kind));
        let size =
            size.ok_or_else(|| format!("it does not say what the numbers of its storage {key} are"))?;
        let mut count = [0; 8];
        input.read_exact(&mut count).map_err(|_| cut())?;
        let count = u64::from_le_bytes(count);
        if storages.get(key).map(|storage| storage.length) != Some(count) {
            return Err(cut());
        }
        let bytes = count.checked_mul(size);
        let end = bytes.and_then(|bytes| bytes.checked_add(at + 8));
        let end = end.filter(|&end| end <= length).ok_or_else(cut)?;
        places.insert(key, Place::Bytes(at + 8, end - at - 8));
        at = input
            .seek(SeekFrom::Start(end))
            .map_err(|error| error.to_string())?;
    }
    listed(&pickle, |storage, _| {
        places.get(storage.key.as_str()).cloned().unwrap_or(Place::Absent)
    })
}

/// The tensors of a pickle, by `place`, which gives where a storage of so many bytes lies.
fn listed(pickle: &Pickle, place: impl Fn(&pickle::Storage, u64) -> Place) -> Result<Tensors, String> {
    let tensors = pickle.tensors()?.into_iter().map(|(name, tensor)| {
        let stored = match tensor {
            Ok(tensor) => {
                let storage = &tensor.storage;
                let bytes = size_of(&storage.kind).and_then(|size| storage.length.checked_mul(size));
                Stored {
                    kind: tensor.kind.clone().map_err(|kind| format!("{OF_TYPE}{kind}")),
                    shape: tensor.shape.clone(),
                    place: bytes.map_or(Place::Absent, |bytes| place(storage, bytes)),
                    offset: storage.from.saturating_add(tensor.offset),
                    strides: tensor.strides.clone(),
                    negated: tensor.negated,
                }
            }
            Err(reason) => Stored {
                kind: Err(reason.into()),
                shape: Vec::new(),
                place: Place::Absent,
                offset: 0,
                strides: Vec::new(),
                negated: false,
            },
        };
        (name, stored)
    });
    Ok(tensors.collect())
}

/// A safetensors file.
fn safetensors(mut file: File) -> Result<(Tensors, HashMap<String, String>), String> {
    let damaged = |error: &dyn Display| format!("this is no safetensors file that can be read ({error})");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let stored = Stored {
            kind: match info.dtype {
                Dtype::F64 => Ok(DType::F64),
                Dtype::F32 => Ok(DType::F32),
                Dtype::F16 => Ok(DType::F16),
                Dtype::BF16 => Ok(DType::BF16),
                other => Err(format!("{OF_TYPE}{other}")),
            },
            shape: info.shape.clone(),
            place: Place::Bytes((header + 8 + from) as u64, (to - from) as u64),
            offset: 0,
            strides: row_by_row(&info.shape),
            negated: false,
        };
        (name, stored)
    });
    Ok((tensors.collect(), metadata.metadata().clone().unwrap_or_default()))
}

impl Stored {
    /// Whether it is one number that is no float, as counters of epochs and steps are.
    pub fn is_counter(&self) -> bool {
        self.shape.is_empty() && matches!(&self.kind, Err(kind) if kind.starts_with(OF_TYPE))
    }

    /// What its numbers take, as it declares itself, in bytes.
    pub fn bytes(&self) -> u64 {
        let size = self.kind.as_ref().map_or(0, |kind| kind.size() as u64);
        let lengths = self.shape.iter();
        lengths.fold(size, |bytes, &length| bytes.saturating_mul(length as u64))
    }
}

/// An entry of an archive. One without a checksum, which PyTorch writes where it is told so, is read as it lies.
fn entry<R: Read + Seek>(archive: &mut ZipArchive<R>, at: usize) -> Result<ZipFile<'_, R>, ZipError> {
    let unchecked = {
        let entry = archive.by_index_raw(at)?;
        entry.crc32() == 0 && entry.compression() == CompressionMethod::Stored
    };
    if unchecked {
        archive.by_index_raw(at)
    } else {
        archive.by_index(at)
    }
}

/// Reads the numbers of a file's tensors.
pub(super) struct Numbers<'a> {
    source: &'a Source,
    archive: Option<ZipArchive<BufReader<&'a File>>>,
    /// How many tensors are still to be read from each storage, and the storage if one has been.
    storages: HashMap<Place, (usize, Option<Vec<u8>>)>,
    /// How many bytes may still be read.
    left: u64,
}

impl<'a> Numbers<'a> {
    /// Those of `tensors`, each of which is to be read once.
    pub fn of<'t>(source: &'a Source, tensors: impl Iterator<Item = &'t Stored>) -> Self {
        let mut storages: HashMap<Place, (usize, Option<Vec<u8>>)> = HashMap::new();
        for tensor in tensors {
            storages.entry(tensor.place.clone()).or_default().0 += 1;
        }
        Self {
            source,
            archive: None,
            storages,
            left: source.length.saturating_mul(2).saturating_add(MAX_BEYOND_FILE),
        }
    }

    /// The numbers of a tensor, in the order of its shape.
    pub fn read(&mut self, tensor: &Stored) -> Result<TensorData, String> {
        let kind = *tensor.kind.as_ref().map_err(String::clone)?;
        let big_endian = self.source.big_endian;
        let (uses, known) = self.storages.remove(&tensor.place).unwrap_or_default();
        let storage = match known {
            Some(storage) => storage,
            None => self.fetch(&tensor.place)?,
        };
        let bytes = gathered(&storage, kind.size(), tensor);
        if uses > 1 {
            self.storages
                .insert(tensor.place.clone(), (uses - 1, Some(storage)));
        }
        let mut bytes = bytes.ok_or("its shape goes beyond its numbers")?;
        if big_endian {
            bytes.chunks_exact_mut(kind.size()).for_each(<[u8]>::reverse);
        }
        let data = TensorData::try_from_bytes_vec(bytes, tensor.shape.clone(), kind);
        let mut data = data.map_err(|error| error.to_string())?.convert::<f32>();
        if tensor.negated {
            let values = data.as_mut_slice::<f32>().expect("they are 32-bit floats by now");
            values.iter_mut().for_each(|value| *value = -*value);
        }
        Ok(data)
    }

    fn fetch(&mut self, place: &Place) -> Result<Vec<u8>, String> {
        let count = match *place {
            Place::Bytes(_, count) | Place::Entry(_, count) => count,
            Place::Absent => return Err("its numbers are not in the file".into()),
        };
        self.left = self.left.checked_sub(count).ok_or_else(|| {
            format!(
                "its storage of {count} bytes is one of too many for a file of {} bytes: save the network's state_dict() \
                 again, each tensor with clone()",
                self.source.length
            )
        })?;
        let mut bytes = Vec::new();
        match *place {
            Place::Bytes(at, _) => {
                let mut file = &*self.source.file;
                let read = file.seek(SeekFrom::Start(at));
                let read = read.and_then(|_| file.take(count).read_to_end(&mut bytes));
                read.map_err(|error| error.to_string())?;
            }
            Place::Entry(at, _) => {
                let archive = match &mut self.archive {
                    Some(archive) => archive,
                    none => none.insert(
                        ZipArchive::new(BufReader::new(&*self.source.file)).map_err(|_| CUT.to_string())?,
                    ),
                };
                let entry = entry(archive, at).map_err(|error| error.to_string())?;
                // One byte more, so that the end is seen, where the checksum is compared.
                let read = entry.take(count.saturating_add(1)).read_to_end(&mut bytes);
                read.map_err(|error| format!("{CUT} ({error})"))?;
            }
            Place::Absent => {}
        }
        if bytes.len() as u64 != count {
            return Err("its storage is longer or shorter than it says".into());
        }
        Ok(bytes)
    }
}

/// The numbers of a tensor, of `size` bytes each, out of its storage; none where one of them lies outside.
fn gathered(storage: &[u8], size: usize, tensor: &Stored) -> Option<Vec<u8>> {
    let count = tensor
        .shape
        .iter()
        .try_fold(1usize, |count, &length| count.checked_mul(length))?;
    if count == 0 {
        return Some(Vec::new());
    }
    let offset = usize::try_from(tensor.offset).ok()?;
    let steps = tensor.shape.iter().zip(&tensor.strides);
    let last = steps.clone().try_fold(offset, |last, (&length, &step)| {
        last.checked_add((length - 1).checked_mul(step)?)
    })?;
    if last >= storage.len() / size {
        return None;
    }
    // Along a dimension of one number no step is taken.
    let plain = row_by_row(&tensor.shape);
    let mut taken = steps.clone().zip(&plain).filter(|((length, _), _)| **length > 1);
    if taken.all(|((_, step), plain)| step == plain) {
        return Some(storage[offset * size..(last + 1) * size].to_vec());
    }
    let mut bytes = Vec::with_capacity(count.checked_mul(size)?);
    let mut place = vec![0; tensor.shape.len()];
    for _ in 0..count {
        let at = place.iter().zip(&tensor.strides);
        let at = offset + at.map(|(place, step)| place * step).sum::<usize>();
        bytes.extend_from_slice(&storage[at * size..(at + 1) * size]);
        for (place, &length) in place.iter_mut().zip(&tensor.shape).rev() {
            *place += 1;
            if *place < length {
                break;
            }
            *place = 0;
        }
    }
    Some(bytes)
}

/// The steps along each dimension where numbers lie in the order of the shape.
fn row_by_row(shape: &[usize]) -> Vec<usize> {
    let mut step = 1usize;
    let mut strides = vec![0; shape.len()];
    for (stride, &length) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.saturating_mul(length);
    }
    strides
}

/// The bytes of one number.
fn size_of(kind: &Result<DType, String>) -> Option<u64> {
    Some(match kind {
        Ok(kind) => kind.size() as u64,
        Err(kind) => match kind.as_str() {
            "int8" | "uint8" | "bool" | "qint8" | "quint8" | "quint4x2" | "quint2x4" | "untyped" => 1,
            "int16" => 2,
            "int32" | "qint32" => 4,
            "int64" | "complexfloat" => 8,
            "complexdouble" => 16,
            _ => return None,
        },
    })
}
