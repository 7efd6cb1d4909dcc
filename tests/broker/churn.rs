use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use mosquitto_warden::live::{Live, Sources, unix_now};
use mosquitto_warden::policy::decision::{Action, Question};
use mosquitto_warden::policy::device::CredentialKind;
use mosquitto_warden::policy::snapshot::{Proof, Snapshot};

use crate::harness::{Broker, Client, Connect, Fleet, Login, on_every_broker};

const DEVICES: usize = 10_000;
const SESSIONS: usize = 1_000;
const CHANGES: usize = 10_000;
/// How many of the devices are asked about one by one; each costs two connections.
const ASKED: usize = 300;
const ROLES: u64 = 20;

#[test]
fn after_ten_thousand_changes_at_full_speed_a_broker_decides_as_one_started_afresh() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::new();
        fleet.sql_script(&roles());
        let names: Vec<String> = (0..DEVICES).map(|number| format!("device-{number:05}")).collect();
        let logins = fleet.psk_devices(&names, "role-0");
        let broker = fleet.start(mosquitto, "psk.conf");
        let sessions: Vec<Client> = (0..SESSIONS)
            .map(|index| Client::connect(&broker, &logins[index], &Connect::v5(names[index].as_str())))
            .collect();

        fleet.sql_script(&changes());

        let lived = answers(&broker, &names, &logins);
        let ours = oracle(&fleet.database(), &names);
        assert_eq!(lived, ours, "the broker that lived through the changes, and the database read afresh");
        // Whoever is still connected is one that may be.
        for (mut session, name) in sessions.into_iter().zip(&names).take(ASKED) {
            if session.ping().is_ok() {
                assert!(lived[name].is_some(), "{name} is refused and still connected");
            }
        }
        let (code, _) = broker.stop();
        assert_eq!(code, Some(0));
        let again = fleet.start(mosquitto, "psk.conf");
        assert_eq!(answers(&again, &names, &logins), lived, "a broker started afresh");
    });
}

/// What is asked of each device: every verdict depends on the roles that it has and on what they say just now.
const TOPICS: [&str; 4] = ["common/0/a", "common/1/a", "common/2/x", "common/3/y"];

fn roles() -> String {
    let mut script = String::from("BEGIN;\n");
    for role in 0..ROLES {
        writeln!(script, "INSERT INTO roles (name) VALUES ('role-{role}');").unwrap();
        for (effect, topic) in [("allow", format!("common/{}/#", role % 4)), ("allow", format!("own/%u/{role}"))] {
            writeln!(
                script,
                "INSERT INTO rules (role_id, effect, action, topic) VALUES ({}, '{effect}', 'write', '{topic}');",
                role + 1
            )
            .unwrap();
        }
    }
    script + "COMMIT;\n"
}

/// Each statement is a transaction of its own, and changes one row.
fn changes() -> String {
    let mut random = Random(0x5eed_cafe);
    let mut script = String::from("PRAGMA synchronous = OFF;\n");
    for number in 0..CHANGES {
        // Mostly among those that are connected or asked about, so that changes meet.
        let device = 1 + random.below(if number % 4 == 0 { DEVICES as u64 } else { ASKED as u64 });
        let role = 1 + random.below(ROLES);
        let statement = match random.below(12) {
            0 => format!("INSERT INTO devices (name) VALUES ('late-{number}')"),
            1 | 2 => format!("UPDATE devices SET status = 'revoked' WHERE id = {device}"),
            3 => format!("UPDATE devices SET status = 'suspended' WHERE id = {device}"),
            4 | 5 => format!("UPDATE devices SET status = 'active' WHERE id = {device}"),
            6 => format!("UPDATE credentials SET status = 'revoked' WHERE device_id = {device}"),
            7 => format!("UPDATE credentials SET status = 'active' WHERE device_id = {device}"),
            8 => format!("INSERT OR IGNORE INTO device_roles VALUES ({device}, {role})"),
            9 => format!("DELETE FROM device_roles WHERE device_id = {device} AND role_id = {role}"),
            10 => format!(
                "INSERT INTO rules (role_id, effect, action, topic) VALUES ({role}, '{}', 'write', 'common/{}/{}')",
                ["allow", "deny"][usize::try_from(random.below(2)).unwrap()],
                random.below(4),
                ["a", "x", "y"][usize::try_from(random.below(3)).unwrap()],
            ),
            _ => format!("DELETE FROM rules WHERE id = (SELECT max(id) FROM rules WHERE role_id = {role})"),
        };
        writeln!(script, "{statement};").unwrap();
    }
    script
}

/// The reason codes of a publish to each topic, or `None` where the device is refused at the door.
type Answers = BTreeMap<String, Option<[bool; TOPICS.len()]>>;

fn answers(broker: &Broker, names: &[String], logins: &[Login]) -> Answers {
    let ask = |(name, login): (&String, &Login)| {
        let client = Client::try_connect(broker, login, &Connect::v5(format!("{name}-asks")));
        let allowed = client.ok().filter(|(_, code)| *code == 0).map(|(mut client, _)| {
            TOPICS.map(|topic| match client.publish_acknowledged(topic, "x").unwrap() {
                0x87 => false,
                // Success, or that nobody has subscribed.
                0 | 0x10 => true,
                code => panic!("{name} to {topic}: reason code {code:#x}"),
            })
        });
        (name.clone(), allowed)
    };
    names.iter().zip(logins).take(ASKED).map(ask).collect()
}

/// The same questions, to the engine itself over the database as it is now.
fn oracle(database: &Path, names: &[String]) -> Answers {
    let live = Live::start(Sources::only(database.into()), || {}).unwrap();
    let snapshot = live.snapshot();
    let ask = |name: &String| (name.clone(), allowed(&snapshot, name));
    names.iter().take(ASKED).map(ask).collect()
}

fn allowed(snapshot: &Snapshot, name: &str) -> Option<[bool; TOPICS.len()]> {
    let client_id = format!("{name}-asks");
    let present = snapshot.admit(Proof::Identity(CredentialKind::Psk, name), Some(&client_id), unix_now()).ok()?;
    Some(TOPICS.map(|topic| {
        let question = Question { action: Action::Publish, topic, qos: 1, retain: false };
        snapshot.judge(present.device, present.rights, Some(&client_id), &question).allowed
    }))
}

/// A small generator, so that every run makes the same changes (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}
