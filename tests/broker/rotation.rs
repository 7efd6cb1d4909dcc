use crate::harness::{
    Authority, Client, Connect, Fleet, Leaf, Listen, Login, SClient, Tickets, TlsVersion, on_every_broker,
};
use crate::listeners::MINE;

const EXAMPLES: [&str; 2] = ["certificates.conf", "certificates-named-by-warden.conf"];

/// A device with two certificates that have the same CN, both connected; then the old one goes by `revoke`, and comes back
/// by `restore`.
fn the_old_certificate_goes_and_the_new_one_stays(
    revoke: impl Fn(&Fleet, &Authority, &Login) + Sync,
    restore: &str,
    reason: &str,
) {
    on_every_broker(|mosquitto| {
        for example in EXAMPLES {
            let fleet = Fleet::with_sensors();
            fleet.warden(&["device", "add", MINE, "--cn", "--role", "sensor"]);
            let ca = fleet.ca.root();
            let [old, new] = [(); 2].map(|()| fleet.ca.issue(&ca, &Leaf { own_key: true, ..Leaf::named(MINE) }));
            let broker = fleet.start(mosquitto, example);
            let connect = |login, id: &str| {
                let mut client = Client::connect(&broker, login, &Connect::v5(id));
                assert_eq!(client.publish_acknowledged("devices/device-001/a", "").unwrap(), 0);
                client
            };
            let (mut with_old, mut with_new) = (connect(&old, "device-001-old"), connect(&new, "device-001-new"));

            revoke(&fleet, &ca, &old);
            assert_eq!(with_old.closed(), Some(0x98));
            broker.wait_for_log(&format!("client thrown off client_id=device-001-old reason={reason}"));
            for tls in [TlsVersion::V12, TlsVersion::V13] {
                let alert = SClient::start(&broker, Listen::Certificates, &old, tls, Tickets::Ignore, &[]).alert();
                assert_eq!(alert, Some(44), "{tls:?}");
            }
            broker.wait_for_log(&format!("action=handshake user=device-001 device=device-001 reason={reason}"));
            assert_eq!(with_new.publish_acknowledged("devices/device-001/a", "").unwrap(), 0);
            connect(&new, "device-001-again");

            fleet.sql(restore);
            connect(&old, "device-001-old");
        }
    });
}

#[test]
fn by_the_fingerprint_of_the_old() {
    let revoke = |fleet: &Fleet, _: &Authority, old: &Login| {
        fleet.sql(&format!(
            "INSERT INTO credentials (device_id, kind, identity, status)
             SELECT id, 'x509_sha256', '{}', 'revoked' FROM devices",
            old.sha256()
        ));
    };
    let restore = "DELETE FROM credentials WHERE kind = 'x509_sha256'";
    the_old_certificate_goes_and_the_new_one_stays(revoke, restore, "credential-revoked");
}

#[test]
fn by_the_key_of_the_old() {
    let revoke = |fleet: &Fleet, _: &Authority, old: &Login| {
        fleet.sql(&format!(
            "INSERT INTO credentials (device_id, kind, identity, status)
             SELECT id, 'x509_spki_sha256', '{}', 'revoked' FROM devices",
            old.spki_sha256()
        ));
    };
    let restore = "UPDATE credentials SET status = 'active'";
    the_old_certificate_goes_and_the_new_one_stays(revoke, restore, "credential-revoked");
}

#[test]
fn by_the_serial_number_of_the_old() {
    let revoke = |fleet: &Fleet, ca: &Authority, old: &Login| {
        // Case, colons and leading zeros make no difference.
        let serial = format!("00:{}", old.serial().to_uppercase());
        fleet.sql(&format!("INSERT INTO revoked_certificates (issuer, serial) VALUES ('{}', '{serial}')", ca.name()));
    };
    let restore = "DELETE FROM revoked_certificates";
    the_old_certificate_goes_and_the_new_one_stays(revoke, restore, "certificate-revoked");
}

#[test]
fn by_the_command() {
    let revoke = |fleet: &Fleet, _: &Authority, old: &Login| {
        fleet.warden(&["certificate", "revoke", old.certificate_file().to_str().unwrap()]);
    };
    let restore = "DELETE FROM revoked_certificates";
    the_old_certificate_goes_and_the_new_one_stays(revoke, restore, "certificate-revoked");
}
