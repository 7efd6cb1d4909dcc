use crate::harness::{Client, Connect, End, Fleet, Login, TlsVersion, on_every_broker};
use crate::listeners::{Gate, Listener, MINE, Setting, on_every_listener};

on_every_listener! {
    an_identity_that_nobody_has_is_refused,
    another_device_s_client_id_is_refused_where_it_is_bound,
    an_identity_counts_only_as_the_kind_that_it_is,
    a_device_without_roles_is_let_in_and_may_do_nothing,
    a_credential_is_good_only_in_its_time,
}

fn an_identity_that_nobody_has_is_refused(setting: &Setting) {
    let stranger = match setting.listener {
        Listener::PreSharedKeys => Login::psk("stranger", &"42".repeat(32)),
        Listener::Passwords => setting.fleet.ca.password("stranger", "the password of device-001"),
        _ => setting.fleet.ca.device("stranger"),
    };
    for connect in [Connect::v311("stranger"), Connect::v5("stranger").user(MINE, "")] {
        setting.refuses(setting.gate_of_identities(), &stranger, &connect);
    }
    setting.broker.wait_for_log("user=stranger");
    setting.broker.wait_for_log("reason=unknown-identity");
    setting.admits(&setting.mine, MINE);
}

fn another_device_s_client_id_is_refused_where_it_is_bound(setting: &Setting) {
    for id in ["device-002", "device-00", "", "xdevice-001"] {
        setting.refuses(setting.gate_of_client_ids(), &setting.mine, &Connect::v5(id));
    }
    setting.broker.wait_for_log("reason=client-id-mismatch");
    setting.admits(&setting.mine, MINE);
}

fn an_identity_counts_only_as_the_kind_that_it_is(setting: &Setting) {
    // A CN on the PSK listener, and the other way round.
    let wrong = match setting.listener {
        Listener::PreSharedKeys => {
            setting.fleet.certificate_device("device-003", "sensor");
            Login::psk("device-003", &"42".repeat(32))
        }
        Listener::Passwords => {
            setting.fleet.psk_device("device-003", "sensor");
            setting.fleet.ca.password("device-003", "the password of device-003")
        }
        _ => {
            setting.fleet.psk_device("device-003", "sensor");
            setting.fleet.ca.device("device-003")
        }
    };
    setting.refuses(setting.gate_of_identities(), &wrong, &Connect::v5("device-003"));
}

fn a_device_without_roles_is_let_in_and_may_do_nothing(setting: &Setting) {
    let login = setting.device("device-003", "sensor");
    setting.fleet.sql("DELETE FROM device_roles WHERE device_id = (SELECT id FROM devices WHERE name = 'device-003')");
    let mut client = Client::connect(&setting.broker, &login, &Connect::v5("any"));
    assert_eq!(client.subscribe("devices/device-003/cmd", 0).unwrap(), 0x87);
    assert_eq!(client.publish_acknowledged("devices/device-003/a", "").unwrap(), 0x87);
    client.ping().unwrap();
}

fn a_credential_is_good_only_in_its_time(setting: &Setting) {
    let bounds = [("not_after", "2020-01-01T00:00:00Z"), ("not_before", "2099-01-01T00:00:00Z")];
    for (bound, time) in bounds {
        setting.fleet.sql(&format!("UPDATE credentials SET {bound} = '{time}' WHERE identity = '{MINE}'"));
        setting.refuses(setting.gate_of_identities(), &setting.mine, &Connect::v5(MINE));
        setting.fleet.sql(&format!("UPDATE credentials SET {bound} = NULL WHERE identity = '{MINE}'"));
        setting.admits(&setting.mine, MINE);
    }
}

#[test]
fn a_certificate_of_another_ca_does_not_complete_the_handshake() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::CertificatesNamedByWarden);
        let theirs = Fleet::without_database();
        let Login::Certificate { certificate, .. } = theirs.ca.device(MINE) else { unreachable!() };
        // Their certificate with their key, while we trust our own CA.
        let key = setting.fleet.ca.key("theirs");
        std::fs::copy(theirs.ca.key("device"), &key).unwrap();
        let login = Login::Certificate { certificate, key };
        assert!(Client::try_connect(&setting.broker, &login, &Connect::v5(MINE)).is_err());
    });
}

#[test]
fn a_wrong_key_does_not_complete_the_handshake() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::PreSharedKeys);
        let wrong = Login::psk(MINE, &"42".repeat(32));
        setting.refuses(Gate::Handshake, &wrong, &Connect::v5(MINE));
        setting.admits(&setting.mine, MINE);
    });
}

#[test]
fn a_pre_shared_key_works_with_either_tls_and_a_revoked_one_is_told_so_by_an_alert() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::PreSharedKeys);
        for tls in [TlsVersion::V12, TlsVersion::V13] {
            let mut client = Client::handshake(&setting.broker, &setting.mine, tls).unwrap();
            assert_eq!(client.connect_on(&Connect::v5(MINE)).unwrap(), 0);
            setting.fleet.set_status(MINE, "revoked");
            client.closed();
            match Client::handshake(&setting.broker, &setting.mine, tls) {
                Err(End::Handshake(why)) => assert!(why.contains("alert"), "{why}"),
                other => panic!("{other:?}"),
            }
            setting.fleet.set_status(MINE, "active");
        }
    });
}

#[test]
fn a_psk_listener_without_its_identity_option_serves_nobody_and_the_log_says_why() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.psk_device(MINE, "sensor");
        let configuration = fleet.configuration("psk.conf").replace("use_identity_as_username true", "");
        let broker = fleet.start_with(mosquitto, &configuration);
        for connect in [Connect::v5(MINE), Connect::v5(MINE).user(MINE, ""), Connect::v311(MINE)] {
            let (_, code) = Client::try_connect(&broker, &login, &connect).unwrap();
            assert_eq!(code, connect.refusal());
        }
        broker.wait_for_log("set `use_identity_as_username true`");
        assert_eq!(broker.count_in_log("set `use_identity_as_username true`"), 1);
    });
}
