//! One run: trains a network, looks at it now and then, and writes its directory.

pub mod directory;
mod evaluation;
mod telemetry;
pub mod trainer;

pub use directory::{DirectoryError, RunDirectory};
pub use trainer::{DeviceData, Progress, TrainError, train};
