//! The rounds of a job: those that are there are loaded, others are run.

use std::collections::BTreeMap;

use super::Job;
use super::flags::Mode;
use super::kept::in_words;
use crate::Error;
use crate::cli::networks::JobNetwork;
use crate::cli::networks::graph_net::NO_BITS;
use crate::cli::notes::say_kept;
use crate::mapping::channels::network_rounds;
use crate::models::precision;
use crate::module::Parameters;
use crate::prune::{FoundGroups, groups_of};
use crate::quant::Bits;
use crate::train::ORIGINAL;
use crate::train::{
    Round, Rounds, RoundsConfig, StopReason, WidthChoice, another_run, evaluate, fit, rounds,
};

impl<C: JobNetwork> Job<C> {
    /// Tries the ranking, and the search or the ratio, before anything is trained for them.
    pub(super) fn can_prune(&self, start: &Round<C::Network>) -> Result<(), Error> {
        let parameters = Parameters::of(&start.network);
        for group in &start.groups {
            self.rounds.ranking.scores(group, &parameters)?;
        }
        match self.width_choice() {
            WidthChoice::Array(limits) => {
                let (network, _) = start.groups.mapped(self.config.name());
                network_rounds(&network, &self.mapping, &limits, self.max_rounds()).map(drop)?
            }
            WidthChoice::Front { cycles, limits } => {
                let widths = start.groups.widths_within(cycles, &self.mapping, &limits);
                widths.map(drop)?
            }
            WidthChoice::Ratio(ratio) => {
                let widths = start.groups.widths(&start.network, &ratio, self.rounds.ranking);
                widths.map(drop)?
            }
        }
        Ok(())
    }

    /// Reads what earlier runs left: for `--mode prune` every network before the first round to run, for `--mode
    /// test` the original and what `--round` asks for.
    ///
    /// # Errors
    ///
    /// [`Error::NoModel`] where nothing was trained, [`Error::Checkpoint`] where it is another network, another
    /// precision, or, for pruning, was trained on other pictures.
    pub fn kept(&self) -> Result<Vec<Round<C::Network>>, Error> {
        self.to_load.iter().map(|&round| self.load(round)).collect()
    }

    fn load(&self, round: usize) -> Result<Round<C::Network>, Error> {
        let dir = self.dir(round);
        let (network, run) = dir.load::<C>(self.device())?;
        let refuse = |reason| {
            Err(Error::Checkpoint {
                path: dir.path().join("config.json"),
                reason,
            })
        };
        let (flags, found) = (&self.args.network, run.structure.bits());
        let few = [flags.wb, flags.ab]
            .into_iter()
            .flatten()
            .any(|bits| bits != Bits::FULL);
        if flags.q == Some(0) && few {
            return Err(Error::Recipe(NO_BITS.into()));
        }
        let quantized = flags.q.map_or(found.is_some() || few, |q| q == 1);
        let usual = if flags.q.is_some() { Bits::ONE } else { Bits::FULL };
        let [weight, activation] = found.unwrap_or([usual; 2]);
        let asked = quantized.then(|| [flags.wb.unwrap_or(weight), flags.ab.unwrap_or(activation)]);
        if found != asked {
            return refuse(format!(
                "this network is {}, asked for is {}: leave out the flags --q, --wb and --ab, or give those it was \
                 trained with",
                precision(found),
                precision(asked)
            ));
        }
        if flags.plan.given().is_some() {
            let plan = flags.plan.plan(asked.unwrap_or([Bits::FULL; 2]))?;
            if run.structure.plan() != Some(&plan) {
                return refuse(format!(
                    "this network is {}: leave out the flags for how layers are quantised, or give those it was trained with",
                    run.structure.precision()
                ));
            }
        }
        if self.mode == Mode::Prune && !run.is_imported() && !run.is_trained_on(&self.splits) {
            let (found, asked) = (run.data(), self.splits.to_string());
            let others = if found == asked {
                " with other contents"
            } else {
                ""
            };
            return refuse(format!(
                "this network was trained on {found}, asked for is {asked}{others}: give the data it was trained on, or \
                 accuracies cannot be compared"
            ));
        }
        if run.input != self.input {
            return refuse(format!(
                "this network reads pictures in another way than {ORIGINAL} ({} and {}, classes {} and {}): it is a round of \
                 another network",
                run.input.normalization,
                self.input.normalization,
                run.input.classes.join(", "),
                self.input.classes.join(", ")
            ));
        }
        if let Some(mapping) = run.mapping.filter(|mapping| *mapping != self.mapping) {
            say!(
                "{} was trained for {}; it is counted on {}",
                self.name(round),
                in_words(&mapping),
                in_words(&self.mapping)
            );
        }
        let accuracy = if run.is_imported() {
            evaluate(&network, &self.splits.valid, self.device())?.accuracy()
        } else {
            dir.best()?.valid_accuracy
        };
        self.round_of(self.name(round), network, accuracy)
    }

    /// Runs rounds from the last of `networks`, of which the first is the original that the budget counts from. The
    /// result holds them all.
    ///
    /// # Errors
    ///
    /// Those of [`rounds`].
    ///
    /// # Panics
    ///
    /// Where `networks` is empty.
    pub fn prune(&self, mut networks: Vec<Round<C::Network>>) -> Result<Rounds<C::Network>, Error> {
        let recipe = self.fine_tuning();
        let config = RoundsConfig::new(self.mapping, networks[0].valid_accuracy)
            .with_max_rounds(self.max_rounds())
            .with_budget(self.rounds.budget)
            .with_widths(self.width_choice())
            .with_ranking(self.rounds.ranking)
            .with_original_widths(networks[0].groups.by_name())
            .with_layers_left_out(C::NOT_COUNTED.iter().copied());
        let start = networks.pop().expect("at least the original");
        let before = networks.len();
        self.can_prune(&start)?;
        let _lock = self.project.lock()?;
        self.retire(before + 1)?;
        self.can_resume(before + 1)?;
        let mut widths = start.groups.by_name();
        let label_of_start = self.label(before);
        let pruned = rounds(start, before, &config, |round, network| {
            let label = self.label(round);
            let groups = groups_of(&network)?;
            say!("{label}: widths {:?}", groups.channels());
            self.say_kept(&label, &groups, &mut widths);
            let fit = fit(network, self.options(&label, &recipe, round))?;
            Ok((fit.network, fit.best.valid_accuracy))
        })?;
        if pruned.rounds.len() == 1 && pruned.stopped == StopReason::FixedPoint {
            // No round was run, so none has said it.
            let groups = &pruned.rounds[0].groups;
            self.say_kept(&label_of_start, groups, &mut groups.by_name());
        }
        say_kept(&pruned.kept);
        networks.extend(pruned.rounds);
        Ok(Rounds::new(networks, pruned.stopped, pruned.kept, &config))
    }

    /// Refuses to go on with rounds that were pruned in another way, whether or not one of them is to be run again.
    fn can_resume(&self, first: usize) -> Result<(), Error> {
        let rounds = (first..=self.max_rounds() + first).map(|round| self.dir(round));
        for dir in rounds.filter(|dir| self.args.resume && dir.path().join("config.json").is_file()) {
            let saved = dir.config::<C>()?.pruning.unwrap_or_else(|| "none".into());
            let asked = self.pruning();
            if saved != asked {
                return Err(another_run(&dir, "pruning", &saved, &asked));
            }
        }
        Ok(())
    }

    /// Says which groups a round by ratio left as they were, `widths` being those before it.
    fn say_kept(&self, label: &str, groups: &FoundGroups, widths: &mut BTreeMap<String, usize>) {
        if let WidthChoice::Ratio(ratio) = self.width_choice() {
            let kept: Vec<String> = groups
                .iter()
                .filter(|group| widths.get(&group.name) == Some(&group.channels))
                .map(|group| format!("{} ({} channels)", group.name, group.channels))
                .collect();
            if !kept.is_empty() {
                say!(
                    "{label}: a ratio of {}, rounded up{}, leaves as they were: {}",
                    ratio.ratio,
                    ratio.limits.in_words(),
                    kept.join(", ")
                );
            }
        }
        *widths = groups.by_name();
    }
}
