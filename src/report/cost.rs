//! What a mapping costs, a column for each model.

use serde::Serialize;

use super::{Look, styled_table};
use crate::cost::{Component, Cost, CostError, CostModel};

/// What one model says.
pub type Costed<'a> = (&'a CostModel, Result<Cost, CostError>);

/// What one model says, for a program: the fields of its cost, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CostRow {
    /// The model.
    pub model: String,
    /// What it says.
    #[serde(flatten)]
    pub cost: Option<Cost>,
    /// Why it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infeasible: Option<String>,
}

/// What each model says.
#[must_use]
pub fn cost_rows(costs: &[Costed]) -> Vec<CostRow> {
    let row = |(model, cost): &Costed| CostRow {
        model: model.name().to_owned(),
        cost: cost.as_ref().ok().cloned(),
        infeasible: cost.as_ref().err().map(ToString::to_string),
    };
    costs.iter().map(row).collect()
}

/// A number that a row has of each model: what it is called with its unit and for a reader, and how a reader sees it.
struct Column {
    field: &'static str,
    title: &'static str,
    of: fn(&Cost) -> Option<f64>,
    shown: fn(f64) -> String,
}

const ENERGY: Column = Column {
    field: "energy_pj",
    title: "energy",
    of: |cost| Some(cost.total_energy()),
    shown: energy,
};

const LATENCY: Column = Column {
    field: "latency_ns",
    title: "latency",
    of: |cost| cost.latency,
    shown: time,
};

const ENERGY_DELAY: Column = Column {
    field: "energy_delay_pj_ns",
    title: "pJ s",
    of: Cost::energy_delay,
    shown: energy_delay,
};

const COLUMNS: [Column; 6] = [
    ENERGY,
    LATENCY,
    Column {
        field: "parallel_latency_ns",
        title: "at once",
        of: |cost| cost.parallel_latency,
        shown: time,
    },
    ENERGY_DELAY,
    Column {
        field: "area_um2",
        title: "area",
        of: |cost| (!cost.area.is_empty()).then(|| cost.total_area()),
        shown: area,
    },
    Column {
        field: "write_energy_pj",
        title: "writing",
        of: |cost| (cost.write_energy > 0.0).then_some(cost.write_energy),
        shown: energy,
    },
];

/// The components that energy of a read goes into, of those that a model speaks of.
fn read_by(model: &CostModel) -> impl Iterator<Item = Component> + '_ {
    let writing = [Component::Write, Component::ArrayWrite];
    model
        .known()
        .filter(move |component| !writing.contains(component))
}

/// What the columns are called that hold the costs by these models: `isaac-32 energy_pj` in CSV, and `isaac-32 energy` in a table. In CSV the
/// energy of each component follows, `isaac-32 adc energy_pj`.
#[must_use]
pub fn cost_header(models: &[CostModel], csv: bool) -> Vec<String> {
    let title = |column: &Column| if csv { column.field } else { column.title };
    let of = |model: &CostModel| {
        let name = model.name();
        let mut names = COLUMNS
            .map(|column| format!("{name} {}", title(&column)))
            .to_vec();
        if csv {
            names.extend(read_by(model).map(|part| format!("{name} {part} energy_pj")));
        }
        names
    };
    models.iter().flat_map(of).collect()
}

/// The fields below [`cost_header`]; empty where a model says nothing.
#[must_use]
pub fn cost_fields<'a>(
    costs: impl IntoIterator<Item = (&'a CostModel, Option<&'a Cost>)>,
    csv: bool,
) -> Vec<String> {
    let mut fields = Vec::new();
    for (model, cost) in costs {
        fields.extend(COLUMNS.iter().map(|column| {
            let number = cost.and_then(column.of);
            let text = number.map(|number| {
                if csv {
                    number.to_string()
                } else {
                    (column.shown)(number)
                }
            });
            text.unwrap_or_default()
        }));
        if csv {
            let of = |part| cost.and_then(|cost| cost.energy.get(&part));
            fields.extend(read_by(model).map(|part| of(part).map(f64::to_string).unwrap_or_default()));
        }
    }
    fields
}

/// A number of four digits that a person reads, in the largest unit of which it is one at least.
fn scaled(number: f64, units: [&str; 4]) -> String {
    let steps = [1.0, 1e3, 1e6, 1e9];
    let at = steps.iter().rposition(|&step| number >= step).unwrap_or(0);
    let number = number / steps[at];
    let places = match number {
        number if number >= 1000.0 => 0,
        number if number >= 100.0 => 1,
        number if number >= 10.0 => 2,
        _ => 3,
    };
    format!("{number:.places$} {}", units[at])
}

/// An energy that is given in pJ.
#[must_use]
pub fn energy(picojoules: f64) -> String {
    scaled(picojoules, ["pJ", "nJ", "uJ", "mJ"])
}

/// A time that is given in ns.
#[must_use]
pub fn time(nanoseconds: f64) -> String {
    scaled(nanoseconds, ["ns", "us", "ms", "s"])
}

/// An energy times a time that is given in pJ ns, in pJ s.
#[must_use]
pub fn energy_delay(product: f64) -> String {
    format!("{:.4e}", product * 1e-9)
}

/// An area that is given in um2.
#[must_use]
pub fn area(square_micrometres: f64) -> String {
    match square_micrometres {
        area if area < 1e4 => format!("{area:.1} um2"),
        area => format!("{:.4} mm2", area / 1e6),
    }
}

/// Costs side by side: energy by component, then the sums, a column for each model. What a model does not speak of is left empty, and
/// why one says nothing stands below.
#[must_use]
pub fn cost_table(costs: &[Costed], look: Look) -> String {
    let header: Vec<&str> = std::iter::once("for one picture")
        .chain(costs.iter().map(|(model, _)| model.name()))
        .collect();
    let row = |name: String, of: &dyn Fn(&Cost) -> Option<String>| {
        let cells = costs.iter().map(|(_, cost)| cost.as_ref().ok().and_then(of));
        std::iter::once(name)
            .chain(cells.map(Option::unwrap_or_default))
            .collect::<Vec<String>>()
    };
    let mut rows: Vec<Vec<String>> = Component::ALL
        .into_iter()
        .map(|component| {
            row(format!("energy: {component}"), &|cost| {
                cost.energy.get(&component).copied().map(energy)
            })
        })
        .filter(|row| row[1..].iter().any(|cell| !cell.is_empty()))
        .collect();
    rows.push(row("energy".to_owned(), &|cost| {
        Some(energy(cost.total_energy()))
    }));
    rows.push(row("latency, arrays one after another".to_owned(), &|cost| {
        cost.latency.map(time)
    }));
    rows.push(row("latency, a layer's arrays at once".to_owned(), &|cost| {
        cost.parallel_latency.map(time)
    }));
    rows.push(row("energy x latency, pJ s".to_owned(), &|cost| {
        cost.energy_delay().map(energy_delay)
    }));
    rows.push(row("area".to_owned(), &|cost| {
        (!cost.area.is_empty()).then(|| area(cost.total_area()))
    }));
    rows.push(row("to write the weights, once".to_owned(), &|cost| {
        (cost.write_energy > 0.0).then(|| energy(cost.write_energy))
    }));
    let table = styled_table(&header, rows, None, look);
    let notes = costs.iter().filter_map(|(model, cost)| {
        let name = model.name();
        if let Err(error) = cost {
            return Some(format!("{name}: {error}"));
        }
        let missing: Vec<String> = model.missing().map(|component| component.to_string()).collect();
        (!missing.is_empty()).then(|| format!("{name} does not count: {}", missing.join(", ")))
    });
    table + &look.notes(notes)
}

/// Methods beside each other by what each model says of them: energy, latency and their product, a row for each method and a column for each
/// model, and below where models disagree on the order.
#[must_use]
pub fn cost_compare_tables(title: &str, methods: &[String], costs: &[Vec<Costed>], look: Look) -> String {
    let Some(models) = costs.first() else {
        return String::new();
    };
    let mut text = String::new();
    for (what, Column { of, shown, .. }) in TABLES {
        let head = format!("{title}: {what}");
        let header: Vec<&str> = std::iter::once(head.as_str())
            .chain(models.iter().map(|(model, _)| model.name()))
            .collect();
        let rows = methods.iter().zip(costs).map(|(method, costs)| {
            let cells = costs
                .iter()
                .map(|(_, cost)| cost.as_ref().ok().and_then(of).map(shown));
            std::iter::once(method.clone())
                .chain(cells.map(Option::unwrap_or_default))
                .collect()
        });
        let mut notes = flips(methods, costs, what, &of);
        // The last of the tables is followed by what concerns all of them.
        if what == TABLES[TABLES.len() - 1].0 {
            let errors = models
                .iter()
                .filter_map(|(model, cost)| Some((model, cost.as_ref().err()?)));
            notes.extend(errors.map(|(model, error)| format!("{}: {error}", model.name())));
        }
        let table = styled_table(&header, rows, None, look);
        text += &format!("\n{table}{}\n", look.notes(notes));
    }
    text
}

/// What methods are compared by.
const TABLES: [(&str, Column); 3] = [
    ("energy", ENERGY),
    ("latency", LATENCY),
    ("energy x latency, pJ s", ENERGY_DELAY),
];

/// Where models disagree on the order of `names` by what `of` reads of their costs: a line for each order, with the models that have it. Empty
/// where they agree. A name whose cost a model does not know is left out of that model's order.
#[must_use]
pub fn flips(
    names: &[String],
    costs: &[Vec<Costed>],
    what: &str,
    of: &dyn Fn(&Cost) -> Option<f64>,
) -> Vec<String> {
    let models = costs.first().map_or(0, Vec::len);
    let mut orders: Vec<(String, Vec<&str>)> = Vec::new();
    for model in 0..models {
        let known = names.iter().zip(costs).filter_map(|(name, costs)| {
            let (_, cost) = &costs[model];
            Some((of(cost.as_ref().ok()?)?, name))
        });
        let mut known: Vec<(f64, &String)> = known.collect();
        known.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut order = String::new();
        let mut before = None;
        for (cost, name) in known {
            order += match before {
                None => "",
                Some(before) if before == cost => " = ",
                Some(_) => " < ",
            };
            order += name;
            before = Some(cost);
        }
        let by = costs[0][model].0.name();
        match orders.iter_mut().find(|(known, _)| *known == order) {
            Some((_, models)) => models.push(by),
            None if order.is_empty() => {}
            None => orders.push((order, vec![by])),
        }
    }
    if orders.len() < 2 {
        return Vec::new();
    }
    let lines = orders.into_iter();
    lines
        .map(|(order, models)| format!("{what} by {}: {order}", models.join(", ")))
        .collect()
}
