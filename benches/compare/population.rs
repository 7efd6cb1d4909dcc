//! One fleet, written down for each access control in its own form: so many devices, and a few who read everything.
//!
//! Each device has a certificate's name, a pre-shared key and a password, may publish below its own name and read its own
//! commands. The passwords are one and the same, because nobody would wait for 100,000 hashes.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use mosquitto_warden::credential::password::{self, Cost};
use mosquitto_warden::credential::psk::Psk;
use mosquitto_warden::key_file;
use openssl::base64::encode_block;
use openssl::hash::MessageDigest;
use openssl::pkcs5::pbkdf2_hmac;

use super::harness::{Fleet, Login, give_to_broker};

/// Those who may read what every device says.
pub(crate) const WATCHERS: usize = 5;
/// How many devices come into play; the others are there to be looked through.
const MEMBERS: usize = 1_000;
pub(crate) const PASSWORD: &str = "one password for all of them";
/// Iterations of PBKDF2, as `mosquitto_passwd` and `mosquitto_ctrl` of Mosquitto 2.0 choose.
const ITERATIONS: usize = 101;
const SALT: &[u8] = b"twelve bytes";
/// Rows that one INSERT has.
const ROWS: usize = 1_000;

/// Somebody of the fleet who connects.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) certificate: Login,
    pub(crate) psk: Login,
}

#[derive(Debug)]
pub(crate) struct Population {
    pub(crate) fleet: Fleet,
    pub(crate) devices: usize,
    /// Spread evenly over the fleet: a thousand, or all.
    pub(crate) members: Vec<Member>,
    pub(crate) watchers: Vec<Member>,
}

impl Population {
    /// Writes it down everywhere, in one pass for each file.
    pub(crate) fn new(devices: usize) -> Self {
        let fleet = Fleet::with_sensors();
        fleet.warden(&["role", "add", "watcher", "--client-id", "%u*"]);
        fleet.warden(&["rule", "add", "watcher", "allow", "read", "devices/#"]);
        let watchers = (0..WATCHERS).map(|number| format!("watcher-{number}"));
        let names: Vec<String> = (0..devices).map(|number| format!("device-{number:06}")).chain(watchers).collect();
        let keys: Vec<Psk> = names.iter().map(|_| Psk::generate(32).unwrap()).collect();

        let member = |index: usize| Member {
            name: names[index].clone(),
            certificate: fleet.ca.device_with_raw_name(names[index].as_bytes()),
            psk: Login::psk(names[index].as_str(), &keys[index].hex()),
        };
        let count = MEMBERS.min(devices);
        let chosen: Vec<usize> = (0..count).map(|number| number * devices / count).collect();
        let of_few: Vec<usize> = chosen.iter().copied().chain(devices..names.len()).collect();
        let psk_lines = |indices: &mut dyn Iterator<Item = usize>| {
            indices.fold(String::new(), |mut text, index| {
                writeln!(text, "{}:{}", names[index], &*keys[index].hex()).unwrap();
                text
            })
        };
        let broker_hash = broker_hash();
        let (database, dynsec) =
            (script(&fleet, &names, &keys), [false, true].map(|patterns| dynsec(&names, patterns)));
        let [one_role_each, patterns] = dynsec;
        for (file, text) in [
            ("psk", psk_lines(&mut (0..names.len()))),
            ("psk-of-few", psk_lines(&mut of_few.into_iter())),
            ("passwords", lines(&names, |name| format!("{name}:{broker_hash}\n"))),
            ("acl-sections", sections(&names[..devices]) + &watchers_section(&names[devices..])),
            ("acl-patterns", PATTERNS.to_owned() + &watchers_section(&names[devices..])),
            ("dynsec-roles.json", one_role_each),
            ("dynsec-patterns.json", patterns),
        ] {
            let path = fleet.path(&format!("data/{file}"));
            fs::write(&path, text).unwrap();
            give_to_broker(&path);
        }
        fleet.sql_script(&database);
        let members = chosen.into_iter().map(member).collect();
        let watchers = (devices..names.len()).map(member).collect();
        Self { fleet, devices, members, watchers }
    }

    /// One of many sessions: where there are fewer members than sessions, a member has several.
    pub(crate) fn session(&self, number: usize) -> (&Member, String) {
        let member = &self.members[number % self.members.len()];
        (member, format!("{}-{number}", member.name))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.fleet.path(&format!("data/{name}"))
    }
}

const PATTERNS: &str = "pattern write devices/%u/#\npattern read devices/%u/cmd\n";

fn sections(names: &[String]) -> String {
    lines(names, |name| format!("user {name}\ntopic write devices/{name}/#\ntopic read devices/{name}/cmd\n"))
}

/// What each has to say.
fn lines(names: &[String], of: impl Fn(&str) -> String) -> String {
    names.iter().fold(String::new(), |text, name| text + &of(name))
}

fn watchers_section(names: &[String]) -> String {
    lines(names, |name| format!("user {name}\ntopic read devices/#\n"))
}

/// PBKDF2 with SHA-512.
fn hash() -> String {
    let mut hash = [0; 64];
    pbkdf2_hmac(PASSWORD.as_bytes(), SALT, ITERATIONS, MessageDigest::sha512(), &mut hash).unwrap();
    encode_block(&hash)
}

/// As a `password_file` has it (`mosquitto_passwd(1)`).
fn broker_hash() -> String {
    format!("$7${ITERATIONS}${}${}", encode_block(SALT), hash())
}

/// The file of the dynamic-security plugin: from 2.1 on with one role, in which `%u` is the user; before, with a role for
/// each device.
fn dynsec(names: &[String], patterns: bool) -> String {
    let hash = hash();
    let salt = encode_block(SALT);
    let is_watcher = |name: &str| name.starts_with("watcher-");
    let rule = |kind: &str, topic: &str| {
        format!(r#"{{"acltype": "{kind}", "topic": "{topic}", "priority": 0, "allow": true}}"#)
    };
    let role = |name: &str, rules: &[String]| format!(r#"{{"rolename": "{name}", "acls": [{}]}}"#, rules.join(", "));
    let device = |name: &str, user: &str| {
        let (below, commands) = (format!("devices/{user}/#"), format!("devices/{user}/cmd"));
        role(
            name,
            &[
                rule("publishClientSend", &below),
                rule("publishClientReceive", &commands),
                rule("subscribePattern", &commands),
            ],
        )
    };
    let mut roles =
        vec![role("watcher", &[rule("publishClientReceive", "devices/#"), rule("subscribePattern", "devices/#")])];
    if patterns {
        roles.push(device("sensor", "%u"));
    } else {
        roles.extend(names.iter().filter(|name| !is_watcher(name)).map(|name| device(name, name)));
    }
    let clients: Vec<String> = names
        .iter()
        .map(|name| {
            let role = match name {
                watcher if is_watcher(watcher) => "watcher",
                _ if patterns => "sensor",
                device => device,
            };
            format!(
                r#"{{"username": "{name}", "password": "{hash}", "salt": "{salt}", "iterations": {ITERATIONS}, "roles": [{{"rolename": "{role}"}}]}}"#
            )
        })
        .collect();
    format!(
        r#"{{"defaultACLAccess": {{"publishClientSend": false, "publishClientReceive": false, "subscribe": false, "unsubscribe": true}},
"clients": [{}],
"groups": [],
"roles": [{}]}}
"#,
        clients.join(",\n"),
        roles.join(",\n")
    )
}

/// Rows for warden's database.
fn script(fleet: &Fleet, names: &[String], keys: &[Psk]) -> String {
    let sealing = key_file::read(&fleet.key_file()).unwrap();
    let hash = password::hash(PASSWORD.as_bytes(), Cost::default()).unwrap();
    let mut script = String::from("BEGIN;\nCREATE TEMP TABLE keys (name PRIMARY KEY, secret, digest);\n");
    for (names, keys) in names.chunks(ROWS).zip(keys.chunks(ROWS)) {
        let devices: Vec<String> = names.iter().map(|name| format!("('{name}')")).collect();
        writeln!(script, "INSERT INTO devices (name) VALUES {};", devices.join(", ")).unwrap();
        let sealed = |(name, key): (&String, &Psk)| {
            format!("('{name}', '{}', '{}')", sealing.seal(name, key).unwrap(), sealing.digest(key))
        };
        let keys: Vec<String> = names.iter().zip(keys).map(sealed).collect();
        writeln!(script, "INSERT INTO keys VALUES {};", keys.join(",\n")).unwrap();
    }
    script
        + &format!(
            "INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', name FROM devices;
             INSERT INTO credentials (device_id, kind, identity, secret) SELECT id, 'password', name, '{hash}' FROM devices;
             INSERT INTO credentials (device_id, kind, identity, secret, secret_digest)
                 SELECT id, 'psk', name, keys.secret, digest FROM devices JOIN keys USING (name);
             INSERT INTO device_roles SELECT d.id, r.id FROM devices d
                 JOIN roles r ON r.name = iif(d.name LIKE 'watcher-%', 'watcher', 'sensor');
             COMMIT;\n"
        )
}
