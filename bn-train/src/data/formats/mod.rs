//! File formats, each parsed by a function over bytes that returns the contents or a flaw with its position. Memory use is
//! proportional to the actual bytes, whatever their headers claim.

pub mod archive;
pub mod cifar;
pub mod csv;
pub mod gzip;
pub mod idx;
pub mod image;
pub mod mnist;
pub mod npy;
pub mod npz;
pub mod numbers;
pub mod tensors;
