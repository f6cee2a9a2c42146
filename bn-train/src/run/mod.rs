//! One run: trains a network, looks at it now and then, and writes its directory.

pub mod checkpoint;
pub mod directory;
mod evaluation;
mod telemetry;
pub mod tensorboard;
pub mod trainer;

pub use checkpoint::{Best, Checkpoint, CheckpointError, Checkpoints, Header};
pub use directory::{DirectoryError, RunDirectory};
pub use trainer::{DeviceData, Progress, TrainError, train};
