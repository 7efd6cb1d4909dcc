use crate::harness::{Client, Connect, Fleet, eventually, on_every_broker};

#[test]
fn options_may_be_lines_of_the_broker_s_configuration() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let login = fleet.psk_device("device-001", "sensor");
        let file = format!("plugin_opt_config_file {}", fleet.path("etc/warden.toml").display());
        let lines = format!(
            "plugin_opt_database {}\nplugin_opt_key_file {}\nplugin_opt_freshness bounded",
            fleet.database().display(),
            fleet.key_file().display()
        );
        let broker = fleet.start_with(mosquitto, &fleet.configuration("psk.conf").replace(&file, &lines));
        Client::connect(&broker, &login, &Connect::v5("device-001")).ping().unwrap();
        let (code, log) = broker.stop();
        assert_eq!(code, Some(0), "{log}");
    });
}

#[test]
fn one_broker_serves_both_kinds_of_device_and_ends_in_order() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let (certificate, psk) =
            (fleet.certificate_device("device-001", "sensor"), fleet.psk_device("device-002", "sensor"));
        let broker = fleet.start(mosquitto, "fleet.conf");
        Client::connect(&broker, &certificate, &Connect::v5("device-001")).ping().unwrap();
        Client::connect(&broker, &psk, &Connect::v5("device-002")).ping().unwrap();
        assert_eq!(broker.stop().0, Some(0));
    });
}

#[test]
fn whether_certificates_are_judged_in_the_handshake_is_made_known() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        fleet.warden(&["rule", "add", "sensor", "allow", "read", "$SYS/broker/warden/#"]);
        let login = fleet.certificate_device("device-001", "sensor");
        for (mode, expected) in [("enforce", "enforced"), ("off", "off")] {
            let configuration = fleet.configuration("certificates.conf");
            let option = format!("\nplugin_opt_handshake {mode}\nallow_anonymous");
            let broker = fleet.start_with(mosquitto, &configuration.replace("\nallow_anonymous", &option));
            eventually("the retained message is there", || {
                let mut client = Client::connect(&broker, &login, &Connect::v5("device-001"));
                client.subscribe("$SYS/broker/warden/handshake", 0).unwrap();
                client.publish("devices/device-001/cmd", "");
                client.subscribe("devices/device-001/cmd", 0).unwrap();
                client.publish("devices/device-001/cmd", "");
                let (topic, payload) = client.next_message().unwrap();
                (topic == "$SYS/broker/warden/handshake").then(|| assert_eq!(payload, expected))
            });
        }
    });
}
