//! The command line: what a user may ask for. One file per command.

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

/// Train networks under batch normalization of many kinds, and compare them.
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
    /// The runs land in OUT/NAME/ARM/seed-N, the report in OUT/NAME/report.html. Run again, it skips the runs that ended,
    /// and goes on with the others from their last checkpoints. Runs of other settings are replaced only on request.
    /// Ctrl-C lets each run end its step and make a checkpoint; a second one does not wait.
    ///
    /// Exit status: 0 when all runs ended (one that diverged is a result), 1 on an error, 130 on Ctrl-C.
    Run(run::Run),
    /// Show what `run` would do: runs, networks, schedules, time; trains nothing
    Plan(plan::PlanArguments),
    /// Find the learning rates that each arm trains at: one short run in which the rate rises until the loss does
    ///
    /// The learning-rate range test of Smith (2017), https://arxiv.org/abs/1506.01186. The rate rises by a constant ratio from
    /// step to step; the loss of the training batches is smoothed. A rate near the steepest fall, and well below the one with
    /// the lowest loss, is a good choice for a run. Writes nothing but the file of -o.
    Range(range::Range),
    /// Name the embedded experiments: question, data, size and time
    List(list::List),
    /// Print an embedded experiment, to copy and change
    ///
    /// `bn-train show template` explains every key.
    Show {
        /// Its name, as `bn-train list` has it
        name: String,
    },
    /// Look at data sets without training on them
    #[command(subcommand)]
    Data(data::Data),
    /// Say how each run of an experiment stands
    Status {
        /// The experiment's folder, for instance runs/decay-and-renorm
        folder: PathBuf,
    },
    /// Measure a checkpoint by each kind of statistics
    ///
    /// For instance: bn-train evaluate runs/decay-and-renorm/decay-0.9/seed-0/checkpoints/step-001500.safetensors
    Evaluate(checkpoint::Evaluate),
    /// Write a checkpoint's weights and statistics under the names of another system, as safetensors
    ///
    /// PyTorch loads the file as a state dict, and Keras's layers take the tensors of their names; the outputs are the same.
    /// Keras's kernels have Keras's layouts. A convnet flattens its map channel by channel: in Keras, put
    /// Permute((3, 1, 2)) before Flatten.
    Export(checkpoint::Export),
    /// Print a script that lets a shell complete commands and flags
    ///
    /// For bash: bn-train completion bash > ~/.local/share/bash-completion/completions/bn-train
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Time convolutions and training steps; prints JSON lines
    Bench(bench::Bench),
    /// Train runs as told on the standard input; `run` starts these
    #[command(hide = true)]
    Worker {
        #[arg(long, default_value_t)]
        device: DeviceName,
    },
}

/// Does what the command line asks, with experiments as `registry` knows them.
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
