//! Labelled pictures in memory.
//!
//! Pixels stay the bytes they were in the file: a set of half a million 32x32 pictures fits in 1.6 GB, where floats
//! would take four times that. Turning them into normalised floats is the batcher's work, one batch at a time.

use std::fmt;

use image::{Rgb, RgbImage, imageops};

use super::spec::{self, ChannelOrder, PictureSpec};
use super::{Normalization, error::DataError};

/// Bytes per pixel: red, green, blue.
const CHANNELS: usize = 3;

/// How the classes of pictures become the outputs of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassMatch {
    /// By their names: folders that sort in another way are still the same classes.
    #[default]
    Name,
    /// By their places, whatever they are called: the first class is the first output.
    Place,
}

/// A set of equally sized RGB pictures, each with the number of its class.
#[derive(Clone, PartialEq)]
pub struct Pictures {
    height: usize,
    width: usize,
    /// Names of the classes.
    classes: Vec<String>,
    normalization: Normalization,
    channels: ChannelOrder,
    /// N x H x W x 3, row-major.
    pixels: Vec<u8>,
    /// N, each below `classes`.
    labels: Vec<u8>,
}

impl Pictures {
    /// Puts pictures and labels together.
    ///
    /// `pixels` is N x `height` x `width` x 3, row-major, the channels in the order red, green, blue; `labels` holds
    /// one class number per picture, counted from 0. N may be 0.
    ///
    /// # Errors
    ///
    /// [`DataError::Pictures`] when a side is 0, when `pixels` is not `labels.len()` pictures long, or when a label is
    /// not below `classes`.
    pub fn new(
        height: usize,
        width: usize,
        classes: usize,
        pixels: Vec<u8>,
        labels: Vec<u8>,
    ) -> Result<Self, DataError> {
        let refuse = |reason: String| Err(DataError::Pictures { reason });
        if height == 0 || width == 0 {
            return refuse(format!("a picture cannot be {height}x{width}"));
        }
        let expected = height
            .checked_mul(width)
            .and_then(|n| n.checked_mul(CHANNELS))
            .and_then(|n| n.checked_mul(labels.len()));
        if expected != Some(pixels.len()) {
            return refuse(format!(
                "{} labels need {}x{height}x{width}x{CHANNELS} bytes of pixels, not {}",
                labels.len(),
                labels.len(),
                pixels.len()
            ));
        }
        if let Some(index) = labels.iter().position(|&l| usize::from(l) >= classes) {
            return refuse(format!(
                "label {index} (counted from 0) is {}, and there are {classes} classes",
                labels[index]
            ));
        }
        Ok(Self {
            height,
            width,
            classes: spec::numbers(classes),
            normalization: Normalization::default(),
            channels: ChannelOrder::default(),
            pixels,
            labels,
        })
    }

    /// The same pictures with another normalisation than the default.
    pub fn with_normalization(mut self, normalization: Normalization) -> Self {
        self.normalization = normalization;
        self
    }

    /// The same pictures, of classes that have these names instead of numbers.
    ///
    /// # Errors
    ///
    /// [`DataError::Pictures`] where there is not one name for each class, or a name stands twice.
    pub fn with_class_names(
        mut self,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, DataError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let fits = if names.len() == self.classes.len() {
            spec::check_names(&names)
        } else {
            Err(format!(
                "{} names for {} classes",
                names.len(),
                self.classes.len()
            ))
        };
        fits.map_err(|reason| DataError::Pictures { reason })?;
        self.classes = names;
        Ok(self)
    }

    /// What a network of pictures like these reads, of this height and width.
    pub fn spec(&self, size: [usize; 2]) -> PictureSpec {
        PictureSpec::new(size, self.classes.clone())
            .with_normalization(self.normalization)
            .with_channels(self.channels)
    }

    /// The same pictures as a network of `spec` reads them: normalised as it was trained, and labelled by its outputs. Some
    /// of its classes may be missing here.
    ///
    /// # Errors
    ///
    /// [`DataError::Classes`] where a class is none of the network's, or, by [`ClassMatch::Place`], where there are more
    /// classes or fewer.
    pub fn read_by(mut self, spec: &PictureSpec, by: ClassMatch) -> Result<Self, DataError> {
        let refuse = |expected| DataError::Classes {
            network: spec.classes.clone(),
            pictures: self.classes.clone(),
            expected,
        };
        let outputs: Vec<u8> = match by {
            ClassMatch::Place if self.classes.len() != spec.classes.len() => {
                return Err(refuse("as many"));
            }
            ClassMatch::Place => (0..=u8::MAX).take(self.classes.len()).collect(),
            ClassMatch::Name => {
                let output = |name| spec.classes.iter().position(|class| class == name);
                let outputs = self.classes.iter().map(output);
                let outputs = outputs.map(|output| output.and_then(|output| u8::try_from(output).ok()));
                let outputs: Option<_> = outputs.collect();
                outputs.ok_or_else(|| refuse("the same names, in any order"))?
            }
        };
        for label in &mut self.labels {
            *label = outputs[usize::from(*label)];
        }
        self.classes = spec.classes.clone();
        self.normalization = spec.normalization;
        self.channels = spec.channels;
        Ok(self)
    }

    /// What their bytes become for a network.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// The order in which their channels enter a network. [`pixels`](Self::pixels) are red first all the same.
    pub fn channel_order(&self) -> ChannelOrder {
        self.channels
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Rows of each picture.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of each picture.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many classes the labels are numbers of; not all need occur.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// What the classes are called, in the order of their numbers.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// Picture `index`: height x width x 3 bytes, row-major, RGB.
    ///
    /// # Panics
    ///
    /// When there is no such picture.
    pub fn picture(&self, index: usize) -> &[u8] {
        let size = self.height * self.width * CHANNELS;
        &self.pixels[index * size..][..size]
    }

    /// The class of picture `index`, counted from 0.
    ///
    /// # Panics
    ///
    /// When there is no such picture.
    pub fn label(&self, index: usize) -> u8 {
        self.labels[index]
    }

    /// The classes of all pictures, in order.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The bytes of all pictures: N x height x width x 3, row-major, RGB.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// How many pictures each class has; as long as there are classes.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// A checksum (CRC-32) of pixels and labels: pictures that differ in one byte have another one.
    pub fn checksum(&self) -> u32 {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&self.pixels);
        checksum.update(&self.labels);
        checksum.finalize()
    }

    /// Adds the pictures of `other` behind these, which keep their normalisation.
    ///
    /// # Errors
    ///
    /// [`DataError::Pictures`] when they differ in size or in their classes; nothing is added then.
    pub fn append(&mut self, other: Pictures) -> Result<(), DataError> {
        let shape = |p: &Self| (p.height, p.width, p.classes.clone());
        if shape(self) != shape(&other) {
            return Err(DataError::Pictures {
                reason: format!("{other:?} cannot be appended to {self:?}"),
            });
        }
        self.pixels.extend_from_slice(&other.pixels);
        self.labels.extend_from_slice(&other.labels);
        Ok(())
    }
}

/// The shape only: nobody wants to read a million pixels in a failed assertion.
impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Pictures({} of {}x{}, {} classes)",
            self.len(),
            self.height,
            self.width,
            self.classes.len()
        )
    }
}

/// The first `columns` x `rows` pictures side by side, each `scale` times its size, for a person to look at.
///
/// Tiles are filled row by row and stand one pixel (times `scale`) apart; where the pictures run out, the sheet stays
/// grey.
///
/// # Panics
///
/// When `columns`, `rows` or `scale` is 0, or the sheet would be wider or higher than `u32::MAX` pixels.
pub fn contact_sheet(pictures: &Pictures, columns: usize, rows: usize, scale: usize) -> RgbImage {
    assert!(
        columns > 0 && rows > 0 && scale > 0,
        "a sheet needs columns, rows and a scale"
    );
    let side = |tiles: usize, size: usize| -> u32 {
        (tiles * (size + 1) - 1)
            .try_into()
            .expect("the sheet fits in u32 pixels")
    };
    let (width, height) = (side(columns, pictures.width), side(rows, pictures.height));
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([96; CHANNELS]));
    for index in 0..pictures.len().min(columns * rows) {
        let left = index % columns * (pictures.width + 1);
        let top = index / columns * (pictures.height + 1);
        for (offset, rgb) in pictures.picture(index).chunks_exact(CHANNELS).enumerate() {
            let (x, y) = (offset % pictures.width, offset / pictures.width);
            sheet.put_pixel((left + x) as u32, (top + y) as u32, Rgb([rgb[0], rgb[1], rgb[2]]));
        }
    }
    let scaled = |length: u32| -> u32 {
        let scale = u32::try_from(scale).expect("the scale fits in u32");
        length.checked_mul(scale).expect("the sheet fits in u32 pixels")
    };
    imageops::resize(
        &sheet,
        scaled(width),
        scaled(height),
        imageops::FilterType::Nearest,
    )
}
