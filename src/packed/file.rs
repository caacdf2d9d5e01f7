//! One file: a header, the plan as JSON, the numbers. `docs/packed-format.md` describes it for other readers.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::spec::{Plan, Spec, is_rgb};
use super::tensor::{Tensor, Words};
use super::{Model, PackedError};
use crate::files;

const MAGIC: [u8; 8] = *b"VWCPACK\n";
/// Of the layout: the latest that is read.
const VERSION: u32 = 3;
/// Of the layout without the general steps. A file says the earliest version that has all it needs, so that older versions of this
/// crate read it where they can.
const VERSION_FUSED: u32 = 2;
/// Of the layout without another order of channels than red, green, blue.
const VERSION_RGB: u32 = 1;
/// Bytes of the header: magic, version, checksum, length of the file, length of the plan.
const HEADER: usize = 32;
/// The checksum is over everything from here on.
const CHECKED: usize = 16;
/// Where numbers begin, in bytes: a cache line.
const ALIGN: usize = 64;

/// The plan, and where its numbers are.
#[derive(Serialize, Deserialize)]
struct Manifest {
    #[serde(flatten)]
    plan: Plan,
    tensors: Vec<Entry>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Entry {
    kind: Kind,
    /// In bytes, from where the numbers begin.
    start: usize,
    /// In elements.
    len: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    F32,
    I32,
    U8,
    U64,
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 | Self::I32 => 4,
            Self::U64 => 8,
        }
    }
}

impl Model {
    /// Reads the file at `path`. Packed weights stay where they lie in it, mapped into memory.
    ///
    /// A mapped file must not change while the model is in use. [`Model::save`] replaces files and changes none.
    ///
    /// # Errors
    ///
    /// [`PackedError::Io`]; [`PackedError::File`] where the file is no packed network, cut short or damaged;
    /// [`PackedError::Version`] where it is of a later layout; [`PackedError::Step`] where it says what cannot be
    /// computed.
    pub fn open(path: &Path) -> Result<Self, PackedError> {
        // Before it is opened: a pipe would be waited for.
        let metadata = std::fs::metadata(path).map_err(PackedError::io(path, "open"))?;
        if !metadata.is_file() {
            return Err(PackedError::File(
                "a folder, pipe or device is there: give the file that `vwc-sdk export` wrote".into(),
            ));
        }
        let file = File::open(path).map_err(PackedError::io(path, "open"))?;
        let length = file.metadata().map_err(PackedError::io(path, "read"))?.len();
        if length < HEADER as u64 {
            return Err(short(length as usize));
        }
        // SAFETY: the one thing a mapping asks for is that nobody changes the file meanwhile, which the documentation
        // passes on.
        let map = unsafe { Mmap::map(&file) }.map_err(PackedError::io(path, "map"))?;
        let map = Arc::new(map);
        read(&map, Some(&map))
    }

    /// Reads a file that is in memory: one that the program brings along, say.
    ///
    /// # Errors
    ///
    /// As [`Model::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackedError> {
        read(bytes, None)
    }

    /// The network as a file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut numbers = Vec::new();
        let tensors = (self.spec.tensors.iter())
            .map(|tensor| {
                numbers.resize(numbers.len().next_multiple_of(ALIGN), 0);
                let start = numbers.len();
                let (kind, len) = match tensor {
                    Tensor::F32(x) => {
                        numbers.extend(x.iter().flat_map(|x| x.to_le_bytes()));
                        (Kind::F32, x.len())
                    }
                    Tensor::I32(x) => {
                        numbers.extend(x.iter().flat_map(|x| x.to_le_bytes()));
                        (Kind::I32, x.len())
                    }
                    Tensor::Bytes(x) => {
                        numbers.extend(x);
                        (Kind::U8, x.len())
                    }
                    Tensor::Words(x) => {
                        numbers.extend(x.iter().flat_map(|x| x.to_le_bytes()));
                        (Kind::U64, x.len())
                    }
                };
                Entry { kind, start, len }
            })
            .collect();
        let manifest = Manifest {
            plan: self.spec.plan.clone(),
            tensors,
        };
        let text = serde_json::to_vec(&manifest).expect("a plan is plain data");
        let begin = (HEADER + text.len()).next_multiple_of(ALIGN);
        let mut bytes = vec![0; begin];
        bytes[HEADER..][..text.len()].copy_from_slice(&text);
        bytes.extend(numbers);
        let length = bytes.len() as u64;
        bytes[..8].copy_from_slice(&MAGIC);
        let plan = &self.spec.plan;
        let version = if plan.steps.iter().any(|step| step.op.is_general()) {
            VERSION
        } else if is_rgb(&plan.channels) {
            VERSION_RGB
        } else {
            VERSION_FUSED
        };
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        bytes[24..32].copy_from_slice(&(text.len() as u64).to_le_bytes());
        let sum = crc32fast::hash(&bytes[CHECKED..]);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Writes the file: under another name first, which is then changed to `path`.
    ///
    /// # Errors
    ///
    /// [`PackedError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), PackedError> {
        files::write(path, &self.to_bytes()).map_err(PackedError::io(path, "write"))
    }
}

fn short(length: usize) -> PackedError {
    PackedError::File(format!(
        "it is {length} bytes long, too short for a header of {HEADER}: export the network again"
    ))
}

fn read(bytes: &[u8], mapped: Option<&Arc<Mmap>>) -> Result<Model, PackedError> {
    let refuse = |reason: String| Err(PackedError::File(reason));
    if bytes.len() < HEADER {
        return Err(short(bytes.len()));
    }
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..][..4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..][..8].try_into().expect("eight bytes"));
    if bytes[..8] != MAGIC {
        return refuse("it does not begin as one; `vwc-sdk export` writes them".into());
    }
    // Before the checksum: a later layout may have another.
    let version = u32_at(8);
    if version > VERSION {
        return Err(PackedError::Version {
            found: version,
            known: VERSION,
        });
    }
    if version == 0 {
        return refuse("its layout has version 0, which there is not: export the network again".into());
    }
    let length = u64_at(16);
    if length != bytes.len() as u64 {
        return refuse(format!(
            "it is {} bytes long, and was {length} when it was written: copy it again",
            bytes.len()
        ));
    }
    let (sum, expected) = (crc32fast::hash(&bytes[CHECKED..]), u32_at(12));
    if sum != expected {
        return refuse(format!(
            "its checksum is {sum:08x}, expected {expected:08x}: it is damaged, copy it again"
        ));
    }
    let plan = usize::try_from(u64_at(24))
        .ok()
        .filter(|&plan| plan <= bytes.len() - HEADER);
    let Some(plan) = plan else {
        return refuse(format!(
            "its plan is {} bytes long, more than the file: export the network again",
            u64_at(24)
        ));
    };
    let manifest: Manifest = match serde_json::from_slice(&bytes[HEADER..][..plan]) {
        Ok(manifest) => manifest,
        Err(error) => {
            return refuse(format!(
                "its plan cannot be read ({error}): export the network again"
            ));
        }
    };
    let begin = (HEADER + plan).next_multiple_of(ALIGN);
    let mut places = Vec::with_capacity(manifest.tensors.len());
    let mut tensors = Vec::with_capacity(manifest.tensors.len());
    // No number is taken twice, so that the file's length bounds what its tensors take.
    for (n, Entry { kind, start, len }) in manifest.tensors.iter().enumerate() {
        let bytes = len.saturating_mul(kind.size());
        places.push((*start, start.saturating_add(bytes), n));
    }
    places.sort_unstable();
    if let Some([_, (start, _, n)]) = places.array_windows().find(|[before, next]| next.0 < before.1) {
        return refuse(format!(
            "tensor {n} begins at {start}, within another one: export the network again"
        ));
    }
    for (n, Entry { kind, start, len }) in manifest.tensors.into_iter().enumerate() {
        let within = || {
            let end = start.checked_add(len.checked_mul(kind.size())?)?;
            bytes.get(begin..)?.get(start..end)
        };
        let (Some(numbers), true) = (within(), start.is_multiple_of(ALIGN)) else {
            return refuse(format!(
                "tensor {n} begins at {start} and has {len} elements, which does not fit the file: export the network \
                 again"
            ));
        };
        tensors.push(match (kind, mapped) {
            (Kind::F32, _) => Tensor::F32(elements(numbers, f32::from_le_bytes)),
            (Kind::I32, _) => Tensor::I32(elements(numbers, i32::from_le_bytes)),
            (Kind::U8, _) => Tensor::Bytes(numbers.to_vec()),
            (Kind::U64, Some(file)) if cfg!(target_endian = "little") => Tensor::Words(Words::Mapped {
                file: file.clone(),
                start: begin + start,
                len,
            }),
            (Kind::U64, _) => Tensor::Words(Words::Owned(elements(numbers, u64::from_le_bytes))),
        });
    }
    Model::new(Spec {
        plan: manifest.plan,
        tensors,
    })
}

fn elements<T, const N: usize>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|&element| from(element)).collect()
}
