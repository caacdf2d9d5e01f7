//! What the constants of a cost model are measured in.
//!
//! Sums are in pJ, ns, um2 and mW, which is pJ in a ns. A constant is given in the unit of its source.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a quantity is, whatever its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dimension {
    Number,
    Energy,
    Time,
    Area,
    /// In squares of the node's length.
    Squares,
    Power,
    Voltage,
    Capacitance,
    Rate,
    Resistance,
}

macro_rules! units {
    ($($(#[$doc:meta])* $unit:ident $name:literal $dimension:ident $factor:literal,)+) => {
        /// The unit of a [`Constant`](super::Constant).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Unit {
            $($(#[$doc])* #[serde(rename = $name)] $unit,)+
        }

        impl Unit {
            const ALL: &[Self] = &[$(Self::$unit,)+];

            /// What it measures, and how much of the unit that sums are in it is.
            fn parts(self) -> (&'static str, Dimension, f64) {
                match self {
                    $(Self::$unit => ($name, Dimension::$dimension, $factor),)+
                }
            }
        }
    };
}

units! {
    /// None: a number.
    One "1" Number 1.0,
    /// Femtojoule.
    Femtojoule "fJ" Energy 1e-3,
    /// Picojoule.
    Picojoule "pJ" Energy 1.0,
    /// Nanojoule.
    Nanojoule "nJ" Energy 1e3,
    /// Picosecond.
    Picosecond "ps" Time 1e-3,
    /// Nanosecond.
    Nanosecond "ns" Time 1.0,
    /// Microsecond.
    Microsecond "us" Time 1e3,
    /// Square micrometre.
    SquareMicrometre "um2" Area 1.0,
    /// Square millimetre.
    SquareMillimetre "mm2" Area 1e6,
    /// Squares of the node's length.
    Squares "F2" Squares 1.0,
    /// Microwatt.
    Microwatt "uW" Power 1e-3,
    /// Milliwatt.
    Milliwatt "mW" Power 1.0,
    /// Volt.
    Volt "V" Voltage 1.0,
    /// Femtofarad.
    Femtofarad "fF" Capacitance 1.0,
    /// Million samples in a second.
    MegasamplesPerSecond "MS/s" Rate 1e-3,
    /// Thousand million samples in a second.
    GigasamplesPerSecond "GS/s" Rate 1.0,
    /// Kiloohm.
    Kiloohm "kOhm" Resistance 1.0,
}

impl Unit {
    pub(super) fn dimension(self) -> Dimension {
        self.parts().1
    }

    /// How much of the unit that sums are in it is.
    pub(super) fn factor(self) -> f64 {
        self.parts().2
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.parts().0)
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "a number",
            Self::Energy => "an energy",
            Self::Time => "a time",
            Self::Area | Self::Squares => "an area",
            Self::Power => "a power",
            Self::Voltage => "a voltage",
            Self::Capacitance => "a capacitance",
            Self::Rate => "a rate",
            Self::Resistance => "a resistance",
        })?;
        let units = Unit::ALL.iter().filter(|unit| unit.dimension() == *self);
        let names: Vec<String> = units.map(|unit| format!("`{unit}`")).collect();
        write!(f, " in {}", names.join(" or "))
    }
}
