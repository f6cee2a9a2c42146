//! `bn-report EXPERIMENT_DIR... -o FILE`: see [`bn_report::cli`].

use std::io::Write as _;
use std::process::ExitCode;

use bn_report::cli::Arguments;
use clap::Parser as _;

fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
