//! A small reader of MATLAB 5 files (`save -v6` and `save -v7`): named numeric arrays, nothing else.
//!
//! Own code because the readers there are print to standard output, inflate without a limit and copy the data several
//! times over; the largest file read here holds 1.6 GB of pixels. This one streams: a compressed array is inflated
//! straight into the vector it ends up in, and arrays nobody asked for are skipped.
//!
//! A file is not trusted. Every length is compared with the bytes that are really there before memory is set aside
//! for it, the dimensions must agree with the amount of data, an array may take at most [`MAX_ARRAY_BYTES`], and no
//! more is inflated than the dimensions announce.
//!
//! # The format
//!
//! A header of 128 bytes, whose last two tell the byte order, then elements: a tag (type and length, four bytes each),
//! the data, and padding to a multiple of eight. Up to four bytes of data may instead sit in the tag itself. An array
//! is an element made of elements: flags, dimensions, name, values. A compressed element is a zlib stream with one
//! array in it, and is not padded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Take};
use std::path::Path;

use flate2::bufread::ZlibDecoder;

use super::error::DataError;

/// The most memory one array may take, in bytes: 2 GiB. The largest SVHN array has 1,631,634,432.
pub const MAX_ARRAY_BYTES: u64 = 2 << 30;

/// No array has more dimensions than this.
const MAX_DIMS: u64 = 32;
/// No name is longer than this; MATLAB itself stops at 63.
const MAX_NAME: u64 = 1024;
/// Deflate spends at least two bits on 258 equal bytes, so it never shrinks data more than this.
const MAX_DEFLATE_RATIO: u64 = 1032;
const HEADER: usize = 128;
const TAG: u64 = 8;

/// A numeric array from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Lengths of the dimensions; the first varies fastest in `values`.
    pub dims: Vec<usize>,
    /// As many values as the product of `dims`.
    pub values: Values,
}

/// The values of an [`Array`], by how the file stores them.
///
/// MATLAB stores an array of doubles as bytes when all of them are small whole numbers, so the stored type and not the
/// type in MATLAB decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Stored as unsigned bytes.
    Bytes(Vec<u8>),
    /// Stored as any other number. Integers beyond 2^53 are rounded.
    Numbers(Vec<f64>),
}

/// Reads the arrays called `names`, in that order. Other arrays are skipped.
///
/// # Errors
///
/// When the file cannot be read ([`DataError::Io`]), is no MATLAB 5 file ([`DataError::WrongFormat`],
/// [`DataError::Hdf5`]), ends early ([`DataError::Truncated`]), contradicts itself ([`DataError::Damaged`]), lacks an
/// array ([`DataError::MissingArray`]), or has one that is not real and numeric ([`DataError::ArrayKind`]) or is larger
/// than [`MAX_ARRAY_BYTES`] ([`DataError::TooLarge`]).
pub fn read<const N: usize>(path: &Path, names: [&str; N]) -> Result<[Array; N], DataError> {
    let io = |action| {
        move |source| DataError::Io {
            path: path.to_path_buf(),
            action,
            source,
        }
    };
    let file = File::open(path).map_err(io("open"))?;
    let length = file.metadata().map_err(io("read"))?.len();
    let mut file = BufReader::new(file);
    let big_endian = header(path, &mut file, length)?;

    let mut found: [Option<Array>; N] = [const { None }; N];
    let mut position = HEADER as u64;
    while position < length && found.iter().any(Option::is_none) {
        let truncated = |expected: u64| DataError::Truncated {
            path: path.to_path_buf(),
            expected: format!("at least {expected}"),
            found: length,
        };
        if length - position < TAG {
            return Err(truncated(position + TAG));
        }
        let tag = Source::new(path, big_endian, TAG, &mut file).tag()?;
        let body = match (tag.small, tag.kind) {
            // Read with the tag.
            (Some(_), _) => 0,
            // The parts of an array are padded, so the array needs no more.
            (None, kind::MATRIX | kind::COMPRESSED) => tag.length,
            (None, _) => tag.length.next_multiple_of(TAG),
        };
        let end = position + TAG + body;
        if end > length {
            return Err(truncated(end));
        }
        let wanted = match tag.kind {
            kind::MATRIX => matrix(&mut Source::new(path, big_endian, body, &mut file), &names)?,
            kind::COMPRESSED => compressed(path, big_endian, body, &mut file, &names)?,
            _ => None,
        };
        if let Some((index, array)) = wanted {
            found[index].get_or_insert(array);
        }
        file.seek(SeekFrom::Start(end)).map_err(io("read"))?;
        position = end;
    }

    if let Some(missing) = found.iter().position(Option::is_none) {
        return Err(DataError::MissingArray {
            path: path.to_path_buf(),
            name: names[missing].into(),
        });
    }
    Ok(found.map(|array| array.expect("none is missing")))
}

/// Checks the first 128 bytes and tells whether numbers have their high byte first.
fn header(path: &Path, file: &mut impl Read, length: u64) -> Result<bool, DataError> {
    let mut header = Vec::with_capacity(HEADER);
    file.take(HEADER as u64)
        .read_to_end(&mut header)
        .map_err(|source| DataError::Io {
            path: path.to_path_buf(),
            action: "read",
            source,
        })?;
    let path = path.to_path_buf();
    if header.starts_with(b"\x89HDF") || header.starts_with(b"MATLAB 7.3") {
        return Err(DataError::Hdf5 { path });
    }
    if header.len() < HEADER {
        return Err(DataError::Truncated {
            path,
            expected: format!("a header of {HEADER} first"),
            found: length,
        });
    }
    // The version, 1.0, is a 16-bit number in the file's own byte order.
    match header[124..] {
        [0, 1, b'I', b'M'] => Ok(false),
        [1, 0, b'M', b'I'] => Ok(true),
        _ => Err(DataError::WrongFormat {
            path,
            expected: "a MATLAB 5 file",
            found: "its header does not end in the version 1.0 and the byte order `IM` or `MI`".into(),
        }),
    }
}

/// Inflates one compressed element, of `length` bytes, and reads the array in it if it is one of `names`.
fn compressed(
    path: &Path,
    big_endian: bool,
    length: u64,
    file: &mut impl BufRead,
    names: &[&str],
) -> Result<Option<(usize, Array)>, DataError> {
    let most = length.saturating_mul(MAX_DEFLATE_RATIO);
    let inflate = ZlibDecoder::new(file.take(length));
    let mut source = Source::new(path, big_endian, most, inflate);
    let tag = source.tag()?;
    if tag.kind != kind::MATRIX || tag.small.is_some() {
        return Err(source.damaged(format!(
            "a compressed element should hold an array, and holds an element of type {}",
            tag.kind
        )));
    }
    if tag.length > source.left() {
        return Err(source.damaged(format!(
            "an array claims {} bytes, more than can be inflated from {length}",
            tag.length
        )));
    }
    source.bytes.set_limit(tag.length);
    let array = matrix(&mut source, names)?;
    if array.is_some() {
        // What may follow is padding; the decoder compares checksums when it comes to the end of the stream.
        source.bytes.set_limit(TAG);
        let mut rest = Vec::new();
        let padding = source.bytes.read_to_end(&mut rest);
        if padding.map_err(|e| source.fault(e))? as u64 == TAG {
            return Err(source.damaged("a compressed array goes on after its values".into()));
        }
    }
    Ok(array)
}

/// Reads the parts of an array, down to the values only if it is one of `names`; tells which one.
fn matrix<R: Read>(source: &mut Source<'_, R>, names: &[&str]) -> Result<Option<(usize, Array)>, DataError> {
    // An array without so much as flags is MATLAB's way of writing an empty one.
    if source.left() == 0 {
        return Ok(None);
    }
    let flags = source.element(&[kind::UINT32], TAG, "flags")?;
    let Some(&flags) = source.words(&flags).first() else {
        return Err(source.damaged("the flags of an array are empty".into()));
    };
    let class = flags & 0xff;
    // Objects and function handles are laid out in another way.
    if class > class::LAST_NUMERIC {
        return Ok(None);
    }
    let dims = source.element(&[kind::INT32], 4 * MAX_DIMS, "dimensions")?;
    let name = source.element(&[kind::INT8, kind::UTF8], MAX_NAME, "name")?;
    let Some(index) = names.iter().position(|n| n.as_bytes() == name) else {
        return Ok(None);
    };
    let name = names[index];
    let kind_error = |found| DataError::ArrayKind {
        path: source.path.to_path_buf(),
        name: name.into(),
        expected: "an array of real numbers",
        found,
    };
    match class {
        class::CELL => return Err(kind_error("a cell array")),
        class::STRUCT => return Err(kind_error("a structure")),
        class::OBJECT => return Err(kind_error("an object")),
        class::CHAR => return Err(kind_error("text")),
        class::SPARSE => return Err(kind_error("a sparse array")),
        class::FIRST_NUMERIC.. if flags & class::COMPLEX != 0 => {
            return Err(kind_error("an array of complex numbers"));
        }
        class::FIRST_NUMERIC.. => {}
        _ => return Err(source.damaged(format!("array `{name}` is of no known class"))),
    }
    let dims = source.words(&dims);
    if dims.is_empty() {
        return Err(source.damaged(format!("array `{name}` has no dimensions")));
    }
    let dims = dims
        .iter()
        .map(|&d| usize::try_from(d.cast_signed()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| source.damaged(format!("array `{name}` has a negative dimension")))?;
    let values = source.values(name, &dims)?;
    Ok(Some((index, Array { dims, values })))
}

/// Type numbers of elements.
mod kind {
    pub const INT8: u32 = 1;
    pub const UINT8: u32 = 2;
    pub const INT16: u32 = 3;
    pub const UINT16: u32 = 4;
    pub const INT32: u32 = 5;
    pub const UINT32: u32 = 6;
    pub const SINGLE: u32 = 7;
    pub const DOUBLE: u32 = 9;
    pub const INT64: u32 = 12;
    pub const UINT64: u32 = 13;
    pub const MATRIX: u32 = 14;
    pub const COMPRESSED: u32 = 15;
    pub const UTF8: u32 = 16;

    /// Bytes of one number of this type; `None` if it is no type of number.
    pub fn width(kind: u32) -> Option<u64> {
        match kind {
            INT8 | UINT8 => Some(1),
            INT16 | UINT16 => Some(2),
            INT32 | UINT32 | SINGLE => Some(4),
            DOUBLE | INT64 | UINT64 => Some(8),
            _ => None,
        }
    }
}

/// Class numbers of arrays, and a flag beside them.
mod class {
    pub const CELL: u32 = 1;
    pub const STRUCT: u32 = 2;
    pub const OBJECT: u32 = 3;
    pub const CHAR: u32 = 4;
    pub const SPARSE: u32 = 5;
    pub const FIRST_NUMERIC: u32 = 6;
    pub const LAST_NUMERIC: u32 = 15;
    pub const COMPLEX: u32 = 0x800;
}

/// What an element says of itself.
struct Tag {
    kind: u32,
    /// Bytes of data, without padding.
    length: u64,
    /// The data, if they are so short that they sit in the tag.
    small: Option<[u8; 4]>,
}

impl Tag {
    /// How many bytes of data there is room for, with `left` more behind the tag.
    fn room(&self, left: u64) -> u64 {
        self.small.map_or(left, |data| data.len() as u64)
    }
}

/// The bytes of one element, plain or while they are inflated.
struct Source<'a, R> {
    path: &'a Path,
    big_endian: bool,
    bytes: Take<R>,
}

impl<'a, R: Read> Source<'a, R> {
    /// `most` is the number of bytes that the element can give.
    fn new(path: &'a Path, big_endian: bool, most: u64, bytes: R) -> Self {
        Self {
            path,
            big_endian,
            bytes: bytes.take(most),
        }
    }

    /// How many more bytes there can be; memory is never set aside for more.
    fn left(&self) -> u64 {
        self.bytes.limit()
    }

    fn damaged(&self, reason: String) -> DataError {
        DataError::Damaged {
            path: self.path.to_path_buf(),
            reason,
        }
    }

    /// Tells what the file is to blame for from what the system is.
    fn fault(&self, error: io::Error) -> DataError {
        match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged("an array is shorter than its parts say".into()),
            // The decoder's words for a stream that is none.
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                self.damaged(format!("an array cannot be inflated ({error})"))
            }
            _ => DataError::Io {
                path: self.path.to_path_buf(),
                action: "read",
                source: error,
            },
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DataError> {
        self.bytes.read_exact(buffer).map_err(|error| self.fault(error))
    }

    fn tag(&mut self) -> Result<Tag, DataError> {
        let mut bytes = [0; TAG as usize];
        self.fill(&mut bytes)?;
        let words = self.words(&bytes);
        // No type number needs the upper half of its word, so a length there marks data inside the tag.
        Ok(match words[0] >> 16 {
            0 => Tag {
                kind: words[0],
                length: words[1].into(),
                small: None,
            },
            length => Tag {
                kind: words[0] & 0xffff,
                length: length.into(),
                small: Some([bytes[4], bytes[5], bytes[6], bytes[7]]),
            },
        })
    }

    /// Reads a short part of an array, called `what` in errors: tag, data and padding.
    fn element(&mut self, kinds: &[u32], most: u64, what: &str) -> Result<Vec<u8>, DataError> {
        let tag = self.tag()?;
        if !kinds.contains(&tag.kind) {
            return Err(self.damaged(format!("the {what} of an array cannot be of type {}", tag.kind)));
        }
        if tag.length > most.min(tag.room(self.left())) {
            return Err(self.damaged(format!("the {what} of an array cannot take {} bytes", tag.length)));
        }
        let length = tag.length as usize;
        if let Some(small) = tag.small {
            return Ok(small[..length].to_vec());
        }
        let mut data = vec![0; length.next_multiple_of(TAG as usize)];
        self.fill(&mut data)?;
        data.truncate(length);
        Ok(data)
    }

    /// Reads the values of the array `name`; they come last, and the padding behind them is left alone.
    fn values(&mut self, name: &str, dims: &[usize]) -> Result<Values, DataError> {
        let tag = self.tag()?;
        let Some(width) = kind::width(tag.kind) else {
            return Err(self.damaged(format!(
                "the values of array `{name}` cannot be of type {}",
                tag.kind
            )));
        };
        let count = dims
            .iter()
            .fold(1, |product: u64, &d| product.saturating_mul(d as u64));
        if count.saturating_mul(width) != tag.length {
            return Err(self.damaged(format!(
                "array `{name}` has {} bytes of values, and its dimensions ask for {count} values of {width}",
                tag.length
            )));
        }
        let item = if tag.kind == kind::UINT8 { 1 } else { 8 };
        let memory = count.saturating_mul(item);
        if memory > MAX_ARRAY_BYTES {
            return Err(DataError::TooLarge {
                path: self.path.to_path_buf(),
                name: name.into(),
                bytes: memory,
                limit: MAX_ARRAY_BYTES,
            });
        }
        if tag.length > tag.room(self.left()) {
            return Err(self.damaged(format!(
                "array `{name}` claims {} bytes of values, and at most {} can be there",
                tag.length,
                tag.room(self.left())
            )));
        }
        let mut plain;
        let mut small;
        let stored: &mut dyn Read = match &tag.small {
            Some(data) => {
                small = &data[..];
                &mut small
            }
            None => {
                plain = (&mut self.bytes).take(tag.length);
                &mut plain
            }
        };
        let values = if tag.kind == kind::UINT8 {
            read_bytes(stored, count).map(Values::Bytes)
        } else {
            read_numbers(stored, count, tag.kind, self.big_endian).map(Values::Numbers)
        };
        values.map_err(|error| self.fault(error))
    }

    /// The 32-bit numbers in `bytes`.
    fn words(&self, bytes: &[u8]) -> Vec<u32> {
        let word = |b: &[u8]| {
            let b = [b[0], b[1], b[2], b[3]];
            if self.big_endian {
                u32::from_be_bytes(b)
            } else {
                u32::from_le_bytes(b)
            }
        };
        bytes.chunks_exact(4).map(word).collect()
    }
}

/// Reads `count` bytes, without writing zeros to the memory first.
fn read_bytes(stored: &mut dyn Read, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(count as usize)?;
    if (stored.take(count).read_to_end(&mut bytes)? as u64) < count {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Reads `count` numbers of the type `kind`.
fn read_numbers(stored: &mut dyn Read, count: u64, kind: u32, big_endian: bool) -> io::Result<Vec<f64>> {
    let width = kind::width(kind).expect("a type of number") as usize;
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(count as usize)?;
    for _ in 0..count {
        let mut b = [0; 8];
        stored.read_exact(&mut b[..width])?;
        if big_endian {
            b[..width].reverse();
        }
        numbers.push(match kind {
            kind::INT8 => f64::from(b[0].cast_signed()),
            kind::INT16 => f64::from(i16::from_le_bytes([b[0], b[1]])),
            kind::UINT16 => f64::from(u16::from_le_bytes([b[0], b[1]])),
            kind::INT32 => f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            kind::UINT32 => f64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            kind::SINGLE => f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            kind::INT64 => i64::from_le_bytes(b) as f64,
            kind::UINT64 => u64::from_le_bytes(b) as f64,
            _ => f64::from_le_bytes(b),
        });
    }
    Ok(numbers)
}
