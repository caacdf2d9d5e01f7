//! What PyTorch calls a parameter, and how it lays it out.

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
    TorchName { path, torch, layout }
}

/// Weight, and bias where there is one.
pub(super) fn convolution(path: &str, torch: &str, bias: bool) -> Vec<TorchName> {
    weight_and_bias(path, torch, bias, TorchLayout::Same)
}

/// Weight, and bias where there is one.
pub(super) fn linear(path: &str, torch: &str, bias: bool) -> Vec<TorchName> {
    weight_and_bias(path, torch, bias, TorchLayout::Transposed)
}

fn weight_and_bias(path: &str, torch: &str, bias: bool, layout: TorchLayout) -> Vec<TorchName> {
    let weight = name(format!("{path}.weight"), format!("{torch}.weight"), layout);
    let bias = bias.then(|| name(format!("{path}.bias"), format!("{torch}.bias"), TorchLayout::Same));
    std::iter::once(weight).chain(bias).collect()
}

/// The two trained vectors and the two running statistics.
pub(super) fn batch_norm(path: &str, torch: &str) -> Vec<TorchName> {
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
