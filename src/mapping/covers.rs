//! Strips that were searched are kept: methods ask for the same ones, and so do layers that follow one another and differ in their channels
//! alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::{
    MappingError, Method, Piece,
    cuts::Cuts,
    least::least_of_strips,
    problem::Problem,
    strips::{MAX_SUMS, Stack},
};

/// Outputs of all strips that are kept: 16 bytes for each.
const MAX_KEPT: u64 = 1 << 22;

thread_local! {
    /// Of the layer that was mapped last.
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Strips of layers that differ in their channels alone, by the channels that they are for: output channels, then input channels.
#[derive(Default)]
struct Kept {
    problem: Option<Problem>,
    least: HashMap<[u64; 2], u64>,
    covers: HashMap<[u64; 2], Rc<Cover>>,
}

/// Calls `f` with those of layers like `problem`.
fn with<T>(problem: &Problem, f: impl FnOnce(&mut Kept) -> T) -> T {
    let alike = Problem {
        in_channels: 0,
        out_channels: 0,
        lower_bound: 0,
        ..*problem
    };
    KEPT.with_borrow_mut(|kept| {
        if kept.problem != Some(alike) || kept.covers.len() as u64 * problem.outputs() > MAX_KEPT {
            *kept = Kept {
                problem: Some(alike),
                ..Kept::default()
            };
        }
        f(kept)
    })
}

/// [`least_of_strips`].
pub(super) fn least(problem: &Problem, channels: u64) -> u64 {
    with(problem, |kept| {
        let entry = kept.least.entry([problem.out_channels, channels]);
        *entry.or_insert_with(|| least_of_strips(problem, channels))
    })
}

/// The cheapest strips for so many channels. Where a stack of them may not be, it is compared with what further cuts come to, unless that takes
/// too many sums.
///
/// # Errors
///
/// [`MappingError::SearchTooLarge`], for `method`.
pub(super) fn cover(problem: &Problem, channels: u64, method: Method) -> Result<Rc<Cover>, MappingError> {
    let of = [problem.out_channels, channels];
    if let Some(cover) = with(problem, |kept| kept.covers.get(&of).cloned()) {
        return Ok(cover);
    }
    let stack = Stack::new(problem, channels, method)?;
    let (cycles, mut sums) = (stack.cycles(problem), stack.sums());
    let mut strips = Strips::Stack(stack);
    if least(problem, channels) < cycles {
        let cuts = Cuts::new(problem, channels, MAX_SUMS.saturating_sub(sums));
        sums = cuts.as_ref().map_or(MAX_SUMS, |cuts| sums + cuts.sums());
        strips = match cuts {
            Some(cuts) if cuts.cycles() < cycles => Strips::Cuts(cuts),
            _ => strips,
        };
    }
    let cover = Rc::new(Cover { strips, sums });
    with(problem, |kept| kept.covers.insert(of, Rc::clone(&cover)));
    Ok(cover)
}

/// The cheapest strips for a number of channels.
pub(super) struct Cover {
    strips: Strips,
    sums: u64,
}

enum Strips {
    Stack(Stack),
    Cuts(Cuts),
}

impl Cover {
    /// Sums that were compared.
    pub fn sums(&self) -> u64 {
        self.sums
    }

    /// Cycles of all windows.
    pub fn cycles(&self, problem: &Problem) -> u64 {
        match &self.strips {
            Strips::Stack(stack) => stack.cycles(problem),
            Strips::Cuts(cuts) => cuts.cycles(),
        }
    }

    /// The strips for these input channels, as many as the cover is of, or several times as many.
    ///
    /// # Errors
    ///
    /// [`MappingError::SearchTooLarge`].
    pub fn pieces(&self, problem: &Problem, in_channels: Range<u64>) -> Result<Vec<Piece>, MappingError> {
        match &self.strips {
            Strips::Stack(stack) => stack.pieces(problem, in_channels),
            Strips::Cuts(cuts) => Ok(cuts.pieces(problem, in_channels)),
        }
    }
}
