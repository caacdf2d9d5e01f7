//! ONNX files, held against other implementations of ONNX: tract, with the feature `onnx`, and ONNX Runtime, where this machine
//! has it.
//!
//! tract is not built beside Burn, whose dependencies it changes. Files of networks on Burn are kept in the folder that
//! `VWC_SDK_ONNX_FILES` names, if it is set, and `tests/graph_onnx` reads them from there in a build with tract.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Outputs of a network: of each all numbers, of all pictures.
type Outputs = Vec<Vec<f32>>;

/// The folder that files are kept in.
pub fn kept() -> Option<PathBuf> {
    std::env::var_os("VWC_SDK_ONNX_FILES").map(Into::into)
}

/// An ONNX file with its inputs, and what it computes of them.
pub struct File {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Shapes, the batch among them, and numbers.
    pub inputs: Vec<(Vec<usize>, Vec<f32>)>,
    pub expected: Vec<Vec<f64>>,
    /// How far a number may be from what is expected, of the largest of an output.
    pub tolerance: f64,
}

impl File {
    pub fn assert_computed(&self, found: &Outputs, runtime: &str) {
        let what = |n: usize| format!("{} in {runtime}, output {n}", self.name);
        assert_eq!(found.len(), self.expected.len(), "{}", what(found.len()));
        for (n, (found, expected)) in found.iter().zip(&self.expected).enumerate() {
            assert_eq!(found.len(), expected.len(), "{}", what(n));
            let largest = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
            for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
                let found = f64::from(found);
                assert!(
                    found == expected || (found - expected).abs() <= self.tolerance * largest,
                    "{}: number {at} is {found}, expected {expected}",
                    what(n)
                );
            }
        }
    }

    fn keep(&self, folder: &Path) {
        let path = |ending: &str| folder.join(format!("{}.{ending}", self.name));
        std::fs::write(path("onnx"), &self.bytes).unwrap();
        let computed = serde_json::to_vec(&(&self.inputs, &self.expected, self.tolerance)).unwrap();
        std::fs::write(path("json"), computed).unwrap();
    }

    /// A file that was kept.
    pub fn read(path: &Path) -> Self {
        let computed = std::fs::read(path.with_extension("json")).unwrap();
        let (inputs, expected, tolerance) = serde_json::from_slice(&computed).unwrap();
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            bytes: std::fs::read(path).unwrap(),
            inputs,
            expected,
            tolerance,
        }
    }
}

/// Each runtime that is there computes what is expected of each file.
pub fn check(files: &[File]) {
    let tract = tract(files).map(|outputs| ("tract", outputs));
    let onnx_runtime = onnx_runtime(files).map(|outputs| ("ONNX Runtime", outputs));
    for (runtime, outputs) in tract.into_iter().chain(onnx_runtime) {
        assert_eq!(outputs.len(), files.len());
        for (file, found) in files.iter().zip(&outputs) {
            file.assert_computed(found, runtime);
        }
    }
}

/// As [`check`], and the files are kept, if a folder is set.
pub fn check_and_keep(files: &[File]) {
    check(files);
    if let Some(folder) = kept() {
        files.iter().for_each(|file| file.keep(&folder));
    }
}

#[cfg(not(feature = "onnx"))]
fn tract(_: &[File]) -> Option<Vec<Outputs>> {
    None
}

#[cfg(feature = "onnx")]
fn tract(files: &[File]) -> Option<Vec<Outputs>> {
    use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, TVec, Tensor, TractResult};

    let run = |file: &File| -> TractResult<Outputs> {
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

/// A script of `benches/peers` to be run. `None`, with a line that says so, where there is no `python3` with onnxruntime.
pub fn onnx_runtime_script(name: &str) -> Option<Command> {
    let probe = Command::new("python3")
        .args(["-c", "import onnxruntime, numpy"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no python3 with onnxruntime and numpy; nothing was compared with ONNX Runtime");
        return None;
    }
    let mut command = Command::new("python3");
    command.arg(format!("{}/benches/peers/{name}", env!("CARGO_MANIFEST_DIR")));
    Some(command)
}

fn onnx_runtime(files: &[File]) -> Option<Vec<Outputs>> {
    let mut script = onnx_runtime_script("graph_onnx.py")?;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name);
    for File {
        name, bytes, inputs, ..
    } in files
    {
        std::fs::write(path(format!("{name}.onnx")), bytes).unwrap();
        for (n, (_, input)) in inputs.iter().enumerate() {
            let bytes: Vec<u8> = input.iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(path(format!("{name}.in{n}.bin")), bytes).unwrap();
        }
    }
    let output = script.arg(folder.path()).output().unwrap();
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
