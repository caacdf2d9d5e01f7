use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_ir::{FloatOperationIr, ModuleOperationIr, OperationIr};

use super::Ranking;
use super::labels::Labels;
use super::rewrite::{cut, kept_channels};
use crate::Error;
use crate::models::{ChannelGroup, ChannelSlice, Parameters};
use crate::trace::{Convolution, Trace};

/// The channel groups of a module that nobody annotated: what [`find_groups`] makes. Displayed, as a list to read.
#[derive(Clone, Debug)]
pub struct FoundGroups {
    groups: Vec<ChannelGroup>,
    /// Of each channel of each group, its label.
    channels: Vec<Vec<usize>>,
    fixed: Vec<Fixed>,
    input: Vec<usize>,
    trace: Trace,
    labels: Labels,
}

/// Channels that have to stay.
#[derive(Clone, Debug)]
struct Fixed {
    path: String,
    dim: usize,
    channels: usize,
    reason: &'static str,
}

/// Finds which channels of `module` can be pruned and all that goes with them, by recording `forward` on an input of this
/// shape and following each dimension of each parameter through the operations.
///
/// Followed are convolutions (of groups, depthwise and transposed ones too), linear layers and products of matrices, batch,
/// group and layer norms, everything that works element by element, additions and concatenations, equal parts as `chunk`
/// makes them, reshapes, flattening, exchanged dimensions, pools, resizing and means. Channels that meet anything fixed stay:
/// those of the input and of the output, a slice at a fixed place, a softmax or a maximum over channels.
///
/// Recorded is what the module does in evaluation, for one shape of the input; what another shape or a random number would
/// do differently is not seen.
///
/// # Errors
///
/// [`Error::Graph`] names an operation on channels that is not understood, or says why nothing could be recorded.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, conv::{Conv2d, Conv2dConfig}};
/// use burn::tensor::{Device, Tensor, activation::relu};
/// use vwc_sdk::prune::{Ranking, find_groups};
///
/// #[derive(Module, Debug)]
/// struct Net {
///     conv: Conv2d,
///     norm: BatchNorm,
///     head: Linear,
/// }
///
/// impl Net {
///     fn forward(&self, x: Tensor<4>) -> Tensor<2> {
///         let x = relu(self.norm.forward(self.conv.forward(x)));
///         self.head.forward(x.flatten(1, 3))
///     }
/// }
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let device = Device::default();
/// let net = Net {
///     conv: Conv2dConfig::new([3, 8], [3, 3]).init(&device),
///     norm: BatchNormConfig::new(8).init(&device),
///     head: LinearConfig::new(8 * 6 * 6, 10).init(&device),
/// };
/// let groups = find_groups(&net, [1, 3, 8, 8], Net::forward)?;
/// assert_eq!(groups.iter().map(|group| group.channels).collect::<Vec<_>>(), [8]);
/// let small = groups.prune(&net, &[5], Ranking::L1, Net::forward)?;
/// assert_eq!(small.head.weight.dims(), [5 * 6 * 6, 10]);
/// # Ok(())
/// # }
/// ```
pub fn find_groups<M: Module, const D: usize, const E: usize>(
    module: &M,
    input: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
) -> Result<FoundGroups, Error> {
    let trace = Trace::record(module, input, forward)?;
    let labels = Labels::follow(&trace)?;
    let producers = producers(&trace);

    // Every channel, by its label, with where it stands: parameter, dimension and indices.
    type Places = BTreeMap<(usize, usize), Vec<usize>>;
    let mut channels: BTreeMap<usize, Places> = BTreeMap::new();
    let mut fixed = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (n, parameter) in trace.parameters.iter().enumerate() {
        if !seen.insert(parameter.id) {
            continue;
        }
        for (dim, along) in labels.of_id(parameter.id).iter().enumerate() {
            for (index, &label) in along.iter().flatten().enumerate() {
                match labels.fixed_by(label) {
                    Some(reason) => fixed.entry((n, dim, reason)).or_insert_with(Vec::new).push(index),
                    None => {
                        let places = channels.entry(labels.root(label)).or_default();
                        places.entry((n, dim)).or_default().push(index);
                    }
                }
            }
        }
    }

    // Channels that stand in the same dimensions, as often in each, are of one group.
    type Signature = Vec<(usize, usize, usize)>;
    let mut found: Vec<(Signature, Vec<Places>)> = Vec::new();
    let mut names: Vec<Vec<usize>> = Vec::new();
    for (label, places) in channels {
        if !places.keys().any(|place| producers.contains(place)) {
            continue;
        }
        let signature: Signature = (places.iter())
            .map(|(&(n, dim), indices)| (n, dim, indices.len()))
            .collect();
        match found.iter().position(|(other, _)| *other == signature) {
            Some(group) => {
                found[group].1.push(places);
                names[group].push(label);
            }
            None => {
                found.push((signature, vec![places]));
                names.push(vec![label]);
            }
        }
    }
    let path = |n: usize| trace.parameters[n].path.clone();
    let groups: Vec<ChannelGroup> = found
        .into_iter()
        .map(|(signature, channels)| {
            let slice = |&(n, dim, _): &(usize, usize, usize)| {
                let positions: Vec<Vec<usize>> =
                    channels.iter().map(|places| places[&(n, dim)].clone()).collect();
                ChannelSlice::at(path(n), dim, positions)
            };
            let slices: Vec<ChannelSlice> = signature.iter().map(slice).collect();
            let of_producers = signature.iter().zip(&slices);
            let ranked_by: Vec<ChannelSlice> = of_producers
                .filter(|((n, dim, _), _)| producers.contains(&(*n, *dim)))
                .map(|(_, slice)| slice.clone())
                .collect();
            let names: Vec<&str> = (ranked_by.iter())
                .map(|slice| slice.path.strip_suffix(".weight").unwrap_or(&slice.path))
                .collect();
            ChannelGroup {
                name: names.join(" + "),
                channels: channels.len(),
                ranked_by,
                slices,
            }
        })
        .collect();
    let fixed = fixed.into_iter().filter(|((n, dim, _), _)| {
        producers.contains(&(*n, *dim)) || trace.parameters[*n].shape.len() > 1 && *dim < 2
    });
    let fixed = fixed.map(|((n, dim, reason), indices)| Fixed {
        path: path(n),
        dim,
        channels: indices.len(),
        reason,
    });
    Ok(FoundGroups {
        fixed: fixed.collect(),
        groups,
        channels: names,
        input: input.to_vec(),
        trace,
        labels,
    })
}

/// The dimensions of parameters that channels come from: the outputs of convolutions and linear layers.
fn producers(trace: &Trace) -> BTreeSet<(usize, usize)> {
    use ModuleOperationIr as M;
    let of = |operation: &OperationIr| {
        let (weight, dim) = match (Convolution::of(operation), operation) {
            (Some(conv), _) => (conv.weight.id, usize::from(conv.transposed)),
            (_, OperationIr::Module(M::Linear(op))) => (op.weight.id, 1),
            (_, OperationIr::Module(M::Embedding(op))) => (op.weights.id, 1),
            (_, OperationIr::Float(_, FloatOperationIr::Matmul(op))) => (op.rhs.id, 1),
            _ => return None,
        };
        Some((trace.parameter(weight)?, dim))
    };
    trace.operations.iter().filter_map(of).collect()
}

impl FoundGroups {
    /// The groups, in the order of their first producers.
    pub fn iter(&self) -> impl Iterator<Item = &ChannelGroup> {
        self.groups.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether no channel can be pruned.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// `module` with `widths[n]` channels in the n-th group, those that `ranking` puts first, in the parameters it has.
    ///
    /// `module` and `forward` are those that the groups were found in; `module` stays as it is. What comes back is on its
    /// device, ready to be trained if that is one of autodiff, else as [`Module::valid`] leaves it. What is left is recorded
    /// once more, so that a module which cannot compute with fewer channels is told at once.
    ///
    /// # Errors
    ///
    /// Those of [`prune`](super::prune), and [`Error::Graph`] where the module keeps a number of channels that it was made
    /// with, as a depthwise convolution keeps its groups and a reshape to a fixed number: make a smaller one then, and fill
    /// it with [`prune_into`](Self::prune_into).
    pub fn prune<M: Module, const D: usize, const E: usize>(
        &self,
        module: &M,
        widths: &[usize],
        ranking: Ranking,
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    ) -> Result<M, Error> {
        let (parameters, kept) = self.cut(module, widths, ranking)?;
        // A clone would share the running statistics of batch norms with `module`.
        let training = module.devices().iter().any(Device::is_autodiff);
        let copy = if training {
            module.valid().train()
        } else {
            module.valid()
        };
        let smaller = parameters.put_resized(copy)?;
        self.check(&smaller, &kept, forward)?;
        Ok(smaller)
    }

    /// `smaller`, a module of the same structure made for these widths, with the parameters of `module` that stay.
    ///
    /// # Errors
    ///
    /// Those of [`prune`](super::prune); [`Error::Parameter`] where `smaller` has another shape than these widths leave.
    pub fn prune_into<M: Module>(
        &self,
        module: &M,
        smaller: M,
        widths: &[usize],
        ranking: Ranking,
    ) -> Result<M, Error> {
        self.cut(module, widths, ranking)?.0.put_into(smaller)
    }

    /// The parameters that stay, and of each group the channels.
    fn cut<M: Module>(
        &self,
        module: &M,
        widths: &[usize],
        ranking: Ranking,
    ) -> Result<(Parameters, Vec<Vec<usize>>), Error> {
        let mut parameters = Parameters::of(module);
        let recorded = self.trace.parameters.iter();
        let recorded: BTreeMap<_, _> = recorded.map(|it| (&it.path, &it.shape)).collect();
        for (path, expected) in recorded {
            let found = parameters.get(path)?.shape().to_vec();
            if found != *expected {
                return Err(Error::Parameter {
                    path: path.clone(),
                    reason: format!(
                        "it is {found:?}, and was {expected:?} where these groups were found: find those of this module"
                    ),
                });
            }
        }
        let kept = kept_channels("the module", &self.groups, &parameters, widths, ranking)?;
        cut(&mut parameters, &self.groups, &kept)?;
        Ok((parameters, kept))
    }

    /// Whether the smaller module does the same operations, each on as many channels as are left.
    fn check<M: Module, const D: usize, const E: usize>(
        &self,
        smaller: &M,
        kept: &[Vec<usize>],
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    ) -> Result<(), Error> {
        let widths: Vec<usize> = kept.iter().map(Vec::len).collect();
        let refuse = |reason: String| {
            Err(Error::Graph {
                reason: format!(
                    "with widths {widths:?} {reason}: make a smaller module and fill it with `prune_into`, or leave that \
                     group as it is"
                ),
            })
        };
        let input: [usize; D] = match self.input.as_slice().try_into() {
            Ok(input) => input,
            Err(_) => {
                return refuse(format!(
                    "its input has {D} dimensions, recorded was {:?}",
                    self.input
                ));
            }
        };
        let (before, labels) = (&self.trace, &self.labels);
        let after = match Trace::record(smaller, input, forward) {
            Ok(trace) => trace,
            Err(error) => return refuse(format!("it no longer computes ({error})")),
        };
        let gone: BTreeSet<usize> = (self.channels.iter().zip(kept))
            .flat_map(|(labels, kept)| {
                let channels = labels.iter().enumerate();
                channels.filter_map(|(n, &label)| kept.binary_search(&n).is_err().then_some(label))
            })
            .collect();
        if before.operations.len() != after.operations.len() {
            return refuse("it does other operations than before".into());
        }
        for (was, is) in before.operations.iter().zip(&after.operations) {
            for (was_out, is_out) in was.outputs().zip(is.outputs()) {
                let along = labels.of_id(was_out.id);
                let expected: Vec<usize> = (was_out.shape.to_vec().iter().enumerate())
                    .map(|(d, &size)| match along.get(d).and_then(Option::as_ref) {
                        Some(along) => along
                            .iter()
                            .filter(|&&label| !gone.contains(&labels.root(label)))
                            .count(),
                        None => size,
                    })
                    .collect();
                // What no parameter has reached may be merged with what one has: only its number of dimensions is known.
                let known = along.iter().any(Option::is_some);
                if known && is_out.shape.to_vec() != expected {
                    let found = is_out.shape.to_vec();
                    return refuse(format!(
                        "an operation gives {found:?} where {expected:?} are left of {:?}",
                        was_out.shape.to_vec()
                    ));
                }
            }
            if let Some(Convolution {
                x, weight, groups, ..
            }) = Convolution::of(is).filter(|conv| !conv.transposed)
                && x.shape[1] != weight.shape[1] * groups
            {
                return refuse(format!(
                    "a convolution has {groups} groups and {} channels to read",
                    x.shape[1]
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Display for FoundGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            writeln!(f, "{}: {} channels", group.name, group.channels)?;
            let mut by_path: Vec<(&str, Vec<String>)> = Vec::new();
            for slice in &group.slices {
                let each = slice.indices(0).len();
                let dim = if each == 1 {
                    format!("{}", slice.dim)
                } else {
                    format!("{} x{each}", slice.dim)
                };
                match by_path.iter_mut().find(|(path, _)| *path == slice.path) {
                    Some((_, dims)) => dims.push(dim),
                    None => by_path.push((&slice.path, vec![dim])),
                }
            }
            for (path, dims) in by_path {
                writeln!(f, "    {path} [{}]", dims.join(", "))?;
            }
        }
        if !self.fixed.is_empty() {
            writeln!(f, "fixed:")?;
        }
        for Fixed {
            path,
            dim,
            channels,
            reason,
        } in &self.fixed
        {
            writeln!(f, "    {path} [{dim}]: {channels} channels, by {reason}")?;
        }
        Ok(())
    }
}
