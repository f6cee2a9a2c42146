//! Every conformance case of `conformance/cases` (its README says who computed them), on every device
//! there is. The cases replay through the public API alone, by the code of the `conformance` example.

#[path = "../examples/conformance/case.rs"]
mod case;
#[path = "../examples/conformance/layer.rs"]
mod layer;
#[path = "../examples/conformance/replay.rs"]
mod replay;
mod common;

use std::path::Path;

use candle::{DType, Device, Tensor};

fn folder(name: &str) -> replay::Replay {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases").join(name);
    replay::replay(&path, &common::device()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn tensorflow() {
    let replay = folder("tensorflow");
    assert_eq!((replay.passed, replay.failures), (103, vec![]));
}

#[test]
fn torch() {
    let replay = folder("torch");
    assert_eq!((replay.passed, replay.failures), (19, vec![]));
}

#[test]
fn composed() {
    let replay = folder("composed");
    assert_eq!((replay.passed, replay.failures), (96, vec![]));
}

/// The checker itself: a case fails when one number, one key or one tensor of it is not as computed.
#[test]
fn a_changed_case_fails() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conformance/cases/tensorflow/layer_nhwc_weights_debias.safetensors");
    let bytes = std::fs::read(source).expect("the case is there");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a safetensors file");
    let metadata = header.metadata().clone().expect("it has metadata");
    let tensors = candle::safetensors::load_buffer(&bytes, &Device::Cpu).expect("it has tensors");

    let passes = |metadata: std::collections::HashMap<String, String>,
                  tensors: &std::collections::HashMap<String, Tensor>| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bytes = safetensors::serialize(tensors, Some(metadata)).expect("serializes");
        std::fs::write(folder.path().join("case.safetensors"), bytes).expect("writes");
        replay::replay(folder.path(), &Device::Cpu).expect("readable").is_success()
    };
    assert!(passes(metadata.clone(), &tensors), "unchanged, it passes");

    // Zero-debias discards the moving mean's initial value, so no result depends on it.
    for name in tensors.keys().filter(|name| *name != "moving_mean_initial") {
        let mut changed = tensors.clone();
        let more = Tensor::full(1e-3, tensors[name].shape(), &Device::Cpu).expect("full");
        let more = more.to_dtype(DType::F64).expect("f64");
        changed.insert(name.clone(), (&tensors[name] + more).expect("adds"));
        assert!(!passes(metadata.clone(), &changed), "{name} changed by 0.001 must be noticed");
    }
    let mut extra = tensors.clone();
    extra.insert("step0.new".into(), Tensor::zeros(1, DType::F64, &Device::Cpu).expect("zeros"));
    assert!(!passes(metadata.clone(), &extra), "an unknown tensor must be noticed");
    let mut unknown = metadata.clone();
    let text = metadata["case"].replacen('{', "{\"new_option\": true, ", 1);
    unknown.insert("case".into(), text);
    assert!(!passes(unknown, &tensors), "an unknown key must be noticed");
}
