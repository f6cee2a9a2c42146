//! `bn-train data fetch`: downloads a data set.

use crate::data::default_folder;
use crate::data::fetch::{Watcher, downloadable, fetch};
use crate::keys::did_you_mean;
use crate::launch::console;
use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to download, from where and to where.
#[derive(Debug, Args)]
pub(in crate::cli) struct Fetch {
    /// mnist, fashion-mnist, cifar-10 or cifar-100
    name: String,
    /// Base URL of a mirror; the file names are appended to it
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Folder for the files [default: datasets/NAME]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

impl Fetch {
    /// Downloads the missing files.
    pub(in crate::cli) fn run(&self) -> anyhow::Result<ExitCode> {
        let all = downloadable();
        let Some(data) = all.iter().find(|known| known.name == self.name) else {
            let names: Vec<&str> = all.iter().map(|known| known.name.as_str()).collect();
            let hint = did_you_mean(&self.name, names.iter().copied());
            let hint = hint.map_or(String::new(), |meant| format!(" (did you mean {meant}?)"));
            anyhow::bail!(
                "no data set {:?} to download{hint}; expected one of {}",
                self.name,
                names.join(", ")
            );
        };
        let folder = self.to.clone().unwrap_or_else(|| default_folder(&self.name));
        let mut progress = Progress::new();
        fetch(data, &folder, self.from.as_deref(), &mut progress)
            .with_context(|| format!("data fetch {}", self.name))?;
        console::note(&format!("{} is in {}", self.name, folder.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// A progress bar on a terminal, a line per file otherwise.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { bar: ProgressBar::with_draw_target(None, target) }
    }
}

impl Watcher for Progress {
    fn begin(&mut self, name: &str, bytes: Option<u64>, there: u64) {
        let bar = match bytes {
            Some(bytes) => {
                self.bar.set_length(bytes);
                "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
            }
            None => {
                self.bar.unset_length();
                "{msg} {spinner} {bytes} {bytes_per_sec}"
            }
        };
        if let Ok(style) = ProgressStyle::with_template(bar) {
            self.bar.set_style(style);
        }
        self.bar.reset();
        self.bar.set_message(name.to_owned());
        self.bar.set_position(there);
    }

    fn at(&mut self, there: u64) {
        self.bar.set_position(there);
    }

    fn done(&mut self, name: &str, was_there: bool) {
        let what = if was_there { "already present" } else { "downloaded and checked" };
        self.note(&format!("{name}: {what}"));
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| console::note(text));
    }
}
