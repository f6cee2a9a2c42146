//! The compute device: its name on the command line, the GPUs that a choice stands for, and opening one.

// Twins with the same functions.
#[cfg(feature = "cuda")]
mod gpus;
#[cfg(not(feature = "cuda"))]
#[path = "device/no_gpus.rs"]
mod gpus;

use candle::Device;
use std::fmt;
use std::panic::UnwindSafe;
use std::str::FromStr;

/// One device: `cpu`, `cuda:N`, or `cuda`, the first GPU.
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

/// The devices that training may use: `cpu`, `cuda:N`, or `cuda`, every GPU that the driver shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// This one.
    One(DeviceName),
    /// Every GPU.
    EveryGpu,
}

impl Default for DeviceChoice {
    fn default() -> Self {
        Self::One(DeviceName::default())
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "cuda" { Ok(Self::EveryGpu) } else { text.parse().map(Self::One) }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name) => name.fmt(f),
            Self::EveryGpu => f.write_str("cuda"),
        }
    }
}

impl DeviceChoice {
    /// The device of work that needs one only: the first.
    pub fn first(self) -> DeviceName {
        match self {
            Self::One(name) => name,
            Self::EveryGpu => DeviceName::Cuda(0),
        }
    }

    /// The devices, at least one.
    ///
    /// # Errors
    /// Every GPU is wanted and there is none; [`DeviceError`] says what to do.
    pub fn devices(self) -> Result<Vec<DeviceName>, DeviceError> {
        match self {
            Self::One(name) => Ok(vec![name]),
            Self::EveryGpu => every_gpu(gpus::count()?),
        }
    }
}

fn every_gpu(count: usize) -> Result<Vec<DeviceName>, DeviceError> {
    let name = DeviceName::Cuda(0);
    match count {
        0 => Err(DeviceError::Unusable { name, reason: "it shows none at all".to_owned() }),
        _ => Ok((0..count).map(DeviceName::Cuda).collect()),
    }
}

/// The device of each of `jobs` concurrent processes: by turns, so that no device has two more than another.
pub fn by_turns(devices: &[DeviceName], jobs: usize) -> Vec<DeviceName> {
    devices.iter().copied().cycle().take(jobs).collect()
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
    /// The driver is older than the program.
    #[error(
        "device {name}: its driver runs programs of CUDA {} and older, and this bn-train was built with CUDA {}. Install a newer \
         Nvidia driver (580 or later for CUDA 13), or build with an older CUDA toolkit. Or use --device cpu",
        version(*.supported), version(*.needed)
    )]
    OldDriver {
        /// The requested device.
        name: DeviceName,
        /// The newest version of CUDA that the driver supports, as it counts them: 12040 is 12.4.
        supported: u32,
        /// The version that this program needs.
        needed: u32,
    },
}

fn version(number: u32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

impl DeviceName {
    /// Whether it is a GPU.
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda(_))
    }

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
                recent_enough(self, gpus::supported_by_driver(), gpus::BUILT_WITH)?;
                driven(|| Device::new_cuda(number).map_err(|error| error.to_string()))
                    .map_err(|reason| DeviceError::Unusable { name: self, reason })
            }
        }
    }
}

/// An old driver fails with less telling errors later, when it loads the first kernel.
fn recent_enough(name: DeviceName, supported: Option<u32>, needed: u32) -> Result<(), DeviceError> {
    match supported {
        Some(supported) if supported < needed => {
            Err(DeviceError::OldDriver { name, supported, needed })
        }
        _ => Ok(()),
    }
}

/// Lets this thread sleep while it waits for the GPU; otherwise it spins, and keeps a core busy. Nothing happens on a CPU.
pub fn sleep_while_waiting(device: &Device) {
    gpus::sleep_while_waiting(device);
}

/// Calls the driver. A failure is the first line of its message.
fn driven<T>(call: impl FnOnce() -> Result<T, String> + UnwindSafe) -> Result<T, String> {
    // With a driver library but no driver, cudarc panics instead of failing.
    let called = quietly(call).and_then(|result| result);
    called.map_err(|message| first_line(&message))
}

/// Runs `work`, and returns a panic as its message without printing it.
fn quietly<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
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

/// The device on which tests run that any device must pass: `BN_TEST_DEVICE`, by default the CPU.
#[cfg(test)]
pub(crate) fn of_tests() -> Device {
    static DEVICE: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    let open = || {
        let name = std::env::var("BN_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
        let device: DeviceName =
            name.parse().unwrap_or_else(|e| panic!("BN_TEST_DEVICE={name}: {e}"));
        device.open().unwrap_or_else(|error| panic!("BN_TEST_DEVICE: {error}"))
    };
    DEVICE.get_or_init(open).clone()
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
    fn cuda_is_every_gpu_and_a_number_is_one() {
        for text in ["cpu", "cuda", "cuda:0", "cuda:3"] {
            let choice: DeviceChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!(DeviceChoice::default().to_string(), "cpu");
        assert!("gpu".parse::<DeviceChoice>().is_err());
        let one = DeviceChoice::One(DeviceName::Cuda(3));
        assert_eq!((one.first(), one.devices().unwrap()), (one.first(), vec![DeviceName::Cuda(3)]));
        assert_eq!(DeviceChoice::EveryGpu.first(), DeviceName::Cuda(0));
        for count in [1, 2, 3, 8] {
            let every = every_gpu(count).unwrap();
            assert_eq!(every, (0..count).map(DeviceName::Cuda).collect::<Vec<_>>());
            assert_eq!(every[0], DeviceChoice::EveryGpu.first());
        }
        let error = every_gpu(0).unwrap_err().to_string();
        assert!(error.contains("none at all") && error.contains("nvidia-smi"), "{error}");
    }

    #[test]
    fn driver_older_than_the_program_is_named() {
        let check = |supported| recent_enough(DeviceName::Cuda(1), supported, 13000);
        assert!(check(None).is_ok() && check(Some(13000)).is_ok() && check(Some(13020)).is_ok());
        let error = check(Some(12040)).unwrap_err().to_string();
        for part in ["cuda:1", "CUDA 12.4", "CUDA 13.0", "580", "--device cpu"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn devices_are_taken_by_turns() {
        for gpus in [1, 2, 3, 8] {
            let devices = every_gpu(gpus).unwrap();
            for jobs in [1, 2, 3, 4, 7, 8, 16, 17] {
                let taken = by_turns(&devices, jobs);
                assert_eq!(taken.len(), jobs);
                let loads = devices.iter().map(|one| taken.iter().filter(|&it| it == one).count());
                let loads: Vec<usize> = loads.collect();
                let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
                assert!(most - least <= 1, "{gpus} GPUs, {jobs} jobs: {loads:?}");
                assert_eq!(taken[0], DeviceName::Cuda(0));
            }
        }
        assert_eq!(by_turns(&[DeviceName::Cpu], 3), [DeviceName::Cpu; 3]);
    }

    #[test]
    fn device_opens_or_says_what_to_do() {
        assert!(DeviceName::Cpu.open().is_ok());
        if let Err(error) = DeviceName::Cuda(99).open() {
            assert!(error.to_string().contains("--device cpu"), "{error}");
        }
        match DeviceChoice::EveryGpu.devices() {
            Ok(devices) => assert_eq!(devices[0], DeviceChoice::EveryGpu.first()),
            Err(error) => assert!(error.to_string().contains("--device cpu"), "{error}"),
        }
    }
}
