//! Training as a library: learning, determinism, resuming, what a run leaves behind, and what it refuses.
#![cfg(feature = "train")]

mod common;

use std::fs;
use std::path::Path;

use burn::data::dataloader::DataLoader;
use burn::data::dataset::Dataset;
use burn::data::dataset::transform::Mapper;
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use common::values;
use tempfile::TempDir;
use vwc_sdk::Error;
use vwc_sdk::data::{
    Augment, Normalization, PictureDataset, PictureItem, PictureLoader, PictureSpec, Resize, Splits, cifar10,
    synthetic,
};
use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray, Search};
use vwc_sdk::models::{
    BlockOrder, Cnn8, Cnn8Config, FullPrecision, Network, NetworkConfig, ResNet20Config, Vgg13Config, Widths,
};
use vwc_sdk::module::Parameters;
use vwc_sdk::prune::{Ranking, prune};
use vwc_sdk::train::{
    EpochMetrics, Fit, FitOptions, Interrupter, OptimizerKind, Recipe, Round, RoundsConfig, RunDir, Schedule,
    StopReason, evaluate, fit, rounds, run_network,
};

fn splits() -> Splits {
    Splits::carve(
        "synthetic digits",
        synthetic::digits(120, 1),
        synthetic::digits(40, 2),
        0.2,
        0,
    )
    .unwrap()
}

fn small() -> Cnn8Config {
    Cnn8Config::new().with_widths([4, 4, 4, 6, 6, 6, 12])
}

fn recipe(epochs: usize) -> Recipe {
    Recipe::new(epochs, Schedule::MultiStep(vec![2]))
        .with_batch_size(32)
        .with_seed(3)
}

fn train(dir: &Path, recipe: &Recipe, resume: bool, interrupter: Interrupter) -> Result<Fit<Cnn8>, Error> {
    train_on(&splits(), &small(), dir, recipe, resume, interrupter)
}

fn train_on(
    splits: &Splits,
    config: &Cnn8Config,
    dir: &Path,
    recipe: &Recipe,
    resume: bool,
    interrupter: Interrupter,
) -> Result<Fit<Cnn8>, Error> {
    let device = Device::default();
    device.seed(recipe.seed);
    let options = FitOptions::new(splits, recipe, RunDir::new(dir), std::slice::from_ref(&device))
        .with_label("test")
        .with_resume(resume)
        .with_interrupter(interrupter);
    fit(config.init(&device), options)
}

fn losses(dir: &Path) -> Vec<(usize, f64, f64, f64)> {
    let rows = RunDir::new(dir).metrics().unwrap();
    rows.iter()
        .map(|row| (row.epoch, row.train_loss, row.valid_loss, row.valid_accuracy))
        .collect()
}

/// Devices draw their random numbers from one place in a process, so tests that draw from it take turns.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn a_run_learns_and_leaves_its_folder() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    // Full precision on a few pictures: the loss has to fall fast.
    let config = Cnn8Config::new()
        .with_widths([8, 8, 8, 16, 16, 16, 32])
        .with_quantized(false)
        .with_dropout(0.0);
    for ema in [None, Some(0.8)] {
        let recipe = recipe(8)
            .with_schedule_all()
            .with_learning_rate(0.003)
            .with_ema(ema);
        learns_and_leaves_its_folder(&recipe, &config, &run);
    }
}

fn learns_and_leaves_its_folder(recipe: &Recipe, config: &Cnn8Config, run: &Path) {
    let fit = train_on(&splits(), config, run, recipe, false, Interrupter::new()).unwrap();
    let metrics = RunDir::new(run).metrics().unwrap();
    assert_eq!(metrics.len(), 8);
    assert!(metrics[7].train_loss < 0.8 * metrics[0].train_loss, "{metrics:?}");

    // The best epoch is the one with the highest validation accuracy, the first of equals.
    let best = metrics.iter().map(|row| row.valid_accuracy).fold(0.0, f64::max);
    let first = metrics.iter().find(|row| row.valid_accuracy == best).unwrap();
    assert_eq!(fit.best, *first);
    for file in ["config.json", "metrics.csv", "model.bpk", "run.log"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let log = fs::read_to_string(run.join("run.log")).unwrap();
    assert_eq!(log.lines().count(), 8, "{log}");
    assert!(
        fs::read_to_string(run.join("config.json"))
            .unwrap()
            .contains("synthetic")
    );

    // What was measured while training is what an evaluation of the saved network finds.
    let device = Device::default();
    let (network, saved) = RunDir::new(run).load::<Cnn8Config>(&device).unwrap();
    assert_eq!(&saved.structure, config);
    let splits = splits();
    let found = evaluate(&network, &splits.valid, &device).unwrap();
    assert_eq!(found.total, splits.valid.len());
    assert!(
        (found.accuracy() - best).abs() < 1e-9,
        "{} {best}",
        found.accuracy()
    );
    let x = common::tensor(&common::noise(1, 4800), [1, 3, 40, 40], &device);
    assert_eq!(
        values(&network.forward(x.clone())),
        values(&fit.network.forward(x))
    );
}

trait WithoutMilestones {
    fn with_schedule_all(self) -> Self;
}

impl WithoutMilestones for Recipe {
    fn with_schedule_all(self) -> Self {
        Recipe {
            schedule: Schedule::MultiStep(vec![]),
            ..self
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let run = |name: &str, seed| {
        let path = dir.path().join(name);
        train(&path, &recipe(2).with_seed(seed), false, Interrupter::new()).unwrap();
        losses(&path)
    };
    let first = run("a", 3);
    assert_eq!(first, run("b", 3));
    assert_ne!(first, run("c", 4));
}

/// Stops a training as soon as its first epoch is written down in `dir`.
fn stop_after_an_epoch(dir: &Path) -> (Interrupter, std::thread::JoinHandle<()>) {
    let interrupter = Interrupter::new();
    let (stop, metrics) = (interrupter.clone(), dir.join("metrics.csv"));
    let fresh = std::time::SystemTime::now();
    let watcher = std::thread::spawn(move || {
        while !fs::metadata(&metrics)
            .and_then(|m| m.modified())
            .is_ok_and(|time| time >= fresh)
        {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        stop.stop(Some("test"));
    });
    (interrupter, watcher)
}

#[test]
fn a_pruned_resnet20_on_varied_pictures_resumes_to_the_same_end() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let (device, splits) = (Device::default(), splits().with_augment(cifar10::AUGMENT));
    let config = ResNet20Config::new().with_widths([4, 5, 6]);
    device.seed(1);
    let pruned = prune(
        &config.init(&device),
        &[3, 2, 4, 1, 4, 5, 5, 2, 3, 6, 6, 5],
        Ranking::L1,
    )
    .unwrap();
    let structure = pruned.network.structure();
    assert_eq!(structure.widths(), [3, 2, 4, 1, 5, 4, 5, 2, 6, 3, 6, 5]);
    let tune = |name: &str, resume, interrupter| {
        let recipe = recipe(4);
        let options = FitOptions::new(
            &splits,
            &recipe,
            RunDir::new(dir.path().join(name)),
            std::slice::from_ref(&device),
        )
        .with_label("test")
        .with_resume(resume)
        .with_interrupter(interrupter);
        fit(pruned.network.clone(), options)
    };
    tune("whole", false, Interrupter::new()).unwrap();
    let broken = dir.path().join("broken");
    let (interrupter, watcher) = stop_after_an_epoch(&broken);
    let error = tune("broken", false, interrupter).unwrap_err();
    watcher.join().unwrap();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    let resumed = tune("broken", true, Interrupter::new()).unwrap();
    assert_eq!(losses(&broken), losses(&dir.path().join("whole")));

    // Read again with no other information, it is the network that it was.
    let (network, run) = RunDir::new(&broken).load::<ResNet20Config>(&device).unwrap();
    assert_eq!(run.structure, structure);
    assert!(run.shapes.is_empty(), "the structure says all: {:?}", run.shapes);
    assert_eq!(run_network(&broken).unwrap(), "ResNet-20");
    let x = common::tensor(&common::noise(1, 2 * 3 * 32 * 32), [2, 3, 32, 32], &device);
    assert_eq!(
        values(&network.forward(x.clone())),
        values(&resumed.network.forward(x))
    );
    let tested = |network| evaluate(network, &splits.test, &device).unwrap();
    assert_eq!(tested(&network), tested(&resumed.network));
}

/// Where a network has layers that its forward pass leaves out, they are pruned too: the structure says the shapes of all.
#[test]
fn pruned_networks_of_every_form_are_read_back() {
    fn check<C: NetworkConfig>(config: C, widths: &[usize]) {
        let dir = TempDir::new().unwrap();
        let (run, device) = (RunDir::new(dir.path().join("run")), Device::default());
        let network = prune(&config.init(&device), widths, Ranking::L1).unwrap().network;
        let input = PictureSpec::numbered(config.input(), config.classes());
        run.import(&network, &input, "a program").unwrap();
        let what = format!("{} {}", C::NAME, config.precision());
        let (read, saved) = run
            .load::<C>(&device)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(saved.shapes.is_empty(), "{what}: {:?}", saved.shapes);
        assert_eq!(saved.structure, network.structure(), "{what}");
        let (found, expected) = (Parameters::of(&read), Parameters::of(&network));
        assert!(found.iter().eq(expected.iter()), "{what}");
    }
    let _turn = turn();
    let resnet20 = ResNet20Config::new().with_widths([4, 5, 6]);
    let widths = [3, 2, 4, 1, 4, 5, 5, 2, 3, 6, 6, 5];
    check(resnet20.clone(), &widths);
    check(resnet20.clone().with_order(BlockOrder::PreActivation), &widths);
    check(small(), &[3, 2, 4, 1, 6, 5, 9]);
    let vgg13 = Vgg13Config::new().with_widths([4; 10]).with_hidden([6, 7]);
    let narrow = [3, 2, 4, 1, 3, 4, 4, 3, 2, 1, 5, 6];
    check(vgg13.clone(), &narrow);
    check(
        vgg13
            .with_quantized(false)
            .with_full_precision(FullPrecision::Published),
        &narrow,
    );
    let resnet20 = resnet20.with_quantized(false);
    check(resnet20.clone(), &widths);
    check(resnet20.with_full_precision(FullPrecision::Published), &widths);
}

#[test]
fn a_stopped_run_resumes_to_the_same_end() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let everything = Recipe::new(4, Schedule::Cosine)
        .with_batch_size(32)
        .with_seed(3)
        .with_warm_up(Some(1))
        .with_weight_decay(Some(0.1))
        .with_label_smoothing(Some(0.1))
        .with_ema(Some(0.9));
    for recipe in [
        recipe(4),
        recipe(4).with_optimizer(OptimizerKind::Sgd),
        everything.clone(),
        everything.with_optimizer(OptimizerKind::Sgd),
    ] {
        train(&whole, &recipe, false, Interrupter::new()).unwrap();

        let (interrupter, watcher) = stop_after_an_epoch(&broken);
        let error = train(&broken, &recipe, false, interrupter).unwrap_err();
        watcher.join().unwrap();
        let Error::Interrupted { epoch, .. } = &error else {
            panic!("{error}")
        };
        assert!((1..4).contains(epoch), "{error}");
        assert!(error.to_string().contains("--resume"), "{error}");
        assert!(!RunDir::new(&broken).is_complete());

        let resumed = train(&broken, &recipe, true, Interrupter::new()).unwrap();
        assert_eq!(losses(&broken), losses(&whole));
        // Once more: the finished run is read back, not trained again.
        let again = train(&broken, &recipe, true, Interrupter::new()).unwrap();
        assert_eq!(again.best, resumed.best);
        fs::remove_dir_all(&whole).unwrap();
        fs::remove_dir_all(&broken).unwrap();
    }
}

#[test]
fn resuming_another_run_is_refused_and_harms_nothing() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    train(&run, &recipe(1), false, Interrupter::new()).unwrap();
    let model = fs::read(run.join("model.bpk")).unwrap();
    let one_bit = vwc_sdk::quant::Bits::ONE;
    let other = [
        (small().with_widths([4, 4, 4, 6, 6, 6, 10]), recipe(1), "widths"),
        (
            small().with_weight_bits(vwc_sdk::quant::Bits::new(2).unwrap()),
            recipe(1),
            "precision",
        ),
        (
            small().with_activation_bits(one_bit),
            recipe(2),
            "epochs is 1, asked for is 2",
        ),
    ];
    for (config, recipe, what) in other {
        let error = train_on(&splits(), &config, &run, &recipe, true, Interrupter::new()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(what) && message.contains("config.json"),
            "{message}"
        );
    }
    let augment = Augment { flip: true, pad: 1 };
    let varied = splits().with_augment(augment);
    let again = |splits: &Splits| train_on(splits, &small(), &run, &recipe(1), true, Interrupter::new());
    let message = again(&varied).unwrap_err().to_string();
    assert!(
        message.contains("augmentation is none, asked for is flip and crop from a margin of 1"),
        "{message}"
    );
    assert_eq!(fs::read(run.join("model.bpk")).unwrap(), model);

    // Runs of before these were saved are still read.
    let path = run.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let fields = config.as_object_mut().unwrap();
    for since in ["augment", "input", "source", "checksums", "mapping", "loss"] {
        assert!(fields.remove(since).is_some(), "{since}");
    }
    fs::remove_file(run.join("manifest.json")).unwrap();
    fs::write(&path, config.to_string()).unwrap();
    again(&splits()).unwrap();
}

#[test]
fn pictures_to_train_on_are_varied_where_asked() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let (plain, varied) = (dir.path().join("plain"), dir.path().join("varied"));
    train(&plain, &recipe(1), false, Interrupter::new()).unwrap();
    let augment = Augment { flip: true, pad: 4 };
    let splits = splits().with_augment(augment);
    train_on(&splits, &small(), &varied, &recipe(1), false, Interrupter::new()).unwrap();
    assert_ne!(losses(&plain)[0].1, losses(&varied)[0].1);
    let config = RunDir::new(&varied).config::<Cnn8Config>().unwrap();
    assert_eq!(config.augment, augment);
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let recipe = recipe(3).with_ema(Some(0.5));
    train(&whole, &recipe, false, Interrupter::new()).unwrap();
    for part in ["model", "optim", "scheduler", "average"] {
        train(&broken, &recipe, false, Interrupter::new()).unwrap();
        // As if the run had been cut off after its last epoch, and a file of that had suffered.
        fs::remove_file(broken.join("model.bpk")).unwrap();
        fs::write(broken.join(format!("checkpoint/{part}-3.bpk")), [0x5a; 200]).unwrap();
        train(&broken, &recipe, true, Interrupter::new()).unwrap();
        assert_eq!(losses(&broken), losses(&whole), "{part}");
        fs::remove_dir_all(&broken).unwrap();
    }
}

#[test]
fn damaged_files_are_named() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    train(&run, &recipe(1), false, Interrupter::new()).unwrap();
    let device = Device::default();
    let load = || {
        RunDir::new(&run)
            .load::<Cnn8Config>(&device)
            .unwrap_err()
            .to_string()
    };

    let model = fs::read(run.join("model.bpk")).unwrap();
    for cut in [0, 10, model.len() / 2, model.len() - 1] {
        fs::write(run.join("model.bpk"), &model[..cut]).unwrap();
        let message = load();
        assert!(
            message.contains("model.bpk") && message.contains("not as the run wrote it"),
            "{cut}: {message}"
        );
    }
    // A weight that is no number.
    let (network, _) = {
        fs::write(run.join("model.bpk"), &model).unwrap();
        RunDir::new(&run).load::<Cnn8Config>(&device).unwrap()
    };
    let mut parameters = Parameters::of(&network);
    let shape = parameters.get("convs.3.weight").unwrap().shape().to_vec();
    let mut weights = parameters.values("convs.3.weight").unwrap().to_vec();
    weights[5] = f32::INFINITY;
    parameters.insert("convs.3.weight", TensorData::new(weights, shape));
    let network = parameters.put_into(network).unwrap();
    network.into_record().save(run.join("model.bpk")).unwrap();
    RunDir::new(&run).accept_changes().unwrap();
    assert!(
        load().contains("convs.3.weight holds NaN or infinity"),
        "{}",
        load()
    );
    // Weights of other widths than config.json says.
    let wide = Cnn8Config::new().init(&device);
    wide.into_record().save(run.join("model.bpk")).unwrap();
    RunDir::new(&run).accept_changes().unwrap();
    assert!(load().contains("config.json"), "{}", load());
    fs::remove_file(run.join("model.bpk")).unwrap();
    assert!(load().contains("model.bpk is missing"), "{}", load());
    let config = fs::read_to_string(run.join("config.json")).unwrap();
    for (field, value) in [("dropout", "1.5"), ("classes", "0")] {
        let mut json: serde_json::Value = serde_json::from_str(&config).unwrap();
        json["structure"][field] = value.parse().unwrap();
        fs::write(run.join("config.json"), json.to_string()).unwrap();
        RunDir::new(&run).accept_changes().unwrap();
        assert!(
            load().contains("config.json") && load().contains(field),
            "{}",
            load()
        );
    }
    // Wider than the weights beside it, which no network is made to find out.
    let mut json: serde_json::Value = serde_json::from_str(&config).unwrap();
    fs::write(run.join("model.bpk"), &model).unwrap();
    json["structure"]["widths"] = vec![8192; 7].into();
    fs::write(run.join("config.json"), json.to_string()).unwrap();
    RunDir::new(&run).accept_changes().unwrap();
    assert!(load().contains("not those of the network"), "{}", load());
    // Names are shown and not obeyed.
    json["network"] = "CNN-8\u{1b}[2J".into();
    fs::write(run.join("config.json"), json.to_string()).unwrap();
    assert!(load().contains("this is a run of CNN-8\\u{1b}[2J"), "{}", load());
    // Before version 0.4 the pictures of a run were said in words, with as many as it had.
    let mut json: serde_json::Value = serde_json::from_str(&config).unwrap();
    json.as_object_mut().unwrap().remove("input");
    json["source"] = serde_json::Value::Null;
    json["pictures"] = vec![usize::MAX; 3].into();
    fs::write(run.join("config.json"), json.to_string()).unwrap();
    RunDir::new(&run).accept_changes().unwrap();
    let source = RunDir::new(&run).config::<Cnn8Config>().unwrap().source.unwrap();
    assert!(source.load([40, 40]).is_err());
    fs::write(run.join("config.json"), "{}").unwrap();
    assert!(load().contains("config.json"), "{}", load());
    fs::remove_file(run.join("config.json")).unwrap();
    assert!(matches!(
        RunDir::new(&run).load::<Cnn8Config>(&device),
        Err(Error::NoModel { .. })
    ));
}

#[test]
fn an_earlier_run_is_moved_aside() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    train(&run, &recipe(1), false, Interrupter::new()).unwrap();
    let model = fs::read(run.join("model.bpk")).unwrap();
    train(&run, &recipe(1).with_seed(9), false, Interrupter::new()).unwrap();
    assert_eq!(fs::read(dir.path().join("run.1/model.bpk")).unwrap(), model);
    assert_ne!(fs::read(run.join("model.bpk")).unwrap(), model);
}

#[test]
fn recipes_and_splits_that_make_no_sense_are_refused() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let bad = [
        (recipe(0), "0 epochs"),
        (recipe(1).with_batch_size(0), "a batch of 0"),
        (
            recipe(1).with_batch_size(97),
            "a batch of 97 does not fit 96 training pictures",
        ),
        (recipe(1).with_learning_rate(-1.0), "learning rate of -1"),
        (recipe(1).with_learning_rate(f64::NAN), "learning rate of NaN"),
        (Recipe::new(3, Schedule::MultiStep(vec![2, 1])), "rising order"),
        (Recipe::new(3, Schedule::Step(0)), "from 1 on"),
        (
            recipe(3).with_warm_up(Some(2)),
            "a warm-up of 2 epochs (--warm-up) leaves none of",
        ),
        (recipe(3).with_weight_decay(Some(-1.0)), "weight decay of -1"),
        (recipe(3).with_weight_decay(Some(f64::NAN)), "weight decay of NaN"),
        (recipe(3).with_label_smoothing(Some(1.0)), "label smoothing of 1"),
        (
            recipe(3).with_ema(Some(1.0)),
            "moving average that keeps 1 of itself",
        ),
    ];
    for (recipe, expected) in bad {
        let recipe = if recipe.batch_size == 512 {
            recipe.with_batch_size(32)
        } else {
            recipe
        };
        let error = train(&dir.path().join("run"), &recipe, false, Interrupter::new()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!dir.path().join("run").exists());
    }
    for share in [0.0, 1.0, -0.5, 0.001, f64::NAN] {
        let carved = Splits::carve("x", synthetic::digits(20, 1), synthetic::digits(5, 2), share, 0);
        assert!(
            carved.unwrap_err().to_string().contains("leaves a split empty"),
            "{share}"
        );
    }
}

#[test]
fn published_recipes_fall_where_published() {
    assert_eq!(
        Recipe::original(100).schedule,
        Schedule::MultiStep(vec![50, 75, 90])
    );
    assert_eq!(
        Recipe::fine_tuning(40).schedule,
        Schedule::MultiStep(vec![10, 20, 30])
    );
    let recipe = Recipe::original(100);
    for (epoch, rate) in [
        (1, 1e-3),
        (50, 1e-3),
        (51, 1e-4),
        (75, 1e-4),
        (76, 1e-5),
        (91, 1e-6),
        (100, 1e-6),
    ] {
        assert!(
            (recipe.learning_rate_at(epoch) / rate - 1.0).abs() < 1e-9,
            "epoch {epoch}"
        );
    }
    let step = Recipe::new(100, Schedule::Step(40));
    for (epoch, rate) in [(40, 1e-3), (41, 1e-4), (80, 1e-4), (81, 1e-5)] {
        assert!(
            (step.learning_rate_at(epoch) / rate - 1.0).abs() < 1e-9,
            "epoch {epoch}"
        );
    }
    // After two epochs of warm-up half a cosine over the eight that are left.
    let cosine = Recipe::new(10, Schedule::Cosine).with_warm_up(Some(2));
    for (epoch, share) in [
        (1, 1.0 / 3.0),
        (2, 2.0 / 3.0),
        (3, 1.0),
        (7, 0.5),
        (10, 0.038_060_233_744_356_6),
    ] {
        assert!(
            (cosine.learning_rate_at(epoch) / 1e-3 - share).abs() < 1e-9,
            "epoch {epoch}"
        );
    }
    for epochs in 1..30 {
        Recipe::original(epochs).with_batch_size(1).validate(1).unwrap();
        Recipe::fine_tuning(epochs)
            .with_batch_size(1)
            .validate(1)
            .unwrap();
    }
}

#[test]
fn validation_is_carved_from_training_without_overlap() {
    let pictures = synthetic::digits(100, 5);
    let splits = Splits::carve("x", pictures.clone(), synthetic::digits(10, 6), 0.15, 1).unwrap();
    assert_eq!((splits.train.len(), splits.valid.len()), (85, 15));
    let mut found: Vec<Vec<u8>> = [&splits.train, &splits.valid]
        .iter()
        .flat_map(|split| split.iter().map(|item| item.unwrap().pixels).collect::<Vec<_>>())
        .collect();
    let mut all: Vec<Vec<u8>> = (0..100).map(|i| pictures.picture(i).to_vec()).collect();
    found.sort();
    all.sort();
    assert_eq!(found, all);
}

/// Pillow 13 on the same bytes, bilinear, 4x3 to 7x5 (`Image.fromarray(a).resize((7, 5), Image.BILINEAR)`), red
/// channel. The bytes are `(37 * i) % 256` in the order of the file.
const PILLOW: [[u8; 7]; 5] = [
    [0, 40, 103, 167, 212, 129, 77],
    [75, 78, 83, 140, 185, 102, 50],
    [188, 136, 53, 99, 144, 61, 9],
    [147, 150, 155, 135, 114, 119, 122],
    [120, 160, 223, 159, 94, 157, 197],
];

/// Of the first synthetic digit of seed 1, resized by Pillow to 40x40: the sum of its bytes, each times its place
/// from 1.
const PILLOW_DIGIT_SUM: u64 = 1991884327;

#[test]
fn resizing_is_pillows() {
    let item = PictureItem {
        size: [3, 4],
        pixels: (0..36).map(|i| (37 * i % 256) as u8).collect(),
        label: 4,
    };
    let resized = Resize::new([5, 7]).map(&item);
    assert_eq!((resized.size, resized.label), ([5, 7], 4));
    let red: Vec<u8> = resized.pixels.iter().copied().step_by(3).collect();
    assert_eq!(red, PILLOW.as_flattened());
    assert_eq!(Resize::new([3, 4]).map(&item), item);

    // Shrinking, 9x7 to 4x3, green channel.
    let larger = PictureItem {
        size: [7, 9],
        pixels: (0..189).map(|i| (37 * i % 256) as u8).collect(),
        label: 0,
    };
    let shrunk = Resize::new([3, 4]).map(&larger);
    let green: Vec<u8> = shrunk.pixels.iter().copied().skip(1).step_by(3).collect();
    assert_eq!(green, [110, 133, 123, 118, 143, 112, 114, 145, 135, 147, 141, 97]);

    // A whole digit, 32 to 40: a checksum of Pillow's bytes.
    let digit = PictureDataset::new(synthetic::digits(1, 1).into())
        .get(0)
        .unwrap();
    let forty = Resize::new([40, 40]).map(&digit);
    let sum: u64 = forty
        .pixels
        .iter()
        .enumerate()
        .map(|(i, &p)| (i as u64 + 1) * u64::from(p))
        .sum();
    assert_eq!(sum, PILLOW_DIGIT_SUM);
}

#[test]
fn batches_are_normalised_ordered_and_complete() {
    let normalization = Normalization {
        mean: [0.5, 0.4, 0.3],
        std: [0.5, 0.2, 0.1],
    };
    let pictures = synthetic::digits(10, 3).with_normalization(normalization);
    let dataset = PictureDataset::new(pictures.into());
    let device = Device::default();
    let loader = PictureLoader::new(dataset.clone(), Resize::new([32, 32]), 4, &device);
    let batches: Vec<_> = loader.iter().map(Result::unwrap).collect();
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.targets.dims()[0]).collect();
    assert_eq!(sizes, [4, 4, 2]);
    let images = values(&batches[2].images);
    let item = dataset.get(9).unwrap();
    for (c, (mean, std)) in [(0.5, 0.5), (0.4, 0.2), (0.3, 0.1)].into_iter().enumerate() {
        let found = images[((3 + c) * 32 + 7) * 32 + 5];
        let expected = (f64::from(item.pixels[(7 * 32 + 5) * 3 + c]) / 255.0 - mean) / std;
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    let labels: Vec<i64> = batches
        .iter()
        .flat_map(|b| b.targets.to_data().iter::<i64>().collect::<Vec<_>>())
        .collect();
    let expected: Vec<i64> = (0..10).map(|i| dataset.get(i).unwrap().label.into()).collect();
    assert_eq!(labels, expected);
}

#[test]
fn every_epoch_has_an_order_of_its_own_that_can_be_repeated() {
    let _turn = turn();
    let dataset = PictureDataset::new(synthetic::digits(64, 3).into());
    let loader = |epoch| {
        let loader = PictureLoader::new(dataset.clone(), Resize::new([32, 32]), 64, &Device::default());
        loader.with_shuffle(11, epoch)
    };
    let order = |loader: &PictureLoader| -> Vec<i64> {
        let batch = loader.iter().next().unwrap().unwrap();
        batch.targets.to_data().iter::<i64>().collect()
    };
    let from_one = loader(1);
    let epochs: Vec<_> = (0..3).map(|_| order(&from_one)).collect();
    assert_ne!(epochs[0], epochs[1]);
    let from_three = loader(3);
    assert_eq!(
        order(&from_three),
        epochs[2],
        "a resumed run sees the order it would have seen"
    );
}

/// Rounds without training: each pruned network is given the accuracy of the list.
fn rounds_with(
    search: Search,
    accuracies: &[f64],
    max_rounds: usize,
) -> (Vec<Vec<usize>>, usize, StopReason, Vec<u64>) {
    let device = Device::default();
    let mapping = MappingConfig::new(PimArray::new(256, 512).unwrap())
        .with_accounting(Accounting::AsPublished)
        .with_search(search);
    let config = Cnn8Config::new();
    let start = Round::new("original", config.init(&device), 90.0, &mapping, &[]).unwrap();
    let settings = RoundsConfig::new(mapping, 90.0).with_max_rounds(max_rounds);
    let result = rounds(start, 0, &settings, |round, network| {
        Ok((network, accuracies[round - 1]))
    })
    .unwrap();
    (
        (result.rounds.iter())
            .map(|round| round.network.structure().widths())
            .collect(),
        result.winner,
        result.stopped,
        result.rounds.iter().map(Round::cycles_after_first).collect(),
    )
}

#[test]
fn rounds_reproduce_the_published_widths_and_cycles_on_the_live_network() {
    let _turn = turn();
    let (widths, winner, stopped, cycles) = rounds_with(Search::Published, &[89.5, 89.2], 20);
    assert_eq!(
        widths,
        [
            vec![24, 32, 32, 64, 64, 64, 256],
            vec![18, 21, 27, 60, 60, 60, 256],
            vec![18, 18, 27, 60, 60, 60, 256]
        ]
    );
    assert_eq!((winner, stopped), (2, StopReason::FixedPoint));
    assert_eq!(cycles, [239, 189, 173]);

    let (widths, winner, stopped, cycles) = rounds_with(Search::Exact, &[89.5], 20);
    assert_eq!(widths.len(), 2);
    assert_eq!((winner, stopped, cycles[1]), (1, StopReason::FixedPoint, 173));
}

#[test]
fn rounds_stop_at_the_budget_and_keep_the_last_inside_it() {
    let _turn = turn();
    let (widths, winner, stopped, _) = rounds_with(Search::Published, &[89.1, 88.9], 20);
    assert_eq!((widths.len(), winner, stopped), (3, 1, StopReason::OverBudget));
    let (widths, winner, stopped, _) = rounds_with(Search::Published, &[88.9, 90.0], 20);
    assert_eq!((widths.len(), winner, stopped), (2, 0, StopReason::OverBudget));
    let (widths, winner, stopped, _) = rounds_with(Search::Published, &[89.0], 1);
    assert_eq!((widths.len(), winner, stopped), (2, 1, StopReason::MaxRounds));
    let (widths, winner, stopped, _) = rounds_with(Search::Published, &[], 0);
    assert_eq!((widths.len(), winner, stopped), (1, 0, StopReason::MaxRounds));
}

#[test]
fn metrics_survive_the_csv() {
    let row = EpochMetrics {
        epoch: 3,
        learning_rate: 1e-4,
        train_loss: 0.123_456_789,
        train_accuracy: 98.7,
        valid_loss: 1.5,
        valid_accuracy: 80.25,
        seconds: 12.5,
    };
    let dir = TempDir::new().unwrap();
    fs::write(
        dir.path().join("metrics.csv"),
        "epoch,learning_rate,train_loss,train_accuracy,valid_loss,valid_accuracy,seconds\n\
         3,0.0001,0.123456789,98.7,1.5,80.25,12.5\n",
    )
    .unwrap();
    assert_eq!(RunDir::new(dir.path()).metrics().unwrap(), [row]);
    fs::write(dir.path().join("metrics.csv"), "epoch\nx\n").unwrap();
    let message = RunDir::new(dir.path()).metrics().unwrap_err().to_string();
    assert!(message.contains("metrics.csv"), "{message}");
}
