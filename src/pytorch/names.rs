//! What PyTorch calls a parameter, and how it lays it out, for the networks of this crate.

use burn::tensor::TensorData;

use crate::models::{BLOCKS, Cnn8, GraphNet, Network, ResNet20, Vgg13};

/// A network whose parameters have names in the PyTorch scripts of VWC-SDK.
pub trait TorchNames: Network {
    /// What every parameter, running statistics included, is called there.
    fn torch_names(&self) -> Vec<TorchName>;
}

/// A parameter of a network and its counterpart in a PyTorch `state_dict`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TorchName {
    /// The parameter's path in the Burn module, `norms.0.gamma` for instance.
    pub path: String,
    /// Its name in PyTorch, `layers.4.weight` for instance.
    pub torch: String,
    /// How PyTorch lays it out.
    pub layout: TorchLayout,
    /// Its sizes in PyTorch, where it has the same numbers there in another shape: `[24, 1, 1]` for 24 numbers.
    pub shape: Option<Vec<usize>>,
}

impl TorchName {
    /// The sizes in PyTorch of a parameter with these.
    pub(super) fn shape_there(&self, here: &[usize]) -> Vec<usize> {
        match (&self.shape, self.layout) {
            (Some(shape), _) => shape.clone(),
            (None, TorchLayout::Transposed) => here.iter().rev().copied().collect(),
            (None, TorchLayout::Same) => here.to_vec(),
        }
    }

    /// The sizes of the parameter where PyTorch has `there`, and it had `before` with other widths.
    pub(super) fn shape_here(&self, there: &[usize], before: &[usize]) -> Vec<usize> {
        if self.shape.is_none() {
            return self.shape_there(there);
        }
        let long = |sizes: &[usize]| {
            sizes
                .iter()
                .copied()
                .filter(|&size| size != 1)
                .collect::<Vec<_>>()
        };
        let (found, mut shape) = (long(there), before.to_vec());
        if found.len() != long(before).len() {
            return there.to_vec();
        }
        let sizes = shape.iter_mut().filter(|size| **size != 1);
        sizes.zip(found).for_each(|(size, found)| *size = found);
        shape
    }

    /// Numbers as PyTorch has them, of the parameter's or the other way round. `shape`: theirs afterwards.
    pub(super) fn laid_out(&self, data: TensorData, shape: Vec<usize>) -> TensorData {
        let values = data.try_into_vec::<f32>().expect("they are 32-bit floats");
        let values = match (self.layout, &*shape) {
            (TorchLayout::Transposed, &[columns, rows]) => {
                let row = |column: usize| (0..rows).map(move |row| row * columns + column);
                (0..columns).flat_map(row).map(|n| values[n]).collect()
            }
            _ => values,
        };
        TensorData::new(values, shape)
    }
}

/// How PyTorch lays a parameter out, beside Burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TorchLayout {
    /// Alike.
    Same,
    /// A linear weight: outputs x inputs in PyTorch, inputs x outputs in Burn.
    Transposed,
}

fn name(path: String, torch: String, layout: TorchLayout) -> TorchName {
    TorchName {
        path,
        torch,
        layout,
        shape: None,
    }
}

/// Weight, and bias where there is one.
fn convolution(path: &str, torch: &str, bias: bool) -> Vec<TorchName> {
    weight_and_bias(path, torch, bias, TorchLayout::Same)
}

/// Weight, and bias where there is one.
fn linear(path: &str, torch: &str, bias: bool) -> Vec<TorchName> {
    weight_and_bias(path, torch, bias, TorchLayout::Transposed)
}

fn weight_and_bias(path: &str, torch: &str, bias: bool, layout: TorchLayout) -> Vec<TorchName> {
    let weight = name(format!("{path}.weight"), format!("{torch}.weight"), layout);
    let bias = bias.then(|| name(format!("{path}.bias"), format!("{torch}.bias"), TorchLayout::Same));
    std::iter::once(weight).chain(bias).collect()
}

/// The two trained vectors and the two running statistics.
fn batch_norm(path: &str, torch: &str) -> Vec<TorchName> {
    [
        ("gamma", "weight"),
        ("beta", "bias"),
        ("running_mean", "running_mean"),
        ("running_var", "running_var"),
    ]
    .into_iter()
    .map(|(ours, theirs)| {
        name(
            format!("{path}.{ours}"),
            format!("{torch}.{theirs}"),
            TorchLayout::Same,
        )
    })
    .collect()
}

impl TorchNames for Cnn8 {
    fn torch_names(&self) -> Vec<TorchName> {
        // Places in the original's `nn.Sequential`, in which pools, activations and the dropout count too. A batch norm lies
        // behind its convolution, and there is none behind the first and the last.
        const CONVS: [usize; 7] = [0, 3, 6, 10, 13, 16, 20];
        let mut names = Vec::new();
        for (n, (conv, place)) in self.convs.iter().zip(CONVS).enumerate() {
            let torch = format!("layers.{place}");
            names.extend(convolution(&format!("convs.{n}"), &torch, conv.bias.is_some()));
            if let Some(norm) = n.checked_sub(1).filter(|&norm| norm < self.norms.len()) {
                let torch = format!("layers.{}", place + 1);
                names.extend(batch_norm(&format!("norms.{norm}"), &torch));
            }
        }
        names.extend(linear("linear", "fc", true));
        names
    }
}

impl TorchNames for ResNet20 {
    fn torch_names(&self) -> Vec<TorchName> {
        let mut names = convolution("conv", "conv1", false);
        if self.norm.is_some() {
            names.extend(batch_norm("norm", "bn1"));
        }
        for (n, block) in self.blocks.iter().enumerate() {
            let ours = |part: &str| format!("blocks.{n}.{part}");
            let theirs = |part: &str| format!("layer{}.{}.{part}", n / BLOCKS + 1, n % BLOCKS);
            for place in 0..2 {
                let (conv, norm) = (format!("conv{place}"), format!("norm{place}"));
                names.extend(convolution(&ours(&conv), &theirs(&conv), false));
                names.extend(batch_norm(&ours(&norm), &theirs(&format!("bn{place}"))));
            }
            if block.shortcut.is_some() {
                names.extend(convolution(&ours("shortcut.conv"), &theirs("shortcut.0"), false));
                names.extend(batch_norm(&ours("shortcut.norm"), &theirs("shortcut.1")));
            }
        }
        if self.last_norm.is_some() {
            names.extend(batch_norm("last_norm", "bn"));
        }
        names.extend(linear("linear", "linear", true));
        names
    }
}

/// Its parameters have the names of the file that it was made from; steps of quantisers have no counterpart.
impl TorchNames for GraphNet {
    fn torch_names(&self) -> Vec<TorchName> {
        let names = self.parameter_constants().map(|(constant, matrix)| {
            let path = constant.name().unwrap_or_default().to_owned();
            let in_file = constant.in_file();
            // Of a matrix that no file had PyTorch's linear layers say how it is.
            let transposed = matrix && in_file.is_none_or(|in_file| in_file.turned);
            let layout = if transposed {
                TorchLayout::Transposed
            } else {
                TorchLayout::Same
            };
            TorchName {
                shape: in_file
                    .map(|in_file| in_file.shape.clone())
                    .filter(|_| !transposed),
                ..name(path.clone(), path, layout)
            }
        });
        names.collect()
    }
}

impl TorchNames for Vgg13 {
    fn torch_names(&self) -> Vec<TorchName> {
        let mut names = Vec::new();
        for (n, conv) in self.convs.iter().enumerate() {
            let (ours, theirs) = (format!("convs.{n}"), format!("conv{}", n + 1));
            names.extend(convolution(&ours, &theirs, conv.bias.is_some()));
        }
        for n in 0..self.hidden.len() {
            names.extend(linear(&format!("hidden.{n}"), &format!("fc{}", n + 1), false));
        }
        names.extend(linear("linear", "classifier", self.linear.bias.is_some()));
        names
    }
}
