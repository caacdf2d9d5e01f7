//! One picture of a data set.

/// One picture and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureItem {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// Bytes, height x width x 3, RGB.
    pub pixels: Vec<u8>,
    /// Class, from 0.
    pub label: u8,
}
