//! CNN-8 on SVHN: trained with 1-bit weights and activations, mapped onto a 256x512 array, pruned to the channel
//! counts that the array computes in the fewest cycles, fine-tuned. About 93 % of the digits that the program draws itself.
//!
//! ```text
//! cargo run --release --example svhn_cnn8
//! cargo run --release --example svhn_cnn8 -- --help
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vwc_sdk::data::{DataKind, DataSource, Splits};
use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray};
use vwc_sdk::models::{Cnn8Config, NetworkConfig};
use vwc_sdk::train::{
    FitOptions, Project, Recipe, Results, Round, RoundsConfig, RunDir, evaluate, fit, initial, rounds,
};
use vwc_sdk::{DeviceName, Error};

/// Train CNN-8 on SVHN's street-number digits, then prune it to the channel counts that a PIM array computes in the fewest
/// cycles.
///
/// The pictures are SVHN's where its files are there, else digits that the program draws itself: then it takes a
/// minute or two on two cores. `vwc-sdk job` does the same with every setting as a flag, and downloads SVHN.
#[derive(Parser)]
struct Args {
    /// Folder of SVHN's files [default: datasets/svhn; where they are not there, digits that the program draws itself]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Folder that networks, metrics and logs are kept in
    #[arg(long, value_name = "DIR", default_value = "runs/svhn_cnn8")]
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
    let folder = args.data_dir.clone().unwrap_or_else(|| "datasets/svhn".into());
    let svhn = DataSource::at(DataKind::Svhn, folder);
    let published = args.data_dir.is_some() || svhn.is_present();
    let source = if published {
        svhn
    } else {
        DataSource::Synthetic { pictures: 8000 }
    };
    let pictures = source.load(Cnn8Config::new().input())?;
    let splits =
        Splits::carve(source.to_string(), pictures.train, pictures.test, 0.1, 0)?.with_origin(source);

    // Network: one bit for weights and for activations.
    let config = Cnn8Config::new();

    // Recipe: as published, or minutes for the drawn digits.
    let [training, fine_tuning] = if published {
        [Recipe::original(100), Recipe::fine_tuning(40)]
    } else {
        [Recipe::original(12), Recipe::fine_tuning(5)].map(|recipe| recipe.with_batch_size(32))
    };

    // Array, and how the published tables count on it.
    let mapping = MappingConfig::new(PimArray::new(256, 512)?).with_accounting(Accounting::AsPublished);

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
        &[],
    )?;

    // Pruned and fine-tuned, round by round, as long as no more than a point of accuracy is lost.
    let to_prune = RoundsConfig::new(mapping, start.valid_accuracy);
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
