//! `vwc-sdk devices`: what there is to compute on, and whether it computes right.

use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::device::{self, DeviceKind};
use crate::report::{Look, styled_table};
use crate::selfcheck::{CHECKS, Check, Verdict, check};
use crate::{DeviceName, Error};

/// List the devices that this build can compute on, those that are found, and whether they compute what the CPU does.
///
/// Each device that is found computes a small quantised convolution, forward and backward, and is set beside the CPU: the
/// largest difference, relative to the largest number. With --check it also takes a training step with every network and
/// prunes one. Exit code 1 where a device that was named, or one that was found, fails.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DevicesArgs {
    /// Devices to look at, such as cuda:1 or remote:127.0.0.1:7470 [default: all of this machine]
    #[arg(value_name = "DEVICE")]
    pub names: Vec<DeviceName>,

    /// Try everything that a training does, which takes minutes where a GPU is rendered in software
    #[arg(long)]
    pub check: bool,

    /// How the list is written
    #[arg(long, value_enum, default_value_t)]
    pub format: ListFormat,
}

const EXAMPLES: &str = "\
Examples:
  vwc-sdk devices
  vwc-sdk devices --check cuda:0
  vwc-sdk devices remote:127.0.0.1:7470";

/// How the list is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A table to read.
    #[default]
    Table,
    /// A list of objects.
    Json,
    /// The table for a Markdown page.
    Markdown,
}

/// A line of the list.
#[derive(Serialize)]
struct Row {
    device: String,
    feature: &'static str,
    compiled_in: bool,
    found: bool,
    name: String,
    /// Why it is not there or cannot be used, where that is so.
    problem: Option<String>,
    checks: Vec<Tried>,
}

#[derive(Serialize)]
struct Tried {
    check: &'static str,
    seconds: f64,
    #[serde(flatten)]
    verdict: Option<Verdict>,
    problem: Option<String>,
}

impl Tried {
    fn of(what: &Check, device: &DeviceName) -> Self {
        let started = Instant::now();
        let (verdict, problem) = match check(what, device) {
            Ok(verdict) => (Some(verdict), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            check: what.name,
            seconds: started.elapsed().as_secs_f64(),
            verdict,
            problem,
        }
    }

    fn is_good(&self) -> bool {
        self.verdict.is_some_and(Verdict::is_good)
    }
}

/// Prints the list.
///
/// # Errors
///
/// [`Error::Recipe`] where a device fails: the list says how.
pub fn run(args: &DevicesArgs) -> Result<(), Error> {
    let checks = if args.check { &CHECKS[..] } else { &CHECKS[..1] };
    let mut rows = Vec::new();
    if args.names.is_empty() {
        for kind in DeviceKind::local() {
            let (count, problem) = match device::count(&kind) {
                Ok(count) => (count, None),
                Err(error) => (0, Some(error.to_string())),
            };
            for index in 0..count {
                rows.push(look(&DeviceName::from(kind.clone()).with_index(index), checks));
            }
            if count == 0 {
                rows.push(Row {
                    device: kind.name().into(),
                    feature: kind.name(),
                    compiled_in: kind.compiled_in(),
                    found: false,
                    name: String::new(),
                    problem,
                    checks: Vec::new(),
                });
            }
        }
    } else {
        rows.extend(args.names.iter().map(|name| look(name, checks)));
    }

    let text = match args.format {
        ListFormat::Json => serde_json::to_string_pretty(&rows).expect("plain data"),
        ListFormat::Table => list(&rows, checks, Look::Terminal),
        ListFormat::Markdown => list(&rows, checks, Look::Markdown),
    };
    super::print(&(text + "\n")).map_err(Error::io("standard output", "write"))?;
    let failed = rows.iter().flat_map(|row| {
        let checks = row.checks.iter().filter(|tried| !tried.is_good());
        let checks = checks.map(|tried| match &tried.problem {
            Some(problem) => format!("{}: {problem}", tried.check),
            None => format!("device {}: {} differs from the CPU's", row.device, tried.check),
        });
        row.problem.clone().into_iter().chain(checks)
    });
    let failed: Vec<String> = failed.collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::Recipe(failed.join("\nerror: "))),
    }
}

/// Opens a device and tries it.
fn look(name: &DeviceName, checks: &[Check]) -> Row {
    let mut row = Row {
        device: name.to_string(),
        feature: name.kind().name(),
        compiled_in: name.kind().compiled_in(),
        found: false,
        name: String::new(),
        problem: None,
        checks: Vec::new(),
    };
    match name.init() {
        Ok(device) => {
            #[cfg(feature = "remote")]
            name.watch(super::fail);
            row.found = true;
            row.name = name.describe(&device);
            for check in checks {
                say!("{name}: {}", check.name);
                let tried = Tried::of(check, name);
                let failed = tried.problem.is_some();
                row.checks.push(tried);
                // One that gave up once is not asked again.
                if failed {
                    break;
                }
            }
        }
        Err(error) => row.problem = Some(error.to_string()),
    }
    row
}

fn list(rows: &[Row], checks: &[Check], look: Look) -> String {
    let mut header = vec!["device", "compiled in", "found", "name"];
    header.extend(checks.iter().map(|check| check.name));
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let cells = rows.iter().map(|row| {
        let compiled_in = match row.compiled_in {
            true => "yes".into(),
            false => format!("--features {}", row.feature),
        };
        let found = match row.compiled_in {
            true => yes_no(row.found),
            false => "-".into(),
        };
        let mut cells = vec![row.device.clone(), compiled_in, found, row.name.clone()];
        cells.extend((0..checks.len()).map(|n| match row.checks.get(n) {
            None => "-".into(),
            Some(Tried { verdict: None, .. }) => "failed".into(),
            Some(Tried {
                verdict: Some(verdict),
                ..
            }) => format!(
                "{} {:.0e}",
                if verdict.is_good() { "ok" } else { "WRONG" },
                verdict.error
            ),
        }));
        cells
    });
    styled_table(&header, cells, None, look)
}
