//! Flags that say how layers of a network from a file are quantised, besides bits for all of them.

use std::path::PathBuf;

use clap::Args;

use super::layer_bits::{self, Line};
use super::steps::StepArgs;
use crate::Error;
use crate::models::{GraphNetConfig, QuantPlan};
use crate::quant::{ActivationQuantizer, Bits, Observer, WeightScheme};

/// Flags for how layers are quantised.
#[derive(Args, Clone, Debug, Default)]
pub struct PlanArgs {
    #[command(flatten, next_help_heading = "Network")]
    pub steps: StepArgs,

    /// Bits of the first layer and the last, weights and what they read [default: full precision]
    #[arg(long, value_name = "BITS", help_heading = "Network")]
    pub ends: Option<Bits>,

    /// What weights become: lsq, multiples of a learned step; dorefa, levels scaled by their mean magnitude; ternary (TWN) and
    /// abs-mean (BitNet), -1, 0 and 1 times a scale in layers of two bits, and lsq in others [default: lsq]
    #[arg(long, value_name = "QUANTISER", help_heading = "Network")]
    pub weights: Option<WeightScheme>,

    /// How what layers read is rounded: lsq, multiples of a learned step; lsq-plus, with a learned lowest code where it may be below
    /// zero; pact, a learned clip; dorefa, the unit interval. The last two are for what is not below zero, other values have lsq
    /// [default: lsq]
    #[arg(long, value_name = "QUANTISER", help_heading = "Network")]
    pub activations: Option<ActivationQuantizer>,

    /// Round what additions and concatenations read, too, as integer runtimes have it
    #[arg(long, help_heading = "Network")]
    pub joins: bool,

    /// Fold the batch norm behind a convolution into its weights before these are quantised, in training, too
    #[arg(long, help_heading = "Network")]
    pub fold_norms: bool,

    /// Layers with bits of their own, in a CSV file of lines like `layer1.*,8,8`: the path of a layer or its beginning, in which *
    /// stands for anything, bits of its weights, and of what it reads; 32 leaves them in full precision. The path of a layer counts before
    /// patterns that fit it, and of several patterns the last. The first line may be `layer,weights,activations`
    #[arg(long, value_name = "FILE.csv", help_heading = "Network")]
    pub layer_bits: Option<PathBuf>,

    /// How the first steps of what layers read follow from training pictures: least-error, min-max, or percentile:PERCENT, such as
    /// percentile:99.99. Training moves them from there [default: least-error]
    #[arg(long, value_name = "OBSERVER", help_heading = "Network")]
    pub observer: Option<Observer>,

    /// Whether fewer bits follow, so that flags for these may have no effect yet.
    #[arg(skip)]
    pub on_the_way: bool,
}

/// Why a flag for what is measured is refused where nothing is.
pub fn unmeasured(flag: &str, config: &GraphNetConfig) -> Error {
    let why = if config.rounded_values().is_empty() {
        "what layers read stays in full precision: give --ab, or leave the flag out"
    } else {
        "what layers read is rounded within the unit interval, so that there is no step to measure: leave the flag out"
    };
    Error::Recipe(format!("{flag}: {why}"))
}

impl PlanArgs {
    /// The first flag that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--ends", self.ends.is_some()),
            ("--weights", self.weights.is_some()),
            ("--activations", self.activations.is_some()),
            ("--joins", self.joins),
            ("--fold-norms", self.fold_norms),
            ("--layer-bits", self.layer_bits.is_some()),
            ("--observer", self.observer.is_some()),
        ];
        let mut flags = self.steps.flags().into_iter().chain(flags);
        flags.find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// How first steps are measured.
    pub fn observer(&self) -> Observer {
        self.observer.unwrap_or_default()
    }

    /// How first steps are measured, behind a comma, unless it is as it always is.
    pub fn observed(&self) -> String {
        match self.observer() {
            Observer::LeastError => String::new(),
            observer => format!(", steps by {observer}"),
        }
    }

    /// The flags that are given, as they are written, each behind a blank.
    pub fn written(&self) -> String {
        let mut written = self.steps.written();
        if let Some(bits) = self.ends {
            written += &format!(" --ends {bits}");
        }
        if let Some(scheme) = self.weights {
            written += &format!(" --weights {scheme}");
        }
        if let Some(quantizer) = self.activations {
            written += &format!(" --activations {quantizer}");
        }
        if self.joins {
            written += " --joins";
        }
        if self.fold_norms {
            written += " --fold-norms";
        }
        if let Some(observer) = self.observer {
            written += &format!(" --observer {observer}");
        }
        if let Some(path) = &self.layer_bits {
            written += &format!(" --layer-bits {}", path.display());
        }
        written
    }

    /// The plan with so many bits for layers that no flag names.
    ///
    /// # Errors
    ///
    /// A file of bits that cannot be read, and the first of its lines that is none.
    pub fn plan(&self, bits: [Bits; 2]) -> Result<QuantPlan, Error> {
        Ok(self.plan_with(bits, &self.lines()?))
    }

    /// `config` with the plan of so many bits for layers that no flag names.
    ///
    /// # Errors
    ///
    /// Those of [`plan`](Self::plan), a line that fits no layer, and flags without effect.
    pub fn applied_to(&self, config: GraphNetConfig, bits: [Bits; 2]) -> Result<GraphNetConfig, Error> {
        let lines = self.lines()?;
        if let Some(path) = &self.layer_bits {
            for Line { number, layer, .. } in &lines {
                let fits = config.check_pattern(layer, self.joins);
                fits.map_err(|reason| layer_bits::refused(path, format!("line {number}: {reason}")))?;
            }
        }
        let config = config.with_plan(self.plan_with(bits, &lines))?;
        match (config.without_effect(), self.observer) {
            _ if self.on_the_way => Ok(config),
            (Some(reason), _) => Err(Error::Recipe(reason)),
            (None, Some(observer)) if !config.measures_steps() => {
                Err(unmeasured(&format!("--observer {observer}"), &config))
            }
            _ => Ok(config),
        }
    }

    fn lines(&self) -> Result<Vec<Line>, Error> {
        let path = self.layer_bits.as_deref();
        path.map_or(Ok(Vec::new()), layer_bits::read)
    }

    fn plan_with(&self, [weights, activations]: [Bits; 2], lines: &[Line]) -> QuantPlan {
        let mut plan = QuantPlan::new(self.steps.steps(weights), activations)
            .with_weights(self.weights.unwrap_or_default())
            .with_activations(self.activations.unwrap_or_default())
            .with_joins(self.joins)
            .with_folded_norms(self.fold_norms);
        if let Some(bits) = self.ends {
            plan = plan.with_ends(bits);
        }
        lines.iter().fold(plan, |plan, line| {
            let [weights, activations] = line.bits;
            plan.with_layers(&line.layer, weights, activations)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::presets;

    #[test]
    fn flags_without_effect_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bits.csv");
        let with = |change: fn(&mut PlanArgs)| {
            let mut args = PlanArgs::default();
            change(&mut args);
            args
        };
        let net = |name: &str| GraphNetConfig::new(name, presets::sketch(name).unwrap()).unwrap();
        let [vgg, resnet] = ["vgg13", "resnet20"].map(net);
        let [one, two, full] = [Bits::ONE, Bits::TWO, Bits::FULL];
        let narrow = with(|args| args.steps.narrow = true);
        let per_channel = with(|args| args.steps.per_channel = true);
        let dorefa = with(|args| (args.steps.narrow, args.weights) = (true, Some(WeightScheme::Dorefa)));
        let ternary = with(|args| args.weights = Some(WeightScheme::Ternary));
        let joins = with(|args| args.joins = true);
        let offset = with(|args| args.activations = Some(ActivationQuantizer::LsqPlus));
        let pact = with(|args| args.activations = Some(ActivationQuantizer::Pact));
        let observer = with(|args| args.observer = Some(Observer::LeastError));
        let four = Bits::new(4).unwrap();
        for (args, config, bits, says) in [
            (
                &dorefa,
                &vgg,
                [two, two],
                "--narrow: --weights dorefa has no learned steps",
            ),
            (&narrow, &vgg, [one, two], "weights of one bit are signs"),
            (&per_channel, &vgg, [one, two], "weights of one bit are signs"),
            (
                &narrow,
                &vgg,
                [full, two],
                "weights stay in full precision: give --wb",
            ),
            (
                &ternary,
                &vgg,
                [four, four],
                "--weights ternary: it is for weights of two bits",
            ),
            (
                &joins,
                &resnet,
                [two, full],
                "--joins: what layers read stays in full precision: give --ab",
            ),
            (
                &joins,
                &vgg,
                [two, two],
                "--joins: the network has no addition or concatenation",
            ),
            (
                &offset,
                &vgg,
                [two, two],
                "no layer reads numbers that may be below zero",
            ),
            (
                &pact,
                &vgg,
                [two, full],
                "--activations pact: what layers read stays in full precision",
            ),
            (
                &observer,
                &vgg,
                [two, full],
                "--observer least-error: what layers read stays in full precision",
            ),
        ] {
            let error = args.applied_to(config.clone(), bits).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        for (args, config, bits) in [
            (&narrow, &vgg, [two, two]),
            (&ternary, &vgg, [two, two]),
            (&joins, &resnet, [two, two]),
            (&pact, &vgg, [full, two]),
            (&observer, &vgg, [two, two]),
        ] {
            args.applied_to(config.clone(), bits).unwrap();
        }
        // On the way to two bits there are other layers yet.
        let on_the_way = PlanArgs {
            on_the_way: true,
            ..ternary.clone()
        };
        on_the_way.applied_to(vgg.clone(), [four, four]).unwrap();
        // A layer of two bits by a file is one.
        let layer = vgg.clone().with_bits(four, four).unwrap().quantized_layers()[0]
            .layer
            .clone();
        std::fs::write(&file, format!("{layer},2,4\n")).unwrap();
        let by_file = PlanArgs {
            layer_bits: Some(file.clone()),
            ..ternary
        };
        by_file.applied_to(vgg.clone(), [four, four]).unwrap();
        // Names are matched by what they are like, in capitals or not.
        std::fs::write(&file, format!("{layer},2,4\n{},8,8\n", layer.to_uppercase())).unwrap();
        let error = by_file.applied_to(vgg, [four, four]).unwrap_err().to_string();
        assert!(
            error.contains("bits.csv: line 2: no layer fits")
                && error.contains(&format!("expected some of {layer}, ")),
            "{error}"
        );
    }
}
