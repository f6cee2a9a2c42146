//! Replays conformance cases: `conformance [--device cpu|cuda|cuda:N] DIR`.
//!
//! Prints a line per failing case with tensor, step and largest error, then `N passed, M failed`; exits
//! with 1 when a case fails or none is found. It calls only the public API of `bn-core`, holds no formula
//! of its own, and gets gradients by candle's backward.

mod case;
mod layer;
mod replay;

use std::path::PathBuf;
use std::process::ExitCode;

use candle::Device;

const USAGE: &str = "usage: conformance [--device cpu|cuda|cuda:N] DIR

Replays every *.safetensors case under DIR (folders are searched recursively) and prints
a line per failing case, then `N passed, M failed`. Exits with 1 when one fails or none is found.";

fn main() -> ExitCode {
    let (device, directory) = match arguments(std::env::args().skip(1)) {
        Ok(Some((name, directory))) => match device(&name) {
            Ok(device) => (device, directory),
            Err(message) => {
                eprintln!("error: {message}");
                return ExitCode::FAILURE;
            }
        },
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("error: {message}\n\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match replay::replay(&directory, &device) {
        Ok(outcome) => {
            for failure in &outcome.failures {
                println!("{failure}");
            }
            println!("{} passed, {} failed", outcome.passed, outcome.failures.len());
            if outcome.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Name of the device and directory; none when help was asked for.
fn arguments(given: impl Iterator<Item = String>) -> Result<Option<(String, PathBuf)>, String> {
    let (mut device, mut directory) = ("cpu".to_owned(), None);
    let mut given = given;
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "-h" | "--help" => return Ok(None),
            "--device" => device = given.next().ok_or("--device needs a value")?,
            _ if argument.starts_with("--device=") => {
                device = argument["--device=".len()..].to_owned();
            }
            _ if argument.starts_with('-') => return Err(format!("unknown option `{argument}`")),
            _ if directory.is_none() => directory = Some(PathBuf::from(argument)),
            _ => return Err(format!("one directory only, got also `{argument}`")),
        }
    }
    let directory = directory.ok_or("no directory given")?;
    Ok(Some((device, directory)))
}

/// Opens the device of this name; the message says what to do where that fails.
fn device(name: &str) -> Result<Device, String> {
    let ordinal = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        _ => name
            .strip_prefix("cuda:")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| format!("device `{name}`: expected cpu, cuda or cuda:N"))?,
    };
    if !candle::utils::cuda_is_available() {
        return Err(format!(
            "device `{name}`: this program was built without CUDA; build it with `--features cuda` \
             (docs/cuda.md says what that needs), or use --device cpu"
        ));
    }
    Device::new_cuda(ordinal).map_err(|error| {
        // Candle may append a backtrace to the driver's words.
        let text = error.to_string();
        let reason = text.lines().next().unwrap_or_default();
        format!(
            "device `{name}`: the CUDA driver offers no such GPU ({reason}). `nvidia-smi` lists the GPUs; \
             where it fails, install or repair the NVIDIA driver. Or use --device cpu"
        )
    })
}
