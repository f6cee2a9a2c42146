//! Laws of named state: values round-trip bitwise, misfits are named, and damage is detected.

use super::*;
use candle::Device;

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

/// One value of every kind, and numbers that text formats often lose.
fn example() -> State {
    let mut state = State::new();
    state.put("step", 7);
    state.put("largest", u64::MAX);
    for (name, value) in [
        ("nan", f64::from_bits(0x7ff8_0000_0000_0123)),
        ("infinite", f64::NEG_INFINITY),
        ("tiny", f64::from_bits(1)),
        ("third", 1.0 / 3.0),
        ("zero", -0.0),
    ] {
        state.put(&format!("numbers.{name}"), value);
    }
    state.put("name", "\"quoted\" \\ ü \u{1f600} blake3:0");
    let bits = [f32::NAN, -0.0, f32::MIN_POSITIVE / 4.0, 1.0 / 3.0, f32::INFINITY, -2.5];
    state.put_tensor("model.weight", &tensor(&bits, &[2, 3])).unwrap();
    state.put_tensor("model.empty", &tensor(&[], &[0, 4])).unwrap();
    let wide = Tensor::new(&[1.0_f64 / 3.0, f64::NAN], &Device::Cpu).unwrap();
    state.put_tensor("model.wide", &wide).unwrap();
    let scalar = Tensor::new(3_i64, &Device::Cpu).unwrap();
    state.put_tensor("model.scalar", &scalar).unwrap();
    state
}

#[test]
fn every_value_round_trips_bitwise() {
    let before = example();
    let bytes = before.to_bytes().unwrap();
    let mut after = State::from_bytes(&bytes).unwrap();
    assert_eq!(after.to_bytes().unwrap(), bytes);
    assert_eq!(after.take_whole("step").unwrap(), 7);
    assert_eq!(after.take_whole("largest").unwrap(), u64::MAX);
    let mut numbers = after.take_state("numbers");
    assert_eq!(numbers.take_number("nan").unwrap().to_bits(), 0x7ff8_0000_0000_0123);
    assert_eq!(numbers.take_number("zero").unwrap().to_bits(), (-0.0_f64).to_bits());
    assert_eq!(numbers.take_number("tiny").unwrap().to_bits(), 1);
    assert_eq!(after.take_text("name").unwrap(), "\"quoted\" \\ ü \u{1f600} blake3:0");
    let like = tensor(&[0.0; 6], &[2, 3]);
    let weight = after.take_tensor("model.weight", &like).unwrap();
    let bits: Vec<u32> = weight
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap()
        .iter()
        .map(|v| v.to_bits())
        .collect();
    assert_eq!(bits[1], (-0.0_f32).to_bits());
    assert_eq!(bits[0], f32::NAN.to_bits());
    assert_eq!(bits[3], (1.0_f32 / 3.0).to_bits());
    assert_eq!(after.take_tensor("model.empty", &tensor(&[], &[0, 4])).unwrap().dims(), [0, 4]);
}

#[test]
fn other_programs_read_the_tensors() {
    let bytes = example().to_bytes().unwrap();
    let read = candle::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    assert_eq!(read["model.weight"].dims(), [2, 3]);
    assert_eq!(read["model.wide"].dtype(), DType::F64);
}

#[test]
fn state_copies_the_values() {
    let variable = Var::from_tensor(&tensor(&[1.0, 2.0], &[2])).unwrap();
    let mut state = State::new();
    state.put_tensor("weight", &variable).unwrap();
    variable.set(&tensor(&[3.0, 4.0], &[2])).unwrap();
    state.restore("weight", &variable).unwrap();
    assert_eq!(variable.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
}

#[test]
fn parts_nest_and_errors_name_the_full_path() {
    let mut outer = State::new();
    let mut inner = State::new();
    inner.put("velocity.weight", 1);
    inner.put("extra", 2.0);
    outer.put_state("optimizer", inner);
    outer.put("optimizers", 3);
    let mut inner = outer.take_state("optimizer");
    assert_eq!(outer.take_whole("optimizers").unwrap(), 3);
    outer.finish().unwrap();
    let mut velocity = inner.take_state("velocity");
    let like = tensor(&[0.0], &[1]);
    for (error, expected) in [
        (
            velocity.take_tensor("weight", &like).unwrap_err(),
            "`optimizer.velocity.weight` of the saved state: expected a tensor [1] of f32, found the whole number 1",
        ),
        (
            velocity.take_tensor("bias", &like).unwrap_err(),
            "`optimizer.velocity.bias` is missing from the saved state; expected a tensor [1] of f32",
        ),
        (
            inner.finish().unwrap_err(),
            "the saved state has values that this run does not have: optimizer.extra",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn wrong_shape_or_type_is_refused_and_changes_nothing() {
    let variable = Var::from_tensor(&tensor(&[1.0, 2.0], &[2])).unwrap();
    for wrong in [
        tensor(&[5.0, 6.0], &[1, 2]),
        tensor(&[5.0], &[1]),
        Tensor::new(&[5.0_f64, 6.0], &Device::Cpu).unwrap(),
    ] {
        let mut state = State::new();
        state.put_tensor("weight", &wrong).unwrap();
        let error = state.restore("weight", &variable).unwrap_err().to_string();
        assert!(error.contains("expected a tensor [2] of f32, found a tensor"), "{error}");
        assert_eq!(variable.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
    }
}

#[test]
fn expected_values_must_match() {
    let state = || {
        let mut state = State::new();
        state.put("kind", "adam");
        state
    };
    state().expect("kind", "adam").unwrap();
    let error = state().expect("kind", "sgd").unwrap_err().to_string();
    assert!(error.contains("expected the text \"sgd\", found the text \"adam\""), "{error}");
    assert!(matches!(state().expect("seed", 3), Err(StateError::Missing { .. })));
}

#[test]
fn every_flipped_bit_is_detected() {
    let bytes = example().to_bytes().unwrap();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << bit;
            assert!(State::from_bytes(&flipped).is_err(), "bit {bit} of byte {position}");
        }
    }
}

#[test]
fn truncation_and_trailing_bytes_are_detected() {
    let bytes = example().to_bytes().unwrap();
    for len in 0..bytes.len() {
        assert!(State::from_bytes(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(State::from_bytes(&longer).is_err());
    assert!(State::from_bytes(b"").is_err());
}

#[test]
fn safetensors_file_of_another_program_is_refused() {
    let tensors = [("weight", tensor(&[1.0], &[1]))];
    let bytes = safetensors::serialize(tensors, None).unwrap();
    let error = State::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("no key \"bn-train\""), "{error}");
}
