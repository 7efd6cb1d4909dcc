use std::fs;

use crate::harness::{Client, Connect, Fleet, Mosquitto, eventually, on_every_broker};

/// Without the barrier, a change would be seen up to a second later.
const SELDOM: &str = "poll_interval = \"1s\"";

/// Revokes and connects, activates and connects: what is committed holds for the very next connection.
fn the_next_connection_is_judged_by_what_is_committed(mosquitto: &Mosquitto, example: &str, psk: bool) {
    let fleet = Fleet::with_sensors();
    fleet.option(SELDOM);
    let login =
        if psk { fleet.psk_device("device-001", "sensor") } else { fleet.certificate_device("device-001", "sensor") };
    let broker = fleet.start(mosquitto, example);
    let admitted = || Client::try_connect(&broker, &login, &Connect::v5("device-001")).is_ok_and(|(_, code)| code == 0);
    for round in 0..20 {
        fleet.set_status("device-001", "revoked");
        assert!(!admitted(), "round {round}");
        fleet.set_status("device-001", "active");
        assert!(admitted(), "round {round}");
    }
}

#[test]
fn strict_a_pre_shared_key_is_judged_by_what_is_committed() {
    on_every_broker(|mosquitto| the_next_connection_is_judged_by_what_is_committed(mosquitto, "psk.conf", true));
}

#[test]
fn strict_a_certificate_is_judged_by_what_is_committed() {
    on_every_broker(|mosquitto| {
        for example in ["certificates-named-by-warden.conf", "certificates.conf"] {
            the_next_connection_is_judged_by_what_is_committed(mosquitto, example, false);
        }
    });
}

#[test]
fn strict_a_certificate_that_is_first_seen_with_a_message_is_judged_so() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fleet.option(SELDOM);
        fleet.option("handshake = \"off\"");
        let login = fleet.certificate_device("device-001", "sensor");
        let broker = fleet.start(mosquitto, "certificates.conf");
        for round in 0..10 {
            fleet.set_status("device-001", "revoked");
            let (mut client, code) = Client::try_connect(&broker, &login, &Connect::v5("device-001")).unwrap();
            assert_eq!(code, 0, "nothing can stop the broker here");
            let answer = client.publish_acknowledged("devices/device-001/data", "x");
            assert!(answer.is_err() || answer.is_ok_and(|code| code == 0x87), "round {round}");
            fleet.set_status("device-001", "active");
            // Until the plugin has seen that it is good again, it may be thrown off as one of those who are still expected.
            eventually("it is let in again", || {
                let (mut client, _) = Client::try_connect(&broker, &login, &Connect::v5("device-001")).ok()?;
                client.publish_acknowledged("devices/device-001/data", "x").ok().filter(|code| *code != 0x87)
            });
        }
    });
}

#[test]
fn strict_the_first_message_is_judged_by_the_rights_that_are_committed() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fleet.option(SELDOM);
        let login = fleet.certificate_device("device-001", "sensor");
        let broker = fleet.start(mosquitto, "certificates.conf");
        for (statement, allowed) in [
            ("DELETE FROM device_roles", false),
            ("INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r", true),
            ("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'deny', 'publish', '#')", false),
            ("DELETE FROM rules WHERE effect = 'deny'", true),
        ] {
            fleet.sql(statement);
            let mut client = Client::connect(&broker, &login, &Connect::v5("device-001"));
            let code = client.publish_acknowledged("devices/device-001/data", "x").unwrap();
            assert_eq!(code != 0x87, allowed, "{statement}");
            client.disconnect();
        }
    });
}

/// A broker whose database is taken away, with these options: who connects is to be admitted, or not.
fn without_database(mosquitto: &Mosquitto, options: &[&str], wanted: bool) {
    let fleet = Fleet::with_sensors();
    for option in options {
        fleet.option(option);
    }
    let login = fleet.psk_device("device-001", "sensor");
    let broker = fleet.start(mosquitto, "psk.conf");
    let mut before = Client::connect(&broker, &login, &Connect::v5("device-001"));
    fs::rename(fleet.database(), fleet.path("data/aside.db")).unwrap();
    broker.wait_for_log("database is away");
    eventually("the connections are answered as they should be", || {
        let admitted = Client::try_connect(&broker, &login, &Connect::v5("device-001-b")).is_ok();
        (admitted == wanted).then_some(())
    });
    // Whoever is there stays, and keeps its rights.
    assert_ne!(before.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
    assert_eq!(before.publish_acknowledged("devices/device-002/data", "x").unwrap(), 0x87);
}

#[test]
fn bounded_admits_without_the_database_until_the_policy_is_too_old() {
    on_every_broker(|mosquitto| {
        let fresh = ["freshness = \"bounded\"", "max_staleness = \"1h\""];
        without_database(mosquitto, &fresh, true);
        let soon_old = ["freshness = \"bounded\"", "max_staleness = \"1s\""];
        without_database(mosquitto, &soon_old, false);
    });
}

#[test]
fn bounded_can_serve_on_however_old_the_policy_is() {
    on_every_broker(|mosquitto| {
        let options = ["freshness = \"bounded\"", "max_staleness = \"1ms\"", "on_stale = \"serve\""];
        without_database(mosquitto, &options, true);
    });
}
