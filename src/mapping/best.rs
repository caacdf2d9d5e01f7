//! The fewest cycles over all methods.

use super::{Lay, Mapping, MappingError, Method, problem::Problem};

/// Tried in this order; the first of a full tie is kept, so the simpler method.
const METHODS: [Method; 8] = [
    Method::Im2col,
    Method::Sdk,
    Method::VwSdk,
    Method::Elements,
    Method::ChannelTiles,
    Method::Strips,
    Method::TiledStrips,
    Method::OutputTiles,
];

/// The method: the mapping with the fewest cycles, and of a tie the one that writes the fewest cells. It
/// carries the name of the method that found it. A method that refuses the layer as too large for its search
/// is passed over.
pub(crate) struct Best;

impl Lay for Best {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let mut best: Option<Mapping> = None;
        for method in METHODS {
            let mapping = match method.lay().map(problem) {
                Err(MappingError::SearchTooLarge { .. }) => continue,
                mapping => mapping?,
            };
            let cost = |mapping: &Mapping| (mapping.cycles, mapping.cells_written);
            if best.as_ref().is_none_or(|best| cost(&mapping) < cost(best)) {
                best = Some(mapping);
            }
        }
        best.ok_or(MappingError::PieceCount { pieces: 0 })
    }
}
