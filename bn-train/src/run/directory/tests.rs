use super::*;
use crate::experiment::OutputSettings;
use crate::run::Outputs;
use crate::run::files::crash;
use bn_report::schema::MetricRow;

const NO_PATIENCE: Duration = Duration::ZERO;

fn take(path: &Path) -> RunDirectory {
    RunDirectory::take(path, NO_PATIENCE).unwrap()
}

/// A temporary folder in memory if possible, because these tests sync a thousand times.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Writes a run with `mark` in all its files and ends it with `status`.
fn run(path: &Path, mark: &str, status: &Status) -> Result<(), LockError> {
    let directory = RunDirectory::take(path, NO_PATIENCE)?;
    directory.begin(&format!("mark = {mark:?}"))?;
    outputs(&directory)?.writers.rows(&[row(mark)])?;
    Ok(directory.close(status)?)
}

fn outputs(directory: &RunDirectory) -> Result<Outputs, DirectoryError> {
    let settings = OutputSettings {
        layers_every: None,
        checkpoint_every: 1,
        checkpoint_keep: 1,
        tensorboard: false,
    };
    Outputs::begin(directory.folder(), &settings, "digest")
}

fn row(mark: &str) -> MetricRow {
    MetricRow {
        step: 1,
        epoch: 0,
        examples: 60,
        split: bn_report::schema::Split::Train,
        statistics: None,
        metric: mark.to_owned(),
        value: Some(0.5),
    }
}

/// The mark of a folder. Panics if its files are incomplete or of different runs.
fn mark(folder: &Path) -> Option<String> {
    let config = fs::read_to_string(folder.join(CONFIG)).ok()?;
    let mark = config.strip_prefix("mark = \"")?.strip_suffix('"')?.to_owned();
    let metrics = fs::read_to_string(folder.join(METRICS)).ok()?;
    assert!(metrics.ends_with(&format!(",{mark},0.5\n")), "{metrics}");
    assert!(folder.join(TIMING).exists());
    Some(mark)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn diverged() -> Status {
    Status::Diverged { step: 1, reason: "loss".into() }
}

fn failed() -> Status {
    Status::Failed { error: "x".into() }
}

#[test]
fn complete_runs_take_the_final_name_and_others_stay_partial() {
    for (first, second, expected) in [
        (Status::Finished, Status::Finished, ["second", ""]),
        (Status::Finished, diverged(), ["second", ""]),
        (Status::Finished, Status::Interrupted, ["first", "second"]),
        (diverged(), failed(), ["first", "second"]),
        (Status::Interrupted, failed(), ["", "second"]),
        (failed(), Status::Finished, ["second", ""]),
    ] {
        let folder = self::folder();
        let path = folder.path().join("arm/seed-0");
        run(&path, "first", &first).unwrap();
        run(&path, "second", &second).unwrap();
        let partial = path.with_file_name(".seed-0.partial");
        let found = [&path, &partial].map(|folder| mark(folder).unwrap_or_default());
        assert_eq!(found, expected, "{first:?} then {second:?}");
        let count = expected.iter().filter(|mark| !mark.is_empty()).count();
        assert_eq!(names(path.parent().unwrap()).len(), count, "nothing else is left");
    }
}

/// Kills a run before each of its steps, and the recovery before each of its steps, and checks what is left.
#[test]
fn kill_between_any_steps_loses_no_complete_run() {
    for (first, second) in [
        (None, Status::Finished),
        (Some(Status::Finished), Status::Finished),
        (Some(diverged()), Status::Interrupted),
        (Some(Status::Interrupted), Status::Finished),
    ] {
        let mut states = 0;
        for steps in 0.. {
            let mut is_done = false;
            for recovery_steps in 0.. {
                let folder = self::folder();
                let path = folder.path().join("arm/seed-0");
                if let Some(first) = &first {
                    run(&path, "first", first).unwrap();
                }
                is_done = crash::after(steps, || run(&path, "second", &second));
                let is_recovered = crash::after(recovery_steps, || {
                    RunDirectory::take(&path, NO_PATIENCE).map(drop)
                });
                check_after_recovery(&path, first.as_ref(), &second, is_done);
                states += 1;
                if is_recovered {
                    break;
                }
            }
            if is_done {
                break;
            }
        }
        assert!(states >= 15, "only {states} states were tried");
    }
}

fn check_after_recovery(path: &Path, first: Option<&Status>, second: &Status, is_done: bool) {
    drop(take(path));
    let partial = path.with_file_name(".seed-0.partial");
    let was_result = first.is_some_and(Status::is_result);
    match mark(path).as_deref() {
        Some("first") => assert!(was_result && !(is_done && second.is_result())),
        Some("second") => assert!(second.is_result()),
        Some(other) => panic!("mark {other}"),
        None => assert!(!was_result && !path.exists()),
    }
    assert_eq!(is_result(path), path.exists());
    assert!(!is_result(&partial), "complete runs have their final name");
    let known = [".seed-0.partial", "seed-0"];
    let names = names(path.parent().unwrap());
    assert!(names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");
}

#[test]
fn owner_excludes_others_until_dropped() {
    let folder = self::folder();
    let path = folder.path().join("arm/seed-0");
    let owner = take(&path);
    owner.begin("mark = \"first\"").unwrap();
    let refused = RunDirectory::take(&path, Duration::from_millis(30)).unwrap_err().to_string();
    assert!(refused.contains("process"), "{refused}");
    drop(owner);
    take(&path);
}

#[test]
fn closing_a_vanished_run_is_an_error() {
    let folder = self::folder();
    let path = folder.path().join("arm/seed-0");
    let directory = take(&path);
    directory.begin("").unwrap();
    let mut outputs = outputs(&directory).unwrap();
    fs::remove_dir_all(path.with_file_name(".seed-0.partial")).unwrap();
    assert!(outputs.writers.rows(&[row("a")]).is_err());
    assert!(directory.close(&Status::Finished).is_err());
    assert!(!path.exists());
}

#[test]
fn run_of_a_dead_process_gets_a_status_and_a_log() {
    let folder = self::folder();
    let path = folder.path().join("arm/seed-0");
    let partial = path.with_file_name(".seed-0.partial");
    // First without a folder, then with one.
    for expected in ["one\n", "one\ntwo\n"] {
        let directory = take(&path);
        let text = expected.lines().next_back().unwrap();
        directory.close_for_another("mark = \"a\"", &failed(), text).unwrap();
        assert_eq!(fs::read_to_string(partial.join(WORKER_LOG)).unwrap(), expected);
        assert_eq!(directory.partial().unwrap().status, Some(failed()));
        assert_eq!(fs::read_to_string(partial.join(CONFIG)).unwrap(), "mark = \"a\"");
    }
}

#[test]
fn run_reserves_space_until_it_ends() {
    let folder = self::folder();
    let path = folder.path().join("arm/seed-0");
    let reserve = path.with_file_name(".seed-0.partial").join(RESERVE);
    let directory = take(&path);
    for status in [failed(), Status::Interrupted] {
        directory.begin("").unwrap();
        assert_eq!(fs::metadata(&reserve).unwrap().len(), RESERVE_BYTES as u64);
        directory.close(&status).unwrap();
        assert!(!reserve.exists());
    }
    directory.resume().unwrap();
    assert!(reserve.exists());
    directory.log("a reason").unwrap();
    assert!(!reserve.exists());
}

#[test]
fn errors_name_the_path() {
    let folder = self::folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = RunDirectory::take(&file.join("seed-0"), NO_PATIENCE).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
}
