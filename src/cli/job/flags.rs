//! The flags of the main job.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

use super::teacher::TeacherFlags;
use crate::DeviceName;
use crate::cli::choice::choice;
use crate::cli::networks::NetworkArgs;
use crate::cli::options::{LimitArgs, at_least_one, part, positive, up_to_max_rounds, zero_or_more};
use crate::cli::pictures::DataArgs;
use crate::mapping::{Accounting, PimArray, Search};
use crate::prune::{Ranking, Scope};
use crate::quant::Bits;
use crate::train::OptimizerKind;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Train the original, then prune it
    All,
    /// Train the original network and keep it in --directory
    Train,
    /// Prune the network kept in --directory, round by round
    Prune,
    /// Test what is kept in --directory
    Test,
}

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchedulerKind {
    /// To a tenth at milestones, as published: 50, 75 and 90 % of the epochs for CNN-8, in fine-tuning 25, 50 and 75 %; 37.5, 62.5 and
    /// 87.5 % for the others
    #[value(name = "multi-step", alias = "Multi_StepLR")]
    MultiStep,
    /// To a tenth every --step-size epochs
    #[value(name = "step", alias = "StepLR")]
    Step,
    /// Along half a cosine, to nothing behind the last epoch
    #[value(name = "cosine", alias = "CosineAnnealingLR")]
    Cosine,
}

/// How results are written on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables to read
    Table,
    /// One JSON object
    Json,
}

/// What to do, and the flags of the main job.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
    /// What to do
    #[arg(long, value_enum, default_value = "all")]
    pub mode: Mode,

    /// How.
    #[command(flatten)]
    pub flags: JobFlags,

    /// How it is pruned.
    #[command(flatten)]
    pub rounds: RoundFlags,
}

/// The flags of the main job. Names with underscores work too.
#[derive(Args, Clone, Debug)]
pub struct JobFlags {
    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,

    /// Epochs of training, or, where only pruning is asked for, of fine-tuning a round [default: as published, 100 and 40
    /// for CNN-8, 200 and 80 for ResNet-20, 400 and 80 for VGG-13; 30 and 10 for others; on the embedded digits 12 and 5, or 8
    /// and 4]
    #[arg(long, alias = "total_epochs", value_name = "N", value_parser = at_least_one, help_heading = "Recipe")]
    pub total_epochs: Option<usize>,

    /// Learning rate at the start [default: 0.001; in pruning, as it was trained]
    #[arg(long, value_parser = positive, allow_negative_numbers = true, help_heading = "Recipe")]
    pub lr: Option<f64>,

    /// Pictures per step [default: 512 for CNN-8 and ResNet-20, 128 for others; on the embedded digits 32; in pruning, as it was trained]
    #[arg(long, alias = "batch_size", value_name = "N", value_parser = at_least_one, help_heading = "Recipe")]
    pub batch_size: Option<usize>,

    /// What moves the weights [default: adam; in pruning, as it was trained]
    #[arg(long, value_parser = choice::<OptimizerKind>(), ignore_case = true, help_heading = "Recipe")]
    pub optim: Option<OptimizerKind>,

    /// How the learning rate falls [default: multi-step; in pruning, as it was trained]
    #[arg(long, value_enum, ignore_case = true, help_heading = "Recipe")]
    pub scheduler: Option<SchedulerKind>,

    /// Epochs between two falls with --scheduler step [default: 40; in pruning, as it was trained]
    #[arg(
        long,
        alias = "step_size",
        value_name = "N",
        value_parser = at_least_one,
        help_heading = "Recipe"
    )]
    pub step_size: Option<usize>,

    /// Epochs in which the learning rate rises to --lr, in training; in fine-tuning only where --mode prune is told so [default: 0]
    #[arg(long, alias = "warm_up", value_name = "N", help_heading = "Recipe")]
    pub warm_up: Option<usize>,

    /// By how much of itself a weight shrinks in a step, times the learning rate: weights of layers alone, not steps and clips of
    /// quantisers, batch norms and biases [default: none with adam, 5e-4 of all of them with sgd; in pruning, as it was trained]
    #[arg(long, alias = "weight_decay", value_name = "X", value_parser = zero_or_more, allow_negative_numbers = true, help_heading = "Recipe")]
    pub weight_decay: Option<f64>,

    /// The part of each picture's class that is spread over all classes in training [default: 0; in pruning, as it was trained]
    #[arg(long, alias = "label_smoothing", value_name = "PART", value_parser = part, allow_negative_numbers = true, help_heading = "Recipe")]
    pub label_smoothing: Option<f64>,

    /// Keep a moving average of the weights that keeps this part of itself in a step, such as 0.999: it is what is validated and saved
    /// [default: none; in pruning, as it was trained]
    #[arg(long, value_name = "PART", value_parser = part, allow_negative_numbers = true, help_heading = "Recipe")]
    pub ema: Option<f64>,

    /// Start training from the weights of this run, of the same network in other bits: a folder such as runs/x/original
    #[arg(
        long,
        alias = "start_from",
        value_name = "DIR",
        conflicts_with = "from_scratch",
        help_heading = "Recipe"
    )]
    pub start_from: Option<PathBuf>,

    /// Train in these bits first, one after the other, such as 32,8,4: each stage from the weights of the one before, with all epochs,
    /// in a folder beside the network's, and 32 bits in full precision
    #[arg(
        long,
        value_name = "BITS,...",
        value_delimiter = ',',
        conflicts_with = "start_from",
        help_heading = "Recipe"
    )]
    pub progressive: Vec<Bits>,

    /// What it learns from besides.
    #[command(flatten)]
    pub teacher: TeacherFlags,

    /// Seed of initial weights, order of pictures and dropout; of a new network also of the validation split [default: 0; of
    /// a network that is there already, what it was trained with]
    #[arg(long, help_heading = "Recipe")]
    pub seed: Option<u64>,

    /// The pictures.
    #[command(flatten)]
    pub data: DataArgs,

    /// PIM array that channels are searched for, rows x columns [default: as published, 256x512 for CNN-8, 512x256 for
    /// ResNet-20 and VGG-13; 256x256 for others; of a network that is there already, what it was trained or pruned for]
    #[arg(long, help_heading = "Mapping")]
    pub array: Option<PimArray>,

    /// Bits that a cell of the array holds; a weight of more bits takes several columns [default: 1; of a network that is
    /// there already, as with --array]
    #[arg(
        long,
        alias = "cell_bits",
        value_name = "BITS",
        value_parser = clap::value_parser!(u32).range(1..=32),
        help_heading = "Mapping"
    )]
    pub cell_bits: Option<u32>,

    /// Window search: `exact` takes the true optimum, `published` repeats the original's scan, which misses some [default:
    /// exact; of a network that is there already, as with --array]
    #[arg(long, value_parser = choice::<Search>(), help_heading = "Mapping")]
    pub search: Option<Search>,

    /// Feature map sizes: as the published tables count them, without padding, or as the network computes them
    /// [default: as-published for CNN-8 and ResNet-20, exact-geometry for others, for which there is no table; of a network that is there already,
    /// as with --array]
    #[arg(long, value_parser = choice::<Accounting>(), help_heading = "Mapping")]
    pub accounting: Option<Accounting>,

    /// Folder that networks, metrics and logs are kept in. A run that is there already is moved aside, not overwritten
    /// [default: runs/svhn_cnn8, runs/cifar10_resnet20 or runs/cifar10_vgg13; of a file runs/ and its name]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub directory: Option<PathBuf>,

    /// Go on where an earlier run of the same flags was stopped
    #[arg(long, help_heading = "Output")]
    pub resume: bool,

    /// Take files of the folder as they are, though they have changed since they were written: after an edit by hand
    #[arg(long, help_heading = "Output")]
    pub accept_changes: bool,

    /// How the results are written
    #[arg(long, value_enum, default_value = "table", help_heading = "Output")]
    pub format: Format,

    /// Device to compute on: flex or ndarray (the CPU), wgpu, vulkan, metal or cuda (a GPU, cuda:1 the second),
    /// remote:HOST:PORT (see `vwc-sdk serve`), or auto, the best that is found. `vwc-sdk devices` lists them
    #[arg(long, value_name = "DEVICE", default_value_t, help_heading = "Device")]
    pub device: DeviceName,

    /// Train on so many devices of that kind at once: each takes its share of every batch, normalises it by itself, and
    /// their gradients are added up
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Device")]
    pub devices: u32,
}

/// The flags of pruning, round by round.
#[derive(Args, Clone, Debug)]
pub struct RoundFlags {
    /// Epochs of fine-tuning a round where training and pruning are asked for at once [default: as above]
    #[arg(long, alias = "prune_epochs", value_name = "N", value_parser = at_least_one, help_heading = "Rounds")]
    pub prune_epochs: Option<usize>,

    /// In pruning, the first round to run, from the network of the round before it [default: 1]; in testing, the round to
    /// test, 0 for the original [default: all there are]
    #[arg(long, value_name = "N", value_parser = up_to_max_rounds, help_heading = "Rounds")]
    pub round: Option<usize>,

    /// Prune to the most channels that the array computes in so many cycles, a point of the exact front (see `vwc-sdk front`),
    /// instead of to the widths that fill the array
    #[arg(long, value_name = "N", conflicts_with = "ratio", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Rounds")]
    pub cycles: Option<u64>,

    /// Rounds to run at the most [default: 20; 1 with --ratio and --cycles]
    #[arg(long, value_name = "N", value_parser = up_to_max_rounds, help_heading = "Rounds")]
    pub f: Option<usize>,

    /// Prune this part of the channels in a round, instead of to the widths that fill the array
    #[arg(
        long,
        value_name = "PART",
        value_parser = part,
        allow_negative_numbers = true,
        help_heading = "Rounds"
    )]
    pub ratio: Option<f64>,

    /// With --ratio, whether every layer loses that part or the network as a whole
    #[arg(
        long,
        value_parser = choice::<Scope>(),
        default_value = "layer",
        requires = "ratio",
        help_heading = "Rounds"
    )]
    pub scope: Scope,

    /// What each width keeps, whatever chooses it.
    #[command(flatten, next_help_heading = "Rounds")]
    pub limits: LimitArgs,

    /// Which channels stay: l1, l2, bn-scale, geometric-median, random, or random:SEED
    #[arg(long, value_name = "RANKING", default_value = "l1", help_heading = "Rounds")]
    pub ranking: Ranking,

    /// Points of validation accuracy that a pruned network may lose to the original
    #[arg(
        long,
        value_name = "POINTS",
        default_value_t = 1.0,
        value_parser = zero_or_more,
        allow_negative_numbers = true,
        help_heading = "Rounds"
    )]
    pub budget: f64,
}

impl Default for RoundFlags {
    /// What stands there where no flag is given.
    fn default() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            rounds: RoundFlags,
        }
        Alone::parse_from([""]).rounds
    }
}
