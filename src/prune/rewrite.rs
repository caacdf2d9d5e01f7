//! A network with some of its channels: parameters are cut, and put into a smaller one.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::TensorData;

use super::{FoundGroups, Ranking, find_groups_with, keep_largest};
use crate::Error;
use crate::models::{Network, NetworkConfig as _};
use crate::module::{ChannelGroup, Parameters};

/// What [`prune`] returns.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pruned<N> {
    /// The network with the weights that were kept, on the device of the original.
    pub network: N,
    /// Of each group of channels those that stayed, ascending.
    pub kept: Vec<Vec<usize>>,
}

/// The channel groups of `network`.
///
/// # Errors
///
/// Those of [`find_groups`](super::find_groups).
pub fn groups_of<N: Network>(network: &N) -> Result<FoundGroups, Error> {
    let [height, width] = network.config().input();
    find_groups_with(network, [1, 3, height, width], N::forward, N::refit)
}

/// Rewrites `network` to `widths`, one for each of its [channel groups](groups_of), keeping the channels that `ranking` puts
/// first.
///
/// Weights, biases, batch norms and their running statistics go over unchanged in the channels that stay. Widths equal to those
/// there are change nothing.
///
/// # Errors
///
/// A width of 0, more channels than there are, a wrong number of widths, a ranking that the network gives no grounds for, and
/// those of [`FoundGroups::prune`]. The network is not touched then.
pub fn prune<N: Network>(network: &N, widths: &[usize], ranking: Ranking) -> Result<Pruned<N>, Error> {
    let groups = groups_of(network)?;
    let (network, kept) = groups.prune_with(network, widths, ranking, N::forward, N::refit)?;
    Ok(Pruned { network, kept })
}

/// The channels of each group that stay at these widths, one for each, ascending.
pub(super) fn kept_channels(
    network: &'static str,
    groups: &[ChannelGroup],
    parameters: &Parameters,
    widths: &[usize],
    ranking: Ranking,
) -> Result<Vec<Vec<usize>>, Error> {
    if groups.len() != widths.len() {
        return Err(Error::Widths {
            network,
            expected: groups.len(),
            found: widths.to_vec(),
        });
    }
    for (group, &wanted) in groups.iter().zip(widths) {
        if wanted == 0 || wanted > group.channels {
            return Err(Error::PruneWidth {
                layer: group.name.clone(),
                channels: group.channels,
                wanted,
            });
        }
    }
    let ranked = groups.iter().zip(widths);
    ranked
        .map(|(group, &width)| {
            let scores = ranking.scores(group, parameters)?;
            if scores.iter().any(|score| score.is_nan()) {
                return Err(Error::Ranking {
                    group: group.name.clone(),
                    ranking: ranking.name(),
                    reason: "their weights hold what is no number; train anew with a smaller learning rate"
                        .into(),
                });
            }
            Ok(keep_largest(&scores, width))
        })
        .collect()
}

/// Takes out of every slice what belongs to no channel that stays. Several groups may share a dimension, concatenated.
pub(super) fn cut(
    parameters: &mut Parameters,
    groups: &[ChannelGroup],
    kept: &[Vec<usize>],
) -> Result<(), Error> {
    let mut gone: BTreeMap<(&str, usize), BTreeSet<usize>> = BTreeMap::new();
    for (group, kept) in groups.iter().zip(kept) {
        for channel in (0..group.channels).filter(|channel| kept.binary_search(channel).is_err()) {
            for slice in &group.slices {
                let gone = gone.entry((&slice.path, slice.dim)).or_default();
                gone.extend(slice.indices(channel));
            }
        }
    }
    for ((path, dim), gone) in gone {
        let size = parameters.get(path)?.shape()[dim];
        let stay: Vec<usize> = (0..size).filter(|index| !gone.contains(index)).collect();
        let selected = select(parameters, path, dim, &stay)?;
        parameters.insert(path, selected);
    }
    Ok(())
}

/// The parameter at `path` with only `indices` of dimension `dim`.
fn select(parameters: &Parameters, path: &str, dim: usize, indices: &[usize]) -> Result<TensorData, Error> {
    let values = parameters.values(path)?;
    let mut shape = parameters.get(path)?.shape().to_vec();
    let outer: usize = shape[..dim].iter().product();
    let inner: usize = shape[dim + 1..].iter().product();
    let mut selected = Vec::with_capacity(outer * indices.len() * inner);
    for block in values.chunks(shape[dim] * inner).take(outer) {
        for &index in indices {
            selected.extend_from_slice(&block[index * inner..(index + 1) * inner]);
        }
    }
    shape[dim] = indices.len();
    Ok(TensorData::new(selected, shape))
}
