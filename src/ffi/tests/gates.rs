//! Who is admitted to what, on every kind of listener.

use super::*;

#[test]
fn a_psk_device_gets_its_key_and_its_topics_and_nothing_else() {
    let _plugin = Plugin::start(&[]);
    let mut client = FakeClient { id: None, user_name: None, ..FakeClient::new(b"", b"") };
    let (code, key) = psk_key(&mut client, b"psk-1", 1024);
    assert_eq!((code, key.as_str()), (ALLOWED, psk().hex().as_str()));
    client.id = CString::new("psk-1-a").ok();
    client.user_name = CString::new("psk-1").ok();
    assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
    assert_eq!(publish(&mut client, "devices/cert-1/data"), DENIED);
    for (filter, answer) in [
        ("devices/psk-1/cmd", ALLOWED),
        ("#", DENIED),
        ("devices/+/cmd", DENIED),
        ("$share/g/#", DENIED),
        ("$share/g/devices/psk-1/cmd", ALLOWED),
    ] {
        assert_eq!(check(&mut client, sys::MOSQ_ACL_SUBSCRIBE, filter.as_bytes()), answer, "{filter}");
    }
    assert_eq!(check(&mut client, sys::MOSQ_ACL_READ, b"devices/psk-1/cmd"), ALLOWED);
    assert_eq!(check(&mut client, sys::MOSQ_ACL_READ, b"devices/cert-1/cmd"), DENIED);
    assert_eq!(check(&mut client, sys::MOSQ_ACL_UNSUBSCRIBE, b"#"), ALLOWED);
}

#[test]
fn a_certificate_names_its_device_in_basic_auth() {
    let _plugin = Plugin::start(&[]);
    let mut client = FakeClient { user_name: CString::new("liar").ok(), ..certificate_client("cert-1-a") };
    assert_eq!(basic_auth(&mut client), ALLOWED);
    assert_eq!(client.user_name.as_deref(), Some(c"cert-1"));
    assert_eq!(publish(&mut client, "devices/cert-1/data"), ALLOWED);
    assert_eq!(publish(&mut client, "devices/psk-1/data"), DENIED);
    let mut other_id = certificate_client("psk-1-a");
    assert_eq!(basic_auth(&mut other_id), NOT_AUTHENTICATED, "bound to another client id");
    let mut no_id = FakeClient { id: None, ..certificate_client("") };
    assert_eq!(basic_auth(&mut no_id), NOT_AUTHENTICATED, "bound, and has none");
}

#[test]
fn after_a_reload_those_who_are_known_stay_and_nobody_else_gets_in() {
    let _plugin = Plugin::start(&[]);
    let mut client = certificate_client("cert-1-a");
    assert_eq!(basic_auth(&mut client), ALLOWED);
    let mut nothing = 0u64;
    assert_eq!(fire(sys::MOSQ_EVT_RELOAD, &mut nothing), ALLOWED);
    // The broker shows no certificate of an old connection to everybody's liking; it must not be needed.
    client.certificate = None;
    assert_eq!(basic_auth(&mut client), ALLOWED);
    let mut away = FakeClient { certificate: None, address: None, ..certificate_client("cert-1-b") };
    assert_eq!(basic_auth(&mut away), NOT_AUTHENTICATED);
    let mut thief = FakeClient { certificate: None, ..certificate_client("cert-1-a") };
    assert_eq!(basic_auth(&mut thief), NOT_AUTHENTICATED, "another connection with the same id and name");
    tick();
    assert_eq!(basic_auth(&mut client), NOT_AUTHENTICATED, "a login like any other after the tick");
}

#[test]
fn a_psk_listener_that_does_not_name_its_clients_is_told_what_to_change() {
    let _plugin = Plugin::start(&[]);
    let mut client = FakeClient { id: None, user_name: None, ..FakeClient::new(b"", b"") };
    assert_eq!(psk_key(&mut client, b"psk-1", 1024).0, ALLOWED);
    client.id = CString::new("psk-1-a").ok();
    assert_eq!(basic_auth(&mut client), NOT_AUTHENTICATED);
    tick();
    let hints = log_lines().iter().filter(|line| line.contains("use_identity_as_username true")).count();
    assert_eq!(hints, 1, "{:?}", log_lines());
}

#[test]
fn a_listener_that_names_clients_by_their_subject_is_told_what_to_change() {
    let _plugin = Plugin::start(&[]);
    let mut client = FakeClient { user_name: CString::new("CN=cert-1").ok(), ..certificate_client("cert-1-a") };
    assert_eq!(publish(&mut client, "devices/cert-1/data"), DENIED);
    tick();
    assert!(log_lines().iter().any(|line| line.contains("use_subject_as_username")), "{:?}", log_lines());
    assert_eq!(kicked(), ["id cert-1-a"]);
}

#[test]
fn with_defer_others_decide_about_strangers_and_nobody_else_about_devices() {
    let plugin = Plugin::start(&[("unknown", "defer")]);
    let mut stranger = FakeClient::new(b"x", b"stranger");
    assert_eq!(basic_auth(&mut stranger), DEFERRED);
    assert_eq!(publish(&mut stranger, "any/thing"), DEFERRED);
    assert_eq!(psk_key(&mut stranger, b"stranger", 1024).0, DEFERRED);
    assert_eq!(fire(sys::MOSQ_EVT_RELOAD, &mut 0u64), ALLOWED);
    assert_eq!(basic_auth(&mut stranger), DEFERRED, "a reload drops nobody who is somebody else's");
    tick();
    let mut client = psk_client("psk-1-a");
    assert_eq!(publish(&mut client, "any/thing"), DENIED);
    plugin.sql("UPDATE devices SET status = 'revoked' WHERE name = 'psk-1'");
    tick_until("thrown off", || kicked().contains(&"id psk-1-a".to_owned()));
    assert_eq!(psk_key(&mut client, b"psk-1", 1024).0, NOT_AUTHENTICATED);
    tick();
    assert!(!kicked().contains(&"id x".to_owned()));
}

#[test]
fn records_that_stand_for_others_are_answered_by_their_user_name() {
    let plugin = Plugin::start(&[]);
    // check_retain_source and sessions that are away: no address, no certificate.
    let mut away = FakeClient { address: None, ..FakeClient::new(b"cert-1-a", b"cert-1") };
    assert_eq!(publish(&mut away, "devices/cert-1/data"), ALLOWED);
    assert_eq!(publish(&mut away, "devices/psk-1/data"), DENIED);
    plugin.sql("UPDATE credentials SET status = 'revoked' WHERE identity = 'cert-1'");
    tick_until("denied", || publish(&mut away, "devices/cert-1/data") == DENIED);
    assert!(!kicked().contains(&"id cert-1-a".to_owned()), "nobody is there to be thrown off");
}

#[test]
fn a_question_from_another_thread_is_denied() {
    // As the HTTP API of 2.1 asks, for whoever has logged in there.
    let _plugin = Plugin::start(&[]);
    let mut here = FakeClient { address: None, ..FakeClient::new(b"cert-1-a", b"cert-1") };
    assert_eq!(check(&mut here, sys::MOSQ_ACL_READ, b"devices/cert-1/cmd"), ALLOWED);
    let callbacks = share_callbacks();
    std::thread::spawn(move || {
        callbacks.adopt();
        let mut client = FakeClient { address: None, ..FakeClient::new(b"cert-1-a", b"cert-1") };
        assert_eq!(check(&mut client, sys::MOSQ_ACL_READ, b"devices/cert-1/cmd"), DENIED);
        assert_eq!(basic_auth(&mut client), NOT_AUTHENTICATED);
        assert_eq!(basic_auth(&mut certificate_client("cert-1-b")), NOT_AUTHENTICATED);
    })
    .join()
    .unwrap();
}
