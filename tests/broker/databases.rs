//! The same claims for a policy in a file and on servers; and one policy for several brokers.

use std::time::{Duration, Instant};

use crate::harness::{
    Client, Connect, Fleet, Mosquitto, admitted_though_revoked, eventually, installed, on_every_broker, windows,
};
use crate::servers::Kind;

const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::Mariadb];

const DATA: &str = "devices/device-001/data";

fn revocation_role_change_and_reactivation(mosquitto: &Mosquitto, kind: Kind) {
    let fleet = Fleet::with_sensors_on(kind);
    let (certificate, psk) =
        (fleet.certificate_device("device-001", "sensor"), fleet.psk_device("device-002", "sensor"));
    for (example, login, name) in [("certificates.conf", &certificate, "device-001"), ("psk.conf", &psk, "device-002")]
    {
        let broker = fleet.start(mosquitto, example);
        let topic = format!("devices/{name}/data");
        let admitted = || Client::try_connect(&broker, login, &Connect::v5(name)).is_ok_and(|(_, code)| code == 0);
        let mut client = Client::connect(&broker, login, &Connect::v5(name));
        assert_ne!(client.publish_acknowledged(&topic, "x").unwrap(), 0x87);
        // By plain SQL, as an operator types it.
        fleet.set_status(name, "revoked");
        client.closed();
        assert!(!admitted(), "{kind:?}: revoked");
        fleet.set_status(name, "active");
        eventually("it is admitted again", || admitted().then_some(()));
        // By the command.
        let mut client = Client::connect(&broker, login, &Connect::v5(name));
        fleet.warden(&["role", "withdraw", "sensor", name]);
        eventually("a right that came with a role is gone with it", || {
            (client.publish_acknowledged(&topic, "").ok()? == 0x87).then_some(())
        });
        fleet.warden(&["role", "grant", "sensor", name]);
        eventually("and comes back", || (client.publish_acknowledged(&topic, "").ok()? != 0x87).then_some(()));
        fleet.warden(&["device", "revoke", name, "--reason", "stolen"]);
        client.closed();
        fleet.warden(&["device", "activate", name]);
        // What ended with it stays so.
        assert!(!admitted(), "{kind:?}: activated, without a credential");
        fleet.sql("UPDATE credentials SET status = 'active'");
        eventually("it is admitted again", || admitted().then_some(()));
    }
}

#[test]
fn revocation_role_change_and_reactivation_act_on_running_brokers() {
    for kind in KINDS {
        on_every_broker(|mosquitto| revocation_role_change_and_reactivation(mosquitto, kind));
    }
}

#[test]
fn strict_the_next_connection_is_judged_by_what_is_committed_on_a_server() {
    for (kind, times) in [(Kind::Sqlite, 20), (Kind::Postgres, 100), (Kind::Mariadb, 50)] {
        on_every_broker(|mosquitto| assert_eq!(admitted_though_revoked(mosquitto, kind, times), 0, "{kind:?}"));
    }
}

#[test]
fn bounded_a_revoked_device_is_soon_refused_and_an_active_one_admitted() {
    for kind in KINDS {
        on_every_broker(|mosquitto| {
            let windows = windows(mosquitto, kind, 20);
            let (median, longest) = (windows[windows.len() / 2], windows[windows.len() - 1]);
            println!("{kind:?}, mosquitto {}: commit to refusal p50 {median:.1?}, max {longest:.1?}", mosquitto.name);
            assert!(longest < Duration::from_secs(5), "{kind:?}: {longest:?}");
        });
    }
}

#[test]
fn one_revocation_acts_on_every_broker_of_a_database() {
    for kind in KINDS {
        let fleet = Fleet::with_sensors_on(kind);
        let login = fleet.certificate_device("device-001", "sensor");
        let brokers: Vec<_> = installed().iter().map(|mosquitto| fleet.start(mosquitto, "certificates.conf")).collect();
        let connect = |broker| {
            let mut client = Client::connect(broker, &login, &Connect::v5("device-001"));
            assert_ne!(client.publish_acknowledged(DATA, "x").unwrap(), 0x87);
            client
        };
        let clients: Vec<Client> = brokers.iter().map(connect).collect();
        let begun = Instant::now();
        fleet.set_status("device-001", "revoked");
        for mut client in clients {
            client.closed();
        }
        assert!(begun.elapsed().as_secs() < 5, "{kind:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_password_in_an_address_is_in_no_log() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors_on(Kind::Postgres);
        let login = fleet.psk_device("device-001", "sensor");
        let with_password = fleet.place().replacen("warden@", "warden:s3cret@", 1);
        let example = fleet.configuration("psk.conf");
        // Options belong to the plugin above them.
        let with = |address: &str| {
            let option = format!("\nplugin_opt_database {address}\nplugin_opt_config_file");
            example.replacen("\nplugin_opt_config_file", &option, 1)
        };
        let broker = fleet.start_with(mosquitto, &with(&with_password));
        // A broker that says that it runs does not hear SIGTERM yet.
        Client::connect(&broker, &login, &Connect::v5("device-001"));
        let (_, log) = broker.stop();
        assert!(log.contains("warden@127.0.0.1") && !log.contains("s3cret"), "{log}");
        // One that leads nowhere.
        let nowhere = with_password.replacen("/warden_", "/nothing_", 1);
        let failure = fleet.try_start(mosquitto, &with(&nowhere)).unwrap_err();
        assert!(failure.log.contains("nothing_") && failure.log.contains("does not exist"), "{}", failure.log);
        assert!(!failure.log.contains("s3cret"), "{}", failure.log);
    });
}
