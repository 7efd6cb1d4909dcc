use std::path::Path;

use crate::harness::{Broker, Client, Connect, Fleet, Login, on_every_broker};
use crate::servers::Kind;

/// The thread that follows the database.
const OURS: &str = "warden-live";

fn is_socket(descriptor: &Path) -> bool {
    descriptor.to_string_lossy().starts_with("socket:")
}

/// Admitted, heard, and thrown off as soon as it is revoked: every way on which one thread wakes another.
fn comes_and_goes(fleet: &Fleet, broker: &Broker, login: &Login) {
    let mut client = Client::connect(broker, login, &Connect::v5("device-001"));
    assert_ne!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
    fleet.set_status("device-001", "revoked");
    client.closed();
    let again = Client::try_connect(broker, login, &Connect::v5("device-001"));
    assert!(again.is_err() || again.is_ok_and(|(_, code)| code != 0));
}

#[test]
fn with_a_file_the_broker_has_its_table_to_itself() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.certificate_device("device-001", "sensor");
        let broker = fleet.start(mosquitto, "certificates.conf");
        let mut client = Client::connect(&broker, &login, &Connect::v5("device-001"));
        client.ping().unwrap();
        let database = fleet.database().canonicalize().unwrap();
        let (brokers, ours) = (broker.descriptors(), broker.descriptors_of(OURS));
        assert!(brokers.iter().any(|it| is_socket(it)), "{brokers:?}");
        assert!(!brokers.contains(&database), "{brokers:?}");
        assert!(ours.contains(&database), "{ours:?}");
        // A socket that stayed open here would stay open where the broker closes it.
        assert!(!ours.iter().any(|it| is_socket(it)), "{ours:?}");
        comes_and_goes(&fleet, &broker, &login);
        assert_eq!(broker.stop().0, Some(0));
    });
}

#[test]
fn with_a_server_all_threads_have_one_table() {
    for kind in [Kind::Postgres, Kind::Mariadb] {
        on_every_broker(|mosquitto| {
            let fleet = Fleet::with_sensors_on(kind);
            let login = fleet.certificate_device("device-001", "sensor");
            let broker = fleet.start(mosquitto, "certificates.conf");
            assert!(shares(&broker), "{kind:?}");
            comes_and_goes(&fleet, &broker, &login);
        });
    }
}

#[test]
fn with_responders_all_threads_have_one_table() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.certificate_device("device-001", "sensor");
        let configuration = fleet.configuration_with("certificates.conf", &[("ocsp.mode", "soft")]);
        let broker = fleet.start_with(mosquitto, &configuration);
        assert!(shares(&broker));
        comes_and_goes(&fleet, &broker, &login);
    });
}

/// Whether the plugin's thread has the broker's sockets too.
fn shares(broker: &Broker) -> bool {
    let ours = broker.descriptors_of(OURS);
    broker.descriptors().iter().any(|it| is_socket(it) && ours.contains(it))
}
