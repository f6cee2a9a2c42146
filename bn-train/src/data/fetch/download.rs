//! Downloads one file: tries the URLs in turn, resumes broken connections, and verifies the result.

use super::manifest::RemoteFile;
use super::{FetchError, Watcher, sums};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maximum number of consecutive attempts at one URL without progress.
const FRUITLESS: u32 = 3;
/// How long one attempt may take before the next one resumes it.
const ATTEMPT: Duration = Duration::from_secs(300);
/// How long to wait for the connection and for the response to begin.
const ANSWER: Duration = Duration::from_secs(30);
/// Maximum bytes of a file of unknown length.
const MOST: u64 = 1 << 30;

/// Whether the file exists with the expected length and digest.
pub(super) fn is_complete(file: &RemoteFile, folder: &Path) -> Result<bool, FetchError> {
    let path = folder.join(&file.name);
    if !path.exists() {
        return Ok(false);
    }
    Ok(mismatch(file, &path)?.is_none())
}

/// Downloads the file from the first of `urls` that provides it.
pub(super) fn download(
    file: &RemoteFile,
    urls: &[String],
    folder: &Path,
    watcher: &mut dyn Watcher,
) -> Result<(), FetchError> {
    let partial = folder.join(format!(".{}.partial", file.name));
    let mut reasons = Vec::new();
    for base in urls {
        let url = format!("{base}{}", file.name);
        match (Download { file, url: &url, partial: &partial }).run(watcher)? {
            Ok(()) => {
                let path = folder.join(&file.name);
                return fs::rename(&partial, &path)
                    .map_err(FetchError::disk(&path, "rename the download to"));
            }
            Err(reason) => reasons.push(format!("{url}: {reason}")),
        }
    }
    Err(FetchError::Unreachable { name: file.name.clone(), reasons })
}

/// Why a URL did not provide the file.
type Reason = String;

/// The download of a file from one URL.
struct Download<'a> {
    file: &'a RemoteFile,
    url: &'a str,
    partial: &'a PathBuf,
}

impl Download<'_> {
    fn run(&self, watcher: &mut dyn Watcher) -> Result<Result<(), Reason>, FetchError> {
        let mut best = self.length()?;
        watcher.begin(&self.file.name, self.file.bytes, best);
        let mut fruitless = 0;
        loop {
            let ended = self.attempt(watcher)?;
            let length = self.length()?;
            let reason = match ended {
                Ok(()) => match mismatch(self.file, self.partial)? {
                    None => return Ok(Ok(())),
                    Some(wrong) if self.file.bytes.is_some_and(|bytes| length < bytes) => wrong,
                    // The server has another file, so trying again is pointless.
                    Some(wrong) => {
                        self.start_over()?;
                        return Ok(Err(wrong));
                    }
                },
                Err(Ended::Refused(reason)) => return Ok(Err(reason)),
                Err(Ended::BrokeOff(reason)) => reason,
            };
            fruitless = if length > best { 0 } else { fruitless + 1 };
            best = best.max(length);
            if fruitless == FRUITLESS {
                return Ok(Err(reason));
            }
            watcher.note(&format!("{}: {reason}; trying again", self.url));
            std::thread::sleep(Duration::from_millis(100 << fruitless));
        }
    }

    /// Bytes downloaded so far.
    fn length(&self) -> Result<u64, FetchError> {
        match self.partial.metadata() {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(FetchError::disk(self.partial, "inspect this file")(error)),
        }
    }

    fn start_over(&self) -> Result<(), FetchError> {
        match fs::remove_file(self.partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FetchError::disk(self.partial, "remove this file")(error))
            }
            _ => Ok(()),
        }
    }

    /// Requests the missing bytes once, and appends them.
    fn attempt(&self, watcher: &mut dyn Watcher) -> Result<Result<(), Ended>, FetchError> {
        let mut there = self.length()?;
        if self.file.bytes.is_some_and(|bytes| there > bytes) {
            self.start_over()?;
            there = 0;
        }
        if self.file.bytes == Some(there) {
            return Ok(Ok(()));
        }
        let mut answer = match ask(self.url, there) {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(Ended::BrokeOff(error.to_string()))),
        };
        match answer.status().as_u16() {
            206 if begins_at(&answer, there) => {}
            // The server ignored the range and sends the file from the start.
            200 => {
                self.start_over()?;
                there = 0;
            }
            206 | 416 => {
                self.start_over()?;
                return Ok(Err(Ended::BrokeOff(
                    "the server does not resume where the file stopped".to_owned(),
                )));
            }
            status @ (408 | 429 | 500..) => {
                return Ok(Err(Ended::BrokeOff(format!(
                    "the server responded with status {status}"
                ))));
            }
            status => {
                return Ok(Err(Ended::Refused(format!(
                    "the server responded with status {status}"
                ))));
            }
        }
        self.append(answer.body_mut().as_reader(), there, watcher)
    }

    /// Appends the response to the `there` bytes already downloaded.
    fn append(
        &self,
        mut body: impl Read,
        mut there: u64,
        watcher: &mut dyn Watcher,
    ) -> Result<Result<(), Ended>, FetchError> {
        let failed = |action| FetchError::disk(self.partial, action);
        let file = OpenOptions::new().create(true).append(true).open(self.partial);
        let mut file = file.map_err(failed("write this file"))?;
        let most = self.file.bytes.unwrap_or(MOST);
        let mut buffer = vec![0; 1 << 16];
        let ended = loop {
            match body.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(count) if there + count as u64 > most => {
                    drop(file);
                    self.start_over()?;
                    let reason = format!("more than {most} bytes; expected {most}");
                    return Ok(Err(Ended::Refused(reason)));
                }
                Ok(count) => {
                    file.write_all(&buffer[..count]).map_err(failed("write this file"))?;
                    there += count as u64;
                    watcher.at(there);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(Ended::BrokeOff(format!("{error}, after {there} bytes"))),
            }
        };
        file.sync_all().map_err(failed("write this file"))?;
        Ok(ended)
    }
}

/// Why an attempt did not complete the file.
enum Ended {
    /// Another attempt may succeed.
    BrokeOff(Reason),
    /// Another attempt would fail too.
    Refused(Reason),
}

type Answer = ureq::http::Response<ureq::Body>;

/// Requests the bytes from `there` on.
fn ask(url: &str, there: u64) -> Result<Answer, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(ANSWER))
        .timeout_recv_response(Some(ANSWER))
        .timeout_global(Some(ATTEMPT))
        .user_agent(concat!("bn-train/", env!("CARGO_PKG_VERSION")))
        .build();
    let request = config.new_agent().get(url);
    if there == 0 {
        request.call()
    } else {
        request.header("Range", format!("bytes={there}-")).call()
    }
}

/// Whether the response starts at byte `there`.
fn begins_at(answer: &Answer, there: u64) -> bool {
    let range = answer.headers().get("Content-Range").and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {there}-")))
}

/// Verifies the length and digest of a complete file. Returns the difference, if any.
fn mismatch(file: &RemoteFile, path: &Path) -> Result<Option<Reason>, FetchError> {
    let failed = |action| FetchError::disk(path, action);
    let length = path.metadata().map_err(failed("inspect this file"))?.len();
    if let Some(bytes) = file.bytes.filter(|&bytes| bytes != length) {
        return Ok(Some(format!("{length} bytes; expected {bytes}")));
    }
    let found = sums::of_file(path).map_err(failed("read this file"))?;
    let wrong = format!("SHA-256 {found}; expected {}", file.sha256);
    Ok((found != file.sha256).then_some(wrong))
}
