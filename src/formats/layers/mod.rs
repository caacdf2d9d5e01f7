//! Layer lists: a network for the mapper, in JSON or CSV. An error names the line or the layer.

use serde::Serialize;

use crate::mapping::{ConvLayer, Network, Tie};
use crate::text;

mod csv;
mod json;
mod list;

/// The largest layer list that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// The most layers a list may have.
pub(crate) const MAX_LAYERS: usize = 10_000;

/// The network of a layer list in JSON, called `name` where the list does not name it.
///
/// # Errors
///
/// What is wrong, with its line.
pub fn json_list(name: &str, bytes: &[u8]) -> Result<Network, String> {
    json::network(name, &utf8(bytes)?)
}

/// The network of a layer list in CSV, called `name`.
///
/// # Errors
///
/// What is wrong, with its line.
pub fn csv_list(name: &str, bytes: &[u8]) -> Result<Network, String> {
    csv::network(name, &utf8(bytes)?)
}

/// The network as a layer list in JSON, which [`json_list`] reads again.
///
/// ```
/// use vwc_sdk::formats::layer_list;
/// use vwc_sdk::graph::presets;
///
/// let list = layer_list(&presets::network("cnn8")?);
/// assert!(list.starts_with("{\n  \"name\": \"cnn8\",\n  \"layers\": [\n"));
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
#[must_use]
pub fn layer_list(network: &Network) -> String {
    #[derive(Serialize)]
    struct List<'a> {
        name: &'a str,
        layers: Vec<Tied<'a>>,
    }
    #[derive(Serialize)]
    struct Tied<'a> {
        #[serde(flatten)]
        layer: &'a ConvLayer,
        #[serde(skip_serializing_if = "Option::is_none")]
        tie: Option<&'a Tie>,
    }
    let mut ties = network.ties.iter();
    let layers = network.layers.iter().map(|layer| Tied {
        layer,
        tie: ties.next(),
    });
    let list = List {
        name: &network.name,
        layers: layers.collect(),
    };
    text::json(&list) + "\n"
}

/// The bytes as text, if they are UTF-8, without the byte-order mark that some programs put before it.
fn utf8(bytes: &[u8]) -> Result<String, String> {
    let advice = "a layer list must be UTF-8 text: save it as UTF-8";
    // In UTF-16 every letter of the Latin alphabet has a byte of zero.
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.contains(&0) {
        return Err(format!("it is UTF-16 text or no text at all, and {advice}"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let read = &bytes[..error.valid_up_to()];
        let line = 1 + read.iter().filter(|&&byte| byte == b'\n').count();
        format!("line {line}: it holds bytes that are no UTF-8, and {advice}")
    })
}
