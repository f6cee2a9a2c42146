//! The device that does the arithmetic: how the command line names it, and how it is opened.

use candle::Device;
use std::fmt;
use std::str::FromStr;

/// `cpu`, `cuda` (the first GPU) or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// The Nvidia GPU of this number, counted from 0.
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
    /// The program was built for the processor alone.
    #[error(
        "device {0}: this bn-train was built without CUDA. Build it with `cargo build --release -p bn-train \
         --features cuda` (it needs the CUDA toolkit; the README says how), or use --device cpu"
    )]
    NotBuilt(DeviceName),
    /// The driver has no such GPU, or is no driver at all.
    #[error(
        "device {name}: the CUDA driver offers no such GPU ({reason}). `nvidia-smi` lists the GPUs; where it fails, \
         install or repair the Nvidia driver. Or use --device cpu"
    )]
    Unusable {
        /// What was asked for.
        name: DeviceName,
        /// What the driver says.
        reason: String,
    },
}

impl DeviceName {
    /// Opens the device.
    ///
    /// # Errors
    /// [`DeviceError`], which says what to do.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(_) if !candle::utils::cuda_is_available() => {
                Err(DeviceError::NotBuilt(self))
            }
            Self::Cuda(number) => {
                // A driver library without a driver makes cudarc panic rather than fail.
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

/// Runs `work`; a panic becomes its message and is not printed.
fn quietly<T>(work: impl FnOnce() -> T + std::panic::UnwindSafe) -> Result<T, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(work);
    std::panic::set_hook(hook);
    result.map_err(|panic| panic_message(panic.as_ref()))
}

/// What a panic said.
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
    fn names_are_read_and_written_alike() {
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
    fn a_device_opens_or_says_what_to_do() {
        assert!(DeviceName::Cpu.open().is_ok());
        if let Err(error) = DeviceName::Cuda(99).open() {
            assert!(error.to_string().contains("--device cpu"), "{error}");
        }
    }
}
