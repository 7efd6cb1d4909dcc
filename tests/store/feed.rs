//! Whoever follows a database misses nothing, in whatever order transactions are committed, and waits for nobody.

use std::process::Child;
use std::time::{Duration, Instant};

use mosquitto_warden::database::Database;
use mosquitto_warden::policy::device::DeviceStatus;
use mosquitto_warden::store::credential::Kind as Credential;
use mosquitto_warden::store::feed::{Feed, Update};
use mosquitto_warden::store::registry::{Beat, Registrant, Registry};
use mosquitto_warden::store::{Beyond, OpenMode, Store};

use crate::databases::{on_postgres, on_servers};
use crate::reader::Reader;
use crate::{Fresh, Kind, on_every_database};

fn devices(fresh: &Fresh, count: usize) {
    let names: Vec<String> = (1..=count).map(|number| format!("('d{number}')")).collect();
    fresh.sql(&format!("INSERT INTO devices (name) VALUES {}", names.join(", "))).unwrap();
}

fn revoke(fresh: &Fresh, number: i64) {
    fresh.sql(&format!("UPDATE devices SET status = 'revoked' WHERE name = 'd{number}'")).unwrap();
}

/// Waits until the shell's statement has got its number, which an open transaction keeps.
async fn until_written(fresh: &Fresh, before: i64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let counter = match fresh.kind {
        Kind::Postgres => "SELECT last_value FROM change_log_revision_seq",
        _ => "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; SELECT max(revision) FROM change_log",
    };
    while fresh.sql(counter).unwrap().parse::<i64>().unwrap() <= before {
        assert!(Instant::now() < deadline, "the other session has written nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn everything_comes_first_and_then_what_changes() {
    on_every_database(async |fresh| {
        devices(&fresh, 3);
        let mut reader = Reader::new(&fresh).await;
        assert_eq!(reader.devices.len(), 3);
        assert!(matches!(reader.feed.update().await.unwrap(), Update::Nothing));
        for (sql, named) in [
            ("UPDATE devices SET status = 'revoked' WHERE name = 'd2'", vec![2]),
            ("INSERT INTO credentials (device_id, kind, identity) VALUES (3, 'x509_cn', 'x')", vec![3]),
            ("DELETE FROM devices WHERE name = 'd1'", vec![1]),
        ] {
            fresh.sql(sql).unwrap();
            assert_eq!(reader.update().await, named, "{sql}");
        }
        assert_eq!(reader.status(2), Some(DeviceStatus::Revoked));
        assert_eq!(reader.devices[&3].credentials.len(), 1);
        assert_eq!(reader.status(1), None);
        assert_eq!(reader.whole, 1);
        reader.is_as_a_fresh_one(&fresh).await;
    });
}

#[test]
fn moments_are_read_as_they_are_written() {
    on_every_database(async |fresh| {
        devices(&fresh, 1);
        let credential = "INSERT INTO credentials (device_id, kind, identity, not_before, not_after)
                          VALUES (1, 'x509_cn', 'd1', '2026-01-31T12:00:00Z', NULL)";
        fresh.sql(credential).unwrap();
        let reader = Reader::new(&fresh).await;
        let credential = &reader.devices[&1].credentials[0];
        assert_eq!((credential.limits.not_before, credential.limits.not_after), (Some(1_769_860_800), None));
    });
}

#[test]
fn an_open_transaction_delays_nobody_and_is_not_missed() {
    on_servers(async |fresh| {
        devices(&fresh, 4);
        let mut reader = Reader::new(&fresh).await;
        let newest = fresh.sql("SELECT max(revision) FROM change_log").unwrap().parse().unwrap();
        let mut slow = fresh.session();
        slow.say("BEGIN");
        slow.say("UPDATE devices SET status = 'revoked' WHERE name = 'd1'");
        until_written(&fresh, newest).await;
        for number in [2, 3] {
            revoke(&fresh, number);
            assert_eq!(reader.update().await, [number], "at once, though an older one is open");
        }
        assert!(reader.update().await.is_empty());
        // Longer than it takes to look once at what is open.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert!(reader.update().await.is_empty());
        assert_eq!(reader.status(1), Some(DeviceStatus::Active));
        slow.done("COMMIT");
        assert_eq!(reader.update().await, [1], "it has a lower number than what was seen before");
        assert!(reader.update().await.is_empty());
        assert_eq!(reader.whole, 1);
        reader.is_as_a_fresh_one(&fresh).await;
    });
}

#[test]
fn a_transaction_that_was_open_at_the_start_is_not_missed() {
    on_servers(async |fresh| {
        devices(&fresh, 3);
        let newest = fresh.sql("SELECT max(revision) FROM change_log").unwrap().parse().unwrap();
        let mut slow = fresh.session();
        slow.say("BEGIN");
        slow.say("UPDATE devices SET status = 'revoked' WHERE name = 'd1'");
        until_written(&fresh, newest).await;
        revoke(&fresh, 2);
        let mut reader = Reader::new(&fresh).await;
        assert_eq!((reader.status(1), reader.status(2)), (Some(DeviceStatus::Active), Some(DeviceStatus::Revoked)));
        slow.done("COMMIT");
        assert_eq!(reader.update().await, [1]);
        reader.is_as_a_fresh_one(&fresh).await;
    });
}

#[test]
fn what_is_rolled_back_is_nothing() {
    on_servers(async |fresh| {
        devices(&fresh, 3);
        let mut reader = Reader::new(&fresh).await;
        let newest = fresh.sql("SELECT max(revision) FROM change_log").unwrap().parse().unwrap();
        let mut slow = fresh.session();
        slow.say("BEGIN");
        slow.say("UPDATE devices SET status = 'revoked' WHERE name = 'd1'");
        until_written(&fresh, newest).await;
        revoke(&fresh, 2);
        assert_eq!(reader.update().await, [2]);
        slow.done("ROLLBACK");
        assert!(reader.update().await.is_empty());
        revoke(&fresh, 3);
        assert_eq!(reader.update().await, [3]);
        assert_eq!(reader.status(1), Some(DeviceStatus::Active));
        assert_eq!(reader.whole, 1);
    });
}

#[test]
fn many_writers_in_any_order_leave_the_reader_with_the_truth() {
    on_servers(async |fresh| {
        devices(&fresh, 40);
        let mut reader = Reader::new(&fresh).await;
        let writer = |writer: usize| {
            let mut session = fresh.session();
            for round in 0..25 {
                // Each writer has its own devices, so that none waits for another's lock.
                let number = writer * 5 + round % 5 + 1;
                let status = ["active", "suspended", "revoked"][(round + writer) % 3];
                let pause = format!("0.{:02}", (writer * 7 + round * 3) % 11);
                let sleep = if fresh.kind == Kind::Postgres { "pg_sleep" } else { "sleep" };
                session.say("BEGIN");
                session.say(&format!("UPDATE devices SET status = '{status}' WHERE name = 'd{number}'"));
                session.say(&format!("SELECT {sleep}({pause})"));
                session.say(if (writer + round).is_multiple_of(4) { "ROLLBACK" } else { "COMMIT" });
            }
            session.leave()
        };
        let mut writers: Vec<Child> = (0..8).map(writer).collect();
        while !writers.is_empty() {
            reader.update().await;
            tokio::time::sleep(Duration::from_millis(3)).await;
            writers.retain_mut(|shell| match shell.try_wait().unwrap() {
                Some(status) => {
                    assert!(status.success());
                    false
                }
                None => true,
            });
        }
        reader.is_as_a_fresh_one(&fresh).await;
        assert_eq!(reader.whole, 1);
    });
}

#[test]
fn the_log_is_bounded_and_whoever_was_away_longer_reads_everything() {
    on_every_database(async |fresh| {
        devices(&fresh, 2);
        let mut there = Reader::new(&fresh).await;
        let mut away = Reader::new(&fresh).await;
        revoke(&fresh, 1);
        there.update().await;
        assert_eq!(there.status(1), Some(DeviceStatus::Revoked));
        // As if two hundred thousand changes came in between.
        let ahead = match fresh.kind {
            Kind::Sqlite => "UPDATE sqlite_sequence SET seq = 300999 WHERE name = 'change_log'",
            Kind::Postgres => "ALTER TABLE change_log ALTER revision RESTART WITH 301000",
            Kind::Mariadb => "ALTER TABLE change_log AUTO_INCREMENT = 301000",
        };
        fresh.sql(ahead).unwrap();
        revoke(&fresh, 2);
        assert_eq!(fresh.sql("SELECT count(*) FROM change_log").unwrap(), "1", "what is old is deleted");
        there.update().await;
        assert_eq!(there.status(2), Some(DeviceStatus::Revoked));
        away.update().await;
        assert_eq!((away.status(1), away.status(2)), (Some(DeviceStatus::Revoked), Some(DeviceStatus::Revoked)));
        assert_eq!(away.whole, 2);
        for reader in [&mut there, &mut away] {
            assert!(reader.update().await.is_empty());
            reader.is_as_a_fresh_one(&fresh).await;
        }
    });
}

#[test]
fn a_notification_wakes_whoever_waits() {
    on_servers(async |fresh| {
        devices(&fresh, 2);
        let mut reader = Reader::new(&fresh).await;
        if fresh.kind != Kind::Postgres {
            return;
        }
        // Until it listens it wakes by itself.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let _ = tokio::time::timeout(Duration::from_millis(1), reader.feed.wait(Duration::from_millis(1))).await;
        revoke(&fresh, 1);
        let begun = Instant::now();
        reader.feed.wait(Duration::from_mins(1)).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "it waited for {:?}", begun.elapsed());
        assert_eq!(reader.update().await, [1]);
    });
}

#[test]
fn however_many_devices_there_are_all_are_read_with_what_is_theirs() {
    on_every_database(async |fresh| {
        // They are read five thousand at a time.
        devices(&fresh, 10_001);
        if fresh.kind == Kind::Sqlite {
            fresh.sql(&format!("INSERT INTO devices (id, name) VALUES ({}, 'least'), (0, 'zero')", i64::MIN)).unwrap();
        }
        fresh.sql("INSERT INTO roles (name) VALUES ('r')").unwrap();
        fresh
            .sql("INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', name FROM devices")
            .unwrap();
        fresh
            .sql("INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r WHERE d.name <> 'd5000'")
            .unwrap();
        let reader = Reader::new(&fresh).await;
        assert_eq!(reader.devices.len(), if fresh.kind == Kind::Sqlite { 10_003 } else { 10_001 });
        for device in reader.devices.values() {
            let identities: Vec<&str> = device.credentials.iter().map(|credential| &*credential.identity).collect();
            assert_eq!(identities, [&*device.name]);
            assert_eq!(device.roles.len(), usize::from(*device.name != *"d5000"), "{}", device.name);
        }
    });
}

#[test]
fn who_follows_reads_what_is_new_and_not_the_whole_log() {
    on_postgres(async |fresh| {
        fresh.sql("INSERT INTO devices (name) SELECT 'd' || n FROM generate_series(1, 20000) AS n").unwrap();
        let mut reader = Reader::new(&fresh).await;
        // PostgreSQL counts when a connection ends, and shows it some time later.
        let rows_read = "SELECT seq_tup_read, idx_scan FROM pg_stat_user_tables WHERE relname = 'change_log'";
        let counted = async || {
            let text = fresh.sql(rows_read).unwrap();
            let (whole, by_index) = text.trim().split_once('|').unwrap();
            (whole.parse::<u64>().unwrap(), by_index.parse::<u64>().unwrap())
        };
        let (whole, by_index) = counted().await;
        for id in 1..=20 {
            // More often than a statement is planned for its values.
            revoke(&fresh, id);
            assert_eq!(reader.update().await, [id]);
            assert_eq!(reader.update().await, [] as [i64; 0]);
        }
        drop(reader);
        let (now_whole, _) = soon(async || Some(counted().await).filter(|(_, now)| *now >= by_index + 40)).await;
        assert!(now_whole - whole < 20_000, "{} entries were read to find 20", now_whole - whole);
    });
}

#[test]
fn a_truncated_table_is_a_change_where_it_is_possible() {
    on_servers(async |fresh| {
        devices(&fresh, 2);
        fresh.sql("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_cn', 'x')").unwrap();
        let mut reader = Reader::new(&fresh).await;
        if fresh.kind != Kind::Postgres {
            for table in ["devices", "credentials"] {
                assert!(fresh.sql(&format!("TRUNCATE {table}")).unwrap_err().contains("foreign key"));
            }
            return;
        }
        fresh.sql("TRUNCATE devices CASCADE").unwrap();
        assert_eq!(reader.update().await, [1, 2]);
        assert!(reader.devices.is_empty());
        fresh.sql("INSERT INTO devices (name) VALUES ('d1')").unwrap();
        assert_eq!(reader.update().await, [3]);
    });
}

#[test]
fn a_table_that_is_gone_is_no_silence_and_another_one_is_read() {
    on_servers(async |fresh| {
        devices(&fresh, 2);
        fresh.sql("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_cn', 'x')").unwrap();
        let mut reader = Reader::new(&fresh).await;
        // MariaDB says to the second when a table was made.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let copy = if fresh.kind == Kind::Postgres { "(LIKE credentials INCLUDING ALL)" } else { "LIKE credentials" };
        fresh.sql(&format!("CREATE TABLE other {copy}")).unwrap();
        fresh.sql("ALTER TABLE credentials RENAME TO aside").unwrap();
        let error = soon(async || reader.feed.update().await.err()).await;
        assert!(error.to_string().contains("credentials"), "{error}");
        fresh.sql("ALTER TABLE other RENAME TO credentials").unwrap();
        let mut reader = Reader::new(&fresh).await;
        assert!(reader.devices[&1].credentials.is_empty());
        tokio::time::sleep(Duration::from_millis(1100)).await;
        fresh.sql("ALTER TABLE credentials RENAME TO other").unwrap();
        fresh.sql("ALTER TABLE aside RENAME TO credentials").unwrap();
        soon(async || {
            reader.update().await;
            (reader.whole == 2).then_some(())
        })
        .await;
        assert_eq!(reader.devices[&1].credentials.len(), 1);
    });
}

/// What is there before long: tables are looked at once a second.
async fn soon<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A user of the server who has the rights that are written for the plugin and no others; gone with `drop`.
struct Limited<'a> {
    fresh: &'a Fresh,
    user: String,
    database: Database,
}

impl<'a> Limited<'a> {
    fn new(fresh: &'a Fresh, user: String, grants: &[String]) -> Self {
        let login = match fresh.kind {
            Kind::Postgres => format!("CREATE ROLE {user} LOGIN"),
            _ => format!("CREATE USER '{user}'@'%'"),
        };
        fresh.sql(&login).unwrap();
        for statement in grants {
            fresh.sql(statement).unwrap();
        }
        fresh
            .sql("INSERT INTO credentials (device_id, kind, identity, secret) VALUES (1, 'password', 'u', 'old')")
            .unwrap();
        let (Database::Postgres(address) | Database::Mysql(address)) = &fresh.database else { panic!() };
        let mut address = address.with_password().clone();
        address.set_username(&user).unwrap();
        let database = Database::parse(address.as_str()).unwrap();
        Self { fresh, user, database }
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        let user = &self.user;
        let gone = match self.fresh.kind {
            Kind::Postgres => format!("DROP OWNED BY {user}; DROP ROLE {user}"),
            _ => format!("DROP USER '{user}'@'%'"),
        };
        self.fresh.sql(&gone).unwrap();
    }
}

#[test]
fn the_grants_that_are_written_are_enough_to_follow_and_to_change_nothing() {
    on_servers(async |mut fresh| {
        devices(&fresh, 2);
        let user = format!("plugin_{}", fresh.database.to_string().rsplit('_').next().unwrap());
        let grants = fresh.store.grants(&user, Beyond::default()).await.unwrap();
        let limited = Limited::new(&fresh, user, &grants);
        let mut feed = Feed::open(&limited.database).await.unwrap();
        assert!(matches!(feed.update().await.unwrap(), Update::Everything(all) if all.devices.len() == 2));
        assert_eq!(feed.key_id().await.unwrap(), None);
        revoke(&fresh, 1);
        assert!(matches!(feed.update().await.unwrap(), Update::Changes(changes) if changes.devices.len() == 1));
        let mut store = Store::open(&limited.database, OpenMode::Write).await.unwrap();
        let error = store.remove_device("d2").await.unwrap_err();
        assert!(error.is_forbidden(), "{error}");
        let mut registry = Registry::open(&limited.database).await.unwrap();
        let error = registry.register(&registrant("a"), Beat::default(), None).await.unwrap_err();
        assert!(error.is_forbidden(), "{error}");
        let error = store.upgrade_password("u", "old", "new").await.unwrap_err();
        assert!(error.is_forbidden(), "{error}");
    });
}

#[test]
fn the_grants_for_better_hashes_let_them_be_written_and_nothing_else() {
    on_servers(async |mut fresh| {
        devices(&fresh, 2);
        let user = format!("hashes_{}", fresh.database.to_string().rsplit('_').next().unwrap());
        let beyond = Beyond { upgrade_passwords: true, ..Beyond::default() };
        let grants = fresh.store.grants(&user, beyond).await.unwrap();
        let limited = Limited::new(&fresh, user, &grants);
        let mut feed = Feed::open(&limited.database).await.unwrap();
        feed.update().await.unwrap();
        let mut store = Store::open(&limited.database, OpenMode::Write).await.unwrap();
        assert!(store.upgrade_password("u", "old", "new").await.unwrap());
        assert!(matches!(feed.update().await.unwrap(), Update::Changes(changes) if changes.devices.len() == 1));
        let error = store.revoke_credential("d1", Credential::Password, None).await.unwrap_err();
        assert!(error.is_forbidden(), "{error}");
        drop((feed, store));
    });
}

#[test]
fn the_grants_for_a_heartbeat_let_a_broker_write_its_row_and_no_other_table() {
    on_servers(async |mut fresh| {
        devices(&fresh, 2);
        let user = format!("heart_{}", fresh.database.to_string().rsplit('_').next().unwrap());
        let grants = fresh.store.grants(&user, Beyond { heartbeat: true, ..Beyond::default() }).await.unwrap();
        let who = registrant("a");
        {
            let limited = Limited::new(&fresh, user, &grants);
            let mut registry = Registry::open(&limited.database).await.unwrap();
            assert_eq!(registry.register(&who, Beat::default(), None).await.unwrap(), None);
            assert!(registry.beat(&who, Beat::default()).await.unwrap());
            registry.end(&who).await.unwrap();
            let mut store = Store::open(&limited.database, OpenMode::Write).await.unwrap();
            for error in [
                store.remove_device("d2").await.unwrap_err(),
                store.raise_checkpoint().await.unwrap_err(),
                store.forget_broker("a").await.unwrap_err(),
            ] {
                assert!(error.is_forbidden(), "{error}");
            }
        }
        fresh.store.forget_broker("a").await.unwrap();
    });
}

fn registrant(name: &str) -> Registrant {
    let (name, instance, interval) = (name.to_owned(), "1".to_owned(), Duration::from_secs(5));
    Registrant { name, instance, interval, version: "0.1.0", mosquitto: "2.1.2".to_owned() }
}
