use crate::harness::{Broker, Client, Connect, Fleet, Listen, Login, RevocationList, SClient, Tickets, TlsVersion};
use crate::harness::{eventually, on_every_broker};
use crate::listeners::{MINE, OTHER};

const EXAMPLE: &str = "certificates.conf";

fn is_refused_as_revoked(broker: &Broker, login: &Login) {
    for tls in [TlsVersion::V12, TlsVersion::V13] {
        let alert = SClient::start(broker, Listen::Certificates, login, tls, Tickets::Ignore, &[]).alert();
        assert_eq!(alert, Some(44), "{tls:?}");
    }
}

/// A fleet of two, and the options with which the plugin watches a list of the fleet's CA.
fn watched() -> (Fleet, [Login; 2], [(&'static str, String); 2]) {
    let fleet = Fleet::with_sensors();
    let devices = [MINE, OTHER].map(|name| fleet.certificate_device(name, "sensor"));
    let path = |name| fleet.path(name).to_str().unwrap().to_owned();
    let options = [("crl_files", path("etc/fleet.crl")), ("crl_issuers", path("etc/ca.crt"))];
    (fleet, devices, options)
}

fn put(fleet: &Fleet, list: &RevocationList) {
    list.write(&fleet.ca.root(), &fleet.path("etc/fleet.crl"));
}

fn configuration(fleet: &Fleet, options: &[(&str, String)]) -> String {
    let options: Vec<(&str, &str)> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
    fleet.configuration_with(EXAMPLE, &options)
}

fn connected(broker: &Broker, login: &Login, name: &str) -> Client {
    let mut client = Client::connect(broker, login, &Connect::v5(name));
    assert_eq!(client.publish_acknowledged(&format!("devices/{name}/a"), "").unwrap(), 0);
    client
}

#[test]
fn of_a_hundred_thousand_imported_one_ends_a_session_and_is_refused_in_the_handshake() {
    on_every_broker(|mosquitto| {
        let (fleet, [mine, other], _) = watched();
        let broker = fleet.start(mosquitto, EXAMPLE);
        let (mut client, mut stays) = (connected(&broker, &mine, MINE), connected(&broker, &other, OTHER));
        let mut serials: Vec<String> = (1..100_000).map(|number| format!("{number:x}")).collect();
        serials.insert(50_000, mine.serial());
        put(&fleet, &RevocationList::of(serials));
        let path = |name| fleet.path(name).to_str().unwrap().to_owned();
        fleet.warden(&["crl", "import", &path("etc/fleet.crl"), "--ca", &path("etc/ca.crt")]);
        client.closed();
        broker.wait_for_log("client thrown off client_id=device-001 reason=certificate-revoked");
        is_refused_as_revoked(&broker, &mine);
        stays.ping().unwrap();
        connected(&broker, &other, OTHER);
    });
}

#[test]
fn a_list_in_a_file_is_watched() {
    on_every_broker(|mosquitto| {
        let (fleet, [mine, other], options) = watched();
        put(&fleet, &RevocationList::of(vec![mine.serial()]));
        let broker = fleet.start_with(mosquitto, &configuration(&fleet, &options));
        is_refused_as_revoked(&broker, &mine);
        let mut client = connected(&broker, &other, OTHER);

        // Without SIGHUP: the next list has the other on it, and not this one any more.
        put(&fleet, &RevocationList { number: 2, ..RevocationList::of(vec![other.serial()]) });
        client.closed();
        broker.wait_for_log("client thrown off client_id=device-002 reason=certificate-revoked");
        is_refused_as_revoked(&broker, &other);
        connected(&broker, &mine, MINE);
    });
}

#[test]
fn a_list_that_its_authority_did_not_sign_changes_nothing() {
    on_every_broker(|mosquitto| {
        let (fleet, [mine, other], options) = watched();
        put(&fleet, &RevocationList::of(vec![mine.serial()]));
        let broker = fleet.start_with(mosquitto, &configuration(&fleet, &options));
        // The same name, with another key.
        let forger = Fleet::without_database();
        let forged = RevocationList { number: 2, ..RevocationList::of(vec![other.serial()]) };
        forged.write(&forger.ca.root(), &fleet.path("etc/fleet.crl"));
        broker.wait_for_log("what the revocation list said before stays in force");
        is_refused_as_revoked(&broker, &mine);
        connected(&broker, &other, OTHER);
    });
}

#[test]
fn a_list_that_is_past_its_next_update_warns_or_refuses() {
    on_every_broker(|mosquitto| {
        let (fleet, [mine, other], options) = watched();
        let old = RevocationList { dates: (-7200, -3600), ..RevocationList::of(vec![mine.serial()]) };
        put(&fleet, &old);
        let broker = fleet.start_with(mosquitto, &configuration(&fleet, &options));
        broker.wait_for_log("revocation list is past its next update");
        is_refused_as_revoked(&broker, &mine);
        connected(&broker, &other, OTHER);

        let strict = [&options[..], &[("crl_expired", "refuse".to_owned())]].concat();
        let broker = fleet.start_with(mosquitto, &configuration(&fleet, &strict));
        assert!(Client::try_connect(&broker, &other, &Connect::v5(OTHER)).is_err());
        broker.wait_for_log("device=device-002 reason=revocation-unknown");
        // The next one is all that it takes.
        put(&fleet, &RevocationList { number: 2, ..RevocationList::of(vec![mine.serial()]) });
        eventually("a current list is read", || {
            Client::try_connect(&broker, &other, &Connect::v5(OTHER)).is_ok().then_some(())
        });
    });
}
