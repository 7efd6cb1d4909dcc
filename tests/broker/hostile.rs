use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::harness::{Client, Connect, End, Listen, Login, PATIENCE, frame, on_every_broker, string};
use crate::listeners::{Gate, Listener, MINE, OTHER, Setting, on_every_listener};

on_every_listener! {
    topics_at_the_limits_are_refused_and_the_broker_goes_on,
    names_that_are_not_utf_8_are_refused,
    client_ids_at_the_limits_are_refused,
}

/// Common names that are nobody's, and must not become somebody's.
#[test]
fn common_names_that_no_device_has_are_refused() {
    on_every_broker(|mosquitto| {
        for listener in [Listener::CertificatesNamedByTheBroker, Listener::CertificatesNamedByWarden] {
            let setting = Setting::new(mosquitto, listener);
            let long = "x".repeat(65_536);
            let names: [&[u8]; 14] = [
                b"#",
                b"+",
                b"a+b",
                b"a/b",
                b"device-001/device-002",
                b"$SYS",
                b"%u",
                b" ",
                b"device-001\0",
                b"device-001\0device-002",
                b"device-\x01",
                b"device-001\xFF",
                b"\xED\xA0\x80",
                long.as_bytes(),
            ];
            for name in names {
                let login = setting.fleet.ca.device_with_raw_name(name);
                assert_gains_nothing(&setting, &login, &Connect::v5("device-001"));
                assert_gains_nothing(&setting, &login, &Connect::v311("device-001").user(MINE, ""));
            }
            setting.admits(&setting.mine, MINE);
            setting.admits(&setting.other, OTHER);
        }
    });
}

/// However the broker and the plugin share the work: there is no way to anything behind this login.
fn assert_gains_nothing(setting: &Setting, login: &Login, connect: &Connect) {
    let Ok((mut client, 0)) = Client::try_connect(&setting.broker, login, connect) else { return };
    for topic in ["devices/device-001/cmd", "#", "devices/#/cmd", "devices/a/b/cmd", "devices/+/cmd"] {
        match client.subscribe(topic, 0) {
            Ok(code) => assert!(code >= 0x80, "{topic}"),
            Err(_) => return,
        }
    }
    client.closed();
}

/// PSK identities of any bytes, in a TLS 1.2 handshake by hand: OpenSSL would not send most of them.
#[test]
fn psk_identities_that_no_device_has_are_refused() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::PreSharedKeys);
        let port = setting.broker.port(Listen::Psk);
        let long = "x".repeat(65_535);
        let identities: [&[u8]; 11] = [
            b"",
            b"\0",
            b"#",
            b"a+b",
            b"a/b",
            b"\x01\x02\x1B[2J",
            b"\xFF\xFE",
            b"\xED\xA0\x80",
            &[b'x'; 128],
            &[b'x'; 256],
            long.as_bytes(),
        ];
        for identity in identities {
            assert_ne!(handshake_by_hand(port, identity), Some(BAD_RECORD_MAC), "there is a key for {identity:?}");
        }
        // A handshake goes on where there is a key, which one must then know. OpenSSL reads up to the first NUL.
        for identity in [&b"device-001"[..], b"device-001\0", b"device-001\0device-002"] {
            assert_eq!(handshake_by_hand(port, identity), Some(BAD_RECORD_MAC), "there is no key for {identity:?}");
        }
        let unprintable = Login::psk("device-001\u{7f}", &"42".repeat(32));
        setting.refuses(Gate::Handshake, &unprintable, &Connect::v5(MINE));
        setting.admits(&setting.mine, MINE);
    });
}

/// The alert of a broker that has a key for the identity, and finds that the client has not.
const BAD_RECORD_MAC: u8 = 20;

/// Sends `ClientHello`, then `ClientKeyExchange` with this identity and a made-up Finished; returns the alert that the
/// broker answers with, if it sends one before it closes.
fn handshake_by_hand(port: u16, identity: &[u8]) -> Option<u8> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    // No session; TLS_PSK_WITH_AES_128_GCM_SHA256; no compression; extended_master_secret.
    hello.extend([0, 0, 2, 0x00, 0xA8, 1, 0, 0, 4, 0, 23, 0, 0]);
    send_handshake(&mut socket, 1, &hello);
    // Up to ServerHelloDone.
    let mut handshake = Vec::new();
    while !handshake.ends_with(&[14, 0, 0, 0]) {
        let (kind, body) = read_record(&mut socket).expect("the broker speaks TLS 1.2 with pre-shared keys");
        assert_eq!(kind, 22, "{body:?}");
        handshake.extend(body);
    }
    send_handshake(&mut socket, 16, &string(identity));
    // ChangeCipherSpec, and what should be encrypted.
    let _ = socket.write_all(&[20, 3, 3, 0, 1, 1]);
    let _ = socket.write_all(&[&[22, 3, 3, 0, 40][..], &[9; 40]].concat());
    let (kind, body) = read_record(&mut socket)?;
    assert_eq!(kind, 21, "the broker goes on after a Finished that was made up: {body:?}");
    Some(body[1])
}

fn send_handshake(socket: &mut TcpStream, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[kind][..], &length[1..], body].concat();
    for fragment in message.chunks(16_384) {
        let length = u16::try_from(fragment.len()).unwrap().to_be_bytes();
        let _ = socket.write_all(&[&[22, 3, 3][..], &length, fragment].concat());
    }
}

/// The type and the content of the next record; `None` when the connection has ended.
fn read_record(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    socket.read_exact(&mut header).ok()?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    socket.read_exact(&mut body).ok()?;
    Some((header[0], body))
}

fn topics_at_the_limits_are_refused_and_the_broker_goes_on(setting: &Setting) {
    setting.fleet.warden(&["rule", "add", "sensor", "deny", "publish", "devices/%u/+/+/+/+/+/+/secret/#"]);
    let start = "devices/device-001/";
    let topics = [
        format!("{start}{}", "a/".repeat(9_998)),
        format!("devices/device-002/{}", "a/".repeat(9_998)),
        "/".repeat(65_535),
        format!("{start}{}", "a".repeat(65_535 - start.len())),
        "a".repeat(65_535),
        format!("{}#", "+/".repeat(9_999)),
    ];
    for (index, topic) in topics.iter().enumerate() {
        // Some of them the broker itself takes for an attack: it may close, as long as it serves others.
        let mut client = Client::connect(&setting.broker, &setting.mine, &Connect::v5(MINE));
        if let Ok(code) = client.subscribe(topic, 0) {
            assert!(code >= 0x80, "topic {index} was subscribed");
        }
        let mut client = Client::connect(&setting.broker, &setting.mine, &Connect::v5(MINE));
        if let Ok(code) = client.publish_acknowledged(topic, "") {
            assert_eq!(code == 0, topic.starts_with(start), "topic {index} answered {code:#x}");
        }
    }
    setting.admits(&setting.other, OTHER);
}

fn names_that_are_not_utf_8_are_refused(setting: &Setting) {
    for bytes in [&b"\xFF"[..], b"a\0b", b"\xED\xA0\x80", b"\xC0\x80"] {
        let mut client = Client::connect(&setting.broker, &setting.mine, &Connect::v5(MINE));
        let topic = [&b"devices/device-001/"[..], bytes].concat();
        client.send(&frame(0x30, &[&string(&topic)[..], &[0]].concat())).unwrap();
        client.closed();
        let connect = Connect::v5([MINE.as_bytes(), bytes].concat());
        if let Ok((mut client, 0)) = Client::try_connect(&setting.broker, &setting.mine, &connect) {
            assert!(!matches!(client.subscribe("devices/device-001/cmd", 0), Ok(0..0x80)), "{bytes:?}");
        }
        let connect = Connect::v5(MINE).user(bytes, bytes);
        if let Ok((mut client, 0)) = Client::try_connect(&setting.broker, &setting.mine, &connect) {
            client.ping().unwrap();
        }
    }
    setting.admits(&setting.other, OTHER);
}

fn client_ids_at_the_limits_are_refused(setting: &Setting) {
    let fits = format!("device-001{}", "x".repeat(65_535 - 10));
    match Client::try_connect(&setting.broker, &setting.mine, &Connect::v5(fits)) {
        Ok((mut client, 0)) => client.ping().unwrap(),
        Ok(_) | Err(End::Closed) => {}
        Err(end) => panic!("{end:?}"),
    }
    for id in ["x".repeat(65_535), "+".to_owned(), "#".to_owned(), "%u".to_owned(), "device-002\u{10FFFF}".to_owned()] {
        if let Ok((mut client, 0)) = Client::try_connect(&setting.broker, &setting.mine, &Connect::v5(id)) {
            assert!(!matches!(client.subscribe("devices/device-001/cmd", 0), Ok(0..0x80)));
        }
    }
    setting.admits(&setting.other, OTHER);
}
