//! Memory for results, used again and again: fresh memory of the sizes that a training step needs costs a page fault
//! every 4 KiB, in every step.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};

use burn::tensor::{AllocationProperty, Bytes};
use bytemuck::{Pod, Zeroable};

/// Returned buffers under this size are not kept: the allocator is quick with them.
const SMALLEST_KEPT: usize = 64 << 10;
/// More than this many bytes are not kept.
const MOST_KEPT: usize = 1 << 30;

/// A cache line, so that vectors do not straddle two.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that return to a store of buffers when they are no longer needed.
pub(super) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

/// Buffers that wait to be used again, the longest waiting first.
static KEPT: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

fn kept() -> MutexGuard<'static, Vec<Vec<Line>>> {
    KEPT.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Buffer {
    /// `len` numbers of any value: for results that are written whole.
    pub(super) fn unwritten(len: usize) -> Self {
        let need = len.div_ceil(16);
        let lines = {
            let mut kept = kept();
            // The best fit, and none that is much too large.
            let fit = (kept.iter().enumerate())
                .filter(|(_, lines)| lines.len() >= need && lines.len() <= need + need / 4)
                .min_by_key(|(_, lines)| lines.len())
                .map(|(n, _)| n);
            fit.map(|n| kept.remove(n))
        };
        Self {
            lines: lines.unwrap_or_else(|| bytemuck::zeroed_vec(need)),
            len,
        }
    }

    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let mut buffer = Self::unwritten(len);
        buffer.fill(0.0);
        buffer
    }

    /// The same numbers, as Burn keeps them.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_shared(bytes::Bytes::from_owner(self), AllocationProperty::Native)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// Bytes in such a buffer.
pub(super) struct Codes {
    buffer: Buffer,
    len: usize,
}

impl Codes {
    /// `len` bytes of any value: for results that are written whole.
    pub(super) fn unwritten(len: usize) -> Self {
        Self {
            buffer: Buffer::unwritten(len.div_ceil(size_of::<f32>())),
            len,
        }
    }
}

impl Deref for Codes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.buffer)[..self.len]
    }
}

impl DerefMut for Codes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.buffer)[..self.len]
    }
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codes({})", self.len)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let size = |lines: &Vec<Line>| size_of_val(&lines[..]);
        let lines = std::mem::take(&mut self.lines);
        if size(&lines) < SMALLEST_KEPT {
            return;
        }
        let mut kept = kept();
        kept.push(lines);
        let mut total: usize = kept.iter().map(size).sum();
        while total > MOST_KEPT {
            total -= size(&kept.remove(0));
        }
    }
}
