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

use super::{ConvLayer, MappingConfig, MappingError, Network, vw_sdk};

/// Layers of all rounds together, beyond which a network is refused: all of them are kept. A published network comes to
/// rest in a few rounds.
const MAX_ROUND_LAYERS: usize = 1 << 20;

/// Output channels of every layer after one round on a chain of layers. The first layer's input and
/// the last layer's output are never pruned.
///
/// ```
/// use vwc_sdk::mapping::{
///     Accounting, MappingConfig, PimArray, Search, channels::rcp_round, presets::cnn8,
/// };
///
/// let config = MappingConfig::new(PimArray::new(256, 512)?)
///     .with_accounting(Accounting::AsPublished)
///     .with_search(Search::Published);
/// assert_eq!(rcp_round(&cnn8(), &config)?, [18, 21, 27, 60, 60, 60, 256]);
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

/// The networks after round 1, 2, ..., for any network that says which of its widths are free: a chain as in
/// [`rcp_rounds`], residual stages as in [`stage_round`]. The layer that decides a width is the first that
/// keeps it, or else the first that reads it. Ends early at the fixed point.
///
/// ```
/// use vwc_sdk::mapping::{
///     Accounting, MappingConfig, PimArray, channels::network_rounds, presets::network,
/// };
///
/// let config = MappingConfig::new(PimArray::new(512, 256)?)
///     .with_weight_bits(2)
///     .with_accounting(Accounting::AsPublished);
/// let rounds = network_rounds(&network("resnet20")?, &config, 10)?;
/// assert_eq!(rounds.len(), 1);
/// assert_eq!(rounds[0].widths()?, [42, 112, 224]);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// Those of [`Network::widths`]; [`MappingError::Ties`] where no layer reads a width, or where there are more than a
/// million layers in all rounds together; and as [`rcp_round`].
pub fn network_rounds(
    network: &Network,
    config: &MappingConfig,
    max_rounds: usize,
) -> Result<Vec<Network>, MappingError> {
    let refuse = |what: String| MappingError::Ties {
        network: network.name.clone(),
        what,
    };
    // Which layer decides a width does not change from round to round.
    let mut deciding: Vec<Option<(usize, bool)>> = vec![None; network.widths()?.len()];
    for (layer, tie) in network.ties.iter().enumerate() {
        let Some(width) = tie.input else { continue };
        let keeps = tie.output == Some(width);
        let decider = &mut deciding[width];
        if decider.is_none_or(|(_, found)| keeps && !found) {
            *decider = Some((layer, keeps));
        }
    }
    if let Some(width) = deciding.iter().position(Option::is_none) {
        return Err(refuse(format!("no layer reads its free width {width}")));
    }
    let mut rounds: Vec<Network> = Vec::new();
    while rounds.len() < max_rounds {
        if rounds.len().saturating_mul(network.layers.len()) > MAX_ROUND_LAYERS {
            return Err(refuse(format!(
                "its rounds prune more than {MAX_ROUND_LAYERS} layers, each a little: use an array with more rows, or \
                 fewer layers"
            )));
        }
        let network = rounds.last().unwrap_or(network);
        let widths = network.widths()?;
        let layers: Vec<ConvLayer> = (deciding.iter().flatten())
            .map(|&(layer, _)| network.layers[layer].clone())
            .collect();
        let next = full_tiles(&layers, config)?;
        if next == widths {
            break;
        }
        rounds.push(network.with_widths(&next)?);
    }
    Ok(rounds)
}

/// Steps 1 and 2: the input widths of `layers` once every channel tile is full.
fn full_tiles(layers: &[ConvLayer], config: &MappingConfig) -> Result<Vec<usize>, MappingError> {
    let tiles = layers
        .iter()
        .map(|layer| Tile::new(layer, config))
        .collect::<Result<Vec<_>, _>>()?;
    let mut widths: Vec<usize> = layers
        .iter()
        .zip(&tiles)
        .map(|(layer, tile)| layer.in_channels - tile.residual)
        .collect();
    for l in (1..widths.len()).rev() {
        if widths[l - 1] > widths[l] {
            widths[l - 1] = widths[l - 1]
                .checked_sub(tiles[l - 1].channels)
                .filter(|&width| width > 0)
                .ok_or_else(|| MappingError::NoChannelsLeft {
                    layer: layers[l - 1].name.clone(),
                })?;
        }
    }
    Ok(widths)
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
        if layer.groups != 1 {
            return Err(MappingError::GroupedChain {
                layer: layer.name.clone(),
            });
        }
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
