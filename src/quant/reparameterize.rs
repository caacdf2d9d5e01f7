//! Quantised weights for modules that know nothing of it, through Burn's reparameterizations.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;

use super::WeightQuantizer;
use super::quantizer::filters;
use crate::Error;
use crate::module::REPARAMETERIZATION;
use crate::pattern::{fits, nearest};

/// A weight that is quantised on the way to use: the state that Burn keeps beside the latent weight.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct FakeQuantized {
    /// How.
    #[module(skip)]
    pub quantizer: WeightQuantizer,
    /// The dimension that runs over the filters, which [`WeightQuantizer::Xnor`] scales one by one.
    #[module(skip)]
    pub filters: usize,
    /// What [`WeightQuantizer::Lsq`] and [`WeightQuantizer::Steps`] learn: a step, `[1]`, or one for each filter.
    pub step: Option<Param<Tensor<1>>>,
}

impl FakeQuantized {
    fn new<const D: usize>(
        quantizer: WeightQuantizer,
        filters: usize,
        weight: &Param<Tensor<D>>,
    ) -> Option<Self> {
        (quantizer != WeightQuantizer::Identity).then(|| Self {
            quantizer,
            filters,
            step: quantizer
                .first_step(&weight.base(), filters)
                .map(Param::from_tensor),
        })
    }
}

/// Where the step of a weight stands, behind the weight's path.
pub(crate) const STEP: &str = ".quantizer.step";

impl Reparameterization for FakeQuantized {
    const NAME: &'static str = "quantizer";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let step = self.step.as_ref().map(Param::val);
        self.quantizer.with_step(base, step, self.filters)
    }
}

impl WeightQuantizer {
    /// This for every weight of `module`, to be narrowed down and then [applied](QuantizeWeights::apply).
    pub fn on<M: Module>(self, module: &M) -> QuantizeWeights {
        QuantizeWeights::new(self, module)
    }

    /// `layer`, one of ours, with this beside its weight where a step is learned.
    pub(super) fn beside_weight<M: Module>(self, layer: M) -> M {
        match self {
            Self::Lsq(_) | Self::Steps(_) => layer.apply_reparameterization(self),
            _ => layer,
        }
    }

    /// The weights to compute with, of a layer's parameter: one that has a quantiser beside it is not quantised once more.
    pub(super) fn of<const D: usize>(&self, weight: &Param<Tensor<D>>) -> Tensor<D> {
        match weight.reparameterization::<FakeQuantized>() {
            Some(_) => weight.val(),
            None => self.forward(weight.val()),
        }
    }
}

/// Every weight of two dimensions and more: of convolutions and linear layers, not biases and batch norms. One that has a
/// reparameterization keeps the one that it has; filters are taken to be where [`WeightQuantizer::forward`] has them, in transposed
/// convolutions too. [`WeightQuantizer::on`] knows those, says what is quantised, and chooses.
impl Reparameterizer for WeightQuantizer {
    type Reparam = FakeQuantized;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<FakeQuantized>) {
        let state = if D > 1 {
            FakeQuantized::new(*self, filters(D), &param)
        } else {
            None
        };
        (param, state)
    }
}

/// Which weights of a module are quantised, and how: what [`WeightQuantizer::on`] makes, at first all of two dimensions and
/// more. Displayed, a line for each.
///
/// Left out, and displayed as such, are weights of [`QuantConv2d`](super::QuantConv2d)s and
/// [`QuantLinear`](super::QuantLinear)s, whose quantiser is their own, known by these names, and weights that have a
/// reparameterization already: a quantiser, or an adapter.
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
/// let net = quantized.apply(net)?;
/// # let _ = net;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct QuantizeWeights {
    weights: Vec<Weight>,
    /// The weights that have a first and a last, by their places, and whether they are convolutions'.
    all: Vec<(usize, bool)>,
    /// Weights that are left to something else, and to what.
    taken: Vec<(Weight, &'static str)>,
}

#[derive(Clone, Debug)]
struct Weight {
    path: String,
    /// Among all weights of the module.
    place: usize,
    shape: Vec<usize>,
    /// The dimension that runs over the filters.
    filters: usize,
    quantizer: WeightQuantizer,
}

impl Weight {
    /// Of three dimensions and more, and called a weight: a position embedding is not.
    fn is_conv(&self) -> bool {
        self.shape.len() > 2 && self.path.rsplit('.').next() == Some("weight")
    }
}

impl QuantizeWeights {
    pub(super) fn new<M: Module>(quantizer: WeightQuantizer, module: &M) -> Self {
        let mut list = List {
            path: Vec::new(),
            ours: None,
            transposed: false,
            beside: 0,
            quantizer,
            weights: Vec::new(),
            taken: Vec::new(),
        };
        module.visit(&mut list);
        let List { weights, taken, .. } = list;
        let all = weights.iter().chain(taken.iter().map(|(weight, _)| weight));
        Self {
            all: all.map(|weight| (weight.place, weight.is_conv())).collect(),
            weights,
            taken,
        }
    }

    /// `module`, the one that this was made of or one like it, with these weights quantised: Burn's
    /// [`apply_reparameterization`](Module::apply_reparameterization), where it does what is planned here.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where no weight is left to quantise, or where `module` has not one of the weights, has it in
    /// another shape, or quantises it already.
    pub fn apply<M: Module>(self, module: M) -> Result<M, Error> {
        let refuse = |path: &str, reason: String| {
            let path = path.to_owned();
            Err(Error::Parameter { path, reason })
        };
        if (self.weights.iter()).all(|weight| weight.quantizer == WeightQuantizer::Identity) {
            let mut reason = "no weight is left to quantise".to_owned();
            for (weight, by) in &self.taken {
                reason = format!("{reason}; {} is left to {by}", weight.path);
            }
            return refuse("the module", reason);
        }
        let there = Self::new(WeightQuantizer::Identity, &module);
        for weight in &self.weights {
            let path = &weight.path;
            if let Some((_, by)) = there.taken.iter().find(|(other, _)| other.path == *path) {
                return refuse(path, format!("it is left to {by}"));
            }
            match there.weights.iter().find(|other| other.path == *path) {
                None => return refuse(path, "the module has no such weight: plan for this module".into()),
                Some(other) if other.shape != weight.shape => {
                    let reason = format!(
                        "it is {:?}, and was {:?} in the module that was planned for",
                        other.shape, weight.shape
                    );
                    return refuse(path, reason);
                }
                Some(_) => {}
            }
        }
        Ok(module.apply_reparameterization(self))
    }

    /// All but the module's first and last, in the order of its fields: networks of few bits keep these two in full
    /// precision. Counted is what is left to others too, and not what was taken out by [`except`](Self::except).
    #[must_use]
    pub fn inner(mut self) -> Self {
        let ends = self.ends(false);
        self.weights.retain(|weight| !ends.contains(&weight.place));
        self
    }

    /// The convolutions alone, by their parameters `weight` of three dimensions and more, without the module's first and last of
    /// them. Counted as by [`inner`](Self::inner).
    #[must_use]
    pub fn inner_convs(mut self) -> Self {
        let ends = self.ends(true);
        self.weights
            .retain(|weight| weight.is_conv() && !ends.contains(&weight.place));
        self
    }

    /// The places of the first and the last.
    fn ends(&self, convs: bool) -> Vec<usize> {
        let places = || {
            self.all
                .iter()
                .filter(|(_, conv)| *conv || !convs)
                .map(|(place, _)| *place)
        };
        places().min().into_iter().chain(places().max()).collect()
    }

    /// Those that fit `pattern` alone.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where none does.
    pub fn only(mut self, pattern: &str) -> Result<Self, Error> {
        self.check(pattern)?;
        self.weights.retain(|weight| fits(pattern, &weight.path));
        Ok(self)
    }

    /// Those that do not fit `pattern`.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where all stay.
    pub fn except(mut self, pattern: &str) -> Result<Self, Error> {
        self.check(pattern)?;
        let gone: Vec<usize> = (self.weights.iter())
            .filter(|weight| fits(pattern, &weight.path))
            .map(|weight| weight.place)
            .collect();
        self.weights.retain(|weight| !gone.contains(&weight.place));
        self.all.retain(|(place, _)| !gone.contains(place));
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

    /// The weights at these paths in these ways.
    pub(crate) fn each(mut self, quantizers: &[(String, WeightQuantizer)]) -> Self {
        for weight in &mut self.weights {
            if let Some((_, quantizer)) = quantizers.iter().find(|(path, _)| *path == weight.path) {
                weight.quantizer = *quantizer;
            }
        }
        self
    }

    /// Paths of the weights, in the order of the module's fields.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.weights.iter().map(|weight| weight.path.as_str())
    }

    fn check(&self, pattern: &str) -> Result<(), Error> {
        if self.weights.iter().any(|weight| fits(pattern, &weight.path)) {
            return Ok(());
        }
        let taken = self.taken.iter().find(|(weight, _)| fits(pattern, &weight.path));
        let reason = match taken {
            Some((weight, by)) => format!("{} is left to {by}", weight.path),
            None => {
                let nearest = nearest(pattern, self.paths());
                format!("no weight fits it: expected some of {}", nearest.join(", "))
            }
        };
        Err(Error::Parameter {
            path: format!("{pattern:?}"),
            reason,
        })
    }
}

impl fmt::Display for QuantizeWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for weight in &self.weights {
            writeln!(f, "{weight} {}", weight.quantizer)?;
        }
        for (weight, by) in &self.taken {
            writeln!(f, "{weight} left to {by}")?;
        }
        Ok(())
    }
}

/// Path and shape.
impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{} {}", self.path, shape.join("x"))
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
        let state = found.and_then(|weight| FakeQuantized::new(weight.quantizer, weight.filters, &param));
        (param, state)
    }
}

/// The weights of a module.
struct List {
    path: Vec<String>,
    /// The layer of ours that is being visited.
    ours: Option<&'static str>,
    /// Whether it is a transposed convolution.
    transposed: bool,
    /// Above 0 within what stands beside a weight.
    beside: usize,
    quantizer: WeightQuantizer,
    weights: Vec<Weight>,
    taken: Vec<(Weight, &'static str)>,
}

impl ModuleVisitor for List {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.into());
        self.ours = match container {
            "Struct:QuantConv2d" => Some("its QuantConv2d"),
            "Struct:QuantLinear" => Some("its QuantLinear"),
            _ => None,
        };
        self.transposed = container.starts_with("Struct:ConvTranspose");
        if container == REPARAMETERIZATION {
            self.beside += 1;
            // It is visited after its weight, below the weight's path.
            let path = self.path[..self.path.len() - 1].join(".");
            if let Some(weight) = self.weights.pop_if(|weight| weight.path == path) {
                self.taken.push((weight, "the reparameterization that it has"));
            }
        }
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        if container == REPARAMETERIZATION {
            self.beside -= 1;
        }
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D > 1 && self.beside == 0 {
            let weight = Weight {
                path: self.path.join("."),
                place: self.weights.len() + self.taken.len(),
                shape: param.lazy_shape().to_vec(),
                filters: if self.transposed { 1 } else { filters(D) },
                quantizer: self.quantizer,
            };
            match self.ours {
                Some(layer) => self.taken.push((weight, layer)),
                None => self.weights.push(weight),
            }
        }
    }
}
