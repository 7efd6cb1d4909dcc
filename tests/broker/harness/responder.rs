//! `openssl ocsp` as an authority's responder (RFC 6960).

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::{Authority, Fleet, Login};

/// What it is to say of a certificate; of all others it says that it does not know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Good,
    Revoked,
}

/// A responder that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Responder {
    child: Child,
    index: PathBuf,
    /// How often it was told what to say.
    words: AtomicU64,
    port: u16,
}

impl Responder {
    /// Answers for the fleet's own CA, with answers that this authority signs, on any port that is free.
    pub(crate) fn start(fleet: &Fleet, signer: &Authority) -> Self {
        Self::start_on(fleet, signer, 0)
    }

    /// The same on this port.
    pub(crate) fn start_on(fleet: &Fleet, signer: &Authority, port: u16) -> Self {
        let [certificate, key, index] = ["signer.crt", "signer.key", "index"].map(|name| fleet.path("etc").join(name));
        fs::write(&certificate, signer.certificate.to_pem().unwrap()).unwrap();
        fs::write(&key, signer.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        if !index.exists() {
            fs::write(&index, "").unwrap();
        }
        let mut child = Command::new("openssl")
            .args(["ocsp", "-nmin", "60", "-port", &port.to_string(), "-index"])
            .arg(&index)
            .arg("-CA")
            .arg(fleet.ca.certificate_file("ca"))
            .arg("-rsigner")
            .arg(&certificate)
            .arg("-rkey")
            .arg(&key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the openssl command is missing: make deps");
        // It says `ACCEPT [::]:32895 PID=26498` as soon as it listens.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split_whitespace().nth(1).and_then(|address| address.rsplit(':').next()?.parse().ok());
        let port = port.unwrap_or_else(|| panic!("the responder says `{line}`"));
        Self { child, index, words: AtomicU64::new(0), port }
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on it says this, and nothing else.
    pub(crate) fn says(&self, words: &[(&Login, Word)]) {
        // It looks at the inode, which may be that of an earlier file again, and at the second of the last change.
        let words_before = self.words.fetch_add(1, Ordering::Relaxed);
        write_index(&self.index, words, SystemTime::UNIX_EPOCH + Duration::from_secs(words_before));
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

/// The file that `openssl ca` would keep: status, end, when and why it was revoked, serial number, file, subject.
fn write_index(file: &Path, words: &[(&Login, Word)], modified: SystemTime) {
    let line = |(login, word): &(&Login, Word)| {
        let (status, revoked) = match word {
            Word::Good => ('V', ""),
            Word::Revoked => ('R', "250101000000Z,keyCompromise"),
        };
        let serial = login.x509().serial_number().to_bn().unwrap().to_hex_str().unwrap().to_uppercase();
        format!("{status}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN=device\n")
    };
    // Whoever reads it meanwhile reads a whole one.
    let half = file.with_extension("half");
    fs::write(&half, words.iter().map(line).collect::<String>()).unwrap();
    File::options().write(true).open(&half).unwrap().set_modified(modified).unwrap();
    fs::rename(half, file).unwrap();
}
