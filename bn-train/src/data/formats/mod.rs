//! File formats, each read by a function over bytes: what the bytes hold, or what is wrong with them and where. Memory stays
//! in proportion to the bytes that are there, whatever their headers claim.

pub mod archive;
pub mod cifar;
pub mod csv;
pub mod gzip;
pub mod idx;
pub mod image;
pub mod npy;
pub mod npz;
pub mod numbers;
pub mod tensors;
