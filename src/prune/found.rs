//! The channel groups of a module that nobody annotated: found by following its recorded forward pass, and pruned.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_ir::{FloatOperationIr, ModuleOperationIr, OperationIr, TensorId};

use super::check::{Left, difference};
use super::labels::Labels;
use super::rewrite::{cut, kept_channels};
use super::{NextWidths, Ranking, Ratio, channels};
use crate::Error;
use crate::mapping::channels::network_rounds_from;
use crate::mapping::pareto::pareto_front;
use crate::mapping::{ConvLayer, MappingConfig, Network, Tie, WidthLimits, depthwise};
use crate::module::{ChannelGroup, ChannelSlice, Convolution, Parameters, Trace, traced_layers};
use crate::pattern::fits;

/// The channel groups of a module that nobody annotated: what [`find_groups`] makes. Displayed, as a list to read.
#[derive(Clone, Debug)]
pub struct FoundGroups {
    groups: Vec<ChannelGroup>,
    /// Of each channel of each group, its label.
    channels: Vec<Vec<usize>>,
    fixed: Vec<FixedChannels>,
    input: Vec<usize>,
    trace: Trace,
    labels: Labels,
    /// The widths before anything was pruned, where it was, by the names of the groups.
    original: Option<BTreeMap<String, usize>>,
    /// Patterns for convolutions that are not mapped.
    left_out: Vec<String>,
}

/// Channels that have to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FixedChannels {
    /// The parameter's path in its module.
    pub path: String,
    /// The dimension that runs over the channels.
    pub dim: usize,
    /// How many of them stay.
    pub channels: usize,
    /// What keeps them: `the output`, say.
    pub reason: &'static str,
}

/// Finds which channels of `module` can be pruned and all that goes with them, by recording `forward` on an input of this
/// shape and following each dimension of each parameter through the operations.
///
/// Followed are convolutions (of groups, depthwise and transposed ones too), linear layers and products of matrices, batch,
/// group and layer norms, everything that works element by element, additions and concatenations, equal parts as `chunk`
/// makes them, reshapes, flattening, pixel shuffles, exchanged dimensions, padding, pools, resizing and means. Channels that
/// meet anything fixed stay: those of the input and of the output, a slice or selection at fixed places, a softmax, maximum
/// or product over channels, a convolution or pool that goes along them.
///
/// Recorded is what the module does in evaluation, for one shape of the input; what another shape or a random number would
/// do differently is not seen. The smallest input that the module takes will do: time goes with its size where reshapes split
/// channels, as in norms of groups. What `forward` does not reach, such as a head for training alone, is listed as fixed and
/// stays as wide as it is. A module of several inputs or outputs is given as one of one: let `forward` make the others of its
/// input, and concatenate, flattened, what comes out.
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
    find_groups_with(module, input, forward, |_| {})
}

/// As [`find_groups`], with `refit` called on every trial module that has fewer channels: see
/// [`prune_with`](FoundGroups::prune_with).
///
/// # Errors
///
/// As [`find_groups`].
pub fn find_groups_with<M: Module, const D: usize, const E: usize>(
    module: &M,
    input: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    refit: impl Fn(&mut M),
) -> Result<FoundGroups, Error> {
    let trace = Trace::record(module, input, &forward)?;
    let mut found = FoundGroups::read(trace, &input, HashMap::new())?;
    let splits = found.labels.splits().to_vec();
    if splits.is_empty() {
        return Ok(found);
    }
    let parameters = Parameters::of(module);
    let read_with = |found: &FoundGroups, splits: &[TensorId], choice: usize| {
        let mut choices = found.labels.choices().clone();
        choices.extend(splits.iter().map(|&split| (split, choice)));
        let other = FoundGroups::read(found.trace.clone(), &input, choices).ok()?;
        other
            .fits(module, &parameters, splits, &forward, &refit)
            .then_some(other)
    };
    let mut unfit = Vec::new();
    for (split, ways) in splits {
        if found.fits(module, &parameters, &[split], &forward, &refit) {
            continue;
        }
        match (0..ways - 1).find_map(|choice| read_with(&found, &[split], choice)) {
            Some(other) => found = other,
            None => unfit.push(split),
        }
    }
    // Those that have channels in common may have to be read otherwise together.
    for tied in found.tied(&unfit) {
        if let Some(other) = read_with(&found, &tied, 0).filter(|_| tied.len() > 1) {
            found = other;
        }
    }
    Ok(found)
}

/// The dimensions of parameters that channels come from: the outputs of convolutions and linear layers.
fn producers(trace: &Trace, labels: &Labels) -> BTreeSet<(usize, usize)> {
    use ModuleOperationIr as M;
    let weight = |id: TensorId| trace.parameter(id).filter(|&n| !trace.parameters[n].beside);
    let of = |operation: &OperationIr| -> Vec<(usize, usize)> {
        let (id, dim) = match (Convolution::of(operation), operation) {
            (Some(conv), _) => (conv.weight.id, conv.output_dim()),
            (_, OperationIr::Module(M::Linear(op))) => (op.weight.id, 1),
            (_, OperationIr::Module(M::Embedding(op))) => (op.weights.id, 1),
            (_, OperationIr::Float(_, FloatOperationIr::Matmul(op))) => {
                // The weight may be on either side, and turned around: its dimension is the one of the result's labels.
                let side = |(id, back): (TensorId, usize)| {
                    let n = weight(id)?;
                    let out = labels.roots(op.out.id, op.out.shape.num_dims().checked_sub(back)?)?;
                    let parameter = &trace.parameters[n];
                    let mut dims = 0..parameter.shape.len();
                    let dim = dims.find(|&d| labels.roots(parameter.id, d).as_ref() == Some(&out))?;
                    Some((n, dim))
                };
                return [(op.lhs.id, 2), (op.rhs.id, 1)]
                    .into_iter()
                    .filter_map(side)
                    .collect();
            }
            _ => return Vec::new(),
        };
        weight(id).map(|n| (n, dim)).into_iter().collect()
    };
    trace.operations.iter().flat_map(of).collect()
}

impl FoundGroups {
    /// The groups of what was recorded, with reshapes read as `choices` says.
    fn read(trace: Trace, input: &[usize], choices: HashMap<TensorId, usize>) -> Result<Self, Error> {
        let labels = Labels::follow(&trace, choices)?;
        let producers = producers(&trace, &labels);

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

        let read: HashSet<TensorId> = (trace.operations.iter())
            .flat_map(OperationIr::inputs)
            .map(|it| it.id)
            .collect();
        for (n, parameter) in trace.parameters.iter().enumerate() {
            if !read.contains(&parameter.id) && parameter.shape.len() > 1 {
                let indices = (0..parameter.shape[0]).collect();
                fixed.insert((n, 0, "a `forward` that does not reach them"), indices);
            }
        }

        // Channels that stand in the same dimensions, as often in each, are of one group.
        type Signature = Vec<(usize, usize, usize)>;
        let mut found: Vec<(Signature, Vec<(usize, Places)>)> = Vec::new();
        for (label, places) in channels {
            if !places.keys().any(|place| producers.contains(place)) {
                continue;
            }
            let signature: Signature = (places.iter())
                .map(|(&(n, dim), indices)| (n, dim, indices.len()))
                .collect();
            match found.iter().position(|(other, _)| *other == signature) {
                Some(group) => found[group].1.push((label, places)),
                None => found.push((signature, vec![(label, places)])),
            }
        }
        // One that is alone has to stay.
        found.retain(|(_, channels)| {
            let [(_, alone)] = &channels[..] else {
                return true;
            };
            for (&(parameter, dim), indices) in alone {
                let places = fixed.entry((parameter, dim, "being the only one of its group"));
                places.or_insert_with(Vec::new).extend(indices);
            }
            false
        });
        let labels_of = |(_, channels): &(Signature, Vec<(usize, Places)>)| {
            let labels = channels.iter().map(|(label, _)| *label);
            labels.collect()
        };
        let channel_labels: Vec<Vec<usize>> = found.iter().map(labels_of).collect();
        let path = |n: usize| trace.parameters[n].path.clone();
        let groups: Vec<ChannelGroup> = found
            .into_iter()
            .map(|(signature, channels)| {
                let slice = |&(n, dim, _): &(usize, usize, usize)| {
                    let positions: Vec<Vec<usize>> = channels
                        .iter()
                        .map(|(_, places)| places[&(n, dim)].clone())
                        .collect();
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
        let fixed = fixed.map(|((n, dim, reason), indices)| FixedChannels {
            path: path(n),
            dim,
            channels: indices.len(),
            reason,
        });
        Ok(Self {
            fixed: fixed.collect(),
            groups,
            channels: channel_labels,
            input: input.to_vec(),
            trace,
            labels,
            original: None,
            left_out: Vec::new(),
        })
    }

    /// The channels in the result of a reshape.
    fn channels_in(&self, split: TensorId) -> BTreeSet<usize> {
        let along = self.labels.of_id(split).iter().flatten().flatten();
        along.map(|&label| self.labels.root(label)).collect()
    }

    /// These reshapes, those together that have channels in common.
    fn tied(&self, splits: &[TensorId]) -> Vec<Vec<TensorId>> {
        let mut sets: Vec<(BTreeSet<usize>, Vec<TensorId>)> = Vec::new();
        for &split in splits {
            let mut own = (self.channels_in(split), vec![split]);
            let (common, others) =
                (sets.into_iter()).partition(|(channels, _)| !channels.is_disjoint(&own.0));
            sets = others;
            let common: Vec<(BTreeSet<usize>, Vec<TensorId>)> = common;
            for (channels, splits) in common {
                own.0.extend(channels);
                own.1.extend(splits);
            }
            sets.push(own);
        }
        sets.into_iter().map(|(_, splits)| splits).collect()
    }

    /// Whether there are groups with channels in the results of these reshapes, and each of them can lose one.
    fn fits<M: Module, const D: usize, const E: usize>(
        &self,
        module: &M,
        parameters: &Parameters,
        splits: &[TensorId],
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
        refit: impl Fn(&mut M),
    ) -> bool {
        let here: BTreeSet<usize> = splits.iter().flat_map(|&split| self.channels_in(split)).collect();
        let mut groups = (0..self.groups.len()).filter(|&group| here.contains(&self.channels[group][0]));
        let mut met = false;
        let can = groups.all(|group| {
            met = true;
            self.can_lose_one(module, parameters, group, &forward, &refit)
        });
        can && met
    }

    /// Whether the module computes without the last channel of a group.
    fn can_lose_one<M: Module, const D: usize, const E: usize>(
        &self,
        module: &M,
        parameters: &Parameters,
        group: usize,
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
        refit: impl Fn(&mut M),
    ) -> bool {
        let kept: Vec<Vec<usize>> = (self.groups.iter().enumerate())
            .map(|(n, of)| (0..of.channels - usize::from(n == group)).collect())
            .collect();
        let mut parameters = parameters.clone();
        cut(&mut parameters, &self.groups, &kept)
            .and_then(|()| parameters.put_resized(module.valid()))
            .and_then(|mut smaller| {
                refit(&mut smaller);
                self.check(&smaller, &kept, false, forward)
            })
            .is_ok()
    }

    /// The groups, in the order of their first producers: that of the widths which [`prune`](Self::prune) takes.
    pub fn groups(&self) -> &[ChannelGroup] {
        &self.groups
    }

    /// As [`groups`](Self::groups), one by one.
    pub fn iter(&self) -> impl Iterator<Item = &ChannelGroup> {
        self.groups.iter()
    }

    /// The channels of each group, in their order.
    pub fn channels(&self) -> Vec<usize> {
        channels(&self.groups)
    }

    /// The channels of each group by its name, which it keeps when it is pruned. A group of one channel is none any more.
    pub fn by_name(&self) -> BTreeMap<String, usize> {
        let named = self
            .groups
            .iter()
            .map(|group| (group.name.clone(), group.channels));
        named.collect()
    }

    /// The groups of a module that was pruned before, which had these [widths](Self::by_name) then: those are what ratios and
    /// limits keep a share of.
    #[must_use]
    pub fn with_original_widths(self, widths: BTreeMap<String, usize>) -> Self {
        Self {
            original: Some(widths),
            ..self
        }
    }

    /// Leaves the convolutions whose paths these patterns fit out of what is mapped: `*.shortcut`, or the beginning of a path up
    /// to a dot.
    #[must_use]
    pub fn with_layers_left_out<P: Into<String>>(self, patterns: impl IntoIterator<Item = P>) -> Self {
        Self {
            left_out: patterns.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    fn original_widths(&self) -> Result<Vec<usize>, Error> {
        let Some(original) = &self.original else {
            return Ok(self.channels());
        };
        let width = |group: &ChannelGroup| {
            let width = original.get(&group.name).copied();
            width.ok_or_else(|| {
                Error::Recipe(format!(
                    "no original width is given for the channels of {}: give the widths of this module's groups before it was \
                     pruned, by their names",
                    group.name
                ))
            })
        };
        self.groups.iter().map(width).collect()
    }

    /// The channels that are made, or read, by some weight and that have to stay.
    pub fn fixed(&self) -> &[FixedChannels] {
        &self.fixed
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether no channel can be pruned.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The widths that `ratio` leaves of `module`, one for each group.
    ///
    /// # Errors
    ///
    /// A ratio or limits outside their range, those of [`Ranking::scores`], which the scope of the whole network needs, a group
    /// whose original width is not given, and [`Error::Parameter`] where the groups are another module's.
    pub fn widths<M: Module>(
        &self,
        module: &M,
        ratio: &Ratio,
        ranking: Ranking,
    ) -> Result<Vec<usize>, Error> {
        let parameters = self.parameters(module)?;
        ratio.of_groups(&self.groups, &self.original_widths()?, &parameters, ranking)
    }

    /// The 2-D convolutions for the mapper, called by the paths of their weights, and for each of the widths that a search
    /// may choose the group whose width it is.
    ///
    /// Those are the groups that make up all that some convolution without groups reads; the widths of others, of concatenated
    /// channels for instance, are given. A depthwise convolution is as wide as what it reads.
    pub fn mapped(&self, name: impl Into<String>) -> (Network, Vec<usize>) {
        let path = |parameter: Option<usize>| Some(self.trace.parameters[parameter?].path.as_str());
        let mapped = traced_layers(&self.trace).into_iter().filter(|(parameter, _)| {
            let layer = path(*parameter).map(|path| path.trim_end_matches(".weight"));
            !layer.is_some_and(|layer| self.left_out.iter().any(|pattern| fits(pattern, layer)))
        });
        let layers: Vec<(Option<&str>, ConvLayer)> = mapped
            .map(|(parameter, layer)| (path(parameter), layer))
            .collect();
        let all_of = |(path, layer): &(Option<&str>, ConvLayer), dim: usize| {
            let (path, apart) = ((*path)?, depthwise(layer));
            // The weights of a depthwise convolution run over its channels once.
            let along = if apart { 0 } else { dim };
            let channels = [layer.out_channels, layer.in_channels][dim];
            self.groups.iter().position(|group| {
                let mut slices = group.slices.iter();
                (apart || layer.groups == 1)
                    && group.channels == channels
                    && slices.any(|slice| slice.path == *path && slice.dim == along)
            })
        };
        let read = layers.iter().filter(|(_, layer)| layer.groups == 1);
        let free: BTreeSet<usize> = read.filter_map(|layer| all_of(layer, 1)).collect();
        let free: Vec<usize> = free.into_iter().collect();
        let number = |group: Option<usize>| free.binary_search(&group?).ok();
        let ties = layers.iter().map(|layer| Tie {
            input: number(all_of(layer, 1)),
            output: number(all_of(layer, 0)),
        });
        let ties = ties.collect();
        let layers = layers.iter().map(|(_, layer)| layer.clone()).collect();
        (Network::tied(name, layers, ties), free)
    }

    /// The widths that one round of the channel search leaves, one for each group, by the rule of [`network_rounds`](crate::mapping::channels::network_rounds). Layers
    /// are called by the paths of their weights; the shares of `limits` are those of the
    /// [original widths](Self::with_original_widths).
    ///
    /// It chooses the widths of [`mapped`](Self::mapped); the others stay as they are.
    ///
    /// # Errors
    ///
    /// Those of [`network_rounds`](crate::mapping::channels::network_rounds), and a group whose original width is not given.
    pub fn next_widths(&self, mapping: &MappingConfig, limits: &WidthLimits) -> Result<NextWidths, Error> {
        let (network, free) = self.mapped("the module");
        if free.is_empty() {
            return Ok(NextWidths::default());
        }
        let original = self.original_widths()?;
        let original: Vec<usize> = free.iter().map(|&group| original[group]).collect();
        let mut rounds = network_rounds_from(&network, &original, mapping, limits, 1)?;
        for kept in &mut rounds.kept {
            kept.width = free[kept.width];
        }
        let next = rounds.networks.pop().map(|next| next.widths()).transpose()?;
        Ok(NextWidths {
            widths: next.map(|next| self.with_free(&free, &next)),
            kept: rounds.kept,
        })
    }

    /// The channels of each group, with these in the place of those of the groups `free`.
    fn with_free(&self, free: &[usize], chosen: &[usize]) -> Vec<usize> {
        let mut widths = self.channels();
        for (&group, &width) in free.iter().zip(chosen) {
            widths[group] = width;
        }
        widths
    }

    /// The widths with the most channels, one for each group, with which the array of `mapping` computes the layers of
    /// [`mapped`](Self::mapped) in at most so many cycles: a point of the exact front. The shares of `limits` are those of the
    /// groups as they are.
    ///
    /// # Errors
    ///
    /// Those of [`pareto_front`], and [`Error::Recipe`] where no widths within the limits take so few cycles.
    pub fn widths_within(
        &self,
        cycles: u64,
        mapping: &MappingConfig,
        limits: &WidthLimits,
    ) -> Result<Vec<usize>, Error> {
        let (network, free) = self.mapped("the module");
        let front = pareto_front(&network, mapping, limits)?;
        let Some(point) = front.iter().find(|point| point.cycles <= cycles) else {
            let least = front.last().map_or(0, |point| point.cycles);
            return Err(Error::Recipe(format!(
                "{cycles} cycles: widths within the limits take at least {least} on {}",
                mapping.array
            )));
        };
        Ok(self.with_free(&free, &point.widths))
    }

    /// `module` with `widths[n]` channels in the n-th group, those that `ranking` puts first, in the parameters it has.
    ///
    /// `module` and `forward` are those that the groups were found in; `module` stays as it is. What comes back is on its
    /// device, ready to be trained if that is one of autodiff, else as [`Module::valid`] leaves it: by a new optimiser, since its
    /// parameters have the names that they had and other shapes.
    ///
    /// What is left is recorded once more, and has to do the same operations, with the same numbers, on the channels that are
    /// left. Means and sums over channels, products of two feature maps, and the maximum of a whole map are taken over those:
    /// where a channel that is zero everywhere would have counted, in a norm over channels say, the smaller module is not the
    /// larger one with zeros in it.
    ///
    /// # Errors
    ///
    /// Those of [`prune`](super::prune), and [`Error::Graph`] where the module does otherwise with fewer channels: where it
    /// keeps a number that it was made with, as a depthwise convolution its groups, or makes one of its channels, as an attention
    /// that divides by the root of them. Set those with [`prune_with`](Self::prune_with), or make a smaller module and fill it with
    /// [`prune_into`](Self::prune_into).
    pub fn prune<M: Module, const D: usize, const E: usize>(
        &self,
        module: &M,
        widths: &[usize],
        ranking: Ranking,
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    ) -> Result<M, Error> {
        self.prune_with(module, widths, ranking, forward, |_| {})
            .map(|(smaller, _)| smaller)
    }

    /// As [`prune`](Self::prune), with `refit` called on the smaller module before it is checked, to set what it keeps of its
    /// channels beside its parameters: `net.depthwise.groups = net.depthwise.weight.dims()[0]`. Beside the module the channels of
    /// each group that stayed are returned, ascending.
    ///
    /// # Errors
    ///
    /// As [`prune`](Self::prune).
    pub fn prune_with<M: Module, const D: usize, const E: usize>(
        &self,
        module: &M,
        widths: &[usize],
        ranking: Ranking,
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
        refit: impl FnOnce(&mut M),
    ) -> Result<(M, Vec<Vec<usize>>), Error> {
        let (parameters, kept) = self.cut(module, widths, ranking)?;
        // A clone would share the running statistics of batch norms with `module`.
        let training = module.devices().iter().any(Device::is_autodiff);
        let copy = if training {
            module.valid().train()
        } else {
            module.valid()
        };
        let mut smaller = parameters.put_resized(copy)?;
        refit(&mut smaller);
        self.check(&smaller, &kept, false, forward)?;
        Ok((smaller, kept))
    }

    /// `smaller`, a module of the same structure made for these widths, with the parameters of `module` that stay.
    ///
    /// It has to do the same operations, on the channels that are left, with numbers of its own.
    ///
    /// # Errors
    ///
    /// Those of [`prune`](super::prune); [`Error::Parameter`] where `smaller` has another shape than these widths leave, and
    /// [`Error::Graph`] where it does other operations.
    pub fn prune_into<M: Module, const D: usize, const E: usize>(
        &self,
        module: &M,
        smaller: M,
        widths: &[usize],
        ranking: Ranking,
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    ) -> Result<M, Error> {
        let (parameters, kept) = self.cut(module, widths, ranking)?;
        let smaller = parameters.put_into(smaller)?;
        self.check(&smaller, &kept, true, forward)?;
        Ok(smaller)
    }

    /// The parameters of `module`, if the groups are its.
    fn parameters<M: Module>(&self, module: &M) -> Result<Parameters, Error> {
        let parameters = Parameters::of(module);
        for recorded in &self.trace.parameters {
            let refuse = |found: String| Error::Parameter {
                path: recorded.path.clone(),
                reason: format!("{found} where these groups were found: find those of this module"),
            };
            let found = parameters
                .get(&recorded.path)
                .map_err(|_| refuse("this module has it not, and it was there".into()))?;
            let (found, expected) = (found.shape().to_vec(), &recorded.shape);
            if found != *expected {
                return Err(refuse(format!("it is {found:?}, and was {expected:?}")));
            }
        }
        Ok(parameters)
    }

    /// The parameters that stay, and of each group the channels.
    fn cut<M: Module>(
        &self,
        module: &M,
        widths: &[usize],
        ranking: Ranking,
    ) -> Result<(Parameters, Vec<Vec<usize>>), Error> {
        let mut parameters = self.parameters(module)?;
        let kept = kept_channels("the module", &self.groups, &parameters, widths, ranking)?;
        cut(&mut parameters, &self.groups, &kept)?;
        Ok((parameters, kept))
    }

    /// Whether the smaller module does the same as the one that was followed, on as many channels as are left; with numbers
    /// that are `its_own`, or with the same.
    fn check<M: Module, const D: usize, const E: usize>(
        &self,
        smaller: &M,
        kept: &[Vec<usize>],
        its_own: bool,
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    ) -> Result<(), Error> {
        let refuse = |reason: String| Error::Graph { reason };
        let input: [usize; D] = self.input.as_slice().try_into().map_err(|_| {
            refuse(format!(
                "its groups were found with an input of {:?}: give the same `forward`",
                self.input
            ))
        })?;
        let gone: BTreeSet<usize> = (self.channels.iter().zip(kept))
            .flat_map(|(labels, kept)| {
                let channels = labels.iter().enumerate();
                channels.filter_map(|(n, &label)| kept.binary_search(&n).is_err().then_some(label))
            })
            .collect();
        let difference = match Trace::record(smaller, input, forward) {
            Ok(after) => {
                let left = Left {
                    labels: &self.labels,
                    gone: &gone,
                };
                difference(&self.trace, left, &after, its_own)
            }
            Err(Error::Graph { reason }) => Some(reason),
            Err(error) => return Err(error),
        };
        let Some(difference) = difference else {
            return Ok(());
        };
        let widths: Vec<usize> = kept.iter().map(Vec::len).collect();
        let advice = if its_own {
            "give one that is made as the first was, for these widths, and the same `forward`"
        } else {
            "set what the module keeps of its channels with `prune_with` or `Network::refit`, make a smaller module and fill it \
             with `prune_into`, leave the group as it is, or give the `forward` that the groups were found with"
        };
        Err(refuse(format!("with widths {widths:?} {difference}: {advice}")))
    }
}

impl<'a> IntoIterator for &'a FoundGroups {
    type Item = &'a ChannelGroup;
    type IntoIter = std::slice::Iter<'a, ChannelGroup>;

    fn into_iter(self) -> Self::IntoIter {
        self.groups.iter()
    }
}

/// The dimension, and where they are not the channels' own which of its indices: all, or those of the first channels.
fn places(slice: &ChannelSlice, channels: usize) -> String {
    let dim = slice.dim;
    let Some(positions) = &slice.positions else {
        return dim.to_string();
    };
    let (first, each) = (positions[0][0], positions[0].len());
    let last = first + channels * each;
    let side_by_side = positions.iter().flatten().copied().eq(first..last);
    match (side_by_side, each) {
        (true, 1) => format!("{dim}: {first}..{last}"),
        (true, _) => format!("{dim}: {first}..{last}, {each} each"),
        (false, _) => {
            let of_channel = |indices: &Vec<usize>| {
                let shown: Vec<String> = indices.iter().take(3).map(usize::to_string).collect();
                let more = if each > 3 { "+.." } else { "" };
                format!("{}{more}", shown.join("+"))
            };
            let shown: Vec<String> = positions.iter().take(2).map(of_channel).collect();
            let more = if channels > 2 { ", .." } else { "" };
            format!("{dim}: {}{more}", shown.join(", "))
        }
    }
}

fn counted(channels: usize) -> String {
    let plural = if channels == 1 { "" } else { "s" };
    format!("{channels} channel{plural}")
}

impl fmt::Display for FoundGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            writeln!(f, "{}: {}", group.name, counted(group.channels))?;
            let mut by_path: Vec<(&str, Vec<String>)> = Vec::new();
            for slice in &group.slices {
                let dim = places(slice, group.channels);
                match by_path.iter_mut().find(|(path, _)| *path == slice.path) {
                    Some((_, dims)) => dims.push(dim),
                    None => by_path.push((&slice.path, vec![dim])),
                }
            }
            for (path, dims) in by_path {
                writeln!(f, "    {path} [{}]", dims.join("] ["))?;
            }
        }
        if self.groups.is_empty() {
            writeln!(f, "no channels can be pruned")?;
        }
        if !self.fixed.is_empty() {
            writeln!(f, "fixed:")?;
        }
        for FixedChannels {
            path,
            dim,
            channels,
            reason,
        } in &self.fixed
        {
            writeln!(f, "    {path} [{dim}]: {}, by {reason}", counted(*channels))?;
        }
        Ok(())
    }
}
