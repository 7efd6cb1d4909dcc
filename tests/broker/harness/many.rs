//! Fleets of many devices, made at once: one SQL script instead of a command for each.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use mosquitto_warden::credential::psk::Psk;
use mosquitto_warden::key_file;

use super::{Fleet, Login};

impl Fleet {
    /// Runs a script in the sqlite3 shell, as many statements as there may be.
    pub(crate) fn sql_script(&self, script: &str) {
        let mut shell = Command::new("sqlite3")
            .args(["-bail", "-cmd", ".timeout 10000"])
            .arg(self.database())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the sqlite3 shell is missing: make deps");
        shell.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("the shell reads it all");
        let output = shell.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// New devices with a pre-shared key each, all of this role.
    pub(crate) fn psk_devices(&self, names: &[String], role: &str) -> Vec<Login> {
        let sealing = key_file::read(&self.key_file()).unwrap();
        let mut script = String::from("BEGIN;\n");
        let mut logins = Vec::new();
        for name in names {
            let psk = Psk::generate(32).unwrap();
            let (sealed, digest) = (sealing.seal(name, &psk).unwrap(), sealing.digest(&psk));
            writeln!(
                script,
                "INSERT INTO devices (name) VALUES ('{name}');
                 INSERT INTO credentials (device_id, kind, identity, secret, secret_digest)
                     SELECT id, 'psk', name, '{sealed}', '{digest}' FROM devices WHERE name = '{name}';
                 INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r WHERE d.name = '{name}' AND r.name = '{role}';"
            )
            .unwrap();
            logins.push(Login::psk(name.as_str(), &psk.hex()));
        }
        script.push_str("COMMIT;\n");
        self.sql_script(&script);
        logins
    }
}
