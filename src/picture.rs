//! Pictures as files and bytes, for training and for packed networks alike: decoding and resizing.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use image::{ImageReader, Limits};

mod bilinear;

pub(crate) use bilinear::resize;

/// No picture is wider or higher, in pixels.
const MAX_SIDE: u32 = 16_384;
/// No picture takes more memory while it is decoded, in bytes: 512 MiB.
const MAX_BYTES: u64 = 512 << 20;

/// A picture's bytes, `[height, width, 3]`.
pub(crate) struct Rgb {
    /// Height and width in pixels.
    pub(crate) size: [usize; 2],
    pub(crate) pixels: Vec<u8>,
}

/// Why a picture could not be read.
pub(crate) enum ReadError {
    /// What was tried, and what failed.
    Io(&'static str, io::Error),
    Decode(String),
}

/// Decodes a png or jpg by what is in the file: a JPEG that is called `.png` is read all the same.
pub(crate) fn read(path: &Path) -> Result<Rgb, ReadError> {
    if path.is_dir() {
        return Err(ReadError::Decode("expected a png or jpg (it is a folder)".into()));
    }
    let file = File::open(path).map_err(|error| ReadError::Io("open", error))?;
    let mut reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(|error| ReadError::Io("read", error))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| {
        ReadError::Decode(format!(
            "expected a png or jpg ({error}): convert it, or leave it out"
        ))
    })?;
    let picture = picture.into_rgb8();
    Ok(Rgb {
        size: [picture.height() as usize, picture.width() as usize],
        pixels: picture.into_raw(),
    })
}
