//! Options, files and registrations at the start.

use super::*;

#[test]
fn only_version_5_is_spoken() {
    let offered = [5, 4, 3, 2];
    // SAFETY: as the broker calls it.
    unsafe {
        assert_eq!(mosquitto_plugin_version(4, offered.as_ptr()), 5);
        assert_eq!(mosquitto_plugin_version(3, offered.as_ptr().add(1)), -1);
        assert_eq!(mosquitto_plugin_version(0, std::ptr::null()), -1);
    }
}

#[test]
fn every_mistake_in_the_options_is_in_the_log_and_nothing_is_registered() {
    let mut plugin = Plugin::prepare();
    let code = plugin.run(&[("databsae", "x"), ("freshness", "often"), ("max_staleness", "soon")]);
    assert_eq!(code, sys::MOSQ_ERR_INVAL);
    let log = log_lines();
    assert_eq!(log.len(), 3, "{log:?}");
    assert!(log[0].contains("did you mean `database`?"), "{log:?}");
    assert!(registered().is_empty() && plugin.user_data.is_null());
}

#[test]
fn what_is_wrong_with_files_is_reported_together_with_the_options() {
    let mut plugin = Plugin::prepare();
    std::fs::remove_file(plugin.database().with_extension("key")).unwrap();
    assert_eq!(plugin.run(&[("freshness", "often"), ("key_fiel", "x")]), sys::MOSQ_ERR_INVAL);
    let log = log_lines();
    assert_eq!(log.len(), 3, "{log:?}");
    assert!(log[1].contains("did you mean `key_file`?") && log[2].contains("warden.key"), "{log:?}");
    assert!(registered().is_empty() && plugin.user_data.is_null());
}

#[test]
fn a_missing_database_and_a_missing_key_file_are_reported_together() {
    let mut plugin = Plugin::prepare();
    assert_eq!(plugin.run(&[("database", "/nowhere/fleet.db")]), sys::MOSQ_ERR_INVAL);
    let log = log_lines().join("\n");
    assert!(log.contains("/nowhere/fleet.key") && log.contains("/nowhere/fleet.db"), "{log}");
}

#[test]
fn a_plugin_that_is_named_twice_says_so_and_leaves_nothing_registered() {
    let mut plugin = Plugin::prepare();
    refuse_registration(sys::MOSQ_EVT_TICK, sys::MOSQ_ERR_ALREADY_EXISTS);
    assert_eq!(plugin.run(&[]), sys::MOSQ_ERR_ALREADY_EXISTS);
    assert!(log_lines().join("\n").contains("named twice"), "{:?}", log_lines());
    assert!(registered().is_empty() && plugin.user_data.is_null());
}

#[test]
fn a_broker_without_the_events_of_2_1_is_served() {
    let mut plugin = Plugin::prepare();
    refuse_registration(sys::WARDEN_EVT_CONNECT, sys::MOSQ_ERR_NOT_SUPPORTED);
    refuse_registration(sys::WARDEN_EVT_CLIENT_OFFLINE, sys::MOSQ_ERR_NOT_SUPPORTED);
    assert_eq!(plugin.run(&[]), ALLOWED);
    assert_eq!(registered(), [1, 2, 3, 8, 9, 10]);
}

#[test]
fn where_openssl_cannot_be_hooked_it_is_said_loudly_and_made_known() {
    let _plugin = Plugin::start(&[]);
    tick();
    tick();
    assert_eq!(published(), ["$SYS/broker/warden/handshake impossible"]);
    let log = log_lines().join("\n");
    assert!(log.contains("CERTIFICATES ARE NOT JUDGED IN THE TLS HANDSHAKE"), "{log}");
    // The other gates carry on.
    let mut client = certificate_client("cert-1-a");
    assert_eq!(basic_auth(&mut client), ALLOWED);
}

#[test]
fn who_wants_no_handshakes_judged_hears_nothing_of_it() {
    let _plugin = Plugin::start(&[("handshake", "off")]);
    tick();
    assert_eq!(published(), ["$SYS/broker/warden/handshake off"]);
    assert!(!log_lines().join("\n").contains("HANDSHAKE"));
}
