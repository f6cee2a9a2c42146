//! One run: trains networks, evaluates them at intervals, and writes the run's folder.

pub mod checkpoint;
#[cfg(test)]
mod deferred;
mod device_data;
pub mod directory;
mod divergence;
mod export;
pub mod files;
pub mod growing_file;
mod layers;
pub mod lock;
mod measure;
mod metrics;
mod outputs;
mod pending;
mod probe;
mod recent;
mod schedules;
mod session;
mod shadow;
mod telemetry;
mod tensorboard;
mod timing;
mod trainer;
mod writer;

pub use checkpoint::Checkpoint;
pub use device_data::DeviceData;
pub use directory::{RunDirectory, lock_of};
pub use export::{ExportNames, export};
pub use files::write_atomic;
pub use lock::is_held;
pub use measure::{Measured, measure};
pub use outputs::Outputs;
pub use session::{Progress, train};
pub use trainer::{StepOutcome, Trainer};
