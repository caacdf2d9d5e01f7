//! `vwc-sdk map` from the outside: what it prints, where, and the exit code.

use std::process::{Output, Stdio};

use assert_cmd::{Command, cargo_bin};

fn map(args: &str) -> Output {
    Command::new(cargo_bin!("vwc-sdk"))
        .arg("map")
        .args(args.split_whitespace())
        .output()
        .unwrap()
}

/// Standard output of a run that must succeed without a word on standard error.
fn data(args: &str) -> String {
    let output = map(args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The one error line of a run that must end with `code` and print no data.
fn refused(args: &str, code: i32) -> String {
    let output = map(args);
    assert_eq!(output.status.code(), Some(code));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    errors[0].to_owned()
}

#[test]
fn table_shows_layers_and_totals() {
    let table = data("cnn8 --array 256x512 --accounting as-published --search published");
    let cells = |start: &str| -> Vec<String> {
        let line = table
            .lines()
            .find(|line| line.trim_start_matches(['|', ' ']).starts_with(start))
            .unwrap_or_else(|| panic!("no row {start} in\n{table}"));
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let row = cells("convs.2").join(" ");
    assert_eq!(
        row.trim(),
        "convs.2 32 32 9216 vw-sdk 6x6 7 32 80 18 80 1.00 5 147456 22.5"
    );
    let total = cells("total").join(" ");
    assert!(total.contains("519688") && total.contains(" 311 "), "{total}");
    assert_eq!(table.lines().count(), 7 + 4, "header, rule, rows, rule, total");
}

#[test]
fn defaults_are_exact_geometry_and_vw_sdk() {
    let implied = data("cnn8 --array 256x512 --format json");
    let spelled = data(
        "cnn8 --array 256x512 --format json --weight-bits 1 --cell-bits 1 --method vw-sdk \
         --accounting exact-geometry --search exact",
    );
    assert_eq!(implied, spelled);
    let json: serde_json::Value = serde_json::from_str(&implied).unwrap();
    assert_eq!(json["total"]["cycles"], 382);
    assert_eq!(json["accounting"], "exact-geometry");
    assert_eq!(json["array"]["rows"], 256);
    assert_eq!(json["layers"].as_array().unwrap().len(), 7);
    assert_eq!(json["layers"][3]["name"], "convs.3");
    assert_eq!(json["layers"][3]["window"]["width"], 9);
}

#[test]
fn csv_has_one_record_a_layer() {
    let csv = data("resnet18-table --array 512x512 --accounting as-published --format csv");
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name| header.iter().position(|field| *field == name).unwrap();
    let records: Vec<_> = lines.collect();
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|record| record.len() == header.len()));
    let cycles: Vec<_> = records.iter().map(|r| r[column("cycles")]).collect();
    assert_eq!(cycles, ["1431", "1458", "676", "504", "225"]);
    assert_eq!(records[4][column("method")], "im2col");
}

#[test]
fn weight_bits_and_method_change_the_count() {
    let json = |args: &str| -> serde_json::Value {
        serde_json::from_str(&data(&format!("{args} --format json"))).unwrap()
    };
    let resnet20 = json("resnet20 --array 512x256 --weight-bits 2 --accounting as-published");
    assert_eq!(resnet20["layers"][1]["cycles"], 900);
    let im2col = json("vgg13 --array 512x512 --accounting as-published --method im2col");
    assert_eq!(im2col["total"]["cycles"], 243_736);
}

#[test]
fn wrong_usage_is_exit_code_two() {
    for (args, says) in [
        ("cnn8 --array 256", "ROWSxCOLS, such as 256x512"),
        ("cnn8 --array 0x512", "rows and columns must each be 1 to"),
        ("cnn9 --array 256x512", "did you mean `cnn8`?"),
        ("cnn8 --array 256x512 --weight-bits 0", "0"),
        ("cnn8 --array 256x512 --method sdkk", "sdkk"),
        ("cnn8", "required"),
    ] {
        let line = refused(args, 2);
        assert!(line.contains(says), "{args}: {line}");
    }
}

#[test]
fn a_network_that_does_not_fit_is_exit_code_one() {
    let line = refused("cnn8 --array 256x4 --weight-bits 8", 1);
    assert!(line.contains("no room for one 8-bit weight"), "{line}");
}

#[cfg(not(feature = "onnx"))]
#[test]
fn onnx_is_refused_by_a_build_without_it() {
    let line = refused("net.onnx --array 256x512", 1);
    assert!(
        line.contains("net.onnx") && line.contains("`--features onnx`"),
        "{line}"
    );
}

#[test]
fn a_reader_that_stops_early_is_not_an_error() {
    let mut child = std::process::Command::new(cargo_bin!("vwc-sdk"))
        .args(["map", "resnet20", "--array", "512x256", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn help_teaches() {
    let help = data("--help");
    for word in [
        "Examples:",
        "[default: 1]",
        "padding",
        "vwc-sdk map cnn8 --array 256x512",
    ] {
        assert!(help.contains(word), "no {word:?} in\n{help}");
    }
}
