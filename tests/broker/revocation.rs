use crate::harness::{Client, Connect, Packet, TlsVersion, eventually, on_every_broker};
use crate::listeners::{Listener, MINE, OTHER, Setting, on_every_listener};

on_every_listener! {
    a_live_session_ends_and_the_next_is_refused_until_the_device_is_active_again,
    every_session_of_a_device_ends_and_nobody_else_s,
    a_revoked_credential_ends_what_it_let_in,
    a_device_that_is_removed_or_renamed_leaves,
    a_suspended_device_keeps_its_subscriptions_and_a_revoked_one_loses_them,
    a_device_that_is_thrown_off_leaves_no_will,
    a_rule_acts_on_sessions_that_are_there,
    a_role_acts_on_sessions_that_are_there,
}

fn a_live_session_ends_and_the_next_is_refused_until_the_device_is_active_again(setting: &Setting) {
    let Setting { broker, mine, fleet, .. } = setting;
    for status in ["revoked", "suspended"] {
        let subscriber = broker.subscriber(mine, "device-001-sub", "devices/device-001/cmd");
        let mut client = setting.admits(mine, MINE);
        let mut old = Client::connect(broker, mine, &Connect::v311("device-001-old"));
        old.publish("devices/device-001/a", "");

        fleet.set_status(MINE, status);
        assert_eq!(client.closed(), Some(0x98));
        assert_eq!(old.closed(), None);
        subscriber.wait_until_disconnected();
        for connect in [Connect::v5(MINE), Connect::v311(MINE)] {
            setting.refuses(setting.gate_of_identities(), mine, &connect);
        }
        broker.wait_for_log(&format!("reason=device-{status}"));

        fleet.set_status(MINE, "active");
        setting.admits(mine, MINE).disconnect();
    }
}

fn every_session_of_a_device_ends_and_nobody_else_s(setting: &Setting) {
    let mut sessions: Vec<Client> = (0..5)
        .map(|n| Client::connect(&setting.broker, &setting.mine, &Connect::v5(format!("device-001-{n}"))))
        .collect();
    let mut other = setting.admits(&setting.other, OTHER);
    setting.fleet.set_status(MINE, "revoked");
    for session in &mut sessions {
        assert_eq!(session.closed(), Some(0x98));
    }
    other.ping().unwrap();
}

fn a_revoked_credential_ends_what_it_let_in(setting: &Setting) {
    let mut client = setting.admits(&setting.mine, MINE);
    setting.fleet.sql(&format!("UPDATE credentials SET status = 'revoked' WHERE identity = '{MINE}'"));
    client.closed();
    setting.refuses(setting.gate_of_identities(), &setting.mine, &Connect::v5(MINE));
    setting.fleet.sql(&format!("UPDATE credentials SET status = 'active' WHERE identity = '{MINE}'"));
    setting.admits(&setting.mine, MINE);
}

fn a_device_that_is_removed_or_renamed_leaves(setting: &Setting) {
    let changes = [
        "UPDATE devices SET name = 'another' WHERE name = 'device-001'",
        "DELETE FROM devices WHERE name = 'device-002'",
    ];
    for ((login, name), change) in [(&setting.mine, MINE), (&setting.other, OTHER)].into_iter().zip(changes) {
        let mut client = setting.admits(login, name);
        setting.fleet.sql(change);
        client.closed();
    }
    setting.refuses(setting.gate_of_identities(), &setting.other, &Connect::v5(OTHER));
}

fn a_suspended_device_keeps_its_subscriptions_and_a_revoked_one_loses_them(setting: &Setting) {
    let connect = Connect::v5("device-001-kept").persistent();
    for (status, keeps) in [("suspended", true), ("revoked", false)] {
        let mut client = Client::connect(&setting.broker, &setting.mine, &connect);
        assert_eq!(client.subscribe("devices/device-001/cmd", 1).unwrap(), 1);
        setting.fleet.set_status(MINE, status);
        client.closed();
        setting.fleet.set_status(MINE, "active");

        let mut client = Client::handshake(&setting.broker, &setting.mine, TlsVersion::Any).unwrap();
        client.version = connect.version;
        client.send(&connect.clone().by(&setting.mine).encode()).unwrap();
        assert_eq!(client.read().unwrap(), Packet::Connack { session_present: true, code: 0 });
        client.publish_acknowledged("devices/device-001/cmd", "by the old subscription").unwrap();
        assert_eq!(client.subscribe("devices/device-001/cmd", 1).unwrap(), 1);
        client.publish_acknowledged("devices/device-001/cmd", "by the new one").unwrap();
        let first = client.next_message().unwrap().1;
        assert_eq!(first, if keeps { "by the old subscription" } else { "by the new one" }, "{status}");
    }
}

fn a_device_that_is_thrown_off_leaves_no_will(setting: &Setting) {
    setting.fleet.warden(&["role", "add", "monitor"]);
    setting.fleet.warden(&["rule", "add", "monitor", "allow", "read", "devices/#"]);
    let monitor = setting.device("monitor-1", "monitor");
    let mut monitor = Client::connect(&setting.broker, &monitor, &Connect::v5("monitor-1"));
    assert_eq!(monitor.subscribe("devices/#", 0).unwrap(), 0);

    let connect = Connect::v5(MINE).will("devices/device-001/will", "lost");
    let mut client = Client::connect(&setting.broker, &setting.mine, &connect);
    client.publish("devices/device-001/a", "here");
    assert_eq!(monitor.next_message().unwrap().1, "here");
    setting.fleet.set_status(MINE, "revoked");
    client.closed();
    setting.fleet.set_status(MINE, "active");
    let mut client = Client::connect(&setting.broker, &setting.mine, &connect);
    client.publish("devices/device-001/a", "back");
    assert_eq!(monitor.next_message().unwrap().1, "back");
    // Of a client that is lost while it may be here, the will is sent; one that goes where it must not, is not.
    client.lose();
    assert_eq!(monitor.next_message().unwrap(), ("devices/device-001/will".into(), "lost".into()));
    let forged = Connect::v5(MINE).will("devices/device-002/will", "forged");
    let client = Client::connect(&setting.broker, &setting.mine, &forged);
    client.lose();
    setting.broker.wait_for_log("topic=devices/device-002/will reason=no-rule");
    setting.admits(&setting.mine, MINE);
    assert_eq!(monitor.next_message().unwrap().1, "to myself");
}

fn a_rule_acts_on_sessions_that_are_there(setting: &Setting) {
    let mut client = setting.admits(&setting.mine, MINE);
    let other = "devices/device-002/hello";
    assert_eq!(client.publish_acknowledged(other, "").unwrap(), 0x87);
    setting.fleet.warden(&["rule", "add", "sensor", "allow", "publish", "devices/+/hello"]);
    eventually("what a new rule allows is allowed", || {
        (client.publish_acknowledged(other, "").unwrap() == 0).then_some(())
    });
    setting.fleet.warden(&["rule", "add", "sensor", "deny", "all", "devices/+/hello"]);
    eventually("what a new rule denies is denied", || {
        (client.publish_acknowledged(other, "").unwrap() == 0x87).then_some(())
    });
    // A subscription that was allowed is a right no longer: no delivery passes.
    setting.fleet.sql("DELETE FROM rules WHERE action = 'read'");
    eventually("a subscription that no rule allows is refused", || {
        (client.subscribe("devices/device-001/cmd", 0).unwrap() == 0x87).then_some(())
    });
    client.publish_acknowledged("devices/device-001/cmd", "not delivered").unwrap();
    setting.fleet.warden(&["rule", "add", "sensor", "allow", "read", "devices/%u/cmd"]);
    eventually("a subscription that a rule allows again is granted", || {
        (client.subscribe("devices/device-001/cmd", 0).unwrap() == 0).then_some(())
    });
    client.publish_acknowledged("devices/device-001/cmd", "delivered").unwrap();
    assert_eq!(client.next_message().unwrap().1, "delivered");
}

fn a_role_acts_on_sessions_that_are_there(setting: &Setting) {
    let mut client = setting.admits(&setting.mine, MINE);
    setting.fleet.sql("DELETE FROM device_roles");
    eventually("a right that came with a role is gone with it", || {
        (client.publish_acknowledged("devices/device-001/a", "").unwrap() == 0x87).then_some(())
    });
    setting.fleet.sql("INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r");
    eventually("and comes back", || {
        (client.publish_acknowledged("devices/device-001/a", "").unwrap() == 0).then_some(())
    });
    // A binding that the client id does not meet ends the session, with its next message at the latest.
    setting.fleet.sql("UPDATE roles SET client_id = 'something-else'");
    eventually("a session with a client id that is not allowed any more ends", || {
        client.publish_acknowledged("devices/device-001/a", "").is_err().then_some(())
    });
}

#[test]
fn a_stranger_who_takes_over_a_session_does_not_cost_it_its_subscriptions() {
    on_every_broker(|mosquitto| {
        // Only here does the broker accept a CONNECT, and with it the client id, before anybody is asked.
        let setting = Setting::new(mosquitto, Listener::NamedByTheBrokerAfterTheHandshake);
        let Setting { broker, mine, fleet, .. } = &setting;
        let mut client = Client::connect(broker, mine, &Connect::v5(MINE).persistent());
        assert_eq!(client.subscribe("devices/device-001/cmd", 1).unwrap(), 1);
        client.disconnect();

        let stranger = fleet.ca.device("stranger");
        let (mut thief, code) = Client::try_connect(broker, &stranger, &Connect::v5(MINE).persistent()).unwrap();
        assert_eq!(code, 0);
        // It acts, so that every broker shows it to the plugin, and is thrown off.
        let _ = thief.publish_acknowledged("devices/device-001/cmd", "from a stranger");
        thief.closed();

        let mut client = Client::connect(broker, mine, &Connect::v5(MINE).persistent());
        let mut sender = Client::connect(broker, mine, &Connect::v5("device-001-b"));
        assert_eq!(sender.publish_acknowledged("devices/device-001/cmd", "after").unwrap(), 0);
        assert_eq!(client.next_message().unwrap(), ("devices/device-001/cmd".to_owned(), "after".to_owned()));
    });
}
