//! Plans by the rules that other tools have, beside the exact ones.

use serde::{Deserialize, Serialize};

use super::{ChipError, ChipPlan, Goal, LayerChoices, Part, PlannedLayer, plan::check};

/// How a tool gives out arrays. Each layer has its window for the fewest arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// One copy of each layer.
    One,
    /// A copy more for the slowest layer, one at a time, as long as there are arrays for it.
    Greedy,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::One => "one copy each",
            Self::Greedy => "a copy at a time",
        })
    }
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::One, Self::Greedy];

    /// The plan of this rule.
    ///
    /// # Errors
    ///
    /// [`ChipError`], as of [`plan`](super::plan); [`ChipError::Layer`] where the layers do not fit together.
    pub fn plan(self, layers: &[LayerChoices], arrays: u64) -> Result<ChipPlan, ChipError> {
        check(layers, arrays)?;
        let mut copies = vec![1u64; layers.len()];
        let first = |layer: &LayerChoices| layer.choices[0];
        let mut left = arrays;
        for layer in layers {
            let needs = layer.least_arrays();
            left = left.checked_sub(needs).ok_or_else(|| ChipError::Layer {
                layer: layer.name.clone(),
                needs,
                arrays: left,
            })?;
        }
        if self == Self::Greedy {
            loop {
                let steps = |n: usize| first(&layers[n]).windows.div_ceil(copies[n]);
                let Some(slowest) = (0..layers.len()).max_by_key(|&n| (steps(n), std::cmp::Reverse(n)))
                else {
                    break;
                };
                let needs = layers[slowest].least_arrays();
                if needs > left || steps(slowest) == 1 {
                    break;
                }
                left -= needs;
                copies[slowest] += 1;
            }
        }
        let layers = layers.iter().zip(copies).map(|(layer, copies)| {
            let choice = first(layer);
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
