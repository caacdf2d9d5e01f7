//! Why a cost model cannot be used.

use thiserror::Error;

/// Why a cost model cannot be read, or says nothing of an array.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CostError {
    /// A name that is none.
    #[error("there is no cost model `{name}`: expected {expected}, or a file whose name ends in .toml")]
    Model {
        /// The name.
        name: String,
        /// The models there are.
        expected: String,
    },
    /// A file that is no TOML, or has other entries than a model has.
    #[error("{file}: {error}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        error: String,
    },
    /// A constant that a formula needs and that is missing.
    #[error(
        "{name} is missing: expected {expected}, as {{ value = 1.5, unit = \"pJ\", node = 32, source = \"...\" }}"
    )]
    Missing {
        /// The constant.
        name: String,
        /// What it has to be.
        expected: String,
    },
    /// A constant of another unit, below zero, or no number.
    #[error("{name} is {found}: expected {expected}")]
    Constant {
        /// The constant.
        name: String,
        /// What it is.
        found: String,
        /// What it has to be.
        expected: String,
    },
    /// A constant that no formula of the component has.
    #[error("{name}: no formula of this component has such a constant: leave it out, or check its name")]
    Unknown {
        /// The constant.
        name: String,
    },
    /// A formula that is none.
    #[error("{name}: there is no form `{form}`: expected {expected}")]
    Form {
        /// The component.
        name: String,
        /// The form.
        form: String,
        /// The forms there are.
        expected: String,
    },
    /// A model without a converter of so many bits.
    #[error(
        "cost model {model} has converters of {most} bits at most, not of {bits}: give --adc-bits {most} or fewer, or another model"
    )]
    Bits {
        /// The model.
        model: String,
        /// The bits asked for.
        bits: u32,
        /// The most bits of its converters.
        most: u32,
    },
}
