use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use crate::harness::{Broker, Client, Connect, Listen, Login, Version, frame, string, subscribe};
use crate::listeners::{MINE, OTHER, Setting, on_every_listener};

on_every_listener! {
    a_revoked_device_gains_nothing_from_a_saved_tls_session,
}

/// `openssl s_client`, which can save a TLS session and come back with it.
struct SClient {
    child: Child,
    seen: Vec<u8>,
}

impl SClient {
    fn start(broker: &Broker, login: &Login, version: &str, more: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", version, "-connect"]);
        match login {
            Login::Certificate { certificate, key } => {
                command.arg(format!("127.0.0.1:{}", broker.port(Listen::Certificates)));
                command.arg("-CAfile").arg(key.with_file_name("ca.crt"));
                command.arg("-cert").arg(certificate).arg("-key").arg(key);
            }
            Login::Psk { identity, key } => {
                command.arg(format!("127.0.0.1:{}", broker.port(Listen::Psk)));
                command.args(["-psk_identity", str::from_utf8(identity).unwrap(), "-psk", key, "-cipher", "PSK"]);
            }
        }
        command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), seen: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        // It may have ended already: then there is nobody to hear it.
        let _ = self.child.stdin.as_mut().unwrap().write_all(bytes);
    }

    /// Reads until this has come; `false` if it never does.
    fn reads(&mut self, wanted: &[u8]) -> bool {
        let mut chunk = [0; 4096];
        while !self.seen.windows(wanted.len()).any(|window| window == wanted) {
            match self.child.stdout.as_mut().unwrap().read(&mut chunk).unwrap() {
                0 => return false,
                length => self.seen.extend(&chunk[..length]),
            }
        }
        true
    }
}

impl Drop for SClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_revoked_device_gains_nothing_from_a_saved_tls_session(setting: &Setting) {
    let connect = Connect::v311(MINE).encode();
    for version in ["-tls1_2", "-tls1_3"] {
        let file = setting.fleet.path("session");
        let _ = fs::remove_file(&file);
        let path = file.to_str().unwrap();
        let mut first = SClient::start(&setting.broker, &setting.mine, version, &["-sess_out", path]);
        first.send(&connect);
        assert!(first.reads(&[0x20, 2, 0, 0]), "{version}: {}", String::from_utf8_lossy(&first.seen));
        drop(first);

        setting.fleet.set_status(MINE, "revoked");
        let mut other = setting.admits(&setting.other, OTHER);
        setting.fleet.warden(&["rule", "add", "sensor", "allow", "publish", "devices/+/cmd"]);

        // A broker that saves no sessions has nothing that could be gained.
        if file.exists() {
            let mut again = SClient::start(&setting.broker, &setting.mine, version, &["-sess_in", path]);
            again.send(&connect);
            again.send(&subscribe(Version::V311, b"devices/device-001/cmd", 0, 1));
            let publish = [&string(b"devices/device-002/cmd")[..], b"forged"].concat();
            again.send(&frame(0x30, &publish));
            // SUBACK, granted.
            assert!(!again.reads(&[0x90, 3, 0, 1, 0]), "{version}: a revoked device has subscribed");
        }
        other.publish("devices/device-002/cmd", "genuine");
        assert_eq!(other.next_message().unwrap().1, "genuine");
        setting.fleet.set_status(MINE, "active");
        setting.fleet.sql("DELETE FROM rules WHERE topic = 'devices/+/cmd'");
        // A good device is not locked out by a session that it has saved.
        Client::connect(&setting.broker, &setting.mine, &Connect::v5(MINE)).ping().unwrap();
    }
}
