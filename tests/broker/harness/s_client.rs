//! `openssl s_client`: it says which alert it was sent, saves TLS sessions, and comes back with them.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use super::{Broker, Connect, Listen, Login, PATIENCE, TlsVersion};

/// What it does about TLS sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tickets<'a> {
    Ignore,
    /// Saves the session that it makes.
    Save(&'a Path),
    /// Comes back with one that it has saved.
    Show(&'a Path),
}

/// One connection, which it keeps until it is dropped.
#[derive(Debug)]
pub(crate) struct SClient {
    child: Child,
    output: Receiver<Vec<u8>>,
    /// What it printed, and what the broker sent.
    pub(crate) seen: Vec<u8>,
    errors: Option<thread::JoinHandle<String>>,
    login: Login,
}

impl SClient {
    /// Begins the handshake: with a certificate on this listener, with a key on that for keys.
    pub(crate) fn start(
        broker: &Broker,
        listen: Listen,
        login: &Login,
        tls: TlsVersion,
        tickets: Tickets<'_>,
        more: &[&str],
    ) -> Self {
        let mut command = Command::new("openssl");
        // Without -nocommands it takes some of our bytes for its own commands.
        command.args(["s_client", "-nocommands", "-connect", &format!("127.0.0.1:{}", broker.port(listen))]);
        command.args(match tls {
            TlsVersion::Any => None,
            TlsVersion::V12 => Some("-tls1_2"),
            TlsVersion::V13 => Some("-tls1_3"),
        });
        match login {
            Login::Certificate { certificate, key } => {
                command.arg("-CAfile").arg(key.with_file_name("ca.crt"));
                command.arg("-cert").arg(certificate).arg("-key").arg(key);
            }
            Login::Password { ca, .. } => {
                command.arg("-CAfile").arg(ca);
            }
            Login::Psk { identity, key } => {
                command.args(["-psk_identity", str::from_utf8(identity).unwrap(), "-psk", key, "-cipher", "PSK"]);
            }
        }
        match tickets {
            Tickets::Ignore => &mut command,
            Tickets::Save(file) => command.arg("-sess_out").arg(file),
            Tickets::Show(file) => command.arg("-sess_in").arg(file),
        };
        command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the openssl command is missing: make deps");
        let (sender, output) = channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        thread::spawn(move || pass_on(stdout, &sender));
        let errors = Some(thread::spawn(move || read_all(stderr)));
        Self { child, output, seen: Vec::new(), errors, login: login.clone() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // It may have ended already: then there is nobody to hear it.
        let _ = self.child.stdin.as_mut().unwrap().write_all(bytes);
    }

    /// Reads until this has come; `false` if the connection ends without.
    pub(crate) fn reads(&mut self, wanted: &[u8]) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.windows(wanted.len()).any(|window| window == wanted) {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.seen.extend(chunk),
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("`s_client` never read {wanted:02x?} but:\n{}", String::from_utf8_lossy(&self.seen))
                }
            }
        }
        true
    }

    /// CONNECT, and whether the answer is that it is accepted. On a listener for WebSockets, all that it takes there.
    pub(crate) fn is_let_in(&mut self, listen: Listen, client_id: &str) -> bool {
        let connect = Connect::v311(client_id).by(&self.login).encode();
        let accepted = [0x20, 2, 0, 0];
        if listen != Listen::WebSockets {
            self.send(&connect);
            return self.reads(&accepted);
        }
        self.send(
            b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Protocol: mqtt\r\n\r\n",
        );
        if !self.reads(b"101 Switching Protocols") {
            return false;
        }
        // One binary frame (RFC 6455, section 5.2), masked with zeros.
        let length = 0x80 | u8::try_from(connect.len()).unwrap();
        self.send(&[&[0x82, length, 0, 0, 0, 0][..], &connect].concat());
        self.reads(&accepted)
    }

    /// Whether the session is one that it came back with, where the handshake was completed on its side.
    pub(crate) fn is_resumed(&mut self) -> bool {
        assert!(self.reads(b", Cipher is"), "no word of the session: {}", String::from_utf8_lossy(&self.seen));
        self.seen.windows(8).any(|window| window == b"Reused, ")
    }

    /// The TLS alert with which the broker ends the connection; it has to end it.
    pub(crate) fn alert(mut self) -> Option<u8> {
        let nothing_has_this = [0xFF; 64];
        assert!(!self.reads(&nothing_has_this));
        let errors = self.errors.take().unwrap().join().unwrap();
        let (_, number) = errors.split_once("SSL alert number ")?;
        Some(number.lines().next().unwrap().trim().parse().unwrap())
    }
}

impl Drop for SClient {
    /// At the end of its input it ends the connection in order.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pass_on(mut stdout: impl Read, sender: &Sender<Vec<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stdout.read(&mut chunk) {
        if sender.send(chunk[..length].to_vec()).is_err() {
            return;
        }
    }
}

fn read_all(mut stderr: impl Read) -> String {
    let mut all = Vec::new();
    let _ = stderr.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}
