//! What a broker confirms, and when.

use super::*;

/// Waits, without a tick, until the row of the broker says so.
fn until_row(plugin: &Plugin, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while plugin.sql(&format!("SELECT count(*) FROM brokers WHERE {condition}")) != "1" {
        let row = || plugin.sql("SELECT * FROM brokers");
        assert!(Instant::now() < deadline, "never: {condition}; {}; log {:?}", row(), log_lines());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits, without a tick, until the row was written again.
fn until_next_beat(plugin: &Plugin) {
    let beats: i64 = plugin.sql("SELECT beats FROM brokers").parse().unwrap();
    until_row(plugin, &format!("beats > {}", beats + 1));
}

fn confirmed(plugin: &Plugin) -> String {
    plugin.sql("SELECT confirmed FROM brokers")
}

#[test]
fn a_checkpoint_is_confirmed_when_the_last_session_is_ended_and_not_before() {
    let plugin = Plugin::start(&[("broker_name", "a"), ("heartbeat_interval", "30ms")]);
    tick();
    let clients = ["psk-1-a", "psk-1-b", "psk-1-c"].map(|id| {
        let mut client = psk_client(id);
        assert_eq!(publish(&mut client, "devices/psk-1/data"), ALLOWED);
        client
    });
    tick();
    until_row(&plugin, "name = 'a' AND sessions = 3 AND confirmed = 0");
    plugin.sql("UPDATE devices SET status = 'revoked' WHERE name = 'psk-1'");
    plugin.sql("UPDATE warden_meta SET value = '77' WHERE key = 'checkpoint'");
    until_row(&plugin, "revision = (SELECT max(revision) FROM change_log)");
    // It is in place, and those who are here are still here.
    until_next_beat(&plugin);
    assert_eq!((confirmed(&plugin), kicked().len()), ("0".to_owned(), 0));
    // One tick has no time for all of them.
    during_kick(|| std::thread::park_timeout(Duration::from_millis(5)));
    tick();
    assert_eq!(kicked().len(), 1);
    until_next_beat(&plugin);
    assert_eq!(confirmed(&plugin), "0");
    tick_until("all are thrown off", || kicked().iter().filter(|who| who.starts_with("id ")).count() == 3);
    tick();
    until_row(&plugin, "confirmed = 77");
    drop(clients);
}

#[test]
fn a_checkpoint_after_which_nobody_has_to_leave_is_confirmed_by_the_next_tick() {
    let plugin = Plugin::start(&[("broker_name", "a"), ("heartbeat_interval", "1m")]);
    tick();
    for checkpoint in [5, 6, 7] {
        plugin.sql(&format!("UPDATE warden_meta SET value = '{checkpoint}' WHERE key = 'checkpoint'"));
        let said = || plugin.sql(&format!("SELECT count(*) FROM brokers WHERE confirmed = {checkpoint}")) == "1";
        tick_until("it is confirmed", said);
    }
}

#[test]
fn a_broker_without_a_name_does_not_register() {
    let plugin = Plugin::start(&[]);
    plugin.sql("UPDATE warden_meta SET value = '5' WHERE key = 'checkpoint'");
    plugin.sql("UPDATE devices SET status = 'revoked' WHERE name = 'psk-1'");
    let mut client = FakeClient::new(b"psk-1-a", b"psk-1");
    tick_until("the change is seen", || psk_key(&mut client, b"psk-1", 1024).0 == NOT_AUTHENTICATED);
    assert_eq!(plugin.sql("SELECT count(*) FROM brokers"), "0");
}
