//! `vwc-sdk job`, `train`, `prune` and `test`: the main job and its steps, for any network on any data.

use clap::Args;

use super::job::{self, JobArgs, JobFlags, Mode, RoundFlags};
use super::kind::{NetworkKind, with_network};
use super::networks::flag::NetworkFlag;
use crate::Error;
use crate::train::ORIGINAL;

/// Train a network and keep it in a folder.
///
/// It is trained on the data set that it was published on where its files are there (--download fetches them), else on
/// digits that the program draws itself; --data and --data-dir choose others. The best epoch is kept, chosen on pictures
/// carved from the training split; the test split is looked at once, at the end.
#[derive(Args, Clone, Debug)]
#[command(after_help = TRAIN)]
pub struct TrainArgs {
    /// The network: cnn8, resnet20 or vgg13; an ONNX file, whose weights training starts from; or the name of a published one that
    /// `vwc-sdk map --help` lists
    #[arg(long, value_name = "NETWORK")]
    pub network: NetworkFlag,

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

/// Train a network and prune it, or one of the two: everything that a job may be told, in one command.
///
/// Without --mode it is trained, pruned round by round, and tested: on the data set that it was published on where its files are
/// there (--download fetches them), else on digits that the program draws itself, in a few minutes on two cores.
#[derive(Args, Clone, Debug)]
#[command(after_help = JOB)]
pub struct JobCommand {
    /// The network: cnn8, resnet20 or vgg13; an ONNX file, whose weights training starts from; or the name of a published one that
    /// `vwc-sdk map --help` lists
    #[arg(long, value_name = "NETWORK")]
    pub network: NetworkFlag,

    /// How.
    #[command(flatten)]
    pub job: JobArgs,
}

const JOB: &str = "\
Examples:
  The published job, on all of SVHN, and on CIFAR-10:
    vwc-sdk job --network cnn8 --download
    vwc-sdk job --network resnet20 --download

  Its two halves as VWC-SDK's scripts have them, and a test of what they left in runs/svhn_cnn8:
    vwc-sdk job --network cnn8 --mode train --q 1 --ab 1 --wb 1 --total_epochs 100 --lr 0.001
    vwc-sdk job --network cnn8 --mode prune --q 1 --ab 1 --wb 1 --total_epochs 40 --lr 0.001
    vwc-sdk job --network cnn8 --mode test

  1-bit weights with 2-bit activations, another array, results for another program:
    vwc-sdk job --network cnn8 --ab 2 --array 512x512 --format json

  A third of the channels fewer, in multiples of eight, by the scale of their batch norms:
    vwc-sdk job --network resnet20 --mode prune --ratio 0.33 --multiple 8 --ranking bn-scale";

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
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<NetworkFlag>,

    /// How.
    #[command(flatten)]
    pub flags: JobFlags,

    /// How it is pruned.
    #[command(flatten)]
    pub rounds: RoundFlags,
}

/// Runs `vwc-sdk job`.
///
/// # Errors
///
/// Those of [`job::run`].
pub fn job(args: JobCommand) -> Result<(), Error> {
    let JobArgs { mode, flags, rounds } = args.job;
    run(&args.network, mode, flags, rounds)
}

/// Runs `vwc-sdk train`.
///
/// # Errors
///
/// Those of [`job::run`].
pub fn train(args: TrainArgs) -> Result<(), Error> {
    run(&args.network, Mode::Train, args.flags, RoundFlags::default())
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
    match (&args.network, &args.flags.directory) {
        (Some(network), _) => run(network, mode, args.flags, args.rounds),
        (None, Some(dir)) => {
            let network = NetworkKind::of_run(&dir.join(ORIGINAL))?;
            run_kind(network, mode, args.flags, args.rounds)
        }
        (None, None) => Err(Error::Recipe(
            "which network? Give the folder it is kept in with --directory DIR, or --network for the default folder".into(),
        )),
    }
}

fn run(network: &NetworkFlag, mode: Mode, mut flags: JobFlags, rounds: RoundFlags) -> Result<(), Error> {
    let (kind, network) = network.open(flags.network, flags.start_from.is_some())?;
    flags.network = network;
    run_kind(kind, mode, flags, rounds)
}

fn run_kind(network: NetworkKind, mode: Mode, flags: JobFlags, rounds: RoundFlags) -> Result<(), Error> {
    with_network!(network, C => job::run::<C>(JobArgs { mode, flags, rounds }))
}
