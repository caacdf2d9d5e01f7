//! The layer table: what each convolution is, and how it was laid out.

use serde::Serialize;

use super::table;
use crate::mapping::{ConvLayer, Mapping};

/// One line of the layer table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerRow {
    /// Name of the layer.
    pub name: String,
    /// Input channels, IC.
    pub in_channels: usize,
    /// Output channels, OC.
    pub out_channels: usize,
    /// Weights, without bias.
    pub params: u64,
    /// How the layer is laid out.
    #[serde(flatten)]
    pub mapping: Mapping,
}

/// Layers and their mappings as rows.
///
/// # Panics
///
/// Where there is not one mapping a layer.
#[must_use]
pub fn layer_rows(layers: &[ConvLayer], mappings: &[Mapping]) -> Vec<LayerRow> {
    assert_eq!(layers.len(), mappings.len(), "one mapping a layer");
    layers
        .iter()
        .zip(mappings)
        .map(|(layer, mapping)| LayerRow {
            name: layer.name.clone(),
            in_channels: layer.in_channels,
            out_channels: layer.out_channels,
            params: layer.params(),
            mapping: mapping.clone(),
        })
        .collect()
}

/// Layers and their mappings as a table for a terminal, with a last row that totals weights, cycles and
/// the lower bound. Windows are written width x height in input cells; ICt and OCt are `<1` where not one whole
/// channel is on the array at once.
///
/// ```
/// use vwc_sdk::graph::presets;
/// use vwc_sdk::mapping::{MappingConfig, Method, PimArray, map_network};
/// use vwc_sdk::report::layer_table;
///
/// let config = MappingConfig::new(PimArray::new(256, 512)?);
/// let layers = presets::network("cnn8")?.layers;
/// let table = layer_table(&layers, &map_network(&layers, Method::VwSdk, &config)?);
/// assert!(table.lines().any(|line| line.contains("convs.3") && line.contains("9x3")));
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Panics
///
/// Where there is not one mapping a layer.
#[must_use]
pub fn layer_table(layers: &[ConvLayer], mappings: &[Mapping]) -> String {
    let rows = layer_rows(layers, mappings);
    // Sums of u64 need more: a network of layers each near the limit must not wrap.
    let sum = |of: fn(&LayerRow) -> u64| rows.iter().map(|r| u128::from(of(r))).sum::<u128>();
    let mut totals = vec![String::new(); HEADER.len()];
    totals[0] = "total".to_owned();
    totals[3] = sum(|row| row.params).to_string();
    totals[8] = sum(|row| row.mapping.cycles).to_string();
    totals[9] = sum(|row| row.mapping.lower_bound).to_string();
    let cells = layers
        .iter()
        .zip(mappings)
        .map(|(layer, mapping)| cells(layer, mapping));
    table(&HEADER, cells, Some(totals))
}

pub(super) const HEADER: [&str; 10] = [
    "layer", "IC", "OC", "params", "method", "PW", "ICt", "OCt", "cycles", "bound",
];

/// What stands under [`HEADER`] for one layer.
pub(super) fn cells(layer: &ConvLayer, mapping: &Mapping) -> Vec<String> {
    vec![
        layer.name.clone(),
        layer.in_channels.to_string(),
        layer.out_channels.to_string(),
        layer.params().to_string(),
        mapping.method.to_string(),
        mapping.window.to_string(),
        tile(mapping.in_tile),
        tile(mapping.out_tile),
        mapping.cycles.to_string(),
        mapping.lower_bound.to_string(),
    ]
}

/// Channels on the array at once. Where not one whole channel fits and it is cut, a part of one is there, not none.
pub(super) fn tile(channels: usize) -> String {
    if channels == 0 {
        "<1".to_owned()
    } else {
        channels.to_string()
    }
}
