use std::ops::ControlFlow;
use std::time::Duration;

use crate::harness::{Client, Connect, Crowd, End, Fleet, Heard, Login, Packet, TlsVersion, on_every_broker};

/// Listeners of every kind, open to whoever gets through the TLS handshake.
const OPEN: &str = "
listener 8883
cafile ETC/ca.crt
certfile ETC/server.crt
keyfile ETC/server.key
require_certificate true
use_identity_as_username true
listener 8884
psk_hint hint
psk_file ETC/keys
use_identity_as_username true
";

fn open(fleet: &Fleet) -> String {
    std::fs::write(fleet.path("etc/keys"), "sensor-1:0123456789abcdef0123456789abcdef\n").unwrap();
    OPEN.replace("ETC", fleet.path("etc").to_str().unwrap())
}

fn psk() -> Login {
    Login::psk("sensor-1", "0123456789abcdef0123456789abcdef")
}

#[test]
fn work_of_a_broker_is_counted_by_its_threads_and_no_more_than_the_process_has_done() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::without_database();
        let broker = fleet.start_with(mosquitto, &open(&fleet));
        let before = broker.time_of_threads();
        for _ in 0..50 {
            Client::connect(&broker, &psk(), &Connect::v311("raw")).disconnect();
        }
        let threads = broker.time_of_threads();
        assert!(threads > before, "{before:?}, {threads:?}");
        // That one is counted in ticks, of two kinds.
        let slack = Duration::from_millis(50);
        assert!(threads <= broker.processor_time() + slack, "{threads:?}, {:?}", broker.processor_time());
    });
}

#[test]
fn both_kinds_of_client_connect_and_hear_each_other() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::without_database();
        let broker = fleet.start_with(mosquitto, &open(&fleet));
        let certificate = fleet.ca.device("device-001");
        for (listener, sender) in [(&certificate, &psk()), (&psk(), &certificate)] {
            let mut subscriber = broker.subscriber(listener, "listener", "a/#");
            let sent = broker.mosquitto_pub(sender, &["-i", "sender", "-q", "1", "-t", "a/b", "-m", "first"]);
            assert_eq!(sent.code, Some(0), "{sent:?}");
            subscriber.wait_for_line("first");

            for connect in [Connect::v311("raw"), Connect::v5("raw")] {
                let mut client = Client::connect(&broker, sender, &connect);
                assert_eq!(client.subscribe("a/+", 1).unwrap(), 1);
                assert_eq!(client.publish_acknowledged("a/c", "second").unwrap(), 0);
                subscriber.wait_for_line("second");
                client.publish("a/c", "third");
                client.ping().unwrap();
                client.unsubscribe("a/+").unwrap();
                client.disconnect();
            }
        }
        assert_eq!(broker.stop().0, Some(0));
    });
}

#[test]
fn a_failed_handshake_and_a_closed_connection_are_told_apart() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::without_database();
        let broker = fleet.start_with(mosquitto, &open(&fleet));
        // With a psk_file, Mosquitto from 2.0.13 has no TLS 1.3.
        let unknown = Login::psk("sensor-2", "00");
        assert!(matches!(Client::handshake(&broker, &unknown, TlsVersion::V12), Err(End::Handshake(_))));
        let mut client = Client::handshake(&broker, &psk(), TlsVersion::V12).unwrap();
        client.send(b"\0\0").unwrap();
        client.closed();
    });
}

#[test]
fn a_crowd_is_heard_by_one_thread() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::without_database();
        let broker = fleet.start_with(mosquitto, &open(&fleet));
        let connect = |number| Client::connect(&broker, &psk(), &Connect::v311(format!("client-{number}")));
        let mut crowd = Crowd::new((0..50).map(connect));
        // The second of a name takes the first one's place.
        let _successor = connect(7);
        let gone = crowd.listen(|index, heard, _| match heard {
            Heard::Closed => ControlFlow::Break(index),
            Heard::Packet(packet) => panic!("{packet:?}"),
        });
        assert_eq!((gone, crowd.connected()), (7, 49));
        crowd.send(8, &[0xC0, 0]);
        let heard = crowd.listen(|index, heard, _| ControlFlow::Break((index, heard)));
        assert_eq!(heard, (8, Heard::Packet(Packet::Pingresp)));
    });
}

#[test]
fn a_certificate_may_have_any_bytes_for_a_name() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::without_database();
        let broker = fleet.start_with(mosquitto, &open(&fleet));
        for name in ["a+b", "a/b", "#", "größe"] {
            let by_command = fleet.ca.device(name);
            let by_hand = fleet.ca.device_with_raw_name(name.as_bytes());
            for login in [by_command, by_hand] {
                Client::connect(&broker, &login, &Connect::v5("id")).ping().unwrap();
                broker.wait_for_log(&format!("u'{name}'"));
            }
        }
        // Mosquitto 2.0.21 and later refuse the first two themselves, and all of them the third.
        for name in [&b"a\x01b"[..], b"a\xFFb", b"a\0b"] {
            let login = fleet.ca.device_with_raw_name(name);
            let (_, code) = Client::try_connect(&broker, &login, &Connect::v311("id")).unwrap();
            let lenient = mosquitto.version() == "2.0.11" && name[1] != 0;
            assert_eq!(code, if lenient { 0 } else { 4 }, "{name:?}");
        }
    });
}
