//! Layer lists: a network for the mapper, in JSON or CSV. An error names the line or the layer.

use crate::mapping::Network;

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
