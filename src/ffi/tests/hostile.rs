//! What no well-behaved client, certificate or broker would send.

use super::*;

#[test]
fn hostile_psk_identities_get_no_key() {
    let _plugin = Plugin::start(&[]);
    let mut client = FakeClient { id: None, user_name: None, address: None, certificate: None };
    let long = vec![b'a'; 65_536];
    let ticket: &[u8] = b"\x9c\xff\xfe\x01ticket";
    for identity in
        [b"".as_slice(), b"#", b"+", b"psk-1/+", b"psk-1 ", b"PSK-1", b"cert-1", b"\x01\x1b[2J", ticket, &long]
    {
        assert_eq!(psk_key(&mut client, identity, 1024), (NOT_AUTHENTICATED, String::new()));
    }
    // SAFETY: an event of zeros is one of NULLs and no flags.
    let mut event: sys::mosquitto_evt_psk_key = unsafe { std::mem::zeroed() };
    assert_eq!(fire(sys::MOSQ_EVT_PSK_KEY, &mut event), NOT_AUTHENTICATED, "no client");
    event.client = client.raw();
    assert_eq!(fire(sys::MOSQ_EVT_PSK_KEY, &mut event), NOT_AUTHENTICATED, "no identity");
    let identity = c"psk-1";
    event.identity = identity.as_ptr();
    event.max_key_len = 1024;
    assert_eq!(fire(sys::MOSQ_EVT_PSK_KEY, &mut event), NOT_AUTHENTICATED, "nowhere to write to");
}

#[test]
fn a_key_that_does_not_fit_is_not_cut() {
    let _plugin = Plugin::start(&[]);
    let mut client = FakeClient { id: None, user_name: None, ..FakeClient::new(b"", b"") };
    assert_eq!(psk_key(&mut client, b"psk-1", 31), (NOT_AUTHENTICATED, String::new()));
    assert_eq!(psk_key(&mut client, b"psk-1", 33).0, ALLOWED);
}

#[test]
fn hostile_certificates_identify_nobody() {
    let _plugin = Plugin::start(&[]);
    let subjects =
        ["/CN=stranger", "/O=none", "/CN=cert-1/CN=psk-1", "/CN=cert-1+O=x", "/CN=cert-1\u{7}", "/CN=#", "/CN=+"];
    let made = subjects.map(|subject| (subject, certificate(subject)));
    let mut truncated = certificate("/CN=cert-1");
    truncated.pop();
    let mut longer = certificate("/CN=cert-1");
    longer.push(0);
    let raw = [("truncated", truncated), ("longer", longer), ("empty", Vec::new()), ("noise", vec![0x30; 65_536])];
    for (what, der) in made.into_iter().chain(raw) {
        let mut client = FakeClient { certificate: Some(der), ..certificate_client("cert-1-a") };
        let expected = if what.contains("+O=") { ALLOWED } else { NOT_AUTHENTICATED };
        assert_eq!(basic_auth(&mut client), expected, "{what}");
    }
    let mut none = FakeClient { certificate: None, ..certificate_client("cert-1-a") };
    assert_eq!(basic_auth(&mut none), NOT_AUTHENTICATED);
}

#[test]
fn nulls_and_bytes_that_are_no_text_are_refused() {
    let _plugin = Plugin::start(&[]);
    let mut nobody = FakeClient { id: None, user_name: None, address: None, certificate: None };
    assert_eq!(publish(&mut nobody, "devices/psk-1/data"), DENIED);
    assert_eq!(basic_auth(&mut nobody), NOT_AUTHENTICATED);
    let mut noise = FakeClient::new(b"\xff\xfe", b"\xff\xfe");
    assert_eq!(publish(&mut noise, "devices/psk-1/data"), DENIED);
    let mut client = psk_client("psk-1-a");
    assert_eq!(check(&mut client, sys::MOSQ_ACL_WRITE, b"devices/psk-1/\xff"), DENIED);
    assert_eq!(check_raw(client.raw(), 2, std::ptr::null()), DENIED, "no topic");
    assert_eq!(check_raw(std::ptr::null_mut(), 2, c"devices/psk-1/data".as_ptr()), DENIED, "no client");
    for access in [0, 3, 16, -1, c_int::MAX] {
        assert_eq!(check_raw(client.raw(), access, c"devices/psk-1/data".as_ptr()), DENIED, "access {access}");
    }
    client.id = None;
    assert_eq!(publish(&mut client, "devices/psk-1/data"), DENIED, "bound to a client id, and has none");
    tick();
    about(&mut nobody, sys::MOSQ_EVT_DISCONNECT);
    about(&mut nobody, sys::WARDEN_EVT_CONNECT);
    assert!(kicked().is_empty(), "{:?}", kicked());
}

#[test]
fn topics_of_any_size_are_answered() {
    let _plugin = Plugin::start(&[]);
    let mut client = psk_client("psk-1-a");
    let longest = format!("devices/psk-1/{}", "x".repeat(65_535 - 14));
    assert_eq!(publish(&mut client, &longest), ALLOWED);
    assert_eq!(publish(&mut client, &format!("{longest}x")), DENIED);
    let deep = "a/".repeat(10_000);
    assert_eq!(publish(&mut client, &deep), DENIED);
    assert_eq!(check(&mut client, sys::MOSQ_ACL_SUBSCRIBE, "+/".repeat(10_000).as_bytes()), DENIED);
    assert_eq!(check(&mut client, sys::MOSQ_ACL_SUBSCRIBE, "#/".repeat(10_000).as_bytes()), DENIED);
}
