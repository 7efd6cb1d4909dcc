//! Rows and databases that make no sense, or are gone.

use super::*;

#[test]
fn rows_that_make_no_sense_refuse_their_own_device_and_nobody_else() {
    let plugin = Plugin::start(&[]);
    let mut by_key = psk_client("psk-1-a");
    let mut other = certificate_client("cert-1-a");
    assert_eq!(publish(&mut by_key, "devices/psk-1/data"), ALLOWED);
    assert_eq!(publish(&mut other, "devices/cert-1/data"), ALLOWED);
    plugin.sql("PRAGMA ignore_check_constraints = ON; UPDATE devices SET status = 'parked' WHERE name = 'psk-1'");
    tick_until("refused", || publish(&mut by_key, "devices/psk-1/data") == DENIED);
    assert_eq!(publish(&mut other, "devices/cert-1/data"), ALLOWED);
    tick();
    assert!(log_lines().iter().any(|line| line.contains("unreadable device")), "{:?}", log_lines());
}

#[test]
fn a_rule_that_makes_no_sense_allows_nothing_and_may_be_a_deny() {
    let plugin = Plugin::start(&[]);
    let mut client = psk_client("psk-1-a");
    assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
    plugin.sql(
        "PRAGMA ignore_check_constraints = ON;
         INSERT INTO rules (id, role_id, effect, action, topic) VALUES (10, 1, 'allow', 'publish', 'a/b#');
         INSERT INTO rules (id, role_id, effect, action, topic) VALUES (11, 1, 'allow', 'shout', 'loud');
         INSERT INTO devices (name) VALUES ('marker')",
    );
    // Allow rows that cannot be read change nothing for the others.
    assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
    plugin.sql(
        "PRAGMA ignore_check_constraints = ON;
         INSERT INTO rules (id, role_id, effect, action, topic) VALUES (12, 1, 'forbid', 'publish', 'x')",
    );
    tick_until("denied", || publish(&mut client, "devices/psk-1/data") == DENIED);
    tick();
    assert!(log_lines().iter().any(|line| line.contains("reason=unreadable-rule rule=12")), "{:?}", log_lines());
    plugin.sql("DELETE FROM rules WHERE id = 12");
    tick_until("mended", || publish(&mut client, "devices/psk-1/data") == ALLOWED);
}

#[test]
fn a_database_that_is_deleted_refuses_who_comes_and_leaves_who_is_there() {
    let plugin = Plugin::start(&[]);
    let mut client = psk_client("psk-1-a");
    assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
    std::fs::remove_file(plugin.database()).unwrap();
    let mut late = FakeClient { id: None, user_name: None, ..FakeClient::new(b"", b"") };
    // What was committed to it is still known until somebody looks for the file.
    tick_until("refused", || psk_key(&mut late, b"psk-1", 1024).0 == NOT_AUTHENTICATED);
    assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
    tick_until("said so", || {
        let log = log_lines().join("\n");
        log.contains("database is away") && log.contains("reason=stale-policy")
    });
}

#[test]
fn with_serve_a_database_that_is_away_stops_nobody() {
    let plugin = Plugin::start(&[("on_stale", "serve")]);
    std::fs::remove_file(plugin.database()).unwrap();
    let _client = psk_client("psk-1-a");
}
