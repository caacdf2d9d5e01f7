//! The convolution written down directly, which every mapping is held against.

use super::CrossbarError;
use crate::mapping::{Accounting, ConvLayer, Padding};

/// The convolution of `input`, `[IC, H, W]`, with `weights`, `[OC, IC / G, Kh, Kw]`, as `[OC, OH, OW]`. It
/// counts padding and stride as they are.
///
/// # Errors
///
/// [`CrossbarError::Length`], [`CrossbarError::TooLarge`], or [`CrossbarError::Mapping`] where the layer itself
/// is out of range.
pub fn convolve(layer: &ConvLayer, weights: &[i64], input: &[i64]) -> Result<Vec<i64>, CrossbarError> {
    layer.validate(Accounting::ExactGeometry)?;
    check(layer, weights, input)?;
    let [out_h, out_w] = layer.output(Accounting::ExactGeometry);
    let [kernel_h, kernel_w] = layer.kernel;
    let [in_h, in_w] = layer.input;
    let Padding { top, left, .. } = layer.padding;
    let (group_in, group_out) = (layer.group_in_channels(), layer.group_out_channels());

    let mut outputs = Vec::with_capacity(layer.out_channels * out_h * out_w);
    for oc in 0..layer.out_channels {
        let first_channel = oc / group_out * group_in;
        for y in 0..out_h {
            for x in 0..out_w {
                let mut sum = 0;
                for ic in 0..group_in {
                    for ky in 0..kernel_h {
                        let Some(row) = (y * layer.stride[0] + ky * layer.dilation[0])
                            .checked_sub(top)
                            .filter(|&row| row < in_h)
                        else {
                            continue;
                        };
                        for kx in 0..kernel_w {
                            let col = (x * layer.stride[1] + kx * layer.dilation[1]).checked_sub(left);
                            if let Some(col) = col.filter(|&col| col < in_w) {
                                let weight = ((oc * group_in + ic) * kernel_h + ky) * kernel_w + kx;
                                sum +=
                                    weights[weight] * input[((first_channel + ic) * in_h + row) * in_w + col];
                            }
                        }
                    }
                }
                outputs.push(sum);
            }
        }
    }
    Ok(outputs)
}

/// Checks the lengths of both slices, and that no sum of products can leave 64 bits.
pub(super) fn check(layer: &ConvLayer, weights: &[i64], input: &[i64]) -> Result<(), CrossbarError> {
    check_length("weights", weights, u128::from(layer.params()))?;
    check_input(layer, largest(weights), input)
}

/// As [`check`], of weights whose length is right and whose largest magnitude is `largest_weight`.
pub(super) fn check_input(
    layer: &ConvLayer,
    largest_weight: u64,
    input: &[i64],
) -> Result<(), CrossbarError> {
    let pixels = layer.in_channels as u128 * layer.input[0] as u128 * layer.input[1] as u128;
    check_length("input", input, pixels)?;
    let terms = layer.params() / layer.out_channels as u64;
    [largest_weight, largest(input), terms]
        .into_iter()
        .try_fold(1, u64::checked_mul)
        .filter(|&sum| i64::try_from(sum).is_ok())
        .map(|_| ())
        .ok_or(CrossbarError::TooLarge)
}

pub(super) fn check_length(what: &'static str, slice: &[i64], expected: u128) -> Result<(), CrossbarError> {
    if slice.len() as u128 == expected {
        Ok(())
    } else {
        Err(CrossbarError::Length {
            what,
            expected,
            found: slice.len(),
        })
    }
}

/// The largest magnitude.
pub(super) fn largest(values: &[i64]) -> u64 {
    values.iter().map(|value| value.unsigned_abs()).max().unwrap_or(0)
}
