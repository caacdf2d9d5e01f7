//! Flags that say how layers of a network from a file are quantised, besides bits for all of them.

use std::path::PathBuf;

use clap::Args;

use crate::Error;
use crate::files;
use crate::models::QuantPlan;
use crate::quant::{ActivationQuantizer, Bits, LearnedSteps, Observer, WeightScheme};

/// Flags for the steps of weights.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct StepArgs {
    /// A step for each filter of a layer's weights, not one for all of them; for networks from files and presets
    #[arg(long)]
    pub per_channel: bool,

    /// Leave out the lowest code of weights, so that there are as many below zero as above; two bits are ternary then; for networks
    /// from files and presets
    #[arg(long)]
    pub narrow: bool,
}

impl StepArgs {
    /// The flags, and whether each is given.
    fn flags(self) -> [(&'static str, bool); 2] {
        [("--per-channel", self.per_channel), ("--narrow", self.narrow)]
    }

    /// The flags that are given, as they are written, each behind a blank.
    pub fn written(self) -> String {
        let given = self.flags().into_iter().filter(|(_, given)| *given);
        given.map(|(flag, _)| format!(" {flag}")).collect()
    }

    /// Steps of weights with so many bits.
    pub fn steps(self, bits: Bits) -> LearnedSteps {
        LearnedSteps::new(bits)
            .with_per_filter(self.per_channel)
            .with_narrow(self.narrow)
    }
}

/// Flags for how layers are quantised.
#[derive(Args, Clone, Debug, Default)]
pub struct PlanArgs {
    #[command(flatten, next_help_heading = "Network")]
    pub steps: StepArgs,

    /// Bits of the first layer and the last, weights and what they read [default: full precision]
    #[arg(long, value_name = "BITS", help_heading = "Network")]
    pub ends: Option<Bits>,

    /// What weights become: lsq, multiples of a learned step; dorefa, levels scaled by their mean magnitude; ternary (TWN) and
    /// abs-mean (BitNet), -1, 0 and 1 times a scale where a layer has two bits
    #[arg(long, value_name = "QUANTISER", default_value_t, help_heading = "Network")]
    pub weights: WeightScheme,

    /// How what layers read is rounded: lsq, multiples of a learned step; lsq-plus, with a learned lowest code where it may be below
    /// zero; pact, a learned clip; dorefa, the unit interval. The last two are for what is not below zero, other values have lsq
    #[arg(long, value_name = "QUANTISER", default_value_t, help_heading = "Network")]
    pub activations: ActivationQuantizer,

    /// Round what additions and concatenations read, too, as integer runtimes have it
    #[arg(long, help_heading = "Network")]
    pub joins: bool,

    /// Fold the batch norm behind a convolution into its weights before these are quantised, in training, too
    #[arg(long, help_heading = "Network")]
    pub fold_norms: bool,

    /// Layers with bits of their own, in a CSV file of lines like `layer1.*,8,8`: the path of a layer or its beginning, in which *
    /// stands for anything, bits of its weights, and of what it reads; 32 leaves them in full precision. The first line may be
    /// `layer,weights,activations`
    #[arg(long, value_name = "FILE.csv", help_heading = "Network")]
    pub layer_bits: Option<PathBuf>,

    /// How the first steps of what layers read follow from training pictures: least-error, min-max, or percentile:PERCENT, such as
    /// percentile:99.99. Training moves them from there
    #[arg(long, value_name = "OBSERVER", default_value_t, help_heading = "Network")]
    pub observer: Observer,
}

/// The head that a file of bits may have.
pub const HEAD: [&str; 3] = ["layer", "weights", "activations"];

/// The longest file of bits, in bytes.
const MAX_BYTES: u64 = 1 << 20;

impl PlanArgs {
    /// The first flag that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--ends", self.ends.is_some()),
            ("--weights", self.weights != WeightScheme::Lsq),
            ("--activations", self.activations != ActivationQuantizer::Lsq),
            ("--joins", self.joins),
            ("--fold-norms", self.fold_norms),
            ("--layer-bits", self.layer_bits.is_some()),
            ("--observer", self.observer != Observer::LeastError),
        ];
        let mut flags = self.steps.flags().into_iter().chain(flags);
        flags.find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// How first steps are measured, behind a comma, unless it is as it always is.
    pub fn observed(&self) -> String {
        match self.observer {
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
        if self.weights != WeightScheme::Lsq {
            written += &format!(" --weights {}", self.weights);
        }
        if self.activations != ActivationQuantizer::Lsq {
            written += &format!(" --activations {}", self.activations);
        }
        if self.joins {
            written += " --joins";
        }
        if self.fold_norms {
            written += " --fold-norms";
        }
        if self.observer != Observer::LeastError {
            written += &format!(" --observer {}", self.observer);
        }
        if let Some(path) = &self.layer_bits {
            written += &format!(" --layer-bits {}", path.display());
        }
        written
    }

    /// The first flag that would change nothing, and why.
    fn without_effect(&self, [weights, activations]: [Bits; 2]) -> Option<(&'static str, String)> {
        let named = self.layer_bits.is_some() || self.ends.is_some();
        let step = self.steps.flags().into_iter().find(|(_, given)| *given);
        if let (Some((flag, _)), true) = (step, self.weights != WeightScheme::Lsq) {
            let why = format!(
                "it is for learned steps, and --weights {} has none: leave out one of them",
                self.weights
            );
            return Some((flag, why));
        }
        if named {
            return None;
        }
        let of_weights = step
            .map(|(flag, _)| flag)
            .or((self.weights != WeightScheme::Lsq).then_some("--weights"));
        if let (Some(flag), true) = (of_weights, weights == Bits::FULL) {
            return Some((flag, "weights stay in full precision: give --wb".into()));
        }
        if self.steps.narrow && weights == Bits::ONE {
            return Some((
                "--narrow",
                "weights of one bit are signs, and have no lowest code to leave out: leave it out".into(),
            ));
        }
        let of_activations = [
            ("--activations", self.activations != ActivationQuantizer::Lsq),
            ("--joins", self.joins),
            ("--observer", self.observer != Observer::LeastError),
        ];
        let given = of_activations.into_iter().find(|(_, given)| *given)?;
        let why = "activations stay in full precision: give --ab";
        (activations == Bits::FULL).then(|| (given.0, why.into()))
    }

    /// The plan with so many bits for layers that no flag names.
    ///
    /// # Errors
    ///
    /// A flag without effect; a file that cannot be read, and the first of its lines that is none.
    pub fn plan(&self, [weights, activations]: [Bits; 2]) -> Result<QuantPlan, Error> {
        if let Some((flag, why)) = self.without_effect([weights, activations]) {
            return Err(Error::Recipe(format!("{flag}: {why}")));
        }
        let mut plan = QuantPlan::new(self.steps.steps(weights), activations)
            .with_weights(self.weights)
            .with_activations(self.activations)
            .with_joins(self.joins)
            .with_folded_norms(self.fold_norms);
        if let Some(bits) = self.ends {
            plan = plan.with_ends(bits);
        }
        let Some(path) = &self.layer_bits else {
            return Ok(plan);
        };
        let refuse = |what: String| Error::Recipe(format!("--layer-bits {}: {what}", path.display()));
        let bytes = files::read_up_to(path, MAX_BYTES).map_err(Error::io(path, "read"))?;
        let bytes = bytes.ok_or_else(|| refuse(format!("it is longer than {MAX_BYTES} bytes")))?;
        let text = String::from_utf8(bytes).map_err(|_| refuse("it is no text in UTF-8".into()))?;
        if text.trim_start_matches('\u{feff}').trim().is_empty() {
            return Err(refuse(
                "it is empty: expected lines of a layer, bits of its weights and of what it reads, as `layer1.*,8,8`".into(),
            ));
        }
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        for (n, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [layer, weights, activations] = fields[..] else {
                return Err(refuse(format!(
                    "line {} has {} fields: expected a layer, bits of its weights and of what it reads, as `layer1.*,8,8`",
                    n + 1,
                    fields.len()
                )));
            };
            if n == 0 && fields == HEAD {
                continue;
            }
            let bits = |text: &str| {
                text.parse::<Bits>()
                    .map_err(|error| refuse(format!("line {}: {error}", n + 1)))
            };
            plan = plan.with_layers(layer, bits(weights)?, bits(activations)?);
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_bits_are_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bits.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let args = PlanArgs {
                layer_bits: Some(path.clone()),
                ..PlanArgs::default()
            };
            args.plan([Bits::TWO; 2]).map_err(|error| error.to_string())
        };
        let dorefa = PlanArgs {
            weights: WeightScheme::Dorefa,
            steps: StepArgs {
                narrow: true,
                ..StepArgs::default()
            },
            ..PlanArgs::default()
        };
        let error = dorefa.plan([Bits::TWO; 2]).unwrap_err().to_string();
        assert!(error.contains("--narrow: it is for learned steps"), "{error}");
        let without_effect = |args: PlanArgs, bits: [Bits; 2]| args.plan(bits).unwrap_err().to_string();
        let narrow = StepArgs {
            narrow: true,
            ..StepArgs::default()
        };
        let steps = |steps| PlanArgs {
            steps,
            ..PlanArgs::default()
        };
        let error = without_effect(steps(narrow), [Bits::ONE, Bits::TWO]);
        assert!(error.contains("--narrow: weights of one bit"), "{error}");
        let error = without_effect(steps(narrow), [Bits::FULL, Bits::TWO]);
        assert!(
            error.contains("--narrow: weights stay in full precision"),
            "{error}"
        );
        let joins = PlanArgs {
            joins: true,
            ..PlanArgs::default()
        };
        let error = without_effect(joins.clone(), [Bits::TWO, Bits::FULL]);
        assert!(
            error.contains("--joins: activations stay in full precision"),
            "{error}"
        );
        assert!(joins.plan([Bits::TWO; 2]).is_ok());
        let bits = |bits| Bits::new(bits).unwrap();
        let plan = || QuantPlan::new(Bits::TWO, Bits::TWO);
        assert_eq!(
            read("layer,weights,activations\nlayer1.*, 8,4\n\nfc,32,32\n").unwrap(),
            plan()
                .with_layers("layer1.*", bits(8), bits(4))
                .with_layers("fc", Bits::FULL, Bits::FULL)
        );
        assert_eq!(read("layer,weights,activations\n").unwrap(), plan());
        for (text, says) in [
            ("\u{feff}", "it is empty"),
            (" \n\n", "it is empty"),
            ("a,8\n", "line 1 has 2 fields"),
            ("a,8,8\nb,9,8\n", "line 2: '9' is not a bit width"),
            ("a,8,x\n", "line 1: 'x' is not a bit width"),
            ("a,w4,a4\n", "line 1: 'w4' is not a bit width"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says) && error.contains("bits.csv"), "{error}");
        }
    }
}
