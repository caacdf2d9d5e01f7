//! Every best trade of cycles against channels: the widths of a network for which no others keep as many
//! channels in fewer cycles, or more channels in as many.
//!
//! The rounds of the published search end at one network. Here the whole front is found, by dynamic programming
//! over the free widths (variable elimination). The cycles of a network are a sum over its layers, and a layer depends on one
//! or two free widths. Two widths with a layer between them are neighbours.
//!
//! The widths are eliminated one after the other. When a width is eliminated, every combination of its neighbours' widths
//! gets a list: the channels kept and the cycles of all that has been eliminated so far, without entries that another entry
//! beats. The neighbours are neighbours of each other from then on. In a chain an eliminated width has one neighbour left;
//! within a block of a residual network it has two or three. `order.rs` chooses the order and bounds the work beforehand,
//! `tables.rs` works the lists out, and `cost.rs` knows a layer's cycles.
//!
//! Only widths at which some layer's cycles step are tried. Below a step a wider layer costs the same, and
//! keeps more channels.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{
    ConvLayer, MappingConfig, MappingError, Method, Network, Search, Tie, WidthLimits,
    channels::{KeptReason, KeptWidth},
    limits::Bounds,
    map_layer,
    network::depthwise,
    problem::common_divisor,
};
use cost::Cost;
use order::{Extent, Link, Order};
use tables::{Candidates, Costs, Pair, Tables};

mod cost;
mod order;
mod tables;

/// Widths that all points of a front may have together, a gigabyte.
const MAX_WIDTHS: usize = 1 << 27;

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
/// Free widths may be tied in any way: chains, residual stages with shortcuts, and depthwise layers, whose groups go with
/// their channels. Widths of other layers with groups stay: [`front_keeps`] lists them.
///
/// ```
/// use vwc_sdk::graph::presets::network;
/// use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray, WidthLimits, pareto::pareto_front};
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
/// [`MappingError::Ties`] where the free widths are too many; [`MappingError::Limits`]; those of [`Network::widths`] and
/// [`map_layer`].
pub fn pareto_front(
    network: &Network,
    config: &MappingConfig,
    limits: &WidthLimits,
) -> Result<Vec<ParetoPoint>, MappingError> {
    let widths = network.widths()?;
    let bounds = limits.bounds(network, &widths)?;
    let kept = kept(network, &widths, &bounds);
    let sum = Sum::new(
        network,
        &widths,
        &bounds,
        &kept,
        &config.with_search(Search::Exact),
    )?;
    let refuse = || {
        MappingError::Ties {
        network: network.name.clone(),
        what: "it has too many free channels for the whole front: hold some of its layers, narrow widths to larger \
               multiples, or use the rounds"
            .to_owned(),
    }
    };
    // What it will take is known before anything is worked out.
    let (order, unit) = sum.order().ok_or_else(refuse)?;
    let costs = sum.costs(unit);
    let tables = Tables::new(&costs, &order).ok_or_else(refuse)?;
    if tables.front().len().saturating_mul(widths.len()) > MAX_WIDTHS {
        return Err(refuse());
    }
    // What the narrowest widths keep, and those that stay.
    let least: usize = (sum.layers.iter().zip(&sum.candidates))
        .map(|(layers, candidates)| layers * candidates[0])
        .sum();
    let point = |point: &tables::Point| {
        let mut widths: Vec<usize> = sum.candidates.iter().map(|candidates| candidates[0]).collect();
        for (&width, choice) in sum.free.iter().zip(tables.trace(*point)) {
            widths[width] = sum.candidates[width][choice];
        }
        ParetoPoint {
            widths,
            channels: least + point.kept as usize * unit,
            cycles: point.cycles.saturating_add(sum.fixed),
        }
    };
    let mut front: Vec<ParetoPoint> = tables.front().iter().map(point).collect();
    // Only cycles that cannot be counted are the same.
    front.dedup_by_key(|point| point.cycles);
    Ok(front)
}

/// The free widths that the front leaves as they are, whatever `limits` allow: those of layers with groups of several channels.
///
/// # Errors
///
/// [`MappingError::Limits`], and those of [`Network::widths`].
pub fn front_keeps(network: &Network, limits: &WidthLimits) -> Result<Vec<KeptWidth>, MappingError> {
    let widths = network.widths()?;
    let bounds = limits.bounds(network, &widths)?;
    Ok(kept(network, &widths, &bounds))
}

fn kept(network: &Network, widths: &[usize], bounds: &Bounds) -> Vec<KeptWidth> {
    let mut kept: Vec<KeptWidth> = Vec::new();
    for (layer, tie) in network.layers.iter().zip(&network.ties) {
        if layer.groups == 1 || depthwise(layer) {
            continue;
        }
        for width in tie.input.into_iter().chain(tie.output) {
            let moves = bounds.at_least(width, 1) < widths[width];
            if moves && kept.iter().all(|other| other.width != width) {
                kept.push(KeptWidth {
                    width,
                    channels: widths[width],
                    layer: layer.name.clone(),
                    reason: KeptReason::SeveralInGroup,
                });
            }
        }
    }
    kept
}

/// The cycles of a network as a sum over its layers.
struct Sum {
    /// For each width those worth trying, the widest last: one where it stays.
    candidates: Vec<Vec<usize>>,
    /// For each width how many layers make it.
    layers: Vec<usize>,
    /// The widths with more than one candidate.
    free: Vec<usize>,
    /// Cycles of the layers that have no such width.
    fixed: u64,
    /// For each free width the layers that it alone decides.
    own: Vec<Vec<Term>>,
    /// The pairs of free widths that layers stand between, with those layers.
    pairs: Vec<([usize; 2], Vec<Term>)>,
}

/// Layers that are alike, between the same widths.
struct Term {
    cost: Cost,
    count: u64,
    in_channels: usize,
    out_channels: usize,
    /// Widths that stay are `None`, others are indices into the free ones.
    tie: Tie,
}

impl Term {
    /// The cycles where the free widths are so many channels wide.
    fn cycles(&self, channels: impl Fn(usize) -> usize) -> u64 {
        let side = |tied: Option<usize>, given| tied.map_or(given, &channels);
        let cycles = self.cost.cycles(
            side(self.tie.input, self.in_channels),
            side(self.tie.output, self.out_channels),
        );
        cycles.saturating_mul(self.count)
    }
}

impl Sum {
    fn new(
        network: &Network,
        widths: &[usize],
        bounds: &Bounds,
        kept: &[KeptWidth],
        config: &MappingConfig,
    ) -> Result<Self, MappingError> {
        let stays = |width: usize| kept.iter().any(|kept| kept.width == width);
        let moves = |width: &usize| bounds.at_least(*width, 1) < widths[*width] && !stays(*width);
        let mut layers = vec![0; widths.len()];
        let mut steps: Vec<BTreeSet<usize>> = widths.iter().map(|&width| BTreeSet::from([width])).collect();
        let mut fixed = 0_u64;
        let mut terms: Vec<Term> = Vec::new();
        let mut alike: HashMap<(ConvLayer, Tie), usize> = HashMap::new();
        for (layer, tie) in network.layers.iter().zip(&network.ties) {
            if let Some(output) = tie.output {
                layers[output] += 1;
            }
            let tie = Tie {
                input: tie.input.filter(moves),
                output: tie.output.filter(moves),
            };
            if tie.input.is_none() && tie.output.is_none() {
                fixed = fixed.saturating_add(map_layer(layer, Method::VwSdk, config)?.cycles);
                continue;
            }
            let shape = ConvLayer {
                name: String::new(),
                ..layer.clone()
            };
            if let Some(&term) = alike.get(&(shape.clone(), tie)) {
                terms[term].count += 1;
                continue;
            }
            let cost = Cost::new(layer, config)?;
            if let Some(input) = tie.input {
                cost.input_steps(widths[input], &mut steps[input]);
            }
            if let Some(output) = tie.output {
                cost.output_steps(widths[output], &mut steps[output]);
            }
            alike.insert((shape, tie), terms.len());
            terms.push(Term {
                cost,
                count: 1,
                in_channels: layer.in_channels,
                out_channels: layer.out_channels,
                tie,
            });
        }
        let candidates: Vec<Vec<usize>> = (steps.into_iter().enumerate())
            .map(|(width, steps)| {
                // Below a step the cycles are the same, so the widest that is allowed there is the one worth trying.
                let allowed: BTreeSet<usize> = (steps.into_iter())
                    .filter_map(|step| bounds.at_most(width, step))
                    .collect();
                allowed.into_iter().collect()
            })
            .collect();
        let free: Vec<usize> = (0..widths.len())
            .filter(|&width| candidates[width].len() > 1)
            .collect();
        for term in &mut terms {
            let index = |width: usize| free.binary_search(&width).ok();
            term.tie = Tie {
                input: term.tie.input.and_then(index),
                output: term.tie.output.and_then(index),
            };
        }
        let mut own: Vec<Vec<Term>> = free.iter().map(|_| Vec::new()).collect();
        let mut pairs: BTreeMap<[usize; 2], Vec<Term>> = BTreeMap::new();
        for term in terms {
            match (term.tie.input, term.tie.output) {
                (Some(a), Some(b)) if a != b => pairs.entry([a.min(b), a.max(b)]).or_default().push(term),
                (Some(width), _) | (None, Some(width)) => own[width].push(term),
                (None, None) => fixed = fixed.saturating_add(term.cycles(|_| 0)),
            }
        }
        Ok(Self {
            candidates,
            layers,
            fixed,
            own,
            pairs: pairs.into_iter().collect(),
            free,
        })
    }

    /// The candidates of a free width.
    fn candidates(&self, free: usize) -> &[usize] {
        &self.candidates[self.free[free]]
    }

    /// The narrowest and the widest candidate of a free width.
    fn span(&self, free: usize) -> [usize; 2] {
        let candidates = self.candidates(free);
        [candidates[0], candidates[candidates.len() - 1]]
    }

    /// The order to eliminate the free widths in, and the unit in which channels are counted: the largest that divides what
    /// the candidates of any width differ by. `None` where it takes too much.
    fn order(&self) -> Option<(Order, usize)> {
        let divisor = |(free, &width): (usize, &usize)| {
            let apart = self.candidates(free).windows(2).map(|two| two[1] - two[0]);
            self.layers[width].saturating_mul(apart.fold(0, common_divisor))
        };
        let divisors: Vec<usize> = self.free.iter().enumerate().map(divisor).collect();
        let unit = divisors.iter().copied().fold(0, common_divisor).max(1);
        let extent = |(free, divisor): (usize, usize)| {
            let [least, most] = self.span(free);
            let range = self.layers[self.free[free]].saturating_mul(most - least);
            let cycles = |channels| total(&self.own[free], |_| channels);
            Extent {
                candidates: self.candidates(free).len(),
                range: (range / unit) as u64,
                divisor: divisor / unit,
                spread: cycles(most).saturating_sub(cycles(least)),
            }
        };
        let extents: Vec<Extent> = divisors.into_iter().enumerate().map(extent).collect();
        // Cycles never fall when a width grows.
        let link = |(ends, terms): &([usize; 2], Vec<Term>)| {
            let [a, b] = *ends;
            let cycles =
                |first: usize, second: usize| total(terms, |width| if width == a { first } else { second });
            let ([a_least, a_most], [b_least, b_most]) = (self.span(a), self.span(b));
            let for_b = |&b: &usize| cycles(a_most, b).saturating_sub(cycles(a_least, b));
            let for_a = |&a: &usize| cycles(a, b_most).saturating_sub(cycles(a, b_least));
            Link {
                ends: *ends,
                spread: [
                    self.candidates(b).iter().map(for_b).max().unwrap_or(0),
                    self.candidates(a).iter().map(for_a).max().unwrap_or(0),
                ],
                both: cycles(a_most, b_most).saturating_sub(cycles(a_least, b_least)),
            }
        };
        let links: Vec<Link> = self.pairs.iter().map(link).collect();
        Some((Order::best(&extents, &links)?, unit))
    }

    /// The cycles for all candidates.
    fn costs(&self, unit: usize) -> Costs {
        let width = |(free, &width): (usize, &usize)| {
            let candidates = self.candidates(free);
            let kept = |channels: &usize| (self.layers[width] * (channels - candidates[0]) / unit) as u32;
            let cycles = |&channels: &usize| total(&self.own[free], |_| channels);
            Candidates {
                kept: candidates.iter().map(kept).collect(),
                cycles: candidates.iter().map(cycles).collect(),
            }
        };
        let pair = |(ends, terms): &([usize; 2], Vec<Term>)| {
            let [a, b] = *ends;
            let cycles = |first: usize| {
                let second = self.candidates(b).iter();
                second.map(move |&second| total(terms, |width| if width == a { first } else { second }))
            };
            Pair {
                ends: *ends,
                cycles: self
                    .candidates(a)
                    .iter()
                    .flat_map(|&first| cycles(first))
                    .collect(),
            }
        };
        Costs {
            widths: self.free.iter().enumerate().map(width).collect(),
            pairs: self.pairs.iter().map(pair).collect(),
        }
    }
}

/// The cycles of layers where the free widths are so many channels wide.
fn total(terms: &[Term], channels: impl Fn(usize) -> usize) -> u64 {
    let cycles = terms.iter().map(|term| term.cycles(&channels));
    cycles.fold(0, u64::saturating_add)
}
