//! The codes that numbers are rounded to.

/// Which multiples of a step there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    /// The least and the largest.
    pub ends: [f32; 2],
    /// Whether there is no zero: a code is a sign.
    pub signs: bool,
}

impl Range {
    /// Codes from 0, `levels` steps in all.
    pub fn unsigned(levels: u32) -> Self {
        Self {
            ends: [0.0, levels as f32],
            signs: false,
        }
    }

    /// Codes with a sign, `levels` steps in all, one more below zero than above; of one step the sign alone. `narrow`: without the
    /// lowest.
    pub fn signed(levels: u32, narrow: bool) -> Self {
        let half = levels.div_ceil(2) as f32;
        let (ends, signs) = match levels {
            1 => ([-1.0, 1.0], true),
            _ if narrow => ([1.0 - half, half - 1.0], false),
            _ => ([-half, half - 1.0], false),
        };
        Self { ends, signs }
    }

    /// Codes from `low`, which is zero or below, `levels` steps in all.
    pub fn from(low: f32, levels: u32) -> Self {
        Self {
            ends: [low, low + levels as f32],
            signs: false,
        }
    }

    /// The step with which `x` is the outermost code on its side; 0 where that side has no codes.
    pub fn reach(self, x: f32) -> f32 {
        let [lowest, highest] = self.ends;
        match x {
            x if x >= 0.0 && highest > 0.0 => x / highest,
            x if x >= 0.0 => 0.0,
            x if lowest < 0.0 => x / lowest,
            _ => 0.0,
        }
    }
}
