use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Client, Connect, End, Fleet, Listen, Mosquitto, eventually, on_every_broker};

/// A broker in which every call of this callback panics. Only test builds of the plugin can be told to.
fn panicking(mosquitto: &Mosquitto, fleet: &Fleet, callback: &str) -> Mosquitto {
    let program = fleet.path(&format!("panic-in-{callback}.sh"));
    let script = format!("#!/bin/sh\nWARDEN_TEST_PANIC_IN={callback} exec '{}' \"$@\"\n", mosquitto.program.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Mosquitto { program, ..mosquitto.clone() }
}

#[test]
fn a_panic_when_a_key_is_wanted_is_a_refusal_and_the_broker_goes_on() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.psk_device("device-001", "sensor");
        let mut broker = fleet.start(&panicking(mosquitto, &fleet, "psk_key"), "psk.conf");
        for _ in 0..3 {
            let refused = Client::try_connect(&broker, &login, &Connect::v5("device-001"));
            assert!(matches!(refused, Err(End::Handshake(_) | End::Closed)), "{refused:?}");
        }
        broker.wait_for_log("panic in the plugin, answered as a refusal callback=psk_key");
        assert!(broker.is_running());
    });
}

#[test]
fn a_panic_in_basic_auth_is_a_refusal_and_the_broker_goes_on() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.certificate_device("device-001", "sensor");
        let mut broker = fleet.start(&panicking(mosquitto, &fleet, "basic_auth"), "certificates-named-by-warden.conf");
        for _ in 0..3 {
            let (_, code) = Client::try_connect(&broker, &login, &Connect::v5("device-001")).unwrap();
            assert_eq!(code, 0x87);
        }
        broker.wait_for_log("callback=basic_auth");
        assert!(broker.is_running());
    });
}

#[test]
fn a_panic_in_an_access_check_is_a_refusal_and_the_broker_goes_on() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.psk_device("device-001", "sensor");
        let mut broker = fleet.start(&panicking(mosquitto, &fleet, "acl_check"), "psk.conf");
        let mut client = Client::connect(&broker, &login, &Connect::v5("device-001"));
        assert_eq!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
        assert!(client.subscribe("devices/device-001/cmd", 0).unwrap() >= 0x80);
        broker.wait_for_log("callback=acl_check");
        assert!(broker.is_running());
    });
}

#[test]
fn a_panic_in_any_other_callback_disturbs_nobody() {
    on_every_broker(|mosquitto| {
        for callback in ["connect", "disconnect", "reload"] {
            let fleet = Fleet::with_sensors();
            let login = fleet.psk_device("device-001", "sensor");
            let broker = fleet.start(&panicking(mosquitto, &fleet, callback), "psk.conf");
            let mut client = Client::connect(&broker, &login, &Connect::v5("device-001"));
            Client::connect(&broker, &login, &Connect::v5("device-001-b")).disconnect();
            broker.reload();
            assert_ne!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87, "{callback}");
            if callback != "connect" || mosquitto.has_connect_event() {
                broker.wait_for_log(&format!("callback={callback}"));
            }
            let (code, _) = broker.stop();
            assert_eq!(code, Some(0), "{callback}");
        }
    });
}

#[test]
fn a_panic_on_the_tick_leaves_the_gates_closed_to_the_revoked() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.psk_device("device-001", "sensor");
        let mut broker = fleet.start(&panicking(mosquitto, &fleet, "tick"), "psk.conf");
        let mut client = Client::connect(&broker, &login, &Connect::v5("device-001"));
        assert_ne!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
        fleet.set_status("device-001", "revoked");
        // Nobody can be thrown off without a tick, but nobody gets anything either.
        eventually("the revoked device is denied", || {
            (client.publish_acknowledged("devices/device-001/data", "x").unwrap() == 0x87).then_some(())
        });
        assert!(Client::handshake(&broker, &login, crate::harness::TlsVersion::Any).is_err());
        assert!(broker.is_running() && broker.port(Listen::Psk) > 0);
    });
}

#[test]
fn a_panic_at_the_beginning_of_a_handshake_is_a_refusal_and_the_broker_goes_on() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fleet.option("admission_rate = 1000");
        let login = fleet.certificate_device("device-001", "sensor");
        let mut broker = fleet.start(&panicking(mosquitto, &fleet, "hello"), "certificates.conf");
        for _ in 0..3 {
            assert!(Client::handshake(&broker, &login, crate::harness::TlsVersion::Any).is_err());
        }
        broker.wait_for_log("callback=hello");
        assert!(broker.is_running());
    });
}

#[test]
fn a_panic_at_the_start_keeps_the_broker_from_starting() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let configuration = fleet.configuration("psk.conf");
        let failure = fleet.try_start(&panicking(mosquitto, &fleet, "init"), &configuration).unwrap_err();
        assert!(failure.code.is_some_and(|code| code != 0), "{failure:?}");
    });
}
