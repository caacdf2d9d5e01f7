//! Output tiles: the output channels are cut in two, and each part is laid out with channel tiles and strips of its own.
//!
//! A window of few output channels has more outputs, and where all channels leave the last of their arrays half empty, two tiles of
//! different windows may not. With `T(o)` the cycles of tiled strips for `o` output channels,
//!
//! ```text
//! G(OC) = min of T(OC),  T(o) + T(OC - o) over o
//! ```
//!
//! so that this never needs more cycles than `tiled-strips`. Equal tiles are one, so that two stand for several of two kinds. `T(o)` is a search of its own,
//! and few are worked out: each begins as a number that it cannot be below (`shares.rs`), the cut with the fewest cycles is looked at more closely
//! (`least.rs`), and then worked out, until no cut that was left can have fewer. With groups there is one tile alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use super::{
    Lay, Mapping, MappingError, Method, Piece,
    least::{MAX_STEPS, least_by, of_tiles, raise, rising, too_many_steps},
    problem::Problem,
    shapes::Shapes,
    shares::{Shares, least_of_outputs},
    strips::{MAX_SUMS, too_many_sums},
    tiled_strips::Tiles,
};

/// The method.
pub(crate) struct OutputTiles;

const METHOD: Method = Method::OutputTiles;

impl Lay for OutputTiles {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for (channels, tiles) in tiles(problem)? {
            let end = start + channels as usize;
            let own = tiles.pieces(&of_outputs(problem, channels))?.into_iter();
            pieces.extend(own.map(|piece| Piece {
                out_channels: start..end,
                ..piece
            }));
            start = end;
        }
        problem.mapping(METHOD, pieces)
    }
}

/// The one or two tiles of the fewest cycles: their output channels, and what their input channels are cut into.
fn tiles(problem: &Problem) -> Result<Vec<(u64, Rc<Tiles>)>, MappingError> {
    let all = problem.out_channels;
    let single = Tiles::new(problem, METHOD, MAX_SUMS)?;
    let one = vec![(all, Rc::clone(&single))];
    if problem.groups > 1 {
        return Ok(one);
    }
    let too_large = || too_many_steps(METHOD);
    let shares = Shares::new(problem).ok_or_else(too_large)?;
    // Where no tiles can be below all channels as one.
    if shares.of(all) >= single.cycles {
        return Ok(one);
    }
    let mut parts = Parts::new(problem, &shares).ok_or_else(too_large)?;
    let cuts = (1..=all / 2).map(|part| (parts.cycles(part), part));
    // The fewest cycles first.
    let mut cuts: BinaryHeap<_> = cuts
        .filter(|(cycles, _)| *cycles < single.cycles)
        .map(Reverse)
        .collect();
    while let Some(Reverse((cycles, part))) = cuts.pop() {
        // Otherwise more is known since it was put there.
        if parts.cycles(part) == cycles {
            let both = [all - part, part];
            let known = |part: &u64| parts.known[*part as usize];
            let unknown = both.into_iter().filter(|part| known(part) < Known::Exact);
            let Some(unknown) = unknown.min_by_key(known) else {
                return Ok(both.map(|part| (part, Rc::clone(&parts.tiles[&part]))).to_vec());
            };
            parts.look_closer(unknown)?;
        }
        let now = parts.cycles(part);
        if now < single.cycles {
            cuts.push(Reverse((now, part)));
        }
    }
    Ok(one)
}

/// The same layer with so many output channels.
fn of_outputs(problem: &Problem, channels: u64) -> Problem {
    Problem {
        out_channels: channels,
        ..*problem
    }
}

/// How much is known of the cycles of a part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// A number that they are not below.
    Least,
    /// A closer one.
    Closer,
    /// All.
    Exact,
}

/// What is known of the cycles of each number of output channels.
struct Parts<'a> {
    problem: &'a Problem,
    shapes: Shapes,
    /// Cycles that so many channels do not go below, rising with the channels.
    least: Vec<u64>,
    known: Vec<Known>,
    /// Those that were worked out.
    tiles: HashMap<u64, Rc<Tiles>>,
    /// Sums that may still be compared.
    left: u64,
}

impl<'a> Parts<'a> {
    /// `None` where it would take too long.
    fn new(problem: &'a Problem, shares: &Shares) -> Option<Self> {
        // Small parts are of little use: a coarser bound does for them.
        let shapes = Shapes::new(problem, (problem.out_channels / 8).max(1))?;
        let least = (0..).zip(least_of_outputs(problem, &shapes)?);
        let least = least.map(|(channels, least)| least.max(shares.of(channels)));
        Some(Self {
            problem,
            shapes,
            least: rising(least.collect()),
            known: vec![Known::Least; problem.out_channels as usize + 1],
            tiles: HashMap::new(),
            left: MAX_SUMS,
        })
    }

    /// Cycles that this part and the other one do not go below together.
    fn cycles(&self, part: u64) -> u64 {
        let other = self.problem.out_channels - part;
        self.least[part as usize].saturating_add(self.least[other as usize])
    }

    /// Looks at a part more closely, and works out one that was looked at before.
    fn look_closer(&mut self, part: u64) -> Result<(), MappingError> {
        let problem = of_outputs(self.problem, part);
        let known = &mut self.known[part as usize];
        let (cycles, sums) = if *known == Known::Least {
            *known = Known::Closer;
            // Where that takes too long, no more is known than before.
            least_by(&problem, &self.shapes).map_or((0, MAX_STEPS), |least| {
                let tiles = of_tiles(&least.cycles).unwrap_or((0, MAX_SUMS));
                (tiles.0, least.steps + tiles.1)
            })
        } else {
            *known = Known::Exact;
            let tiles = Tiles::new(&problem, METHOD, self.left)?;
            let found = (tiles.cycles, tiles.sums);
            self.tiles.insert(part, tiles);
            found
        };
        raise(&mut self.least, part, cycles);
        self.left = (self.left.checked_sub(sums)).ok_or_else(|| too_many_sums(METHOD))?;
        Ok(())
    }
}
