//! The command line, one file per command.

mod bench;
mod chart;
mod checkpoint;
mod choice;
mod completion;
mod data;
mod list;
mod machine;
mod plan;
mod print;
mod range;
mod respawn;
mod run;
mod show;
mod status;
mod terminal;

use crate::device::DeviceName;
use crate::experiment::Registry;
use crate::launch;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Train networks with different kinds of batch normalization and compare them.
#[derive(Debug, Parser)]
#[command(name = "bn-train", version = env!("BN_TRAIN_VERSION"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train every arm of an experiment with every seed, then draw the report
    ///
    /// Writes runs to OUT/NAME/ARM/seed-N and the report to OUT/NAME/report.html. When repeated, it skips completed runs
    /// and resumes the others from their last checkpoints. Runs with other settings are replaced only with --replace.
    /// Ctrl-C lets each run finish its step and save a checkpoint; a second Ctrl-C stops at once.
    ///
    /// Exit status: 0 when all runs completed (a diverged run counts as completed), 1 on an error, 130 on Ctrl-C.
    Run(run::Run),
    /// Show what `run` would do, without training: runs, networks, schedules, time
    Plan(plan::PlanArguments),
    /// Find each arm's useful learning rates: one short run with a rising learning rate
    ///
    /// The learning-rate range test of Smith (2017), arXiv 1506.01186, section 3.3. The rate grows by a constant factor per
    /// step, and the training loss is smoothed. Choose a rate near the steepest fall, well below the rate of the lowest loss.
    /// Writes only the file given with -o.
    Range(range::Range),
    /// List the embedded experiments with question, data, size and time
    List(list::List),
    /// Print an embedded experiment, to copy and edit
    ///
    /// `bn-train show template` explains every key.
    Show {
        /// Its name, as listed by `bn-train list`
        name: String,
    },
    /// Inspect and download data sets
    #[command(subcommand)]
    Data(data::Data),
    /// Show the state of each run of an experiment
    Status {
        /// The experiment's folder, for example runs/decay-and-renorm
        folder: PathBuf,
    },
    /// Measure a checkpoint under each kind of statistics
    ///
    /// For example: bn-train evaluate runs/decay-and-renorm/decay-0.9/seed-0/checkpoints/step-001500.safetensors
    Evaluate(checkpoint::Evaluate),
    /// Write a checkpoint's weights and statistics under the names of another system, as safetensors
    ///
    /// PyTorch loads the file as a state dict, and Keras layers take the tensors of their names; both give the same outputs.
    /// Keras kernels are in Keras's layouts. A convnet flattens its map channel by channel: in Keras, put
    /// Permute((3, 1, 2)) before Flatten.
    Export(checkpoint::Export),
    /// Print a shell completion script
    ///
    /// For bash: bn-train completion bash > ~/.local/share/bash-completion/completions/bn-train
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Time convolutions and training steps; prints one JSON object per line
    Bench(bench::Bench),
    /// Train runs on orders from standard input; `run` starts these processes
    #[command(hide = true)]
    Worker {
        #[arg(long, default_value_t)]
        device: DeviceName,
    },
}

/// Runs the command line with the kinds and experiments of `registry`.
pub fn main(registry: &Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            let status = if message.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            let _ = message.print();
            return status;
        }
    };
    let done = match cli.command {
        Command::Run(run) => run.run(registry),
        Command::Plan(plan) => plan.run(registry),
        Command::Range(range) => range.run(registry),
        Command::List(list) => list.run(registry),
        Command::Show { name } => show::show(registry, &name),
        Command::Data(data) => data.run(registry),
        Command::Status { folder } => status::status(registry, &folder),
        Command::Evaluate(evaluate) => evaluate.run(registry),
        Command::Export(export) => export.run(registry),
        Command::Completion { shell } => completion::completion(shell),
        Command::Bench(bench) => bench.run(),
        Command::Worker { device } => {
            launch::worker::work(device, registry).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        launch::console::note(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}
