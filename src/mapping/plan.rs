//! A whole network on an array, and many of them at once.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    ConvLayer, Mapping, MappingConfig, MappingError, Method, Network, PimArray, WidthLimits,
    channels::{KeptWidth, network_rounds},
    map_network,
    pareto::{front_keeps, pareto_front},
    window_bound,
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

    /// `network` with these widths within `limits`, and those that the rounds left against their rule.
    ///
    /// # Errors
    ///
    /// Those of [`network_rounds`] and [`pareto_front`]; [`MappingError::NoPoint`] where no point of the front keeps to the
    /// budget.
    pub fn choose(
        self,
        network: &Network,
        config: &MappingConfig,
        limits: &WidthLimits,
    ) -> Result<(Network, Vec<KeptWidth>), MappingError> {
        match self {
            Self::Keep => Ok((network.clone(), Vec::new())),
            // Each round takes a channel away at least, so it ends.
            Self::Rcp => {
                let mut rounds = network_rounds(network, config, limits, usize::MAX)?;
                let network = rounds.networks.pop().unwrap_or_else(|| network.clone());
                Ok((network, rounds.kept))
            }
            Self::Cycles(_) | Self::Channels(_) => {
                let front = pareto_front(network, config, limits)?;
                // The front runs from many channels and cycles to few.
                let point = match self {
                    Self::Cycles(budget) => front.iter().find(|point| point.cycles <= budget),
                    Self::Channels(budget) => front.iter().rfind(|point| point.channels >= budget),
                    Self::Keep | Self::Rcp => None,
                };
                let none = || MappingError::NoPoint {
                    network: network.name.clone(),
                    most: front.first().map_or(0, |point| point.channels),
                    fewest: front.last().map_or(0, |point| point.cycles),
                };
                let kept = front_keeps(network, limits)?;
                Ok((network.with_widths(&point.ok_or_else(none)?.widths)?, kept))
            }
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
    /// Chooses widths, without further limits, and maps every layer.
    ///
    /// # Errors
    ///
    /// Those of [`Widths::choose`] and [`map_network`].
    pub fn new(
        network: &Network,
        method: Method,
        config: &MappingConfig,
        widths: Widths,
    ) -> Result<Self, MappingError> {
        let (plan, _) = Self::within(network, method, config, widths, &WidthLimits::default())?;
        Ok(plan)
    }

    /// Chooses widths within `limits`, and maps every layer; also the widths that the rounds left against their rule.
    ///
    /// # Errors
    ///
    /// Those of [`Widths::choose`] and [`map_network`].
    pub fn within(
        network: &Network,
        method: Method,
        config: &MappingConfig,
        widths: Widths,
        limits: &WidthLimits,
    ) -> Result<(Self, Vec<KeptWidth>), MappingError> {
        let (network, kept) = widths.choose(network, config, limits)?;
        let plan = Self {
            mappings: map_network(&network.layers, method, config)?,
            network,
            method,
            config: *config,
        };
        Ok((plan, kept))
    }

    /// Cycles that no mapping by windows of each layer takes fewer than: [`window_bound`] of each.
    #[must_use]
    pub fn window_bounds(&self) -> Vec<u64> {
        let layers = self.network.layers.iter().zip(&self.mappings);
        // What was mapped has one: only a layer that cannot be mapped has none.
        let bound = |(layer, mapping): (&ConvLayer, &Mapping)| {
            window_bound(layer, &self.config).unwrap_or(mapping.lower_bound)
        };
        layers.map(bound).collect()
    }

    /// Sums over all layers.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let sum = |of: fn(&Mapping) -> u64| self.mappings.iter().map(of).fold(0, u64::saturating_add);
        let cycles = sum(|mapping| mapping.cycles);
        let worked = |mapping: &Mapping| mapping.utilisation(&self.config) * mapping.cycles as f64;
        Totals {
            params: (self.network.layers.iter())
                .map(ConvLayer::params)
                .fold(0, u64::saturating_add),
            cycles,
            lower_bound: sum(|mapping| mapping.lower_bound),
            arrays: sum(|mapping| mapping.arrays),
            cells_written: sum(|mapping| mapping.cells_written),
            dac_conversions: sum(|mapping| mapping.dac_conversions),
            adc_conversions: sum(|mapping| mapping.adc_conversions),
            input_traffic: sum(|mapping| mapping.input_traffic),
            parallel_cycles: sum(Mapping::parallel_cycles),
            weights_driven: sum(|mapping| mapping.weights_driven),
            outputs: (self.network.layers.iter())
                .map(|layer| layer.outputs(self.config.accounting))
                .fold(0, u64::saturating_add),
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
    /// Cycles where all arrays of a layer work at once, and layers one after another.
    #[serde(default)]
    pub parallel_cycles: u64,
    /// Copies of weights that take part in a cycle, summed over all cycles.
    #[serde(default)]
    pub weights_driven: u64,
    /// Numbers that all layers give.
    #[serde(default)]
    pub outputs: u64,
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
    /// The widths that the rounds left against their rule.
    pub kept: Vec<KeptWidth>,
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
            let (totals, kept) = match Plan::within(
                network,
                method,
                &config,
                Widths::of(method),
                &WidthLimits::default(),
            ) {
                Ok((plan, kept)) => (Ok(plan.totals()), kept),
                Err(error) => (Err(error), Vec::new()),
            };
            SweepPoint {
                network: network.name.clone(),
                method,
                array,
                totals,
                kept,
            }
        })
        .collect()
}
