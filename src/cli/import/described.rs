//! Networks that their files describe, as they are kept.

use super::{ImportArgs, input, keep};
use crate::cli::networks::NetworkArgs;
use crate::cli::opened::Opened;
use crate::models::{GraphNetConfig, NetworkConfig as _};
use crate::pytorch::StateDict;
use crate::{DeviceName, Error};

/// A network of its own, from an ONNX file.
pub(super) fn from_onnx(args: &ImportArgs) -> Result<(), Error> {
    no_structure(args)?;
    let device = DeviceName::default().init()?;
    let opened = Opened::read(&args.file, args.structure.input_size)?;
    let network = opened.network(false, opened.config.classes(), 0, &device)?;
    let input = input(args, opened.input.clone(), &opened.config)?;
    keep(args, &network, &input)
}

/// A network of its own, from a PyTorch file that says what it is, as `vwc-sdk export` writes it.
pub(super) fn from_pytorch(args: &ImportArgs, file: &StateDict) -> Result<(), Error> {
    no_structure(args)?;
    let refuse = |reason: &str| Error::StateDict {
        path: args.file.clone(),
        reason: reason.into(),
    };
    let config = file.structure::<GraphNetConfig>()?;
    let config = config.ok_or_else(|| refuse("it does not say what its network is: import its ONNX file"))?;
    if config.bits().is_some() {
        return Err(refuse(
            "its network is quantised, and such a file has no steps of quantisers: go on with the folder of its run",
        ));
    }
    let network = file.load_into(config.init(&DeviceName::default().init()?))?;
    let input = input(args, file.input()?, &config)?;
    keep(args, &network, &input)
}

/// Refuses flags for the structure of a network that is described by its file.
fn no_structure(args: &ImportArgs) -> Result<(), Error> {
    let NetworkArgs {
        q, wb, ab, widths, ..
    } = &args.structure;
    let flags = [
        ("--network", args.network.is_some()),
        ("--q", q.is_some()),
        ("--wb", wb.is_some()),
        ("--ab", ab.is_some()),
        ("--widths", widths.is_some()),
        ("--order", args.structure.order.is_some()),
        ("--full-precision", args.structure.full_precision.is_some()),
        ("--from-scratch", args.structure.from_scratch),
        ("--groups", args.structure.groups.is_some()),
    ];
    let given = flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag);
    match given.or(args.structure.plan.given()) {
        None => Ok(()),
        Some(flag) => Err(Error::Recipe(format!(
            "{flag}: the file holds a network of its own, which is kept as it is: leave the flag out; `vwc-sdk quantize` and `vwc-sdk \
             train` take it"
        ))),
    }
}
