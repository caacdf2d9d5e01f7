//! What a training and its rounds of pruning found out: as JSON, and as tables.

use serde::Serialize;

use super::{Evaluation, Round, StopReason};
use crate::data::Splits;
use crate::mapping::MappingConfig;
use crate::models::{Network, NetworkConfig as _};
use crate::report::{LayerRow, NetworkRow, layer_rows, layer_table, network_table};

/// What became of a network that was trained, pruned and tested.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Results {
    /// The network's name.
    pub network: String,
    /// What is quantised to how many bits.
    pub precision: String,
    /// The pictures in words.
    pub data: String,
    /// Training, validation and test pictures.
    pub pictures: [usize; 3],
    /// The seed of the training.
    pub seed: u64,
    /// What cycles are counted on.
    pub mapping: MappingConfig,
    /// The last round inside the budget, where any was run.
    pub winner: Option<String>,
    /// Why no further round was run.
    pub stopped: Option<StopReason>,
    /// How the rounds were pruned, in words.
    pub pruning: Option<String>,
    /// The original network, then that of each round.
    pub networks: Vec<NetworkResult>,
}

/// One network, pruned or not.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NetworkResult {
    /// Its size, cycles and accuracies.
    #[serde(flatten)]
    pub summary: NetworkRow,
    /// How many test pictures it got right.
    pub test: Evaluation,
    /// Its convolutions, and how each is laid out.
    pub layers: Vec<LayerRow>,
}

impl Results {
    /// Of `networks`, the original first, which got `tests` of the test pictures of `splits` right.
    ///
    /// # Panics
    ///
    /// Where there is no network, or not one test for each.
    pub fn of<N: Network>(
        networks: &[Round<N>],
        tests: &[Evaluation],
        splits: &Splits,
        seed: u64,
        mapping: MappingConfig,
    ) -> Self {
        assert_eq!(networks.len(), tests.len(), "one test for each network");
        let first = &networks[0];
        let result = |(round, test): (&Round<N>, &Evaluation)| NetworkResult {
            summary: NetworkRow {
                name: round.name.clone(),
                params: round.network.num_trainable_params(),
                cycles: round.cycles(),
                cycles_after_first: round.cycles_after_first(),
                speed_up: match round.cycles_after_first() {
                    // Without convolutions there is nothing to speed up.
                    0 => 1.0,
                    cycles => first.cycles_after_first() as f64 / cycles as f64,
                },
                valid_accuracy: round.valid_accuracy,
                test_accuracy: test.accuracy(),
            },
            test: *test,
            layers: layer_rows(&round.layers, &round.mappings),
        };
        Self {
            network: first.network.config().name(),
            precision: first.network.structure().precision(),
            data: splits.source.clone(),
            pictures: splits.counts(),
            seed,
            mapping,
            winner: None,
            stopped: None,
            pruning: None,
            networks: networks.iter().zip(tests).map(result).collect(),
        }
    }

    /// With how pruning ended: which of the networks won, and why no further round was run; and with `pruning`, how it was done.
    ///
    /// # Panics
    ///
    /// Where there is no network `winner`.
    #[must_use]
    pub fn with_pruning(self, winner: usize, stopped: StopReason, pruning: String) -> Self {
        Self {
            winner: Some(self.networks[winner].summary.name.clone()),
            stopped: Some(stopped),
            pruning: Some(pruning),
            ..self
        }
    }

    /// As one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("results are plain data") + "\n"
    }

    /// As tables: the layers of each of `networks`, those that the results are of, and a summary.
    pub fn tables<N>(&self, networks: &[Round<N>]) -> String {
        let [train, valid, test] = self.pictures;
        let title = format!(
            "{} {}, {} ({train} training, {valid} validation, {test} test pictures), seed {}, array {}",
            self.network, self.precision, self.data, self.seed, self.mapping.array
        );
        let mut text = format!("{title}\n");
        for round in networks {
            let layers = layer_table(&round.layers, &round.mappings);
            text += &format!("\n{} on {}\n{layers}\n", round.name, self.data);
        }
        let rows: Vec<_> = self
            .networks
            .iter()
            .map(|network| network.summary.clone())
            .collect();
        text += &format!("\nsummary on {}\n{}\n", self.data, network_table(&rows));
        if let (Some(winner), Some(stopped)) = (&self.winner, self.stopped) {
            text += &format!("\nwinner: {winner}; {stopped}\n");
        }
        text
    }
}
