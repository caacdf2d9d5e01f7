//! The table of `docs/networks.md`: which network is taken through which job. Its cells are made of the constants that the tests of
//! the networks assert, so that the table says what is tested.

use burn::module::Module;
use burn::tensor::Device;

use super::{ALONE, Case};

/// The columns, each with the test of `checked` that runs it.
const COLUMNS: [(&str, &str); 7] = [
    ("weights quantised", "weights_quantised"),
    ("channel groups found", "channels_found_and_pruned"),
    ("pruned", "channels_found_and_pruned"),
    ("mapped", "convolutions_listed"),
    ("convolutions on arrays", "on_arrays"),
    ("packed", "packed_in_codes"),
    ("ONNX", "written_as_onnx"),
];

/// Networks that are trained and pruned in rounds, with the file and the test that do it.
const ROUNDS: [(&str, &str, &str); 3] = [
    (
        "cnn8",
        "cli_svhn_cnn8.rs",
        "the_whole_job_trains_prunes_and_reports",
    ),
    (
        "resnet20",
        "cli_cifar10_resnet20.rs",
        "the_whole_job_trains_prunes_and_reports",
    ),
    (
        "mobilenet_v2",
        "any_network.rs",
        "rounds_prune_it_and_its_runs_are_read_back_to_the_bit",
    ),
];

/// What is said of one network.
pub struct Row {
    title: &'static str,
    name: &'static str,
    cells: [String; COLUMNS.len()],
}

impl Row {
    /// `None` of a network that is not in the table.
    pub fn of<M: Module, const E: usize>(case: &Case<M, E>, name: &'static str) -> Option<Self> {
        if case.title.is_empty() {
            return None;
        }
        let mut module = (case.make)(&Device::default());
        let depthwise = !(case.depthwise)(&mut module).is_empty();
        let transposed = case.left_out.iter().any(|layer| layer.ends_with("transposed"));
        let but = |of: String| match transposed {
            true => format!("{of}; not transposed ones"),
            false => of,
        };
        let mut arrays = format!("{} of {}", case.convs - 1 - case.floats.len(), case.convs);
        if !case.floats.is_empty() {
            assert!(
                case.floats.iter().all(|layer| layer.contains("shortcut")),
                "{name}"
            );
            arrays += "; not those on shortcuts";
        }
        let mut groups = case.groups.len().to_string();
        if !case.fixed.is_empty() {
            assert!(case.fixed.iter().all(|(_, reason)| *reason == ALONE), "{name}");
            groups += &format!("; {} layers stay, by channel shuffles", case.fixed.len());
        }
        let pruned = match depthwise {
            true => "into a smaller module, by depthwise convolutions",
            false => "yes",
        };
        Some(Self {
            title: case.title,
            name,
            cells: [
                "yes".into(),
                groups,
                pruned.into(),
                but(format!("{} layers, {} free widths", case.convs, case.free)),
                but(arrays),
                "yes".into(),
                "yes".into(),
            ],
        })
    }
}

/// The lines of the table.
fn lines(rows: &[Row]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | ").replace("  ", " "));
    let titles = COLUMNS.map(|(title, _)| title.to_owned());
    let first = ["network", "`checked::`"].map(str::to_owned);
    let last = ["trained and pruned in rounds".to_owned()];
    let mut table = line([&first[..], &titles[..], &last[..]].concat());
    table += &format!("|{}\n", "---|".repeat(first.len() + titles.len() + 1));
    for row in rows {
        let rounds = ROUNDS.iter().find(|(name, ..)| *name == row.name);
        let rounds = rounds.map_or(String::new(), |(_, file, _)| {
            format!("`{}`", file.trim_end_matches(".rs"))
        });
        let first = [row.title.to_owned(), format!("`{}`", row.name)];
        table += &line([&first[..], &row.cells[..], &[rounds]].concat());
    }
    table
}

/// The file has this table, and names the test of each column.
pub fn is_in_the_docs(rows: &[Row]) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let read =
        |path: String| std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let docs = read(format!("{folder}docs/networks.md"));
    let table = lines(rows);
    assert!(
        docs.contains(&table),
        "docs/networks.md is to have this table:\n\n{table}"
    );
    let main = read(format!("{folder}tests/networks/main.rs"));
    for (title, test) in COLUMNS {
        assert!(main.contains(&format!("fn {test}()")), "{test}");
        let named = (docs.lines()).any(|line| line.contains(title) && line.contains(&format!("`{test}`")));
        assert!(
            named,
            "docs/networks.md is to say that `{test}` is the test of the column {title:?}"
        );
    }
    for (_, file, test) in ROUNDS {
        assert!(
            read(format!("{folder}tests/{file}")).contains(&format!("fn {test}()")),
            "{file} {test}"
        );
        assert!(docs.contains(&format!("`{test}`")), "{test}");
    }
}
