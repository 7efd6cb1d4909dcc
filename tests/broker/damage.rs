use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use crate::harness::{Client, Connect, Fleet, Mosquitto, on_every_broker};

/// The log of a broker that must not start on this fleet.
fn refusal(fleet: &Fleet, mosquitto: &Mosquitto) -> String {
    let failure = fleet.try_start(mosquitto, &fleet.configuration("psk.conf")).expect_err("the broker started");
    assert!(failure.code.is_some_and(|code| code != 0), "{failure:?}");
    failure.log
}

#[test]
fn a_broker_does_not_start_without_its_database_and_says_what_to_type() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fs::remove_file(fleet.database()).unwrap();
        let log = refusal(&fleet, mosquitto);
        assert!(log.contains("there is no database") && log.contains("warden init"), "{log}");
    });
}

#[test]
fn a_broker_does_not_start_on_a_truncated_database() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fleet.sql("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = WAL;");
        let file = fs::OpenOptions::new().write(true).open(fleet.database()).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        let log = refusal(&fleet, mosquitto);
        assert!(log.contains("is cut off"), "{log}");
    });
}

#[test]
fn a_broker_does_not_start_on_a_file_that_is_no_database() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fs::write(fleet.database(), "devices,roles\n".repeat(1000)).unwrap();
        let log = refusal(&fleet, mosquitto);
        assert!(log.contains("is not an SQLite database"), "{log}");
    });
}

#[test]
fn a_broker_does_not_start_on_a_schema_of_another_version() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fleet.sql("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 2");
        let log = refusal(&fleet, mosquitto);
        assert!(log.contains("schema 9999") && log.contains("upgrade mosquitto-warden"), "{log}");
    });
}

#[test]
fn a_broker_does_not_start_with_a_bad_key_file_and_never_shows_it() {
    on_every_broker(|mosquitto| {
        let secret = "5f1d".repeat(15);
        for (content, mode, words) in
            [(secret.clone(), 0o600, "64"), ("g".repeat(64), 0o600, "64"), (secret.repeat(2), 0o644, "chmod 600")]
        {
            let fleet = Fleet::with_sensors();
            fs::write(fleet.key_file(), &content).unwrap();
            fs::set_permissions(fleet.key_file(), fs::Permissions::from_mode(mode)).unwrap();
            let log = refusal(&fleet, mosquitto);
            assert!(log.contains(words) && !log.contains(&secret), "{log}");
        }
        let fleet = Fleet::with_sensors();
        let other = Fleet::with_sensors();
        fs::copy(other.key_file(), fleet.key_file()).unwrap();
        let log = refusal(&fleet, mosquitto);
        assert!(log.contains("is not the one that this database is sealed with"), "{log}");
    });
}

#[test]
fn a_broker_that_may_not_use_its_database_says_whose_it_is() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give a file to somebody else; CI runs as root.
        return;
    }
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        chown(fleet.database(), Some(0), Some(0)).unwrap();
        fs::set_permissions(fleet.database(), fs::Permissions::from_mode(0o644)).unwrap();
        let log = refusal(&fleet, mosquitto);
        assert!(log.contains("belongs to `root`") && log.contains("chown"), "{log}");
    });
}

#[test]
fn every_mistake_in_the_options_is_named_at_once() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fleet.option("frehsness = \"strict\"");
        fleet.option("refusals_per_second = \"many\"");
        let configuration = fleet
            .configuration("psk.conf")
            .replace("allow_anonymous false", "plugin_opt_max_stalenes 60s\nallow_anonymous false");
        let failure = fleet.try_start(mosquitto, &configuration).unwrap_err();
        for words in ["did you mean `freshness`?", "refusals_per_second", "did you mean `max_staleness`?"] {
            assert!(failure.log.contains(words), "{words}: {}", failure.log);
        }
    });
}

#[test]
fn a_database_deleted_while_running_refuses_who_comes_leaves_who_is_there_and_can_come_back() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.psk_device("device-001", "sensor");
        let mut broker = fleet.start(mosquitto, "psk.conf");
        let mut client = Client::connect(&broker, &login, &Connect::v5("device-001"));
        fleet.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        let aside = fleet.path("data/aside.db");
        fs::rename(fleet.database(), &aside).unwrap();
        // The next poll sees it.
        broker.wait_for_log("database is away");
        assert!(Client::try_connect(&broker, &login, &Connect::v5("device-001-b")).is_err());
        assert_ne!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
        // What is put back may say something else.
        fs::rename(&aside, fleet.database()).unwrap();
        broker.wait_for_log("database is back");
        Client::connect(&broker, &login, &Connect::v5("device-001-b")).disconnect();
        fleet.set_status("device-001", "revoked");
        client.closed();
        assert!(broker.is_running());
    });
}

#[test]
fn a_database_truncated_while_running_stops_nobody_who_is_there() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.psk_device("device-001", "sensor");
        let mut broker = fleet.start(mosquitto, "psk.conf");
        let mut client = Client::connect(&broker, &login, &Connect::v5("device-001"));
        // An SQLite writer that goes through the truncated file is what makes the feed look at it again.
        fleet.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        let file = fs::OpenOptions::new().write(true).open(fleet.database()).unwrap();
        file.set_len(4096).unwrap();
        let _ = std::process::Command::new("sqlite3")
            .arg(fleet.database())
            .arg("CREATE TABLE noise (x); UPDATE devices SET status = 'active';")
            .output();
        assert_ne!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
        assert!(broker.is_running());
        client.ping().unwrap();
    });
}
