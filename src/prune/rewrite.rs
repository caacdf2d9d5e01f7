use burn::module::Module;
use burn::tensor::TensorData;

use super::{Ranking, keep_largest};
use crate::Error;
use crate::models::{Network, NetworkConfig, Parameters};

/// What [`prune`] returns.
#[derive(Debug)]
pub struct Pruned<C: NetworkConfig> {
    /// The smaller structure.
    pub config: C,
    /// The network with the weights that were kept, on the device of the original.
    pub network: C::Network,
    /// Per width of the network, the indices of the channels that stayed, ascending.
    pub kept: Vec<Vec<usize>>,
}

/// Rewrites `network` to `widths`, one for each of its channel groups, keeping the channels that `ranking` puts first.
///
/// `config` describes `network`; weights, biases, batch norms and their running statistics go over unchanged in the
/// channels that stay. Widths equal to those there are change nothing.
///
/// # Errors
///
/// A width of 0, more channels than there are, a wrong number of widths, or a ranking that the network gives no grounds
/// for. The network is not touched then.
pub fn prune<C: NetworkConfig>(
    network: &C::Network,
    config: &C,
    widths: &[usize],
    ranking: Ranking,
) -> Result<Pruned<C>, Error> {
    let groups = network.channel_groups();
    if groups.len() != widths.len() {
        return Err(Error::Widths {
            network: C::NAME,
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
    let smaller = config.resized(widths)?;

    let mut parameters = Parameters::of(network);
    let kept = groups
        .iter()
        .zip(widths)
        .map(|(group, &width)| Ok(keep_largest(&ranking.scores(group, &parameters)?, width)))
        .collect::<Result<Vec<_>, Error>>()?;
    for (group, kept) in groups.iter().zip(&kept) {
        for slice in &group.slices {
            let selected = select(&parameters, &slice.path, slice.dim, kept)?;
            parameters.insert(slice.path.clone(), selected);
        }
    }

    let device = network.devices().into_iter().next().unwrap_or_default();
    Ok(Pruned {
        // A shape that does not fit by now is one that the channel groups leave out.
        network: parameters.put_into(smaller.init(&device))?,
        config: smaller,
        kept,
    })
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
