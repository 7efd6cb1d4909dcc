//! A throw-away certificate authority, and what a client shows to a broker.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Listen;
use super::leaf::{Leaf, subject};

/// What a client proves its identity with.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    Certificate {
        certificate: PathBuf,
        key: PathBuf,
    },
    Psk {
        identity: Vec<u8>,
        key: String,
    },
    /// In CONNECT, whatever else that says; the broker is known by the CA in this file.
    Password {
        user_name: Vec<u8>,
        password: Option<Vec<u8>>,
        ca: PathBuf,
    },
}

impl Login {
    /// Where it is shown.
    pub(crate) fn listen(&self) -> Listen {
        match self {
            Self::Certificate { .. } => Listen::Certificates,
            Self::Psk { .. } => Listen::Psk,
            Self::Password { .. } => Listen::Passwords,
        }
    }

    /// A pre-shared key, in hexadecimal digits.
    pub(crate) fn psk(identity: impl Into<Vec<u8>>, key: &str) -> Self {
        Self::Psk { identity: identity.into(), key: key.to_owned() }
    }
}

/// A CA in a directory of its own; all devices share one key pair, which nobody notices and saves time.
#[derive(Debug)]
pub(crate) struct Ca {
    directory: PathBuf,
}

impl Ca {
    /// Makes `ca.crt` and `server.crt` with their keys, and the key of the devices.
    pub(crate) fn new(directory: &Path) -> Self {
        let ca = Self { directory: directory.to_owned() };
        for name in ["ca", "server", "device"] {
            openssl(
                &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                &[("-out", &ca.key(name))],
            );
        }
        let root = ["req", "-x509", "-subj", "/CN=throw-away CA", "-days", "30"];
        openssl(&root, &[("-key", &ca.key("ca")), ("-out", &ca.certificate_file("ca"))]);
        ca.sign("/CN=localhost", "server", "server", &["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        ca
    }

    /// A certificate whose subject has this common name, made by the openssl command.
    pub(crate) fn device(&self, common_name: &str) -> Login {
        let escaped: String =
            common_name.chars().flat_map(|c| if r"/+\=,".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
        let file = hex(common_name.as_bytes());
        self.sign(&format!("/CN={escaped}"), &file, "device", &["-utf8"]);
        Login::Certificate { certificate: self.certificate_file(&file), key: self.key("device") }
    }

    /// A certificate whose common name is any bytes at all, which the openssl command would not make.
    pub(crate) fn device_with_raw_name(&self, common_name: &[u8]) -> Login {
        self.issue(&self.root(), &Leaf { subject: name_der(common_name), ..Leaf::default() })
    }

    /// A user name and a password, for a broker of this CA.
    pub(crate) fn password(&self, user_name: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Login {
        let ca = self.certificate_file("ca");
        Login::Password { user_name: user_name.into(), password: Some(password.into()), ca }
    }

    pub(crate) fn certificate_file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.crt"))
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.key"))
    }

    fn sign(&self, subject: &str, name: &str, key: &str, more: &[&str]) {
        let request =
            ["req", "-x509", "-days", "30", "-subj", subject, "-addext", "basicConstraints=critical,CA:FALSE"];
        openssl(
            &[&request[..], more].concat(),
            &[
                ("-CA", &self.certificate_file("ca")),
                ("-CAkey", &self.key("ca")),
                ("-key", &self.key(key)),
                ("-out", &self.certificate_file(name)),
            ],
        );
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn openssl(arguments: &[&str], files: &[(&str, &Path)]) {
    let mut command = Command::new("openssl");
    command.args(arguments);
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    let output = command.output().expect("the openssl command is missing: make deps");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A subject with nothing but this common name: as a `UTF8String` where it is one, and else as a `T61String`, which OpenSSL
/// takes for Latin-1 and lets pass.
fn name_der(common_name: &[u8]) -> Vec<u8> {
    let tag = if str::from_utf8(common_name).is_ok() { 0x0C } else { 0x14 };
    subject(&[(3, tag, common_name)])
}

pub(super) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap());
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | u8::try_from(bytes.len()).unwrap());
        out.extend(bytes);
    }
    out.extend(content);
    out
}
