//! A network that panics in a worker fails only its own run, with file and line in a log.
//!
//! This test has no harness. With command-line arguments it is a `Laboratory` whose network panics; under `cargo test`, it
//! starts itself.

use bn_train::Laboratory;
use bn_train::model::{
    Architecture, Chain, Dense, Flatten, Hidden, Layer, Named, Pass, Signal, Sizes,
};
use std::process::{Command, ExitCode};

/// Softmax regression that panics in training if `breaks`.
#[derive(Debug)]
struct Fragile {
    breaks: bool,
}

#[derive(Debug)]
struct Breaks(std::cell::Cell<u32>);

impl Layer for Breaks {
    fn forward(&self, x: &Signal, _: &mut Pass<'_>) -> candle::Result<Signal> {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() < 9, "broken on purpose");
        Ok(x.clone())
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

impl Architecture for Fragile {
    fn build(
        &self,
        sizes: Sizes,
        _: Hidden<'_>,
        builder: &candle_nn::VarBuilder<'_>,
    ) -> candle::Result<Box<dyn Layer>> {
        let mut layers = Chain::new();
        layers.push(Flatten);
        if self.breaks {
            layers.push(Breaks(std::cell::Cell::new(0)));
        }
        let output = builder.pp("output");
        layers.push(Dense::build(sizes.input.pixels(), sizes.classes, true, &output)?);
        Ok(Box::new(layers))
    }
}

const EXPERIMENT: &str = "model.kind = 'fragile'
norm.kind = 'none'
optimizer.learning_rate = 0.1
seeds = [0]
train = { steps = 30, evaluate_every = 10 }
arm = [{ name = 'breaks', model.breaks = true }, { name = 'holds' }]";

fn laboratory() -> ExitCode {
    let flag = || {
        let about = "whether it panics";
        bn_train::keys::Key::new("breaks", bn_train::keys::flag(), about)
    };
    Laboratory::new()
        .model("fragile", "a network that panics", move |keys| {
            Some(Fragile { breaks: keys.with_default(flag(), false)? })
        })
        .experiment("fragile", EXPERIMENT)
        .main()
}

fn main() -> ExitCode {
    let program = ["run", "worker"];
    if std::env::args().nth(1).is_some_and(|first| program.contains(&first.as_str())) {
        return laboratory();
    }
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["run", "fragile", "--jobs", "1", "--no-report", "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("breaks, seed 0: failed: "), "{message}");
    let log = out.path().join("fragile/breaks/.seed-0.partial/worker.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("panic.rs:") && log.contains("broken on purpose"), "{log}");
    let status = out.path().join("fragile/holds/seed-0/status.json");
    assert!(std::fs::read_to_string(status).unwrap().contains("finished"));
    println!("test panic_in_a_worker_fails_its_run_with_file_and_line ... ok");
    ExitCode::SUCCESS
}
