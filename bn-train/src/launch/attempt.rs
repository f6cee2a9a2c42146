//! Runs work that may panic, and turns a failure into a one-line reason and a log with file, line and backtrace.

use crate::device::panic_message;
use bn_report::schema::Status;
use std::backtrace::Backtrace;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The latest panics of all threads.
static PANICS: Mutex<VecDeque<Panic>> = Mutex::new(VecDeque::new());
/// How many panics are kept. A failing step may panic in several threads before the attempt ends.
const KEPT: usize = 16;

struct Panic {
    /// The panic's payload as text, by which [`attempt`] finds it.
    payload: String,
    /// The payload with file and line in front.
    message: String,
    backtrace: String,
}

/// How an attempt ended, and the text for the run's `worker.log`; empty if all went well.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) status: Status,
    pub(super) log: String,
}

/// Installs a hook that records panics for [`attempt`] and prints them.
pub(super) fn remember_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        remember(info);
        print(info);
    }));
}

fn remember(info: &PanicHookInfo<'_>) {
    let mut panics = panics();
    if panics.len() == KEPT {
        panics.pop_front();
    }
    panics.push_back(Panic {
        payload: panic_message(info.payload()),
        message: info.to_string().replacen(":\n", ": ", 1),
        backtrace: Backtrace::force_capture().to_string(),
    });
}

fn panics() -> MutexGuard<'static, VecDeque<Panic>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work`. An error or a panic becomes [`Status::Failed`] with its reason.
pub(super) fn attempt(work: impl FnOnce() -> anyhow::Result<Status>) -> Attempt {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(status)) => Attempt { status, log: String::new() },
        Ok(Err(error)) => Attempt {
            status: Status::Failed { error: format!("{error:#}") },
            log: format!("error: {error:?}"),
        },
        Err(payload) => {
            let payload = panic_message(payload.as_ref());
            let mut panics = panics();
            let found = panics.iter().rposition(|panic| panic.payload == payload);
            let panic = found.and_then(|index| panics.remove(index));
            let (message, backtrace) =
                panic.map_or((payload, String::new()), |panic| (panic.message, panic.backtrace));
            Attempt {
                log: format!("{message}\n{backtrace}"),
                status: Status::Failed { error: message },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn panic_in_any_thread_reports_file_line_and_backtrace() {
        remember_panics();
        let line = line!() + 2;
        let attempt = attempt(|| {
            (0..64).into_par_iter().for_each(|i| assert!(i != 7, "piece {i}"));
            Ok(Status::Finished)
        });
        let Status::Failed { error } = attempt.status else { panic!("{attempt:?}") };
        assert!(error.starts_with(&format!("panicked at {}:{line}:", file!())), "{error}");
        assert!(error.ends_with(": piece 7"), "{error}");
        assert!(attempt.log.starts_with(&error), "{}", attempt.log);
        assert!(attempt.log.contains("rayon"), "{}", attempt.log);
    }

    #[test]
    fn error_reports_its_causes() {
        let attempt = attempt(|| Err(anyhow::anyhow!("inner").context("outer")));
        assert_eq!(attempt.status, Status::Failed { error: "outer: inner".into() });
        assert!(attempt.log.contains("Caused by"), "{}", attempt.log);
        let fine = super::attempt(|| Ok(Status::Interrupted));
        assert_eq!((fine.status, fine.log.as_str()), (Status::Interrupted, ""));
    }
}
