//! Laws of exported files: PyTorch and Keras load them and compute the same outputs.

use super::*;
use crate::experiment::{Flags, Registry};
use crate::model::Mode;
use crate::run::{Checkpoint, DeviceData};
use candle::Device;
use serde_json::Value;

/// The network of `arm` that `tests/torch/export.py` used.
fn network(arm: &str) -> Networks {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torch/export");
    let config = std::fs::read_to_string(format!("{folder}/{arm}.toml")).unwrap();
    let experiment =
        Registry::built_in().parse("config.toml", "run", &config, &Flags::default()).unwrap();
    let settings = &experiment.arms[0].settings;
    let data = DeviceData::new(&settings.data.load().unwrap(), &Device::Cpu).unwrap();
    let networks = data.networks(settings, 5).unwrap();
    let path = format!("{folder}/{arm}.checkpoint.safetensors");
    let mut checkpoint = Checkpoint::read(path.as_ref()).unwrap();
    networks.load(&mut checkpoint.state).unwrap();
    networks
}

/// The script's `pattern`.
fn pattern(count: usize, salt: u64) -> Vec<f32> {
    let mask = u64::from(u32::MAX);
    let mixed = (1..=count as u64).map(|i| (i * 2_654_435_761 + salt * 40_503) & mask);
    let mixed = mixed.map(|h| ((h ^ (h >> 15)) * 2_246_822_519) & mask);
    mixed.map(|h| (h as f64 / f64::from(1_u32 << 31) - 1.0) as f32).collect()
}

/// Holds our outputs against those that `system` computed from the files `ARM.EXTENSION`.
fn assert_same_outputs(names: ExportNames, extension: &str, outputs: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torch/export");
    let theirs = std::fs::read_to_string(format!("{folder}/{outputs}")).unwrap();
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    for arm in ["mlp", "convnet"] {
        let model = network(arm);
        // The file that they read equals the one written now.
        let bytes = interchange::to_bytes(&export(&model, names).unwrap()).unwrap();
        let file = format!("{folder}/{arm}.{extension}.safetensors");
        assert!(bytes == std::fs::read(&file).unwrap(), "{file} differs");

        let images = Tensor::from_vec(pattern(5 * 64, 1000), (5, 1, 8, 8), &Device::Cpu).unwrap();
        let outputs = model.evaluated().evaluate(&images, Mode::Moving).unwrap();
        let outputs = outputs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let want = theirs[arm].as_array().unwrap();
        assert_eq!(want.len(), 50);
        for (got, want) in outputs.iter().zip(want) {
            let want = want.as_f64().unwrap();
            let difference = (f64::from(*got) - want).abs();
            assert!(difference < 1e-5 * want.abs().max(1.0), "{arm}: {got}, expected {want}");
        }
    }
}

#[test]
fn pytorch_computes_the_same_outputs_from_the_exported_file() {
    assert_same_outputs(ExportNames::PyTorch, "pytorch", "outputs.json");
}

#[test]
fn keras_computes_the_same_outputs_from_the_exported_file() {
    assert_same_outputs(ExportNames::Keras, "keras", "outputs.keras.json");
}

#[test]
fn candle_and_pytorch_names_differ_only_in_the_counter() {
    let model = network("convnet");
    let names = |names| export(&model, names).unwrap().into_keys().collect::<Vec<String>>();
    let mut torch = names(ExportNames::PyTorch);
    assert!(torch.contains(&"conv1.norm.running_var".to_owned()), "{torch:?}");
    torch.retain(|name| !name.ends_with(".num_batches_tracked"));
    assert_eq!(names(ExportNames::Candle), torch);
}

#[test]
fn keras_export_has_keras_names_and_layouts() {
    let own = export(&network("convnet"), ExportNames::PyTorch).unwrap();
    let keras = export(&network("convnet"), ExportNames::Keras).unwrap();
    let kernel = &keras["conv2/kernel"];
    assert_eq!(kernel.dims(), [3, 3, 3, 4]);
    let at = |tensor: &Tensor, index: [usize; 4]| {
        let element = index.iter().try_fold(tensor.clone(), |tensor, &index| tensor.get(index));
        element.unwrap().to_scalar::<f32>().unwrap()
    };
    assert_eq!(at(kernel, [2, 1, 0, 3]), at(&own["conv2.weight"], [3, 0, 2, 1]));
    assert_eq!(keras["output/kernel"].dims(), [16, 10]);
    for name in [
        "conv1/norm/gamma",
        "conv1/norm/beta",
        "conv1/norm/moving_mean",
        "conv1/norm/moving_variance",
        "output/bias",
    ] {
        assert!(keras.contains_key(name), "{name} of {:?}", keras.keys());
    }
}
