//! What other implementations of ONNX compute: tract, with the feature `onnx`, and ONNX Runtime, where this machine has it.

#![allow(dead_code)]

use std::path::Path;
use std::process::Command;

/// Inputs or outputs of a network: of each all numbers, of all pictures.
pub type Numbers = Vec<Vec<f32>>;

/// An ONNX file with its inputs.
pub struct File {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Shapes, the batch among them, and numbers.
    pub inputs: Vec<(Vec<usize>, Vec<f32>)>,
}

/// For each runtime that is there its name and the outputs of each file.
pub fn runtimes(files: &[File]) -> Vec<(&'static str, Vec<Numbers>)> {
    let tract = tract(files).map(|outputs| ("tract", outputs));
    let onnx_runtime = onnx_runtime(files).map(|outputs| ("ONNX Runtime", outputs));
    tract.into_iter().chain(onnx_runtime).collect()
}

#[cfg(not(feature = "onnx"))]
fn tract(_: &[File]) -> Option<Vec<Numbers>> {
    None
}

#[cfg(feature = "onnx")]
fn tract(files: &[File]) -> Option<Vec<Numbers>> {
    use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, TVec, Tensor, TractResult};

    let run = |file: &File| -> TractResult<Numbers> {
        let model = tract_onnx::onnx().model_for_read(&mut &file.bytes[..])?;
        let model = model.into_optimized()?.into_runnable()?;
        let inputs = file.inputs.iter();
        let inputs = inputs.map(|(shape, numbers)| Ok(Tensor::from_shape(shape, numbers)?.into()));
        let outputs = model.run(inputs.collect::<TractResult<TVec<_>>>()?)?;
        let numbers = outputs.iter().map(|output| {
            let numbers = output.to_plain_array_view::<f32>()?;
            Ok(numbers.iter().copied().collect())
        });
        numbers.collect()
    };
    let outputs = files
        .iter()
        .map(|file| run(file).unwrap_or_else(|error| panic!("{} in tract: {error:?}", file.name)));
    Some(outputs.collect())
}

/// `None`, with a line that says so, where there is no `python3` with onnxruntime.
fn onnx_runtime(files: &[File]) -> Option<Vec<Numbers>> {
    let probe = Command::new("python3")
        .args(["-c", "import onnxruntime, numpy"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no python3 with onnxruntime and numpy; nothing was compared with ONNX Runtime");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name);
    for File { name, bytes, inputs } in files {
        std::fs::write(path(format!("{name}.onnx")), bytes).unwrap();
        for (n, (_, input)) in inputs.iter().enumerate() {
            let bytes: Vec<u8> = input.iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(path(format!("{name}.in{n}.bin")), bytes).unwrap();
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/graph_onnx.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let outputs = files.iter().map(|File { name, .. }| {
        let paths = (0..).map(|n| path(format!("{name}.out{n}.bin")));
        paths
            .take_while(|path| path.exists())
            .map(|path| numbers(&path))
            .collect()
    });
    Some(outputs.collect())
}

fn numbers(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes
        .chunks_exact(4)
        .map(|x| f32::from_le_bytes(x.try_into().unwrap()))
        .collect()
}
