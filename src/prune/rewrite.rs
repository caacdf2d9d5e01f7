use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor, TensorData};

use super::{keep_largest, l1_norms};
use crate::Error;
use crate::models::{ChannelGroup, Network, NetworkConfig};

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

/// Rewrites `network` to `widths` output channels, keeping the filters of largest L1 norm.
///
/// `config` describes `network`; weights, biases, batch norms and their running statistics go over unchanged in the
/// channels that stay. Widths equal to those there are change nothing.
///
/// # Errors
///
/// A width of 0, more channels than there are, or a wrong number of widths. The network is not touched then.
pub fn prune<C: NetworkConfig>(
    network: &C::Network,
    config: &C,
    widths: &[usize],
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

    let mut params = Params::default();
    network.visit(&mut params);
    let mut kept = Vec::with_capacity(groups.len());
    for (group, &width) in groups.iter().zip(widths) {
        kept.push(params.largest_filters(group, width)?);
    }
    for (group, kept) in groups.iter().zip(&kept) {
        for slice in &group.slices {
            params.select(&slice.path, slice.dim, kept)?;
        }
    }

    let device = network.devices().into_iter().next().unwrap_or_default();
    let mut fill = Fill {
        params,
        path: Vec::new(),
        misfits: Vec::new(),
    };
    let rewritten = smaller.init(&device).map(&mut fill);
    match fill.misfits.into_iter().next() {
        Some(path) => Err(Error::PruneTensor {
            path,
            reason: "its shape is not that of the smaller network: the channel groups leave it out".into(),
        }),
        None => Ok(Pruned {
            config: smaller,
            network: rewritten,
            kept,
        }),
    }
}

/// The float parameters of a module by path, running statistics included.
#[derive(Default)]
struct Params {
    path: Vec<String>,
    tensors: HashMap<String, TensorData>,
}

impl Params {
    fn get(&self, path: &str) -> Result<&TensorData, Error> {
        self.tensors.get(path).ok_or_else(|| Error::PruneTensor {
            path: path.into(),
            reason: "the network has no parameter of this name".into(),
        })
    }

    /// Ranked by the sum of the norms over the group's producers.
    fn largest_filters(&self, group: &ChannelGroup, keep: usize) -> Result<Vec<usize>, Error> {
        let mut norms = vec![0.0; group.channels];
        for path in &group.ranked_by {
            let data = self.get(path)?.clone();
            let weight = Tensor::<4>::from_data(data, &Default::default());
            for (sum, norm) in norms.iter_mut().zip(l1_norms(weight)) {
                *sum += norm;
            }
        }
        Ok(keep_largest(&norms, keep))
    }

    /// Keeps `indices` of dimension `dim`.
    fn select(&mut self, path: &str, dim: usize, indices: &[usize]) -> Result<(), Error> {
        let data = self.get(path)?;
        let shape: Vec<usize> = data.shape().to_vec();
        let outer: usize = shape[..dim].iter().product();
        let inner: usize = shape[dim + 1..].iter().product();
        let values = data.as_slice::<f32>().map_err(|error| Error::PruneTensor {
            path: path.into(),
            reason: format!("expected 32-bit floats: {error:?}"),
        })?;
        let mut selected = Vec::with_capacity(outer * indices.len() * inner);
        for block in values.chunks(shape[dim] * inner).take(outer) {
            for &index in indices {
                selected.extend_from_slice(&block[index * inner..(index + 1) * inner]);
            }
        }
        let mut smaller = shape;
        smaller[dim] = indices.len();
        self.tensors
            .insert(path.into(), TensorData::new(selected, smaller));
        Ok(())
    }
}

impl ModuleVisitor for Params {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors.insert(self.path.join("."), param.val().into_data());
    }
}

/// Puts the tensors into a module of the smaller structure.
struct Fill {
    params: Params,
    path: Vec<String>,
    misfits: Vec<String>,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        match self.params.tensors.remove(&path) {
            Some(data) if *data.shape() == param.shape() => param.map(|old| {
                let (device, grad) = (old.device(), old.is_require_grad());
                Tensor::from_data(data, &device).set_require_grad(grad)
            }),
            _ => {
                self.misfits.push(path);
                param
            }
        }
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param
    }
}
