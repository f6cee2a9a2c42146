//! Laws of checkpoints: retention, damage and refusal.

use super::*;
use candle::{Device, Tensor};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn checkpoint(step: u64, score: Option<f64>, before: Option<Best>) -> Checkpoint {
    let mut state = State::new();
    let weight: Vec<f32> = (0..50).map(|i| (step as f32 + i as f32).sin()).collect();
    state.put_tensor("model.weight", &Tensor::new(weight, &Device::Cpu).unwrap()).unwrap();
    state.put("sampler.step", step);
    Checkpoint {
        header: Header {
            run_digest: "blake3:run".to_owned(),
            step,
            files: BTreeMap::from([
                ("metrics.csv".to_owned(), 100 + step),
                ("layers.csv".to_owned(), 0),
            ]),
            best: Best::of(before, step, score, true),
        },
        state,
    }
}

fn any(_: &Header) -> Result<(), String> {
    Ok(())
}

/// The step of the newest sound checkpoint, and the warnings on the way to it.
fn newest(checkpoints: &Checkpoints) -> (Option<u64>, Vec<String>) {
    let mut warnings = Vec::new();
    let found = checkpoints.newest("blake3:run", &any, &mut |text| warnings.push(text)).unwrap();
    (found.map(|checkpoint| checkpoint.header.step), warnings)
}

/// Checkpoints of these steps, all kept.
fn saved(folder: &Path, steps: &[u64]) -> Checkpoints {
    let checkpoints = Checkpoints::new(folder.join("checkpoints"), usize::MAX);
    for &step in steps {
        checkpoints.save(&checkpoint(step, None, None)).unwrap();
    }
    checkpoints
}

#[test]
fn saved_checkpoint_reads_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = saved(folder.path(), &[]);
    assert_eq!(newest(&checkpoints), (None, vec![]));
    let before = checkpoint(1_234_567, Some(0.75), Some(Best { step: 3, score: 0.5 }));
    checkpoints.save(&before).unwrap();
    let after = Checkpoint::read(&checkpoints.path(1_234_567)).unwrap();
    assert_eq!(after.header, before.header);
    assert_eq!(after.header.best, Some(Best { step: 1_234_567, score: 0.75 }));
    assert_eq!(after.to_bytes().unwrap(), before.to_bytes().unwrap());
    assert_eq!(newest(&checkpoints), (Some(1_234_567), vec![]));
}

#[test]
fn only_a_better_score_replaces_the_best() {
    let first = Best::of(None, 1, Some(0.5), true);
    assert_eq!(first, Some(Best { step: 1, score: 0.5 }));
    assert_eq!(Best::of(first, 2, Some(0.5), true), first);
    assert_eq!(Best::of(first, 2, None, true), first);
    assert_eq!(Best::of(first, 2, Some(f64::NAN), true), first);
    assert_eq!(Best::of(first, 2, Some(0.6), true), Some(Best { step: 2, score: 0.6 }));
    assert_eq!(Best::of(None, 2, Some(f64::NAN), true), None);
    let lower = Best::of(first, 2, Some(0.4), false);
    assert_eq!(lower, Some(Best { step: 2, score: 0.4 }));
}

#[test]
fn last_and_best_checkpoints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), 2);
    let mut best = None;
    for (step, score) in [(10, 0.1), (20, 0.9), (30, 0.2), (40, 0.3), (1_000_000, 0.4)] {
        let new = checkpoint(step, Some(score), best);
        best = new.header.best;
        checkpoints.save(&new).unwrap();
    }
    assert_eq!(checkpoints.steps().unwrap(), [20, 40, 1_000_000]);
}

proptest! {
    #[test]
    fn recent_and_best_checkpoints_are_never_expendable(
        steps in proptest::collection::btree_set(0_u64..100, 0..12), keep in 1_usize..5, best in 0_u64..100,
    ) {
        let saved: Vec<u64> = steps.into_iter().collect();
        let best = saved.contains(&best).then_some(best);
        let gone = expendable(&saved, keep, best);
        let kept: Vec<u64> = saved.iter().copied().filter(|step| !gone.contains(step)).collect();
        prop_assert!(kept.ends_with(&saved[saved.len().saturating_sub(keep)..]));
        prop_assert!(best.is_none_or(|best| kept.contains(&best)));
        prop_assert!(kept.len() <= keep + 1);
        prop_assert!(gone.iter().all(|step| saved.contains(step)));
    }
}

#[test]
fn damaged_newest_checkpoint_falls_back_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = saved(folder.path(), &[10, 20, 30]);
    let path = checkpoints.path(30);
    let sound = fs::read(&path).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let (step, warnings) = newest(&checkpoints);
        assert_eq!(step, Some(20), "{what}");
        assert_eq!(warnings.len(), 1, "{what}");
        assert!(warnings[0].contains("step-000030.safetensors"), "{}", warnings[0]);
    };
    for len in (0..sound.len()).step_by(7).chain(sound.len() - 9..sound.len()) {
        check(&sound[..len], &format!("{len} bytes"));
    }
    for position in (0..sound.len()).step_by(5) {
        let mut flipped = sound.clone();
        flipped[position] ^= 1 << (position % 8);
        check(&flipped, &format!("byte {position}"));
    }
    fs::write(checkpoints.path(20), "").unwrap();
    assert_eq!(newest(&checkpoints).0, Some(10));
    fs::write(checkpoints.path(10), "{}").unwrap();
    assert_eq!(newest(&checkpoints).0, None);
    fs::write(&path, sound).unwrap();
    assert_eq!(newest(&checkpoints), (Some(30), vec![]));
}

#[test]
fn refused_checkpoint_falls_back_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = saved(folder.path(), &[10, 20]);
    let accept = |header: &Header| {
        let wanted = header.files["metrics.csv"];
        if wanted <= 110 {
            Ok(())
        } else {
            Err(format!("metrics.csv is shorter than {wanted} bytes"))
        }
    };
    let mut warnings = Vec::new();
    let found = checkpoints
        .newest("blake3:run", &accept, &mut |text| warnings.push(text))
        .unwrap()
        .unwrap();
    assert_eq!(found.header.step, 10);
    assert!(warnings[0].ends_with("metrics.csv is shorter than 120 bytes"), "{warnings:?}");
}

#[test]
fn checkpoints_of_other_runs_and_newer_programs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = saved(folder.path(), &[10, 20]);
    let error = checkpoints.newest("blake3:other", &any, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("run blake3:run, expected blake3:other"), "{error}");

    let mut newer = State::new();
    newer.put("checkpoint.schema", SCHEMA + 1);
    fs::write(checkpoints.path(30), newer.to_bytes().unwrap()).unwrap();
    let error = checkpoints.newest("blake3:run", &any, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("format 2; this program reads formats up to 1"), "{error}");
}

#[test]
fn unrelated_files_in_the_folder_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let strangers =
        ["step-12.safetensors", "step-00001x.safetensors", "notes.txt", "step-000001.txt"];
    for name in strangers {
        fs::write(folder.path().join(name), "mine").unwrap();
    }
    // An unfinished file of a killed process is not a checkpoint and is deleted.
    fs::write(folder.path().join(".step-000005.safetensors.new"), "half").unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [] as [u64; 0]);
    checkpoints.save(&checkpoint(10, None, None)).unwrap();
    checkpoints.save(&checkpoint(20, None, None)).unwrap();
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut want = vec!["step-000020.safetensors"];
    want.extend(strangers);
    want.sort_unstable();
    assert_eq!(names, want);
}

#[test]
fn error_names_a_folder_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let checkpoints = Checkpoints::new(file.join("checkpoints"), 1);
    let error = checkpoints.save(&checkpoint(1, None, None)).unwrap_err().to_string();
    assert!(error.contains("file/checkpoints: cannot create this folder"), "{error}");
}
