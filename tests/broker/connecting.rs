use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use url::Url;

use crate::harness::{Client, Connect, Fleet, Login, Mosquitto, give_to_broker, on_every_broker};
use crate::servers::{Kind, PgBouncer, authority, with_parameters};

const PASSWORD: &str = "s3cret";

/// A user of the server's who has a password and no rights but those that the plugin needs. Those who do not come by TLS
/// are refused by MariaDB itself.
struct PluginUser<'f> {
    fleet: &'f Fleet,
    kind: Kind,
    name: String,
}

impl<'f> PluginUser<'f> {
    fn new(fleet: &'f Fleet, kind: Kind) -> Self {
        let name = format!("plugin_of_{}", Url::parse(&fleet.place()).unwrap().path().trim_matches('/'));
        fleet.sql(&match kind {
            Kind::Postgres => format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' IN ROLE by_password"),
            _ => format!("CREATE USER {name} IDENTIFIED BY '{PASSWORD}' REQUIRE SSL"),
        });
        for statement in fleet.warden(&["db", "grant-sql", "--plugin-role", &name]).lines() {
            fleet.sql(statement);
        }
        Self { fleet, kind, name }
    }

    /// The address of the database for this user.
    fn address(&self, host: &str, password: Option<&str>, parameters: &[(&str, &str)]) -> String {
        let mut address = Url::parse(&with_parameters(&self.fleet.place(), parameters)).unwrap();
        address.set_host(Some(host)).unwrap();
        address.set_username(&self.name).unwrap();
        address.set_password(password).unwrap();
        address.into()
    }
}

impl Drop for PluginUser<'_> {
    fn drop(&mut self) {
        self.fleet.sql(&match self.kind {
            Kind::Postgres => format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name),
            _ => format!("DROP USER {}", self.name),
        });
    }
}

/// From now on the plugin finds the address in a file of its own, which only its user can read.
fn address_in_a_file(fleet: &Fleet, address: &str) {
    let (options, url) = (fleet.path("etc/warden.toml"), fleet.path("etc/database.url"));
    let text = fs::read_to_string(&options).unwrap();
    let line = |text: &str| text.starts_with("database");
    let others: Vec<&str> = text.lines().filter(|text| !line(text)).collect();
    let option = format!("database_url_file = \"{}\"\n", url.display());
    fs::write(&options, option + &others.join("\n")).unwrap();
    let _ = fs::remove_file(&url);
    fs::write(&url, format!("{address}\n")).unwrap();
    fs::set_permissions(&url, Permissions::from_mode(0o600)).unwrap();
    give_to_broker(&url);
}

/// Starts a broker, which admits the device, throws it off, and refuses it; what it has logged.
fn revoked_on_it(fleet: &Fleet, mosquitto: &Mosquitto, login: &Login, while_there: impl FnOnce()) -> String {
    let broker = fleet.start(mosquitto, "certificates.conf");
    let mut client = Client::connect(&broker, login, &Connect::v5("device-001"));
    assert_ne!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
    while_there();
    fleet.set_status("device-001", "revoked");
    client.closed();
    // In the handshake: what we do to the broker's OpenSSL does not concern our own TLS, nor the other way round.
    let refused = Client::try_connect(&broker, login, &Connect::v5("device-001"));
    assert!(refused.is_err(), "{refused:?}");
    broker.wait_for_log("action=handshake user=device-001");
    fleet.set_status("device-001", "active");
    let (_, log) = broker.stop();
    assert!(!log.contains(PASSWORD), "{log}");
    log
}

/// What a broker logs that does not start.
fn not_started(fleet: &Fleet, mosquitto: &Mosquitto) -> String {
    let failure = fleet.try_start(mosquitto, &fleet.configuration("certificates.conf")).unwrap_err();
    assert!(!failure.log.contains(PASSWORD), "{}", failure.log);
    failure.log
}

#[test]
fn the_server_proves_its_name_to_the_plugin() {
    for (kind, mode, verified, unverified, ca) in [
        (Kind::Postgres, "sslmode", "verify-full", "require", "sslrootcert"),
        (Kind::Mariadb, "ssl-mode", "VERIFY_IDENTITY", "REQUIRED", "ssl-ca"),
    ] {
        on_every_broker(|mosquitto| {
            let fleet = Fleet::with_sensors_on(kind);
            let login = fleet.certificate_device("device-001", "sensor");
            let user = PluginUser::new(&fleet, kind);
            let (ours, others) = (authority("ca.crt"), authority("other-ca.crt"));
            let said = |host: &str, mode_said: &str, ca_said: &str| {
                let parameters = [(mode, mode_said), (ca, ca_said)];
                let parameters = if ca_said.is_empty() { &parameters[..1] } else { &parameters };
                address_in_a_file(&fleet, &user.address(host, Some(PASSWORD), parameters));
            };
            said("localhost", verified, &ours);
            let log = revoked_on_it(&fleet, mosquitto, &login, || {
                if kind == Kind::Postgres {
                    let of_user = format!("usename = '{}'", user.name);
                    let plain = "SELECT count(*) FILTER (WHERE NOT ssl), count(*) > 0 FROM pg_stat_ssl";
                    let join = "JOIN pg_stat_activity USING (pid)";
                    assert_eq!(fleet.sql(&format!("{plain} {join} WHERE {of_user}")), "0|t");
                }
            });
            assert!(!log.contains("nothing verifies"), "{log}");
            // To the broker's own machine, by an address that does not say so.
            said("0.0.0.0", unverified, "");
            let log = revoked_on_it(&fleet, mosquitto, &login, || ());
            assert!(log.contains("nothing verifies that this server is the one"), "{log}");
            address_in_a_file(&fleet, &user.address("0.0.0.0", Some(PASSWORD), &[]));
            let log = not_started(&fleet, mosquitto);
            assert!(log.contains("certificate is not accepted"), "{kind:?}: verified where nothing is said: {log}");
            for (host, mode_said, ca_said, words) in [
                ("localhost", verified, &*others, "certificate is not accepted: UnknownIssuer"),
                ("127.0.0.1", verified, &ours, "certificate is not accepted: certificate not valid for name"),
                ("localhost", verified, "", "certificate is not accepted: UnknownIssuer"),
                ("localhost", verified, "/nowhere.crt", "`/nowhere.crt`, cannot be read by"),
                ("db.invalid", "sometimes", &ours, "there is no such mode"),
                ("db.invalid", unverified, &ours, "has no meaning"),
            ] {
                said(host, mode_said, ca_said);
                let log = not_started(&fleet, mosquitto);
                assert!(log.contains(words), "{kind:?} {host} {mode_said}: {words}: {log}");
            }
        });
    }
}

#[test]
fn a_password_file_serves_the_plugin() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors_on(Kind::Postgres);
        let login = fleet.certificate_device("device-001", "sensor");
        let user = PluginUser::new(&fleet, Kind::Postgres);
        address_in_a_file(&fleet, &user.address("127.0.0.1", None, &[("sslmode", "disable")]));
        let file = fleet.path("data/pgpass");
        fs::write(&file, format!("127.0.0.1:*:*:{}:{PASSWORD}\n", user.name)).unwrap();
        give_to_broker(&file);
        let program = fleet.path("with-pgpass.sh");
        let script =
            format!("#!/bin/sh\nPGPASSFILE='{}' exec '{}' \"$@\"\n", file.display(), mosquitto.program.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let mosquitto = Mosquitto { program, ..mosquitto.clone() };
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        revoked_on_it(&fleet, &mosquitto, &login, || ());
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let log = not_started(&fleet, &mosquitto);
        assert!(log.contains(&format!("run `chmod 600 {}`", file.display())), "{log}");
    });
}

#[test]
fn a_broker_behind_a_pooler_polls_and_says_so() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors_on(Kind::Postgres);
        let login = fleet.certificate_device("device-001", "sensor");
        let pooler = PgBouncer::before(&fleet.place());
        address_in_a_file(&fleet, &pooler.address(&[("sslmode", "disable"), ("statement-cache-capacity", "0")]));
        let log = revoked_on_it(&fleet, mosquitto, &login, || ());
        assert!(log.contains("notifications (LISTEN) need a direct connection"), "{log}");
        // One that is not told of.
        address_in_a_file(&fleet, &pooler.address(&[("sslmode", "disable")]));
        let log = not_started(&fleet, mosquitto);
        assert!(log.contains("needs `statement-cache-capacity=0`"), "{log}");
    });
}
