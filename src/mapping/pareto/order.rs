//! In which order the free widths are eliminated, and what that takes at most. Nothing is worked out here: an order that takes
//! too much is found out before any work is done.

use std::collections::BTreeSet;

use crate::mapping::problem::common_divisor;

/// Points, lists and cycles of pairs that the tables may come to, as estimated. Real lists are shorter: how many points are kept is limited
/// again where they are made.
const MAX_STATES: u64 = 1 << 27;

/// The sums that may be compared, as estimated. Lists are shorter than their estimates: ResNet-18 on 128x128, at more than half
/// of this limit, takes two seconds.
const MAX_STEPS: u64 = 1 << 36;

/// Places of the row in which a list is put together; a gigabyte.
const MAX_PLACES: u64 = 1 << 26;

/// What is known of a free width beforehand.
pub(super) struct Extent {
    /// Its candidates, two or more.
    pub candidates: usize,
    /// Units of kept channels between its narrowest and its widest candidate.
    pub range: u64,
    /// What divides the units between any two of its candidates.
    pub divisor: usize,
    /// Cycles between its narrowest and its widest candidate, of the layers that it decides alone.
    pub spread: u64,
}

/// What is known beforehand of two free widths with layers between them.
pub(super) struct Link {
    pub ends: [usize; 2],
    /// Cycles of those layers between the narrowest and the widest candidate of each width, at most, whatever the other is.
    pub spread: [u64; 2],
    /// Cycles between both at their narrowest and both at their widest.
    pub both: u64,
}

/// The tables to make, one after the other. The last one is that of the whole network.
#[derive(Debug)]
pub(super) struct Order {
    pub steps: Vec<Step>,
    /// The sums that are compared, at most.
    sums: u64,
}

/// A table to make of others.
#[derive(Debug)]
pub(super) struct Step {
    /// The width that is eliminated; `None` where two tables are only added up.
    pub width: Option<usize>,
    /// The tables that are used up, by the steps that made them: two at most.
    pub tables: Vec<usize>,
    /// The pairs of widths whose cycles are added, by index.
    pub pairs: Vec<usize>,
    /// The widths that the new table depends on, in order.
    pub scope: Vec<usize>,
    /// Points of a list of the new table, at most.
    pub length: u64,
}

impl Order {
    /// The order that compares the fewest sums of those tried; `None` where each of them takes too many, or too much memory.
    pub fn best(widths: &[Extent], pairs: &[Link]) -> Option<Self> {
        // Of a tie, the first.
        let orders = Self::tried(widths, pairs).into_iter().flatten();
        orders.min_by_key(|order| order.sums)
    }

    /// The orders that are tried: the free widths in their own order, forwards and backwards, which suit chains; always the
    /// width with the smallest table, as is usual for graphs; and always the width with the fewest sums. `None` for those that
    /// take too much.
    fn tried(widths: &[Extent], pairs: &[Link]) -> [Option<Self>; 4] {
        let draft = || Draft::new(widths, pairs);
        let last = widths.len();
        [
            draft().finish(|_, width| width as u64),
            draft().finish(|_, width| (last - width) as u64),
            draft().finish(Draft::lists),
            draft().finish(Draft::sums),
        ]
    }
}

/// How many lists a table of these widths has.
fn size_of<'a>(scope: impl IntoIterator<Item = &'a usize>, widths: &[Extent]) -> u64 {
    let mut size = 1_u64;
    for &width in scope {
        size = size.saturating_mul(widths[width].candidates as u64);
        if size == u64::MAX {
            break;
        }
    }
    size
}

/// What a table comes to at most.
struct Estimate {
    scope: BTreeSet<usize>,
    lists: u64,
    /// Combinations of the candidates that were eliminated.
    combinations: u64,
    /// Units of kept channels between the fewest and the most.
    range: u64,
    divisor: usize,
    /// Cycles between the fewest and the most.
    spread: u64,
}

impl Estimate {
    /// Points of a list, at most.
    fn length(&self) -> u64 {
        // A list has no two points that keep as many channels, or take as many cycles.
        let kept = self.range / self.divisor.max(1) as u64;
        self.combinations.min(kept.min(self.spread).saturating_add(1))
    }

    fn points(&self) -> u64 {
        self.lists.saturating_mul(self.length())
    }
}

/// An order that is not finished.
struct Draft<'a> {
    widths: &'a [Extent],
    pairs: &'a [Link],
    /// For each width that is not eliminated the others it shares a pair or a table with.
    neighbours: Vec<BTreeSet<usize>>,
    /// For each width that is not eliminated its pairs with others that are not.
    open: Vec<BTreeSet<usize>>,
    /// For each width that is not eliminated its pairs with others that are.
    closed: Vec<Vec<usize>>,
    /// For each width the tables that depend on it.
    holding: Vec<BTreeSet<usize>>,
    /// The tables, by the step that makes them; `None` once they are used up.
    tables: Vec<Option<Estimate>>,
    steps: Vec<Step>,
    sums: u64,
    states: u64,
}

impl<'a> Draft<'a> {
    fn new(widths: &'a [Extent], pairs: &'a [Link]) -> Self {
        let mut neighbours = vec![BTreeSet::new(); widths.len()];
        let mut open = neighbours.clone();
        for (pair, Link { ends: [a, b], .. }) in pairs.iter().enumerate() {
            let (a, b) = (*a, *b);
            neighbours[a].insert(b);
            neighbours[b].insert(a);
            open[a].insert(pair);
            open[b].insert(pair);
        }
        Self {
            widths,
            pairs,
            neighbours,
            open,
            closed: vec![Vec::new(); widths.len()],
            holding: vec![BTreeSet::new(); widths.len()],
            tables: Vec::new(),
            steps: Vec::new(),
            sums: 0,
            states: pairs
                .iter()
                .map(|pair| size_of(&pair.ends, widths))
                .fold(0, u64::saturating_add),
        }
    }

    /// Eliminates all widths, always one with the smallest key; `None` where that takes too much.
    fn finish(mut self, key: impl Fn(&Self, usize) -> u64) -> Option<Order> {
        if self.states > MAX_STATES {
            return None;
        }
        let mut keys: Vec<u64> = (0..self.widths.len()).map(|width| key(&self, width)).collect();
        let mut queue: BTreeSet<(u64, usize)> = keys.iter().copied().zip(0..).collect();
        while let Some((_, width)) = queue.pop_first() {
            let scope = std::mem::take(&mut self.neighbours[width]);
            self.eliminate(width, &scope)?;
            for &other in &scope {
                let new = key(&self, other);
                queue.remove(&(std::mem::replace(&mut keys[other], new), other));
                queue.insert((new, other));
            }
        }
        // Parts of the network that share no width each have a table that depends on none.
        let rest: BTreeSet<usize> = (0..self.tables.len())
            .filter(|&table| self.tables[table].is_some())
            .collect();
        self.join(rest, 1)?;
        Some(Order {
            steps: self.steps,
            sums: self.sums,
        })
    }

    /// The lists of the table with which `width` is eliminated, times its own candidates.
    fn lists(&self, width: usize) -> u64 {
        size_of(&self.neighbours[width], self.widths).saturating_mul(self.widths[width].candidates as u64)
    }

    /// The sums that eliminating `width` compares.
    fn sums(&self, width: usize) -> u64 {
        let mut sums = self.lists(width);
        for table in self.holding[width]
            .iter()
            .filter_map(|&table| self.tables[table].as_ref())
        {
            sums = sums.saturating_mul(table.length());
        }
        sums
    }

    fn eliminate(&mut self, width: usize, scope: &BTreeSet<usize>) -> Option<()> {
        let tables = std::mem::take(&mut self.holding[width]);
        let tables = self.join(tables, 2)?;
        let pairs = std::mem::take(&mut self.open[width]);
        for &pair in &pairs {
            let [a, b] = self.pairs[pair].ends;
            let other = if a == width { b } else { a };
            self.open[other].remove(&pair);
            self.closed[other].push(pair);
        }
        self.make(Some(width), tables, pairs.into_iter().collect(), scope.clone())?;
        for &other in scope {
            self.neighbours[other].remove(&width);
            let others = scope.iter().filter(|&&it| it != other);
            self.neighbours[other].extend(others);
        }
        Some(())
    }

    /// How much further the cycles of a list may lie apart once `width` is eliminated, with these pairs.
    fn spread(&self, width: usize, pairs: &[usize]) -> u64 {
        // While one width of a pair is eliminated and the other is not, the other is the same for a whole list.
        let side = |link: &Link| link.spread[usize::from(link.ends[1] == width)];
        let other = |link: &Link| link.spread[usize::from(link.ends[0] == width)];
        let first = pairs.iter().map(|&pair| side(&self.pairs[pair]));
        let second = self.closed[width].iter().map(|&pair| &self.pairs[pair]);
        first
            .chain(second.map(|link| link.both.saturating_sub(other(link))))
            .fold(self.widths[width].spread, u64::saturating_add)
    }

    /// Adds tables up, the smallest first, until no more than `most` are left.
    fn join(&mut self, tables: BTreeSet<usize>, most: usize) -> Option<Vec<usize>> {
        let points = |draft: &Self, table: usize| draft.tables[table].as_ref().map_or(0, Estimate::points);
        let mut queue: BTreeSet<(u64, usize)> = tables
            .into_iter()
            .map(|table| (points(self, table), table))
            .collect();
        while queue.len() > most.max(1) {
            let two: Vec<usize> = [queue.pop_first(), queue.pop_first()]
                .into_iter()
                .flatten()
                .map(|(_, table)| table)
                .collect();
            let estimates = two.iter().filter_map(|&table| self.tables[table].as_ref());
            let scope = estimates.flat_map(|table| &table.scope).copied().collect();
            let made = self.make(None, two, Vec::new(), scope)?;
            queue.insert((points(self, made), made));
        }
        Some(queue.into_iter().map(|(_, table)| table).collect())
    }

    /// Adds a step, and its table. `None` where that is too much.
    fn make(
        &mut self,
        width: Option<usize>,
        tables: Vec<usize>,
        pairs: Vec<usize>,
        scope: BTreeSet<usize>,
    ) -> Option<usize> {
        let own = width.map(|width| &self.widths[width]);
        let candidates = own.map_or(1, |own| own.candidates as u64);
        let mut made = Estimate {
            lists: size_of(&scope, self.widths),
            scope,
            combinations: candidates,
            range: own.map_or(0, |own| own.range),
            divisor: own.map_or(0, |own| own.divisor),
            spread: width.map_or(0, |width| self.spread(width, &pairs)),
        };
        let mut sums = made.lists.saturating_mul(candidates);
        for &table in &tables {
            let Some(used) = self.tables[table].take() else {
                continue;
            };
            sums = sums.saturating_mul(used.length());
            made.combinations = made.combinations.saturating_mul(used.combinations);
            made.range = made.range.saturating_add(used.range);
            made.divisor = common_divisor(made.divisor, used.divisor);
            made.spread = made.spread.saturating_add(used.spread);
            for width in used.scope {
                self.holding[width].remove(&table);
            }
        }
        // Each list is put together in a row of its own, with a place for each number of channels.
        let places = made.lists.saturating_mul(made.range.saturating_add(1));
        self.sums = self.sums.saturating_add(sums).saturating_add(places);
        self.states = (self.states)
            .saturating_add(made.points())
            .saturating_add(made.lists);
        if self.sums > MAX_STEPS || self.states > MAX_STATES || made.range >= MAX_PLACES {
            return None;
        }
        let index = self.steps.len();
        for &width in &made.scope {
            self.holding[width].insert(index);
        }
        self.steps.push(Step {
            width,
            tables,
            pairs,
            scope: made.scope.iter().copied().collect(),
            length: made.length(),
        });
        self.tables.push(Some(made));
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, Link, Order};
    use crate::mapping::pareto::tables::{Candidates, Costs, Pair, Tables};
    use proptest::{prelude::*, test_runner::RngSeed};

    /// What is known of these costs beforehand.
    fn known(costs: &Costs) -> (Vec<Extent>, Vec<Link>) {
        let extent = |width: &Candidates| Extent {
            candidates: width.kept.len(),
            range: u64::from(width.kept[width.kept.len() - 1]),
            divisor: 1,
            spread: width.cycles[width.cycles.len() - 1] - width.cycles[0],
        };
        let link = |pair: &Pair| {
            let [rows, columns] = pair.ends.map(|end| costs.widths[end].kept.len());
            let at = |row: usize, column: usize| pair.cycles[row * columns + column];
            let down = (0..columns).map(|column| at(rows - 1, column) - at(0, column));
            let across = (0..rows).map(|row| at(row, columns - 1) - at(row, 0));
            Link {
                ends: pair.ends,
                spread: [down.max().unwrap(), across.max().unwrap()],
                both: at(rows - 1, columns - 1) - at(0, 0),
            }
        };
        let widths = costs.widths.iter().map(extent).collect();
        (widths, costs.pairs.iter().map(link).collect())
    }

    /// Points of the front, found by trying every combination.
    fn by_force(costs: &Costs) -> Vec<(u32, u64)> {
        let mut all = vec![Vec::new()];
        for width in &costs.widths {
            let more = |chosen: Vec<usize>| {
                (0..width.kept.len()).map(move |candidate| [chosen.as_slice(), &[candidate]].concat())
            };
            all = all.into_iter().flat_map(more).collect();
        }
        let mut points: Vec<(u32, u64)> = all.iter().map(|chosen| sum(costs, chosen)).collect();
        points.sort_by_key(|&(kept, cycles)| (std::cmp::Reverse(kept), cycles));
        let mut fewest = u64::MAX;
        points.retain(|&(_, cycles)| {
            let better = cycles < fewest;
            fewest = fewest.min(cycles);
            better
        });
        points
    }

    /// What these candidates keep, and their cycles.
    fn sum(costs: &Costs, chosen: &[usize]) -> (u32, u64) {
        let own = costs.widths.iter().zip(chosen);
        let own = own.map(|(width, &candidate)| (width.kept[candidate], width.cycles[candidate]));
        let pairs = costs.pairs.iter().map(|pair| {
            let [a, b] = pair.ends;
            (0, pair.cycles[chosen[a] * costs.widths[b].kept.len() + chosen[b]])
        });
        let add = |sum: (u32, u64), more: (u32, u64)| (sum.0 + more.0, sum.1 + more.1);
        own.chain(pairs).fold((0, 0), add)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 512,
            rng_seed: RngSeed::Fixed(0x5DC),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn every_order_finds_the_front_and_no_list_is_longer_than_estimated(
            widths in prop::collection::vec(prop::collection::vec((1..40_u32, 0..3_u64), 2..5), 1..7),
            ends in prop::collection::btree_set((0..7_usize, 0..7_usize), 0..12),
            slopes in prop::array::uniform4(0..3_u64),
        ) {
            let kept = |steps: &[(u32, u64)]| steps.iter().scan(0, |kept, step| {
                let now = *kept;
                *kept += step.0;
                Some(now)
            }).collect::<Vec<u32>>();
            let candidates = |steps: &Vec<(u32, u64)>| Candidates {
                kept: kept(steps),
                cycles: steps.iter().scan(0, |cycles, step| {
                    *cycles += step.1;
                    Some(*cycles)
                }).collect(),
            };
            let widths: Vec<Candidates> = widths.iter().map(candidates).collect();
            let pairs = ends.into_iter().filter(|&(a, b)| a < b && b < widths.len()).map(|(a, b)| {
                let cycles = |first: u64, second: u64| {
                    (slopes[0] + first * slopes[1]) * (slopes[2] + second * slopes[3]) / 2
                };
                let [rows, columns] = [a, b].map(|end| widths[end].kept.len() as u64);
                let row = |first| (0..columns).map(move |second| cycles(first, second));
                Pair { ends: [a, b], cycles: (0..rows).flat_map(row).collect() }
            }).collect();
            let costs = Costs { widths, pairs };
            let expected = by_force(&costs);
            let (extents, links) = known(&costs);
            for order in Order::tried(&extents, &links) {
                let order = order.unwrap();
                let tables = Tables::new(&costs, &order).unwrap();
                for (step, longest) in order.steps.iter().zip(tables.longest()) {
                    prop_assert!(longest as u64 <= step.length);
                }
                let found: Vec<(u32, u64)> =
                    tables.front().iter().map(|point| sum(&costs, &tables.trace(*point))).collect();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}
