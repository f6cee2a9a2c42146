//! Handles Ctrl-C and SIGTERM: exits at once when nothing can be lost, stops in good order during training.

use anyhow::Context as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit status after Ctrl-C, by shell convention.
pub const EXIT_STATUS: u8 = 130;

/// How the process reacts to SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Interruption {
    requested: Arc<AtomicBool>,
    ends_at_once: Arc<AtomicBool>,
}

impl Interruption {
    /// Installs the handlers. Until [`Interruption::hold`], a signal ends the process at once.
    ///
    /// # Errors
    /// The handlers cannot be installed.
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
            .context("cannot handle signals")?;
        }
        Ok(interruption)
    }

    /// From now on, a signal only sets the flag.
    pub fn hold(&self) {
        self.ends_at_once.store(false, Ordering::Relaxed);
    }

    /// From now on, a signal ends the process at once again.
    pub fn release(&self) {
        self.ends_at_once.store(true, Ordering::Relaxed);
    }

    /// The flag that a signal sets.
    pub fn requested(&self) -> &Arc<AtomicBool> {
        &self.requested
    }
}
