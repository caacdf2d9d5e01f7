//! How activations and weights lie in memory as bits.
//!
//! A row of codes is, for each bit of a code, a plane: the bits of one pixel's channels after those of another, each
//! pixel in whole words. A convolution reads one run of words for each row of its kernel. Where the channels fill their
//! words well enough a run lies in the plane itself; elsewhere (24 channels fill three eighths of a word) the bits under
//! each kernel row are first put together without gaps.

use super::machine::PANEL;
use super::spec::Window;

/// Bits of a word.
pub(super) const WORD: usize = u64::BITS as usize;

/// From one bit of one channel of a row to those beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Words that one row of the kernel reads.
    pub words: usize,
    /// Bits from one pixel's channels to the next's.
    pub pitch: usize,
}

impl Run {
    /// Of a kernel that is `across` pixels of `channels` channels wide.
    pub fn new(channels: usize, across: usize) -> Self {
        let tight = (across * channels).div_ceil(WORD);
        let loose = across * channels.div_ceil(WORD);
        if tight == loose {
            Self {
                words: loose,
                pitch: channels.div_ceil(WORD) * WORD,
            }
        } else {
            Self {
                words: tight,
                pitch: channels,
            }
        }
    }

    /// Whether a run lies in the plane as it is.
    pub fn in_place(self) -> bool {
        self.pitch.is_multiple_of(WORD)
    }
}

/// Words of the packed weights of a layer.
pub(super) fn weight_words(window: &Window, inputs: usize, outputs: usize, bits: u32) -> usize {
    let run = Run::new(inputs, window.kernel[1]).words;
    outputs.div_ceil(PANEL) * bits as usize * window.kernel[0] * run * PANEL
}

/// Packs weight codes, `[outputs, inputs, kernel height, kernel width]`, each under `2^bits`.
///
/// The result is `[panel, bit, kernel row, word, output of the panel]`; what is missing of the last panel is zero.
#[cfg_attr(not(any(feature = "train", test)), allow(dead_code))]
pub(super) fn pack_weights(
    window: &Window,
    inputs: usize,
    outputs: usize,
    bits: u32,
    codes: &[u8],
) -> Vec<u64> {
    let [down, across] = window.kernel;
    let run = Run::new(inputs, across);
    let mut words = vec![0u64; weight_words(window, inputs, outputs, bits)];
    let mut codes = codes.iter();
    for output in 0..outputs {
        for input in 0..inputs {
            for row in 0..down {
                for column in 0..across {
                    let code = codes.next().expect("a code for every weight");
                    let at = column * run.pitch + input;
                    for bit in 0..bits {
                        let plane = output / PANEL * bits as usize + bit as usize;
                        let word = (plane * down + row) * run.words + at / WORD;
                        words[word * PANEL + output % PANEL] |= u64::from(code >> bit & 1) << (at % WORD);
                    }
                }
            }
        }
    }
    words
}

/// The codes that [`pack_weights`] packed.
pub(super) fn unpack_weights(
    window: &Window,
    inputs: usize,
    outputs: usize,
    bits: u32,
    words: &[u64],
) -> Vec<u8> {
    let [down, across] = window.kernel;
    let run = Run::new(inputs, across);
    let mut codes = Vec::with_capacity(outputs * inputs * down * across);
    for output in 0..outputs {
        for input in 0..inputs {
            for row in 0..down {
                for column in 0..across {
                    let at = column * run.pitch + input;
                    let bit = |bit: u32| {
                        let plane = output / PANEL * bits as usize + bit as usize;
                        let word = (plane * down + row) * run.words + at / WORD;
                        (words[word * PANEL + output % PANEL] >> (at % WORD) & 1) as u8
                    };
                    codes.push((0..bits).map(|n| bit(n) << n).sum());
                }
            }
        }
    }
    codes
}

/// Puts the bits under each position of one kernel row together.
///
/// * `plane`: `words` words for each pixel, `channels` bits of which count; the others are zero
/// * `windows`: `run.words` words for each position
pub(super) fn gather(
    plane: &[u64],
    channels: usize,
    across: usize,
    stride: usize,
    run: Run,
    windows: &mut [u64],
) {
    let words = channels.div_ceil(WORD);
    let step = stride * words;
    let positions = windows.len() / run.words;
    assert!(plane.len() >= (positions - 1) * step + across * words);
    // Word by word for all positions, so that where the bits go is found out once.
    for pixel in 0..across {
        for word in 0..words {
            let from = pixel * words + word;
            let at = pixel * channels + word * WORD;
            let here = WORD.min(channels - word * WORD);
            let (to, shift) = (at / WORD, at % WORD);
            let mut plane = plane[from..].iter().step_by(step);
            let mut windows = windows.chunks_exact_mut(run.words);
            let begins = shift == 0;
            let crosses = shift + here > WORD;
            for (&bits, window) in plane.by_ref().zip(windows.by_ref()) {
                let window = &mut window[to..];
                window[0] = if begins { bits } else { window[0] | bits << shift };
                if crosses {
                    window[1] = bits >> (WORD - shift);
                }
            }
        }
    }
}
