//! Pictures as files and bytes, for training and for packed networks alike: decoding and resizing.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::text;

mod bilinear;

pub(crate) use bilinear::resize;

/// Endings of the files that are taken for pictures in folders, in small letters. What a file is, its contents say.
#[cfg(feature = "train")]
pub(crate) const ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "jfif", "webp", "bmp", "ppm", "pgm"];

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

/// What is read, for messages.
const KINDS: &str = "a png, jpg, webp, bmp, ppm or pgm";

/// Decodes a picture by what is in the file: a JPEG that is called `.png` is read all the same. It is turned as its EXIF
/// orientation says, so that it stands upright: telephones store pictures as the sensor lay, and how it lay.
pub(crate) fn read(path: &Path) -> Result<Rgb, ReadError> {
    match std::fs::metadata(path) {
        Err(error) => return Err(ReadError::Io("open", error)),
        Ok(found) if found.is_dir() => {
            return Err(ReadError::Decode(format!("expected {KINDS} (it is a folder)")));
        }
        // A pipe that nobody writes to would be waited for.
        Ok(found) if !found.is_file() => {
            return Err(ReadError::Decode(format!(
                "expected {KINDS} (it is a pipe or a device)"
            )));
        }
        Ok(_) => {}
    }
    let file = File::open(path).map_err(|error| ReadError::Io("open", error))?;
    let reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(|error| ReadError::Io("read", error))?;
    let picture = upright(reader).map_err(|error| {
        let error = text::line(&error.to_string());
        ReadError::Decode(format!("expected {KINDS} ({error}): convert it, or leave it out"))
    })?;
    let picture = picture.into_rgb8();
    if picture.is_empty() {
        return Err(ReadError::Decode("it has no pixels".into()));
    }
    Ok(Rgb {
        size: [picture.height() as usize, picture.width() as usize],
        pixels: picture.into_raw(),
    })
}

fn upright(mut reader: ImageReader<BufReader<File>>) -> image::ImageResult<DynamicImage> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    // What the picture itself takes is not counted by the decoder, nor what it takes once more as RGB.
    limits.reserve(decoder.total_bytes())?;
    if decoder.color_type() != ColorType::Rgb8 {
        let (width, height) = decoder.dimensions();
        limits.reserve(u64::from(width) * u64::from(height) * 3)?;
    }
    decoder.set_limits(limits)?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}
