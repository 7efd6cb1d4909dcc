use crate::harness::{
    Broker, Client, Connect, Fleet, Listen, Login, Mosquitto, RevocationList, SClient, Tickets, TlsVersion,
    on_every_broker, with_websockets,
};
use crate::listeners::{MINE, OTHER};

/// RFC 8446, section 6: `certificate_revoked`.
const REVOKED: u8 = 44;
/// `handshake_failure`, which says nothing of the certificate.
const FAILURE: u8 = 40;

/// Four devices, of which one is active, on listeners for MQTT and for WebSockets.
struct Doors {
    fleet: Fleet,
    active: Login,
    revoked: Login,
    suspended: Login,
    stranger: Login,
    broker: Broker,
}

impl Doors {
    /// With these options of the plugin, and where `lists` says so with a revocation list of the broker's own.
    fn new(mosquitto: &Mosquitto, example: &str, options: &[(&str, &str)], lists: bool) -> Self {
        let fleet = Fleet::with_sensors();
        let [active, revoked, suspended] =
            [OTHER, MINE, "device-003"].map(|name| fleet.certificate_device(name, "sensor"));
        let stranger = fleet.ca.device("stranger");
        let mut configuration = with_websockets(&fleet.configuration_with(example, options));
        if lists {
            let file = fleet.path("etc/broker.crl");
            RevocationList::of(vec!["42".to_owned()]).write(&fleet.ca.root(), &file);
            let line = format!("require_certificate true\ncrlfile {}", file.display());
            // Up to 2.0 the broker frees with SIGHUP what its library for WebSockets goes on using, where that listener
            // has a list.
            let listeners = if mosquitto.has_connect_event() { 2 } else { 1 };
            configuration = configuration.replacen("require_certificate true", &line, listeners);
        }
        let broker = fleet.start_with(mosquitto, &configuration);
        // Committed while the broker runs: it is the database that is asked, not what was loaded at the start.
        fleet.set_status("device-003", "suspended");
        fleet.set_status(MINE, "revoked");
        Self { fleet, active, revoked, suspended, stranger, broker }
    }

    fn knock(&self, listen: Listen, login: &Login, tls: TlsVersion) -> SClient {
        SClient::start(&self.broker, listen, login, tls, Tickets::Ignore, &[])
    }

    /// Those who may come in do, and those who may not are told so by an alert.
    fn are_guarded(&self) {
        for (listen, tls) in every_door() {
            let alert = |login| self.knock(listen, login, tls).alert();
            assert_eq!(alert(&self.revoked), Some(REVOKED), "{listen:?}, {tls:?}");
            for login in [&self.suspended, &self.stranger] {
                assert_eq!(alert(login), Some(FAILURE), "{listen:?}, {tls:?}");
            }
            assert!(self.knock(listen, &self.active, tls).is_let_in(listen, OTHER), "{listen:?}, {tls:?}");
        }
    }
}

fn every_door() -> impl Iterator<Item = (Listen, TlsVersion)> {
    let listeners = [Listen::Certificates, Listen::WebSockets].into_iter();
    listeners.flat_map(|listen| [TlsVersion::V12, TlsVersion::V13].map(|tls| (listen, tls)))
}

#[test]
fn a_revoked_device_meets_the_alert_that_says_so_and_an_active_one_comes_in() {
    on_every_broker(|mosquitto| {
        let doors = Doors::new(mosquitto, "certificates.conf", &[], false);
        doors.are_guarded();
        doors.broker.wait_for_log("user=device-001 device=device-001 reason=device-revoked");
        doors.broker.wait_for_log("user=device-003 device=device-003 reason=device-suspended");
        doors.broker.wait_for_log("user=stranger reason=unknown-identity");
        for _ in 0..2 {
            doors.broker.reload();
            doors.are_guarded();
        }
        // One row decides, and nothing else.
        doors.fleet.set_status(MINE, "active");
        for (listen, tls) in every_door() {
            assert!(doors.knock(listen, &doors.revoked, tls).is_let_in(listen, MINE), "{listen:?}, {tls:?}");
        }
    });
}

#[test]
fn the_same_with_a_revocation_list_of_the_broker_s_own_which_keeps_its_meaning() {
    on_every_broker(|mosquitto| {
        let doors = Doors::new(mosquitto, "certificates-named-by-warden.conf", &[], true);
        doors.are_guarded();
        doors.broker.reload();
        doors.are_guarded();

        // On the list that is read with the next SIGHUP is one that the database calls good.
        let list = RevocationList { number: 2, ..RevocationList::of(vec![doors.active.serial()]) };
        list.write(&doors.fleet.ca.root(), &doors.fleet.path("etc/broker.crl"));
        doors.broker.reload();
        for tls in [TlsVersion::V12, TlsVersion::V13] {
            assert_eq!(doors.knock(Listen::Certificates, &doors.active, tls).alert(), Some(REVOKED), "{tls:?}");
        }
        assert_eq!(doors.broker.count_in_log("user=device-002"), 0, "OpenSSL has refused it before we were asked");
    });
}

#[test]
fn switched_off_the_handshake_is_completed_and_the_gates_behind_it_hold() {
    on_every_broker(|mosquitto| {
        let doors = Doors::new(mosquitto, "certificates-named-by-warden.conf", &[("handshake", "off")], false);
        for (listen, tls) in every_door() {
            for (login, name) in [(&doors.revoked, MINE), (&doors.stranger, "stranger")] {
                let mut client = doors.knock(listen, login, tls);
                assert!(!client.is_let_in(listen, name), "{listen:?}, {tls:?}");
                // CONNACK, not authorized.
                assert!(client.reads(&[0x20, 2, 0, 5]), "{listen:?}, {tls:?}");
            }
            assert!(doors.knock(listen, &doors.active, tls).is_let_in(listen, OTHER), "{listen:?}, {tls:?}");
        }
    });
}

#[test]
fn a_hundred_starts_and_stops_after_a_handshake_end_in_order() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let (mine, other) = (fleet.certificate_device(MINE, "sensor"), fleet.psk_device(OTHER, "sensor"));
        let revoked = fleet.certificate_device("device-003", "sensor");
        fleet.set_status("device-003", "revoked");
        for round in 0..100 {
            let broker = fleet.start(mosquitto, "fleet.conf");
            Client::connect(&broker, &mine, &Connect::v5(MINE)).ping().unwrap();
            Client::connect(&broker, &other, &Connect::v5(OTHER)).ping().unwrap();
            assert!(Client::try_connect(&broker, &revoked, &Connect::v5("device-003")).is_err());
            let (code, log) = broker.stop();
            assert_eq!(code, Some(0), "round {round}: {log}");
        }
    });
}
