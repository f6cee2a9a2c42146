//! Data from files: known data sets and user data, from the path in a TOML file to a trained run.

mod common;

use common::{folder, program, text};
use std::fs;
use std::path::Path;

fn data(folder: &Path, arguments: &[&str]) -> std::process::Output {
    program().current_dir(folder).arg("data").args(arguments).output().unwrap()
}

/// The output of a command that must succeed.
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = data(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The message of a command that must fail.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = data(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

fn idx(sizes: &[u32], numbers: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(numbers);
    bytes
}

/// Writes all files of MNIST, with images of one shade per class.
fn mnist(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (prefix, count) in [("train", 60_000_u32), ("t10k", 10_000)] {
        let labels = (0..10).collect::<Vec<u8>>().repeat(count as usize / 10);
        let images = (0..10).flat_map(|label| [label * 25; 784]).collect::<Vec<u8>>();
        let images = images.repeat(count as usize / 10);
        fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), idx(&[count], &labels))
            .unwrap();
        fs::write(
            folder.join(format!("{prefix}-images-idx3-ubyte")),
            idx(&[count, 28, 28], &images),
        )
        .unwrap();
    }
}

#[test]
fn mnist_is_read_and_malformed_files_are_reported() {
    let root = folder();
    let missing = refused(root.path(), &["check", "mnist"]);
    assert!(missing.contains("bn-train data fetch mnist"), "{missing}");
    let files = root.path().join("datasets/mnist");
    mnist(&files);
    let checked = printed(root.path(), &["check", "mnist"]);
    assert!(
        checked.contains("55000 training, 5000 validation and 10000 test examples"),
        "{checked}"
    );
    let few = printed(
        root.path(),
        &["describe", "mnist", "--set", "examples=100", "--set", "binary=true"],
    );
    assert!(
        few.contains("training examples of each class: 10 10 10 10 10 10 10 10 10 10"),
        "{few}"
    );
    // Classes 6 to 9 have shades of at least 128.
    assert!(few.contains("0.400000"), "{few}");
    let tested = printed(root.path(), &["describe", "mnist", "--set", "test=200"]);
    let part = |line: &str| line.split_whitespace().eq(["test", "200", "20", "20"]);
    assert!(tested.lines().any(part), "{tested}");
    let message = refused(root.path(), &["describe", "mnist", "--set", "test=10001"]);
    assert!(message.contains("10000 test examples; data.test needs 10001"), "{message}");

    let labels = files.join("train-labels-idx1-ubyte");
    let mut bytes = fs::read(&labels).unwrap();
    bytes[8 + 77] = 10;
    fs::write(&labels, &bytes).unwrap();
    let message = refused(root.path(), &["check", "mnist"]);
    assert!(
        message.contains("train-labels-idx1-ubyte, byte 85: label 10; expected less than 10"),
        "{message}"
    );
    fs::write(&labels, &bytes[..5000]).unwrap();
    let message = refused(root.path(), &["check", "mnist"]);
    assert!(
        message.contains("byte 8: 4992 bytes follow; expected 60000 by the header"),
        "{message}"
    );
    fs::write(&labels, idx(&[4], &[0; 4])).unwrap();
    let message = refused(root.path(), &["check", "mnist"]);
    assert!(message.contains("dimensions [4]; expected [60000]"), "{message}");
}

#[test]
fn cifar_is_read_and_malformed_files_are_reported() {
    let root = folder();
    let record = |label: u8| [vec![19, label], vec![label; 3072]].concat();
    let hundred: Vec<u8> = (0..100).flat_map(record).collect();
    let file = |count: usize| hundred.repeat(count / 100);
    fs::write(root.path().join("train.bin"), file(50_000)).unwrap();
    fs::write(root.path().join("test.bin"), file(10_000)).unwrap();
    let path = format!("path={}", root.path().display());
    let checked = printed(root.path(), &["check", "cifar-100", "--set", &path]);
    assert!(
        checked.contains("45000 training, 5000 validation and 10000 test examples"),
        "{checked}"
    );
    let coarse = ["describe", "cifar-100", "--set", &path, "--set", "labels=coarse"];
    assert!(printed(root.path(), &coarse).contains("3 x 32 x 32 numbers"), "{coarse:?}");
    fs::write(root.path().join("test.bin"), &file(10_000)[..1000]).unwrap();
    let message = refused(root.path(), &["check", "cifar-100", "--set", &path]);
    assert!(message.contains("test.bin: 1000 bytes; expected 30740000"), "{message}");
}

/// 90 flowers of three species, distinguished by their second feature.
fn flowers() -> String {
    let mut table = "width,height,species\n".to_owned();
    for index in 0..90 {
        let species = ["rose", "lily", "iris"][index % 3];
        table += &format!(
            "{},{},{species}\n",
            index * 7 % 11,
            100.0 * (index % 3) as f64 + (index % 7) as f64
        );
    }
    table
}

#[test]
fn csv_relative_to_an_experiment_is_found_and_trained_on() {
    let root = folder();
    let inside = root.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("flowers.csv"), flowers()).unwrap();
    let experiment = "data = { name = 'csv', path = 'flowers.csv', standardize = 'channel' }\n\
        model.hidden = [8]\noptimizer.learning_rate = 0.1\ntrain = { steps = 30, batch_size = 20 }\n\
        [[arm]]\nname = 'batch norm'\n[[arm]]\nname = 'none'\nnorm.kind = 'none'\n";
    fs::write(inside.join("mine.toml"), experiment).unwrap();

    let described = printed(root.path(), &["describe", "inside/mine.toml"]);
    assert!(described.contains("2 arms: batch norm, none"), "{described}");
    assert!(
        described.contains("examples of 2 x 1 x 1 numbers") && described.contains("3 classes"),
        "{described}"
    );
    assert!(described.contains("training examples of each class: 20 21 21"), "{described}");
    assert!(described.contains("0.000000") && described.contains("1.000000"), "{described}");
    // In a flag, the path is relative to the current directory.
    printed(&inside, &["check", "csv", "--set", "path=flowers.csv", "--set", "label=species"]);

    let mut command = program();
    command.current_dir(root.path()).args(["run", "inside/mine.toml", "--out", "runs"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let run = root.path().join("runs/mine/batch-norm/seed-0");
    let rows = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let accuracy = rows.lines().find(|row| row.contains(",test,batch,accuracy,")).unwrap();
    assert_eq!(accuracy.rsplit(',').next(), Some("1"), "{rows}");
    // The run's settings find the file from another directory.
    let checkpoint = run.join("checkpoints/step-000030.safetensors");
    let output = program().arg("evaluate").arg(checkpoint).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn path_of_the_data_does_not_affect_the_digest() {
    let root = folder();
    let mut digests = Vec::new();
    for name in ["a", "b"] {
        let inside = root.path().join(name);
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("flowers.csv"), flowers()).unwrap();
        let experiment = "data = { name = 'csv', path = 'flowers.csv' }\noptimizer.learning_rate = 0.1\n\
            model.hidden = [4]\ntrain = { steps = 2, batch_size = 20 }\n";
        fs::write(inside.join("mine.toml"), experiment).unwrap();
        let output = program()
            .current_dir(&inside)
            .args(["run", "mine.toml", "--out", "runs"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let config = fs::read_to_string(inside.join("runs/mine/base/seed-0/config.toml")).unwrap();
        let digest = config.lines().find(|line| line.starts_with("digest = ")).unwrap().to_owned();
        digests.push(digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn malformed_table_is_a_problem_of_its_key_with_file_and_line() {
    let root = folder();
    fs::write(root.path().join("bad.csv"), "a,b\n1,x\nnan,y\n").unwrap();
    fs::write(
        root.path().join("mine.toml"),
        "data = { name = 'csv', path = 'bad.csv' }\noptimizer.learning_rate = 1\ntrain.steps = 1\n",
    )
    .unwrap();
    let message = refused(root.path(), &["check", "mine.toml"]);
    assert!(message.contains("mine.toml:1:"), "{message}");
    assert!(
        message.contains("bad.csv, line 3: \"a\" is \"nan\"; expected a finite number"),
        "{message}"
    );
    let missing = refused(root.path(), &["check", "csv", "--set", "path=none.csv"]);
    assert!(missing.contains("none.csv: cannot read: No such file"), "{missing}");
    let required = refused(root.path(), &["check", "csv"]);
    assert!(required.contains("`data.path` is missing"), "{required}");
}

fn png(path: &Path, shade: u8, width: u32) {
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width, 4);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![shade; (width * 4 * 3) as usize]).unwrap();
}

#[test]
fn folder_of_images_per_class_is_read_and_a_wrong_size_is_named() {
    let root = folder();
    for (class, shade) in [("cats", 10), ("dogs", 200)] {
        fs::create_dir_all(root.path().join("pets").join(class)).unwrap();
        for number in 0..20 {
            png(&root.path().join(format!("pets/{class}/{number}.png")), shade + number, 5);
        }
    }
    let described = printed(root.path(), &["describe", "images", "--set", "path=pets"]);
    assert!(
        described.contains("examples of 3 x 4 x 5 numbers") && described.contains("2 classes"),
        "{described}"
    );
    printed(root.path(), &["show", "images", "--set", "path=pets", "-o", "pets.png"]);
    assert!(root.path().join("pets.png").is_file());
    png(&root.path().join("pets/dogs/7.png"), 0, 6);
    let message = refused(root.path(), &["check", "images", "--set", "path=pets"]);
    assert!(message.contains("dogs/7.png: shape 3x4x6; expected 3x4x5 as in "), "{message}");
}

#[test]
fn arrays_are_read_in_either_layout() {
    use safetensors::tensor::{Dtype, TensorView};
    let root = folder();
    let last: Vec<u8> = (0..40_u32 * 24).map(|index| (index % 251) as u8).collect();
    let labels: Vec<u8> = (0..40).map(|index| index % 4).collect();
    let views = [
        ("x", TensorView::new(Dtype::U8, vec![40, 2, 4, 3], &last).unwrap()),
        ("y", TensorView::new(Dtype::U8, vec![40], &labels).unwrap()),
    ];
    fs::write(root.path().join("a.safetensors"), safetensors::serialize(views, None).unwrap())
        .unwrap();
    let describe = |layout: &str| {
        let layout = format!("layout={layout}");
        printed(
            root.path(),
            &["describe", "safetensors", "--set", "path=a.safetensors", "--set", &layout],
        )
    };
    assert!(describe("channels_last").contains("3 x 2 x 4 numbers"));
    assert!(describe("channels_first").contains("2 x 4 x 3 numbers"));
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/npz/deflated");
    let path = format!("path={}", corpus.display());
    let too_few = refused(root.path(), &["check", "npz", "--set", &path]);
    assert!(too_few.contains("3 examples, which leaves"), "{too_few}");
    let unpaired = refused(root.path(), &["check", "npz", "--set", &path, "--set", "test_array=x"]);
    assert!(unpaired.contains("belong together"), "{unpaired}");
}

#[test]
fn list_names_every_kind_with_its_state() {
    let root = folder();
    let listed = printed(root.path(), &["list"]);
    for line in ["digits\n", "glyphs\n", "mnist  (not downloaded)\n", "csv\n", "images\n"] {
        assert!(listed.contains(line), "{listed}");
    }
}
