//! A whole network on an array, and many of them at once.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Mapping, MappingConfig, MappingError, Method, Network, PimArray, channels::network_rounds, map_network,
    pareto::pareto_front,
};

/// How the widths of a network are chosen before it is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Widths {
    /// As they are.
    Keep,
    /// The fixed point of residual channel pruning, see [`channels`](super::channels).
    Rcp,
    /// The point of the front that keeps the most channels in so many cycles, see [`pareto`](super::pareto).
    Cycles(u64),
    /// The point of the front that takes the fewest cycles and keeps so many channels.
    Channels(usize),
}

impl Widths {
    /// What a method does unless told otherwise: VWC-SDK prunes, the others keep.
    #[must_use]
    pub fn of(method: Method) -> Self {
        match method {
            Method::VwcSdk => Self::Rcp,
            _ => Self::Keep,
        }
    }
}

/// A network on an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The network, with the widths that were chosen.
    pub network: Network,
    /// The method asked for.
    pub method: Method,
    /// The array and the settings.
    pub config: MappingConfig,
    /// One mapping for each layer.
    pub mappings: Vec<Mapping>,
}

impl Plan {
    /// Chooses widths and maps every layer.
    ///
    /// # Errors
    ///
    /// Those of [`map_network`], [`network_rounds`] and [`pareto_front`];
    /// [`MappingError::NoPoint`] where no point of the front keeps to the budget.
    pub fn new(
        network: &Network,
        method: Method,
        config: &MappingConfig,
        widths: Widths,
    ) -> Result<Self, MappingError> {
        let network = match widths {
            Widths::Keep => network.clone(),
            // Each round takes a channel away at least, so it ends.
            Widths::Rcp => network_rounds(network, config, usize::MAX)?
                .pop()
                .unwrap_or_else(|| network.clone()),
            Widths::Cycles(_) | Widths::Channels(_) => {
                let front = pareto_front(network, config)?;
                // The front runs from many channels and cycles to few.
                let point = match widths {
                    Widths::Cycles(budget) => front.iter().find(|point| point.cycles <= budget),
                    Widths::Channels(budget) => front.iter().rfind(|point| point.channels >= budget),
                    Widths::Keep | Widths::Rcp => None,
                };
                let none = || MappingError::NoPoint {
                    network: network.name.clone(),
                    most: front.first().map_or(0, |point| point.channels),
                    fewest: front.last().map_or(0, |point| point.cycles),
                };
                network.with_widths(&point.ok_or_else(none)?.widths)?
            }
        };
        Ok(Self {
            mappings: map_network(&network.layers, method, config)?,
            network,
            method,
            config: *config,
        })
    }

    /// Sums over all layers.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let sum = |of: fn(&Mapping) -> u64| self.mappings.iter().map(of).fold(0, u64::saturating_add);
        let cycles = sum(|mapping| mapping.cycles);
        let worked = |mapping: &Mapping| mapping.utilisation(&self.config) * mapping.cycles as f64;
        Totals {
            params: (self.network.layers.iter())
                .map(super::ConvLayer::params)
                .fold(0, u64::saturating_add),
            cycles,
            lower_bound: sum(|mapping| mapping.lower_bound),
            arrays: sum(|mapping| mapping.arrays),
            cells_written: sum(|mapping| mapping.cells_written),
            dac_conversions: sum(|mapping| mapping.dac_conversions),
            adc_conversions: sum(|mapping| mapping.adc_conversions),
            input_traffic: sum(|mapping| mapping.input_traffic),
            // Of nothing mapped, nothing is at work.
            utilisation: self.mappings.iter().map(worked).sum::<f64>() / cycles.max(1) as f64,
        }
    }
}

/// What a network takes, over all its layers; each number as in [`Mapping`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// Weights, without bias.
    pub params: u64,
    /// Computing cycles.
    pub cycles: u64,
    /// Cycles that no mapping goes below.
    pub lower_bound: u64,
    /// Arrays programmed.
    pub arrays: u64,
    /// Cells written.
    pub cells_written: u64,
    /// Digital-to-analogue conversions.
    pub dac_conversions: u64,
    /// Analogue-to-digital conversions.
    pub adc_conversions: u64,
    /// Input elements fetched.
    pub input_traffic: u64,
    /// The part of the array's bits that hold weights at work, averaged over all cycles.
    pub utilisation: f64,
}

/// One network, method and array of a sweep.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SweepPoint {
    /// Name of the network.
    pub network: String,
    /// The method.
    pub method: Method,
    /// The array.
    pub array: PimArray,
    /// What it takes, or why it cannot be done.
    pub totals: Result<Totals, MappingError>,
}

/// Maps every network with every method onto every array, on all cores, and returns them in that order, arrays
/// last. Widths are chosen as each method does unless told otherwise, see [`Widths::of`].
#[must_use]
pub fn sweep(
    networks: &[Network],
    methods: &[Method],
    arrays: &[PimArray],
    config: &MappingConfig,
) -> Vec<SweepPoint> {
    let cases: Vec<_> = networks
        .iter()
        .flat_map(|network| methods.iter().map(move |&method| (network, method)))
        .flat_map(|(network, method)| arrays.iter().map(move |&array| (network, method, array)))
        .collect();
    cases
        .into_par_iter()
        .map(|(network, method, array)| {
            let config = MappingConfig { array, ..*config };
            let plan = Plan::new(network, method, &config, Widths::of(method));
            SweepPoint {
                network: network.name.clone(),
                method,
                array,
                totals: plan.map(|plan| plan.totals()),
            }
        })
        .collect()
}
