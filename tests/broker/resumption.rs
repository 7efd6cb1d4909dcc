use std::fs;
use std::path::PathBuf;

use crate::harness::{
    Broker, Client, Connect, Fleet, Listen, Login, SClient, Tickets, TlsVersion, Version, frame, on_every_broker,
    string, subscribe,
};
use crate::listeners::{Listener, MINE, OTHER, Setting, on_every_listener};

on_every_listener! {
    a_revoked_device_gains_nothing_from_a_saved_tls_session,
}

const BOTH: [TlsVersion; 2] = [TlsVersion::V12, TlsVersion::V13];
const CERTIFICATES: [&str; 2] = ["certificates.conf", "certificates-named-by-warden.conf"];
/// RFC 8446, section 6: `certificate_revoked`.
const REVOKED: u8 = 44;

/// Has the broker let a device in, and saves the TLS session; no file is there if the broker gave nothing to save.
fn saved(fleet: &Fleet, broker: &Broker, login: &Login, tls: TlsVersion, more: &[&str]) -> PathBuf {
    let listen = login.listen();
    let file = fleet.path("session");
    let _ = fs::remove_file(&file);
    let mut client = SClient::start(broker, listen, login, tls, Tickets::Save(&file), more);
    assert!(client.is_let_in(listen, MINE), "{tls:?}: {}", String::from_utf8_lossy(&client.seen));
    file
}

fn a_revoked_device_gains_nothing_from_a_saved_tls_session(setting: &Setting) {
    for tls in BOTH {
        let file = saved(&setting.fleet, &setting.broker, &setting.mine, tls, &[]);
        setting.fleet.set_status(MINE, "revoked");
        let mut other = setting.admits(&setting.other, OTHER);
        setting.fleet.warden(&["rule", "add", "sensor", "allow", "publish", "devices/+/cmd"]);

        // A broker that saves no sessions has nothing that could be gained.
        if file.exists() {
            let (listen, tickets) = (setting.mine.listen(), Tickets::Show(&file));
            let mut again = SClient::start(&setting.broker, listen, &setting.mine, tls, tickets, &[]);
            again.send(&Connect::v311(MINE).by(&setting.mine).encode());
            again.send(&subscribe(Version::V311, b"devices/device-001/cmd", 0, 1));
            let publish = [&string(b"devices/device-002/cmd")[..], b"forged"].concat();
            again.send(&frame(0x30, &publish));
            // SUBACK, granted.
            assert!(!again.reads(&[0x90, 3, 0, 1, 0]), "{tls:?}: a revoked device has subscribed");
        }
        other.publish("devices/device-002/cmd", "genuine");
        assert_eq!(other.next_message().unwrap().1, "genuine");
        setting.fleet.set_status(MINE, "active");
        setting.fleet.sql("DELETE FROM rules WHERE topic = 'devices/+/cmd'");
        // A good device is not locked out by a session that it has saved.
        Client::connect(&setting.broker, &setting.mine, &Connect::v5(MINE)).ping().unwrap();
    }
}

#[test]
fn a_good_device_resumes_its_session_and_a_revoked_one_meets_the_alert_of_a_full_handshake() {
    on_every_broker(|mosquitto| {
        for (example, tls) in CERTIFICATES.into_iter().flat_map(|example| BOTH.map(|tls| (example, tls))) {
            let fleet = Fleet::with_sensors();
            let mine = fleet.certificate_device(MINE, "sensor");
            let broker = fleet.start(mosquitto, example);
            let file = saved(&fleet, &broker, &mine, tls, &[]);
            let again = || SClient::start(&broker, Listen::Certificates, &mine, tls, Tickets::Show(&file), &[]);

            let mut resumed = again();
            assert!(resumed.is_let_in(Listen::Certificates, MINE), "{example}, {tls:?}");
            assert!(resumed.is_resumed(), "{example}, {tls:?}");
            fleet.set_status(MINE, "revoked");
            assert_eq!(again().alert(), Some(REVOKED), "{example}, {tls:?}");
            fleet.set_status(MINE, "active");
            assert!(again().is_let_in(Listen::Certificates, MINE), "{example}, {tls:?}");
        }
    });
}

#[test]
fn no_session_is_kept_by_its_number() {
    on_every_broker(|mosquitto| {
        // In TLS 1.2 without tickets a session is known by its number, and nobody would ask us about it. A broker that is
        // left alone keeps such sessions, which shows that we would see it here.
        for (handshake, keeps) in [("off", true), ("enforce", false)] {
            let fleet = Fleet::with_sensors();
            let mine = fleet.certificate_device(MINE, "sensor");
            let options = [("handshake", handshake)];
            let broker = fleet.start_with(mosquitto, &fleet.configuration_with("certificates.conf", &options));
            let file = saved(&fleet, &broker, &mine, TlsVersion::V12, &["-no_ticket"]);
            assert_eq!(file.exists(), keeps, "{handshake}");
        }
    });
}

#[test]
fn switched_off_nobody_resumes_and_everybody_comes_in() {
    on_every_broker(|mosquitto| {
        for handshake in ["enforce", "off"] {
            let fleet = Fleet::with_sensors();
            let mine = fleet.certificate_device(MINE, "sensor");
            let options = [("handshake", handshake), ("resumption", "off")];
            let broker = fleet.start_with(mosquitto, &fleet.configuration_with("certificates.conf", &options));
            for tls in BOTH {
                let file = saved(&fleet, &broker, &mine, tls, &[]);
                if file.exists() {
                    let tickets = Tickets::Show(&file);
                    let mut again = SClient::start(&broker, Listen::Certificates, &mine, tls, tickets, &[]);
                    assert!(again.is_let_in(Listen::Certificates, MINE), "{handshake}, {tls:?}");
                    assert!(!again.is_resumed(), "{handshake}, {tls:?}");
                }
            }
        }
    });
}

#[test]
fn a_device_with_a_pre_shared_key_comes_back_by_a_full_handshake() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::PreSharedKeys);
        for tls in BOTH {
            let file = saved(&setting.fleet, &setting.broker, &setting.mine, tls, &[]);
            assert!(file.exists(), "{tls:?}: there is a session to come back with");
            let mut again = SClient::start(&setting.broker, Listen::Psk, &setting.mine, tls, Tickets::Show(&file), &[]);
            assert!(again.is_let_in(Listen::Psk, MINE), "{tls:?}: {}", String::from_utf8_lossy(&again.seen));
            // In TLS 1.3 a pre-shared key is itself a way to resume, and `s_client` says so; that the broker knows the
            // device's name shows that it was this one.
            assert!(tls == TlsVersion::V13 || !again.is_resumed());
        }
    });
}
