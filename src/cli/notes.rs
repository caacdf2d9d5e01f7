//! What commands that map networks say beside their results.

use crate::mapping::{MappingConfig, channels::KeptWidth};

/// Says on standard error, once for all of `configs`, where weights are counted in cells that they share.
pub(super) fn note_shared_cells(configs: impl IntoIterator<Item = MappingConfig>) {
    if let Some(config) = configs.into_iter().find(MappingConfig::shares_cells) {
        let MappingConfig {
            array, weight_bits, ..
        } = config;
        say!(
            "note: accounting as-published counts cols * cell_bits / weight_bits = {} columns of {weight_bits}-bit \
             weights on array {array}, where {} fit in {}-bit cells of their own: weights share cells, so no array \
             can be programmed with this mapping; exact-geometry counts whole cells",
            config.effective_cols(),
            array.effective_cols(weight_bits),
            array.cell_bits,
        );
    }
}

/// Says on standard error which widths the rounds left against their rule.
pub(super) fn say_kept(kept: &[KeptWidth]) {
    for width in kept {
        say!("note: {width}");
    }
}
