//! Feeds damaged run directories to everything between files and sentences, and every 64th to the page too: no input may panic or hang.
//!
//! ```sh
//! cargo run --release -p bn-report --example fuzz_readers -- 1000000
//! ```
//!
//! Each input is one valid experiment with one file of it changed: bytes flipped, cut, doubled, replaced by words that readers know, or
//! all random. Prints how many were read, refused and panicked, and the slowest. The folder should be in memory (`TMPDIR=/dev/shm`).

use std::fs;
use std::panic;
use std::path::Path;
use std::time::{Duration, Instant};

use bn_report::chart::smooth::WINDOW;
use bn_report::compare::Comparison;
use bn_report::figures::Figures;
use bn_report::findings::Findings;
use bn_report::read::read_experiment;

const MANIFEST: &str = "schema = 3\nname = \"x\"\nbaseline = \"b\"\n[target]\nmetric = \"accuracy\"\nvalue = 0.9\n\
    [claim]\ntext = \"t\"\narm = \"a\"\nexpected = \"lower\"\nmeasure = \"steps-to-target\"\n\
    [[arm]]\nname = \"a\"\nslug = \"a\"\n[[arm.run]]\nseed = 0\ndigest = \"1\"\n\
    [[arm]]\nname = \"b\"\nslug = \"b\"\n[[arm.run]]\nseed = 0\ndigest = \"2\"\n";
const CONFIG: &str = "name = \"x\"\narm = \"a\"\nseed = 0\n[norm]\nkind = \"batch\"\ndecay = 0.9\n[provenance]\ndigest = \"1\"\ntest_examples = 270\n";
const METRICS: &str = "step,epoch,examples,split,statistics,metric,value\n0,0,0,train,batch,loss,2.3\n0,0,0,validation,moving,accuracy,0.1\n\
    5,0,300,train,batch,loss,1.5\n5,0,300,validation,batch,accuracy,0.6\n5,0,300,validation,moving,accuracy,0.5\n\
    9,1,540,train,batch,loss,0.5\n9,1,540,validation,batch,accuracy,0.95\n9,1,540,validation,moving,accuracy,0.93\n9,1,540,test,moving,accuracy,0.9\n";
const LAYERS: &str = "step,layer,metric,value\n5,hidden1,p50,0.25\n5,hidden1.norm,mean_gap,1e-3\n9,hidden1,p50,\n9,hidden1.norm,mean_gap,0.5\n";
const TIMING: &str = "step,seconds,examples_per_second\n5,0.5,600\n9,0.9,\n";
const SCHEDULES: &str = "step,name,value\n1,learning_rate,0.2\n1,renorm_r_max,\n6,learning_rate,0.02\n9,learning_rate,0.02\n9,renorm_r_max,3\n";
const STATUSES: [&str; 3] = [
    "{\"state\":\"finished\"}\n",
    "{\"state\":\"running\"}\n",
    "{\"state\":\"diverged\",\"step\":7,\"reason\":\"NaN\"}\n",
];

/// What a change may put into a file.
const WORDS: [&str; 24] = [
    "\n",
    ",",
    "\"",
    "\r",
    "=",
    "[",
    "]",
    "{",
    "}",
    "nan",
    "inf",
    "-",
    "1e308",
    "-1e308",
    "1e-322",
    "18446744073709551615",
    "0",
    "../..",
    "\u{0}",
    "\u{202e}",
    "shadow:0.9",
    "validation",
    "é",
    "\u{1b}[31m",
];

/// `SplitMix64`.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
}

/// A file with one to four changes.
fn changed(text: &str, draws: &mut Draws) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len() + 1);
        match draws.below(6) {
            0 if at < bytes.len() => bytes[at] = draws.below(256) as u8,
            1 => bytes.truncate(at),
            2 => {
                let word = WORDS[draws.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            3 => {
                let end = (at + draws.below(40)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                let end = (at + draws.below(12)).min(bytes.len());
                let word = WORDS[draws.below(WORDS.len())];
                bytes.splice(at..end, word.bytes());
            }
            _ => bytes = (0..draws.below(60)).map(|_| draws.below(256) as u8).collect(),
        }
    }
    bytes
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Reads an experiment and says all there is to say.
fn digest(folder: &Path, with_page: bool) -> bool {
    let Ok(experiment) = read_experiment(folder) else { return false };
    let comparison = Comparison::of(&experiment);
    let findings = Findings::of(&comparison);
    let text = findings.headline.plain() + &comparison.render_table();
    assert!(!text.contains("NaN") && !text.contains('\u{1b}'), "{text}");
    let _ = bn_report::summary::markdown(&experiment, &comparison, &findings);
    let _ = bn_report::summary::terminal(&comparison.table(), Some(80));
    if with_page {
        let figures = Figures::draw(&experiment, &comparison, WINDOW);
        if let Err(error) = bn_report::html::page(&experiment, &comparison, &findings, &figures) {
            panic!("{error}");
        }
    }
    bn_report::summary::json(&comparison).is_ok()
}

fn main() {
    let inputs: u64 = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(10_000);
    let folder = std::env::temp_dir().join(format!("bn-report-fuzz-{}", std::process::id()));
    for arm in ["a", "b"] {
        fs::create_dir_all(folder.join(arm).join("seed-0"))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let mut draws = Draws(7);
    let (mut read, mut refused, mut panicked) = (0u64, 0u64, 0u64);
    let mut slowest = Duration::ZERO;
    let files = [
        "a/seed-0/metrics.csv",
        "a/seed-0/layers.csv",
        "a/seed-0/schedules.csv",
        "a/seed-0/timing.csv",
        "a/seed-0/config.toml",
        "a/seed-0/status.json",
        "manifest.toml",
    ];
    let start = Instant::now();
    for input in 0..inputs {
        let status = STATUSES[draws.below(STATUSES.len())];
        let texts = [METRICS, LAYERS, SCHEDULES, TIMING, CONFIG, status, MANIFEST];
        let at = draws.below(files.len());
        if input == 0 {
            for (name, text) in files.iter().zip(texts) {
                write(&folder, name, text.as_bytes());
                write(&folder, &name.replace("a/", "b/"), text.as_bytes());
            }
        }
        write(&folder, "a/seed-0/status.json", status.as_bytes());
        let bytes = changed(texts[at], &mut draws);
        write(&folder, files[at], &bytes);
        let begun = Instant::now();
        match panic::catch_unwind(|| digest(&folder, input % 64 == 0)) {
            Ok(true) => read += 1,
            Ok(false) => refused += 1,
            Err(_) => {
                panicked += 1;
                let shown = String::from_utf8_lossy(&bytes).into_owned();
                println!("input {input}, {}: {shown:?}", files[at]);
            }
        }
        slowest = slowest.max(begun.elapsed());
        write(&folder, files[at], texts[at].as_bytes());
    }
    println!(
        "{inputs} inputs in {:.0} s: {read} read, {refused} refused, {panicked} panicked; the slowest took {slowest:?}",
        start.elapsed().as_secs_f64()
    );
    let _ = fs::remove_dir_all(&folder);
    assert_eq!(panicked, 0, "{panicked} inputs panicked");
}
