use std::path::PathBuf;
use std::process::Command;

use crate::harness::{
    Broker, Fleet, Listen, Login, Mosquitto, SClient, Tickets, TlsVersion, eventually, on_every_broker,
};
use crate::listeners::MINE;
use crate::servers::Kind;

const DATA: &str = "devices/device-001/data";
const COMMANDS: &str = "devices/device-001/cmd";
const REQUEST: &str = "bootstrap/device-001/csr";
const ANSWER: &str = "bootstrap/device-001/certificate";

/// A fleet with an authority of its own, beside the one that the broker's certificate comes from.
struct Life {
    fleet: Fleet,
    ca: String,
    passphrase: String,
}

impl Life {
    fn new(kind: Kind) -> Self {
        let fleet = Fleet::with_sensors_on(kind);
        fleet.warden(&["role", "add", "bootstrap"]);
        fleet.warden(&["rule", "add", "bootstrap", "allow", "publish", "bootstrap/%u/csr"]);
        fleet.warden(&["rule", "add", "bootstrap", "allow", "read", "bootstrap/%u/certificate"]);
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        let (ca, passphrase) = (text(fleet.path("own-ca")), text(fleet.path("passphrase")));
        openssl(&["rand", "-hex", "-out", &passphrase, "16"]);
        std::fs::set_permissions(&passphrase, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fleet.warden(&["ca", "init", &ca, "--passphrase-file", &passphrase]);
        let trusted = fleet.ca.certificate_file("ca");
        let both = [std::fs::read(&trusted).unwrap(), std::fs::read(format!("{ca}/ca.crt")).unwrap()].concat();
        std::fs::write(trusted, both).unwrap();
        Self { fleet, ca, passphrase }
    }

    /// The certificate for a request that the device makes, by `issue` or `renew` with these options.
    fn certificate(&self, verb: &str, number: u8, options: &[&str]) -> Login {
        let file = |end: &str| self.fleet.path(&format!("etc/device-{number}.{end}"));
        let (key, request, certificate) = (file("key"), file("csr"), file("crt"));
        let [key_file, request, out] = [&key, &request, &certificate].map(|path| path.to_str().unwrap());
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        openssl(
            &[&["req", "-new", "-subj", "/CN=anybody", "-keyout", key_file, "-out", request][..], &new_key].concat(),
        );
        let command = ["certificate", verb, MINE, "--csr", request, "--out", out];
        let place = ["--ca", &self.ca, "--passphrase-file", &self.passphrase];
        self.fleet.warden(&[&command[..], &place, options].concat());
        Login::Certificate { certificate, key }
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("the openssl command is missing: make deps");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `mosquitto_pub` by this login: who is let in, and is told of this topic that it may or may not.
fn may_publish(broker: &Broker, login: &Login, topic: &str) -> bool {
    let arguments = ["-V", "5", "-q", "1", "-i", "device-001-pub", "-t", topic, "-m", "x"];
    let outcome = broker.mosquitto_pub(login, &arguments);
    assert_eq!(outcome.code, Some(0), "{login:?} was not let in: {}", outcome.stderr);
    !outcome.stderr.contains("Not authorized")
}

/// Whether `mosquitto_sub` is told by the broker that it may have this filter.
fn may_subscribe(broker: &Broker, login: &Login, filter: &str) -> bool {
    let outcome = broker.mosquitto_sub(login, &["-V", "5", "-E", "-i", "device-001-sub", "-t", filter]);
    let denied = outcome.stderr.contains("denied");
    assert!(denied || outcome.code == Some(0), "{login:?} was not let in: {}", outcome.stderr);
    !denied
}

/// Neither `mosquitto_pub` nor `mosquitto_sub` gets in.
fn is_refused(broker: &Broker, login: &Login) {
    for topic in [DATA, REQUEST] {
        let outcome =
            broker.mosquitto_pub(login, &["-V", "5", "-q", "1", "-i", "device-001-pub", "-t", topic, "-m", "x"]);
        assert_ne!(outcome.code, Some(0), "{login:?} was let in");
    }
    let outcome = broker.mosquitto_sub(login, &["-E", "-i", "device-001-sub", "-t", COMMANDS]);
    assert_ne!(outcome.code, Some(0), "{login:?} was let in");
}

fn alert(broker: &Broker, login: &Login) -> Option<u8> {
    SClient::start(broker, Listen::Certificates, login, TlsVersion::V12, Tickets::Ignore, &[]).alert()
}

fn a_life(mosquitto: &Mosquitto, kind: Kind) {
    let life = Life::new(kind);
    let fleet = &life.fleet;
    let broker = fleet.start(mosquitto, "fleet.conf");
    let thrown_off = |id: &str, reason: &str| {
        broker.wait_for_log(&format!("client thrown off client_id={id} reason={reason}"));
    };

    // It begins with a key that lets it ask for a certificate, and nothing else.
    let added = fleet.warden(&["device", "add", MINE, "--role", "sensor", "--bootstrap", "--json"]);
    let added: serde_json::Value = serde_json::from_str(&added).unwrap();
    let bootstrap = Login::psk("device-001-bootstrap", added["bootstrap"]["key"].as_str().unwrap());
    eventually("it is let in", || {
        let arguments = ["-V", "5", "-q", "1", "-i", "device-001-pub", "-t", REQUEST, "-m", "x"];
        (broker.mosquitto_pub(&bootstrap, &arguments).code == Some(0)).then_some(())
    });
    assert!(may_publish(&broker, &bootstrap, REQUEST));
    assert!(!may_publish(&broker, &bootstrap, DATA), "a right of its own role");
    assert!(!may_publish(&broker, &bootstrap, "bootstrap/device-002/csr"), "another's place");
    assert!(may_subscribe(&broker, &bootstrap, ANSWER));
    assert!(!may_subscribe(&broker, &bootstrap, COMMANDS), "a right of its own role");
    is_refused(&broker, &fleet.ca.device(MINE));
    let waiting = broker.subscriber(&bootstrap, "device-001-waits", ANSWER);

    // Its first certificate is the end of that.
    let first = life.certificate("issue", 1, &[]);
    waiting.wait_until_disconnected();
    thrown_off("device-001-waits", "credential-revoked");
    is_refused(&broker, &bootstrap);
    assert!(may_publish(&broker, &first, DATA));
    assert!(may_subscribe(&broker, &first, COMMANDS));
    assert!(!may_publish(&broker, &first, REQUEST), "what it began with");
    assert!(!may_publish(&broker, &first, "devices/device-002/data"), "another's place");

    // The next one, and for an hour both are good.
    let second = life.certificate("renew", 2, &["--overlap", "1h"]);
    for login in [&first, &second] {
        assert!(may_publish(&broker, login, DATA) && may_subscribe(&broker, login, COMMANDS), "{login:?}");
    }
    let with_first = broker.subscriber(&first, "device-001-first", COMMANDS);
    let with_second = broker.subscriber(&second, "device-001-second", COMMANDS);

    // The one after that; the others end by themselves.
    let third = life.certificate("renew", 3, &["--overlap", "2s"]);
    let mut with_third = broker.subscriber(&third, "device-001-third", COMMANDS);
    with_first.wait_until_disconnected();
    with_second.wait_until_disconnected();
    for (id, login) in [("device-001-first", &first), ("device-001-second", &second)] {
        thrown_off(id, "expired");
        is_refused(&broker, login);
        assert_eq!(alert(&broker, login), Some(45), "certificate_expired");
    }
    assert!(may_publish(&broker, &third, DATA));
    // A message from somebody else, to who stayed.
    fleet.warden(&["role", "add", "operator"]);
    fleet.warden(&["rule", "add", "operator", "allow", "publish", "devices/+/cmd"]);
    let operator = fleet.psk_device("operator", "operator");
    eventually("the operator's message is sent", || {
        let arguments = ["-V", "5", "-q", "1", "-i", "operator", "-t", COMMANDS, "-m", "restart"];
        let outcome = broker.mosquitto_pub(&operator, &arguments);
        (outcome.code == Some(0) && outcome.stderr.is_empty()).then_some(())
    });
    with_third.wait_for_line("restart");

    // The end, of all that it has had; and it does not come back with the device.
    let said = fleet.warden(&["device", "revoke", MINE, "--reason", "stolen"]);
    for part in ["device `device-001` is now revoked", "credential x509_cn `device-001` revoked", "certificate `"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    with_third.wait_until_disconnected();
    thrown_off("device-001-third", "certificate-revoked");
    let all = [&bootstrap, &first, &second, &third];
    let nobody_gets_in = || {
        for login in all {
            is_refused(&broker, login);
        }
        assert_eq!(alert(&broker, &third), Some(44), "certificate_revoked");
    };
    nobody_gets_in();
    fleet.warden(&["device", "activate", MINE]);
    nobody_gets_in();
    let left = fleet.sql(
        "SELECT count(*) FROM credentials JOIN devices ON devices.id = device_id
                          WHERE devices.name = 'device-001' AND credentials.status = 'active'",
    );
    assert_eq!(left.trim(), "0");
    // It was the device that was revoked, and nobody else.
    assert!(broker.mosquitto_pub(&operator, &["-i", "operator", "-t", COMMANDS, "-m", "x"]).code == Some(0));
}

#[test]
fn from_its_bootstrap_key_by_three_certificates_to_its_end() {
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::Mariadb] {
        on_every_broker(|mosquitto| a_life(mosquitto, kind));
    }
}
