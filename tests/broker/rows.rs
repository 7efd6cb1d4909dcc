use crate::harness::{Client, Connect, eventually, on_every_broker};
use crate::listeners::{Listener, MINE, OTHER, Setting};

/// What the constraints of the database would refuse, but a writer can switch off.
fn unchecked(setting: &Setting, statement: &str) {
    setting.fleet.sql(&format!("PRAGMA ignore_check_constraints = ON; {statement}"));
}

#[test]
fn a_rule_that_makes_no_sense_denies_those_of_its_role_and_nobody_else() {
    on_every_broker(|mosquitto| {
        for change in ["topic = 'a/#/b'", "topic = 'a+'", "action = 'wirte'", "effect = 'perhaps'", "topic = ''"] {
            let setting = Setting::new(mosquitto, Listener::PreSharedKeys);
            setting.fleet.warden(&["role", "add", "free"]);
            setting.fleet.warden(&["rule", "add", "free", "allow", "all", "#"]);
            let free = setting.device("free-1", "free");
            let mut free = Client::connect(&setting.broker, &free, &Connect::v5("free-1"));
            let mut client = setting.admits(&setting.mine, MINE);
            unchecked(&setting, &format!("UPDATE rules SET {change} WHERE action = 'publish'"));
            eventually("the role denies everything", || {
                (client.publish_acknowledged("devices/device-001/a", "").unwrap() == 0x87).then_some(())
            });
            assert_eq!(free.publish_acknowledged("devices/device-001/a", "").unwrap(), 0);
            setting.fleet.sql(
                "DELETE FROM rules WHERE action NOT IN ('read', 'all') OR topic NOT LIKE 'devices/%' AND topic <> '#'",
            );
            setting.fleet.warden(&["rule", "add", "sensor", "allow", "publish", "devices/%u/#"]);
            eventually("the role is mended", || {
                (client.publish_acknowledged("devices/device-001/a", "").unwrap() == 0).then_some(())
            });
        }
    });
}

#[test]
fn a_device_row_that_makes_no_sense_refuses_that_device_and_nobody_else() {
    on_every_broker(|mosquitto| {
        for change in ["status = 'actve'", "attributes = 'not json'", "client_id = ''"] {
            let setting = Setting::new(mosquitto, Listener::PreSharedKeys);
            let mut client = setting.admits(&setting.mine, MINE);
            unchecked(&setting, &format!("UPDATE devices SET {change} WHERE name = '{MINE}'"));
            client.closed();
            setting.refuses(setting.gate_of_identities(), &setting.mine, &Connect::v5(MINE));
            // Nor does it hold up anybody else's change.
            let mut other = setting.admits(&setting.other, OTHER);
            setting.fleet.set_status(OTHER, "revoked");
            other.closed();
        }
    });
}
