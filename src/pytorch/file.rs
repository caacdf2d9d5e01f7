//! Files of weights: which tensors they hold, where in the file their numbers lie, and the numbers themselves.
//!
//! Three formats are read: what `torch.save` writes today (a zip archive of a pickle and of one record for each storage), what
//! it wrote before PyTorch 1.6 (pickles, and the storages behind them), and safetensors. The first bytes of a file tell which
//! it is. Opening a file reads no numbers: a network's shapes are compared first, as a small file may declare tensors of any
//! size.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
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
    pub kind: Kind,
    pub shape: Vec<usize>,
    /// Its storage; none where that is not in the file.
    place: Option<Place>,
    /// The first of its numbers in the storage, and the steps from one to the next along each dimension.
    offset: u64,
    strides: Vec<usize>,
    negated: bool,
}

/// What a tensor is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Floats(DType),
    /// Numbers of another type, by its name.
    Numbers(String),
    /// No plain tensor, but this.
    Other(&'static str),
}

/// Where a storage lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    at: At,
    /// How many bytes it has.
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// From this byte of the file on.
    Byte(u64),
    /// In this entry of the archive.
    Entry(usize),
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
        let length = file.metadata()?.len();
        let mut start = Vec::new();
        (&mut file).take(262).read_to_end(&mut start)?;
        file.rewind()?;
        let without_metadata = |tensors: Tensors| (tensors, HashMap::new());
        let mut big_endian = false;
        // Safetensors begin with the length of a header in JSON.
        let header = start.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let header = header.filter(|&length| start.get(8) == Some(&b'{') && length <= MAX_HEADER);
        let contents = if header.is_some() {
            safetensors(&file)
        } else if start.ends_with(b"ustar") {
            let reason = "this is a tar archive: unpack it and give the file in it that torch.save wrote; one that PyTorch \
                          before 0.1.10 wrote has to be saved again by a later version";
            Err(reason.into())
        } else if start.starts_with(b"PK") {
            archive(&file).map(|(tensors, high_bytes_first)| {
                big_endian = high_bytes_first;
                without_metadata(tensors)
            })
        } else if start[..start.len().min(32)]
            .windows(MAGIC.len())
            .any(|at| at == MAGIC)
        {
            old_format(&file, length).map(without_metadata)
        } else {
            let reason =
                "this is no PyTorch or safetensors file: save the network's state_dict() with torch.save";
            Err(reason.into())
        };
        Ok(contents.map(|(tensors, metadata)| Self {
            tensors,
            metadata,
            source: Source {
                file: Arc::new(file),
                length,
                big_endian,
            },
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
        let at = At::Entry(at?);
        Some(Place { at, bytes })
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
        let (at_byte, bytes) = (at + 8, end - at - 8);
        places.insert(
            key,
            Place {
                at: At::Byte(at_byte),
                bytes,
            },
        );
        at = input
            .seek(SeekFrom::Start(end))
            .map_err(|error| error.to_string())?;
    }
    listed(&pickle, |storage, _| places.get(storage.key.as_str()).copied())
}

/// The tensors of a pickle, by `place`, which gives where a storage of so many bytes lies.
fn listed(
    pickle: &Pickle,
    place: impl Fn(&pickle::Storage, u64) -> Option<Place>,
) -> Result<Tensors, String> {
    let tensors = pickle.tensors()?.into_iter().map(|(name, tensor)| {
        let stored = match tensor {
            Ok(tensor) => {
                let storage = &tensor.storage;
                let bytes = size_of(&storage.kind).and_then(|size| storage.length.checked_mul(size));
                Stored {
                    kind: match &tensor.kind {
                        Ok(kind) => Kind::Floats(*kind),
                        Err(kind) => Kind::Numbers(kind.clone()),
                    },
                    shape: tensor.shape.clone(),
                    place: bytes.and_then(|bytes| place(storage, bytes)),
                    offset: storage.from.saturating_add(tensor.offset),
                    strides: tensor.strides.clone(),
                    negated: tensor.negated,
                }
            }
            Err(what) => Stored {
                kind: Kind::Other(what),
                shape: Vec::new(),
                place: None,
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
fn safetensors(mut file: &File) -> Result<(Tensors, HashMap<String, String>), String> {
    let damaged = |error: &dyn Display| format!("this is no safetensors file that can be read ({error})");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let stored = Stored {
            kind: match info.dtype {
                Dtype::F64 => Kind::Floats(DType::F64),
                Dtype::F32 => Kind::Floats(DType::F32),
                Dtype::F16 => Kind::Floats(DType::F16),
                Dtype::BF16 => Kind::Floats(DType::BF16),
                other => Kind::Numbers(other.to_string()),
            },
            shape: info.shape.clone(),
            place: Some(Place {
                at: At::Byte((header + 8 + from) as u64),
                bytes: (to - from) as u64,
            }),
            offset: 0,
            strides: row_by_row(&info.shape),
            negated: false,
        };
        (name, stored)
    });
    Ok((tensors.collect(), metadata.metadata().clone().unwrap_or_default()))
}

impl Kind {
    /// Which floats its numbers are, if they are such.
    pub fn floats(&self) -> Option<DType> {
        match self {
            Self::Floats(kind) => Some(*kind),
            _ => None,
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floats(kind) => write!(f, "of type {kind:?}"),
            Self::Numbers(kind) => write!(f, "of type {kind}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl Stored {
    /// Whether it is one number that is no float, as counters of epochs and steps are.
    pub fn is_counter(&self) -> bool {
        self.shape.is_empty() && matches!(self.kind, Kind::Numbers(_))
    }

    /// What its numbers take, as it declares itself, in bytes.
    pub fn bytes(&self) -> u64 {
        let size = self.kind.floats().map_or(0, |kind| kind.size() as u64);
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
            if let Some(place) = tensor.place {
                storages.entry(place).or_default().0 += 1;
            }
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
        let kind = tensor.kind.floats().ok_or_else(|| tensor.kind.to_string())?;
        let place = tensor.place.ok_or("its numbers are not in the file")?;
        let (uses, known) = self.storages.remove(&place).unwrap_or_default();
        let storage = match known {
            Some(storage) => storage,
            None => self.fetch(place)?,
        };
        let bytes = gathered(&storage, kind.size(), tensor);
        if uses > 1 {
            self.storages.insert(place, (uses - 1, Some(storage)));
        }
        let mut bytes = bytes.ok_or("its shape goes beyond its numbers")?;
        if self.source.big_endian {
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

    fn fetch(&mut self, place: Place) -> Result<Vec<u8>, String> {
        let Place { at, bytes: count } = place;
        self.left = self.left.checked_sub(count).ok_or_else(|| {
            format!(
                "its storage of {count} bytes is one of too many for a file of {} bytes: save the network's state_dict() \
                 again, each tensor with clone()",
                self.source.length
            )
        })?;
        let mut bytes = Vec::new();
        match at {
            At::Byte(at) => {
                let mut file = &*self.source.file;
                let read = file.seek(SeekFrom::Start(at));
                let read = read.and_then(|_| file.take(count).read_to_end(&mut bytes));
                read.map_err(|error| error.to_string())?;
            }
            At::Entry(at) => {
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
