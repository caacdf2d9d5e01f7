//! A module whose pruned channels are zeros, to set beside one that lost them.

use burn::module::Module;
use burn::tensor::TensorData;
use vwc_sdk::module::Parameters;
use vwc_sdk::prune::{FoundGroups, Ranking, keep_largest};

/// The module with zeros in all that belongs to channels which are pruned, but for what is divided by.
pub fn masked<M: Module>(module: &M, groups: &FoundGroups, widths: &[usize]) -> M {
    let parameters = Parameters::of(module);
    let mut zeroed = parameters.clone();
    for (group, &width) in groups.iter().zip(widths) {
        let scores = Ranking::L1.scores(group, &parameters).unwrap();
        let kept = keep_largest(&scores, width);
        for slice in (group.slices.iter()).filter(|slice| !slice.path.ends_with("divisor")) {
            let mut data = zeroed.values(&slice.path).unwrap().to_vec();
            let shape = zeroed.get(&slice.path).unwrap().shape().to_vec();
            let inner: usize = shape[slice.dim + 1..].iter().product();
            for channel in (0..group.channels).filter(|channel| !kept.contains(channel)) {
                for index in slice.indices(channel) {
                    for block in data.chunks_mut(shape[slice.dim] * inner) {
                        block[index * inner..][..inner].fill(0.0);
                    }
                }
            }
            zeroed.insert(slice.path.clone(), TensorData::new(data, shape));
        }
    }
    zeroed.put_into(module.valid()).unwrap()
}
