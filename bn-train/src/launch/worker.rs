//! A worker process: trains runs one after another, on orders from standard input.

use super::attempt::{Attempt, attempt, remember_panics};
use super::console;
use super::interruption::Interruption;
use super::protocol::{Event, Order};
use crate::data::Source;
use crate::device::{DeviceName, sleep_while_waiting};
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

/// How often progress is reported to the launcher.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// How long the last step and its checkpoint may take after the launcher says stop or dies.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for another process that owns the run. A worker whose launcher was killed exits within [`PATIENCE`].
pub(super) const PATIENCE_WITH_OWNER: Duration = Duration::from_secs(15);

/// Trains runs until standard input ends or a signal arrives.
///
/// # Errors
/// The device cannot be opened, or an order is malformed. A failure within a run is not an error here; its status
/// reports it.
pub fn work(device_name: DeviceName, registry: &Registry) -> anyhow::Result<()> {
    let interruption = Interruption::listen()?;
    interruption.hold();
    fail_at_file_size_limit()?;
    remember_panics();
    let stop = Arc::clone(interruption.requested());
    let device = device_name.open()?;
    sleep_while_waiting(&device);
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

/// Makes writing past the file size limit an error that names the file, instead of a signal that ends the process.
fn fail_at_file_size_limit() -> anyhow::Result<()> {
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())
        .context("cannot listen to signals")?;
    Ok(())
}

/// The lines of standard input. When it ends, sets `stop`, so that the run in progress stops too.
fn orders(stop: Arc<AtomicBool>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        // Without orders, an idle worker exits at once.
        drop(sender);
        // The launcher may be gone, so nobody else would end this process if its step hangs, and it holds the run's lock.
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

/// Runs `work`, on a CPU by [`awake`]. On a GPU the CPU is nearly idle, and spinning threads would burn it for hours.
pub(crate) fn awake_on<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    if device.is_cpu() { awake(work) } else { work() }
}

struct Worker<'a> {
    registry: &'a Registry,
    device: Device,
    /// The last run's data, which the next run usually shares.
    data: Option<(Source, DeviceData)>,
    stop: Arc<AtomicBool>,
}

impl Worker<'_> {
    /// Trains one run and closes its folder, whatever happens.
    fn run(&mut self, order: &Order) -> Status {
        let directory = match RunDirectory::take(&order.directory, PATIENCE_WITH_OWNER) {
            Ok(directory) => directory,
            Err(error) => return failed(&error.into()),
        };
        let device = self.device.clone();
        let Attempt { status, log } =
            attempt(|| awake_on(&device, || self.train(order, &directory)));
        if let Err(error) = directory.log(&log) {
            console::note(&format!("{:#}", anyhow::Error::from(error)));
        }
        match directory.close(&status) {
            Ok(()) => status,
            // Report the first failure, since it usually causes the second.
            Err(_) if matches!(status, Status::Failed { .. }) => status,
            Err(error) => failed(&error.into()),
        }
    }

    /// Trains one run. The caller closes its folder.
    fn train(&mut self, order: &Order, directory: &RunDirectory) -> anyhow::Result<Status> {
        let experiment =
            self.registry.parse("config.toml", "run", &order.config, &Flags::default())?;
        let (settings, seed) = (&experiment.arms[0].settings, experiment.seeds[0]);
        let outputs = outputs(order, directory, &settings.output)?;
        let data = self.data(&settings.data)?;
        let mut reported = Instant::now();
        let mut on_progress = |progress: Progress| {
            // Always report the last step, so that the final numbers are shown.
            if reported.elapsed() >= REPORT_EVERY || progress.step == settings.train.steps {
                reported = Instant::now();
                let Progress { step, loss, headline } = progress;
                let headline = headline.map(|(metric, value)| (metric.to_owned(), value));
                // If the launcher is gone, standard input ends and `stop` is set.
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

/// Opens the outputs of `order`'s run: resumes from its newest checkpoint, or begins anew.
fn outputs(
    order: &Order,
    directory: &RunDirectory,
    settings: &OutputSettings,
) -> anyhow::Result<Outputs> {
    let config: RunConfig = toml::from_str(&order.config).context("malformed settings of a run")?;
    let digest = config.provenance.and_then(|provenance| provenance.digest).unwrap_or_default();
    if directory.partial().is_some_and(|partial| partial.digest() == Some(&digest)) {
        // As in `train`, a missing launcher shows as the end of standard input.
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
