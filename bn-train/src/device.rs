//! The compute device: its name on the command line, and opening it.

use candle::Device;
use std::fmt;
use std::str::FromStr;

/// `cpu`, `cuda` (the first GPU) or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The CPU.
    #[default]
    Cpu,
    /// The Nvidia GPU with this index, counted from 0.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        number.map(Self::Cuda).ok_or_else(|| "expected cpu, cuda or cuda:N".to_owned())
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// Why a device cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The program was built without CUDA.
    #[error(
        "device {0}: this bn-train was built without CUDA. Build it with `cargo build --release -p bn-train \
         --features cuda` (it needs the CUDA toolkit; the README says how), or use --device cpu"
    )]
    NotBuilt(DeviceName),
    /// There is no such GPU or no working driver.
    #[error(
        "device {name}: the CUDA driver has no such GPU ({reason}). `nvidia-smi` lists the GPUs; if it fails, install \
         or repair the Nvidia driver. Or use --device cpu"
    )]
    Unusable {
        /// The requested device.
        name: DeviceName,
        /// The driver's error.
        reason: String,
    },
}

impl DeviceName {
    /// Opens the device.
    ///
    /// # Errors
    /// [`DeviceError`] says what to do.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(_) if !candle::utils::cuda_is_available() => {
                Err(DeviceError::NotBuilt(self))
            }
            Self::Cuda(number) => {
                // With a driver library but no driver, cudarc panics instead of failing.
                let opened = quietly(|| Device::new_cuda(number));
                let unusable = |reason| DeviceError::Unusable { name: self, reason };
                match opened {
                    Ok(device) => device.map_err(|error| unusable(first_line(&error.to_string()))),
                    Err(panic) => Err(unusable(first_line(&panic))),
                }
            }
        }
    }
}

/// Runs `work`, and returns a panic as its message without printing it.
fn quietly<T>(work: impl FnOnce() -> T + std::panic::UnwindSafe) -> Result<T, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(work);
    std::panic::set_hook(hook);
    result.map_err(|panic| panic_message(panic.as_ref()))
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &dyn std::any::Any) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "unknown panic".to_owned())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (text, name) in [
            ("cpu", DeviceName::Cpu),
            ("cuda:0", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        for wrong in ["gpu", "cuda:", "cuda:-1", "CPU", ""] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn device_opens_or_says_what_to_do() {
        assert!(DeviceName::Cpu.open().is_ok());
        if let Err(error) = DeviceName::Cuda(99).open() {
            assert!(error.to_string().contains("--device cpu"), "{error}");
        }
    }
}
