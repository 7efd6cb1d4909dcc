//! Who is thrown off, and who is not.

use super::*;

#[test]
fn a_revoked_device_is_thrown_off_and_refused_until_it_is_active_again() {
    let plugin = Plugin::start(&[]);
    let mut client = psk_client("psk-1-a");
    assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
    plugin.sql("UPDATE devices SET status = 'revoked' WHERE name = 'psk-1'");
    tick_until("thrown off", || kicked().contains(&"id psk-1-a".to_owned()));
    assert_eq!(publish(&mut client, "devices/psk-1/data"), DENIED);
    assert_eq!(psk_key(&mut client, b"psk-1", 1024).0, NOT_AUTHENTICATED);
    about(&mut client, sys::MOSQ_EVT_DISCONNECT);
    plugin.sql("UPDATE devices SET status = 'active' WHERE name = 'psk-1'");
    let mut again = psk_client("psk-1-a");
    assert_eq!(publish(&mut again, "devices/psk-1/data"), ALLOWED);
}

#[test]
fn a_session_that_never_spoke_is_thrown_off_by_its_user_name() {
    let mut plugin = Plugin::prepare();
    refuse_registration(sys::WARDEN_EVT_CONNECT, sys::MOSQ_ERR_NOT_SUPPORTED);
    assert_eq!(plugin.run(&[]), ALLOWED);
    plugin.sql("UPDATE devices SET status = 'revoked' WHERE name = 'cert-1'");
    tick_until("thrown off", || kicked().contains(&"user cert-1".to_owned()));
    tick_until("and again", || kicked().iter().filter(|who| *who == "user cert-1").count() == 2);
    assert!(!kicked().iter().any(|who| who.contains("psk-1")), "nobody else");
}

#[test]
fn a_suspended_device_keeps_its_subscriptions_and_a_revoked_one_does_not() {
    for (status, answer) in [("suspended", ALLOWED), ("revoked", DENIED)] {
        std::thread::spawn(move || {
            let plugin = Plugin::start(&[]);
            let mut client = psk_client("psk-1-a");
            assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
            let (tell, told) = std::sync::mpsc::channel();
            let raw = client.raw();
            // What the broker asks while it ends a session that is kept.
            during_kick(move || tell.send(check_raw(raw, 4, c"devices/psk-1/cmd".as_ptr())).unwrap());
            plugin.sql(&format!("UPDATE devices SET status = '{status}' WHERE name = 'psk-1'"));
            tick_until("thrown off", || kicked().contains(&"id psk-1-a".to_owned()));
            assert_eq!(told.try_recv().unwrap(), answer, "{status}");
            assert_eq!(check(&mut client, sys::MOSQ_ACL_SUBSCRIBE, b"devices/psk-1/cmd"), DENIED, "outside a kick");
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_client_with_the_wrong_id_on_an_identity_listener_is_denied_everything_and_thrown_off() {
    let _plugin = Plugin::start(&[]);
    let mut client = psk_client("cert-1-a");
    assert_eq!(publish(&mut client, "devices/psk-1/data"), DENIED);
    tick();
    assert_eq!(kicked(), ["id cert-1-a"]);
    assert!(log_lines().iter().any(|line| line.contains("reason=client-id-mismatch")), "{:?}", log_lines());
}

#[test]
fn a_client_that_left_before_the_tick_is_not_thrown_off() {
    let _plugin = Plugin::start(&[]);
    let mut client = psk_client("cert-1-a");
    assert_eq!(publish(&mut client, "devices/psk-1/data"), DENIED);
    about(&mut client, sys::MOSQ_EVT_DISCONNECT);
    tick();
    assert!(kicked().is_empty(), "{:?}", kicked());
}

#[test]
fn on_2_1_a_stranger_is_thrown_off_when_it_has_connected() {
    let _plugin = Plugin::start(&[]);
    let mut stranger =
        FakeClient { certificate: Some(certificate("/CN=stranger")), ..FakeClient::new(b"s", b"stranger") };
    about(&mut stranger, sys::WARDEN_EVT_CONNECT);
    let mut known = certificate_client("cert-1-a");
    about(&mut known, sys::WARDEN_EVT_CONNECT);
    tick();
    assert_eq!(kicked(), ["id s"]);
}

#[test]
fn on_2_1_nobody_is_looked_for_by_user_name_while_everybody_is_remembered() {
    let plugin = Plugin::start(&[]);
    let mut known = certificate_client("cert-1-a");
    about(&mut known, sys::WARDEN_EVT_CONNECT);
    let mut stranger =
        FakeClient { certificate: Some(certificate("/CN=stranger")), ..FakeClient::new(b"s", b"stranger") };
    // Whoever is thrown off by the client id need not be remembered.
    about(&mut stranger, sys::WARDEN_EVT_CONNECT);
    plugin.sql("UPDATE devices SET status = 'revoked' WHERE name = 'cert-1'");
    tick_until("thrown off", || kicked().contains(&"id cert-1-a".to_owned()));
    let mut other = psk_client("psk-1-a");
    about(&mut other, sys::WARDEN_EVT_CONNECT);
    plugin.sql("UPDATE devices SET status = 'revoked' WHERE name = 'psk-1'");
    tick_until("the next change seen to", || kicked().contains(&"id psk-1-a".to_owned()));
    assert_eq!(kicked(), ["id s", "id cert-1-a", "id psk-1-a"]);
}

#[test]
fn on_2_1_who_is_not_remembered_is_thrown_off_by_the_user_name() {
    // Nothing shows how the first proved that it is psk-1, and the second has no client id to be known by.
    for client_id in [&b"psk-1-a"[..], b"\xff"] {
        std::thread::spawn(move || {
            let plugin = Plugin::start(&[]);
            let mut client = FakeClient::new(client_id, b"psk-1");
            about(&mut client, sys::WARDEN_EVT_CONNECT);
            plugin.sql("UPDATE devices SET status = 'revoked' WHERE name = 'psk-1'");
            tick_until("thrown off", || kicked().contains(&"user psk-1".to_owned()));
            assert_eq!(kicked(), ["user psk-1"]);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn on_2_1_whoever_is_revoked_in_the_middle_of_a_tick_is_thrown_off() {
    let plugin = Plugin::start(&[("poll_interval", "10ms")]);
    let database = plugin.database();
    let mut client = psk_client("psk-1-a");
    for round in 1..=100 {
        about(&mut client, sys::WARDEN_EVT_CONNECT);
        std::thread::scope(|scope| {
            scope.spawn(|| sql(&database, "UPDATE devices SET status = 'revoked' WHERE name = 'psk-1'"));
            let deadline = Instant::now() + Duration::from_secs(10);
            // One tick after the other, so that the change comes during one.
            while kicked().len() < round {
                tick();
                assert!(Instant::now() < deadline, "not thrown off in round {round}");
            }
        });
        about(&mut client, sys::MOSQ_EVT_DISCONNECT);
        plugin.sql("UPDATE devices SET status = 'active' WHERE name = 'psk-1'");
        tick_until("it may come again", || psk_key(&mut client, b"psk-1", 1024).0 == ALLOWED);
    }
}

#[test]
fn one_revoked_credential_ends_its_sessions_and_not_those_of_the_other() {
    let plugin = Plugin::start(&[]);
    plugin.sql("INSERT INTO credentials (device_id, kind, identity) VALUES (2, 'x509_cn', 'psk-1')");
    let mut by_key = psk_client("psk-1-key");
    let mut by_certificate =
        FakeClient { certificate: Some(certificate("/CN=psk-1")), ..FakeClient::new(b"psk-1-cert", b"psk-1") };
    assert_eq!(publish(&mut by_key, "devices/psk-1/data"), ALLOWED);
    tick_until("the certificate is known", || publish(&mut by_certificate, "devices/psk-1/data") == ALLOWED);
    let before = kicked().len();
    plugin.sql("UPDATE credentials SET status = 'revoked' WHERE kind = 'psk'");
    tick_until("thrown off", || kicked().len() > before);
    assert_eq!(kicked()[before..], ["id psk-1-key"]);
    assert_eq!(publish(&mut by_key, "devices/psk-1/data"), DENIED);
    assert_eq!(publish(&mut by_certificate, "devices/psk-1/data"), ALLOWED);
}

#[test]
fn an_identity_that_passes_to_another_device_takes_no_session_along() {
    let plugin = Plugin::start(&[]);
    let mut client = psk_client("psk-1-a");
    assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
    plugin.sql(
        "BEGIN; DELETE FROM devices WHERE name = 'psk-1'; INSERT INTO devices (id, name) VALUES (3, 'psk-1');
         INSERT INTO device_roles VALUES (3, 1);
         INSERT INTO credentials (device_id, kind, identity, secret, secret_digest) VALUES (3, 'psk', 'psk-1', 'x', 'x');
         COMMIT;",
    );
    tick_until("thrown off", || kicked().contains(&"id psk-1-a".to_owned()));
    assert_eq!(publish(&mut client, "devices/psk-1/data"), DENIED);
    tick();
    assert!(log_lines().iter().any(|line| line.contains("reason=identity-moved")), "{:?}", log_lines());
}

#[test]
fn a_change_about_very_many_ends_the_sessions_of_those_it_is_about_and_no_others() {
    let plugin = Plugin::start(&[]);
    let mut client = psk_client("psk-1-a");
    assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
    let mut other = certificate_client("cert-1-a");
    assert_eq!(publish(&mut other, "devices/cert-1/data"), ALLOWED);
    plugin.sql(
        "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 19999)
         INSERT INTO devices (name) SELECT 'bulk-' || n FROM n",
    );
    plugin.sql("UPDATE devices SET status = 'revoked' WHERE name <> 'cert-1'");
    tick_until("thrown off", || kicked().contains(&"id psk-1-a".to_owned()));
    assert_eq!(publish(&mut client, "devices/psk-1/data"), DENIED);
    assert_eq!(publish(&mut other, "devices/cert-1/data"), ALLOWED);
    assert!(!kicked().iter().any(|who| who.contains("cert-1")), "{:?}", kicked());
}
