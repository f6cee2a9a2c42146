//! A worker process: trains one run after another, as told on its standard input.

use super::interruption::Interruption;
use super::protocol::{Event, Order};
use crate::data::Source;
use crate::device::{DeviceName, panic_message};
use crate::experiment::{Flags, Registry};
use crate::ops::parallel::awake;
use crate::run::{DeviceData, Progress, RunDirectory, directory, train};
use anyhow::Context as _;
use bn_report::schema::Status;
use candle::Device;
use std::io::{BufRead as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How often the launcher hears of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Works until the standard input ends, or a signal comes.
///
/// # Errors
/// When the device cannot be used, or the launcher cannot be understood. What goes wrong in a run is reported as its
/// status and is no error here.
pub fn work(device_name: DeviceName, registry: &Registry) -> anyhow::Result<()> {
    let interruption = Interruption::listen()?;
    interruption.hold();
    let stop = Arc::clone(interruption.requested());
    let device = device_name.open()?;
    let mut worker = Worker { registry, device, data: None, stop: Arc::clone(&stop) };
    for order in orders(Arc::clone(&stop)) {
        let order: Order = serde_json::from_str(&order).context("an order that is none")?;
        let status = worker.run(&order);
        send(&Event::Ended(status))?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
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
    /// Trains one run and settles its directory, whatever happens.
    fn run(&mut self, order: &Order) -> Status {
        let outcome = catch_unwind(AssertUnwindSafe(|| awake(|| self.train(order))));
        let outcome =
            outcome.unwrap_or_else(|panic| Err(anyhow::Error::msg(panic_message(panic.as_ref()))));
        let failed = |error: anyhow::Error| Status::Failed { error: format!("{error:#}") };
        let status = outcome.unwrap_or_else(failed);
        match directory::settle(&order.place, &status) {
            Ok(()) => status,
            Err(error) => failed(error.into()),
        }
    }

    /// Trains one run; its directory is left for the caller to settle.
    fn train(&mut self, order: &Order) -> anyhow::Result<Status> {
        let mut directory = RunDirectory::create(&order.place, &order.config)?;
        let experiment =
            self.registry.parse("config.toml", "run", &order.config, &Flags::default())?;
        let (settings, seed) = (&experiment.arms[0].settings, experiment.seeds[0]);
        let data = self.data(&settings.data)?;
        let mut reported = Instant::now();
        let mut on_progress = |progress: Progress| {
            // The last step too, so that what is shown of a finished run is how it ended.
            if reported.elapsed() >= REPORT_EVERY || progress.step == settings.train.steps {
                reported = Instant::now();
                let Progress { step, loss, accuracy } = progress;
                // A launcher that is gone is noticed by the end of the standard input.
                let _ = send(&Event::Progress { step, loss, accuracy });
            }
        };
        Ok(train(settings, seed, &data, &mut directory, &self.stop, &mut on_progress)?)
    }

    fn data(&mut self, source: &Source) -> anyhow::Result<DeviceData> {
        if self.data.as_ref().is_none_or(|(held, _)| held != source) {
            let data = DeviceData::new(&source.load()?, &self.device)?;
            self.data = Some((source.clone(), data));
        }
        match &self.data {
            Some((_, data)) => Ok(data.clone()),
            None => unreachable!("it was put there"),
        }
    }
}
