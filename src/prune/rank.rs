use burn::tensor::{Tensor, TensorData};

/// L1 norm of each filter of `weight`, `[filters, channels, kernel_height, kernel_width]`.
///
/// The norm is taken of the latent weights: quantised ones all have the same magnitude at 1 bit.
/// Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.1.
pub fn l1_norms(weight: Tensor<4>) -> Vec<f64> {
    let filters = weight.dims()[0];
    let data: TensorData = weight.into_data().convert::<f32>();
    let values = data.as_slice::<f32>().expect("converted to f32");
    // Summed in f64, so that the order does not hang on how a device adds up.
    values
        .chunks(values.len() / filters)
        .map(|filter| filter.iter().map(|&w| f64::from(w).abs()).sum())
        .collect()
}

/// The indices, ascending, of the `keep` largest of `norms`. Of equals, those that come first stay.
///
/// ```
/// # use vwc_sdk::prune::keep_largest;
/// assert_eq!(keep_largest(&[0.5, 2.0, 0.1, 1.0], 2), [1, 3]);
/// ```
///
/// # Panics
///
/// Where `keep` is more than there are.
pub fn keep_largest(norms: &[f64], keep: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..norms.len()).collect();
    order.sort_by(|&a, &b| norms[b].total_cmp(&norms[a]));
    let mut kept = order[..keep].to_vec();
    kept.sort_unstable();
    kept
}
