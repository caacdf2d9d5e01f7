//! Constants whose numbers are in files beside the model, as exporters write them of networks above 2 GiB, and by default of others.
//!
//! The model says where: a path, a place in the file and a length. None of it is trusted. The file has to be in the folder of the
//! model or below, a regular file, and hold all that is said to be in it; the length has to be that of the constant's dimensions and
//! type. Memory is taken only then, and all constants together take [`MAX_EXTERNAL`] bytes at most.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use tract_onnx::pb::{ModelProto, TensorProto, tensor_proto::DataLocation};

use super::{OnnxError, is_standard_constant, printable, tensors::bytes};

/// The most bytes of all constants together.
const MAX_EXTERNAL: u64 = 2 << 30;

/// Reads the numbers of all constants that are in files of this folder.
pub(super) fn read_external(model: &mut ModelProto, folder: &Path) -> Result<(), OnnxError> {
    let Some(graph) = &mut model.graph else {
        return Ok(());
    };
    let mut files = Files {
        folder,
        open: HashMap::new(),
        left: MAX_EXTERNAL,
    };
    for tensor in &mut graph.initializer {
        let name = tensor.name.clone();
        files.fill(&name, tensor)?;
    }
    for node in &mut graph.node {
        if !is_standard_constant(node) {
            continue;
        }
        let name = node.output.first().cloned().unwrap_or_default();
        for tensor in node
            .attribute
            .iter_mut()
            .filter_map(|attribute| attribute.t.as_mut())
        {
            files.fill(&name, tensor)?;
        }
    }
    Ok(())
}

/// The files that were opened.
struct Files<'a> {
    folder: &'a Path,
    /// By the paths in the model: each with its length.
    open: HashMap<String, (File, u64)>,
    /// The bytes that may be read yet.
    left: u64,
}

impl Files<'_> {
    fn fill(&mut self, name: &str, tensor: &mut TensorProto) -> Result<(), OnnxError> {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let refuse = |reason: String| OnnxError::External {
            tensor: printable(name),
            reason: printable(&reason),
        };
        let entry = |key: &str| {
            tensor
                .external_data
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &*entry.value)
        };
        let number = |key: &str| match entry(key).map(str::parse::<u64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(refuse(format!(
                "whose `{key}` in another file is no number: export the network again"
            ))),
        };
        let location = entry("location").unwrap_or_default().to_owned();
        let offset = number("offset")?.unwrap_or(0);
        let expected = bytes(tensor).and_then(|bytes| u64::try_from(bytes).ok());
        let expected = expected.ok_or_else(|| {
            refuse(
                "whose numbers are in another file, of a type or of dimensions that cannot be read"
                    .to_owned(),
            )
        })?;
        let stated = number("length")?.unwrap_or(expected);
        if stated != expected {
            return Err(refuse(format!(
                "which has {stated} bytes in `{location}`, where its dimensions and type take {expected}: export the network again"
            )));
        }
        self.left = self.left.checked_sub(expected).ok_or_else(|| {
            refuse(format!("with which constants take more than {MAX_EXTERNAL} bytes in other files: export the network in parts"))
        })?;
        let (file, length) = self.open(&location).map_err(refuse)?;
        if offset.checked_add(expected).is_none_or(|end| end > *length) {
            return Err(refuse(format!(
                "of which {expected} bytes from byte {offset} on are to be in `{location}`, and that has {length}: copy the \
                 whole file to the model's folder, or export the network again"
            )));
        }
        let mut read = Vec::new();
        let numbers = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(expected).read_to_end(&mut read));
        match numbers {
            Ok(count) if count as u64 == expected => {}
            Ok(count) => {
                return Err(refuse(format!(
                    "of which `{location}` gave {count} bytes, where it has {expected}"
                )));
            }
            Err(error) => return Err(refuse(format!("and `{location}` could not be read: {error}"))),
        }
        tensor.raw_data = read;
        tensor.external_data.clear();
        tensor.data_location = None;
        tensor.float_data.clear();
        tensor.int32_data.clear();
        tensor.int64_data.clear();
        tensor.double_data.clear();
        Ok(())
    }

    fn open(&mut self, location: &str) -> Result<&mut (File, u64), String> {
        if !self.open.contains_key(location) {
            let opened = open(self.folder, location)?;
            self.open.insert(location.to_owned(), opened);
        }
        let opened = self.open.get_mut(location);
        opened.ok_or_else(|| "whose file was lost".to_owned())
    }
}

fn open(folder: &Path, location: &str) -> Result<(File, u64), String> {
    let path = Path::new(location);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    // A backslash is a letter of a name here and parts names elsewhere.
    if location.is_empty() || !inside || location.contains('\\') || location.contains('\0') {
        return Err(format!(
            "whose numbers are in `{location}`: expected a file in the model's folder, without `..` and `/` in front"
        ));
    }
    let path = folder.join(path);
    let missing = |error: std::io::Error| {
        format!(
            "whose numbers are in `{location}`, which cannot be read beside the model ({error}): copy that file there, too"
        )
    };
    let real: PathBuf = path.canonicalize().map_err(missing)?;
    let root = folder.canonicalize().map_err(missing)?;
    if !real.starts_with(&root) {
        return Err(format!(
            "whose numbers are in `{location}`, a link that leads out of the model's folder: copy the file there"
        ));
    }
    // Opening a pipe would wait for whoever writes to it.
    let about = real.metadata().map_err(missing)?;
    if !about.is_file() {
        return Err(format!("whose numbers are in `{location}`, which is no file"));
    }
    let file = File::open(real).map_err(missing)?;
    Ok((file, about.len()))
}
