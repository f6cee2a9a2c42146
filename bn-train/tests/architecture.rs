//! The structure of the crate: a module uses only modules above it in `lib.rs`, and a file of `model` only files above it
//! in `model/mod.rs`. Tests may use anything.

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut entries: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without comments and tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("text");
    let code = text.split("#[cfg(test)]").next().unwrap_or("");
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names of the modules declared in `list`, in order, without test modules.
fn declared(list: &Path) -> Vec<String> {
    let code = code(list);
    let declared = code.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    declared.map(str::to_owned).collect()
}

/// The names that follow `prefix` in a text, including those in `use prefix{a, b::c}`.
fn used(text: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
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
    let order = declared(&source().join("lib.rs"));
    assert!(order.len() > 8, "{order:?}");
    let rank = |module: &str| order.iter().position(|known| known == module);
    let mut paths = Vec::new();
    rust_files(&source(), &mut paths);
    let mut seen = 0;
    for path in paths {
        let inside = path.strip_prefix(source()).expect("inside src");
        let first = inside.iter().next().expect("a name").to_string_lossy();
        let module = first.trim_end_matches(".rs");
        let Some(own) = rank(module) else {
            assert!(["lib", "main"].contains(&module), "{} is not listed", path.display());
            continue;
        };
        let is_test = |part: &std::ffi::OsStr| {
            ["tests", "tests.rs", "laws", "torch.rs"].iter().any(|name| part == *name)
        };
        if inside.iter().any(is_test) {
            continue;
        }
        for name in used(&code(&path), "crate::") {
            let Some(other) = rank(&name) else { continue };
            seen += 1;
            assert!(other <= own, "{} uses `{name}`, which is below `{module}`", path.display());
        }
    }
    assert!(seen > 50, "the test finds too few uses: {seen}");
}

#[test]
fn files_of_the_model_use_only_files_above_them() {
    let folder = source().join("model");
    let order = declared(&folder.join("mod.rs"));
    assert!(order.len() > 10, "{order:?}");
    for (own, module) in order.iter().enumerate() {
        for name in used(&code(&folder.join(format!("{module}.rs"))), "super::") {
            let Some(other) = order.iter().position(|known| *known == name) else { continue };
            assert!(other < own, "model/{module} uses {name}, which is below it");
        }
    }
}
