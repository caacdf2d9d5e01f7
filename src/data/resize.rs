use burn::data::dataset::transform::Mapper;

use super::PictureItem;
use crate::picture::resize;

/// Bilinear resizing of bytes, to the bit as Pillow does it, and torchvision on Pillow's pictures.
///
/// A triangle filter over half-pixel centres, as wide as the step where the picture shrinks, cut off at the edges;
/// across first, then down, each pass rounded to a byte. Own code because resizing crates round in other places: off
/// by a grey level here and there, and differently on different processors.
#[derive(Clone, Debug)]
pub struct Resize {
    size: [usize; 2],
}

impl Resize {
    /// To `size`, height and width in pixels.
    ///
    /// # Panics
    ///
    /// Where either is 0.
    pub fn new(size: [usize; 2]) -> Self {
        assert!(!size.contains(&0), "a picture has at least one pixel");
        Self { size }
    }
}

impl Mapper<PictureItem, PictureItem> for Resize {
    fn map(&self, item: &PictureItem) -> PictureItem {
        PictureItem {
            size: self.size,
            pixels: resize(&item.pixels, item.size, self.size),
            label: item.label,
        }
    }
}
