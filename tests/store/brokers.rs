//! The brokers' rows, and what a checkpoint proves.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mosquitto_warden::policy::device::{DeviceId, DeviceStatus};
use mosquitto_warden::store::broker::{Broker, BrokerState};
use mosquitto_warden::store::device::Status;
use mosquitto_warden::store::feed::{Feed, Update};
use mosquitto_warden::store::registry::{Beat, Registrant, Registry};
use mosquitto_warden::store::{Noun, OpenMode, SchemaState, Store, StoreError};

use crate::{Fresh, Kind, on_every_database};

fn registrant(name: &str, instance: &str) -> Registrant {
    let (name, instance) = (name.to_owned(), instance.to_owned());
    Registrant { name, instance, interval: Duration::from_secs(5), version: "0.1.0", mosquitto: "2.1.2".to_owned() }
}

async fn one(fresh: &mut Fresh) -> Broker {
    let brokers = fresh.store.brokers().await.unwrap();
    assert_eq!(brokers.len(), 1);
    brokers.into_iter().next().unwrap()
}

#[test]
fn a_broker_registers_and_writes_its_row_until_it_ends() {
    on_every_database(async |mut fresh| {
        assert_eq!(fresh.store.brokers().await.unwrap(), []);
        let (who, mut registry) = (registrant("a", "1"), Registry::open(&fresh.database).await.unwrap());
        assert_eq!(registry.register(&who, Beat::default(), None).await.unwrap(), None);
        fresh.sql("INSERT INTO devices (name) VALUES ('d1'), ('d2')").unwrap();
        let newest = fresh.store.status().await.unwrap().revision;
        let broker = one(&mut fresh).await;
        assert_eq!((broker.state, broker.revision, broker.behind), (BrokerState::Live, 0, newest));
        assert_eq!((&*broker.version, &*broker.mosquitto), ("0.1.0", "2.1.2"));
        let beat = Beat { revision: newest, confirmed: 7, sessions: 3 };
        assert!(registry.beat(&who, beat).await.unwrap());
        let broker = one(&mut fresh).await;
        assert_eq!((broker.behind, broker.confirmed, broker.sessions), (0, 7, 3));
        assert!(broker.seconds_since < 10, "{broker:?}");
        fresh.sql("UPDATE brokers SET seen_at = '2020-01-31T12:00:00Z'").unwrap();
        assert_eq!(one(&mut fresh).await.state, BrokerState::Silent);
        registry.end(&who).await.unwrap();
        let broker = one(&mut fresh).await;
        assert_eq!((broker.state, broker.sessions), (BrokerState::Ended, 0));
    });
}

#[test]
fn a_name_is_taken_over_from_who_ended_or_is_gone_and_from_nobody_else() {
    on_every_database(async |mut fresh| {
        let (first, second) = (registrant("a", "1"), registrant("a", "2"));
        let mut registry = Registry::open(&fresh.database).await.unwrap();
        let mut other = Registry::open(&fresh.database).await.unwrap();
        let beat = Beat { confirmed: 5, ..Beat::default() };
        assert_eq!(registry.register(&first, beat, None).await.unwrap(), None);
        let occupant = other.register(&second, Beat::default(), None).await.unwrap().expect("the first has the name");
        assert!(registry.beat(&first, beat).await.unwrap());
        assert!(!other.beat(&second, Beat::default()).await.unwrap());
        // It has written its row since then: it is not gone.
        let occupant = other.register(&second, Beat::default(), Some(&occupant)).await.unwrap().expect("it lives");
        assert_eq!(one(&mut fresh).await.confirmed, 5);
        assert_eq!(other.register(&second, Beat::default(), Some(&occupant)).await.unwrap(), None);
        assert_eq!(one(&mut fresh).await.confirmed, 0, "what another process has confirmed is not ours");
        assert!(!registry.beat(&first, beat).await.unwrap(), "it is told that it has lost its name");
        other.end(&second).await.unwrap();
        assert_eq!(registry.register(&first, beat, None).await.unwrap(), None);
        let broker = one(&mut fresh).await;
        assert_eq!((broker.state, broker.confirmed), (BrokerState::Live, 5));
    });
}

#[test]
fn who_is_gone_can_be_forgotten_and_who_is_live_cannot() {
    on_every_database(async |mut fresh| {
        let (who, mut registry) = (registrant("oslo-1", "1"), Registry::open(&fresh.database).await.unwrap());
        registry.register(&who, Beat::default(), None).await.unwrap();
        let error = fresh.store.forget_broker("oslo-1").await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_)), "{error}");
        let error = fresh.store.forget_broker("oslo-2").await.unwrap_err();
        assert!(
            matches!(&error, StoreError::NotFound { noun: Noun::Broker, nearest: Some(near), .. } if near == "oslo-1")
        );
        fresh.sql("UPDATE brokers SET seen_at = '2020-01-31T12:00:00Z'").unwrap();
        fresh.store.forget_broker("oslo-1").await.unwrap();
        assert_eq!(fresh.store.brokers().await.unwrap(), []);
        // One that was only cut off comes back.
        assert!(!registry.beat(&who, Beat::default()).await.unwrap());
        assert_eq!(registry.register(&who, Beat::default(), None).await.unwrap(), None);
        assert_eq!(one(&mut fresh).await.state, BrokerState::Live);
    });
}

#[test]
fn a_checkpoint_is_higher_than_any_before_whatever_the_clock_says() {
    on_every_database(async |mut fresh| {
        let first = fresh.store.raise_checkpoint().await.unwrap();
        let second = fresh.store.raise_checkpoint().await.unwrap();
        assert!(first > 1_700_000_000_000_000 && second > first, "{first} {second}");
        let key = if fresh.kind == Kind::Mariadb { "`key`" } else { "key" };
        fresh.sql(&format!("UPDATE warden_meta SET value = '4000000000000000' WHERE {key} = 'checkpoint'")).unwrap();
        assert_eq!(fresh.store.raise_checkpoint().await.unwrap(), 4_000_000_000_000_001);
        fresh.sql(&format!("DELETE FROM warden_meta WHERE {key} = 'checkpoint'")).unwrap();
        assert!(fresh.store.raise_checkpoint().await.unwrap() > second);
    });
}

/// A reader that knows the status of each device.
struct Reader {
    feed: Feed,
    devices: BTreeMap<DeviceId, DeviceStatus>,
}

impl Reader {
    async fn new(fresh: &Fresh) -> Self {
        let mut reader = Self { feed: Feed::open_again(&fresh.database).await.unwrap(), devices: BTreeMap::new() };
        reader.update().await;
        reader
    }

    /// Reads what is new; the checkpoint that came with it.
    async fn update(&mut self) -> i64 {
        match self.feed.update().await.unwrap() {
            Update::Nothing => {}
            Update::Everything(all) => {
                self.devices = all.devices.into_iter().map(|device| (device.id, device.status)).collect();
            }
            Update::Changes(changes) => {
                let changed = changes.devices.into_iter();
                self.devices.extend(changed.filter_map(|(id, device)| Some((id, device?.status))));
            }
        }
        self.feed.checkpoint()
    }
}

#[test]
fn who_has_seen_a_checkpoint_has_seen_what_was_committed_before_it() {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 15;
    on_every_database(async |fresh| {
        let names: Vec<String> = (1..=2 * WRITERS * ROUNDS).map(|number| format!("('d{number}')")).collect();
        fresh.sql(&format!("INSERT INTO devices (name) VALUES {}", names.join(", "))).unwrap();
        let mut reader = Reader::new(&fresh).await;
        // Each checkpoint, and the device that was revoked before it was raised.
        let raised: Mutex<Vec<(i64, DeviceId)>> = Mutex::new(Vec::new());
        let write = async |writer: usize| {
            let mut store = Store::open(&fresh.database, OpenMode::Write).await.unwrap();
            for round in 0..ROUNDS {
                let number = writer * ROUNDS + round + 1;
                // Somebody else's transaction takes a number of the log, and keeps it for a while.
                let other = number + WRITERS * ROUNDS;
                let sleep = match fresh.kind {
                    Kind::Sqlite => String::new(),
                    Kind::Postgres => format!("SELECT pg_sleep(0.0{});", round % 7),
                    Kind::Mariadb => format!("SELECT sleep(0.0{});", round % 7),
                };
                let end = if round % 3 == 0 { "ROLLBACK" } else { "COMMIT" };
                let statements =
                    format!("BEGIN; UPDATE devices SET status = 'suspended' WHERE name = 'd{other}'; {sleep} {end};");
                let mut open = fresh.shell().arg(statements).stdout(Stdio::null()).spawn().unwrap();
                store.set_status(&format!("d{number}"), Status::Revoked, None).await.unwrap();
                let checkpoint = store.raise_checkpoint().await.unwrap();
                raised.lock().unwrap().push((checkpoint, i64::try_from(number).unwrap()));
                // The others go on meanwhile.
                let status = loop {
                    match open.try_wait().unwrap() {
                        Some(status) => break status,
                        None => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                };
                assert!(status.success());
            }
        };
        let (mut checked, mut seen) = (0, 0);
        let watch = async {
            let deadline = Instant::now() + Duration::from_mins(2);
            while checked < WRITERS * ROUNDS {
                seen = reader.update().await.max(seen);
                let due: Vec<_> = {
                    let mut raised = raised.lock().unwrap();
                    raised.extract_if(.., |(checkpoint, _)| *checkpoint <= seen).collect()
                };
                for (checkpoint, number) in due {
                    assert_eq!(reader.devices[&number], DeviceStatus::Revoked, "checkpoint {checkpoint} of {seen}");
                    checked += 1;
                }
                assert!(Instant::now() < deadline);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let writers = async {
            tokio::join!(write(0), write(1), write(2), write(3), write(4), write(5));
        };
        tokio::join!(watch, writers);
        assert_eq!(checked, WRITERS * ROUNDS);
    });
}

/// What takes back the third migration, and the second.
fn undone(kind: Kind) -> [Vec<String>; 2] {
    let owned = |statements: &[&str]| statements.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let key = if kind == Kind::Mariadb { "`key`" } else { "key" };
    let third = match kind {
        Kind::Sqlite => owned(&[
            "DROP TRIGGER credentials_role_insert",
            "DROP TRIGGER credentials_role_update",
            "DROP TRIGGER roles_deleted_with_credentials",
            "DROP TRIGGER devices_deleted_with_certificates",
            "DROP INDEX credentials_by_role",
        ]),
        Kind::Postgres => Vec::new(),
        Kind::Mariadb => owned(&[
            "DROP TRIGGER roles_deleting_credentials",
            "DROP TRIGGER devices_deleting_certificates",
            "ALTER TABLE credentials DROP FOREIGN KEY credentials_role",
        ]),
    };
    let both = ["ALTER TABLE credentials DROP COLUMN role_id", "DROP TABLE certificates"];
    let second = ["DROP TABLE brokers".to_owned(), format!("DELETE FROM warden_meta WHERE {key} = 'checkpoint'")];
    [[third, owned(&both)].concat(), second.into()]
}

#[test]
fn a_database_of_a_schema_before_is_brought_up_to_date_and_keeps_its_devices() {
    on_every_database(async |fresh| {
        fresh.sql("INSERT INTO devices (name) VALUES ('d1')").unwrap();
        fresh.sql("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_cn', 'd1')").unwrap();
        for found in [2, 1] {
            for (statements, version) in undone(fresh.kind).into_iter().zip([3, 2]).filter(|(_, it)| *it > found) {
                let forgotten = format!("DELETE FROM _sqlx_migrations WHERE version = {version}");
                for statement in statements.into_iter().chain([forgotten]) {
                    fresh.sql(&statement).unwrap();
                }
            }
            let error = Feed::open(&fresh.database).await.unwrap_err();
            assert!(error.to_string().ends_with("run `warden init`"), "{error}");
            let (mut store, created) = Store::create(&fresh.database, None).await.unwrap();
            assert_eq!(created.before, SchemaState::Older { found, needed: 3 });
            assert_eq!(store.status().await.unwrap().counts.active_devices, 1);
            assert_eq!(store.brokers().await.unwrap(), []);
            // What it has is no less than it was.
            let credentials = store.credentials(Some("d1")).await.unwrap();
            assert_eq!((credentials.len(), credentials[0].only_role.as_deref()), (1, None));
            // Whoever still looks keeps others from changing tables.
            store.close().await.unwrap();
        }
    });
}
