//! Every best trade of cycles against channels: the widths of a network for which no others keep as many
//! channels in fewer cycles, or more channels in as many.
//!
//! The rounds of the published search end at one network. Here the whole front is found, by dynamic programming
//! along the free widths, which have to follow one another: a layer stands between a width and itself, or
//! between a width and the next. For each value of a width and each number of channels kept so far, the fewest
//! cycles of the layers so far are known; the next width is added to it.
//!
//! Only widths at which some layer's cycles step are tried. Below a step a wider layer costs the same, and
//! keeps more channels. A layer's cycles, with VW-SDK's windows and im2col,
//!
//! ```text
//! min over windows of N * ceil(IC / a) * ceil(OC / b)        a = rows / T,  b = C' / (w * h)
//! ```
//!
//! step at the multiples of `a` and of `b`, for the few windows that are ever the best.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    ConvLayer, MappingConfig, MappingError, Network, Tie, WidthLimits, limits::Bounds, problem::Problem,
};

/// Numbers the dynamic programme may keep; about a gigabyte.
const MAX_STATES: usize = 1 << 27;

/// The most sums it compares: some twenty seconds.
const MAX_STEPS: usize = 1 << 34;

/// A network on the front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ParetoPoint {
    /// The free widths, as [`Network::with_widths`] takes them.
    pub widths: Vec<usize>,
    /// Channels kept: the output channels of all layers whose output width is free.
    pub channels: usize,
    /// Cycles of all layers, with VW-SDK.
    pub cycles: u64,
}

/// The whole front of `network` under VW-SDK with the exact search, from the most channels down. No width grows
/// beyond what it is, and none falls to zero; `limits` say what else stays.
///
/// ```
/// use vwc_sdk::mapping::{
///     Accounting, MappingConfig, PimArray, WidthLimits, pareto::pareto_front, presets::network,
/// };
///
/// let config = MappingConfig::new(PimArray::new(256, 512)?).with_accounting(Accounting::AsPublished);
/// let front = pareto_front(&network("cnn8")?, &config, &WidthLimits::default())?;
/// // RCP1 keeps 246 channels in 227 cycles. More can be kept.
/// let best = front.iter().find(|point| point.cycles <= 227).unwrap();
/// assert_eq!(best.channels, 260);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// [`MappingError::Ties`] where the free widths do not follow one another or are too many; [`MappingError::Limits`]; those of
/// [`Network::widths`] and [`map_layer`](super::map_layer).
pub fn pareto_front(
    network: &Network,
    config: &MappingConfig,
    limits: &WidthLimits,
) -> Result<Vec<ParetoPoint>, MappingError> {
    let widths = network.widths()?;
    let stages = stages(network, &widths, &limits.bounds(network, &widths)?, config)?;
    let refuse = || MappingError::Ties {
        network: network.name.clone(),
        what: "it has too many free channels for the whole front: use the rounds".to_owned(),
    };

    // What it will take is known before anything is worked out.
    let (mut states, mut steps, mut most, mut before) = (0_usize, 0_usize, 0_usize, 1_usize);
    for (stage, &width) in stages.iter().zip(&widths) {
        let count = stage.candidates.len();
        steps = steps.saturating_add(count.saturating_mul(before).saturating_mul(most + 1));
        most = most.saturating_add(stage.weight.saturating_mul(width));
        states = states.saturating_add(count.saturating_mul(most + 1));
        if states > MAX_STATES || steps > MAX_STEPS {
            return Err(refuse());
        }
        before = count;
    }

    let mut tables: Vec<Vec<Row>> = Vec::with_capacity(stages.len());
    let mut most = 0_usize;
    for (index, stage) in stages.iter().enumerate() {
        most = most.saturating_add(stage.weight.saturating_mul(widths[index]));
        let before = tables.last();
        let table = stage
            .candidates
            .iter()
            .map(|&width| {
                let own = stage.own_cycles(width);
                let mut row = vec![u64::MAX; most + 1];
                let kept = stage.weight * width;
                match before {
                    None => row[kept] = own,
                    Some(before) => {
                        for (&from, earlier) in stages[index - 1].candidates.iter().zip(before) {
                            let cost = own.saturating_add(stage.cycles_from(from, width));
                            for (sum, &cycles) in row[kept..].iter_mut().zip(earlier) {
                                *sum = (*sum).min(cycles.saturating_add(cost));
                            }
                        }
                    }
                }
                row
            })
            .collect();
        tables.push(table);
    }

    let Some(last) = tables.last() else {
        return Ok(Vec::new());
    };
    // Layers that no free width touches cost the same everywhere.
    let fixed = fixed_cycles(network, config)?;
    let mut front: Vec<ParetoPoint> = Vec::new();
    for channels in (0..=most).rev() {
        let best = last.iter().map(|row| row[channels]).min().unwrap_or(u64::MAX);
        let cycles = best.saturating_add(fixed);
        if best != u64::MAX && front.last().is_none_or(|point| cycles < point.cycles) {
            front.push(ParetoPoint {
                widths: trace(&stages, &tables, channels, best),
                channels,
                cycles,
            });
        }
    }
    Ok(front)
}

/// For one value of a width: the fewest cycles for each number of channels kept, `u64::MAX` where that number
/// cannot be kept.
type Row = Vec<u64>;

/// The widths that lead to this number of channels in this many cycles, found backwards.
fn trace(stages: &[Stage], tables: &[Vec<Row>], mut channels: usize, mut cycles: u64) -> Vec<usize> {
    let mut widths = Vec::with_capacity(stages.len());
    let mut after: Option<(&Stage, usize)> = None;
    for (stage, table) in stages.iter().zip(tables).rev() {
        let step = |width: usize| match after {
            // What the next width's layers cost comes off first.
            Some((next, to)) => next.own_cycles(to).saturating_add(next.cycles_from(width, to)),
            None => 0,
        };
        let found = (stage.candidates.iter().zip(table)).find(|(width, row)| {
            let here = row.get(channels).copied().unwrap_or(u64::MAX);
            here != u64::MAX && here.saturating_add(step(**width)) == cycles
        });
        // One of them led here, so one is found.
        let Some((&width, row)) = found else { break };
        cycles = row[channels];
        channels -= stage.weight * width;
        widths.push(width);
        after = Some((stage, width));
    }
    widths.reverse();
    widths
}

/// A free width with the layers that end at it.
struct Stage {
    /// Widths worth trying, the widest last.
    candidates: Vec<usize>,
    /// Layers whose output is this wide.
    weight: usize,
    /// Layers that this width alone decides.
    own: Vec<(Cost, Tie)>,
    /// Layers between the width before and this one.
    between: Vec<Cost>,
}

impl Stage {
    fn own_cycles(&self, width: usize) -> u64 {
        let cost = |(cost, tie): &(Cost, Tie)| {
            let side = |tied: Option<usize>, given| tied.map_or(given, |_| width as u64);
            cost.cycles(
                side(tie.input, cost.in_channels),
                side(tie.output, cost.out_channels),
            )
        };
        self.own.iter().map(cost).fold(0, u64::saturating_add)
    }

    fn cycles_from(&self, from: usize, to: usize) -> u64 {
        let cost = |cost: &Cost| cost.cycles(from as u64, to as u64);
        self.between.iter().map(cost).fold(0, u64::saturating_add)
    }
}

fn stages(
    network: &Network,
    widths: &[usize],
    bounds: &Bounds,
    config: &MappingConfig,
) -> Result<Vec<Stage>, MappingError> {
    let mut stages: Vec<Stage> = widths
        .iter()
        .map(|_| Stage {
            candidates: Vec::new(),
            weight: 0,
            own: Vec::new(),
            between: Vec::new(),
        })
        .collect();
    let mut steps: Vec<BTreeSet<usize>> = widths.iter().map(|&width| BTreeSet::from([width])).collect();
    for (layer, &tie) in network.layers.iter().zip(&network.ties) {
        if let Some(output) = tie.output {
            stages[output].weight += 1;
        }
        let (Some(first), Some(last)) = (tie.input.or(tie.output), tie.output.or(tie.input)) else {
            continue;
        };
        let cost = Cost::new(layer, config)?;
        if let Some(input) = tie.input {
            cost.input_steps(widths[input], &mut steps[input]);
        }
        if let Some(output) = tie.output {
            cost.output_steps(widths[output], &mut steps[output]);
        }
        if first == last {
            stages[first].own.push((cost, tie));
        } else if first + 1 == last {
            stages[last].between.push(cost);
        } else {
            return Err(MappingError::Ties {
                network: network.name.clone(),
                what: format!(
                    "layer `{}` stands between two widths that do not follow one another",
                    layer.name
                ),
            });
        }
    }
    for (width, (stage, steps)) in stages.iter_mut().zip(steps).enumerate() {
        // Below a step the cycles are the same, so the widest that is allowed there is the one worth trying.
        let allowed: BTreeSet<usize> = (steps.into_iter())
            .filter_map(|step| bounds.at_most(width, step))
            .collect();
        stage.candidates = allowed.into_iter().collect();
    }
    Ok(stages)
}

fn fixed_cycles(network: &Network, config: &MappingConfig) -> Result<u64, MappingError> {
    let layers = network.layers.iter().zip(&network.ties);
    layers
        .filter(|(_, tie)| tie.input.is_none() && tie.output.is_none())
        .try_fold(0_u64, |sum, (layer, _)| {
            let cost = Cost::new(layer, config)?;
            Ok(sum.saturating_add(cost.cycles(cost.in_channels, cost.out_channels)))
        })
}

/// VW-SDK's cycles of one layer for any number of channels, as far as it goes: up to the layer's own.
struct Cost {
    in_channels: u64,
    out_channels: u64,
    /// The windows that are the best for some channels.
    windows: Vec<Reach>,
    /// Output positions, for im2col.
    outputs: u64,
    kernel: u64,
    rows: u64,
    cols: u64,
}

/// A window: how often it is used, and how many channels of it fit the array.
#[derive(Clone, Copy)]
struct Reach {
    windows: u64,
    in_channels: u64,
    out_channels: u64,
}

impl Cost {
    fn new(layer: &ConvLayer, config: &MappingConfig) -> Result<Self, MappingError> {
        if layer.groups != 1 {
            return Err(MappingError::GroupedChain {
                layer: layer.name.clone(),
            });
        }
        let problem = Problem::new(layer, config)?;
        let mut windows: Vec<Reach> = Vec::new();
        for h in problem.down.sizes() {
            for w in problem.across.sizes() {
                let reach = Reach {
                    windows: problem.windows(w, h),
                    // Beyond the layer's own channels it makes no difference.
                    in_channels: (problem.rows / problem.rows_per_channel(w, h)).min(problem.in_channels),
                    out_channels: (problem.cols / (w * h)).min(problem.out_channels),
                };
                if reach.in_channels == 0 || reach.out_channels == 0 {
                    break;
                }
                let covers = |a: &Reach, b: &Reach| {
                    a.windows <= b.windows
                        && a.in_channels >= b.in_channels
                        && a.out_channels >= b.out_channels
                };
                if !windows.iter().any(|other| covers(other, &reach)) {
                    windows.retain(|other| !covers(&reach, other));
                    windows.push(reach);
                }
            }
        }
        Ok(Self {
            in_channels: problem.in_channels,
            out_channels: problem.out_channels,
            windows,
            outputs: problem.outputs(),
            kernel: problem.rows_per_channel(1, 1),
            rows: problem.rows,
            cols: problem.cols,
        })
    }

    fn cycles(&self, in_channels: u64, out_channels: u64) -> u64 {
        let arrays = (self.kernel * in_channels).div_ceil(self.rows) * out_channels.div_ceil(self.cols);
        let window = |reach: &Reach| {
            let arrays = in_channels.div_ceil(reach.in_channels) * out_channels.div_ceil(reach.out_channels);
            reach.windows.saturating_mul(arrays)
        };
        let windows = self.windows.iter().map(window).min();
        windows
            .unwrap_or(u64::MAX)
            .min(self.outputs.saturating_mul(arrays))
    }

    /// Input widths up to `width` at which the cycles may step.
    fn input_steps(&self, width: usize, steps: &mut BTreeSet<usize>) {
        multiples(self.windows.iter().map(|reach| reach.in_channels), width, steps);
        let rows = self.rows as usize;
        let kernel = self.kernel as usize;
        if kernel >= rows {
            // A channel more takes an array more.
            steps.extend(1..width);
        } else {
            let arrays = (width * kernel).div_ceil(rows);
            let most = (1..=arrays).map(|arrays| arrays * rows / kernel);
            steps.extend(most.filter(|step| (1..width).contains(step)));
        }
    }

    /// Output widths up to `width` at which the cycles may step.
    fn output_steps(&self, width: usize, steps: &mut BTreeSet<usize>) {
        let reaches = self.windows.iter().map(|reach| reach.out_channels);
        multiples(reaches.chain([self.cols]), width, steps);
    }
}

/// The multiples below `width` of each of these numbers. Many windows hold the same number of channels.
fn multiples(numbers: impl Iterator<Item = u64>, width: usize, steps: &mut BTreeSet<usize>) {
    let different: BTreeSet<usize> = numbers.map(|number| number as usize).collect();
    for number in different {
        steps.extend((number..width).step_by(number));
    }
}
