//! Quantised weights for modules that know nothing of it, through Burn's reparameterizations.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;

use super::WeightQuantizer;
use crate::Error;

/// A weight that is quantised on the way to use: the state that Burn keeps beside the latent weight.
#[derive(Module, Debug)]
pub struct FakeQuantized {
    /// How.
    #[module(skip)]
    pub quantizer: WeightQuantizer,
    /// The step that [`WeightQuantizer::Lsq`] learns, `[1]`.
    pub step: Option<Param<Tensor<1>>>,
}

impl FakeQuantized {
    fn new<const D: usize>(quantizer: WeightQuantizer, weight: &Param<Tensor<D>>) -> Option<Self> {
        (quantizer != WeightQuantizer::Identity).then(|| Self {
            quantizer,
            step: quantizer.first_step(&weight.base()).map(Param::from_tensor),
        })
    }
}

impl Reparameterization for FakeQuantized {
    const NAME: &'static str = "quantizer";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        self.quantizer.with_step(base, self.step.as_ref().map(Param::val))
    }
}

/// Every weight of two dimensions and more: of convolutions and linear layers, not biases and batch norms.
impl Reparameterizer for WeightQuantizer {
    type Reparam = FakeQuantized;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<FakeQuantized>) {
        let state = if D > 1 {
            FakeQuantized::new(*self, &param)
        } else {
            None
        };
        (param, state)
    }
}

/// Which weights of a module are quantised, and how: what [`WeightQuantizer::on`] makes, at first all of two dimensions and
/// more. Displayed, a line for each.
///
/// A *pattern* is the path of a weight (`blocks.2.conv.weight`), or its beginning up to a dot (`blocks.2`); in it, `*` stands
/// for anything.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig, conv::{Conv2d, Conv2dConfig}};
/// use burn::tensor::Device;
/// use vwc_sdk::quant::{Bits, WeightQuantizer};
///
/// #[derive(Module, Debug)]
/// struct Net {
///     stem: Conv2d,
///     body: [Conv2d; 2],
///     head: Linear,
/// }
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let device = Device::default();
/// let conv = |channels| Conv2dConfig::new(channels, [3, 3]).init(&device);
/// let net = Net {
///     stem: conv([3, 8]),
///     body: [conv([8, 8]), conv([8, 8])],
///     head: LinearConfig::new(8, 10).init(&device),
/// };
/// let quantized = WeightQuantizer::new(Bits::ONE)
///     .on(&net)
///     .inner()
///     .with("body.1", WeightQuantizer::lsq(Bits::new(4)?))?;
/// assert_eq!(quantized.to_string(), "body.0.weight 8x8x3x3 1-bit DoReFa\nbody.1.weight 8x8x3x3 4-bit LSQ\n");
/// let net = net.apply_reparameterization(quantized);
/// # let _ = net;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct QuantizeWeights {
    weights: Vec<Weight>,
}

#[derive(Clone, Debug)]
struct Weight {
    path: String,
    shape: Vec<usize>,
    quantizer: WeightQuantizer,
}

impl QuantizeWeights {
    pub(super) fn new<M: Module>(quantizer: WeightQuantizer, module: &M) -> Self {
        let mut list = List {
            path: Vec::new(),
            quantizer,
            weights: Vec::new(),
        };
        module.visit(&mut list);
        Self {
            weights: list.weights,
        }
    }

    /// All but the first and the last, in the order of the module's fields: networks of few bits keep these two in full
    /// precision.
    #[must_use]
    pub fn inner(mut self) -> Self {
        self.leave(|n, last, _| n > 0 && n < last);
        self
    }

    /// The convolutions alone, by their weights of three dimensions and more, without the first and the last of them.
    #[must_use]
    pub fn inner_convs(mut self) -> Self {
        self.leave(|_, _, weight| weight.shape.len() > 2);
        self.inner()
    }

    /// Those that fit `pattern` alone.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where none does.
    pub fn only(mut self, pattern: &str) -> Result<Self, Error> {
        self.check(pattern)?;
        self.leave(|_, _, weight| fits(pattern, &weight.path));
        Ok(self)
    }

    /// Those that do not fit `pattern`.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where all stay.
    pub fn except(mut self, pattern: &str) -> Result<Self, Error> {
        self.check(pattern)?;
        self.leave(|_, _, weight| !fits(pattern, &weight.path));
        Ok(self)
    }

    /// Those that fit `pattern` in another way: with other bits, say.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where none does.
    pub fn with(mut self, pattern: &str, quantizer: WeightQuantizer) -> Result<Self, Error> {
        self.check(pattern)?;
        for weight in self.weights.iter_mut().filter(|w| fits(pattern, &w.path)) {
            weight.quantizer = quantizer;
        }
        Ok(self)
    }

    /// Paths of the weights, in the order of the module's fields.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.weights.iter().map(|weight| weight.path.as_str())
    }

    fn leave(&mut self, keep: impl Fn(usize, usize, &Weight) -> bool) {
        let last = self.weights.len().saturating_sub(1);
        let mut n = 0;
        self.weights.retain(|weight| {
            n += 1;
            keep(n - 1, last, weight)
        });
    }

    fn check(&self, pattern: &str) -> Result<(), Error> {
        if self.weights.iter().any(|weight| fits(pattern, &weight.path)) {
            return Ok(());
        }
        let paths: Vec<&str> = self.paths().collect();
        Err(Error::Parameter {
            path: pattern.into(),
            reason: format!("no weight fits it: expected some of {}", paths.join(", ")),
        })
    }
}

impl fmt::Display for QuantizeWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Weight {
            path,
            shape,
            quantizer,
        } in &self.weights
        {
            let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
            writeln!(f, "{path} {} {quantizer}", shape.join("x"))?;
        }
        Ok(())
    }
}

impl Reparameterizer for QuantizeWeights {
    type Reparam = FakeQuantized;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<FakeQuantized>) {
        let found = self.weights.iter().find(|weight| weight.path == path);
        let state = found.and_then(|weight| FakeQuantized::new(weight.quantizer, &param));
        (param, state)
    }
}

/// The weights of a module.
struct List {
    path: Vec<String>,
    quantizer: WeightQuantizer,
    weights: Vec<Weight>,
}

impl ModuleVisitor for List {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D > 1 {
            self.weights.push(Weight {
                path: self.path.join("."),
                shape: param.lazy_shape().to_vec(),
                quantizer: self.quantizer,
            });
        }
    }
}

/// Whether `pattern` is `path` or its beginning up to a dot, `*` standing for anything.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => (path.strip_prefix(pattern)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let places = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            places.into_iter().any(|at| fits(after, &rest[at..]))
        }),
    }
}
