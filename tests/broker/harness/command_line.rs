//! `mosquitto_pub` and `mosquitto_sub`, as people type them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::{Broker, Login, PATIENCE};

/// How a program ended, and what it complained about.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self { code: output.status.code(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

impl Broker {
    /// `mosquitto_pub` with these arguments, to its end. A message at QoS 0 that is denied still exits with 0.
    pub(crate) fn mosquitto_pub(&self, login: &Login, arguments: &[&str]) -> Outcome {
        self.program("mosquitto_pub", login).args(arguments).output().expect("no mosquitto_pub: make deps").into()
    }

    /// `mosquitto_sub` with these arguments, to its end.
    pub(crate) fn mosquitto_sub(&self, login: &Login, arguments: &[&str]) -> Outcome {
        self.program("mosquitto_sub", login).args(arguments).output().expect("no mosquitto_sub: make deps").into()
    }

    /// `mosquitto_sub` that is subscribed, and goes on.
    pub(crate) fn subscriber(&self, login: &Login, client_id: &str, filter: &str) -> Subscriber {
        let mut child = self
            .program("mosquitto_sub", login)
            .args(["-d", "-i", client_id, "-t", filter])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("no mosquitto_sub: make deps");
        let (send, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut subscriber = Subscriber { child, lines };
        subscriber.wait_for_line("Subscribed (mid: 1)");
        subscriber
    }

    fn program(&self, name: &str, login: &Login) -> Command {
        // Its debug lines come when they are written, not when a buffer is full.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", name, "-h", "127.0.0.1", "-p"]);
        let port = self.port(login.listen()).to_string();
        match login {
            Login::Certificate { certificate, key } => {
                command.arg(port);
                command.arg("--cafile").arg(key.with_file_name("ca.crt"));
                command.arg("--cert").arg(certificate).arg("--key").arg(key);
            }
            Login::Psk { identity, key } => {
                let identity = str::from_utf8(identity).expect("a program takes UTF-8 only");
                command.arg(port);
                command.args(["--psk-identity", identity, "--psk", key]);
            }
            Login::Password { user_name, password, ca } => {
                command.arg(port).arg("--cafile").arg(ca);
                command.args(["-u", str::from_utf8(user_name).expect("a program takes UTF-8 only")]);
                if let Some(password) = password {
                    command.args(["-P", str::from_utf8(password).expect("a program takes UTF-8 only")]);
                }
            }
        }
        command.stdin(Stdio::null());
        command
    }
}

/// A `mosquitto_sub` that is running.
#[derive(Debug)]
pub(crate) struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

impl Subscriber {
    /// Reads on until a line contains this text.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("mosquitto_sub did not print `{text}` but:\n{}", seen.join("\n"));
    }

    /// Reads on until the broker has ended its connection; `mosquitto_sub` would connect again, and again.
    pub(crate) fn wait_until_disconnected(mut self) {
        // It prints no line for that, but for the next CONNECT; where the handshake is refused, it ends.
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains("sending CONNECT") {
                return;
            }
            seen.push(line);
        }
        let ended = self.child.try_wait().unwrap().is_some();
        assert!(ended, "`mosquitto_sub` stayed connected:\n{}", seen.join("\n"));
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
