//! The library's enums as values of flags: what each value is called, and what `--help` says of it. The library itself knows
//! nothing of the command line.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::chip::{Goal, Windows};
use crate::mapping::{Accounting, Method, Search};

/// An enum of which a flag takes one value.
pub trait Choice: Copy + Send + Sync + 'static {
    /// Every value: its name on the command line, and its help.
    const ALL: &'static [(&'static str, Self, &'static str)];
}

/// Reads a `T` by its name: the `value_parser` of a flag.
pub fn choice<T: Choice>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL
        .iter()
        .map(|&(name, _, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(values).map(|given| {
        // With `ignore_case` a name comes as it was typed.
        let mut all = T::ALL.iter();
        let found = all.find(|(name, ..)| name.eq_ignore_ascii_case(&given));
        found.expect("one of the possible values").1
    })
}

/// What a flag calls `value`.
#[cfg(feature = "train")]
pub fn name<T: Choice + PartialEq>(value: T) -> &'static str {
    let mut all = T::ALL.iter();
    all.find(|(_, other, _)| *other == value).expect("every value").0
}

/// Makes an enum a [`Choice`]. A variant that is missing does not compile.
macro_rules! choices {
    ($type:ty { $($name:literal => $variant:ident: $help:literal,)+ }) => {
        impl Choice for $type {
            const ALL: &'static [(&'static str, Self, &'static str)] = &[$(($name, Self::$variant, $help)),+];
        }

        const _: fn($type) = |value| match value {
            $(<$type>::$variant => {})+
        };
    };
}

choices!(Accounting {
    "as-published" => AsPublished: "As the published tables count: padding is left out, a strided layer is counted at stride 1 on an input of its size divided by the stride, and columns are counted as if weights could share cells",
    "exact-geometry" => ExactGeometry: "The convolution as it really runs: padding and stride both counted, and cells of its own for each weight",
});

choices!(Search {
    "exact" => Exact: "The window with the fewest cycles; of a tie, the lowest, then the narrowest",
    "published" => Published: "The register kept by the published search (JETCAS 2022), which can settle on a window above the minimum. Only this one reproduces the published RCP2 network",
});

choices!(Method {
    "im2col" => Im2col: "One kernel-sized patch a cycle, every filter unrolled into one column",
    "sdk" => Sdk: "Square windows and shifted copies of the filters, on im2col's grid of arrays (Zhang et al., TCAD 2021)",
    "vw-sdk" => VwSdk: "Rectangular windows with as many channels as fit, and im2col where that needs no more cycles (Rhe, Moon, Ko; DATE 2022)",
    "vwc-sdk" => VwcSdk: "VW-SDK's windows on channels that were searched to fill them (Rhe, Moon, Ko; JETCAS 2022)",
    "tetris" => Tetris: "VW-SDK's windows made squarer, with windows of their own for margins and for channels that are left over (TetrisG-SDK: Dong, Huang, Luo, Wang; arXiv 2604.25377), where these fit",
    "elements" => Elements: "Any window with all channels, the weights cut at the array's edges",
    "strips" => Strips: "The output cut from side to side, either way and again, each piece with its own window",
    "channel-tiles" => ChannelTiles: "Input channels in tiles, each with its own window",
    "tiled-strips" => TiledStrips: "Input channels in tiles, each with strips of its own",
    "output-tiles" => OutputTiles: "Output channels in two tiles, each with channel tiles and strips of its own",
    "best" => Best: "The fewest cycles of all; of a tie, the fewest cells written",
});

choices!(Goal {
    "throughput" => Throughput: "Pictures in a stream: the fewest steps of the slowest layer",
    "latency" => Latency: "One picture, layer after layer: the fewest steps of all",
});

choices!(Windows {
    "im2col" => Im2col: "One output at a time",
    "vw-sdk-fixed" => VwSdkFixed: "The window that VW-SDK chooses for one array",
    "vw-sdk" => VwSdk: "Any window on whole channels, and im2col",
    "elements" => Elements: "Any window, the weights cut at the edges of arrays",
});

#[cfg(feature = "train")]
mod training {
    //! Those of a training.

    use super::Choice;
    use crate::data::{ChannelOrder, DataKind};
    use crate::models::{BlockOrder, FullPrecision};
    use crate::prune::Scope;
    use crate::pytorch::Weights;
    use crate::train::OptimizerKind;

    choices!(DataKind {
        "svhn" => Svhn: "SVHN's train_32x32.mat and test_32x32.mat",
        "cifar10" => Cifar10: "CIFAR-10's binary files, or its archive",
        "folder" => Folder: "Pictures of one's own, in train/CLASS/ and test/CLASS/, as .png, .jpg, .webp or .bmp",
        "synthetic" => Synthetic: "Digits that the program draws itself",
    });

    choices!(ChannelOrder {
        "rgb" => Rgb: "Red first, as in PyTorch, Pillow and this crate",
        "bgr" => Bgr: "Blue first, as in OpenCV and Caffe",
    });

    choices!(BlockOrder {
        "original" => Original: "As in VWC-SDK: quantised, activation before each convolution and a batch norm after the addition; in full precision, the basic block of He et al. (CVPR 2016)",
        "pre-activation" => PreActivation: "Batch norm, activation, convolution, twice, added to a shortcut that nothing rounds (He et al., ECCV 2016; at low bits as in Liu et al., \"Bi-Real Net\", ECCV 2018)",
    });

    choices!(FullPrecision {
        "twin" => Twin: "The quantised network without its quantisers: all that is compared is precision",
        "published" => Published: "As VWC-SDK's scripts write it down: ResNet-20 with one batch norm a block, between its convolutions, and none behind the first; VGG-13 without biases, and with no activation behind its second linear layer",
    });

    choices!(Scope {
        "layer" => Layer: "Every group of channels loses the same part",
        "network" => Network: "The channels of lowest score go, wherever they are; a group's scores are divided by their mean first, since larger filters have larger norms",
    });

    choices!(Weights {
        "latent" => Latent: "Those that training moves, for a network that quantises them itself",
        "quantized" => Quantized: "Those that are computed with, for a network of plain layers",
    });

    choices!(OptimizerKind {
        "adam" => Adam: "Adam with its usual constants (betas 0.9 and 0.999, epsilon 1e-8), no weight decay unless --weight-decay says one",
        "sgd" => Sgd: "Stochastic gradient descent, momentum 0.9, weight decay 5e-4 unless --weight-decay says another",
    });
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use serde::Serialize;

    use super::*;

    /// A flag's value is called what files and outputs call it.
    fn saved_as<T: Choice + Serialize>() {
        for &(name, value, _) in T::ALL {
            assert_eq!(serde_json::to_value(value).unwrap(), name);
        }
    }

    fn shown_as<T: Choice + Display>() {
        for &(name, value, _) in T::ALL {
            assert_eq!(value.to_string(), name);
        }
    }

    #[test]
    fn values_have_one_name_everywhere() {
        saved_as::<Accounting>();
        saved_as::<Search>();
        saved_as::<Method>();
        shown_as::<Accounting>();
        shown_as::<Search>();
        shown_as::<Method>();
        #[cfg(feature = "train")]
        {
            use crate::data::{ChannelOrder, DataKind};
            use crate::models::{BlockOrder, FullPrecision};
            use crate::train::OptimizerKind;
            saved_as::<DataKind>();
            saved_as::<ChannelOrder>();
            saved_as::<BlockOrder>();
            saved_as::<FullPrecision>();
            saved_as::<crate::prune::Scope>();
            saved_as::<OptimizerKind>();
            shown_as::<ChannelOrder>();
            shown_as::<FullPrecision>();
            shown_as::<OptimizerKind>();
        }
    }
}
