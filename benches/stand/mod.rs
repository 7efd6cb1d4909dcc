//! What benches of the plugin without a broker stand on: a fleet in a database, the plugin, and clients that ask it.
//!
//! It is the plugin as the broker has it, but for C: `Plugin`, a thread that follows an SQLite file, and sessions.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use mosquitto_warden::config::{Config, Freshness};
use mosquitto_warden::credential::psk::Psk;
use mosquitto_warden::database::Database;
use mosquitto_warden::key_file;
use mosquitto_warden::plugin::handshake::Chain;
use mosquitto_warden::plugin::session::ConnectionMark;
use mosquitto_warden::plugin::{Access, Answer, Attempt, Broker, Client, Desk, Plugin};
use mosquitto_warden::policy::decision::Action;
use mosquitto_warden::store::Store;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::{X509Builder, X509NameBuilder};

/// A directory with a database and a key file.
#[derive(Debug, Clone)]
pub(crate) struct Stand {
    directory: PathBuf,
}

impl Stand {
    /// What somebody else has made there.
    pub(crate) fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Makes a fleet of so many devices, each with a certificate, and the role `sensor` of so many rules.
    pub(crate) fn make(directory: &Path, devices: usize, rules: usize) -> Self {
        let stand = Self::at(directory);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = Database::from(stand.database().as_path());
        runtime.block_on(async { Store::create(&database, None).await.unwrap().0.close().await.unwrap() });
        key_file::create(&stand.key_file(), None).unwrap();
        stand.sql(&format!(
            "BEGIN;
             INSERT INTO roles (id, name) VALUES (1, 'sensor');
             INSERT INTO rules (role_id, effect, action, topic) VALUES
                 (1, 'allow', 'publish', 'site/dev/%u/#'), (1, 'allow', 'read', 'site/cmd/%u/+'),
                 (1, 'deny', 'publish', 'site/dev/+/secret');
             WITH RECURSIVE n (n) AS (SELECT 4 UNION ALL SELECT n + 1 FROM n WHERE n < {rules})
             INSERT INTO rules (role_id, effect, action, topic)
                 SELECT 1, 'allow', 'all', format('site/line-%d/cell-%d/state', n % 100, n) FROM n;
             WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {devices} - 1)
             INSERT INTO devices (name) SELECT format('device-%07d', n) FROM n;
             INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', name FROM devices;
             INSERT INTO device_roles SELECT id, 1 FROM devices;
             COMMIT"
        ));
        stand
    }

    /// Gives each device a role of its own besides, of five rules.
    pub(crate) fn own_roles(&self) {
        self.sql(
            "BEGIN;
             INSERT INTO roles (id, name) SELECT id + 1, 'own-' || name FROM devices;
             WITH n (n) AS (VALUES (1), (2), (3), (4), (5))
             INSERT INTO rules (role_id, effect, action, topic)
                 SELECT id + 1, 'allow', 'all', format('area-%d/%s/part-%d/#', id % 1000, name, n) FROM devices, n;
             INSERT INTO device_roles SELECT id, id + 1 FROM devices;
             COMMIT",
        );
    }

    /// One more device, with a pre-shared key.
    pub(crate) fn psk_device(&self, name: &str) {
        let key = key_file::read(&self.key_file()).unwrap();
        let psk = Psk::generate(32).unwrap();
        let (sealed, digest) = (key.seal(name, &psk).unwrap(), key.digest(&psk));
        self.sql(&format!(
            "INSERT INTO devices (name) VALUES ('{name}');
             INSERT INTO credentials (device_id, kind, identity, secret, secret_digest)
                 SELECT id, 'psk', name, '{sealed}', '{digest}' FROM devices WHERE name = '{name}'"
        ));
    }

    /// One more device, with a password of which this is the hash.
    pub(crate) fn password_device(&self, name: &str, hash: &str) {
        self.sql(&format!(
            "INSERT INTO devices (name) VALUES ('{name}');
             INSERT INTO credentials (device_id, kind, identity, secret)
                 SELECT id, 'password', name, '{hash}' FROM devices WHERE name = '{name}'"
        ));
    }

    /// Runs statements in the database's shell.
    pub(crate) fn sql(&self, statements: &str) {
        let output = Command::new("sqlite3")
            .args(["-bail", "-cmd", ".timeout 60000"])
            .arg(self.database())
            .arg(statements)
            .output()
            .expect("the sqlite3 shell is missing: make deps");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The plugin, as a broker starts it.
    pub(crate) fn start(&self) -> Seat {
        let config = Config {
            database: Database::from(self.database().as_path()),
            key_file: self.key_file(),
            freshness: Freshness::Bounded,
            ..Config::default()
        };
        let plugin = Plugin::start(config, "2.1.2", || {}).unwrap();
        plugin.sees_handshakes();
        let seat = Seat { plugin, desk: Desk::default() };
        seat.tick();
        seat
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.join("warden.db")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.join("warden.key")
    }
}

/// The plugin and what belongs to the broker's thread.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) plugin: Plugin,
    pub(crate) desk: Desk,
}

impl Seat {
    pub(crate) fn tick(&self) {
        self.plugin.tick(&self.desk, &Nobody);
    }

    /// The TLS handshake with this certificate.
    pub(crate) fn handshake(&self, certificate: &[u8]) {
        self.plugin.handshake(certificate, &OneAuthority).unwrap();
    }

    /// The event `BASIC_AUTH`.
    pub(crate) fn login(&self, visitor: &mut Visitor, password: Option<&[u8]>) {
        match self.plugin.login(Some(&self.desk), visitor, password) {
            Answer::Allow(Some(name)) => visitor.user_name = Some(name.as_ref().into()),
            Answer::Allow(None) => {}
            other => panic!("{visitor:?}: {other:?}"),
        }
    }

    /// The event `PSK_KEY`.
    pub(crate) fn psk_key(&self, visitor: &Visitor, identity: &str) {
        assert!(matches!(self.plugin.psk_key(Some(&self.desk), visitor, Some(identity)), Answer::Allow(_)));
    }

    /// The event `ACL_CHECK`.
    pub(crate) fn check(&self, visitor: &Visitor, action: Action, topic: &str) -> bool {
        let attempt = Attempt { access: Access::To(action), topic: Some(topic), qos: 1, retain: false };
        self.plugin.check(Some(&self.desk), visitor, &attempt) == Answer::Allow(())
    }

    /// A device that has come in with its certificate.
    pub(crate) fn visitor(&self, template: &Template, number: usize) -> Visitor {
        let name = name(number);
        let certificate = template.named(&name);
        self.handshake(&certificate);
        let mut visitor = Visitor::new(&name, None, Some(certificate));
        self.login(&mut visitor, None);
        // Whoever is here is not asked for it again.
        visitor.certificate = None;
        visitor
    }
}

/// What the devices of a stand are called.
pub(crate) fn name(number: usize) -> String {
    format!("device-{number:07}")
}

/// A client of the broker.
#[derive(Debug)]
pub(crate) struct Visitor {
    mark: ConnectionMark,
    client_id: Box<str>,
    user_name: Option<Box<str>>,
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Visitor {
    pub(crate) fn new(client_id: &str, user_name: Option<&str>, certificate: Option<Vec<u8>>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let mark = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { mark, client_id: client_id.into(), user_name: user_name.map(Into::into), certificate }
    }
}

impl Client for Visitor {
    fn mark(&self) -> ConnectionMark {
        self.mark
    }
    fn client_id(&self) -> Option<&str> {
        Some(&self.client_id)
    }
    fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }
    fn address(&self) -> Option<&str> {
        Some("127.0.0.1")
    }
    fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.clone()
    }
}

struct Nobody;

impl Broker for Nobody {
    fn kick_client_id(&self, _: &str) {}
    fn kick_user_name(&self, _: &str) {}
    fn tells_of_connections(&self) -> bool {
        true
    }
}

struct OneAuthority;

impl Chain for OneAuthority {
    fn authority_keys(&self) -> Vec<Vec<u8>> {
        vec![vec![7; 91]]
    }
    fn issuer(&self) -> Option<Vec<u8>> {
        None
    }
}

/// A certificate in which the name of any device can be put: the plugin leaves signatures to OpenSSL.
#[derive(Debug)]
pub(crate) struct Template {
    der: Vec<u8>,
    name_at: usize,
}

impl Template {
    pub(crate) fn new() -> Self {
        let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
        let key = PKey::from_ec_key(key).unwrap();
        let subject = |common_name: &str| {
            let mut name = X509NameBuilder::new().unwrap();
            name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
            name.build()
        };
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&BigNum::from_u32(4711).unwrap().to_asn1_integer().unwrap()).unwrap();
        builder.set_issuer_name(&subject("authority")).unwrap();
        builder.set_subject_name(&subject(&name(0))).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let der = builder.build().to_der().unwrap();
        let name = name(0).into_bytes();
        let name_at = der.windows(name.len()).position(|window| window == name).unwrap();
        Self { der, name_at }
    }

    pub(crate) fn named(&self, name: &str) -> Vec<u8> {
        let mut der = self.der.clone();
        der[self.name_at..self.name_at + name.len()].copy_from_slice(name.as_bytes());
        der
    }
}
