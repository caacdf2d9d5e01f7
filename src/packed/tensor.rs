use std::ops::Deref;
use std::sync::Arc;

use memmap2::Mmap;

/// Numbers that belong to a network.
#[derive(Clone, Debug)]
pub(crate) enum Tensor {
    F32(Vec<f32>),
    I32(Vec<i32>),
    Bytes(Vec<u8>),
    Words(Words),
}

/// Packed bits, in memory or where they lie in a mapped file.
#[derive(Clone, Debug)]
pub(crate) enum Words {
    Owned(Vec<u64>),
    /// `start` is in bytes, a multiple of 8, `len` in words; both lie within the file.
    Mapped {
        file: Arc<Mmap>,
        start: usize,
        len: usize,
    },
}

impl Deref for Words {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        match self {
            Self::Owned(words) => words,
            // A mapping starts on a page, so that the words are aligned.
            Self::Mapped { file, start, len } => bytemuck::cast_slice(&file[*start..][..8 * len]),
        }
    }
}
