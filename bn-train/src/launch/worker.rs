//! A worker process: trains one run after another, as told on its standard input.

use super::attempt::{Attempt, attempt, remember_panics};
use super::console;
use super::interruption::Interruption;
use super::protocol::{Event, Order};
use crate::data::Source;
use crate::device::DeviceName;
use crate::experiment::OutputSettings;
use crate::experiment::{Flags, Registry};
use crate::ops::parallel::awake;
use crate::run::{DeviceData, Outputs, Progress, RunDirectory, train};
use anyhow::Context as _;
use bn_report::schema::{RunConfig, Status};
use candle::Device;
use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How often the launcher hears of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// How long the last step and its checkpoint may take once the launcher wants no more, or is gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a worker waits for another that still owns its run: one whose launcher was killed ends within [`PATIENCE`].
pub(super) const PATIENCE_WITH_OWNER: Duration = Duration::from_secs(15);

/// Works until the standard input ends, or a signal comes.
///
/// # Errors
/// When the device cannot be used, or the launcher cannot be understood. What goes wrong in a run is reported as its
/// status and is no error here.
pub fn work(device_name: DeviceName, registry: &Registry) -> anyhow::Result<()> {
    let interruption = Interruption::listen()?;
    interruption.hold();
    fail_at_file_size_limit()?;
    remember_panics();
    let stop = Arc::clone(interruption.requested());
    let device = device_name.open()?;
    let mut worker = Worker { registry, device, data: None, stop: Arc::clone(&stop) };
    for order in orders(Arc::clone(&stop)) {
        let order: Order =
            serde_json::from_str(&order).context("malformed order from the launcher")?;
        let status = worker.run(&order);
        send(&Event::Ended(status))?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// A file that grows past the system's limit shall be an error that names the file, not the end of the process.
fn fail_at_file_size_limit() -> anyhow::Result<()> {
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())
        .context("cannot listen to signals")?;
    Ok(())
}

/// The lines of the standard input. When it ends, `stop` is set, so that the run in progress ends too.
fn orders(stop: Arc<AtomicBool>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        // No more orders: a worker without work ends at once.
        drop(sender);
        // Nobody is left to end this process if its step takes for ever; and while it lives, it owns its run.
        std::thread::sleep(PATIENCE);
        std::process::exit(1);
    });
    receiver
}

fn send(event: &Event) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(event)?)
        .and_then(|()| output.flush())
        .context("the launcher is gone")
}

struct Worker<'a> {
    registry: &'a Registry,
    device: Device,
    /// What the last run trained on; the next one mostly trains on it too.
    data: Option<(Source, DeviceData)>,
    stop: Arc<AtomicBool>,
}

impl Worker<'_> {
    /// Trains one run and ends its directory, whatever happens.
    fn run(&mut self, order: &Order) -> Status {
        let directory = match RunDirectory::take(&order.directory, PATIENCE_WITH_OWNER) {
            Ok(directory) => directory,
            Err(error) => return failed(&error.into()),
        };
        let Attempt { status, log } = attempt(|| {
            if self.device.is_cpu() {
                awake(|| self.train(order, &directory))
            } else {
                // The CPU has next to nothing to do: threads that look for work would burn it for hours.
                self.train(order, &directory)
            }
        });
        if let Err(error) = directory.log(&log) {
            console::note(&format!("{:#}", anyhow::Error::from(error)));
        }
        match directory.close(&status) {
            Ok(()) => status,
            // The first reason is the one to tell; what fails then mostly fails because of it.
            Err(_) if matches!(status, Status::Failed { .. }) => status,
            Err(error) => failed(&error.into()),
        }
    }

    /// Trains one run; the caller ends its directory.
    fn train(&mut self, order: &Order, directory: &RunDirectory) -> anyhow::Result<Status> {
        let experiment =
            self.registry.parse("config.toml", "run", &order.config, &Flags::default())?;
        let (settings, seed) = (&experiment.arms[0].settings, experiment.seeds[0]);
        let outputs = outputs(order, directory, &settings.output)?;
        let data = self.data(&settings.data)?;
        let mut reported = Instant::now();
        let mut on_progress = |progress: Progress| {
            // The last step too, so that what is shown of a finished run is how it ended.
            if reported.elapsed() >= REPORT_EVERY || progress.step == settings.train.steps {
                reported = Instant::now();
                let Progress { step, loss, headline } = progress;
                let headline = headline.map(|(metric, value)| (metric.to_owned(), value));
                // A launcher that is gone is noticed by the end of the standard input.
                let _ = send(&Event::Progress { step, loss, headline });
            }
        };
        Ok(train(settings, seed, &data, outputs, &self.stop, &mut on_progress)?)
    }

    fn data(&mut self, source: &Source) -> anyhow::Result<DeviceData> {
        if let Some((held, data)) = &self.data
            && held == source
        {
            return Ok(data.clone());
        }
        let data = DeviceData::new(&source.load()?, &self.device)?;
        self.data = Some((source.clone(), data.clone()));
        Ok(data)
    }
}

/// Where the run of `order` writes: it goes on from its newest checkpoint, or begins.
fn outputs(
    order: &Order,
    directory: &RunDirectory,
    settings: &OutputSettings,
) -> anyhow::Result<Outputs> {
    let config: RunConfig = toml::from_str(&order.config).context("malformed settings of a run")?;
    let digest = config.provenance.and_then(|provenance| provenance.digest).unwrap_or_default();
    if directory.partial().is_some_and(|partial| partial.digest() == Some(&digest)) {
        // A launcher that is gone is noticed by the end of the standard input.
        let mut warn = |text: String| drop(send(&Event::Warning { text }));
        if let Some(outputs) = Outputs::resume(directory.folder(), settings, &digest, &mut warn)? {
            directory.resume()?;
            return Ok(outputs);
        }
    }
    directory.begin(&order.config)?;
    Ok(Outputs::begin(directory.folder(), settings, &digest)?)
}

fn failed(error: &anyhow::Error) -> Status {
    Status::Failed { error: format!("{error:#}") }
}
