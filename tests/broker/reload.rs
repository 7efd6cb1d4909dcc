use crate::harness::{Client, Connect};
use crate::listeners::{MINE, OTHER, Setting, on_every_listener};

on_every_listener! {
    everybody_stays,
    what_was_revoked_stays_revoked,
    a_session_that_is_away_is_still_there_afterwards,
}

fn everybody_stays(setting: &Setting) {
    let mut clients: Vec<Client> = vec![
        setting.admits(&setting.mine, MINE),
        setting.admits(&setting.other, OTHER),
        Client::connect(&setting.broker, &setting.mine, &Connect::v311("device-001-idle")),
        Client::connect(&setting.broker, &setting.mine, &Connect::v5("device-001-user").user("somebody", "secret")),
        Client::connect(&setting.broker, &setting.mine, &Connect::v5("device-001-kept").persistent()),
    ];
    for _ in 0..3 {
        setting.broker.reload();
        for client in &mut clients {
            client.ping().unwrap();
        }
    }
    for client in &mut clients[..1] {
        assert_eq!(client.publish_acknowledged("devices/device-001/a", "").unwrap(), 0);
        assert_eq!(client.publish_acknowledged("devices/device-002/a", "").unwrap(), 0x87);
    }
    setting.admits(&setting.mine, MINE);
}

fn what_was_revoked_stays_revoked(setting: &Setting) {
    let mut client = setting.admits(&setting.mine, MINE);
    setting.fleet.set_status(MINE, "revoked");
    client.closed();
    setting.broker.reload();
    setting.refuses(setting.gate_of_identities(), &setting.mine, &Connect::v5(MINE));
    setting.admits(&setting.other, OTHER);
}

fn a_session_that_is_away_is_still_there_afterwards(setting: &Setting) {
    let connect = Connect::v5("device-001-kept").persistent();
    let mut client = Client::connect(&setting.broker, &setting.mine, &connect);
    assert_eq!(client.subscribe("devices/device-001/cmd", 1).unwrap(), 1);
    client.disconnect();
    setting.broker.wait_for_log("Received DISCONNECT from device-001-kept");
    setting.broker.reload();
    let mut sender = Client::connect(&setting.broker, &setting.mine, &Connect::v5(MINE));
    assert_eq!(sender.publish_acknowledged("devices/device-001/cmd", "while away").unwrap(), 0);
    let mut client = Client::connect(&setting.broker, &setting.mine, &connect);
    assert_eq!(client.next_message().unwrap().1, "while away");
}
