//! The mapping commands besides a plain `map`, from the outside: layer lists, saved mappings, comparisons,
//! sweeps, fronts, simulations and pictures.

use std::{fs, path::Path, process::Output};

use assert_cmd::{Command, cargo_bin};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

fn run(args: &str) -> Output {
    Command::new(cargo_bin!("vwc-sdk"))
        .args(args.split_whitespace())
        .output()
        .unwrap()
}

/// Standard output of a run that must succeed without a word on standard error.
fn data(args: &str) -> String {
    let output = run(args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args}");
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// What a run says that must fail, not for wrong usage, and print no data.
fn refused(args: &str) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(1), "{args}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    String::from_utf8(output.stderr).unwrap()
}

/// What a run says to wrong usage.
fn misused(args: &str) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2), "{args}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    String::from_utf8(output.stderr).unwrap()
}

fn json(args: &str) -> Value {
    serde_json::from_str(&data(&format!("{args} --format json"))).unwrap()
}

/// A file in a directory of its own.
fn file(name: &str, text: &str) -> (TempDir, String) {
    let directory = tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

const LAYERS_CSV: &str = "\
name, input, kernel, in_channels, out_channels, stride, padding, dilation, groups
stem, 32x40, 3, 3, 8, 2, 1x1x0x2, ,
# a comment
deep, 16x20, 3x1, 8, 8, , , 2, 8
";

const LAYERS_JSON: &str = r#"{"name": "mine", "layers": [
  {"name": "stem", "input": [32, 40], "kernel": 3, "in_channels": 3, "out_channels": 8,
   "stride": 2, "padding": [1, 1, 0, 2]},
  {"name": "deep", "input": [16, 20], "kernel": [3, 1], "in_channels": 8, "out_channels": 8,
   "dilation": 2, "groups": 8}]}"#;

#[test]
fn a_layer_list_may_be_csv_or_json() {
    let (_csv, csv) = file("mine.csv", LAYERS_CSV);
    let (_json, list) = file("other.json", LAYERS_JSON);
    let from_csv = json(&format!("map {csv} --array 64x64"));
    assert_eq!(from_csv, json(&format!("map {list} --array 64x64")));
    assert_eq!(from_csv["network"], "mine");
    assert_eq!(from_csv["layers"][0]["padding"], serde_json::json!([1, 1, 0, 2]));
    assert_eq!(from_csv["layers"][1]["groups"], 8);
    let bare = LAYERS_JSON
        .split_once("\"layers\": ")
        .unwrap()
        .1
        .trim_end_matches('}');
    let (_bare, bare) = file("mine.json", bare);
    assert_eq!(from_csv, json(&format!("map {bare} --array 64x64")));
}

#[test]
fn hostile_layer_lists_are_refused_with_the_place_named() {
    let csv = |record: &str| format!("name,input,kernel,in_channels,out_channels\na,8,3,1,1\n{record}\n");
    let many: String = (0..10_001).map(|n| format!("b{n},8,3,1,1\n")).collect();
    let many = csv(&many);
    let cases = [
        (
            "x.csv",
            csv("b,8,three,1,1"),
            "line 3: kernel `three` is not a whole number",
        ),
        (
            "x.csv",
            csv("b,8,3,1"),
            "line 3: it has 4 fields, and the header has 5",
        ),
        (
            "x.csv",
            csv("# a comment\n\n\nb,8,3,1"),
            "line 6: it has 4 fields",
        ),
        (
            "x.csv",
            "name,input,kernel,in_channels,out_channels,in_channels\na,8,3,1,1,2\n".to_owned(),
            "line 1: the column `in_channels` is there twice: leave one out",
        ),
        (
            "x.csv",
            csv("#conv1,8,3,1,1"),
            "line 3: it begins with `#`, and may be a comment or a layer: put a blank behind the `#` of a comment, \
             or the name of a layer in quotation marks",
        ),
        ("x.csv", csv(" #conv1,8,3,1,1"), "line 3: it begins with `#`"),
        (
            "x.csv",
            csv("\"b,8,3,1,1\nc,8,3,1,1"),
            "line 3: a quotation mark is opened and not closed",
        ),
        (
            "x.csv",
            csv("b,8,3,1,1\na,8,3,1,1"),
            "line 4: layer 3 is called `a`, as layer 1 is: give each a name of its own",
        ),
        (
            "x.csv",
            csv("b\u{1b}[31m,8,3,1,1"),
            "line 3: the name of layer 2 holds control characters",
        ),
        (
            "x.csv",
            csv(&format!("{},8,3,1,1", "b".repeat(300))),
            "line 3: the name of layer 2 is 300 bytes long",
        ),
        ("x.csv", csv("\"\",8,3,1,1"), "line 3: name is empty"),
        (
            "x.csv",
            csv("b,1x2x3,3,1,1"),
            "line 3: input `1x2x3` must be one number",
        ),
        ("x.csv", csv("b,8,3,,1"), "line 3: in_channels is empty"),
        (
            "x.csv",
            csv("b,8,3,99999999999999999999,1"),
            "line 3: in_channels",
        ),
        ("x.csv", csv("b,8,0,1,1"), "line 3: layer `b`: kernel height is 0"),
        ("x.csv", csv("b,8,9,1,1"), "layer `b`: its 9x9 kernel is larger"),
        ("x.csv", many, "line 10002: it lists more than 10000 layers"),
        (
            "x.csv",
            "name,input\n".to_owned(),
            "line 1: the column `kernel` is missing",
        ),
        (
            "x.csv",
            "name,colour\n".to_owned(),
            "line 1: there is no column `colour`",
        ),
        (
            "x.csv",
            String::new(),
            "the header is missing: its first line must name columns",
        ),
        ("x.json", "[\n{\"name\": 5}\n]".to_owned(), "line 2"),
        ("x.json", "[]".to_owned(), "it lists no layers"),
        (
            "x.json",
            "{\"layers\": [], \"extra\": 1}".to_owned(),
            "unknown field `extra`",
        ),
        ("x.json", "[".repeat(100_000), "line 1"),
        ("x.json", " ".repeat((4 << 20) + 1), "it is longer than"),
    ];
    for (name, text, says) in cases {
        let (_directory, path) = file(name, &text);
        let error = refused(&format!("map {path} --array 64x64"));
        assert!(error.contains(says), "{says}: {error}");
    }
    for command in [
        "map nowhere.csv --array 64x64",
        "compare cnn8 nowhere.csv --array 64x64",
        "sweep nowhere.csv --rows 64 --cols 64",
        "front nowhere.csv --array 64x64",
        "simulate nowhere.csv --array 64x64",
    ] {
        assert!(
            refused(command).contains("could not read nowhere.csv"),
            "{command}"
        );
        // A preset that does not exist is wrong usage.
        let unknown = run(&command.replace("nowhere.csv", "nowhere"));
        assert_eq!(unknown.status.code(), Some(2), "{command}");
    }
}

/// A layer of a JSON list, with more fields.
fn layer(name: &str, more: &str) -> String {
    format!(
        r#"{{"name": "{name}", "input": 8, "kernel": 3, "padding": 1, "in_channels": 4, "out_channels": 4{more}}}"#
    )
}

#[test]
fn layers_of_a_json_list_that_contradict_each_other_are_refused_with_their_line() {
    const TIE: &str = r#", "tie": {"input": null, "output": 0}"#;
    let list = |layers: &[String]| format!("[\n{}\n]", layers.join(",\n"));
    let document = |before: &str, layers: &[String]| format!("{{{before}\n\"layers\": {}}}", list(layers));
    let (plain, tied) = (layer("a", ""), layer("b", TIE));
    let cases = [
        (
            list(&[plain.clone(), layer("b", ""), plain.clone()]),
            "layer 3 is called `a`, as layer 1 is: give each a name of its own at line 4 column",
        ),
        (
            list(&[plain.clone(), tied.clone()]),
            "layer `b` has a `tie`, and the layers before it have none: give each layer one, or none at line 3",
        ),
        (
            list(&[tied.clone(), layer("c", TIE), plain.clone()]),
            "layer `a` has no `tie`, and the layers before it have one: give each layer one, or none at line 4",
        ),
        (
            document("\"chain\": true,", std::slice::from_ref(&tied)),
            "layer `b` has a `tie`, and `chain` is true: both say which widths may change, so give one of the two at \
             line 3",
        ),
        (
            document("", &[tied.clone(), layer("c", TIE)]).replace("\n]}", "\n],\n\"chain\": true\n}"),
            "the layers have a `tie`, and `chain` is true: both say which widths may change, so give one of the two at \
             line 6",
        ),
        (
            document("\"chain\": true,", &[plain.clone(), tied]),
            "layer `b` has a `tie`, and `chain` is true",
        ),
        (
            list(&[plain.clone(), layer("x\\ny", "")]),
            "the name of layer 2 holds control characters: give it another at line 3",
        ),
        (
            list(&[layer(" ", "")]),
            "layer 1 has no name: give it one at line 2",
        ),
        (
            list(&[layer("a", "").replace("\"padding\": 1", "\"padding\": [1, 2, 3]")]),
            "expected padding as a whole number from 0 up, as [above and below, left and right], or as [top, bottom, \
             left, right] at line 2",
        ),
        (
            list(&[
                plain.clone(),
                layer("b", "").replace("\"kernel\": 3", "\"kernel\": 11"),
            ]),
            "layer `b`: its 11x11 kernel is larger than the 10x10 input",
        ),
        (
            document("\"name\": \"x\\u001b[2J\",", std::slice::from_ref(&plain)),
            "the name of the network holds control characters",
        ),
        (
            document(
                "\"chain\": true,\n\"chain\": false,",
                std::slice::from_ref(&plain),
            ),
            "duplicate field `chain` at line 2",
        ),
        ("{\"name\": \"x\"}".to_owned(), "missing field `layers`"),
        (
            "5".to_owned(),
            "expected a list of layers, or an object with `layers`",
        ),
        (
            "[7]".to_owned(),
            "expected a layer, which is an object with `name`, `input`, `kernel` and more",
        ),
    ];
    for (text, says) in cases {
        let (_directory, path) = file("x.json", &text);
        let error = refused(&format!("map {path} --array 64x64"));
        assert!(error.contains(says), "{says}: {error}");
    }
    // What is left: ties on every layer, or a chain.
    for good in [
        document("\"chain\": true,", &[plain.clone(), layer("b", "")]),
        document("\"chain\": false,", &[layer("a", TIE)]),
    ] {
        let (_directory, path) = file("x.json", &good);
        assert!(
            run(&format!("front {path} --array 64x64")).status.success(),
            "{good}"
        );
    }
}

#[test]
fn comments_and_quoted_names_are_told_apart() {
    let text = "# layers\n##\n#\nname,input,kernel,in_channels,out_channels\n\"#conv1\",8,3,1,1\n#\tb\n  # c\r\nd,8,3,1,1";
    let (_directory, path) = file("x.csv", text);
    let found = json(&format!("map {path} --array 64x64"));
    let names: Vec<_> = found["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| &layer["name"])
        .collect();
    assert_eq!(names, ["#conv1", "d"]);
}

#[test]
fn a_byte_order_mark_is_passed_over_and_other_encodings_are_refused() {
    let json_text = format!("[{}]", layer("a", ""));
    let csv_text = "name,input,kernel,in_channels,out_channels,padding\na,8,3,4,4,1\n";
    let plain = |name: &str, text: &str| {
        let (_directory, path) = file(name, text);
        json(&format!("map {path} --array 64x64"))
    };
    for (name, text) in [("x.json", json_text.as_str()), ("x.csv", csv_text)] {
        assert_eq!(plain(name, &format!("\u{feff}{text}")), plain(name, text));
        let wide = |unit: u16| unit.to_le_bytes();
        let marked: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(wide).collect();
        let unmarked: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let latin = text.replace("\"a\"", "\"\u{e9}\"").replace("\na,", "\n\u{e9},");
        let latin: Vec<u8> = latin.chars().map(|c| c as u8).collect();
        let line = if name == "x.csv" { 2 } else { 1 };
        let advice = "a layer list must be UTF-8 text: save it as UTF-8";
        for (bytes, says) in [
            (
                marked,
                format!(
                    "x.{}: it is UTF-16 text or no text at all, and {advice}",
                    &name[2..]
                ),
            ),
            (
                unmarked,
                format!("it is UTF-16 text or no text at all, and {advice}"),
            ),
            (
                latin,
                format!("line {line}: it holds bytes that are no UTF-8, and {advice}"),
            ),
        ] {
            let directory = tempdir().unwrap();
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = refused(&format!("map {} --array 64x64", path.display()));
            assert!(error.contains(&says), "{says}: {error}");
        }
    }
}

#[test]
fn weights_that_share_cells_are_counted_as_published_and_said_once() {
    let shared = "--cell-bits 2 --accounting as-published";
    for (args, published) in [
        (
            format!("map cnn8 --array 256x256 {shared}"),
            "= 512 columns of 1-bit weights on array 256x256, where 256 fit",
        ),
        (
            format!("map cnn8 --array 256x256 --weight-bits 3 {shared}"),
            "= 170 columns of 3-bit weights on array 256x256, where 128 fit",
        ),
        (
            format!("compare cnn8 --array 64x64,128x128 {shared}"),
            "= 128 columns",
        ),
        (
            format!("sweep cnn8 --rows 64,128 --cols 64 {shared}"),
            "= 128 columns",
        ),
        (format!("front cnn8 --array 64x64 {shared}"), "= 128 columns"),
    ] {
        let output = run(&args);
        assert!(output.status.success(), "{args}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.matches("note: accounting as-published").count(), 1, "{said}");
        assert!(
            said.contains(published) && said.contains("weights share cells"),
            "{said}"
        );
        // Nothing is said of whole cells.
        assert_eq!(
            String::from_utf8_lossy(&run(&args.replace("as-published", "exact-geometry")).stderr),
            ""
        );
        let divided = args.replace("--weight-bits 3", "") + " --weight-bits 4";
        assert_eq!(String::from_utf8_lossy(&run(&divided).stderr), "");
    }
    let saved =
        String::from_utf8(run(&format!("map cnn8 --array 256x256 {shared} --format json")).stdout).unwrap();
    let (_directory, path) = file("saved.json", &saved);
    let said = String::from_utf8(run(&format!("map --load {path}")).stderr).unwrap();
    assert!(said.contains("= 512 columns"), "{said}");
    for faults in ["", "--variation 0.1"] {
        let error = refused(&format!("simulate cnn8 --array 256x256 {shared} {faults}"));
        assert!(
            error
                .contains("counts 512, which share cells: no array can be programmed so; use exact-geometry"),
            "{error}"
        );
    }
    // With whole cells the proof holds, ideal and on a device.
    for faults in ["", "--pulse-bits 1"] {
        for row in json(&format!(
            "simulate cnn8 --array 256x256 --cell-bits 2 --weight-bits 3 --input-bits 2 {faults}"
        ))
        .as_array()
        .unwrap()
        {
            assert_eq!(
                (&row["error"], &row["cycles"]),
                (&Value::from(0.0), &row["predicted_cycles"])
            );
        }
    }
}

#[test]
fn less_than_a_whole_channel_on_the_array_is_shown_as_such() {
    // A 3x3 kernel takes nine rows, and the array has four.
    let (_directory, path) = file("x.csv", "name,input,kernel,in_channels,out_channels\nl,8,3,2,2\n");
    let command = format!("map {path} --array 4x4 --method elements");
    let row: Vec<String> = data(&command)
        .lines()
        .nth(2)
        .unwrap()
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect();
    assert_eq!(row[..8], ["l", "2", "2", "36", "elements", "4x3", "<1", "2"]);
    let csv = data(&format!("{command} --format csv"));
    let column = |name| {
        csv.lines()
            .next()
            .unwrap()
            .split(',')
            .position(|field| field == name)
            .unwrap()
    };
    let record: Vec<_> = csv.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(
        [record[column("in_tile")], record[column("out_tile")]],
        ["<1", "2"]
    );
    assert_eq!(json(&command)["layers"][0]["in_tile"], 0);
}

#[test]
fn a_comparison_draws_every_network_and_array_and_says_what_it_does_not() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("x.svg");
    let draw = |args: &str| run(&format!("compare {args} --plot {}", path.display()));
    let output = draw("cnn8 resnet18-table --array 128x128,256x256,512x512 --method vw-sdk,vwc-sdk");
    assert!(output.status.success());
    let (svg, said) = (
        fs::read_to_string(&path).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    for network in ["cnn8", "resnet18-table"] {
        for array in ["128x128", "256x256", "512x512"] {
            assert_eq!(
                svg.matches(&format!("{network} on {array}: computing cycles"))
                    .count(),
                1
            );
            let line = format!("not drawn: {network} on {array}, vwc-sdk: ");
            let drawn = network == "cnn8";
            assert_eq!(said.contains(&line), !drawn, "{line}");
        }
    }
    assert_eq!(said.lines().count(), 3, "{said}");
    fs::remove_file(&path).unwrap();
    // All presets on two arrays, and networks that are not even read.
    for args in [
        "--array 64x64,128x128",
        &format!("{} --array 64x64", "nowhere.csv ".repeat(13)),
    ] {
        let output = draw(args);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("a panel for each network and array, 12 at most"),
            "{said}"
        );
    }
    // No method maps the layer: there is no picture, and no table that would hide it.
    let output = draw("resnet18-table --array 64x64 --method vwc-sdk");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("not drawn: resnet18-table on 64x64, vwc-sdk") && said.contains("nothing to draw"));
    assert!(!path.exists());
}

#[test]
fn what_csv_has_no_place_for_is_said() {
    for command in [
        "compare densenet40 --array 64x64",
        "sweep densenet40 --rows 64 --cols 64",
    ] {
        let output = run(&format!("{command} --method vwc-sdk --format csv"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success() && said.contains("not mapped: densenet40, vwc-sdk: the widths"),
            "{said}"
        );
    }
}

#[test]
fn networks_of_one_name_are_refused_where_a_table_sets_them_beside_each_other() {
    let (_one, one) = file("net.csv", LAYERS_CSV);
    let (_other, other) = file("net.csv", LAYERS_CSV);
    for command in [
        format!("compare {one} {other} --array 64x64"),
        format!("sweep {one} {other} --rows 64 --cols 64"),
    ] {
        let error = refused(&command);
        assert!(error.contains("two networks are called `net`"), "{error}");
    }
}

#[test]
fn a_saved_mapping_loads_again() {
    for method in ["vw-sdk", "vwc-sdk", "best"] {
        let saved = data(&format!(
            "map cnn8 --array 256x512 --method {method} --format json"
        ));
        let (_directory, path) = file("saved.json", &saved);
        assert_eq!(data(&format!("map --load {path} --format json")), saved);
        let table = data(&format!("map cnn8 --array 256x512 --method {method}"));
        assert_eq!(data(&format!("map --load {path}")), table);
    }
}

#[test]
fn a_saved_mapping_that_was_changed_is_refused() {
    let saved = data("map cnn8 --array 256x512 --format json");
    let cases = [
        (
            saved.replace("\"cycles\": 28", "\"cycles\": 27"),
            "layer `convs.3`: the mapping was not made",
        ),
        (
            saved.replace("vwc-sdk/plan/1", "vwc-sdk/plan/9"),
            "has the schema `vwc-sdk/plan/9`",
        ),
        (
            saved.replacen("\"rows\": 256", "\"rows\": 0", 1),
            "array 0x512 is out of range",
        ),
        (saved[..saved.len() / 2].to_owned(), "EOF"),
        ("{}".to_owned(), "missing field"),
    ];
    for (text, says) in cases {
        let (_directory, path) = file("saved.json", &text);
        let error = refused(&format!("map --load {path}"));
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn widths_are_searched_where_asked() {
    let published = "--array 256x512 --accounting as-published";
    let total = |args: &str| json(&format!("map cnn8 {published} {args}"))["total"]["cycles"].clone();
    assert_eq!(total("--method vwc-sdk --search published"), 227);
    assert_eq!(total("--method vwc-sdk --channels keep"), 311);
    assert_eq!(total("--channels rcp"), 227);
    let budget = json(&format!(
        "map cnn8 {published} --channels pareto --budget-cycles 227"
    ));
    assert!(budget["total"]["cycles"].as_u64().unwrap() <= 227);
    let kept = json(&format!(
        "map cnn8 {published} --channels pareto --budget-channels 246"
    ));
    assert!(kept["total"]["cycles"].as_u64().unwrap() < 227);
    for (args, says) in [
        ("cnn8 --channels pareto", "give both or neither"),
        ("cnn8 --budget-cycles 5", "give both or neither"),
        (
            "cnn8 --channels pareto --budget-cycles 1",
            "no widths of network `cnn8` keep to the budget",
        ),
        (
            "densenet40 --method vwc-sdk",
            "the widths of network `densenet40` cannot be searched",
        ),
        (
            "cnn8 --channels rcp --hold convs.9",
            "no layer with a free width is called `convs.9`",
        ),
    ] {
        let error = refused(&format!("map {args} --array 256x512"));
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn compare_sets_methods_beside_each_other() {
    let arguments = "compare cnn8 resnet18-table --array 256x512,512x512 --accounting as-published";
    let table = data(arguments);
    let row = |start: [&str; 2]| -> Vec<String> {
        let cells =
            |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
        table
            .lines()
            .map(cells)
            .find(|cells| cells.starts_with(&start.map(str::to_owned)))
            .unwrap()
    };
    let cnn8 = row(["cnn8", "256x512"]);
    // The bound of windows, then im2col, SDK, VW-SDK, VWC-SDK, TetrisG-SDK, elements, strips, channel tiles, tiled strips, output
    // tiles, best, gain.
    assert_eq!(
        cnn8[2..],
        [
            "265", "2319", "654", "311", "227", "309", "307", "278", "305", "273", "273", "273", "1.14x"
        ]
    );
    let resnet18 = row(["resnet18-table", "512x512"]);
    assert_eq!(resnet18[6], "-");
    assert_eq!(resnet18[3..6], ["20041", "7240", "4294"]);
    assert!(table.contains("resnet18-table, vwc-sdk: the widths of network"));
    let markdown = data(&format!("{arguments} --format markdown"));
    assert!(markdown.lines().nth(1).unwrap().starts_with("|--"), "{markdown}");
}

/// Energy in uJ, latency in us, their product in pJ s and area in mm2, of six methods on eight pairs of networks and arrays, by six models.
#[test]
fn the_page_of_costs_holds_what_the_command_prints() {
    const MODELS: [&str; 6] = [
        "isaac-32",
        "zigzag-28",
        "accelergy",
        "neurosim-22",
        "mnsim",
        "convmapsim",
    ];
    let printed = data(&format!(
        "compare vgg13 resnet18 resnet20 cnn8 --array 256x256,512x512 --method im2col,sdk,vw-sdk,vwc-sdk,tetris,best --adc-bits 8 --cost {} \
         --format csv",
        MODELS.join(",")
    ));
    let mut csv = csv::Reader::from_reader(printed.as_bytes());
    let head = csv.headers().unwrap().clone();
    let place = |name: &str| {
        head.iter()
            .position(|found| found == name)
            .unwrap_or_else(|| panic!("{name}: {head:?}"))
    };
    let mut records: Vec<csv::StringRecord> = csv.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.len(), 48);
    // Networks as they were asked for, and the methods of an array beside each other.
    records
        .chunks_mut(12)
        .for_each(|network| network.sort_by(|one, other| one[1].cmp(&other[1])));
    let mut table = format!("| network | array | method | cycles | {} |\n", MODELS.join(" | "));
    table += &format!("|---|---|---|---|{}\n", "---|".repeat(MODELS.len()));
    for methods in records.chunks(6) {
        // The place of a method in the order of energies by a model, methods of equal energy sharing the first.
        let energy = |record: &csv::StringRecord, model: &str| -> f64 {
            record[place(&format!("{model} energy_pj"))].parse().unwrap()
        };
        let rank = |record: &csv::StringRecord, model: &str| {
            let fewer =
                |other: &&csv::StringRecord| energy(other, model) < energy(record, model) * (1.0 - 1e-9);
            methods.iter().filter(fewer).count()
        };
        for record in methods {
            let cells = MODELS.map(|model| {
                let number = |name: &str, unit: f64| -> String {
                    let found = &record[place(&format!("{model} {name}"))];
                    found
                        .parse::<f64>()
                        .map_or("-".into(), |value| three_digits(value / unit))
                };
                let flips = if rank(record, model) == rank(record, MODELS[0]) {
                    ""
                } else {
                    "*"
                };
                format!(
                    "{}{flips} / {} / {} / {}",
                    number("energy_pj", 1e6),
                    number("latency_ns", 1e3),
                    number("energy_delay_pj_ns", 1e9),
                    number("area_um2", 1e6)
                )
            });
            let [network, array, method, _, cycles] = [0, 1, 2, 3, 4].map(|field| &record[field]);
            table += &format!(
                "| {network} | {array} | {method} | {cycles} | {} |\n",
                cells.join(" | ")
            );
        }
    }
    assert!(
        include_str!("../docs/costs.md").contains(&table),
        "docs/costs.md holds an old table; put this in its place:\n{table}"
    );
}

/// A number with three digits that count.
fn three_digits(value: f64) -> String {
    let digits = 2 - value.abs().max(1e-300).log10().floor() as i32;
    match digits {
        ..=-4 => format!("{value:.2e}"),
        -3..=0 => format!("{:.0}", (value * 10f64.powi(digits)).round() / 10f64.powi(digits)),
        digits => format!("{value:.*}", digits as usize),
    }
}

#[test]
fn the_page_holds_what_the_command_prints() {
    let page = include_str!("../docs/mapping.md");
    let printed = data("compare --array 128x128,256x256,512x512 --format markdown");
    let (table, _) = printed.split_once("\n\n").unwrap();
    assert!(
        page.contains(table),
        "docs/mapping.md holds an old table; put this in its place:\n{table}"
    );
}

#[test]
fn a_sweep_has_a_line_for_every_case() {
    let csv = data("sweep cnn8 vgg13 --rows 128,256 --cols 128,512 --method vw-sdk,best --format csv");
    assert_eq!(csv.lines().count(), 1 + 2 * 4 * 2);
    let rows = json("sweep cnn8 --rows 256 --cols 512 --method vw-sdk,best");
    assert_eq!(rows[0]["total"]["cycles"], 382);
    assert_eq!(rows[1]["array"], "256x512");
    assert!(refused("sweep cnn8 --rows 0 --cols 5").contains("array 0x5 is out of range"));
}

#[test]
fn the_front_is_listed_from_the_most_channels_down() {
    let csv = data("front cnn8 --array 256x512 --accounting as-published --format csv");
    let mut lines = csv.lines();
    assert_eq!(lines.next().unwrap(), "channels,cycles,speed-up,widths");
    assert_eq!(lines.next().unwrap(), "280,311,1.00,24 32 32 64 64 64");
    let error = refused("front densenet40 --array 256x512");
    assert!(error.contains("does not say which widths may change"), "{error}");
    let error = refused("front resnet50 --array 256x512");
    assert!(error.contains("too many free channels"), "{error}");
    let csv = data("front resnet50 --array 256x512 --multiple 32 --format csv");
    assert_eq!(csv.lines().nth(1).unwrap().split(',').nth(2), Some("1.00"));
    let held = data("front cnn8 --array 256x512 --hold convs.3 --multiple 8 --minimum 16 --format csv");
    for line in held.lines().skip(1) {
        let widths = line.split(',').next_back().unwrap().split(' ');
        let widths: Vec<usize> = widths.map(|width| width.parse().unwrap()).collect();
        assert_eq!(widths[2..4], [32, 64]);
        assert!(
            widths.iter().all(|width| width % 8 == 0 && *width >= 16),
            "{line}"
        );
    }
}

#[test]
fn ties_that_no_layer_makes_are_refused() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("free.json");
    let layer = |name: &str, from, to, tie: [Option<usize>; 2]| {
        serde_json::json!({
            "name": name, "input": 8, "kernel": 1, "in_channels": from, "out_channels": to,
            "tie": { "input": tie[0], "output": tie[1] },
        })
    };
    for (first, second) in [
        ([Some(0), Some(1)], [Some(1), None]),
        ([None, None], [Some(0), None]),
    ] {
        let list = serde_json::json!([layer("a", 3, 60, first), layer("b", 60, 10, second)]);
        fs::write(&path, list.to_string()).unwrap();
        let error = refused(&format!("map {} --array 64x64", path.display()));
        assert!(
            error.contains("reads the free width 0, which no layer makes"),
            "{error}"
        );
    }
    // Limits without a search.
    let error = refused("map cnn8 --array 64x64 --hold convs.9");
    assert!(error.contains("add --channels rcp"), "{error}");
}

#[test]
fn a_width_that_cannot_be_narrowed_is_said() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("narrow.json");
    let layer = |name: &str, input, from, to| serde_json::json!({ "name": name, "input": input, "kernel": 3, "in_channels": from, "out_channels": to });
    let chain = serde_json::json!({
        "chain": true,
        "layers": [layer("a", 8, 3, 8), layer("b", 6, 8, 4), layer("c", 4, 4, 4)],
    });
    fs::write(&path, chain.to_string()).unwrap();
    let list = path.display();
    let output = run(&format!("map {list} --array 1024x1024 --method vwc-sdk"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("8 channels that layer `b` reads stay"), "{said}");
    let table = data(&format!("compare {list} --array 1024x1024 --method vwc-sdk"));
    assert!(
        table.contains("narrow on 1024x1024, vwc-sdk: widths that the rounds narrow no further, though their rule does: those at b"),
        "{table}"
    );
}

#[test]
fn a_simulation_proves_the_cycles_or_shows_the_faults() {
    let rows = json("simulate cnn8 --array 256x512 --method best --input-bits 2");
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 7);
    for row in rows {
        assert_eq!(row["cycles"], row["predicted_cycles"]);
        assert_eq!(row["error"], 0.0);
    }
    let noisy = json("simulate cnn8 --array 256x512 --input-bits 2 --variation 0.1 --adc-bits 4");
    assert!(noisy[6]["error"].as_f64().unwrap() > 0.0);
    let error = misused("simulate cnn8 --array 256x512 --adc-bits 1");
    assert!(
        error.contains("0 for exact converters, or 2 to 32 bits"),
        "{error}"
    );
}

#[test]
fn pictures_are_drawn_as_svg_or_png() {
    let directory = tempdir().unwrap();
    let published = "--array 256x512 --accounting as-published";
    for (n, command) in [
        format!("map cnn8 {published} --layer convs.3"),
        format!("compare cnn8 {published}"),
        format!("front cnn8 {published}"),
    ]
    .iter()
    .enumerate()
    {
        let path = |ending: &str| directory.path().join(format!("{n}.{ending}"));
        let draw = |path: &Path| data(&format!("{command} --plot {}", path.display()));
        draw(&path("svg"));
        let svg = fs::read_to_string(path("svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("cnn8"));
        draw(&path("png"));
        let png = fs::read(path("png")).unwrap();
        assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
        let error = misused(&format!("{command} --plot {}", path("jpg").display()));
        assert!(error.contains("must end in .svg or .png"), "{error}");
    }
    // Nothing half written is left behind.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 6);
    let error = refused(&format!("map cnn8 {published} --plot x.png --layer convs.9"));
    assert!(
        error.contains("there is no layer `convs.9`: use one of convs.0, convs.1"),
        "{error}"
    );
}

#[test]
fn numbers_out_of_range_name_their_flag() {
    for (flag, value) in [
        ("--variation", "-1"),
        ("--variation", "nan"),
        ("--variation", "1e308"),
        ("--variation", "10.5"),
        ("--stuck-off", "2"),
        ("--adc-bits", "99"),
        ("--pulse-bits", "0"),
    ] {
        let error = misused(&format!("simulate cnn8 --array 256x512 {flag} {value}"));
        assert!(error.contains(flag), "{flag} {value}: {error}");
    }
    let error = misused("map cnn8 --array 256x512 --plot nowhere/at-all/x.svg");
    assert!(error.contains("there is no folder nowhere/at-all"), "{error}");
}

/// A saved plan whose names hold what terminals, Markdown and XML act on.
fn hostile_plan() -> Value {
    let mut plan = json("map cnn8 --array 32x32");
    plan["network"] = "net\u{1b}[2J\u{9b}|\u{2028}<&".into();
    for (n, name) in [
        "a|b\\|",
        "c\u{1b}]0;x\u{7}",
        "d\ne\rf",
        "\u{202e}g",
        "h\u{2029}\u{0}\u{ffff}",
        "i<\u{85}&",
        "j",
    ]
    .into_iter()
    .enumerate()
    {
        plan["layers"][n]["name"] = name.into();
    }
    plan
}

#[test]
fn names_from_files_are_shown_and_never_obeyed() {
    let obeyed = |char: char| {
        (char.is_control() && char != '\n')
            || matches!(
                char,
                '\u{2028}' | '\u{2029}' | '\u{202e}' | '\u{fffe}' | '\u{ffff}'
            )
    };
    let plan = hostile_plan();
    let (directory, path) = file("plan.json", &plan.to_string());
    for format in ["table", "markdown", "latex", "csv", "json"] {
        let text = data(&format!("map --load {path} --format {format}"));
        assert!(!text.contains(obeyed), "{format}: {text:?}");
        match format {
            // One line a layer, whatever its name holds.
            "table" => assert_eq!(text.lines().filter(|line| line.contains("1800")).count(), 1),
            "markdown" => {
                for line in text.lines().filter(|line| line.starts_with('|')) {
                    let line = line.replace(r"\\", "").replace(r"\|", "");
                    assert_eq!(line.matches('|').count(), 16, "{line}");
                }
                assert!(text.contains(r"| a\|b\\\| "), "{text}");
            }
            "latex" => assert!(
                text.contains(r" a\textbar{}b\textbackslash{}\textbar{} & "),
                "{text}"
            ),
            "csv" => assert_eq!(text.lines().count(), 8),
            _ => assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap()["layers"][1],
                plan["layers"][1]
            ),
        }
    }
    let svg = directory.path().join("array.svg");
    data(&format!("map --load {path} --plot {}", svg.display()));
    let svg = fs::read_to_string(svg).unwrap();
    assert!(!svg.contains(obeyed) && svg.contains("a|b") && svg.contains("&lt;&amp;"));
}

#[test]
fn a_saved_mapping_without_layers_is_refused() {
    let mut plan = json("map cnn8 --array 32x32");
    plan["layers"] = Value::Array(Vec::new());
    let (_directory, path) = file("plan.json", &plan.to_string());
    let error = refused(&format!("map --load {path}"));
    assert!(error.contains("has no layers"), "{error}");
}

#[cfg(unix)]
#[test]
fn files_without_end_and_folders_are_refused() {
    use std::os::unix::fs::symlink;

    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (command, name) in [
        ("map --load", "zero"),
        ("map --array 8x8", "zero.csv"),
        ("map --array 8x8", "zero.json"),
    ] {
        symlink("/dev/zero", path(name)).unwrap();
        let error = refused(&format!("{command} {}", path(name)));
        assert!(error.contains("it is a device: give a file"), "{error}");
        assert!(error.contains(name), "{error}");
    }
    let error = refused(&format!("map --load {}", directory.path().display()));
    assert!(error.contains("it is a folder: give a file"), "{error}");
    // Longer than what is read, and quick to make.
    let long = fs::File::create(path("long")).unwrap();
    long.set_len(1 << 40).unwrap();
    let error = refused(&format!("map --load {}", path("long")));
    assert!(error.contains("longer than the 67108864 bytes"), "{error}");
    fs::write(path("latin"), b"{\"schema\": \"\xe9\"}").unwrap();
    let error = refused(&format!("map --load {}", path("latin")));
    assert!(error.contains("it is not UTF-8 text"), "{error}");
}

#[test]
fn layers_too_large_to_simulate_or_draw_are_refused_at_once() {
    let (_directory, path) = file(
        "large.csv",
        "name,input,kernel,in_channels,out_channels,padding\nlarge,512,3,1024,1024,1\n",
    );
    let error = refused(&format!("simulate {path} --array 64x64"));
    assert!(
        error.contains("layer `large`") && error.contains("products of weights and inputs"),
        "{error}"
    );
    let (directory, path) = file(
        "wide.csv",
        "name,input,kernel,in_channels,out_channels\nwide,1,1,32768,32768\n",
    );
    let svg = directory.path().join("x.svg");
    let error = refused(&format!(
        "map {path} --array 32768x32768 --plot {}",
        svg.display()
    ));
    assert!(error.contains("more than 268435456 cells"), "{error}");
}

#[test]
fn a_front_that_would_take_too_long_is_refused_at_once() {
    let layer = |n: usize| {
        format!(
            r#"{{"name": "l{n}", "input": 9, "kernel": 3, "padding": 1, "in_channels": 3000, "out_channels": 3000}}"#
        )
    };
    let layers = (0..200).map(layer).collect::<Vec<_>>().join(",");
    let (_directory, path) = file(
        "wide.json",
        &format!(r#"{{"chain": true, "layers": [{layers}]}}"#),
    );
    let error = refused(&format!("front {path} --array 64x64"));
    assert!(error.contains("too many free channels"), "{error}");
}

#[test]
fn chains_and_ties_that_contradict_the_widths_are_refused_by_every_command() {
    let layer = |name: &str, channels: [usize; 2], tie: &str| {
        format!(
            r#"{{"name": "{name}", "input": 8, "kernel": 3, "padding": 1, "in_channels": {}, "out_channels": {}{tie}}}"#,
            channels[0], channels[1]
        )
    };
    let tie = |input: &str, output: &str| format!(r#", "tie": {{"input": {input}, "output": {output}}}"#);
    let chain = format!(
        r#"{{"chain": true, "layers": [{}, {}]}}"#,
        layer("a", [3, 8], ""),
        layer("b", [4, 8], "")
    );
    let ties = format!(
        "[{}, {}]",
        layer("a", [3, 8], &tie("null", "0")),
        layer("b", [4, 8], &tie("0", "null"))
    );
    for text in [chain, ties] {
        let (_dir, path) = file("list.json", &text);
        for command in ["map", "front", "simulate"] {
            let error = refused(&format!("{command} {path} --array 64x64"));
            assert!(error.contains("`b` is 4 channels wide"), "{error}");
        }
    }
    // Blanks around a name are not seen.
    let twice = format!("[{}, {}]", layer("a", [3, 8], ""), layer("a ", [8, 8], ""));
    let (_dir, path) = file("list.json", &twice);
    assert!(refused(&format!("map {path} --array 64x64")).contains("called `a`"));
}

/// Costs stand where the format has place for them, and agree.
#[test]
fn costs_are_printed_by_each_model() {
    let args = "map cnn8 --array 256x512 --adc-bits 8 --cost isaac-32,zigzag-28,convmapsim";
    let table = data(args);
    assert!(table.contains("for one picture"), "{table}");
    assert!(table.contains("zigzag-28 does not count: dac,"), "{table}");
    let plan = json(args);
    let costs = plan["costs"].as_array().unwrap();
    assert_eq!(costs.len(), 3);
    assert_eq!(
        (&costs[0]["model"], &costs[0]["converter_bits"]),
        (&"isaac-32".into(), &8.into())
    );
    let sum = |cost: &Value| -> f64 {
        let parts = cost["energy_pj"].as_object().unwrap();
        parts.values().map(|part| part.as_f64().unwrap()).sum()
    };
    let csv = data(&format!("{args} --format csv"));
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let column = reader
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "isaac-32 energy_pj");
    let energies = reader
        .records()
        .map(|record| -> f64 { record.unwrap().get(column.unwrap()).unwrap().parse().unwrap() });
    let (of_csv, of_layers): (f64, f64) = (
        energies.sum(),
        costs[0]["layers"].as_array().unwrap().iter().map(sum).sum(),
    );
    let total = sum(&costs[0]["total"]);
    assert!((of_csv - total).abs() < 1e-9 * total && (of_layers - total).abs() < 1e-9 * total);
    // A saved mapping is read as ever, and costs the same.
    let (_folder, path) = file("plan.json", &plan.to_string());
    let again = data(&format!(
        "map --load {path} --adc-bits 8 --cost isaac-32,zigzag-28,convmapsim"
    ));
    assert_eq!(again, table);
    // Several points.
    let sweep =
        "sweep cnn8 --rows 256 --cols 512 --method im2col,vw-sdk --adc-bits 8 --cost isaac-32,zigzag-28";
    let rows = json(sweep);
    let energy = |row: usize, model: usize| sum(&rows[row]["costs"][model]);
    assert!((energy(1, 0) - total).abs() < 1e-9 * total);
    let lines = data(&format!("{sweep} --format csv"));
    let header = lines.lines().next().unwrap();
    assert!(
        header.contains(",zigzag-28 write_energy_pj,zigzag-28 adc energy_pj,"),
        "{header}"
    );
    assert_eq!(lines.lines().count(), 3);
    assert!(data(sweep).contains("isaac-32 energy"));
    // Where the models have the two in different orders, it is said.
    let compared = data(&sweep.replace("sweep cnn8 --rows 256 --cols 512", "compare cnn8 --array 256x512"));
    let by_isaac = if energy(0, 0) < energy(1, 0) {
        "im2col < vw-sdk"
    } else {
        "vw-sdk < im2col"
    };
    let by_zigzag = if energy(0, 1) < energy(1, 1) {
        "im2col < vw-sdk"
    } else {
        "vw-sdk < im2col"
    };
    assert_eq!(
        compared.contains(&format!("energy by isaac-32: {by_isaac}")),
        by_isaac != by_zigzag,
        "{compared}"
    );
}

/// What CSV holds of each layer is what JSON holds, and with costs all that they are made of.
#[test]
fn csv_of_layers_holds_all_that_was_computed() {
    let args = "map resnet18 --array 512x512 --method best --adc-bits 10 --pulse-bits 2 --cost zigzag-28";
    let plan = json(args);
    let csv = data(&format!("{args} --format csv"));
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let cost = &plan["costs"][0];
    assert_eq!(
        (&cost["pulses"], &cost["converter_bits"]),
        (&4.into(), &10.into())
    );
    // Readers of JSON round the last digit in their own way.
    let near = |one: f64, other: f64| (one - other).abs() <= 1e-14 * other.abs();
    let mut layers = 0;
    for (n, record) in reader.records().enumerate() {
        let record = record.unwrap();
        let field = |name: &str| -> f64 {
            let place = header.iter().position(|known| known == name);
            let text = &record[place.unwrap_or_else(|| panic!("no field {name}"))];
            text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
        };
        let layer = &plan["layers"][n];
        let number = |value: &Value| value.as_f64().unwrap();
        for name in [
            "cycles",
            "lower_bound",
            "window_bound",
            "gap",
            "parallel_cycles",
            "utilisation",
            "groups",
            "weights_driven",
        ] {
            assert_eq!(field(name), number(&layer[name]), "{name} of layer {n}");
        }
        for pair in ["input", "kernel", "stride", "dilation"] {
            for (side, name) in ["height", "width"].into_iter().enumerate() {
                assert_eq!(field(&format!("{pair}_{name}")), number(&layer[pair][side]));
            }
        }
        for (side, name) in ["top", "bottom", "left", "right"].into_iter().enumerate() {
            assert_eq!(field(&format!("padding_{name}")), number(&layer["padding"][side]));
        }
        assert!(field("window_bound") >= field("lower_bound") && field("gap") >= 1.0);
        // Eight bits in pulses of two.
        assert_eq!((field("pulses"), field("converter_bits")), (4.0, 10.0));
        assert_eq!(field("counts adc_conversions"), 4.0 * field("adc_conversions"));
        assert_eq!(field("counts dac_conversions"), 4.0 * field("dac_conversions"));
        assert_eq!(field("counts reads"), 4.0 * field("cycles"));
        assert_eq!(field("counts parallel_reads"), 4.0 * field("parallel_cycles"));
        for (name, count) in cost["layer_counts"][n].as_object().unwrap() {
            assert_eq!(field(&format!("counts {name}")), number(count), "{name}");
        }
        let costs = &cost["layers"][n];
        for (part, energy) in costs["energy_pj"].as_object().unwrap() {
            assert!(near(
                field(&format!("zigzag-28 {part} energy_pj")),
                number(energy)
            ));
        }
        for name in ["latency_ns", "parallel_latency_ns"] {
            assert!(near(field(&format!("zigzag-28 {name}")), number(&costs[name])));
        }
        layers += 1;
    }
    assert_eq!(layers, plan["layers"].as_array().unwrap().len());
    // The bound of the table is the sum of theirs.
    let bounds = plan["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["window_bound"].as_u64().unwrap());
    let bound: u64 = bounds.sum();
    let table = data(args);
    let total = table
        .lines()
        .find(|line| line.trim().starts_with("total"))
        .unwrap();
    assert!(total.contains(&format!(" {bound} ")), "{total}");
    let compared = data("compare resnet18 --array 512x512 --method im2col,best");
    assert!(compared.contains(&format!(" {bound} ")), "{compared}");
}

/// Groups are another network, and are called so.
#[test]
fn groups_are_another_network() {
    let args = "map cnn8 --array 512x512 --method best --accounting as-published --groups 2";
    let plan = json(args);
    assert_eq!(plan["network"], "cnn8 in 2 groups");
    assert_eq!(
        (&plan["layers"][0]["groups"], &plan["layers"][2]["groups"]),
        (&1.into(), &2.into())
    );
    assert_eq!(plan["layers"][2]["cycles"], 32);
    let compared = data("compare cnn8 --array 512x512 --method vw-sdk,best --groups 4");
    assert!(compared.contains("cnn8 in 4 groups"), "{compared}");
    let error = refused("map cnn8 --array 512x512 --groups 7");
    assert!(
        error.contains("`cnn8` in 7 groups: expected 2 or more"),
        "{error}"
    );
    let error = refused("map cnn8 --array 512x512 --groups 2 --method vwc-sdk");
    assert!(error.contains("cnn8 in 2 groups"), "{error}");
    misused("map cnn8 --array 512x512 --groups 1");
    misused("front cnn8 --array 512x512 --groups 2");
}

/// LaTeX has the cells of the other tables, and nothing in it is a command but what has to be.
#[test]
fn tables_are_written_for_latex() {
    let (_dir, path) = file(
        "list.csv",
        "name,input,kernel,in_channels,out_channels\na_b & 50% #1 {x} $y^2~\\z <w> |v|,8,3,1,1\n",
    );
    let text = data(&format!("map {path} --array 64x64 --format latex"));
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert!(
        lines[0].starts_with(r"\begin{tabular}{lr") && lines[1] == r"\toprule",
        "{text}"
    );
    assert!(
        lines[2].starts_with("layer & IC & OC &") && lines[2].ends_with(r"used \% \\"),
        "{text}"
    );
    let name = r"a\_b \& 50\% \#1 \{x\} \$y\textasciicircum{}2\textasciitilde{}\textbackslash{}z \textless{}w\textgreater{} \textbar{}v\textbar{} & 1 &";
    assert!(lines[4].starts_with(name), "{text}");
    assert!(lines[6].starts_with("total & "), "{text}");
    assert_eq!(lines[7..], [r"\bottomrule", r"\end{tabular}"]);
    // As many cells in each row as columns, in every command that prints tables.
    for args in [
        "map cnn8 --array 256x512 --cost isaac-32,mnsim",
        "compare cnn8 --array 256x512 --adc-bits 8 --cost isaac-32,mnsim",
        "sweep cnn8 --rows 64,128 --cols 64",
        "front cnn8 --array 64x64",
        "chip cnn8 --array 256x512 --arrays 64",
    ] {
        let text = data(&format!("{args} --format latex"));
        let mut columns = 0;
        for line in text.lines() {
            if let Some((_, form)) = line.split_once(r"\begin{tabular}{") {
                columns = form.len() - 1;
            } else if line.ends_with(r"\\") {
                assert_eq!(line.matches(" & ").count() + 1, columns, "{args}: {line}");
            } else {
                let known = line.is_empty() || line.starts_with("% ") || line.trim().starts_with('\\');
                assert!(known, "{args}: {line}");
            }
        }
        assert!(columns > 1, "{args}");
    }
}

/// A bar for each method in each panel, with its sum above it; what a model does not know is said.
#[test]
fn energy_is_drawn_by_component() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let args = "compare cnn8 --array 256x512 --method im2col,best --adc-bits 8 --cost isaac-32,zigzag-28";
    let printed = data(&format!("{args} --plot-energy {}", path("e.svg")));
    let svg = std::fs::read_to_string(path("e.svg")).unwrap();
    for text in [
        "cnn8 on 256x512, isaac-32",
        "cnn8 on 256x512, zigzag-28",
        "im2col",
        "best",
        "input-buffer",
        "adc",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    // The sums of the table stand above the bars.
    let (_, table) = printed.split_once("cnn8 on 256x512: energy").unwrap();
    let best = table
        .lines()
        .find(|line| line.trim().starts_with("best"))
        .unwrap();
    for energy in best.split('|').skip(1) {
        assert!(svg.contains(energy.trim()), "{energy}");
    }
    let picture = path("e.png");
    let output = run(&format!(
        "{} --plot-energy {picture}",
        args.replace("--adc-bits 8 ", "")
    ));
    let said = String::from_utf8(output.stderr).unwrap();
    // Converters of 9 bits lose nothing here, and isaac-32 has none.
    assert!(
        output.status.success() && said.contains("not drawn: cnn8 on 256x512, isaac-32"),
        "{said}"
    );
    assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    let error = refused(&format!(
        "compare --array 64x64,128x128 --method im2col --adc-bits 8 --cost mnsim --plot-energy {picture}"
    ));
    assert!(error.contains("and here are 22"), "{error}");
    misused(&format!("compare cnn8 --array 64x64 --plot-energy {picture}"));
}

#[test]
fn what_is_no_cost_model_is_refused() {
    let error = refused("map cnn8 --array 256x512 --cost isaac");
    assert!(
        error.contains("no cost model `isaac`: expected isaac-32, zigzag-28"),
        "{error}"
    );
    let (_folder, path) = file("mine.toml", "base = \"isaac-32\"\n[components.adc]\nenergy = 3\n");
    let error = refused(&format!("sweep cnn8 --rows 256 --cols 512 --cost {path}"));
    assert!(error.contains("mine.toml") && error.contains("energy"), "{error}");
    let error = refused("compare cnn8 --array 256x512 --cost missing.toml");
    assert!(error.contains("missing.toml: cannot read"), "{error}");
    // Converters of 9 bits lose nothing here, and this model has none.
    let output = run("map cnn8 --array 256x512 --cost isaac-32 --format csv");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("no costs: cost model isaac-32 has converters of 8 bits"),
        "{said}"
    );
    let error = misused("map cnn8 --array 256x512 --adc-bits 8");
    assert!(error.contains("--cost"), "{error}");
}

#[test]
fn a_chip_is_planned() {
    let args = "chip vgg13 --array 512x512 --accounting as-published --arrays 128";
    let plan = json(args);
    assert_eq!(
        (&plan["interval"], plan["parts"].as_array().unwrap().len()),
        (&691.into(), 1)
    );
    assert!(plan["used"].as_u64().unwrap() <= 128);
    let rules = plan["rules"].as_array().unwrap();
    let infeasible = |rule: &Value| rule["infeasible"].as_str().unwrap_or_default().to_owned();
    assert_eq!(rules.len(), 5);
    assert_eq!(rules[4]["rule"], "speed-up");
    assert_eq!(
        infeasible(&rules[4]),
        "this rule takes 336 arrays, and the chip has 128"
    );
    let intervals = rules.iter().filter_map(|rule| rule["interval"].as_u64());
    assert!(intervals.clone().count() >= 3 && intervals.min().unwrap() > 691);
    let table = data(args);
    assert!(table.contains("this plan") && table.contains("691"), "{table}");
    let csv = data(&format!("{args} --goal latency --format csv"));
    let steps: u64 = csv
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(steps, 4821);
    // Too few arrays: in parts.
    let small = json("chip vgg13 --array 512x512 --accounting as-published --arrays 24 --write-steps 7");
    let parts = small["parts"].as_array().unwrap();
    assert!(
        parts.len() > 1 && parts.iter().all(|part| part["write_steps"] == 7),
        "{small}"
    );
    // A picture of both.
    let folder = tempdir().unwrap();
    for (name, arrays) in [("chip.svg", 128), ("chip.png", 24)] {
        let path = folder.path().join(name);
        data(&format!(
            "chip vgg13 --array 512x512 --arrays {arrays} --plot {}",
            path.display()
        ));
        assert!(fs::metadata(path).unwrap().len() > 1000);
    }
    for (arrays, says) in [
        ("0", "--arrays: a chip of 0 arrays: expected 1 at least"),
        ("2", "arrays alone, and the chip has 2"),
        ("99999999999", "expected 65536 at most"),
    ] {
        let error = refused(&format!("chip vgg13 --array 512x512 --arrays {arrays}"));
        assert!(error.contains(says), "{error}");
    }
    let error = refused("chip vgg13 --array 512x512 --arrays 24 --write-steps 18446744073709551615");
    assert!(
        error.contains("--write-steps: writing of 18446744073709551615 steps"),
        "{error}"
    );
    misused("chip vgg13 --array 512x512 --arrays 128 --bandwidth 0");
}
