//! The shape of the crate: a module uses only modules above it in `lib.rs`, and one file knows candle's
//! storages.

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// Each file with the top-level module it belongs to.
fn files() -> Vec<(String, PathBuf, String)> {
    let mut paths = Vec::new();
    rust_files(&source(), &mut paths);
    let of = |path: PathBuf| {
        let inside = path.strip_prefix(source()).expect("inside of src").to_path_buf();
        let first = inside.iter().next().expect("a name").to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).expect("text");
        (module, path, text)
    };
    paths.into_iter().map(of).collect()
}

/// The modules that a text names behind `crate::`, those in `use crate::{a, b::c}` too.
fn used(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let letters = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
            let name = name.trim();
            found.push(name[..name.find(|c| !letters(c)).unwrap_or(name.len())].to_owned());
        }
    }
    found
}

#[test]
fn modules_use_only_modules_above_them() {
    let lib = fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let declared = lib.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    let order: Vec<&str> = declared.collect();
    assert!(order.len() > 15, "{order:?}");
    let rank = |module: &str| order.iter().position(|known| *known == module);
    let mut seen = 0;
    for (module, path, text) in files() {
        let Some(own) = rank(&module) else {
            assert_eq!(module, "lib", "{} is not listed", path.display());
            continue;
        };
        // Links of documentation may point anywhere.
        let code: Vec<&str> =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for name in used(&code.join("\n")) {
            let Some(other) = rank(&name) else { continue };
            seen += 1;
            assert!(other <= own, "{} uses `{name}`, which is below `{module}`", path.display());
        }
    }
    assert!(seen > 50, "the test reads no uses: {seen}");
}

/// The same inside of `pass`: `super::name` is a file above.
#[test]
fn files_of_the_pass_use_only_files_above_them() {
    let list = fs::read_to_string(source().join("pass/mod.rs")).expect("pass/mod.rs");
    let order: Vec<&str> =
        list.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    assert!(order.len() > 5, "{order:?}");
    for (own, name) in order.iter().enumerate() {
        let text = fs::read_to_string(source().join(format!("pass/{name}.rs"))).expect("a file");
        for (below, other) in order.iter().enumerate() {
            let uses = text.contains(&format!("super::{other}::"));
            assert!(!uses || below < own, "{name} uses {other}, which is below it");
        }
    }
}

#[test]
fn one_file_knows_candles_storages() {
    for (module, path, text) in files() {
        let knows = text.contains("CpuStorage") || text.contains("CudaStorage");
        assert_eq!(knows, module == "tensors", "{}", path.display());
    }
}

#[test]
fn formulas_know_no_tensors() {
    for (module, path, text) in files() {
        let imports = text.lines().any(|line| line.starts_with("use candle"));
        assert!(module != "channel" || !imports, "{}", path.display());
    }
}
