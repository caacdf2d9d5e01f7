//! What one conversion takes, by the formula of each model.

use super::CostError;
use super::section::{Reader, Section};
use super::unit::Dimension;

/// What one conversion takes, and the area of a converter. None where a model does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Conversion {
    /// In pJ.
    pub energy: f64,
    /// In ns.
    pub time: Option<f64>,
    /// In um2.
    pub area: Option<f64>,
}

/// An analogue-to-digital converter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Adc {
    /// The same whatever the bits, up to so many.
    Fixed {
        bits: u32,
        conversion: Conversion,
    },
    /// One of these: that of the fewest bits that are enough, and of those that with the least energy.
    Entries(Vec<(u32, Conversion)>),
    Accelergy(Accelergy),
    ZigZag(ZigZag),
    NeuroSim(NeuroSim),
}

/// The regression over published converters of Accelergy's plug-in, as hwcomponents-adc has it (arXiv 2404.06553).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Accelergy {
    node: f64,
    /// In samples a second.
    rate: f64,
    /// The figure of merit: what it is at a rate, and what it is at most.
    merit: [f64; 2],
    merit_most: [f64; 2],
    energy: [f64; 4],
    area: [f64; 4],
}

impl Accelergy {
    fn new(of: &mut Reader<'_>) -> Result<Self, CostError> {
        let mut numbers = |prefix: &str, names: &[&str]| -> Result<Vec<f64>, CostError> {
            let names = names.iter();
            names
                .map(|name| of.get(&format!("{prefix}_{name}"), Dimension::Number))
                .collect()
        };
        let two = |numbers: Vec<f64>| [numbers[0], numbers[1]];
        let four = |numbers: Vec<f64>| [numbers[0], numbers[1], numbers[2], numbers[3]];
        let merit = two(numbers("merit", &["first", "rate"])?);
        let merit_most = two(numbers("merit_most", &["first", "bits"])?);
        let energy = four(numbers("energy", &["first", "node", "bits", "optimism"])?);
        let area = four(numbers("area", &["first", "node", "rate", "energy"])?);
        Ok(Self {
            node: of.get("node", Dimension::Number)?,
            rate: of.get("rate", Dimension::Rate)? * 1e9,
            merit,
            merit_most,
            energy,
            area,
        })
    }

    fn conversion(&self, bits: u32) -> Conversion {
        let [bits, ln_node, ln_rate] = [f64::from(bits.max(4)), self.node.ln(), self.rate.ln()];
        let at_rate = self.merit[0] + self.merit[1] * ln_rate;
        let most = self.merit_most[0] + self.merit_most[1] * bits.ceil();
        let signal_to_noise = 20.0 * bits * 2f64.log10() + 10.0 * 1.5f64.log10();
        let [first, node, of_bits, optimism] = self.energy;
        let energy = 0.5
            * 10f64.powf((signal_to_noise - at_rate.min(most)) / 10.0)
            * (first + node * ln_node + of_bits * bits.ln() + optimism).exp();
        let [first, node, rate, of_energy] = self.area;
        let area = (first + node * ln_node + rate * ln_rate + of_energy * energy.ln()).exp();
        Conversion {
            energy,
            time: Some(1e9 / self.rate),
            area: Some(area),
        }
    }
}

/// The SAR converter of ZigZag-IMC, one for each column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ZigZag {
    voltage: f64,
    /// In fF.
    per_bit: f64,
    per_code: f64,
    area: [f64; 2],
    /// In ns, for a bit.
    per_row: f64,
    fixed: f64,
}

impl ZigZag {
    fn new(of: &mut Reader<'_>) -> Result<Self, CostError> {
        Ok(Self {
            voltage: of.get("voltage", Dimension::Voltage)?,
            per_bit: of.get("capacitance_per_bit", Dimension::Capacitance)?,
            per_code: of.get("capacitance_per_code", Dimension::Capacitance)?,
            area: [
                of.get("area_exponent", Dimension::Number)?,
                of.get("area_exponent_per_bit", Dimension::Number)?,
            ],
            per_row: of.get("time_per_row", Dimension::Time)?,
            fixed: of.get("time_per_bit", Dimension::Time)?,
        })
    }

    fn conversion(&self, bits: u32, rows: usize) -> Conversion {
        let bits = f64::from(bits);
        let capacitance = self.per_bit * bits + self.per_code * 4f64.powf(bits);
        Conversion {
            energy: capacitance * self.voltage * self.voltage * 1e-3,
            time: Some(bits * (self.per_row * rows as f64 + self.fixed)),
            area: Some(10f64.powf(self.area[0] + self.area[1] * bits) * 2f64.powf(bits)),
        }
    }
}

/// The SAR converter of NeuroSim V1.4, `SarADC.cpp`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NeuroSim {
    /// In mW.
    per_bit: f64,
    fixed: f64,
    of_column: f64,
    exponent: f64,
    /// In ohm.
    column: f64,
    /// In ns, for a bit and one more.
    time: f64,
}

impl NeuroSim {
    fn new(of: &mut Reader<'_>) -> Result<Self, CostError> {
        Ok(Self {
            per_bit: of.get("power_per_bit", Dimension::Power)?,
            fixed: of.get("power", Dimension::Power)?,
            of_column: of.get("power_of_column", Dimension::Power)?,
            exponent: of.get("column_exponent", Dimension::Number)?,
            column: of.get("column_resistance", Dimension::Resistance)? * 1e3,
            time: of.get("time_per_bit", Dimension::Time)?,
        })
    }

    fn conversion(&self, bits: u32) -> Conversion {
        let bits = f64::from(bits);
        let column = self.of_column * (-self.exponent * self.column.log10()).exp();
        let time = (bits + 1.0) * self.time;
        Conversion {
            energy: (self.per_bit * bits + self.fixed + column) * time,
            time: Some(time),
            area: None,
        }
    }
}

impl Adc {
    pub fn new(section: &Section, place: &str) -> Result<Self, CostError> {
        let mut of = Reader::new(place.to_owned(), &section.constants);
        let adc = match section.form.as_deref() {
            None => Self::Fixed {
                bits: of.get("bits", Dimension::Number)? as u32,
                conversion: Conversion {
                    energy: of.get("energy", Dimension::Energy)?,
                    time: of.option("time", Dimension::Time)?,
                    area: of.option("area", Dimension::Area)?,
                },
            },
            Some("power-of-entries") => {
                let extra = of.get("extra_clocks", Dimension::Number)?;
                let entries = section.entries.iter().enumerate().map(|(n, entry)| {
                    let mut of = Reader::new(format!("{place}.entries[{n}]"), entry);
                    let bits = of.get("bits", Dimension::Number)?;
                    let time = (bits + extra) / of.get("rate", Dimension::Rate)?;
                    let conversion = Conversion {
                        energy: of.get("power", Dimension::Power)? * time,
                        time: Some(time),
                        area: of.option("area", Dimension::Area)?,
                    };
                    of.finish()?;
                    Ok((bits as u32, conversion))
                });
                Self::Entries(entries.collect::<Result<_, CostError>>()?)
            }
            Some("accelergy") => Self::Accelergy(Accelergy::new(&mut of)?),
            Some("zigzag") => Self::ZigZag(ZigZag::new(&mut of)?),
            Some("neurosim") => Self::NeuroSim(NeuroSim::new(&mut of)?),
            Some(form) => {
                return Err(CostError::Form {
                    name: place.to_owned(),
                    form: form.to_owned(),
                    expected: "accelergy, zigzag, neurosim or power-of-entries, or none for constants"
                        .to_owned(),
                });
            }
        };
        of.finish()?;
        Ok(adc)
    }

    /// What a conversion of so many bits takes, of a column of so many rows; the most bits that there are where it has fewer.
    pub fn conversion(&self, bits: u32, rows: usize) -> Result<Conversion, u32> {
        match self {
            Self::Fixed {
                bits: most,
                conversion,
            } if bits <= *most => Ok(*conversion),
            Self::Fixed { bits: most, .. } => Err(*most),
            Self::Entries(entries) => {
                let enough = entries.iter().filter(|(most, _)| bits <= *most);
                let least =
                    enough.min_by(|(a, one), (b, other)| a.cmp(b).then(one.energy.total_cmp(&other.energy)));
                let most = || entries.iter().map(|(bits, _)| *bits).max().unwrap_or(0);
                least.map(|(_, conversion)| *conversion).ok_or_else(most)
            }
            Self::Accelergy(adc) => Ok(adc.conversion(bits)),
            Self::ZigZag(adc) => Ok(adc.conversion(bits, rows)),
            Self::NeuroSim(adc) => Ok(adc.conversion(bits)),
        }
    }
}
