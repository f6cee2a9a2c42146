//! Downloads from a local server that behaves, breaks off, lies about lengths or serves wrong bytes.

mod common;

use bn_train::data::fetch::{Downloadable, FetchError, Member, RemoteFile, Watcher, fetch};
use common::{folder, program, text};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// SHA-256 of 0, 1, …, 255, forty times over: `python3 -c "import hashlib; print(hashlib.sha256(bytes(range(256)) * 40).hexdigest())"`.
const SHA: &str = "e96760a87768717bcebcfd25ddc7d46b4dbc95a4b0014def080c08539f7d90d0";

fn content() -> Vec<u8> {
    (0..=255).cycle().take(256 * 40).collect()
}

/// How the server responds to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Correctly.
    Good,
    /// Declares the right length and closes after this many bytes.
    BreaksOff(usize),
    /// Always sends the full file, whatever range was requested.
    IgnoresRanges,
    /// As [`Manner::IgnoresRanges`], but closes after this many bytes.
    IgnoresRangesAndBreaksOff(usize),
    /// Declares a range from the start when asked for the rest.
    WrongRange,
    /// Changes one byte.
    WrongByte,
    /// Sends and declares this many extra bytes.
    TooLong(usize),
    /// Sends and declares this many bytes less.
    TooShort(usize),
    /// Responds with a status and no file.
    Status(u16),
    /// Declares a length of 2^60.
    HugeLength,
    /// Closes without a response.
    Silent,
}

/// A server that responds to successive requests in the given manners, repeating the last one.
struct Server {
    address: String,
    requests: Arc<AtomicUsize>,
    ranges: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(content: Vec<u8>, manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let (counted, asked, manners) =
            (Arc::clone(&requests), Arc::clone(&ranges), manners.to_vec());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let manner = manners[number.min(manners.len() - 1)];
                // Ignore clients that disconnect early.
                let _ = answer(connection, &content, manner, &asked);
            }
        });
        Self { address, requests, ranges }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(
    mut stream: TcpStream,
    content: &[u8],
    manner: Manner,
    ranges: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut start = 0;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: ") {
            ranges.lock().unwrap().push(range.to_owned());
            let from = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
            start = from.parse().unwrap();
        }
    }
    let ignores = matches!(manner, Manner::IgnoresRanges | Manner::IgnoresRangesAndBreaksOff(_));
    let start = if ignores { 0 } else { start };
    let mut body = content[start..].to_vec();
    let mut length = body.len();
    match manner {
        Manner::BreaksOff(after) | Manner::IgnoresRangesAndBreaksOff(after) => body.truncate(after),
        Manner::WrongByte => body[7] ^= 1,
        Manner::TooLong(more) => {
            body.extend(vec![0; more]);
            length = body.len();
        }
        Manner::TooShort(less) => {
            body.truncate(body.len() - less);
            length = body.len();
        }
        Manner::HugeLength => length = 1 << 60,
        Manner::Status(status) => {
            return write!(
                stream,
                "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Manner::Silent => return Ok(()),
        Manner::Good | Manner::IgnoresRanges | Manner::WrongRange => {}
    }
    let shown = if manner == Manner::WrongRange { 0 } else { start };
    let head = if start > 0 {
        let last = content.len() - 1;
        format!("206 Partial Content\r\nContent-Range: bytes {shown}-{last}/{}", content.len())
    } else {
        "200 OK".to_owned()
    };
    write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&body)
}

/// A watcher that keeps the notes.
#[derive(Default)]
struct Notes(Vec<String>);

impl Watcher for Notes {
    fn begin(&mut self, _name: &str, _bytes: Option<u64>, _there: u64) {}
    fn at(&mut self, _there: u64) {}
    fn done(&mut self, _name: &str, _was_there: bool) {}
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

fn one_file(bytes: Option<u64>) -> Downloadable {
    Downloadable {
        name: "test".to_owned(),
        urls: Vec::new(),
        files: vec![RemoteFile { name: "file".to_owned(), bytes, sha256: SHA.to_owned() }],
        unpacked: Vec::new(),
    }
}

fn fetch_from(server: &Server, folder: &Path) -> Result<(), FetchError> {
    fetch(&one_file(Some(10_240)), folder, Some(&server.address), &mut Notes::default())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn complete_file_is_not_downloaded_again() {
    let (server, folder) = (Server::start(content(), &[Manner::Good]), folder());
    for _ in 0..2 {
        fetch_from(&server, folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), content());
        assert_eq!((names(folder.path()), server.requests()), (vec!["file".to_owned()], 1));
    }
    // A damaged file is downloaded again.
    fs::write(folder.path().join("file"), vec![0; 10_240]).unwrap();
    fetch_from(&server, folder.path()).unwrap();
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), content());
}

#[test]
fn broken_download_resumes_where_it_stopped() {
    let manners = [Manner::BreaksOff(1000), Manner::BreaksOff(2000), Manner::Silent, Manner::Good];
    let (server, folder) = (Server::start(content(), &manners), folder());
    fetch_from(&server, folder.path()).unwrap();
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), content());
    assert_eq!(*server.ranges.lock().unwrap(), ["bytes=1000-", "bytes=3000-", "bytes=3000-"]);
}

#[test]
fn server_without_range_support_works() {
    let manners = [Manner::BreaksOff(1000), Manner::IgnoresRanges];
    let (server, folder) = (Server::start(content(), &manners), folder());
    fetch_from(&server, folder.path()).unwrap();
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), content());

    // Give up if there is no progress.
    let never = Server::start(content(), &[Manner::IgnoresRangesAndBreaksOff(5000)]);
    let again = common::folder();
    let error = fetch_from(&never, again.path()).unwrap_err().to_string();
    assert!(error.contains("after 5000 bytes") && never.requests() < 8, "{error}");
    assert!(!again.path().join("file").exists());
}

#[test]
fn wrong_content_never_gets_the_final_name() {
    for (manner, expected) in [
        (Manner::WrongByte, "SHA-256 "),
        (Manner::TooLong(1), "more than 10240 bytes; expected 10240"),
        (Manner::TooShort(1), "10239 bytes; expected 10240"),
        (Manner::HugeLength, "after 10240 bytes"),
        (Manner::Status(404), "the server responded with status 404"),
        (Manner::Status(503), "the server responded with status 503"),
        (Manner::Silent, ""),
    ] {
        let (server, folder) = (Server::start(content(), &[manner]), folder());
        match fetch_from(&server, folder.path()) {
            // All bytes arrived before the connection closed, and they are correct.
            Ok(()) => assert_eq!(manner, Manner::HugeLength),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains(expected) && error.contains(&server.address),
                    "{manner:?}: {error}"
                );
                assert!(!folder.path().join("file").exists(), "{manner:?}");
            }
        }
        assert!(server.requests() < 8, "{manner:?}: {} requests", server.requests());
    }
}

#[test]
fn wrong_range_restarts_the_download() {
    let manners = [Manner::BreaksOff(1000), Manner::WrongRange, Manner::Good];
    let (server, folder) = (Server::start(content(), &manners), folder());
    fetch_from(&server, folder.path()).unwrap();
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), content());
}

#[test]
fn partial_file_with_wrong_bytes_is_discarded() {
    let (server, folder) = (Server::start(content(), &[Manner::Good]), folder());
    fs::write(folder.path().join(".file.partial"), [9; 500]).unwrap();
    // The first call resumes from the wrong bytes, which the digest detects. The next call starts over.
    let error = fetch_from(&server, folder.path()).unwrap_err().to_string();
    assert!(error.contains("SHA-256"), "{error}");
    fetch_from(&server, folder.path()).unwrap();
    assert_eq!(names(folder.path()), ["file"]);
}

/// A `.tar.gz` of files with these names and contents.
fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        // Write the name directly, because the builder refuses paths outside the folder.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fetch_archive(bytes: Vec<u8>, folder: &Path) -> Result<(), FetchError> {
    let file = RemoteFile { name: "all.tar.gz".to_owned(), bytes: None, sha256: sha256(&bytes) };
    let member = |name: &str, bytes| Member { name: name.to_owned(), bytes };
    let data = Downloadable {
        name: "test".to_owned(),
        urls: vec![Server::start(bytes, &[Manner::Good]).address],
        files: vec![file],
        unpacked: vec![member("a.bin", 100), member("b.bin", 3)],
    };
    fetch(&data, folder, None, &mut Notes::default())
}

#[test]
fn archive_yields_only_the_expected_files() {
    let outer = folder();
    let inner = outer.path().join("inner");
    let files = [
        ("data/a.bin", vec![1; 100]),
        ("../evil.bin", vec![6; 10]),
        ("/tmp/bn-train-evil.bin", vec![6; 10]),
        ("../b.bin", vec![2; 3]),
        ("notes.txt", vec![3; 5]),
    ];
    fetch_archive(archive(&files), &inner).unwrap();
    assert_eq!(names(&inner), ["a.bin", "b.bin", "bn-train.sha256"]);
    assert_eq!(fs::read(inner.join("b.bin")).unwrap(), [2; 3]);
    // No path of a member was followed.
    assert_eq!(names(outer.path()), ["inner"]);
    assert!(!Path::new("/tmp/bn-train-evil.bin").exists());
}

#[test]
fn malformed_archives_are_refused() {
    let good = || ("a.bin", vec![1; 100]);
    for (files, expected) in [
        (vec![good()], "missing, \"b.bin\""),
        (vec![good(), ("b.bin", vec![2; 4])], "4 bytes; expected 3, \"b.bin\""),
        (vec![good(), ("x/a.bin", vec![1; 100])], "occurs twice, \"x/a.bin\""),
        // 64 MiB of zeros, which exceeds the limit.
        (vec![("zeros", vec![0; 1 << 26]), good(), ("b.bin", vec![2; 3])], "not a valid archive"),
    ] {
        let folder = folder();
        let error = fetch_archive(archive(&files), folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!folder.path().join("b.bin").exists());
    }
    let folder = folder();
    let error = fetch_archive(b"not an archive".to_vec(), folder.path()).unwrap_err().to_string();
    assert!(error.contains("all.tar.gz: not a valid archive"), "{error}");
}

#[test]
fn fetch_command_reports_the_reason_for_each_file() {
    let (server, folder) = (Server::start(content(), &[Manner::Good]), folder());
    let fetch = |name: &str| {
        let arguments = ["data", "fetch", name, "--from", &server.address, "--to"];
        program().args(arguments).arg(folder.path()).output().unwrap()
    };
    let output = fetch("mnist");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        message.contains("train-images-idx3-ubyte.gz: 10240 bytes; expected 9912422"),
        "{message}"
    );
    assert!(!folder.path().join("train-images-idx3-ubyte.gz").exists());
    let unknown = text(&fetch("minst").stderr);
    assert!(unknown.contains("did you mean mnist?"), "{unknown}");
}
