//! A cost model: its file, and the files of users that change it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::converter::{Adc, Conversion};
use super::section::{Reader, Section};
use super::unit::Dimension;
use super::{CellRead, Component, Constant, CostError};

/// The models of this crate, by name.
const MODELS: [(&str, &str); 9] = [
    ("isaac-32", include_str!("models/isaac-32.toml")),
    ("zigzag-28", include_str!("models/zigzag-28.toml")),
    ("accelergy", include_str!("models/accelergy.toml")),
    ("neurosim-22", include_str!("models/neurosim-22.toml")),
    ("neurosim-32", include_str!("models/neurosim-32.toml")),
    ("neurosim-45", include_str!("models/neurosim-45.toml")),
    ("neurosim-65", include_str!("models/neurosim-65.toml")),
    ("mnsim", include_str!("models/mnsim.toml")),
    ("convmapsim", include_str!("models/convmapsim.toml")),
];

/// A model as its file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The model that it changes, where it is not whole by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    #[serde(default)]
    title: String,
    /// Columns that share a converter, unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns_per_adc: Option<usize>,
    #[serde(default)]
    components: BTreeMap<Component, Section>,
    /// Cells as resistors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    read: BTreeMap<String, Constant>,
    /// The chip as its authors list it, from its smallest parts up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inventory: Vec<Level>,
}

/// Parts of a chip that there are several of, each with the same parts in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
    /// How many of them the next level holds.
    count: u32,
    /// The level that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holds: Option<String>,
    parts: BTreeMap<String, Part>,
}

/// Power and area of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    power: Constant,
    area: Constant,
}

/// What a part of a chip takes, with everything in it, as its authors list it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Inventory {
    /// The part.
    pub level: String,
    /// How many of them the next level holds.
    pub count: u32,
    /// Power of one of them, in mW.
    pub power: f64,
    /// Area of one of them, in um2.
    pub area: f64,
}

/// What a component takes whose energy, time and area are constants.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Action {
    /// In pJ.
    pub energy: Option<f64>,
    /// In ns.
    pub time: Option<f64>,
    /// In um2.
    pub area: Option<f64>,
}

/// A published model of what the parts of a processing-in-memory chip take.
///
/// ```
/// use vwc_sdk::cost::CostModel;
///
/// let model = CostModel::named("zigzag-28")?;
/// let conversion = model.adc(8, 256)?.unwrap();
/// assert_eq!(format!("{:.4} pJ", conversion.energy), "0.7011 pJ");
/// # Ok::<(), vwc_sdk::cost::CostError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CostModel {
    name: String,
    file: File,
    adc: Option<Adc>,
    actions: BTreeMap<Component, Action>,
    read: Option<CellRead>,
    inventory: Vec<Inventory>,
}

impl CostModel {
    /// The names of the models that are here.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MODELS.iter().map(|(name, _)| *name)
    }

    /// The model of this name.
    ///
    /// # Errors
    ///
    /// [`CostError::Model`] where there is none.
    pub fn named(name: &str) -> Result<Self, CostError> {
        let (_, text) = MODELS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| CostError::Model {
                name: name.to_owned(),
                expected: Self::names().collect::<Vec<_>>().join(", "),
            })?;
        Self::from_toml(name, text)
    }

    /// The model in the text of a TOML file, called `name`: whole, or with what it changes of the model that it calls its `base`.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, the first of its constants that is, or one that is missing.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, CostError> {
        check_constants(name, text)?;
        let mut file: File = toml::from_str(text).map_err(|error| refused(name, &error))?;
        if let Some(base) = &file.base {
            file = Self::named(base)?.file.changed_by(file);
        }
        let mut adc = None;
        let mut actions = BTreeMap::new();
        for (&component, section) in &file.components {
            let place = format!("{name}: {component}");
            if component == Component::Adc {
                adc = Some(Adc::new(section, &place)?);
                continue;
            }
            if let Some(form) = &section.form {
                return Err(CostError::Form {
                    name: place,
                    form: form.clone(),
                    expected: "none: its energy, time and area are constants".to_owned(),
                });
            }
            let mut of = Reader::new(place, &section.constants);
            let action = Action {
                energy: of.option("energy", Dimension::Energy)?,
                time: of.option("time", Dimension::Time)?,
                area: of.area("area")?,
            };
            of.finish()?;
            actions.insert(component, action);
        }
        let inventory = inventory(name, &file.inventory)?;
        Ok(Self {
            name: name.to_owned(),
            read: CellRead::new(&file.read, name)?,
            file,
            adc,
            actions,
            inventory,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, and who published it.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.file.title
    }

    /// Columns that share a converter in it.
    #[must_use]
    pub fn columns_per_adc(&self) -> Option<usize> {
        self.file.columns_per_adc
    }

    /// What a conversion of so many bits takes, of columns of so many rows; none where the model has no converters.
    ///
    /// # Errors
    ///
    /// [`CostError::Bits`] where its converters have fewer bits.
    pub fn adc(&self, bits: u32, rows: usize) -> Result<Option<Conversion>, CostError> {
        let Some(adc) = &self.adc else { return Ok(None) };
        adc.conversion(bits, rows)
            .map(Some)
            .map_err(|most| CostError::Bits {
                model: self.name.clone(),
                bits,
                most,
            })
    }

    /// The chip of its authors, from its smallest parts up; empty where they list none.
    #[must_use]
    pub fn inventory(&self) -> &[Inventory] {
        &self.inventory
    }

    /// Its cells as resistors, where it says what they conduct: what a read takes follows from data then. Totals do not use it, as they know no data.
    #[must_use]
    pub fn cell_read(&self) -> Option<CellRead> {
        self.read
    }

    /// In pJ, what a cell at work takes whatever it holds, where the model has such a constant.
    #[must_use]
    pub fn cell_energy(&self) -> Option<f64> {
        self.action(Component::Cell).energy
    }

    /// What a component takes each time.
    pub(super) fn action(&self, component: Component) -> Action {
        self.actions.get(&component).copied().unwrap_or_default()
    }

    /// The components that it speaks of.
    pub fn known(&self) -> impl Iterator<Item = Component> + '_ {
        let known = |component: &Component| self.file.components.contains_key(component);
        Component::ALL.into_iter().filter(known)
    }

    /// The components that it does not speak of.
    pub fn missing(&self) -> impl Iterator<Item = Component> + '_ {
        let known = |component: &Component| self.file.components.contains_key(component);
        Component::ALL
            .into_iter()
            .filter(move |component| !known(component))
    }
}

fn refused(place: &str, error: &toml::de::Error) -> CostError {
    CostError::File {
        file: place.to_owned(),
        error: error.to_string().trim_end().to_owned(),
    }
}

/// Names the first constant of a component that is none: the reader of the whole file names the component alone.
fn check_constants(name: &str, text: &str) -> Result<(), CostError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| refused(name, &error))?;
    let components = table.get("components").and_then(toml::Value::as_table);
    for (component, section) in components.into_iter().flatten() {
        let constants = section.as_table().into_iter().flatten();
        for (constant, value) in constants.filter(|(key, _)| !["form", "entries"].contains(&key.as_str())) {
            if let Err(error) = value.clone().try_into::<Constant>() {
                return Err(CostError::File {
                    file: format!("{name}: {component}.{constant}"),
                    error: format!(
                        "{}: expected {{ value = 1.5, unit = \"pJ\", node = 32, source = \"...\" }}",
                        error.message()
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Sums over the parts of each level and what it holds.
fn inventory(name: &str, levels: &[Level]) -> Result<Vec<Inventory>, CostError> {
    let mut found: Vec<Inventory> = Vec::new();
    for level in levels {
        let place = |part: &str, of: &str| format!("{name}: inventory {} {part}.{of}", level.level);
        let (mut power, mut area) = (0.0, 0.0);
        if let Some(held) = &level.holds {
            let known = found.iter().find(|known| known.level == *held);
            let known = known.ok_or_else(|| CostError::Missing {
                name: format!("{name}: inventory {held}"),
                expected: format!("a level above {}, which holds it", level.level),
            })?;
            power = known.power * f64::from(known.count);
            area = known.area * f64::from(known.count);
        }
        for (part, of) in &level.parts {
            power += of.power.of(Dimension::Power, &place(part, "power"))?;
            area += of.area.of(Dimension::Area, &place(part, "area"))?;
        }
        found.push(Inventory {
            level: level.level.clone(),
            count: level.count,
            power,
            area,
        });
    }
    Ok(found)
}

impl File {
    /// This with the constants of another file instead of its own where it has some.
    fn changed_by(mut self, change: Self) -> Self {
        for (component, section) in change.components {
            let own = self.components.entry(component).or_default();
            if section.form.is_some() && section.form != own.form {
                *own = section;
                continue;
            }
            if !section.entries.is_empty() {
                own.entries = section.entries;
            }
            own.constants.extend(section.constants);
        }
        self.read.extend(change.read);
        if !change.title.is_empty() {
            self.title = change.title;
        }
        self.columns_per_adc = change.columns_per_adc.or(self.columns_per_adc);
        if !change.inventory.is_empty() {
            self.inventory = change.inventory;
        }
        self.base = change.base;
        self
    }
}
