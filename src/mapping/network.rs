//! A network: its convolutions, and which of their widths may change, and together.

use serde::{Deserialize, Serialize};

use super::problem::common_divisor;
use super::{ConvLayer, MappingConfig, MappingError, window_bound};

/// The widths a layer stands between: indices into the network's free widths, or `None` where the width is
/// given, as that of a picture is, or that of a classifier's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tie {
    /// The free width of its input channels.
    pub input: Option<usize>,
    /// The free width of its output channels.
    pub output: Option<usize>,
}

/// Convolutions, in order, and the free widths between them. Layers that name the same free width are as wide
/// as each other whatever happens, as those of a residual stage have to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What it is called.
    pub name: String,
    /// Its convolutions.
    pub layers: Vec<ConvLayer>,
    /// For each layer the widths it stands between; empty where no width may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ties: Vec<Tie>,
}

/// Whether a convolution of so many groups has the channels for `groups` groups in their place: one without groups, whose channels can be divided.
pub(crate) fn divides(groups: usize, now: usize, channels: [usize; 2]) -> bool {
    now == 1 && groups > 1 && channels.iter().all(|channels| channels % groups == 0)
}

/// What a network is called whose convolutions have so many groups instead.
pub(crate) fn in_groups(name: &str, groups: usize) -> String {
    format!("{name} in {groups} groups")
}

impl Network {
    /// A network in which no width may change.
    #[must_use]
    pub fn fixed(name: impl Into<String>, layers: Vec<ConvLayer>) -> Self {
        Self::tied(name, layers, Vec::new())
    }

    /// A plain chain: each layer takes what the one before it produces, and all widths are free but the first
    /// input and the last output.
    #[must_use]
    pub fn chain(name: impl Into<String>, layers: Vec<ConvLayer>) -> Self {
        let last = layers.len().saturating_sub(1);
        let ties = (0..layers.len())
            .map(|layer| Tie {
                input: layer.checked_sub(1),
                output: (layer < last).then_some(layer),
            })
            .collect();
        Self::tied(name, layers, ties)
    }

    /// A network with these ties, one for each layer. They are checked when widths are searched or changed.
    #[must_use]
    pub fn tied(name: impl Into<String>, layers: Vec<ConvLayer>, ties: Vec<Tie>) -> Self {
        Self {
            name: name.into(),
            layers,
            ties,
        }
    }

    /// Another network, as a what-if: every ordinary convolution whose channels can be divided so has `groups` groups, and no width may change. It is
    /// called `cnn8 in 2 groups`.
    ///
    /// # Errors
    ///
    /// [`MappingError::NoGroups`] where no convolution has channels for so many groups.
    pub fn with_groups(&self, groups: usize) -> Result<Self, MappingError> {
        let divides =
            |layer: &ConvLayer| divides(groups, layer.groups, [layer.in_channels, layer.out_channels]);
        if !self.layers.iter().any(divides) {
            return Err(MappingError::NoGroups {
                network: self.name.clone(),
                groups,
            });
        }
        let layers = self.layers.iter().map(|layer| ConvLayer {
            groups: if divides(layer) { groups } else { layer.groups },
            ..layer.clone()
        });
        Ok(Self::fixed(in_groups(&self.name, groups), layers.collect()))
    }

    /// The sum of the bounds of its layers, each as [`window_bound`].
    ///
    /// # Errors
    ///
    /// That of the first layer that cannot be mapped.
    pub fn window_bound(&self, config: &MappingConfig) -> Result<u64, MappingError> {
        let mut layers = self.layers.iter();
        layers.try_fold(0u64, |sum, layer| {
            Ok(sum.saturating_add(window_bound(layer, config)?))
        })
    }

    /// The free widths as they are.
    ///
    /// # Errors
    ///
    /// [`MappingError::Ties`] where there are none, where there is not one tie a layer, where a width is named
    /// by no layer, or where layers disagree on it.
    pub fn widths(&self) -> Result<Vec<usize>, MappingError> {
        let refuse = |what: String| MappingError::Ties {
            network: self.name.clone(),
            what,
        };
        if self.ties.is_empty() {
            return Err(refuse(
                "it does not say which widths may change: give a layer list with `chain`, or with a tie for each \
                 layer"
                    .to_owned(),
            ));
        }
        if self.ties.len() != self.layers.len() {
            return Err(refuse(format!(
                "{} ties are given for {} layers, and a search needs one a layer",
                self.ties.len(),
                self.layers.len()
            )));
        }
        let named = |tie: &Tie| tie.input.into_iter().chain(tie.output);
        // Each layer names two at most. Numbers come from files: the last may be the largest there is.
        let last = self.ties.iter().flat_map(named).max();
        let Some(last) = last.filter(|&last| last < 2 * self.layers.len()) else {
            return Err(refuse(
                "it has no free widths, as where grouped convolutions and concatenations tie all of them, or numbers them with gaps"
                    .to_owned(),
            ));
        };
        let mut widths: Vec<Option<usize>> = vec![None; last + 1];
        for (layer, tie) in self.layers.iter().zip(&self.ties) {
            if depthwise(layer) && tie.input != tie.output {
                return Err(refuse(format!(
                    "layer `{}` has a group for each channel, so it makes the width that it reads: name the same one on \
                     both sides",
                    layer.name
                )));
            }
            for (index, width) in [(tie.input, layer.in_channels), (tie.output, layer.out_channels)] {
                let Some(index) = index else { continue };
                if *widths[index].get_or_insert(width) != width {
                    return Err(refuse(format!(
                        "layer `{}` is {width} channels wide where others tied to it are not",
                        layer.name
                    )));
                }
            }
        }
        widths
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| refuse("it numbers its free widths with gaps".to_owned()))
    }

    /// The network with these free widths.
    ///
    /// # Errors
    ///
    /// Those of [`widths`](Self::widths), and [`MappingError::WidthCount`] where there are not as many.
    pub fn with_widths(&self, widths: &[usize]) -> Result<Self, MappingError> {
        let expected = self.widths()?.len();
        if widths.len() != expected {
            return Err(MappingError::WidthCount {
                expected,
                found: widths.len(),
            });
        }
        let mut network = self.clone();
        for (layer, tie) in network.layers.iter_mut().zip(&self.ties) {
            if let Some(index) = tie.input {
                if depthwise(layer) {
                    layer.groups = widths[index];
                }
                layer.in_channels = widths[index];
            }
            if let Some(index) = tie.output {
                layer.out_channels = widths[index];
            }
        }
        Ok(network)
    }

    /// Whether all its free widths are those between the layers of a plain chain.
    pub(super) fn is_chain(&self) -> bool {
        self.ties == Self::chain("", self.layers.clone()).ties
    }

    /// What each free width has to be a multiple of: of `each`, and of the groups that layers divide it into.
    pub(super) fn multiples(&self, each: usize) -> Vec<usize> {
        let named = (self.ties.iter()).flat_map(|tie| tie.input.into_iter().chain(tie.output));
        let mut multiples = vec![each; named.max().map_or(0, |last| last + 1)];
        for (layer, tie) in self.layers.iter().zip(&self.ties) {
            if depthwise(layer) {
                continue;
            }
            for width in tie.input.into_iter().chain(tie.output) {
                let multiple = &mut multiples[width];
                *multiple =
                    (*multiple / common_divisor(*multiple, layer.groups)).saturating_mul(layer.groups);
            }
        }
        multiples
    }
}

/// Whether each channel is a group of its own, which goes with the channel.
pub(crate) fn depthwise(layer: &ConvLayer) -> bool {
    layer.groups > 1 && layer.groups == layer.in_channels && layer.in_channels == layer.out_channels
}
