use std::path::Path;

use super::{Model, PackedError};
use crate::picture::{ReadError, Rgb, resize};

impl Model {
    /// Reads a picture, png or jpg, and resizes it to what [`logits`](super::Session::logits) takes: bilinearly, to the
    /// bit as Pillow does it. Grey pictures become RGB, transparency is dropped.
    ///
    /// # Errors
    ///
    /// [`PackedError::Io`], [`PackedError::Picture`] where it cannot be decoded, is wider or higher than 16,384 pixels,
    /// or takes more than 512 MiB.
    pub fn read_picture(&self, path: &Path) -> Result<Vec<u8>, PackedError> {
        let Rgb { size, pixels } = crate::picture::read(path).map_err(|error| match error {
            ReadError::Io(action, source) => PackedError::io(path, action)(source),
            ReadError::Decode(reason) => PackedError::Picture {
                path: path.into(),
                reason,
            },
        })?;
        Ok(resize(&pixels, size, self.input()))
    }
}
