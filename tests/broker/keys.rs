use crate::harness::{Client, Connect, End, Fleet, Login, eventually, on_every_broker};
use crate::listeners::{Gate, Listener, MINE, OTHER, Setting};

/// What `warden` has printed of a new key.
fn shown(json: &str) -> Login {
    let said: serde_json::Value = serde_json::from_str(json).unwrap();
    let text = |name: &str| said["psk"][name].as_str().unwrap();
    Login::psk(text("identity"), text("key"))
}

#[test]
fn a_rotated_key_and_the_new_one_both_work_until_the_old_one_ends() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::PreSharedKeys);
        let mut by_old = setting.admits(&setting.mine, MINE);
        let rotate = ["credential", "rotate", MINE, "--kind", "psk", "--overlap", "1h", "--opaque", "--json"];
        let new = shown(&setting.fleet.warden(&rotate));
        eventually("the new key works", || {
            Client::try_connect(&setting.broker, &new, &Connect::v5("device-001-new")).is_ok().then_some(())
        });
        let mut by_new = Client::connect(&setting.broker, &new, &Connect::v5("device-001-b"));
        assert_eq!(by_new.publish_acknowledged("devices/device-001/data", "").unwrap(), 0);
        assert_eq!(by_new.publish_acknowledged("devices/device-002/data", "").unwrap(), 0x87);
        Client::connect(&setting.broker, &setting.mine, &Connect::v5("device-001-old"));
        assert_eq!(by_old.publish_acknowledged("devices/device-001/data", "").unwrap(), 0);

        // As if the hour were over: the end is as far away as it takes to type this.
        setting.fleet.sql(&format!(
            "UPDATE credentials SET not_after = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+2 seconds') WHERE identity = '{MINE}'"
        ));
        by_old.closed();
        setting.broker.wait_for_log("reason=expired");
        setting.refuses(Gate::Handshake, &setting.mine, &Connect::v5(MINE));
        assert_eq!(by_new.publish_acknowledged("devices/device-001/data", "").unwrap(), 0);
        setting.admits(&setting.other, OTHER);
    });
}

#[test]
fn while_the_sealing_key_is_replaced_nobody_is_refused() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::PreSharedKeys);
        let mut before = setting.admits(&setting.mine, MINE);
        setting.fleet.warden(&["key", "rotate", "--prepare"]);
        setting.broker.wait_for_log("key file read again");
        // It is given to the broker's user still.
        setting.fleet.warden(&["key", "rotate", "--wait", "0s"]);
        for _ in 0..20 {
            let connect = Connect::v5("device-001-again");
            let mut client = Client::connect(&setting.broker, &setting.mine, &connect);
            assert_eq!(client.publish_acknowledged("devices/device-001/data", "").unwrap(), 0);
        }
        setting.fleet.warden(&["key", "rotate", "--finish"]);
        eventually("the old key is forgotten", || {
            (setting.broker.count_in_log("key file read again") == 2).then_some(())
        });
        setting.admits(&setting.other, OTHER);
        before.ping().unwrap();
        assert_eq!(setting.broker.count_in_log("reason=unreadable-device"), 0);
        // And a broker that starts now starts with the new one.
        drop(setting.broker);
        let broker = setting.fleet.start(mosquitto, "psk.conf");
        Client::connect(&broker, &setting.mine, &Connect::v5(MINE));
    });
}

#[test]
fn a_broker_without_the_new_sealing_key_refuses_and_says_what_to_do() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let mine = fleet.psk_device(MINE, "sensor");
        // As on another machine: the key file is a copy, to which nobody has copied the new one.
        let copy = fleet.path("data/copy.key");
        std::fs::copy(fleet.key_file(), &copy).unwrap();
        crate::harness::give_to_broker(&copy);
        let options = [("key_file", copy.to_str().unwrap())];
        let broker = fleet.start_with(mosquitto, &fleet.configuration_with("psk.conf", &options));
        Client::connect(&broker, &mine, &Connect::v5(MINE));
        fleet.warden(&["key", "rotate", "--wait", "0s"]);
        eventually("its device is refused", || match Client::try_connect(&broker, &mine, &Connect::v5(MINE)) {
            Err(End::Handshake(_) | End::Closed) => Some(()),
            _ => None,
        });
        broker.wait_for_log("copy the key file from where `warden key rotate` was run");
        std::fs::copy(fleet.key_file(), &copy).unwrap();
        eventually("it is let in when the file is there", || {
            Client::try_connect(&broker, &mine, &Connect::v5(MINE)).is_ok().then_some(())
        });
    });
}
