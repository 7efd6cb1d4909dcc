use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use url::Url;

use crate::harness::{Broker, Fleet, Listen, eventually, give_to_broker, installed};
use crate::servers::{Kind, OnServer, answer};

/// What `docker compose up` runs, in a directory instead of containers and volumes.
struct Compose {
    fleet: Fleet,
    /// A server's; the script makes its own database beside this one.
    server: OnServer,
    socket: String,
    port: String,
}

/// Where the container has the broker's files, and the directory that stands for it here.
const BROKER: &str = "volumes/broker";

impl Compose {
    fn new() -> Self {
        let (fleet, server) = (Fleet::without_database(), OnServer::new(Kind::Postgres));
        for volume in ["secrets", "authority", "broker", "devices"] {
            fs::create_dir_all(fleet.path("volumes").join(volume)).unwrap();
        }
        give_to_broker(&fleet.path(BROKER));
        let socket = server.sql("SHOW unix_socket_directories");
        let port = Url::parse(server.address()).unwrap().port().unwrap().to_string();
        // Here they need a password, as all do there.
        server
            .sql("CREATE ROLE fleet_owner LOGIN IN ROLE by_password; CREATE ROLE mosquitto LOGIN IN ROLE by_password");
        Self { fleet, server, socket, port }
    }

    fn database(&self) -> String {
        format!("{}_fleet", Url::parse(self.server.address()).unwrap().path().trim_matches('/'))
    }

    fn volume(&self, name: &str) -> String {
        self.fleet.path(&format!("volumes/{name}")).into_os_string().into_string().unwrap()
    }

    /// One of the scripts in the images.
    fn script(&self, name: &str) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("mosquitto-conf/docker");
        let warden = Path::new(env!("CARGO_BIN_EXE_warden")).parent().unwrap();
        let mut command = Command::new(scripts.join(name));
        command
            .env("PATH", format!("{}:{}", warden.display(), std::env::var("PATH").unwrap()))
            .env("WARDEN_SECRETS", self.volume("secrets"))
            .env("WARDEN_AUTHORITY", self.volume("authority"))
            .env("WARDEN_BROKER", self.volume("broker"))
            .env("WARDEN_DEVICES", self.volume("devices"))
            .env("WARDEN_SOCKET", &self.socket)
            .env("WARDEN_PORT", &self.port)
            .env("WARDEN_SUPERUSER", "warden")
            .env("WARDEN_FLEET", self.database())
            .env("WARDEN_BROKER_HOST", "localhost")
            .stdin(Stdio::null());
        command
    }

    /// What happens before the broker starts.
    fn set_up(&self) -> String {
        let passwords = answer(self.script("passwords.sh").output().unwrap()).unwrap();
        let said = answer(self.script("setup.sh").output().unwrap()).unwrap();
        for entry in fs::read_dir(self.fleet.path(BROKER)).unwrap() {
            give_to_broker(&entry.unwrap().path());
        }
        passwords + &said
    }

    /// The image's configuration, with our paths in it.
    fn configuration(&self) -> String {
        let main = self.fleet.configuration("docker/mosquitto.conf");
        let include = "include_dir /etc/mosquitto/conf.d";
        assert!(main.contains(include));
        let listeners = self.fleet.configuration("fleet.conf");
        let etc = self.fleet.path("etc").into_os_string().into_string().unwrap();
        main.replace(include, &listeners.replace(&etc, &self.volume("broker")))
    }

    fn warden(&self, arguments: &[&str]) -> Output {
        let config = self.fleet.path("volumes/authority/warden.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_warden"));
        command.args(arguments).env("WARDEN_CONFIG", config).stdin(Stdio::null()).output().unwrap()
    }

    /// What a sample device is told when it publishes.
    fn sample(&self, broker: &Broker, which: &str) -> Result<String, String> {
        let listen = if which == "psk" { Listen::Psk } else { Listen::Certificates };
        answer(
            self.script("sample.sh")
                .arg(which)
                .env("WARDEN_BROKER_PORT", broker.port(listen).to_string())
                .output()
                .unwrap(),
        )
    }

    fn healthy(&self, broker: &Broker) -> Result<String, String> {
        let port = broker.port(Listen::Certificates).to_string();
        answer(self.script("healthy.sh").env("WARDEN_BROKER_PORT", port).output().unwrap())
    }

    /// What the plugin's own user is answered by the server.
    fn as_plugin(&self, sql: &str) -> Result<String, String> {
        self.as_user("mosquitto", sql)
    }

    fn as_user(&self, user: &str, sql: &str) -> Result<String, String> {
        let password = fs::read_to_string(self.fleet.path("volumes/secrets").join(user)).unwrap();
        let mut psql = Command::new("psql");
        psql.args(["-XqAt", "-h", &self.socket, "-p", &self.port, "-U", user, "-d", &self.database(), "-c", sql]);
        answer(psql.env("PGPASSWORD", password.trim()).stdin(Stdio::null()).output().unwrap())
    }

    /// Every file of the volumes, and what is in it.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for volume in fs::read_dir(self.fleet.path("volumes")).unwrap() {
            for file in fs::read_dir(volume.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                files.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
        files.sort();
        files
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        for statement in [
            format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database()),
            "DROP ROLE fleet_owner, mosquitto".to_owned(),
        ] {
            self.server.sql(&statement);
        }
    }
}

#[test]
fn what_compose_runs_makes_a_fleet_that_works_and_keeps_it() {
    let compose = Compose::new();
    let said = compose.set_up();
    let made = compose.files();
    let secrets = made.iter().filter(|(path, _)| path.contains("/secrets/") || path.ends_with("psk.key"));
    let secrets: Vec<String> =
        secrets.map(|(_, text)| String::from_utf8(text.clone()).unwrap().trim().to_owned()).collect();
    assert_eq!(secrets.len(), 4, "three passwords and a key");
    assert!(secrets.iter().all(|secret| secret.len() == 64 && !said.contains(secret)), "{said}");
    // Least rights.
    assert_eq!(compose.as_plugin("SELECT count(*) FROM devices").unwrap(), "3");
    for sql in ["UPDATE devices SET status = 'active'", "CREATE TABLE mine (id int)", "SELECT * FROM user_names"] {
        let refused = compose.as_plugin(sql).unwrap_err();
        assert!(refused.contains("permission denied"), "{sql}: {refused}");
    }

    for mosquitto in installed() {
        let broker = compose.fleet.start_with(&mosquitto, &compose.configuration());
        compose.healthy(&broker).unwrap();
        for which in ["certificate", "psk"] {
            let name = format!("sample-{which}");
            assert_eq!(compose.sample(&broker, which).unwrap(), "published", "{}", mosquitto.name);
            answer(compose.warden(&["device", "revoke", &name])).unwrap();
            // One that comes while the broker is told is thrown off instead.
            let line = format!("action=handshake user={name} device={name} reason=device-revoked");
            let refused = eventually("the sample device is refused in the handshake", || {
                let refused = compose.sample(&broker, which).err()?;
                broker.log().contains(&line).then_some(refused)
            });
            assert!(refused.starts_with("refused: "), "{refused}");
            // The next `docker compose up` does not bring it back, nor anything else.
            assert!(!compose.set_up().contains("added"), "{}", mosquitto.name);
            assert!(compose.sample(&broker, which).is_err());
            answer(compose.warden(&["device", "activate", &name])).unwrap();
            compose.as_user("fleet_owner", "UPDATE credentials SET status = 'active'").unwrap();
            eventually("the sample device is back", || compose.sample(&broker, which).ok());
        }
        answer(compose.warden(&["device", "suspend", "healthcheck"])).unwrap();
        eventually("the check asks the broker, and is refused", || compose.healthy(&broker).err());
        answer(compose.warden(&["device", "activate", "healthcheck"])).unwrap();
        eventually("the broker is well", || compose.healthy(&broker).ok());
        let (_, log) = broker.stop();
        assert!(secrets.iter().all(|secret| !log.contains(secret)), "{log}");
    }
    assert!(compose.files() == made, "nothing was made twice");
}
