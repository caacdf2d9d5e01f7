//! A network of plain Burn layers that this crate has never seen is trained, evaluated, pruned, kept and resumed as those of
//! the crate are: all that it gives is its forward pass, and what its layers hold beside their parameters.
#![cfg(feature = "train")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::config::Config;
use burn::data::dataloader::DataLoader;
use burn::data::dataset::Dataset;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use common::{noise, tensor, values};
use tempfile::TempDir;
use vwc_sdk::Error;
use vwc_sdk::data::{PictureBatch, PictureLoader, PictureSpec, Resize, Splits, synthetic};
use vwc_sdk::mapping::pareto::pareto_front;
use vwc_sdk::mapping::{MappingConfig, PimArray, WidthLimits};
use vwc_sdk::models::{Cnn8Config, Network, NetworkConfig, Widths};
use vwc_sdk::module::Parameters;
use vwc_sdk::prune::{Ranking, Ratio, groups_of, prune};
use vwc_sdk::quant::{Bits, WeightQuantizer};
use vwc_sdk::train::{
    Fit, FitOptions, Loss, Recipe, Round, Rounds, RoundsConfig, RunConfig, RunDir, Schedule, StopReason,
    WidthChoice, evaluate, fit, initial, rounds, run_network,
};

/// What a [`Mobile`] is made of. Of its widths it says nothing.
#[derive(Config, Debug, PartialEq)]
struct MobileConfig {
    #[config(default = 10)]
    classes: usize,
    /// Whether it sets the groups of its depthwise convolutions.
    #[config(default = true)]
    refits: bool,
}

/// A small MobileNet: two depthwise convolutions, one of them inside a residual block.
#[derive(Module, Debug)]
struct Mobile {
    stem: Conv2d,
    stem_norm: BatchNorm,
    depthwise: Conv2d,
    depthwise_norm: BatchNorm,
    pointwise: Conv2d,
    pointwise_norm: BatchNorm,
    expand: Conv2d,
    expand_norm: BatchNorm,
    deep: Conv2d,
    deep_norm: BatchNorm,
    project: Conv2d,
    project_norm: BatchNorm,
    head: Linear,
    #[module(skip)]
    config: MobileConfig,
}

impl NetworkConfig for MobileConfig {
    type Network = Mobile;

    const NAME: &'static str = "Mobile";

    fn init(&self, device: &Device) -> Mobile {
        let conv = |channels: [usize; 2], side: usize| {
            Conv2dConfig::new(channels, [side, side])
                .with_padding(PaddingConfig2d::Same)
                .with_bias(false)
                .init(device)
        };
        let depthwise = |channels: usize| {
            Conv2dConfig::new([channels, channels], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .with_groups(channels)
                .with_bias(false)
                .init(device)
        };
        let norm = |channels: usize| BatchNormConfig::new(channels).init(device);
        Mobile {
            stem: conv([3, 10], 3),
            stem_norm: norm(10),
            depthwise: depthwise(10),
            depthwise_norm: norm(10),
            pointwise: conv([10, 14], 1),
            pointwise_norm: norm(14),
            expand: conv([14, 20], 1),
            expand_norm: norm(20),
            deep: depthwise(20),
            deep_norm: norm(20),
            project: conv([20, 14], 1),
            project_norm: norm(14),
            head: LinearConfig::new(14, self.classes).init(device),
            config: self.clone(),
        }
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn input(&self) -> [usize; 2] {
        [16, 16]
    }
}

impl Network for Mobile {
    type Config = MobileConfig;

    fn config(&self) -> &MobileConfig {
        &self.config
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem_norm.forward(self.stem.forward(images)));
        let x = relu(self.depthwise_norm.forward(self.depthwise.forward(x)));
        let x = relu(self.pointwise_norm.forward(self.pointwise.forward(x)));
        let y = relu(self.expand_norm.forward(self.expand.forward(x.clone())));
        let y = relu(self.deep_norm.forward(self.deep.forward(y)));
        let x = x + self.project_norm.forward(self.project.forward(y));
        self.head.forward(x.mean_dim(3).mean_dim(2).flatten(1, 3))
    }

    fn refit(&mut self) {
        if self.config.refits {
            for conv in [&mut self.depthwise, &mut self.deep] {
                conv.groups = conv.weight.dims()[0];
            }
        }
    }
}

/// The widths of its groups: stem and depthwise convolution, pointwise convolution and projection, expansion and depthwise
/// convolution.
const WIDTHS: [usize; 3] = [10, 14, 20];

/// Devices draw their random numbers from one place in a process, so tests that draw from it take turns.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn splits() -> Splits {
    let (train, test) = (synthetic::digits(80, 1), synthetic::digits(24, 2));
    Splits::carve("synthetic digits", train, test, 0.25, 0).unwrap()
}

fn recipe(epochs: usize) -> Recipe {
    Recipe::new(epochs, Schedule::MultiStep(Vec::new()))
        .with_batch_size(20)
        .with_seed(3)
}

fn network() -> Mobile {
    initial(&MobileConfig::new(), 5, &Device::default()).unwrap()
}

/// Trains for some epochs, and keeps the run in `dir`.
fn train(network: Mobile, dir: &Path, epochs: usize, resume: bool) -> Result<Fit<Mobile>, Error> {
    train_for(Loss::default(), network, dir, epochs, resume)
}

fn train_for(
    loss: Loss,
    network: Mobile,
    dir: &Path,
    epochs: usize,
    resume: bool,
) -> Result<Fit<Mobile>, Error> {
    let device = Device::default();
    device.seed(7);
    let (splits, recipe) = (splits(), recipe(epochs));
    let options = FitOptions::new(&splits, &recipe, RunDir::new(dir), std::slice::from_ref(&device))
        .with_label("test")
        .with_resume(resume)
        .with_loss(loss);
    fit(network, options)
}

/// The network of a run, as somebody reads it who knows no more than its kind.
fn load(dir: &Path) -> Result<(Mobile, RunConfig<MobileConfig>), Error> {
    RunDir::new(dir).load::<MobileConfig>(&Device::default())
}

fn logits(network: &Mobile) -> Vec<f64> {
    let x = tensor(&noise(9, 2 * 3 * 256), [2, 3, 16, 16], &Device::default());
    values(&network.forward(x))
}

fn shapes(network: &Mobile) -> BTreeMap<String, Vec<usize>> {
    let parameters = Parameters::of(network);
    let shapes = parameters
        .iter()
        .map(|(path, data)| (path.to_owned(), data.shape().to_vec()));
    shapes.collect()
}

/// The shapes that are not those of the network as it is made.
fn changed(network: &Mobile) -> BTreeMap<String, Vec<usize>> {
    let whole = shapes(&MobileConfig::new().init(&Device::default()));
    let mut shapes = shapes(network);
    assert!(shapes.keys().eq(whole.keys()));
    shapes.retain(|path, shape| whole[path] != *shape);
    shapes
}

fn losses(dir: &Path) -> Vec<(usize, f64, f64, f64)> {
    let rows = RunDir::new(dir).metrics().unwrap();
    rows.iter()
        .map(|row| (row.epoch, row.train_loss, row.valid_loss, row.valid_accuracy))
        .collect()
}

/// Eight rows hold so many channels of a 1x1 convolution, and of more they hold the rest in a tile of its own.
fn mapping() -> MappingConfig {
    MappingConfig::new(PimArray::new(8, 16).unwrap())
}

/// The run in `dir`, with its `config.json` changed on purpose.
fn edited(dir: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(&path, config.to_string()).unwrap();
    RunDir::new(dir).accept_changes().unwrap();
}

#[test]
fn it_is_trained_evaluated_and_read_back() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    let start = network();
    let before = logits(&start);
    let fit = train(start, &run, 2, false).unwrap();
    assert_ne!(logits(&fit.network), before, "it was trained");
    assert_eq!(losses(&run).len(), 2);

    assert_eq!(run_network(&run).unwrap(), "Mobile");
    let (network, saved) = load(&run).unwrap();
    assert_eq!(logits(&network), logits(&fit.network));
    assert_eq!(saved.structure, MobileConfig::new());
    assert_eq!(network.structure(), MobileConfig::new());
    assert!(saved.shapes.is_empty(), "{:?}", saved.shapes);
    let written = fs::read_to_string(run.join("config.json")).unwrap();
    assert!(!written.contains("shapes"), "{written}");
    assert_eq!(saved.loss, "cross-entropy");

    // What was measured while it was trained is what an evaluation finds.
    let splits = splits();
    let found = evaluate(&network, &splits.valid, &Device::default()).unwrap();
    assert_eq!(found.total, splits.valid.len());
    assert!(
        (found.accuracy() - fit.best.valid_accuracy).abs() < 1e-9,
        "{found:?}"
    );
}

/// One round of pruning, fine-tuned for an epoch in a run of its own.
fn one_round(start: Mobile, widths: WidthChoice, dir: &Path) -> Rounds<Mobile> {
    let start = Round::new("original", start, 20.0, &mapping(), &[]).unwrap();
    assert_eq!(start.groups.channels(), WIDTHS);
    let names: Vec<_> = start.layers.iter().map(|layer| layer.name.clone()).collect();
    assert_eq!(
        names,
        ["stem", "depthwise", "pointwise", "expand", "deep", "project"]
    );
    let config = RoundsConfig::new(mapping(), 20.0)
        .with_budget(100.0)
        .with_max_rounds(1)
        .with_widths(widths);
    rounds(start, 0, &config, |number, network: Mobile| {
        assert_eq!(number, 1);
        let fit = train(network, dir, 1, false)?;
        Ok((fit.network, fit.best.valid_accuracy))
    })
    .unwrap()
}

#[test]
fn rounds_prune_it_and_its_runs_are_read_back_to_the_bit() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let ratio = Ratio::new(0.5).with_limits(WidthLimits::default().with_hold("expand"));
    let choices = [
        ("array", WidthChoice::Array(WidthLimits::default())),
        ("ratio", WidthChoice::Ratio(ratio)),
    ];
    for (name, choice) in choices {
        let run = dir.path().join(name);
        let expected_name = if name == "array" { "RCP1" } else { "ratio1" };
        let by_ratio = name == "ratio";
        let result = one_round(network(), choice, &run);
        assert_eq!(result.rounds.len(), 2, "{name}");
        let pruned = &result.rounds[1];
        assert_eq!(pruned.name, expected_name);
        let widths = pruned.groups.channels();
        assert!(
            widths.iter().zip(WIDTHS).all(|(&width, most)| width <= most),
            "{widths:?}"
        );
        assert_ne!(widths, WIDTHS, "{name}");
        if by_ratio {
            // What is held is the layer with all that it reads.
            assert_eq!(widths, [5, 14, 20]);
        }
        let [stem, add, expanded] = widths[..] else {
            panic!("{widths:?}")
        };
        let network = &pruned.network;
        assert_eq!(network.depthwise.groups, stem);
        assert_eq!(network.deep.groups, expanded);
        assert_eq!(network.head.weight.dims(), [add, 10]);
        assert_eq!(network.project.weight.dims(), [add, expanded, 1, 1]);
        let layer = &pruned.layers[1];
        assert_eq!(
            (layer.groups, layer.in_channels, layer.out_channels),
            (stem, stem, stem)
        );

        let (read, saved) = load(&run).unwrap();
        assert_eq!(logits(&read), logits(network), "{name}");
        assert_eq!((read.depthwise.groups, read.deep.groups), (stem, expanded));
        assert_eq!(saved.structure, MobileConfig::new());
        assert!(!saved.shapes.is_empty());
        assert_eq!(saved.shapes, changed(network), "{name}");
        let splits = splits();
        let tested = |network: &Mobile| evaluate(network, &splits.test, &Device::default()).unwrap();
        assert_eq!(tested(&read), tested(network));
        // It is an ordinary network: the next round starts from it.
        assert_eq!(groups_of(&read).unwrap().channels(), widths);
    }
}

/// The pruned network of most tests.
fn pruned() -> Mobile {
    let pruned = prune(&network(), &[6, 9, 13], Ranking::L1).unwrap();
    assert_eq!(pruned.kept.iter().map(Vec::len).collect::<Vec<_>>(), [6, 9, 13]);
    assert_eq!(
        (pruned.network.depthwise.groups, pruned.network.deep.groups),
        (6, 13)
    );
    pruned.network
}

#[test]
fn a_pruned_run_resumes_to_the_same_end_and_no_other_does() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let expected = train(pruned(), &whole, 2, false).unwrap();
    train(pruned(), &broken, 2, false).unwrap();
    // As if the run had been cut off in its second epoch.
    fs::remove_file(broken.join("model.bpk")).unwrap();
    for part in ["model", "optim", "scheduler"] {
        fs::remove_file(broken.join(format!("checkpoint/{part}-2.bpk"))).unwrap();
    }
    let resumed = train(pruned(), &broken, 2, true).unwrap();
    assert_eq!(losses(&broken), losses(&whole));
    assert_eq!(logits(&resumed.network), logits(&expected.network));
    assert_eq!(logits(&load(&broken).unwrap().0), logits(&expected.network));
    // A run that is complete is read back.
    let again = train(pruned(), &broken, 2, true).unwrap();
    assert_eq!(again.best, resumed.best);
    assert_eq!(logits(&again.network), logits(&expected.network));

    // The same structure, and other shapes.
    let model = fs::read(broken.join("model.bpk")).unwrap();
    let other = prune(&network(), &[6, 9, 12], Ranking::L1).unwrap().network;
    for other in [network(), other] {
        let error = train(other, &broken, 2, true).unwrap_err().to_string();
        assert!(
            error.contains("config.json")
                && error.contains("its shape of deep.weight is [13, 1, 3, 3], asked for is "),
            "{error}"
        );
    }
    assert_eq!(fs::read(broken.join("model.bpk")).unwrap(), model);
}

#[test]
fn an_imported_network_is_read_back() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    let network = pruned();
    let input = PictureSpec::numbered(MobileConfig::new().input(), 10);
    RunDir::new(&run).import(&network, &input, "a program").unwrap();
    let (read, saved) = load(&run).unwrap();
    assert!(saved.is_imported());
    assert_eq!(saved.shapes, changed(&network));
    assert_eq!(logits(&read), logits(&network));
    // Another network's run is told apart by its name.
    let error = RunDir::new(&run)
        .load::<Cnn8Config>(&Device::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("a run of Mobile, expected CNN-8"),
        "{error}"
    );
}

#[test]
fn shapes_that_no_pruning_leaves_are_refused() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    let input = PictureSpec::numbered(MobileConfig::new().input(), 10);
    let import = || {
        let _ = fs::remove_dir_all(&run);
        RunDir::new(&run).import(&pruned(), &input, "a program").unwrap();
    };
    let huge = usize::MAX as u64;
    for (path, shape, reason) in [
        // Larger than the network is made.
        ("stem.weight", vec![11, 3, 3, 3], "at most [10, 3, 3, 3]"),
        (
            "stem.weight",
            vec![huge, huge, huge, huge],
            "at most [10, 3, 3, 3]",
        ),
        ("stem.weight", vec![0, 3, 3, 3], "at most [10, 3, 3, 3]"),
        ("stem.weight", vec![6, 3, 3], "at most [10, 3, 3, 3]"),
        ("stem.weight", vec![6, 3, 3, 3, 1], "at most [10, 3, 3, 3]"),
        ("stem.weight", vec![], "at most [10, 3, 3, 3]"),
        ("stem.bias", vec![6], "the network has no such parameter"),
        ("stem", vec![6], "the network has no such parameter"),
        ("\u{1b}[2J", vec![6], "the network has no such parameter"),
    ] {
        import();
        load(&run).unwrap();
        edited(&run, |config| config["shapes"][path] = shape.clone().into());
        let error = load(&run).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
        let error = error.to_string();
        let shown = path.replace('\u{1b}', "\\u{1b}");
        assert!(
            error.contains("config.json") && error.contains(reason) && error.contains(&shown),
            "{path} {shape:?}: {error}"
        );
        assert!(!error.contains(char::is_control), "{error:?}");
    }
    // Within the bounds, and not those of the weights beside them; or one is not said any more.
    let smaller = |config: &mut serde_json::Value| config["shapes"]["stem.weight"] = vec![5, 3, 3, 3].into();
    let left_out = |config: &mut serde_json::Value| {
        let shapes = config["shapes"].as_object_mut().unwrap();
        assert!(shapes.remove("deep.weight").is_some());
    };
    let none = |config: &mut serde_json::Value| {
        assert!(config.as_object_mut().unwrap().remove("shapes").is_some());
    };
    let edits: [&dyn Fn(&mut serde_json::Value); 3] = [&smaller, &left_out, &none];
    for edit in edits {
        import();
        edited(&run, edit);
        let error = load(&run).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().contains("config.json"), "{error}");
    }
}

/// The mean squared distance of probabilities and answers.
fn brier(calls: Arc<AtomicUsize>) -> Loss {
    Loss::new("Brier score", move |logits: Tensor<2>, batch: &PictureBatch| {
        calls.fetch_add(1, Ordering::Relaxed);
        squared_distance(logits, batch)
    })
}

fn squared_distance(logits: Tensor<2>, batch: &PictureBatch) -> Tensor<1> {
    let [count, classes] = logits.dims();
    let answers = batch.targets.clone().one_hot::<2>(classes).float();
    let distance = burn::tensor::activation::softmax(logits, 1) - answers;
    distance.powi_scalar(2).sum().div_scalar(count as f64)
}

#[test]
fn a_loss_of_ones_own_is_trained_for_recorded_and_gone_on_with() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let (run, usual) = (dir.path().join("run"), dir.path().join("usual"));
    let calls = Arc::new(AtomicUsize::new(0));
    let fit = train_for(brier(calls.clone()), network(), &run, 2, false).unwrap();
    // Of 60 pictures to train on and 20 to validate with, 20 a batch, in both epochs.
    assert_eq!(calls.load(Ordering::Relaxed), 2 * (3 + 1));

    // The loss that was measured is this one, of the network that was kept.
    let splits = splits();
    let loader = PictureLoader::new(
        splits.valid.clone(),
        Resize::new(MobileConfig::new().input()),
        splits.valid.len(),
        &Device::default(),
    );
    let batch = loader.iter().next().unwrap().unwrap();
    let logits_of_batch = fit.network.forward(batch.images.clone());
    let expected = values(&squared_distance(logits_of_batch, &batch))[0];
    let found = fit.best.valid_loss;
    assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");

    // Another loss makes another network of the same pictures and seed.
    let other = train(network(), &usual, 2, false).unwrap();
    assert_ne!(logits(&other.network), logits(&fit.network));
    assert_eq!(load(&usual).unwrap().1.loss, "cross-entropy");
    assert_eq!(load(&run).unwrap().1.loss, "Brier score");
    let name = |loss: &Loss| loss.name().to_owned();
    assert_eq!(name(&Loss::default()), "cross-entropy");

    // The name decides what a run is gone on with.
    let model = fs::read(run.join("model.bpk")).unwrap();
    let error = train(network(), &run, 2, true).unwrap_err().to_string();
    assert!(
        error.contains("its loss is Brier score, asked for is cross-entropy"),
        "{error}"
    );
    let error = train_for(brier(calls.clone()), network(), &usual, 2, true).unwrap_err();
    assert!(
        (error.to_string()).contains("its loss is cross-entropy, asked for is Brier score"),
        "{error}"
    );
    assert_eq!(fs::read(run.join("model.bpk")).unwrap(), model);
    let again = train_for(brier(calls), network(), &run, 2, true).unwrap();
    assert_eq!(again.best, fit.best);
    assert_eq!(logits(&again.network), logits(&fit.network));
}

#[test]
fn a_forgotten_refit_is_one_clear_error() {
    let _turn = turn();
    let config = MobileConfig::new().with_refits(false);
    let network = initial(&config, 5, &Device::default()).unwrap();
    let clear = |error: Error| {
        assert!(matches!(error, Error::Graph { .. }), "{error:?}");
        let error = error.to_string();
        assert!(!error.contains('\n'), "{error}");
        for part in ["conv2d", "`Network::refit`", "with widths [5, 14, 20]"] {
            assert_eq!(error.matches(part).count(), 1, "{part} missing in: {error}");
        }
    };
    clear(prune(&network, &[5, 14, 20], Ranking::L1).unwrap_err());
    // What needs none is pruned all the same.
    prune(&network, &[10, 9, 20], Ranking::L1).unwrap();

    // Before anything is fine-tuned.
    let start = Round::new("original", network, 20.0, &mapping(), &[]).unwrap();
    let ratio = Ratio::new(0.5).with_limits(WidthLimits::default().with_hold("expand"));
    let config = RoundsConfig::new(mapping(), 20.0).with_widths(WidthChoice::Ratio(ratio));
    let result = rounds(start, 0, &config, |_, _: Mobile| {
        panic!("nothing is to be fine-tuned")
    });
    clear(result.unwrap_err());
}

/// A group that has one channel left is none any more, since that channel has to stay. Later rounds go on with the others.
#[test]
fn rounds_go_on_where_a_group_has_one_channel_left() {
    let _turn = turn();
    let config = Cnn8Config::new().with_widths([2, 8, 8, 8, 8, 8, 8]);
    let network = config.init(&Device::default());
    let start = Round::new("original", network, 20.0, &mapping(), &[]).unwrap();
    let config = RoundsConfig::new(mapping(), 20.0)
        .with_max_rounds(2)
        .with_widths(WidthChoice::Ratio(Ratio::new(0.5)));
    let result = rounds(start, 0, &config, |_, network| Ok((network, 20.0))).unwrap();
    let widths = |n: usize| result.rounds[n].network.structure().widths();
    assert_eq!(widths(1), [1, 4, 4, 4, 4, 4, 4]);
    assert_eq!(widths(2), [1, 2, 2, 2, 2, 2, 2]);
    assert_eq!(result.stopped, StopReason::MaxRounds);
}

/// What a run would not keep, or could not tell apart, is refused before anything is trained or written.
#[test]
fn what_a_configuration_does_not_make_is_refused() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let refused = |network: Mobile, expected: &str| {
        let run = dir.path().join("run");
        let spec = PictureSpec::numbered(MobileConfig::new().input(), 10);
        let imported = RunDir::new(&run).import(&network, &spec, "a test").unwrap_err();
        for error in [train(network, &run, 1, false).unwrap_err(), imported] {
            let error = error.to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
        assert!(!run.exists());
    };
    // A quantiser that was put on from outside, with and without parameters of its own.
    for quantizer in [WeightQuantizer::new(Bits::TWO), WeightQuantizer::lsq(Bits::TWO)] {
        let plan = quantizer.on(&network()).only("expand").unwrap();
        refused(plan.apply(network()).unwrap(), "`NetworkConfig::init`");
    }
    let mut wide = network();
    wide.head = LinearConfig::new(14, 12).init(&Device::default());
    refused(wide, "each of the 10 classes");
    let mut parameters = Parameters::of(&network());
    let mut weight = parameters.values("expand.weight").unwrap().to_vec();
    weight[3] = f32::NAN;
    let shape = parameters.get("expand.weight").unwrap().shape().to_vec();
    parameters.insert("expand.weight", burn::tensor::TensorData::new(weight, shape));
    refused(parameters.put_into(network()).unwrap(), "expand.weight holds NaN");

    // Pictures of other classes, and none.
    let other = synthetic::digits(20, 1).read_by(
        &PictureSpec::new([32, 32], (0..12).map(|n| n.to_string())),
        vwc_sdk::data::ClassMatch::Name,
    );
    let other = vwc_sdk::data::PictureDataset::new(other.unwrap().into());
    let error = evaluate(&network(), &other, &Device::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("tells 10 classes apart, and the pictures have 12"),
        "{error}"
    );
    let none = splits().test.slice(0, 0);
    assert!(evaluate(&network(), &none, &Device::default()).is_err());
}

/// Rounds to a point of the front, and rounds that make no sense.
#[test]
fn rounds_reach_a_point_of_the_front_and_refuse_nonsense() {
    let _turn = turn();
    let dir = TempDir::new().unwrap();
    let whole = Round::new("original", network(), 20.0, &mapping(), &[]).unwrap();
    let cycles = whole.cycles() * 9 / 10;
    let front = |cycles| WidthChoice::Front {
        cycles,
        limits: WidthLimits::default(),
    };
    let result = one_round(network(), front(cycles), &dir.path().join("front"));
    assert_eq!(result.rounds[1].name, "front1");
    assert!(
        result.rounds[1].cycles() <= cycles,
        "{} > {cycles}",
        result.rounds[1].cycles()
    );
    let best = pareto_front(&whole.groups.mapped("net").0, &mapping(), &WidthLimits::default()).unwrap();
    let best = best.iter().find(|point| point.cycles <= cycles).unwrap();
    assert_eq!(result.rounds[1].cycles(), best.cycles);

    let nonsense = |config: RoundsConfig, fine_tuned: Option<(Mobile, f64)>, expected: &str| {
        let start = Round::new("original", network(), 20.0, &mapping(), &[]).unwrap();
        let error = rounds(start, 0, &config, |_, network| {
            Ok(fine_tuned.clone().unwrap_or((network, 20.0)))
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let config = || RoundsConfig::new(mapping(), 20.0).with_widths(WidthChoice::Ratio(Ratio::new(0.5)));
    nonsense(config().with_budget(-1.0), None, "a budget from 0 up");
    nonsense(RoundsConfig::new(mapping(), f64::NAN), None, "expected numbers");
    nonsense(config(), Some((pruned(), f64::NAN)), "is no number");
    nonsense(
        config(),
        Some((network(), 20.0)),
        "fine-tuning returned a network of widths",
    );
    nonsense(config().with_widths(front(1)), None, "take at least");
    let error = Round::new("original", network(), 20.0, &mapping(), &["*.shortcut".into()]);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("*.shortcut: no convolution of Mobile")
    );
}
