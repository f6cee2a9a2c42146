//! One run: trains a network, looks at it now and then, and writes its directory.

pub mod checkpoint;
pub mod csv_file;
pub mod directory;
mod evaluation;
pub mod files;
pub mod lock;
mod telemetry;
pub mod tensorboard;
pub mod trainer;

pub use checkpoint::{Best, Checkpoint, CheckpointError, Checkpoints, Header};
pub use directory::{RunDirectory, RunFiles};
pub use files::DirectoryError;
pub use trainer::{DeviceData, Progress, TrainError, train};
