//! The VWC-SDK channel search (Rhe, Moon, Ko; JETCAS 2022): how wide each layer should be so that
//! every channel tile on the array is full.
//!
//! VW-SDK places ICt input channels at a time. The `IC mod ICt` *residual channels* of the last tile
//! cost a full array row cycle however few they are. A round of residual channel pruning (RCP) takes
//! them away in three steps:
//!
//! 1. drop each layer's residual channels: `IC' = IC - IC mod ICt`;
//! 2. from the last layer backwards, where a layer would be wider than the one after it, drop one
//!    more tile;
//! 3. each layer produces what the next one takes; the last keeps its outputs.
//!
//! New widths have new best windows, so rounds repeat until nothing is left to drop. Which filters go
//! (smallest L1 norm first) and how the network is retrained is not decided here: this is the plan,
//! in integers.
//!
//! The published rule is one for chains: [`rcp_round`] keeps to it, and refuses what it has no answer to. [`network_rounds`]
//! takes any network whose ties say which widths are free, keeps what cannot be narrowed and says so, and holds to
//! [`WidthLimits`].

use std::fmt;

use super::{ConvLayer, MappingConfig, MappingError, Network, WidthLimits, limits::Bounds, vw_sdk};

/// Layers of all rounds together, beyond which a network is refused: all of them are kept. A published network comes to
/// rest in a few rounds.
const MAX_ROUND_LAYERS: usize = 1 << 20;

/// Output channels of every layer after one round on a chain of layers. The first layer's input and
/// the last layer's output are never pruned.
///
/// ```
/// use vwc_sdk::graph::presets;
/// use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray, Search, channels::rcp_round};
///
/// let config = MappingConfig::new(PimArray::new(256, 512)?)
///     .with_accounting(Accounting::AsPublished)
///     .with_search(Search::Published);
/// let layers = presets::network("cnn8")?.layers;
/// assert_eq!(rcp_round(&layers, &config)?, [18, 21, 27, 60, 60, 60, 256]);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// * [`MappingError::BrokenChain`]: a layer does not take what the one before it produces.
/// * [`MappingError::NoChannelsLeft`]: step 2 would take a layer's only tile.
/// * Those of [`map_layer`](super::map_layer).
pub fn rcp_round(layers: &[ConvLayer], config: &MappingConfig) -> Result<Vec<usize>, MappingError> {
    check_chain(layers)?;
    let Some((last, _)) = layers.split_last() else {
        return Ok(Vec::new());
    };
    let mut widths = full_tiles(&layers[1..], config)?;
    widths.push(last.out_channels);
    Ok(widths)
}

/// Widths of every residual stage after one round.
///
/// Residual additions tie all convolutions of a stage to one width, so a stage is pruned once, and
/// `stages` holds one layer for each: a convolution inside the stage, as wide in as out.
///
/// ```
/// use vwc_sdk::mapping::{
///     Accounting, ConvLayer, MappingConfig, PimArray, channels::stage_round,
/// };
///
/// let stages = [(32, 64), (16, 128), (8, 256)]
///     .map(|(input, width)| ConvLayer::square("stage", input, 3, width, width).with_padding(1));
/// let config = MappingConfig::new(PimArray::new(512, 256)?)
///     .with_weight_bits(2)
///     .with_accounting(Accounting::AsPublished);
/// assert_eq!(stage_round(&stages, &config)?, [42, 112, 224]);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// [`MappingError::NotAStage`] where a layer changes its width; otherwise as [`rcp_round`].
pub fn stage_round(stages: &[ConvLayer], config: &MappingConfig) -> Result<Vec<usize>, MappingError> {
    if let Some(stage) = stages.iter().find(|s| s.in_channels != s.out_channels) {
        return Err(MappingError::NotAStage {
            layer: stage.name.clone(),
            in_channels: stage.in_channels,
            out_channels: stage.out_channels,
        });
    }
    full_tiles(stages, config)
}

/// The chain with `widths[l]` output channels in layer `l`, and the next layer's input to match. The
/// first layer keeps its input.
///
/// # Errors
///
/// [`MappingError::WidthCount`] where there is not one width a layer.
pub fn apply_widths(layers: &[ConvLayer], widths: &[usize]) -> Result<Vec<ConvLayer>, MappingError> {
    if layers.len() != widths.len() {
        return Err(MappingError::WidthCount {
            expected: layers.len(),
            found: widths.len(),
        });
    }
    let mut layers = layers.to_vec();
    for (layer, &width) in layers.iter_mut().zip(widths) {
        layer.out_channels = width;
    }
    for (layer, &width) in layers.iter_mut().skip(1).zip(widths) {
        layer.in_channels = width;
    }
    Ok(layers)
}

/// The networks after round 1, 2, ...: RCP1, RCP2, and so on up to `max_rounds`. Ends early at the
/// fixed point; the list is empty where already the first round finds nothing to drop.
///
/// # Errors
///
/// As [`rcp_round`].
pub fn rcp_rounds(
    layers: &[ConvLayer],
    config: &MappingConfig,
    max_rounds: usize,
) -> Result<Vec<Vec<ConvLayer>>, MappingError> {
    let mut rounds: Vec<Vec<ConvLayer>> = Vec::new();
    while rounds.len() < max_rounds {
        let network = rounds.last().map_or(layers, Vec::as_slice);
        let next = apply_widths(network, &rcp_round(network, config)?)?;
        if next == network {
            break;
        }
        rounds.push(next);
    }
    Ok(rounds)
}

/// What rounds of the channel search make of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelRounds {
    /// The networks after round 1, 2, ...; none where already the first round finds nothing to drop.
    pub networks: Vec<Network>,
    /// The widths that the last round left, although its rule narrows them.
    pub kept: Vec<KeptWidth>,
}

/// A width that a round leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptWidth {
    /// Its index among the free widths.
    pub width: usize,
    /// Its channels.
    pub channels: usize,
    /// A layer that reads it, or that makes it where none reads it.
    pub layer: String,
    /// Why it is left.
    pub reason: KeptReason,
}

/// Why a round leaves a width as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeptReason {
    /// It is wider than the one behind it, and has one channel tile alone.
    OnlyTile,
    /// It is wider than the one behind it, and not one whole channel of it fits the array.
    NoTile,
    /// No layer reads it.
    NotRead,
    /// All layers that read it have groups, which are not searched.
    Grouped,
    /// A layer that it belongs to has groups of several channels, which the front does not narrow.
    SeveralInGroup,
}

impl fmt::Display for KeptWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, layer, .. } = self;
        match self.reason {
            KeptReason::OnlyTile => write!(
                f,
                "the {channels} channels that layer `{layer}` reads stay, though more than those behind it: they are one \
                 tile of the array, and a tile less would leave none"
            ),
            KeptReason::NoTile => write!(
                f,
                "the {channels} channels that layer `{layer}` reads stay, though more than those behind it: not one of them is \
                 on the array whole, so there is no tile to leave out"
            ),
            KeptReason::NotRead => {
                write!(
                    f,
                    "the {channels} channels of layer `{layer}` stay: no layer reads them"
                )
            }
            KeptReason::SeveralInGroup => write!(
                f,
                "the {channels} channels of layer `{layer}` stay: it has groups of several channels, which the front does not \
                 narrow"
            ),
            KeptReason::Grouped => write!(
                f,
                "the {channels} channels that layer `{layer}` reads stay: all layers that read them have groups, which the \
                 search leaves as they are"
            ),
        }
    }
}

/// The networks after round 1, 2, ..., for any network that says which of its widths are free: a chain as in
/// [`rcp_rounds`], residual stages as in [`stage_round`], and any other. It ends early at the fixed point.
///
/// * The layer that decides a width is the first without groups that keeps it, or else the first that reads it. A width
///   that no such layer reads stays.
/// * Step 2 narrows a width that is wider than one which a layer makes of it. In a plain chain that is the next one, and
///   the rule is the published one. In other networks, such as those with bottlenecks, a width that was wider before the
///   round stays so.
/// * A width of one tile stays, where step 2 would take that tile.
/// * `limits` hold for every width. Its shares are those of `network`.
///
/// ```
/// use vwc_sdk::graph::presets::network;
/// use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray, WidthLimits, channels::network_rounds};
///
/// let config = MappingConfig::new(PimArray::new(512, 256)?)
///     .with_weight_bits(2)
///     .with_accounting(Accounting::AsPublished);
/// let rounds = network_rounds(&network("resnet20")?, &config, &WidthLimits::default(), 10)?;
/// assert_eq!(rounds.networks.len(), 1);
/// // Of each stage the width that its additions run over, and those inside its three blocks.
/// assert_eq!(rounds.networks[0].widths()?, [[42; 4], [112; 4], [224; 4]].concat());
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// Those of [`Network::widths`]; [`MappingError::Limits`]; [`MappingError::Ties`] where there are more than a million
/// layers in all rounds together; and those of [`map_layer`](super::map_layer).
pub fn network_rounds(
    network: &Network,
    config: &MappingConfig,
    limits: &WidthLimits,
    max_rounds: usize,
) -> Result<ChannelRounds, MappingError> {
    network_rounds_from(network, &network.widths()?, config, limits, max_rounds)
}

/// As [`network_rounds`], of a network that earlier rounds have narrowed: the shares of `limits` are those of `original`,
/// the free widths before them.
///
/// # Errors
///
/// As [`network_rounds`], and [`MappingError::WidthCount`] where `original` has not one number for each free width.
pub fn network_rounds_from(
    network: &Network,
    original: &[usize],
    config: &MappingConfig,
    limits: &WidthLimits,
    max_rounds: usize,
) -> Result<ChannelRounds, MappingError> {
    let mut bounds = limits.bounds(network, original)?;
    let deciding = deciding(network)?;
    let chain = network.is_chain();
    let mut rounds = ChannelRounds {
        networks: Vec::new(),
        kept: Vec::new(),
    };
    while rounds.networks.len() < max_rounds {
        if rounds.networks.len().saturating_mul(network.layers.len()) > MAX_ROUND_LAYERS {
            return Err(MappingError::Ties {
                network: network.name.clone(),
                what: format!(
                    "its rounds prune more than {MAX_ROUND_LAYERS} layers, each a little: use an array with more rows, or \
                     fewer layers"
                ),
            });
        }
        let current = rounds.networks.last().unwrap_or(network);
        let widths = current.widths()?;
        bounds.narrow(&widths);
        let (next, kept) = round(current, &widths, &deciding, chain, &bounds, config)?;
        rounds.kept = kept;
        if next == widths {
            break;
        }
        let next = current.with_widths(&next)?;
        rounds.networks.push(next);
    }
    Ok(rounds)
}

/// Which layer decides a free width.
struct Decider {
    /// The layer, or why there is none.
    layer: Result<usize, KeptReason>,
    /// A layer that the width is known by.
    known_by: usize,
}

/// For each free width the layer that decides it. This does not change from round to round.
fn deciding(network: &Network) -> Result<Vec<Decider>, MappingError> {
    let reads = |width: usize| {
        let layers = network.ties.iter().enumerate();
        layers.filter(move |(_, tie)| tie.input == Some(width))
    };
    let searched = |layer: usize| network.layers[layer].groups == 1;
    (0..network.widths()?.len())
        .map(|width| {
            let keeps = reads(width).find(|(layer, tie)| searched(*layer) && tie.output == tie.input);
            let decides = keeps.or_else(|| reads(width).find(|(layer, _)| searched(*layer)));
            let reader = decides.or_else(|| reads(width).next()).map(|(layer, _)| layer);
            let makes = || network.ties.iter().position(|tie| tie.output == Some(width));
            let none = match reader {
                Some(_) => KeptReason::Grouped,
                None => KeptReason::NotRead,
            };
            Ok(Decider {
                layer: decides.map(|(layer, _)| layer).ok_or(none),
                known_by: reader.or_else(makes).unwrap_or_default(),
            })
        })
        .collect()
}

/// The free widths after a round, and those that stay against its rule.
fn round(
    network: &Network,
    widths: &[usize],
    deciding: &[Decider],
    chain: bool,
    bounds: &Bounds,
    config: &MappingConfig,
) -> Result<(Vec<usize>, Vec<KeptWidth>), MappingError> {
    let mut kept = Vec::new();
    let mut keep = |width: usize, channels: usize, reason: KeptReason| {
        kept.push(KeptWidth {
            width,
            channels,
            layer: network.layers[deciding[width].known_by].name.clone(),
            reason,
        });
    };
    let mut tiles = Vec::with_capacity(widths.len());
    for (width, decider) in deciding.iter().enumerate() {
        tiles.push(match decider.layer {
            Ok(layer) => Some(Tile::new(&network.layers[layer], config)?),
            Err(reason) => {
                keep(width, widths[width], reason);
                None
            }
        });
    }
    let behind = |width: usize| {
        let reads = network.ties.iter().filter(move |tie| tie.input == Some(width));
        reads
            .filter_map(|tie| tie.output)
            .filter(move |&made| made > width)
    };
    let (next, only_tiles) = narrowed(widths, &tiles, behind, chain, bounds);
    for width in only_tiles {
        let whole = tiles[width].as_ref().is_some_and(|tile| tile.channels > 0);
        let reason = if whole {
            KeptReason::OnlyTile
        } else {
            KeptReason::NoTile
        };
        keep(width, next[width], reason);
    }
    Ok((next, kept))
}

/// Steps 1 and 2: the widths once every channel tile is full, and those of one tile that step 2 would take.
///
/// `behind` gives the widths that layers make of one. Where `monotone`, none may be wider than these; else it may where it
/// was.
fn narrowed<I: Iterator<Item = usize>>(
    widths: &[usize],
    tiles: &[Option<Tile>],
    behind: impl Fn(usize) -> I,
    monotone: bool,
    bounds: &Bounds,
) -> (Vec<usize>, Vec<usize>) {
    let residual = |tile: &Option<Tile>| tile.as_ref().map_or(0, |tile| tile.residual);
    let mut next: Vec<usize> = (widths.iter().zip(tiles).enumerate())
        .map(|(width, (&channels, tile))| bounds.at_least(width, channels - residual(tile)))
        .collect();
    let mut only_tiles = Vec::new();
    for width in (0..next.len()).rev() {
        let Some(tile) = &tiles[width] else { continue };
        let wider = |behind: usize| {
            let before = !monotone && widths[width] > widths[behind];
            next[width] > next[behind] && !before
        };
        if !behind(width).any(wider) {
            continue;
        }
        match next[width]
            .checked_sub(tile.channels)
            .filter(|&channels| channels > 0)
        {
            Some(channels) if tile.channels > 0 => next[width] = bounds.at_least(width, channels),
            _ => only_tiles.push(width),
        }
    }
    (next, only_tiles)
}

/// The input widths of `layers`, a chain or one layer for each residual stage, once every channel tile is full.
fn full_tiles(layers: &[ConvLayer], config: &MappingConfig) -> Result<Vec<usize>, MappingError> {
    let tiles = layers.iter().map(|layer| {
        if layer.groups != 1 {
            return Err(MappingError::GroupedChain {
                layer: layer.name.clone(),
            });
        }
        Tile::new(layer, config).map(Some)
    });
    let tiles = tiles.collect::<Result<Vec<_>, _>>()?;
    let widths: Vec<usize> = layers.iter().map(|layer| layer.in_channels).collect();
    let last = widths.len().saturating_sub(1);
    let behind = |width: usize| (width < last).then_some(width + 1).into_iter();
    let (next, only_tiles) = narrowed(&widths, &tiles, behind, true, &Bounds::none(&widths));
    let none_left = |width: &&usize| tiles[**width].as_ref().is_some_and(|tile| tile.channels > 0);
    match only_tiles.iter().find(none_left) {
        Some(&width) => Err(MappingError::NoChannelsLeft {
            layer: layers[width].name.clone(),
        }),
        None => Ok(next),
    }
}

/// The channel tile of one layer.
struct Tile {
    /// ICt of the best window; 0 where no window fits the array.
    channels: usize,
    /// `IC mod ICt`.
    residual: usize,
}

impl Tile {
    fn new(layer: &ConvLayer, config: &MappingConfig) -> Result<Self, MappingError> {
        let Some(window) = vw_sdk::best_window(layer, config)? else {
            return Ok(Self {
                channels: 0,
                residual: 0,
            });
        };
        Ok(Self {
            channels: window.in_tile,
            residual: layer.in_channels % window.in_tile,
        })
    }
}

fn check_chain(layers: &[ConvLayer]) -> Result<(), MappingError> {
    match layers
        .windows(2)
        .find(|pair| pair[0].out_channels != pair[1].in_channels)
    {
        None => Ok(()),
        Some(pair) => Err(MappingError::BrokenChain {
            layer: pair[1].name.clone(),
            previous: pair[0].name.clone(),
            expected: pair[0].out_channels,
            found: pair[1].in_channels,
        }),
    }
}
