//! Flags for the steps that weights are multiples of.

use clap::Args;

use crate::quant::{Bits, LearnedSteps};

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

    /// Steps of weights that are powers of two; those of what layers read stay as they are. For networks from files and presets
    #[arg(long)]
    pub power_of_two: bool,
}

impl StepArgs {
    /// The flags, and whether each is given.
    pub fn flags(self) -> [(&'static str, bool); 3] {
        [
            ("--per-channel", self.per_channel),
            ("--narrow", self.narrow),
            ("--power-of-two", self.power_of_two),
        ]
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
            .with_power_of_two(self.power_of_two)
    }
}
