//! Weights in files beside the model: they are read, and nothing else is.

use super::*;
use tract_onnx::pb::StringStringEntryProto;

fn elsewhere(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    TensorProto {
        data_location: Some(1),
        external_data: entries.iter().map(entry).collect(),
        ..tensor(name, dims)
    }
}

fn file(weight: TensorProto) -> ModelProto {
    model(
        &[1, 3, 4, 4],
        vec![weight],
        vec![node("Conv", &["x", "conv.weight"], "y", vec![])],
    )
}

fn refused_in(folder: &Path, dims: &[i64], entries: &[(&str, &str)]) -> String {
    let error = read_external(&mut file(elsewhere("conv.weight", dims, entries)), folder).unwrap_err();
    assert!(matches!(error, OnnxError::External { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.starts_with("it has the constant `conv.weight`, ") && !said.contains('\n'),
        "{said}"
    );
    said
}

#[test]
fn weights_beside_the_model_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<f32> = (0..30).map(|n| n as f32 / 7.0).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    for location in ["weights.data", "below/weights.data"] {
        std::fs::write(folder.path().join(location), &bytes).unwrap();
        let length = "108";
        for entries in [
            &[
                ("location", location),
                ("offset", "12"),
                ("length", length),
                ("checksum", "x"),
            ][..],
            &[("location", location), ("offset", "12")],
        ] {
            let mut model = file(elsewhere("conv.weight", &[1, 3, 3, 3], entries));
            read_external(&mut model, folder.path()).unwrap();
            let checked = prepare(
                Decoded {
                    model,
                    scopes: Vec::new(),
                },
                None,
            )
            .unwrap();
            let graph = checked.with_shapes(graph::graph).unwrap();
            assert_eq!(graph.nodes()[1].weight().unwrap().values(), &numbers[3..]);
        }
    }
}

#[test]
fn files_elsewhere_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("secret"), [0; 500]).unwrap();
    let dims = &[1, 3, 3, 3];
    let absolute = folder.path().join("secret").display().to_string();
    for location in [
        "../secret",
        &*absolute,
        "",
        "a/../../secret",
        "./../secret",
        "..\\secret",
        "a\0b",
    ] {
        let error = refused_in(&inside, dims, &[("location", location)]);
        assert!(error.contains("expected a file in the model's folder"), "{error}");
    }
    let error = refused_in(&inside, dims, &[("location", "weights.data")]);
    assert!(
        error.contains("`weights.data`") && error.contains("copy that file there, too"),
        "{error}"
    );
    let error = refused_in(folder.path(), dims, &[("location", "inside")]);
    assert!(error.contains("which is no file"), "{error}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret", inside.join("link")).unwrap();
        let error = refused_in(&inside, dims, &[("location", "link")]);
        assert!(error.contains("a link that leads out"), "{error}");
    }
}

#[test]
fn places_and_lengths_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w"), [0; 100]).unwrap();
    let dims = &[1, 3, 3, 3];
    for (dims, entries, says) in [
        (&dims[..], &[("location", "w")][..], "and that has 100"),
        (
            dims,
            &[("location", "w"), ("offset", "18446744073709551615")],
            "and that has 100",
        ),
        (
            dims,
            &[("location", "w"), ("length", "4")],
            "which has 4 bytes in `w`, where its dimensions and type take 108",
        ),
        (
            dims,
            &[("location", "w"), ("offset", "-1")],
            "`offset` in another file is no number",
        ),
        (
            dims,
            &[("location", "w"), ("length", "x")],
            "`length` in another file is no number",
        ),
        (
            &[1 << 40, 1 << 40, 3, 3],
            &[("location", "w")],
            "of dimensions that cannot be read",
        ),
        (
            &[-1, 3, 3, 3],
            &[("location", "w")],
            "of dimensions that cannot be read",
        ),
        (
            &[1 << 20, 1 << 12, 3, 3],
            &[("location", "w")],
            "take more than 2147483648 bytes",
        ),
    ] {
        let error = refused_in(folder.path(), dims, entries);
        assert!(error.contains(says), "{says}: {error}");
    }
}
