//! The picture of `vwc-sdk evaluate`: accuracy against what was varied.

use std::path::Path;

use super::EvaluateArgs;
use super::rows::Row;
use crate::report::plot::{Curve, PlotError, accuracy_curves};

/// Against converter bits, a curve for each variation; against variation where all converters are alike.
pub fn plot(args: &EvaluateArgs, path: &Path, rows: &[Row]) -> Result<(), PlotError> {
    let arrays = || {
        rows.iter()
            .filter_map(|row| Some((row.adc_bits?, row.variation?, row.accuracy)))
    };
    let by_bits = args.adc_bits.len() > 1;
    let (x_label, curves): (_, Vec<Curve>) = if by_bits {
        let curve = |&variation: &f64| {
            let points = arrays()
                // An exact converter has no place on the axis: it is the line of the network itself.
                .filter(|&(bits, v, _)| bits > 0 && v == variation)
                .map(|(bits, _, accuracy)| (f64::from(bits), accuracy));
            (format!("variation {variation}"), points.collect())
        };
        ("ADC bits", args.variation.iter().map(curve).collect())
    } else {
        let points = arrays().map(|(_, variation, accuracy)| (variation, accuracy));
        ("variation", vec![("on the array".to_owned(), points.collect())])
    };
    let title = format!("{} on {}: test accuracy", args.run.display(), args.array);
    accuracy_curves(path, &title, x_label, rows[0].accuracy, &curves)
}
