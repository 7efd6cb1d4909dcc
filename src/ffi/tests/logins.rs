//! Logins with user name and password.

use super::*;

/// What `$6$…` of `mosquitto_passwd` is of.
const OLD_PASSWORD: &[u8] = b"correct horse battery";
const OLD: &str =
    "$6$zu5PdbBdqzMt1OTI$9CbV/+vuHpuEJPjKj2sP6irka5WDULQ6YJfiMrLdNMczXN/Y4J/ZI68Tm+6Cncst2L20fxqfoIRNGdo8nbVI2g==";

fn cheap(password: &[u8]) -> String {
    password::hash(password, "m=8,t=1,p=1".parse().unwrap()).unwrap()
}

/// With a third device, `pass-1`, whose user name `u` has this hash.
fn plugin(hash: &str, options: &[(&str, &str)]) -> Plugin {
    let mut plugin = Plugin::prepare();
    plugin.sql(&format!(
        "INSERT INTO devices (id, name) VALUES (3, 'pass-1');
         INSERT INTO device_roles VALUES (3, 1);
         INSERT INTO credentials (device_id, kind, identity, secret) VALUES (3, 'password', 'u', '{hash}')"
    ));
    let cost = [("password_cost", "m=8,t=1,p=1")];
    assert_eq!(plugin.run(&[&cost, options].concat()), ALLOWED, "{:?}", log_lines());
    plugin
}

fn client(id: &str, user_name: &str) -> FakeClient {
    FakeClient::new(id.as_bytes(), user_name.as_bytes())
}

fn login(client: &mut FakeClient, password: &[u8]) -> c_int {
    basic_auth_with(client, Some(password))
}

/// A login by a client that is gone at once.
fn try_login(id: &str, user_name: &str, password: &[u8]) -> c_int {
    login(&mut client(id, user_name), password)
}

fn refusals(reason: &str) -> usize {
    tick();
    log_lines().iter().filter(|line| line.contains(&format!("reason={reason}"))).count()
}

#[test]
fn a_password_names_its_device_and_nothing_else_does() {
    let _plugin = plugin(&cheap(b"secret"), &[]);
    let mut client = client("pass-1-a", "u");
    assert_eq!(login(&mut client, b"secret"), ALLOWED);
    assert_eq!(client.user_name.as_deref(), Some(c"pass-1"));
    assert_eq!(publish(&mut client, "devices/pass-1/data"), ALLOWED);
    assert_eq!(publish(&mut client, "devices/cert-1/data"), DENIED);
    for (id, user_name, password, reason) in [
        ("pass-1-b", "u", b"Secret".as_slice(), "wrong-password"),
        ("pass-1-b", "u", b"", "wrong-password"),
        ("pass-1-b", "u", &vec![b'x'; 65_535], "wrong-password"),
        ("pass-1-b", "pass-1", b"secret", "unknown-identity"),
        ("pass-1-b", "cert-1", b"secret", "unknown-identity"),
        ("cert-1-b", "u", b"secret", "client-id-mismatch"),
    ] {
        let before = refusals(reason);
        assert_eq!(try_login(id, user_name, password), NOT_AUTHENTICATED, "{user_name}");
        assert_eq!(refusals(reason), before + 1, "{user_name} {reason}: {:?}", log_lines());
    }
    assert_eq!(basic_auth(&mut FakeClient::new(b"pass-1-b", b"u")), NOT_AUTHENTICATED, "no password at all");
    let mut bytes = FakeClient::new(b"pass-1-c", b"\xff\xfe");
    assert_eq!(login(&mut bytes, b"secret"), NOT_AUTHENTICATED);
}

#[test]
fn a_hash_that_is_none_refuses_its_device_and_nobody_else() {
    for hash in ["", "secret", "$7$", "$2b$31$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e"] {
        let plugin = plugin(hash, &[]);
        plugin.sql(&format!(
            "INSERT INTO credentials (device_id, kind, identity, secret) VALUES (1, 'password', 'v', '{}')",
            cheap(b"secret")
        ));
        tick_until("known", || try_login("cert-1-a", "v", b"secret") == ALLOWED);
        let before = refusals("unreadable-device");
        assert_eq!(try_login("pass-1-a", "u", b"secret"), NOT_AUTHENTICATED, "{hash}");
        assert_eq!(try_login("pass-1-a", "u", b""), NOT_AUTHENTICATED, "{hash}");
        assert_eq!(refusals("unreadable-device"), before + 1);
    }
}

#[test]
fn a_changed_password_ends_the_sessions_that_came_by_the_old_one() {
    let plugin = plugin(&cheap(b"secret"), &[]);
    let mut client = client("pass-1-a", "u");
    assert_eq!(login(&mut client, b"secret"), ALLOWED);
    plugin.sql(&format!("UPDATE credentials SET secret = '{}' WHERE identity = 'u'", cheap(b"another")));
    tick_until("thrown off", || kicked().contains(&"id pass-1-a".to_owned()));
    assert_eq!(publish(&mut client, "devices/pass-1/data"), DENIED);
    assert!(log_lines().iter().any(|line| line.contains("reason=password-changed")), "{:?}", log_lines());
    about(&mut client, sys::MOSQ_EVT_DISCONNECT);
    assert_eq!(try_login("pass-1-a", "u", b"secret"), NOT_AUTHENTICATED);
    assert_eq!(try_login("pass-1-a", "u", b"another"), ALLOWED);
}

#[test]
fn who_has_proved_its_password_is_not_limited_and_who_guesses_is() {
    let _plugin = plugin(&cheap(b"secret"), &[("login_attempts", "3")]);
    assert_eq!(try_login("pass-1-a", "u", b"secret"), ALLOWED);
    for _ in 0..20 {
        assert_eq!(try_login("pass-1-b", "u", b"guess"), NOT_AUTHENTICATED);
    }
    assert_eq!((refusals("wrong-password"), refusals("login-budget")), (3, 17));
    for _ in 0..100 {
        assert_eq!(try_login("pass-1-a", "u", b"secret"), ALLOWED);
    }
    // Names that nobody has are counted like others: an answer tells nothing.
    for _ in 0..20 {
        assert_eq!(try_login("x", "nobody", b"guess"), NOT_AUTHENTICATED);
    }
    assert_eq!((refusals("unknown-identity"), refusals("login-budget")), (3, 34));
}

#[test]
fn after_a_reload_password_sessions_stay_and_nobody_is_hashed() {
    let _plugin = plugin(&cheap(b"secret"), &[]);
    let mut client = client("pass-1-a", "u");
    assert_eq!(login(&mut client, b"secret"), ALLOWED);
    assert_eq!(fire(sys::MOSQ_EVT_RELOAD, &mut 0u64), ALLOWED);
    assert_eq!(basic_auth(&mut client), ALLOWED);
    let mut away = FakeClient { address: None, ..FakeClient::new(b"pass-1-b", b"u") };
    assert_eq!(login(&mut away, b"secret"), NOT_AUTHENTICATED);
    assert_eq!(try_login("pass-1-c", "u", b"secret"), ALLOWED, "one that comes just now");
    assert_eq!(try_login("pass-1-d", "u", b"wrong"), NOT_AUTHENTICATED);
}

#[test]
fn with_defer_only_the_users_of_the_database_are_judged() {
    let _plugin = plugin(&cheap(b"secret"), &[("unknown", "defer"), ("login_attempts", "1")]);
    for _ in 0..10 {
        assert_eq!(try_login("x", "stranger", b"secret"), DEFERRED);
        assert_eq!(try_login("x", "stranger", b""), DEFERRED);
    }
    assert_eq!(try_login("pass-1-a", "u", b"wrong"), NOT_AUTHENTICATED);
    assert_eq!(try_login("pass-1-a", "u", b"wrong"), NOT_AUTHENTICATED);
    assert_eq!(refusals("login-budget"), 1);
}

#[test]
fn a_hash_of_another_form_is_upgraded_at_login_and_its_session_stays() {
    let plugin = plugin(OLD, &[("password_upgrade", "true")]);
    let mut session = client("pass-1-a", "u");
    assert_eq!(login(&mut session, OLD_PASSWORD), ALLOWED);
    tick_until("upgraded", || log_lines().iter().any(|line| line.contains("hash of a password upgraded user=u")));
    let stored = plugin.select("SELECT secret FROM credentials WHERE identity = 'u'");
    assert!(stored.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{stored}");
    // Seen by now: what is committed later is seen later.
    plugin.sql("UPDATE credentials SET status = 'revoked' WHERE identity = 'psk-1'");
    tick_until("seen", || psk_key(&mut client("", ""), b"psk-1", 1024).0 == NOT_AUTHENTICATED);
    assert_eq!(publish(&mut session, "devices/pass-1/data"), ALLOWED);
    // The device of `psk-1` may be thrown off by now; this one must not.
    assert!(!kicked().iter().any(|kick| kick.contains("pass-1")), "{:?}", kicked());
    assert_eq!(try_login("pass-1-b", "u", OLD_PASSWORD), ALLOWED);
    assert_eq!(try_login("pass-1-b", "u", b"wrong"), NOT_AUTHENTICATED);
    // And the next change is one.
    plugin.sql(&format!("UPDATE credentials SET secret = '{OLD}' WHERE identity = 'u'"));
    tick_until("thrown off", || kicked().contains(&"id pass-1-a".to_owned()));
}

/// Between the new hash and the tick that notes it, too.
#[test]
fn a_password_to_begin_with_gives_its_role_alone_and_an_upgraded_hash_gives_no_more() {
    let plugin = plugin(OLD, &[("password_upgrade", "true")]);
    plugin.sql(
        "INSERT INTO roles (id, name) VALUES (7, 'begin');
         INSERT INTO rules (role_id, effect, action, topic) VALUES (7, 'allow', 'publish', 'begin/%u');
         UPDATE credentials SET role_id = 7 WHERE identity = 'u'",
    );
    let mut session = client("pass-1-a", "u");
    assert_eq!(login(&mut session, OLD_PASSWORD), ALLOWED);
    let mut begins = |when: &str| {
        assert_eq!(publish(&mut session, "begin/pass-1"), ALLOWED, "{when}");
        assert_eq!(publish(&mut session, "devices/pass-1/data"), DENIED, "{when}");
    };
    begins("at first");
    let deadline = Instant::now() + Duration::from_secs(10);
    while plugin.select("SELECT secret FROM credentials WHERE identity = 'u'") == OLD {
        assert!(Instant::now() < deadline, "it is never upgraded");
    }
    // Whoever connects waits until the feed has seen it.
    assert_eq!(try_login("pass-1-b", "u", OLD_PASSWORD), ALLOWED);
    begins("before the tick");
    tick();
    begins("after the tick");
    assert_eq!(kicked(), Vec::<String>::new());
    plugin.sql("INSERT INTO credentials (device_id, kind, identity) VALUES (3, 'x509_cn', 'pass-1')");
    tick_until("thrown off", || kicked().contains(&"id pass-1-a".to_owned()));
}

#[test]
fn without_the_option_the_database_is_not_written() {
    let plugin = plugin(OLD, &[]);
    assert_eq!(try_login("pass-1-a", "u", OLD_PASSWORD), ALLOWED);
    tick();
    assert_eq!(plugin.select("SELECT secret FROM credentials WHERE identity = 'u'"), OLD);
}
