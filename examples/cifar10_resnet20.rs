//! ResNet-20 on CIFAR-10: trained with 2-bit weights and activations, mapped onto a 512x256 array, pruned to the channel
//! counts that the array computes in the fewest cycles, fine-tuned. On the digits that the program draws itself
//! about 86 % of the test pictures, and 93 % after pruning and its fine-tuning.
//!
//! ```text
//! cargo run --release --example cifar10_resnet20
//! cargo run --release --example cifar10_resnet20 -- --help
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vwc_sdk::data::{DataKind, DataSource, Splits, cifar10};
use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray};
use vwc_sdk::models::{NetworkConfig, ResNet20Config};
use vwc_sdk::train::{
    FitOptions, Project, Recipe, Results, Round, RoundsConfig, RunDir, evaluate, fit, initial, rounds,
};
use vwc_sdk::{DeviceName, Error};

/// Train ResNet-20 on CIFAR-10, then prune it to the channel counts that a PIM array computes in the fewest cycles.
///
/// The pictures are CIFAR-10's where its files are there, else digits that the program draws itself: then the
/// network is a quarter as wide, and it takes a few minutes on two cores. `vwc-sdk job` does the same with every setting as
/// a flag, and downloads CIFAR-10.
#[derive(Parser)]
struct Args {
    /// Folder of CIFAR-10's files [default: datasets/cifar10; where they are not there, digits that the program draws itself]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Folder that networks, metrics and logs are kept in
    #[arg(long, value_name = "DIR", default_value = "runs/cifar10_resnet20")]
    directory: PathBuf,

    /// Go on where an earlier run was stopped
    #[arg(long)]
    resume: bool,

    /// Device to compute on: flex (the CPU), wgpu, vulkan, metal or cuda (a GPU). `vwc-sdk devices` lists them
    #[arg(long, default_value_t)]
    device: DeviceName,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let device = args.device.found()?.init()?;
    let devices = [device.clone()];

    // Data. A tenth of the training pictures is kept back to choose the best epoch on.
    let folder = args.data_dir.clone().unwrap_or_else(|| "datasets/cifar10".into());
    let files = DataSource::at(DataKind::Cifar10, folder);
    let published = args.data_dir.is_some() || files.is_present();
    let source = if published {
        files
    } else {
        DataSource::Synthetic { pictures: 8000 }
    };
    let pictures = source.load(ResNet20Config::new().input())?;
    let splits =
        Splits::carve(source.to_string(), pictures.train, pictures.test, 0.1, 0)?.with_origin(source);
    let splits = if published {
        splits.with_augment(cifar10::AUGMENT)
    } else {
        splits
    };

    // Network: two bits for weights and for activations.
    let widths = if published { [64, 128, 256] } else { [16, 32, 64] };
    let config = ResNet20Config::new().with_widths(widths);

    // Recipe: as published, or minutes for the drawn digits.
    let (epochs, batch) = if published { ([200, 80], 512) } else { ([8, 4], 32) };
    let [training, fine_tuning] =
        epochs.map(|epochs| Recipe::with_milestones_at(epochs, [0.375, 0.625, 0.875]).with_batch_size(batch));

    // Array, and how the published tables count on it: without the convolutions on shortcuts.
    let mapping = MappingConfig::new(PimArray::new(512, 256)?)
        .with_weight_bits(2)
        .with_accounting(Accounting::AsPublished);
    let left_out = ["*.shortcut".to_owned()];

    // One folder for the network and its rounds; what an earlier run left there moves aside.
    let project = Project::new(&args.directory);
    let _lock = project.lock()?;
    if !args.resume {
        project.retire(0)?;
    }
    let train = |network, name: &str, recipe: &Recipe| {
        let run = RunDir::new(project.path().join(name.to_lowercase()));
        let options = FitOptions::new(&splits, recipe, run, &devices)
            .with_label(name)
            .with_resume(args.resume)
            .with_mapping(Some(mapping));
        fit(network, options)
    };
    let original = train(initial(&config, 0, &device)?, "original", &training)?;
    let start = Round::new(
        "original",
        original.network,
        original.best.valid_accuracy,
        &mapping,
        &left_out,
    )?;

    // Pruned and fine-tuned, round by round, as long as no more than a point of accuracy is lost.
    let to_prune = RoundsConfig::new(mapping, start.valid_accuracy).with_layers_left_out(left_out);
    let pruned = rounds(start, 0, &to_prune, |round, network| {
        let fit = train(network, &format!("RCP{round}"), &fine_tuning)?;
        Ok((fit.network, fit.best.valid_accuracy))
    })?;

    // The one look at the test pictures.
    let tests = (pruned.rounds.iter())
        .map(|round| evaluate(&round.network, &splits.test, &device))
        .collect::<Result<Vec<_>, _>>()?;
    let how = to_prune.widths.in_words(&mapping, to_prune.ranking);
    let results = Results::of(&pruned.rounds, &tests, &splits, training.seed, mapping);
    let results = results.with_pruning(pruned.winner, pruned.stopped, how);
    project.write_results(&results.to_json())?;
    print!("{}", results.tables(&pruned.rounds));
    Ok(())
}
