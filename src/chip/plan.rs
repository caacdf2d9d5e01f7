//! Exact plans of a chip: the fewest steps of the slowest layer, and the fewest of one picture; and what is loaded when, where the network does
//! not fit.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::LayerChoices;
use crate::mapping::WindowChoice;

/// What a plan is best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Goal {
    /// Pictures in a stream, each layer at work on another one: the fewest steps of the slowest layer.
    #[default]
    Throughput,
    /// One picture, layer after layer: the fewest steps of all.
    Latency,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChipError {
    /// No arrays.
    #[error("a chip of 0 arrays: expected 1 at least")]
    NoArrays,
    /// More arrays than a search of this kind goes through.
    #[error("a chip of {arrays} arrays: expected {most} at most")]
    TooMany {
        /// The arrays.
        arrays: u64,
        /// The most.
        most: u64,
    },
    /// More steps than writing takes.
    #[error("writing of {steps} steps: expected {most} at most")]
    WriteSteps {
        /// The steps.
        steps: u64,
        /// The most.
        most: u64,
    },
    /// More layers on more arrays than one plan is worked out for.
    #[error(
        "{layers} layers on {arrays} arrays are too many for a plan of all together: give fewer arrays, or --goal throughput where they fit"
    )]
    TooLarge {
        /// The layers.
        layers: usize,
        /// The arrays.
        arrays: u64,
    },
    /// A layer alone needs more.
    #[error(
        "layer `{layer}` needs {needs} arrays alone, and the chip has {arrays}: give it more, or larger ones"
    )]
    Layer {
        /// The layer.
        layer: String,
        /// Its arrays.
        needs: u64,
        /// Those of the chip.
        arrays: u64,
    },
    /// The copies that a rule gives out.
    #[error("this rule takes {needs} arrays, and the chip has {arrays}")]
    Rule {
        /// The arrays of all copies.
        needs: u64,
        /// Those of the chip.
        arrays: u64,
    },
    /// A layer without windows, or with one of no arrays or of no outputs.
    #[error(
        "layer `{layer}` has no windows, or one of 0 arrays or 0 steps: expected what `LayerChoices::of` finds"
    )]
    NoWindows {
        /// The layer.
        layer: String,
    },
    /// Nothing to plan.
    #[error("there are no layers to plan")]
    NoLayers,
}

/// The most arrays of a chip.
pub const MAX_ARRAYS: u64 = 1 << 16;

/// The most steps that writing may take.
const MAX_WRITE_STEPS: u64 = 1 << 32;

/// Layers times arrays of the largest table.
const MAX_ENTRIES: u64 = 1 << 26;

/// A layer of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedLayer {
    /// Its name.
    pub name: String,
    /// Its window.
    #[serde(flatten)]
    pub choice: WindowChoice,
    /// Copies of it.
    pub copies: u64,
    /// Steps that it takes for a picture, those of the buffer behind it included.
    pub steps: u64,
}

impl PlannedLayer {
    /// Arrays of all copies.
    #[must_use]
    pub fn arrays(&self) -> u64 {
        self.choice.arrays * self.copies
    }
}

/// Layers that are on the chip together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Part {
    /// Its layers, in the order of the network.
    pub layers: Vec<PlannedLayer>,
    /// Steps to write its arrays; 0 where the whole network stays on the chip.
    pub write_steps: u64,
}

/// Windows and copies of all layers on a chip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChipPlan {
    /// Arrays of the chip.
    pub arrays: u64,
    /// What it is best at.
    pub goal: Goal,
    /// What is on the chip together, one after the other; one part where all fits.
    pub parts: Vec<Part>,
}

impl ChipPlan {
    /// All layers.
    pub fn layers(&self) -> impl Iterator<Item = &PlannedLayer> {
        self.parts.iter().flat_map(|part| &part.layers)
    }

    /// Steps from one picture to the next: those of the slowest layer, and where parts are loaded in turn of all of them.
    #[must_use]
    pub fn interval(&self) -> u64 {
        let slowest = |part: &Part| part.layers.iter().map(|layer| layer.steps).max().unwrap_or(0);
        match &self.parts[..] {
            [part] => slowest(part),
            _ => self.latency(),
        }
    }

    /// Steps of one picture, layer after layer, writing included.
    #[must_use]
    pub fn latency(&self) -> u64 {
        let steps: u64 = self.layers().map(|layer| layer.steps).sum();
        steps + self.parts.iter().map(|part| part.write_steps).sum::<u64>()
    }

    /// Arrays that hold weights at once, at most.
    #[must_use]
    pub fn used(&self) -> u64 {
        let of = |part: &Part| part.layers.iter().map(PlannedLayer::arrays).sum();
        self.parts.iter().map(of).max().unwrap_or(0)
    }
}

/// What a plan depends on besides layers and arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Limits {
    /// Numbers that the buffer behind a layer takes in a step; no limit where there is none.
    pub bandwidth: Option<u64>,
}

impl Limits {
    /// The steps that a layer takes for its outputs alone.
    fn floor(self, layer: &LayerChoices) -> u64 {
        self.bandwidth
            .map_or(0, |bandwidth| layer.outputs.div_ceil(bandwidth.max(1)))
    }
}

/// The exact plan of layers on `arrays` arrays. Where they do not fit together, the network is cut into parts that are loaded one after the other,
/// each of which takes `write_steps` to write. `bandwidth`: numbers that the buffer behind a layer takes in a step.
///
/// # Errors
///
/// [`ChipError`].
pub fn plan(
    layers: &[LayerChoices],
    arrays: u64,
    goal: Goal,
    write_steps: u64,
    bandwidth: Option<u64>,
) -> Result<ChipPlan, ChipError> {
    check(layers, arrays)?;
    let limits = Limits { bandwidth };
    if write_steps > MAX_WRITE_STEPS {
        return Err(ChipError::WriteSteps {
            steps: write_steps,
            most: MAX_WRITE_STEPS,
        });
    }
    let least = layers.iter().map(LayerChoices::least_arrays);
    let least = least.fold(0, u64::saturating_add);
    let by_table = least > arrays || goal == Goal::Latency;
    if by_table && arrays.saturating_mul(layers.len() as u64) > MAX_ENTRIES {
        return Err(ChipError::TooLarge {
            layers: layers.len(),
            arrays,
        });
    }
    let parts = if least > arrays {
        in_parts(layers, arrays, limits, write_steps)
    } else {
        let layers = match goal {
            Goal::Throughput => slowest(layers, arrays, limits),
            Goal::Latency => together(layers, arrays, limits),
        };
        vec![Part {
            layers,
            write_steps: 0,
        }]
    };
    Ok(ChipPlan { arrays, goal, parts })
}

pub(super) fn check(layers: &[LayerChoices], arrays: u64) -> Result<(), ChipError> {
    match arrays {
        0 => return Err(ChipError::NoArrays),
        arrays if arrays > MAX_ARRAYS => {
            return Err(ChipError::TooMany {
                arrays,
                most: MAX_ARRAYS,
            });
        }
        _ => {}
    }
    if layers.is_empty() {
        return Err(ChipError::NoLayers);
    }
    let wrong = |layer: &&LayerChoices| {
        let mut choices = layer.choices.iter();
        layer.choices.is_empty() || choices.any(|choice| choice.arrays == 0 || choice.windows == 0)
    };
    if let Some(layer) = layers.iter().find(wrong) {
        return Err(ChipError::NoWindows {
            layer: layer.name.clone(),
        });
    }
    match layers.iter().find(|layer| layer.least_arrays() > arrays) {
        Some(layer) => Err(ChipError::Layer {
            layer: layer.name.clone(),
            needs: layer.least_arrays(),
            arrays,
        }),
        None => Ok(()),
    }
}

fn planned(layer: &LayerChoices, steps: u64, limits: Limits) -> PlannedLayer {
    let (choice, copies) = layer.within(steps);
    PlannedLayer {
        name: layer.name.clone(),
        choice,
        copies,
        steps: choice.windows.div_ceil(copies).max(limits.floor(layer)),
    }
}

/// The fewest steps of the slowest layer: fewer steps need no fewer arrays, so that a search by halves finds it.
fn slowest(layers: &[LayerChoices], arrays: u64, limits: Limits) -> Vec<PlannedLayer> {
    let needs = |steps: u64| -> u64 {
        let each = layers.iter().map(|layer| {
            let (choice, copies) = layer.within(steps);
            choice.arrays.saturating_mul(copies)
        });
        each.fold(0, u64::saturating_add)
    };
    let most = |layer: &LayerChoices| layer.choices.first().map_or(1, |choice| choice.windows);
    let floor = layers.iter().map(|layer| limits.floor(layer)).max().unwrap_or(0);
    let mut low = floor.max(1);
    let mut high = layers.iter().map(most).max().unwrap_or(1).max(low);
    while low < high {
        let middle = low + (high - low) / 2;
        if needs(middle) <= arrays {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    layers.iter().map(|layer| planned(layer, high, limits)).collect()
}

/// The fewest steps of all layers one after the other, by dynamic programming over arrays.
fn together(layers: &[LayerChoices], arrays: u64, limits: Limits) -> Vec<PlannedLayer> {
    let mut table = Table::new(arrays);
    for layer in layers {
        table.add(layer, limits);
    }
    table.layers(layers, limits)
}

/// For each number of arrays the fewest steps of the layers so far.
struct Table {
    steps: Vec<u64>,
    /// For each layer and number of arrays the steps of that layer.
    chosen: Vec<Vec<u64>>,
    /// For each layer and number of arrays the arrays that it takes.
    taken: Vec<Vec<u64>>,
}

impl Table {
    fn new(arrays: u64) -> Self {
        Self {
            steps: vec![0; arrays as usize + 1],
            chosen: Vec::new(),
            taken: Vec::new(),
        }
    }

    fn add(&mut self, layer: &LayerChoices, limits: Limits) {
        let count = self.steps.len();
        let mut steps = vec![u64::MAX; count];
        let (mut chosen, mut taken) = (vec![0; count], vec![0; count]);
        let floor = limits.floor(layer);
        for (arrays, of_layer) in layer.trades(count as u64 - 1) {
            let of_layer = of_layer.max(floor);
            for total in arrays as usize..count {
                let sum = self.steps[total - arrays as usize].saturating_add(of_layer);
                if sum < steps[total] {
                    steps[total] = sum;
                    chosen[total] = of_layer;
                    taken[total] = arrays;
                }
            }
        }
        self.steps = steps;
        self.chosen.push(chosen);
        self.taken.push(taken);
    }

    /// The fewest steps with all arrays; `u64::MAX` where they are too few.
    fn fewest(&self) -> u64 {
        self.steps.last().copied().unwrap_or(u64::MAX)
    }

    fn layers(&self, layers: &[LayerChoices], limits: Limits) -> Vec<PlannedLayer> {
        let mut left = self.steps.len() - 1;
        let mut found = Vec::new();
        for (layer, (chosen, taken)) in layers.iter().zip(self.chosen.iter().zip(&self.taken)).rev() {
            found.push(planned(layer, chosen[left].max(1), limits));
            left -= taken[left] as usize;
        }
        found.reverse();
        found
    }
}

/// The fewest steps of one picture where the network is loaded part by part: the cuts by dynamic programming, each part by its own.
fn in_parts(layers: &[LayerChoices], arrays: u64, limits: Limits, write_steps: u64) -> Vec<Part> {
    // For each number of layers the fewest steps of them, and where the last part begins.
    let mut best = vec![(0u64, 0usize)];
    best.resize(layers.len() + 1, (u64::MAX, 0));
    for first in 0..layers.len() {
        let (before, _) = best[first];
        let mut table = Table::new(arrays);
        for end in first + 1..=layers.len() {
            table.add(&layers[end - 1], limits);
            let steps = table.fewest();
            if steps == u64::MAX {
                break;
            }
            let sum = before.saturating_add(steps).saturating_add(write_steps);
            if sum < best[end].0 {
                best[end] = (sum, first);
            }
        }
    }
    let mut parts = Vec::new();
    let mut end = layers.len();
    while end > 0 {
        let (_, first) = best[end];
        parts.push(Part {
            layers: together(&layers[first..end], arrays, limits),
            write_steps,
        });
        end = first;
    }
    parts.reverse();
    parts
}
