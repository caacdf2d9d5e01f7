//! The tables of the dynamic programme, and the way back through them.

use super::order::{Order, Step};

/// Points that all tables may hold together, a gigabyte.
const MAX_POINTS: usize = 1 << 26;

/// The cycles of a network as a sum of functions of one or two of its free widths.
pub(super) struct Costs {
    pub widths: Vec<Candidates>,
    pub pairs: Vec<Pair>,
}

/// The candidates of a free width, the narrowest first.
pub(super) struct Candidates {
    /// Units of channels that each keeps, more than the narrowest does.
    pub kept: Vec<u32>,
    /// The cycles that each decides alone.
    pub cycles: Vec<u64>,
}

/// What two widths decide together.
pub(super) struct Pair {
    pub ends: [usize; 2],
    /// The cycles, for each candidate of the first width those of each of the second.
    pub cycles: Vec<u64>,
}

/// Units of channels kept, and the fewest cycles for them.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub cycles: u64,
    pub kept: u32,
    /// The candidate of the width that was eliminated last, if the table was made so.
    choice: u32,
}

/// Nothing kept, and no cycles.
const NOTHING: [Point; 1] = [Point {
    cycles: 0,
    kept: 0,
    choice: 0,
}];

/// For each choice of candidates of some widths the points of what has been eliminated that may lie on the front.
///
/// What is added later depends on those widths alone, and is the same for all points of a list. So where one keeps
/// no more channels than another in no fewer cycles, no network made of it is better than the same one made of
/// the other, and it is left out.
#[derive(Default)]
struct Table {
    scope: Vec<usize>,
    /// Where each list begins, and where the last ends.
    starts: Vec<usize>,
    /// From the most channels down, and so from the most cycles.
    points: Vec<Point>,
}

impl Table {
    fn list(&self, index: usize) -> &[Point] {
        &self.points[self.starts[index]..self.starts[index + 1]]
    }
}

/// A place of the row in which a list is put together.
#[derive(Clone, Copy)]
struct Place {
    cycles: u64,
    choice: u32,
}

const EMPTY: Place = Place {
    cycles: u64::MAX,
    choice: 0,
};

/// All tables.
pub(super) struct Tables<'a> {
    costs: &'a Costs,
    order: &'a Order,
    tables: Vec<Table>,
}

impl<'a> Tables<'a> {
    /// Works all of them out; `None` where they hold too many points.
    pub fn new(costs: &'a Costs, order: &'a Order) -> Option<Self> {
        let mut all = Self {
            costs,
            order,
            tables: Vec::with_capacity(order.steps.len()),
        };
        let mut row = Vec::new();
        let mut left = MAX_POINTS;
        for step in &order.steps {
            let table = all.table(step, &mut row, left)?;
            left -= table.points.len();
            all.tables.push(table);
        }
        Some(all)
    }

    /// The front, from the most channels down.
    pub fn front(&self) -> &[Point] {
        self.tables.last().map_or(&NOTHING, |table| table.list(0))
    }

    /// For each table the points of its longest list.
    #[cfg(test)]
    pub fn longest(&self) -> impl Iterator<Item = usize> {
        let length = |ends: &[usize]| ends[1] - ends[0];
        let longest = move |table: &Table| table.starts.windows(2).map(length).max().unwrap_or(0);
        self.tables.iter().map(longest)
    }

    fn candidates(&self, width: usize) -> usize {
        self.costs.widths[width].kept.len()
    }

    /// How far apart the lists of neighbouring candidates of `width` are in a table of these widths; 0 where it does not
    /// depend on it.
    fn stride(&self, scope: &[usize], width: usize) -> usize {
        let Some(at) = scope.iter().position(|&it| it == width) else {
            return 0;
        };
        scope[at + 1..]
            .iter()
            .map(|&width| self.candidates(width))
            .product()
    }

    /// The table of one step; `None` where it holds more than so many points.
    fn table(&self, step: &Step, row: &mut Vec<Place>, most: usize) -> Option<Table> {
        let Step { scope, .. } = step;
        let source = |&table: &usize| Source {
            strides: self.strides(step, &self.tables[table].scope),
            table: &self.tables[table],
        };
        let used: Vec<Source> = step.tables.iter().map(source).collect();
        let pair = |&pair: &usize| self.strides(step, &self.costs.pairs[pair].ends);
        let pairs: Vec<Strides> = step.pairs.iter().map(pair).collect();
        let alone = Candidates {
            kept: vec![0],
            cycles: vec![0],
        };
        let own = step.width.map_or(&alone, |width| &self.costs.widths[width]);
        let lists = scope.iter().map(|&width| self.candidates(width)).product();
        let mut made = Table {
            scope: scope.clone(),
            starts: Vec::with_capacity(lists + 1),
            points: Vec::new(),
        };
        made.starts.push(0);
        let mut chosen = vec![0; scope.len()];
        let mut cycles = Vec::with_capacity(own.cycles.len());
        for _ in 0..lists {
            cycles.clone_from(&own.cycles);
            for (pair, strides) in step.pairs.iter().zip(&pairs) {
                let shared = &self.costs.pairs[*pair].cycles[strides.base(&chosen)..];
                for (sum, more) in cycles.iter_mut().zip(shared.iter().step_by(strides.own.max(1))) {
                    *sum = sum.saturating_add(*more);
                }
            }
            let bases = [0, 1].map(|n| used.get(n).map_or(0, |source| source.strides.base(&chosen)));
            let sources = |candidate: usize| {
                [0, 1].map(|n| match used.get(n) {
                    Some(source) => source.table.list(bases[n] + candidate * source.strides.own),
                    None => &NOTHING,
                })
            };
            let before = made.points.len();
            list(own, &cycles, sources, row, &mut made.points);
            debug_assert!((made.points.len() - before) as u64 <= step.length);
            if made.points.len() > most {
                return None;
            }
            made.starts.push(made.points.len());
            // The last of the widths goes on first.
            for (candidate, &width) in chosen.iter_mut().zip(scope).rev() {
                *candidate += 1;
                if *candidate < self.candidates(width) {
                    break;
                }
                *candidate = 0;
            }
        }
        made.points.shrink_to_fit();
        Some(made)
    }

    /// Where the lists of `step` find theirs in a table of the widths `of`.
    fn strides(&self, step: &Step, of: &[usize]) -> Strides {
        Strides {
            scope: step.scope.iter().map(|&width| self.stride(of, width)).collect(),
            own: step.width.map_or(0, |width| self.stride(of, width)),
        }
    }

    /// For each width the candidate that a point of the front takes.
    pub fn trace(&self, point: Point) -> Vec<usize> {
        let mut chosen = vec![0; self.costs.widths.len()];
        // Each table's point, known once that of the table made of it is.
        let mut targets = vec![point; self.tables.len()];
        for (index, step) in self.order.steps.iter().enumerate().rev() {
            let mut rest = targets[index];
            if let Some(width) = step.width {
                let own = &self.costs.widths[width];
                let choice = rest.choice as usize;
                chosen[width] = choice;
                rest.kept -= own.kept[choice];
                rest.cycles -= own.cycles[choice];
                for pair in step.pairs.iter().map(|&pair| &self.costs.pairs[pair]) {
                    let [a, b] = pair.ends;
                    rest.cycles -= pair.cycles[chosen[a] * self.candidates(b) + chosen[b]];
                }
            }
            let list = |&table: &usize| {
                let table = &self.tables[table];
                let strides = table
                    .scope
                    .iter()
                    .map(|&width| chosen[width] * self.stride(&table.scope, width));
                table.list(strides.sum())
            };
            match *step.tables.as_slice() {
                [one] => {
                    if let Some(point) = find(list(&one), rest.kept, rest.cycles) {
                        targets[one] = point;
                    }
                }
                [one, two] => {
                    let (short, long) = if list(&one).len() <= list(&two).len() {
                        (one, two)
                    } else {
                        (two, one)
                    };
                    let halves = list(&short).iter().find_map(|half| {
                        let kept = rest.kept.checked_sub(half.kept)?;
                        let cycles = rest.cycles.checked_sub(half.cycles)?;
                        Some((*half, find(list(&long), kept, cycles)?))
                    });
                    if let Some(halves) = halves {
                        (targets[short], targets[long]) = halves;
                    }
                }
                _ => {}
            }
        }
        chosen
    }
}

/// A table that is used up.
struct Source<'t> {
    table: &'t Table,
    strides: Strides,
}

/// Where a list or a number lies, for candidates of the widths that a step keeps, and of the one it eliminates.
struct Strides {
    scope: Vec<usize>,
    own: usize,
}

impl Strides {
    fn base(&self, chosen: &[usize]) -> usize {
        self.scope
            .iter()
            .zip(chosen)
            .map(|(stride, candidate)| stride * candidate)
            .sum()
    }
}

/// The point of a list that keeps so much in so many cycles.
fn find(list: &[Point], kept: u32, cycles: u64) -> Option<Point> {
    let found = list.binary_search_by(|point| kept.cmp(&point.kept)).ok()?;
    Some(list[found]).filter(|point| point.cycles == cycles)
}

/// Adds a list to `points`: of the sums of a candidate's own cycles and of a point of each of its two sources, those that
/// no other sum makes useless. `row` is empty, and left empty.
fn list<'t>(
    own: &Candidates,
    cycles: &[u64],
    sources: impl Fn(usize) -> [&'t [Point]; 2],
    row: &mut Vec<Place>,
    points: &mut Vec<Point>,
) {
    let candidates = || own.kept.iter().zip(cycles).enumerate();
    let (mut fewest, mut most) = (u32::MAX, 0);
    for (candidate, (&kept, _)) in candidates() {
        let [one, two] = sources(candidate);
        // One that needs more cycles than can be counted has an empty list.
        let (Some((first, last)), Some((second, least))) =
            (one.first().zip(one.last()), two.first().zip(two.last()))
        else {
            continue;
        };
        most = most.max(kept + first.kept + second.kept);
        fewest = fewest.min(kept + last.kept + least.kept);
    }
    if fewest > most {
        return;
    }
    let places = (most - fewest) as usize + 1;
    if row.len() < places {
        row.resize(places, EMPTY);
    }
    let row = &mut row[..places];
    for (candidate, (&kept, &cycles)) in candidates() {
        let [mut outer, mut inner] = sources(candidate);
        if outer.len() > inner.len() {
            std::mem::swap(&mut outer, &mut inner);
        }
        for one in outer {
            let kept = kept + one.kept;
            let cycles = cycles.saturating_add(one.cycles);
            for two in inner {
                let place = &mut row[(kept + two.kept - fewest) as usize];
                let sum = cycles.saturating_add(two.cycles);
                if sum < place.cycles {
                    *place = Place {
                        cycles: sum,
                        choice: candidate as u32,
                    };
                }
            }
        }
    }
    let mut best = u64::MAX;
    for (place, kept) in row.iter_mut().rev().zip((fewest..=most).rev()) {
        if place.cycles < best {
            best = place.cycles;
            points.push(Point {
                cycles: place.cycles,
                kept,
                choice: place.choice,
            });
        }
        *place = EMPTY;
    }
}
