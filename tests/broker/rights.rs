use crate::harness::{Client, Connect};
use crate::listeners::{MINE, OTHER, Setting, on_every_listener};

on_every_listener! {
    a_device_publishes_below_its_own_name_and_receives_its_commands,
    a_device_is_refused_what_no_rule_allows,
    mosquitto_pub_and_mosquitto_sub_are_served_and_refused,
}

fn a_device_publishes_below_its_own_name_and_receives_its_commands(setting: &Setting) {
    for connect in [Connect::v311(MINE), Connect::v5("device-001-b").user("somebody", "else")] {
        let mut client = Client::connect(&setting.broker, &setting.mine, &connect);
        assert_eq!(client.subscribe("devices/device-001/cmd", 1).unwrap(), 1);
        assert_eq!(client.publish_acknowledged("devices/device-001/temperature", "21").unwrap(), 0);
        assert_eq!(client.publish_acknowledged("devices/device-001/cmd", "restart").unwrap(), 0);
        assert_eq!(client.next_message().unwrap(), ("devices/device-001/cmd".into(), "restart".into()));
        client.unsubscribe("devices/device-001/cmd").unwrap();
        client.disconnect();
    }
}

fn a_device_is_refused_what_no_rule_allows(setting: &Setting) {
    let mut other = Client::connect(&setting.broker, &setting.other, &Connect::v5(OTHER));
    assert_eq!(other.subscribe("devices/device-002/cmd", 0).unwrap(), 0);
    let mut client = Client::connect(&setting.broker, &setting.mine, &Connect::v5(MINE));
    let mut old = Client::connect(&setting.broker, &setting.mine, &Connect::v311("device-001-old"));

    let filters = [
        "#",
        "+/+/+",
        "devices/#",
        "devices/+/cmd",
        "devices/device-001/#",
        "devices/device-001/+",
        "devices/device-001/cmd/#",
        "devices/device-002/cmd",
        "$share/g/#",
        "$share/g/devices/+/cmd",
        "$SYS/#",
        "$CONTROL/#",
    ];
    for filter in filters {
        assert_eq!(client.subscribe(filter, 0).unwrap(), 0x87, "{filter}");
        assert_eq!(old.subscribe(filter, 0).unwrap(), 0x80, "{filter}");
    }
    assert_eq!(client.subscribe("$share/g/devices/device-001/cmd", 0).unwrap(), 0);

    let topics =
        ["devices/device-002/temperature", "devices/device-002/cmd", "devices", "temperature", "$SYS/broker/load"];
    for topic in topics {
        assert_eq!(client.publish_acknowledged(topic, "forged").unwrap(), 0x87, "{topic}");
        old.publish_acknowledged(topic, "forged").unwrap();
        client.publish(topic, "forged");
        old.publish(topic, "forged");
    }
    client.ping().unwrap();
    old.ping().unwrap();
    // The first that the other device hears is what it may.
    other.publish("devices/device-002/cmd", "genuine");
    assert_eq!(other.next_message().unwrap(), ("devices/device-002/cmd".into(), "genuine".into()));
}

fn mosquitto_pub_and_mosquitto_sub_are_served_and_refused(setting: &Setting) {
    let Setting { broker, mine, other, .. } = setting;
    let mut subscriber = broker.subscriber(other, OTHER, "devices/device-002/cmd");
    let send = |login, id, topic, text| {
        broker.mosquitto_pub(login, &["-V", "5", "-q", "1", "-i", id, "-t", topic, "-m", text])
    };
    assert_eq!(send(other, "device-002-b", "devices/device-002/cmd", "genuine").code, Some(0));
    subscriber.wait_for_line("genuine");
    // What mosquitto_pub exits with after a refusal differs by version, what it says does not.
    let refused = send(mine, MINE, "devices/device-002/cmd", "forged");
    assert!(refused.stderr.contains("Not authorized"), "{refused:?}");
    assert_eq!(send(other, "device-002-b", "devices/device-002/cmd", "after").code, Some(0));
    assert!(!subscriber.wait_for_line("after").contains("forged"));
    for filter in ["#", "devices/+/cmd", "$share/g/#", "devices/device-002/cmd"] {
        let refused = broker.mosquitto_sub(mine, &["-d", "-i", MINE, "-t", filter, "-C", "1", "-W", "20"]);
        assert!(refused.stderr.contains("All subscription requests were denied"), "{filter}: {refused:?}");
    }
}
