//! The networks that are known by name: whole and sound, with the parameters that were published, the names of torchvision, and the
//! widths that are free in them.

use vwc_sdk::graph::presets::{names, network, sketch};
use vwc_sdk::graph::{Constant, Op, Sketch};

/// Trainable parameters: running statistics are none.
fn parameters(sketch: &Sketch) -> usize {
    let of = |op: &Op| {
        let parts = match op {
            Op::Conv(conv) => [Some(&conv.weight), conv.bias.as_ref()],
            Op::Linear(linear) => [Some(&linear.weight), linear.bias.as_ref()],
            Op::Affine(norm) => [norm.factor.as_ref(), norm.plus.as_ref()],
            _ => [None, None],
        };
        let sizes = parts
            .into_iter()
            .flatten()
            .map(|part| part.shape().iter().product::<usize>());
        sizes.sum::<usize>()
    };
    sketch.nodes().iter().map(|node| of(node.op())).sum()
}

/// The paths of all parameters and running statistics, in order.
fn paths(sketch: &Sketch) -> Vec<&str> {
    fn of(op: &Op) -> Vec<Option<&Constant>> {
        match op {
            Op::Conv(conv) => vec![Some(&conv.weight), conv.bias.as_ref()],
            Op::Linear(linear) => vec![Some(&linear.weight), linear.bias.as_ref()],
            Op::Affine(norm) => norm.parts().map(Some).collect(),
            _ => Vec::new(),
        }
    }
    let all = sketch.nodes().iter().flat_map(|node| of(node.op())).flatten();
    all.map(|part| part.name().expect("a path")).collect()
}

#[test]
fn networks_are_found_by_name() {
    for name in names() {
        assert_eq!(network(name).unwrap().name, name);
    }
    for name in ["resnet20-0", "resnet20-x", "resnet20-999999999"] {
        assert!(sketch(name).is_err(), "{name}");
    }
    let message = |name| sketch(name).unwrap_err().to_string();
    assert_eq!(message("CNN-8"), "unknown network `CNN-8`: did you mean `cnn8`?");
    assert_eq!(
        message("resnet19"),
        "unknown network `resnet19`: did you mean `resnet18`?"
    );
    assert_eq!(
        message("alexnet-large"),
        "unknown network `alexnet-large`: use one of cnn8, resnet20, resnet18, resnet18-table, \
         resnet50, vgg13, vgg16, alexnet, mobilenet-v2, densenet40, inception"
    );
}

#[test]
fn pictures_go_in_and_classes_come_out() {
    // The widest of all keeps within the limits of the mapper.
    let widest = "resnet20-65536";
    for name in names().into_iter().chain([widest]) {
        let sketch = sketch(name).unwrap();
        let (side, classes) = match name {
            "cnn8" => (40, 10),
            "resnet20" | "densenet40" => (32, 10),
            _ if name == widest => (32, 10),
            _ => (224, 1000),
        };
        let [first, .., last] = sketch.nodes() else {
            panic!("{name} is short")
        };
        assert_eq!(
            first.op(),
            &Op::Input {
                shape: vec![3, side, side]
            },
            "{name}"
        );
        assert_eq!(last.shape(), [classes], "{name}");
        // A line for each node, and one in front.
        assert_eq!(
            sketch.to_string().lines().count(),
            sketch.nodes().len() + 1,
            "{name}"
        );
        let text = serde_json::to_string(&sketch).unwrap();
        assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), sketch, "{name}");
    }
}

#[test]
fn parameters_are_as_many_as_published() {
    for (name, published) in [
        ("cnn8", 522_794),
        ("resnet20", 4_327_754),
        ("resnet20-16", 272_474),
        ("resnet18", 11_689_512),
        ("resnet18-table", 11_689_512),
        ("resnet50", 25_557_032),
        ("vgg13", 133_047_848),
        ("vgg16", 138_357_544),
        ("alexnet", 61_100_840),
        ("mobilenet-v2", 3_504_872),
        ("densenet40", 1_019_722),
    ] {
        assert_eq!(parameters(&sketch(name).unwrap()), published, "{name}");
    }
    // torchvision's GoogLeNet has 3x3 kernels where the paper has 5x5.
    let inception = sketch("inception").unwrap();
    let larger = network("inception")
        .unwrap()
        .layers
        .into_iter()
        .filter(|layer| layer.kernel == [5, 5]);
    let more: usize = larger
        .map(|layer| (5 * 5 - 3 * 3) * layer.in_channels * layer.out_channels)
        .sum();
    assert_eq!(
        (parameters(&inception), parameters(&inception) - more),
        (7_005_832, 6_624_904)
    );
}

#[test]
fn parameters_are_called_as_in_torchvision_and_in_our_modules() {
    for (name, expected) in [
        (
            "cnn8",
            &["convs.0.bias", "convs.6.weight", "norms.4.gamma", "linear.weight"][..],
        ),
        (
            "resnet20",
            &[
                "conv.weight",
                "norm.beta",
                "blocks.3.shortcut.conv.weight",
                "blocks.8.norm1.running_var",
                "linear.bias",
            ],
        ),
        (
            "resnet18",
            &[
                "conv1.weight",
                "bn1.running_mean",
                "layer4.0.downsample.1.bias",
                "layer4.1.bn2.weight",
                "fc.bias",
            ],
        ),
        (
            "resnet50",
            &[
                "layer1.0.conv3.weight",
                "layer1.0.downsample.0.weight",
                "layer4.2.bn3.running_var",
            ],
        ),
        (
            "vgg13",
            &["features.22.bias", "classifier.0.weight", "classifier.6.bias"],
        ),
        (
            "vgg16",
            &["features.0.weight", "features.28.bias", "classifier.3.weight"],
        ),
        (
            "alexnet",
            &["features.10.weight", "classifier.1.weight", "classifier.6.bias"],
        ),
        (
            "mobilenet-v2",
            &[
                "features.0.0.weight",
                "features.0.1.bias",
                "features.1.conv.0.0.weight",
                "features.1.conv.1.weight",
                "features.1.conv.2.running_mean",
                "features.17.conv.2.weight",
                "features.17.conv.3.weight",
                "features.18.1.weight",
                "classifier.1.weight",
            ],
        ),
        (
            "densenet40",
            &[
                "features.conv0.weight",
                "features.denseblock3.denselayer12.norm1.bias",
                "features.transition2.conv.weight",
                "classifier.bias",
            ],
        ),
        (
            "inception",
            &[
                "conv1.conv.weight",
                "conv3.bn.weight",
                "inception3a.branch1.conv.weight",
                "inception4e.branch3.1.bn.bias",
                "inception5b.branch4.1.conv.weight",
                "fc.weight",
            ],
        ),
    ] {
        let sketch = sketch(name).unwrap();
        let paths = paths(&sketch);
        for path in expected {
            assert!(paths.contains(path), "{name}: no {path} in {paths:?}");
        }
        let mut once = paths.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), paths.len(), "{name}: one path twice");
    }
    let norms = |name| {
        let sketch = sketch(name).unwrap();
        let epsilons = sketch.nodes().iter().filter_map(|node| match node.op() {
            Op::Affine(norm) => norm.epsilon,
            _ => None,
        });
        epsilons.collect::<Vec<_>>()
    };
    assert_eq!(norms("inception"), [1e-3; 57]);
    assert_eq!(norms("mobilenet-v2"), [1e-5; 52]);
}

#[test]
fn free_widths_are_those_that_the_graph_leaves_free() {
    let widths = |name| network(name).unwrap().widths();
    // A chain, whose last width the classifier reads.
    assert_eq!(widths("alexnet").unwrap(), [64, 192, 384, 256]);
    // Between the layers of the stem, and from each reduction to the layer that reads it: what a module puts side by side stays.
    assert_eq!(
        widths("inception").unwrap(),
        [
            64, 64, 192, 96, 16, 128, 32, 96, 16, 112, 24, 128, 24, 144, 32, 160, 32, 160, 32, 192, 48
        ]
    );
    // A residual stage has one, and each of its blocks one or two inside.
    for (name, free) in [
        ("cnn8", 6),
        ("resnet20", 12),
        ("resnet18", 12),
        ("resnet50", 37),
        ("vgg13", 9),
        ("vgg16", 12),
        ("mobilenet-v2", 24),
    ] {
        assert_eq!(network(name).unwrap().widths().unwrap().len(), free, "{name}");
    }
    // All is put side by side.
    assert!(widths("densenet40").is_err());
    // Rows of a table.
    assert!(widths("resnet18-table").is_err());
}

#[test]
fn tables_that_were_published_have_fewer_layers_than_their_networks() {
    let resnet20 = sketch("resnet20").unwrap().mapped("resnet20");
    let table = network("resnet20").unwrap();
    assert_eq!((resnet20.layers.len(), table.layers.len()), (21, 19));
    assert_eq!(resnet20.widths().unwrap(), table.widths().unwrap());
    assert!(table.layers.iter().all(|layer| layer.kernel == [3, 3]));

    let all = network("resnet18").unwrap();
    let rows = network("resnet18-table").unwrap();
    assert_eq!((all.layers.len(), rows.layers.len()), (20, 5));
    for row in &rows.layers {
        let alike = all
            .layers
            .iter()
            .filter(|layer| layer.input == row.input && layer.kernel == row.kernel);
        assert!(alike.count() >= 1, "{}", row.name);
        assert!(all.layers.contains(row));
    }
}
