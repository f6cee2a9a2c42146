//! The README's commands for a CSV file of one's own, as they stand there.

mod common;

use common::{folder, program, state, text};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Three classes of points in four dimensions, 100 each, that overlap.
fn table() -> String {
    let mut table = String::from("length,width,height,weight,species\n");
    // A low-discrepancy sequence in place of a generator.
    let mut at: f64 = 0.0;
    for row in 0..300 {
        let class = row % 3;
        for feature in 0..4 {
            at = (at + 0.618_033_988_75).fract();
            let centre = if feature == class { 5.0 } else { 3.0 };
            write!(table, "{:.3},", centre + 4.0 * (at - 0.5)).unwrap();
        }
        writeln!(table, "{}", ["fox", "hare", "owl"][class]).unwrap();
    }
    table
}

#[test]
fn three_commands_compare_three_norms_on_a_csv_file() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let blocks = readme.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    let commands = blocks.filter(|block| block.contains("cat > mine.toml")).collect::<Vec<_>>();
    let [commands] = commands[..] else { panic!("one block makes mine.toml: {commands:?}") };

    let folder = folder();
    fs::write(folder.path().join("mine.csv"), table()).unwrap();
    let bin = Path::new(program().get_program()).parent().unwrap().to_owned();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euc", commands])
        .current_dir(folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let runs = folder.path().join("runs/mine");
    let arms: Vec<_> = fs::read_dir(&runs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("seed-0").is_dir())
        .collect();
    assert_eq!(arms.len(), 3, "{arms:?}");
    for arm in arms {
        for seed in 0..8 {
            assert_eq!(state(&arm.join(format!("seed-{seed}"))), "finished", "{arm:?} {seed}");
        }
    }
    let printed = text(&output.stdout);
    assert!(!printed.contains("cannot decide"), "{printed}");
}
