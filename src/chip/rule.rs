//! Plans by the rules that other tools have, beside the exact ones.

use serde::{Deserialize, Serialize};

use super::{ChipError, ChipPlan, Goal, LayerChoices, Part, PlannedLayer, Windows, plan::check};

/// How a tool gives out arrays. Each layer has its window for the fewest arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// One copy of each layer.
    One,
    /// A copy more for the slowest layer, one at a time, as long as there are arrays for it.
    Greedy,
    /// The same as PIMCOMP's `balance` has it (Sun et al., DAC 2023): until half of the chip's arrays are copies. The first copies are not counted, so
    /// that a large network may take more arrays than there are.
    Pimcomp,
    /// Copies from the strides, from the last layer back, as in ISAAC (Shafiee et al., ISCA 2016): as many as a layer has windows for each of the last
    /// layer's, so that no layer is slower than it; then as many times that as fit.
    Strides,
    /// Copies from the sizes of inputs, as NeuroSim's pipeline has them (DNN+NeuroSim V1.3, a speed-up of 8): `floor(size / ceil(first / s))^2`, with
    /// `s` no more than how often the smallest input of a kernel above 1 goes into the first; one where that is none.
    SpeedUp,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::One => "one copy each",
            Self::Greedy => "a copy at a time",
            Self::Pimcomp => "PIMCOMP's balance, im2col",
            Self::Strides => "ISAAC's strides, im2col",
            Self::SpeedUp => "NeuroSim's speed-up, im2col",
        })
    }
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::One,
        Self::Greedy,
        Self::Pimcomp,
        Self::Strides,
        Self::SpeedUp,
    ];

    /// The windows that the rule is used with.
    #[must_use]
    pub fn windows(self) -> Windows {
        match self {
            Self::One | Self::Greedy => Windows::VwSdkFixed,
            Self::Pimcomp | Self::Strides | Self::SpeedUp => Windows::Im2col,
        }
    }

    /// The plan of this rule.
    ///
    /// # Errors
    ///
    /// [`ChipError`], as of [`plan`](super::plan); [`ChipError::Layer`] where the layers do not fit together, and [`ChipError::Rule`] where the copies
    /// do not.
    pub fn plan(self, layers: &[LayerChoices], arrays: u64) -> Result<ChipPlan, ChipError> {
        check(layers, arrays)?;
        let mut left = arrays;
        for layer in layers {
            let needs = layer.least_arrays();
            left = left.checked_sub(needs).ok_or_else(|| ChipError::Layer {
                layer: layer.name.clone(),
                needs,
                arrays: left,
            })?;
        }
        let copies = match self {
            Self::One => vec![1; layers.len()],
            Self::Greedy => for_the_slowest(layers, left, |needs, left| needs <= left),
            Self::Pimcomp => for_the_slowest(layers, arrays, |needs, left| needs < left && left > arrays / 2),
            Self::Strides => by_strides(layers, arrays),
            Self::SpeedUp => by_sizes(layers),
        };
        let needs = arrays_of(layers, &copies);
        if needs > arrays {
            return Err(ChipError::Rule { needs, arrays });
        }
        let layers = layers.iter().zip(copies).map(|(layer, copies)| {
            let choice = layer.choices[0];
            PlannedLayer {
                name: layer.name.clone(),
                choice,
                copies,
                steps: choice.windows.div_ceil(copies),
            }
        });
        let part = Part {
            layers: layers.collect(),
            write_steps: 0,
        };
        Ok(ChipPlan {
            arrays,
            goal: Goal::Throughput,
            parts: vec![part],
        })
    }
}

/// Copies that are given to the slowest layer, one at a time, while `goes_on`, of the arrays that it needs and of those that are left of `left`.
fn for_the_slowest(layers: &[LayerChoices], mut left: u64, goes_on: impl Fn(u64, u64) -> bool) -> Vec<u64> {
    let mut copies = vec![1u64; layers.len()];
    loop {
        let steps = |n: usize| layers[n].choices[0].windows.div_ceil(copies[n]);
        let slowest = (0..layers.len()).max_by_key(|&n| (steps(n), std::cmp::Reverse(n)));
        let Some(slowest) = slowest.filter(|&n| steps(n) > 1) else {
            return copies;
        };
        let needs = layers[slowest].least_arrays();
        if !goes_on(needs, left) {
            return copies;
        }
        left -= needs;
        copies[slowest] += 1;
    }
}

/// Copies for as many windows as the last layer has, times as many as fit; once where none fit.
fn by_strides(layers: &[LayerChoices], arrays: u64) -> Vec<u64> {
    let windows = |layer: &LayerChoices| layer.choices[0].windows;
    let last = layers.last().map_or(1, windows);
    let once: Vec<u64> = layers.iter().map(|layer| windows(layer).div_ceil(last)).collect();
    let times = (arrays / arrays_of(layers, &once).max(1)).clamp(1, last);
    once.iter().map(|&copies| copies.saturating_mul(times)).collect()
}

/// The speed-up that NeuroSim asks for by default.
const SPEED_UP: usize = 8;

/// Copies by how much larger a layer's input is than that of a layer which needs none.
fn by_sizes(layers: &[LayerChoices]) -> Vec<u64> {
    let first = layers.first().map_or(0, |layer| layer.input_rows);
    let wide = layers.iter().filter(|layer| layer.kernel_rows > 1);
    let smallest = wide.map(|layer| layer.input_rows).fold(first, usize::min);
    let speed_up = SPEED_UP.min(first / smallest.max(1)).max(1);
    let bound = first.div_ceil(speed_up).max(1);
    let copies = layers
        .iter()
        .map(|layer| (layer.input_rows / bound).max(1) as u64);
    copies.map(|copies| copies * copies).collect()
}

/// Arrays of all copies.
fn arrays_of(layers: &[LayerChoices], copies: &[u64]) -> u64 {
    let each = layers.iter().zip(copies);
    let needs = each.map(|(layer, &copies)| layer.least_arrays().saturating_mul(copies));
    needs.fold(0, u64::saturating_add)
}
