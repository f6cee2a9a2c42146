//! Ctrl-C and SIGTERM: at once where nothing can be lost, in good order while runs go on.

use anyhow::Context as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit status after Ctrl-C, as shells have it.
pub const EXIT_STATUS: u8 = 130;

/// What the two signals do.
#[derive(Debug)]
pub struct Interruption {
    requested: Arc<AtomicBool>,
    ends_at_once: Arc<AtomicBool>,
}

impl Interruption {
    /// Listens; until [`Interruption::hold`], a signal ends the process at once.
    ///
    /// # Errors
    /// When the system does not let us listen.
    pub fn listen() -> anyhow::Result<Self> {
        let interruption =
            Self { requested: Arc::default(), ends_at_once: Arc::new(AtomicBool::new(true)) };
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let Self { requested, ends_at_once } = &interruption;
            signal_hook::flag::register_conditional_shutdown(
                signal,
                EXIT_STATUS.into(),
                Arc::clone(ends_at_once),
            )
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(requested)))
            .context("cannot listen to signals")?;
        }
        Ok(interruption)
    }

    /// From here on a signal only sets the flag.
    pub fn hold(&self) {
        self.ends_at_once.store(false, Ordering::Relaxed);
    }

    /// From here on a signal ends the process at once again.
    pub fn release(&self) {
        self.ends_at_once.store(true, Ordering::Relaxed);
    }

    /// Set by a signal.
    pub fn requested(&self) -> &Arc<AtomicBool> {
        &self.requested
    }
}
