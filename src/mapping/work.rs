//! The work that a search takes, in steps: windows, strips and tiles that are tried, and sums that are compared.
//!
//! Steps are counted in the unit tests of this crate and nowhere else. Seconds would depend on the machine and on what else it
//! does; steps do not.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts so many steps, each of which takes a few operations.
#[inline]
#[cfg_attr(not(test), expect(unused_variables, reason = "steps are counted in tests"))]
pub(super) fn count(steps: u64) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + steps);
}

#[cfg(test)]
mod tests {
    use super::STEPS;
    use crate::mapping::{
        ConvLayer, MAX_DIMENSION, MappingConfig, MappingError, Method, PimArray, map_layer, strips::MAX_SUMS,
    };

    /// Steps that no search takes, whatever the layer: the sums beyond which it is refused, and half as many for windows and
    /// tiles.
    const MOST: u64 = MAX_SUMS + MAX_SUMS / 2;

    /// A layer with an array: input, kernel, dilation, padding, input and output channels, rows, columns, bits of a cell and
    /// of a weight.
    type Corner = (
        [usize; 2],
        [usize; 2],
        [usize; 2],
        usize,
        [usize; 2],
        [usize; 2],
        [u32; 2],
    );

    /// The layers that take longest of all that thousands of tries found, see benches/runs/2026-11-26-search-limits.md:
    /// the largest sizes that are accepted, and arrays with as many cells as there may be.
    #[test]
    fn no_layer_that_is_accepted_keeps_a_search_busy_for_long() {
        let most = MAX_DIMENSION;
        let corners: [Corner; 6] = [
            (
                [most; 2],
                [1, 3],
                [6, 7],
                most,
                [most, 1],
                [most - 1, most],
                [1, 1],
            ),
            (
                [most; 2],
                [1, 1],
                [1, 1],
                most,
                [most, 4],
                [most - 1, most],
                [1, 1],
            ),
            (
                [most; 2],
                [3, 3],
                [7, 7],
                most,
                [most, 1],
                [most - 1, most],
                [1, 1],
            ),
            ([2048; 2], [1, 1], [1, 1], 0, [most, 1], [most - 1, most], [1, 1]),
            (
                [1, most],
                [1, 5888],
                [24554, 2],
                0,
                [15, 1],
                [220_411, 6039],
                [63, 46],
            ),
            (
                [1, most],
                [1, 5889],
                [most, 1],
                0,
                [30, 1],
                [most, 219_603],
                [63, 47],
            ),
        ];
        for (input, kernel, dilation, padding, [ic, oc], [rows, cols], [cell, weight]) in corners {
            let mut layer = ConvLayer::square("corner", 1, 1, ic, oc).with_padding(padding);
            (layer.input, layer.kernel, layer.dilation) = (input, kernel, dilation);
            let array = PimArray::new(rows, cols).unwrap().with_cell_bits(cell);
            let config = MappingConfig::new(array).with_weight_bits(weight);
            for method in Method::ALL {
                let before = STEPS.get();
                match map_layer(&layer, method, &config) {
                    Ok(mapping) => assert!(mapping.cycles >= mapping.lower_bound),
                    Err(error) => assert!(matches!(error, MappingError::SearchTooLarge { .. }), "{error}"),
                }
                let steps = STEPS.get() - before;
                // `best` searches for strips, for channel tiles and for both.
                let most = if method == Method::Best { 3 * MOST } else { MOST };
                assert!(
                    steps <= most,
                    "{method} took {steps} steps for {layer:?} on {rows}x{cols}"
                );
            }
        }
    }
}
