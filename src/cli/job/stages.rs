//! Training in fewer and fewer bits: a run for each stage, which starts from the weights of the one before.

use std::path::PathBuf;
use std::sync::Arc;

use super::flags::{JobArgs, Mode};
use super::{Job, with_advice};
use crate::Error;
use crate::cli::networks::JobNetwork;
use crate::cli::networks::plan::PlanArgs;
use crate::cli::opened::Opened;
use crate::models::NetworkConfig as _;
use crate::quant::Bits;
use crate::train::ORIGINAL;

/// Classes that every network of this crate can tell apart.
const CLASSES: usize = 10;

/// Trains the stages that `--progressive` names, and returns the flags of what is left to do: it starts from the last of them.
///
/// # Errors
///
/// Stages of a network that is not trained or not quantised, or in another order, and those of their trainings.
pub(super) fn through<C: JobNetwork>(mut args: JobArgs) -> Result<JobArgs, Error> {
    let stages = std::mem::take(&mut args.flags.progressive);
    if stages.is_empty() {
        return Ok(args);
    }
    check(&args, &stages)?;
    // What is refused in the end is refused before the first stage is trained.
    let classes = |opened: &Arc<Opened>| opened.config.classes();
    C::from_args(
        &args.flags.network,
        args.flags.network.opened.as_ref().map_or(CLASSES, classes),
        false,
    )?;
    let last = args.flags.directory.clone();
    let last = last.unwrap_or_else(|| C::directory(&args.flags.network));
    for bits in stages {
        let folder = folder(&last, bits);
        let from = folder.join(ORIGINAL);
        let job = Job::<C>::new(stage(args.clone(), bits, folder.clone()))?;
        say!("{bits} bits first, in {}", folder.display());
        job.name
            .guard(|| job.train().map(drop))
            .map_err(|error| with_advice(error, job.mode))?;
        args.flags.start_from = Some(from);
        args.flags.network.from_scratch = false;
    }
    Ok(args)
}

fn check(args: &JobArgs, stages: &[Bits]) -> Result<(), Error> {
    let refuse = |reason: &str| Err(Error::Recipe(format!("--progressive: {reason}")));
    if !matches!(args.mode, Mode::Train | Mode::All) {
        return refuse("it is for training, and the network is trained: leave it out");
    }
    let network = &args.flags.network;
    if network.q == Some(0) {
        return refuse("the network is not quantised in the end: leave out --q 0");
    }
    let most = network.wb.into_iter().chain(network.ab).max();
    if network.opened.is_some() && most.is_none() {
        return refuse("say how many bits in the end with --wb and --ab");
    }
    let falling = stages.windows(2).all(|pair| pair[0] > pair[1]);
    let least = [network.wb, network.ab].map(|bits| bits.unwrap_or(Bits::FULL));
    let fewer = most.is_none() || stages.iter().all(|stage| least.iter().any(|bits| bits < stage));
    if !falling || !fewer {
        return refuse("expected fewer bits from stage to stage, such as 32,8,4, and fewer in the end");
    }
    Ok(())
}

/// Where the stage of so many bits is kept: beside the network.
fn folder(last: &std::path::Path, bits: Bits) -> PathBuf {
    let mut name = last.as_os_str().to_owned();
    name.push(format!("-{bits}bit"));
    PathBuf::from(name)
}

/// The flags of a stage.
fn stage(mut args: JobArgs, bits: Bits, folder: PathBuf) -> JobArgs {
    args.mode = Mode::Train;
    args.flags.directory = Some(folder);
    let network = &mut args.flags.network;
    if bits == Bits::FULL {
        (network.q, network.wb, network.ab) = (Some(0), None, None);
        network.plan = PlanArgs::default();
    } else {
        // A side that stays in full precision does so in every stage.
        let side = |own: Option<Bits>| match own {
            Some(Bits::FULL) => Some(Bits::FULL),
            own => Some(own.map_or(bits, |own| own.max(bits))),
        };
        (network.wb, network.ab) = (side(network.wb), side(network.ab));
        network.plan.on_the_way = true;
    }
    args
}
