//! `vwc-sdk train`, `prune` and `test`: the steps of the main job, for any network on any data.

use clap::Args;

use super::job::{self, JobArgs, JobFlags, Mode, RoundFlags};
use super::networks::{NetworkKind, with_network};
use crate::Error;
use crate::train::project::ORIGINAL;

/// Train a network and keep it in a folder.
///
/// It is trained on the data set that it was published on where its files are there (--download fetches them), else on
/// digits that the program draws itself; --data and --data-dir choose others. The best epoch is kept, chosen on pictures
/// carved from the training split; the test split is looked at once, at the end.
#[derive(Args, Clone, Debug)]
#[command(after_help = TRAIN)]
pub struct TrainArgs {
    /// The network
    #[arg(long, value_enum)]
    pub network: NetworkKind,

    /// How.
    #[command(flatten)]
    pub flags: JobFlags,
}

const TRAIN: &str = "\
Examples:
  vwc-sdk train --network resnet20 --download --widths 16,32,64
  vwc-sdk train --network vgg13 --data folder --data-dir my-pictures --wb 2 --ab 4
  vwc-sdk prune --directory runs/cifar10_resnet20
  vwc-sdk test --directory runs/cifar10_resnet20";

/// Prune a trained network round by round, fine-tuning it after each, and keep every round in the folder.
///
/// A round prunes to the channel counts that the array computes in the fewest cycles, or by --ratio. Pictures, their
/// normalisation and variation, recipe, seed, array, accounting and search are those that the network was trained with, which
/// its folder keeps. A flag that changes one of them is said on standard error. Other pictures are refused, since accuracies
/// could not be compared.
#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// How.
    #[command(flatten)]
    pub flags: KeptFlags,
}

/// Test what is kept in a folder, the original and every round, on the data it was trained on unless flags say otherwise.
///
/// Other pictures are read as the network was trained: normalised in the same way, and with their classes matched by name.
/// Cycles are counted on the array, with the accounting and by the search that the last round was pruned for.
///
/// Where rounds for an array and rounds by --ratio are there, the latter are tested with --ratio.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// How.
    #[command(flatten)]
    pub flags: KeptFlags,
}

/// Flags for a network that is there already.
#[derive(Args, Clone, Debug)]
pub struct KeptFlags {
    /// The network [default: the one that --directory holds]
    #[arg(long, value_enum)]
    pub network: Option<NetworkKind>,

    /// How.
    #[command(flatten)]
    pub flags: JobFlags,

    /// How it is pruned.
    #[command(flatten)]
    pub rounds: RoundFlags,
}

/// Runs `vwc-sdk train`.
///
/// # Errors
///
/// Those of [`job::run`].
pub fn train(args: TrainArgs) -> Result<(), Error> {
    run(args.network, Mode::Train, args.flags, RoundFlags::default())
}

/// Runs `vwc-sdk prune`.
///
/// # Errors
///
/// Those of [`job::run`]; a folder that holds no network.
pub fn prune(args: PruneArgs) -> Result<(), Error> {
    kept(Mode::Prune, args.flags)
}

/// Runs `vwc-sdk test`.
///
/// # Errors
///
/// Those of [`job::run`]; a folder that holds no network.
pub fn test(args: TestArgs) -> Result<(), Error> {
    kept(Mode::Test, args.flags)
}

fn kept(mode: Mode, args: KeptFlags) -> Result<(), Error> {
    let network = match (args.network, &args.flags.directory) {
        (Some(network), _) => network,
        (None, Some(dir)) => NetworkKind::of_run(&dir.join(ORIGINAL))?,
        (None, None) => {
            return Err(Error::Recipe(
                "which network? Give the folder it is kept in with --directory DIR, or --network for the default folder"
                    .into(),
            ));
        }
    };
    run(network, mode, args.flags, args.rounds)
}

fn run(network: NetworkKind, mode: Mode, flags: JobFlags, rounds: RoundFlags) -> Result<(), Error> {
    with_network!(network, C => job::run::<C>(JobArgs { mode, flags, rounds }))
}
