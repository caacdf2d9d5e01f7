//! What is there already, and what the flags say beside it: the rounds to load, the array, the structure.

use std::path::Path;

use super::{JobFlags, Mode, RoundFlags};
use crate::Error;
use crate::cli::networks::{JobNetwork, NetworkArgs};
use crate::cli::said;
use crate::mapping::{MappingConfig, PimArray, Search};
use crate::prune::Ratio;
use crate::quant::Bits;
use crate::train::WidthChoice;
use crate::train::{MAX_ROUNDS, Project, ROUNDS, round_name};

/// What chooses the widths of the rounds. What is there is tested, whatever chose its widths.
pub(super) fn width_choice(project: &Project, mode: Mode, rounds: &RoundFlags) -> WidthChoice {
    let limits = rounds.limits.limits();
    let by_ratio =
        |ratio, limits| WidthChoice::Ratio(Ratio::new(ratio).with_scope(rounds.scope).with_limits(limits));
    match (rounds.ratio, rounds.cycles) {
        (Some(ratio), _) => by_ratio(ratio, limits),
        (None, Some(cycles)) => WidthChoice::Front { cycles, limits },
        (None, None) => match ROUNDS.map(|kind| mode == Mode::Test && project.holds(kind)) {
            [false, true, _] => by_ratio(0.0, limits),
            [false, false, true] => WidthChoice::Front { cycles: 1, limits },
            _ => WidthChoice::Array(limits),
        },
    }
}

/// The rounds to load, by their numbers: for pruning every one before the first to run, for testing the original and what
/// `--round` asks for, or all that are there.
pub(super) fn rounds_to_load(project: &Project, mode: Mode, rounds: &RoundFlags) -> Vec<usize> {
    let choice = width_choice(project, mode, rounds);
    let folder = |round: usize| project.round(&choice, round);
    match (mode, rounds.round) {
        (Mode::Prune, round) => (0..round.unwrap_or(1).max(1)).collect(),
        (_, None) => {
            // A round without a network in front of one that has one is damage, and is met when it is loaded. Behind all
            // that have one it is a round that was cut off.
            let there = |round: &usize| folder(*round).path().is_dir();
            let last = (1..=MAX_ROUNDS).rev().find(|&round| folder(round).is_complete());
            let last = last.unwrap_or(0);
            let advice = [
                "leave out --ratio and --cycles to test those",
                "add --ratio 0 to test those",
                "add --cycles 1 to test those",
            ];
            let own = round_name(&choice, 1).to_lowercase();
            for (kind, advice) in ROUNDS.into_iter().zip(advice) {
                if project.holds(kind) && own != format!("{kind}1") {
                    say!(
                        "{} also holds {kind}1 and perhaps more rounds of that kind, which are left out: {advice}",
                        project.path().display()
                    );
                }
            }
            for round in (last + 1..=MAX_ROUNDS).take_while(there) {
                say!("{} is not complete: left out", folder(round).path().display());
            }
            (0..=last).collect()
        }
        (_, Some(0)) => vec![0],
        (_, Some(round)) => vec![0, round],
    }
}

/// The array, accounting and search that the flags ask for, else those of `kept`, else the published ones.
pub(super) fn mapping<C: JobNetwork>(
    args: &JobFlags,
    kept: Option<MappingConfig>,
    config: &C,
) -> Result<MappingConfig, Error> {
    let [rows, cols] = C::ARRAY;
    // Cells are a flag of their own: an array is shown and compared without their bits.
    let kept_array = kept.map(|mapping| mapping.array.with_cell_bits(1));
    let array = said("--array", args.array, kept_array, PimArray::new(rows, cols)?);
    let cell_bits = said(
        "--cell-bits",
        args.cell_bits,
        kept.map(|mapping| mapping.array.cell_bits),
        1,
    );
    let accounting = said(
        "--accounting",
        args.accounting,
        kept.map(|mapping| mapping.accounting),
        C::ACCOUNTING,
    );
    let search = said(
        "--search",
        args.search,
        kept.map(|mapping| mapping.search),
        Search::Exact,
    );
    let weight_bits = config.bits().map_or(Bits::FULL, |[weight, _]| weight);
    Ok(MappingConfig::new(array.with_cell_bits(cell_bits))
        .with_weight_bits(weight_bits.get().into())
        .with_accounting(accounting)
        .with_search(search))
}

/// An array, with how layers are counted on it.
pub(super) fn in_words(mapping: &MappingConfig) -> String {
    format!(
        "{} with cells of {} bits, accounting {}, search {}",
        mapping.array, mapping.array.cell_bits, mapping.accounting, mapping.search
    )
}

/// Refuses flags for what training begins with, of a network that is there already, in `place`.
pub(super) fn trains_nothing(args: &JobFlags, place: &Path) -> Result<(), Error> {
    let network = &args.network;
    let is_there = "it is for training, or a network from a file, and the one";
    let flags = [
        (
            args.start_from
                .as_ref()
                .map(|dir| format!("--start-from {}", dir.display())),
            ["it is for training, and the network", "is trained"],
        ),
        (
            network
                .plan
                .observer
                .map(|observer| format!("--observer {observer}")),
            [
                "steps are measured before training, and those of the network",
                "are there",
            ],
        ),
        (
            network.from_scratch.then(|| "--from-scratch".to_owned()),
            [is_there, "is there as it is"],
        ),
        (
            network
                .input_size
                .filter(|_| network.opened.is_none())
                .map(|_| "--input-size".to_owned()),
            [is_there, "is there as it is"],
        ),
        (
            network.groups.map(|groups| format!("--groups {groups}")),
            ["it is for training, and the network", "has its own"],
        ),
    ];
    match flags.into_iter().find_map(|(flag, why)| Some((flag?, why))) {
        Some((flag, [whose, why])) => Err(Error::Recipe(format!(
            "{flag}: {whose} in {} {why}: leave it out",
            place.display()
        ))),
        None => Ok(()),
    }
}

/// Refuses flags for a structure that a network which is there already, in `place`, has not.
pub(in crate::cli) fn agrees<C: JobNetwork>(
    config: &C,
    args: &NetworkArgs,
    place: &Path,
) -> Result<(), Error> {
    let widths = args
        .widths
        .as_ref()
        .map(|widths| config.with_widths(widths))
        .transpose()?;
    let flag = if widths.is_some_and(|resized| resized != *config) {
        "--widths"
    } else if args.order.is_some_and(|order| config.order() != Some(order)) {
        "--order"
    } else if args
        .full_precision
        .is_some_and(|full| config.full_precision() != Some(full))
    {
        "--full-precision"
    } else {
        return Ok(());
    };
    Err(Error::Recipe(format!(
        "{flag}: the network in {} is another ({}, {}): leave the flag out, or name one like that",
        place.display(),
        config.precision(),
        config.widths_in_words()
    )))
}
