//! What the cells of arrays take for the pictures that were computed.

use serde::Serialize;

use super::rows::Row;
use crate::cost::CostModel;
use crate::report::{Look, energy, styled_table};
use crate::simulate::SimulatedNetwork;

/// What cells take for one picture, by a model.
#[derive(Debug, Clone, Serialize)]
pub struct CellEnergy {
    pub model: String,
    /// In pJ, by the model's constant for a cell at work; `null` where it has none.
    pub constant_pj: Option<f64>,
    /// In pJ, by what the cells hold and what drives them; `null` where the model does not say what a cell conducts.
    pub data_pj: Option<f64>,
}

impl CellEnergy {
    /// Of a network that has computed so many pictures, by each of the models.
    pub fn of(simulated: &SimulatedNetwork, pictures: usize, models: &[CostModel]) -> Vec<Self> {
        let pictures = pictures.max(1) as f64;
        let each = models.iter().map(|model| Self {
            model: model.name().to_owned(),
            constant_pj: model
                .cell_energy()
                .map(|energy| energy * simulated.cells() as f64 / pictures),
            data_pj: model
                .cell_read()
                .map(|read| read.energy(&simulated.cell_work()) / pictures),
        });
        each.collect()
    }
}

/// The heads of their columns in CSV.
pub fn heads(models: &[CostModel]) -> impl Iterator<Item = String> + '_ {
    models
        .iter()
        .flat_map(|model| ["cell_pj", "data_cell_pj"].map(|what| format!("{} {what}", model.name())))
}

/// Their columns in CSV, as many for a row that has none.
pub fn columns(energies: &[CellEnergy], models: usize) -> Vec<String> {
    let number = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    let mut columns: Vec<String> = energies
        .iter()
        .flat_map(|of| [of.constant_pj, of.data_pj].map(number))
        .collect();
    columns.resize(2 * models, String::new());
    columns
}

/// A table of them for all settings, as layers behind faulty ones read other numbers; with what models do not say.
pub fn table(rows: &[Row], look: Look) -> String {
    let shown = |picojoules: Option<f64>| picojoules.map_or_else(|| "-".to_owned(), energy);
    let lines = rows.iter().flat_map(|row| {
        row.cell_energy.iter().map(move |of| {
            let both = of.constant_pj.zip(of.data_pj);
            let ratio = both.filter(|(constant, _)| *constant > 0.0);
            let [bits, variation] = row.setting();
            vec![
                bits,
                variation,
                of.model.clone(),
                shown(of.constant_pj),
                shown(of.data_pj),
                ratio.map_or_else(
                    || "-".to_owned(),
                    |(constant, data)| format!("{:.3}", data / constant),
                ),
            ]
        })
    });
    let head = [
        "ADC bits",
        "variation",
        "cells, for one picture",
        "by a constant",
        "by data",
        "data over constant",
    ];
    let table = styled_table(&head, lines, None, look);
    let energies = rows.last().map_or(&[][..], |row| &row.cell_energy);
    let silent = energies.iter().filter(|of| of.data_pj.is_none());
    let notes = silent.map(|of| format!("{} does not say what a cell conducts", of.model));
    format!("{table}{}", look.notes(notes))
}
