//! Kernels for NVIDIA GPUs, of this crate and of others: text that is compiled by NVRTC once per process and kept on disk,
//! by a digest of the text and the architecture; and the addresses of tensors.
//!
//! `BN_CUDA_CACHE` names the folder of compiled kernels (default `~/.cache/bn-core`; empty: none).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use candle::Result;
use candle::cuda_backend::cudarc::driver::CudaFunction;
use candle::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use candle::cuda_backend::{CudaDevice, WrapErr};

use crate::tensors::lock;

pub use crate::tensors::cuda::with_tensors;

/// A text of kernels. A product and a sum are rounded separately, as on the CPU, unless the text calls `fma`.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Part of the cached file's name; unique within the process for a text.
    pub name: &'static str,
    /// Put together, a line break between them. They include nothing, so that no toolkit is needed at run time.
    pub texts: &'static [&'static str],
    /// The text sees it as `ELEMENT`.
    pub element: usize,
}

struct Module {
    name: String,
    ptx: String,
}

/// Name, element and architecture.
type Key = (&'static str, usize, (i32, i32));
static MODULES: Mutex<BTreeMap<Key, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A kernel of a program, which is compiled if it is not yet.
///
/// # Errors
/// The program does not compile, or has no such kernel; errors of the driver.
pub fn function(device: &CudaDevice, program: &Program, kernel: &str) -> Result<CudaFunction> {
    let capability = device.cuda_stream().context().compute_capability().w()?;
    let key = (program.name, program.element, capability);
    let module = {
        let mut modules = lock(&MODULES);
        match modules.get(&key) {
            Some(module) => module.clone(),
            None => {
                let module = Arc::new(Module::get(program, capability, cache_folder().as_deref())?);
                modules.insert(key, module.clone());
                module
            }
        }
    };
    Ok(device.get_or_load_custom_func(kernel, &module.name, &module.ptx)?.into_cuda_function())
}

impl Module {
    /// From the cache, or from NVRTC and into the cache.
    fn get(program: &Program, (major, minor): (i32, i32), cache: Option<&Path>) -> Result<Self> {
        let Program { name: stem, texts, element } = *program;
        let text = texts.join("\n");
        let options = vec![
            format!("-DELEMENT={element}"),
            format!("--gpu-architecture=compute_{major}{minor}"),
            "--std=c++17".to_owned(),
            "--fmad=false".to_owned(),
        ];
        let digest = digest(&[options.join(" ").as_bytes(), text.as_bytes()]);
        let name = format!("{stem}-{element}-sm{major}{minor}-{digest:032x}");
        let path = cache.map(|folder| folder.join(format!("{name}.ptx")));
        let found = path.as_deref().and_then(|path| fs::read_to_string(path).ok());
        if let Some(ptx) = found.filter(|ptx| is_whole(ptx)) {
            return Ok(Self { name, ptx });
        }
        let options =
            CompileOptions { options, name: Some(format!("{stem}.cu")), ..Default::default() };
        let ptx =
            compile_ptx_with_opts(text, options).map_err(|error| explained(stem, &error))?.to_src();
        if let Some(path) = path {
            // A cache that cannot be written costs seconds at the next start, and nothing else.
            let _ = keep(&path, &ptx);
        }
        Ok(Self { name, ptx })
    }
}

fn explained(stem: &str, error: &CompileError) -> candle::Error {
    let said = match error {
        CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
        other => format!("{other:?}"),
    };
    candle::Error::Msg(format!(
        "NVRTC could not compile the kernels of {stem}; a libnvrtc older than the GPU does not know its architecture: {said}"
    ))
}

/// PTX ends with the end of a function, and a newline or NUL.
fn is_whole(ptx: &str) -> bool {
    ptx.contains(".version") && ptx.trim_end_matches(['\0', '\n', ' ']).ends_with('}')
}

/// Writes a file that is there whole or not at all, also if other processes do the same.
fn keep(path: &Path, ptx: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension(format!("{}.partial", std::process::id()));
    let done = fs::write(&temporary, ptx).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// `$BN_CUDA_CACHE`, or `bn-core` in the user's cache folder; `None` where there is no such folder, or the variable is
/// empty.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name);
    if let Some(folder) = set("BN_CUDA_CACHE") {
        return (!folder.is_empty()).then(|| PathBuf::from(folder));
    }
    let user = set("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let user = user.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    user.map(|folder| folder.join("bn-core"))
}

/// FNV-1a of 128 bits: it tells texts apart, and guards against nothing.
fn digest(parts: &[&[u8]]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = parts.iter().flat_map(|part| part.iter().chain(&[0]));
    bytes.fold(BASIS, |digest, byte| (digest ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::{digest, is_whole, keep};

    #[test]
    fn digests_tell_texts_apart() {
        // The published value of FNV-1a 128 of nothing but the separator differs from the basis.
        assert_ne!(digest(&[b"a", b"b"]), digest(&[b"ab"]));
        assert_ne!(digest(&[b"a"]), digest(&[b"b"]));
        assert_eq!(digest(&[b"a", b"b"]), digest(&[b"a", b"b"]));
    }

    #[test]
    fn a_cached_file_is_whole_and_a_folder_that_cannot_be_made_is_an_error_to_ignore() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("below/module.ptx");
        keep(&path, ".version 9.0\n{\n}\n").expect("writes");
        let text = std::fs::read_to_string(&path).expect("reads");
        assert!(is_whole(&text) && !is_whole(&text[..text.len() - 3]));
        assert_eq!(std::fs::read_dir(path.parent().expect("a folder")).expect("lists").count(), 1);
        std::fs::write(folder.path().join("file"), "").expect("writes");
        assert!(keep(&folder.path().join("file/module.ptx"), "").is_err());
    }
}
