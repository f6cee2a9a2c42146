//! One run: trains a network, evaluates it now and then, and writes its directory.

pub mod checkpoint;
mod device_data;
pub mod directory;
mod divergence;
mod evaluation;
mod export;
pub mod files;
pub mod growing_file;
mod layers;
pub mod lock;
mod measure;
mod metrics;
mod outputs;
mod probe;
mod recent;
mod session;
mod shadow;
mod telemetry;
mod tensorboard;
mod timing;
mod trainer;
mod writer;

pub use checkpoint::{Best, Checkpoint, CheckpointError, Checkpoints, Header};
pub use device_data::DeviceData;
pub use directory::RunDirectory;
pub use evaluation::{Score, evaluate, population, spread};
pub use export::{ExportNames, export};
pub use files::DirectoryError;
pub use measure::{Measured, measure};
pub use outputs::Outputs;
pub use probe::LayerProbe;
pub use session::{Progress, TrainError, train};
pub use shadow::Shadows;
pub use telemetry::Moment;
pub use trainer::{Stepped, Trainer, load_model};
pub use writer::{Writer, Writers};
