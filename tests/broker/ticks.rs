use crate::harness::{Client, Connect, Fleet, eventually, on_every_broker};

#[test]
fn without_ticks_everybody_is_refused_and_the_log_says_what_to_change() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.psk_device("device-001", "sensor");
        // The lines of the plugin move below the listener; only 2.0.11 has no tick for it there.
        let (lines, rest): (Vec<String>, Vec<String>) = fleet
            .configuration("psk.conf")
            .lines()
            .map(str::to_owned)
            .partition(|line| line.starts_with("plugin") || line.starts_with("allow_anonymous"));
        assert!(lines.len() >= 2, "{lines:?}");
        let configuration = format!("per_listener_settings true\n{}\n{}\n", rest.join("\n"), lines.join("\n"));
        let broker = fleet.start_with(mosquitto, &configuration);
        let connect = || Client::try_connect(&broker, &login, &Connect::v5("device-001"));
        if mosquitto.version() == "2.0.11" {
            eventually("the device is refused", || connect().is_err().then_some(()));
            broker.wait_for_log("remove `per_listener_settings true`");
        } else {
            broker.wait_for_log("policy loaded");
            let (mut client, code) = connect().unwrap();
            assert_eq!(code, 0);
            assert_ne!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
            fleet.set_status("device-001", "revoked");
            client.closed();
        }
    });
}
