//! Channel tiles with strips: the input channels are cut into tiles, and each tile covers the output with strips of its own.
//!
//! With `S(c)` the cycles of the cheapest strips for `c` channels (`strips.rs`), a dynamic programme finds the optimum:
//!
//! ```text
//! F(IC) = min over c of S(c) + F(IC - c)
//! ```
//!
//! `S(c)` is a search of its own, and most `c` are of no use. So each begins as a number that `S(c)` cannot be below (`least.rs`).
//! The programme is solved with these numbers, `S(c)` is worked out for the tiles of its solution and for more and more of those that a better one
//! may have, and it is solved again, until all tiles of the solution are worked out. No tile that was left out can be part of a better one.
//!
//! One tile with all channels and one window for each tile are among the choices, so this never needs more cycles than `strips` or
//! `channel-tiles`.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::{
    Lay, Mapping, MappingError, Method, Piece,
    covers::{self, Cover},
    least::{least, raise, tiles as tiles_of, too_many_steps},
    problem::Problem,
    strips::{MAX_SUMS, too_many_sums},
};

/// The method.
pub(crate) struct TiledStrips;

impl Lay for TiledStrips {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let found = Tiles::new(problem, Method::TiledStrips, MAX_SUMS)?;
        problem.mapping(Method::TiledStrips, found.pieces(problem)?)
    }
}

thread_local! {
    /// Those of the layer that was searched last: a method that has them among its choices asks for them again.
    static LAST: RefCell<Option<(Problem, Rc<Tiles>)>> = const { RefCell::new(None) };
}

/// The tiles of the fewest cycles.
pub(super) struct Tiles {
    /// As channels and how often.
    tiles: Vec<(u64, u64)>,
    covers: HashMap<u64, Rc<Cover>>,
    pub cycles: u64,
    /// Sums that were compared.
    pub sums: u64,
}

impl Tiles {
    /// Of a problem, for `method`, by `most` sums.
    ///
    /// # Errors
    ///
    /// [`MappingError::SearchTooLarge`].
    pub fn new(problem: &Problem, method: Method, most: u64) -> Result<Rc<Self>, MappingError> {
        let is_same = |(last, _): &&(Problem, _)| last == problem;
        let last = LAST.with_borrow(|last| last.as_ref().filter(is_same).cloned());
        if let Some((_, tiles)) = last {
            return Ok(tiles);
        }
        let mut search = Search::new(problem, method, most)?;
        let tiles = search.tiles()?;
        let covers = search.covers;
        let cycles = |(channels, times): &(u64, u64)| covers[channels].cycles(problem).saturating_mul(*times);
        let found = Rc::new(Self {
            cycles: tiles.iter().map(cycles).fold(0, u64::saturating_add),
            tiles,
            covers,
            sums: search.sums,
        });
        LAST.set(Some((*problem, Rc::clone(&found))));
        Ok(found)
    }

    /// The pieces that they are.
    ///
    /// # Errors
    ///
    /// [`MappingError::SearchTooLarge`].
    pub fn pieces(&self, problem: &Problem) -> Result<Vec<Piece>, MappingError> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for &(channels, times) in &self.tiles {
            let cover = &self.covers[&channels];
            // Equal tiles are one, cut wherever the array's edge falls, which takes no more arrays. With groups that share arrays it could,
            // so there each stays by itself.
            let (size, times) = if problem.groups == 1 {
                (channels * times, 1)
            } else {
                (channels, times)
            };
            for _ in 0..times {
                pieces.extend(cover.pieces(problem, start..start + size)?);
                start += size;
            }
        }
        Ok(pieces)
    }
}

/// What is known of the strips for each number of channels.
struct Search<'a> {
    problem: &'a Problem,
    method: Method,
    /// Cycles that they do not go below, rising with the channels.
    least: Vec<u64>,
    /// Numbers of channels whose least cycles were looked at more closely.
    looked_at: HashSet<u64>,
    /// Those that were worked out.
    covers: HashMap<u64, Rc<Cover>>,
    sums: u64,
    /// Sums that may be compared.
    most: u64,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, method: Method, most: u64) -> Result<Self, MappingError> {
        let least = least(problem).ok_or_else(|| too_many_steps(method))?;
        Ok(Self {
            problem,
            method,
            least: least.cycles,
            looked_at: HashSet::new(),
            covers: HashMap::new(),
            sums: least.steps,
            most,
        })
    }

    /// The tiles of the fewest cycles, as channels and how often; the strips for each are worked out.
    fn tiles(&mut self) -> Result<Vec<(u64, u64)>, MappingError> {
        let all = self.problem.in_channels;
        // All channels as one tile: no tiles have to take more.
        let single = self.work_out(all)?;
        let mut at_once = 1;
        loop {
            let partition = tiles_of(&self.least).ok_or_else(|| too_many_sums(self.method))?;
            self.count(partition.sums())?;
            if partition.cost(all) >= single {
                return Ok(vec![(all, 1)]);
            }
            let tiles = partition.parts(all);
            let is_known = |channels: u64| self.covers.contains_key(&channels);
            let unknown = tiles.iter().map(|(channels, _)| *channels);
            let unknown: Vec<u64> = unknown.filter(|channels| !is_known(*channels)).collect();
            if unknown.is_empty() {
                return Ok(tiles);
            }
            // The tiles that fewer cycles may have, the best first.
            let mut open: Vec<(u64, u64)> = (1..all)
                .filter(|&channels| self.is_last(channels) && !is_known(channels))
                .map(|channels| {
                    (
                        self.least[channels as usize].saturating_add(partition.cost(all - channels)),
                        channels,
                    )
                })
                .filter(|(cycles, _)| *cycles < single)
                .collect();
            open.sort_unstable();
            let open = open.into_iter().map(|(_, channels)| channels);
            let open: Vec<u64> = unknown.into_iter().chain(open).collect();
            let mut new = open.clone();
            new.retain(|channels| !self.looked_at.contains(channels));
            if new.is_empty() {
                for channels in open.into_iter().take(at_once) {
                    self.work_out(channels)?;
                }
                at_once = at_once.saturating_mul(2);
            }
            for channels in new {
                // As many steps as it can take.
                self.count(self.problem.outputs())?;
                self.looked_at.insert(channels);
                let cycles = covers::least(self.problem, channels);
                raise(&mut self.least, channels, cycles);
            }
        }
    }

    /// Whether one channel more takes more cycles, as far as is known.
    fn is_last(&self, channels: u64) -> bool {
        let channels = channels as usize;
        self.least[channels] < self.least[channels + 1]
    }

    /// The cycles of the strips for so many channels.
    fn work_out(&mut self, channels: u64) -> Result<u64, MappingError> {
        let cover = covers::cover(self.problem, channels, self.method)?;
        self.count(cover.sums())?;
        let cycles = cover.cycles(self.problem);
        raise(&mut self.least, channels, cycles);
        self.covers.insert(channels, cover);
        Ok(cycles)
    }

    fn count(&mut self, sums: u64) -> Result<(), MappingError> {
        self.sums += sums;
        if self.sums > self.most {
            return Err(too_many_sums(self.method));
        }
        Ok(())
    }
}
