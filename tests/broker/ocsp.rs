use std::net::TcpListener;

use crate::harness::{Broker, Client, Connect, Fleet, Leaf, Listen, Login, Mosquitto, Responder, SClient, Tickets};
use crate::harness::{TlsVersion, Word, eventually, on_every_broker};
use crate::listeners::{MINE, OTHER};

/// A broker whose plugin asks responders, and asks again every second.
fn start(fleet: &Fleet, mosquitto: &Mosquitto, mode: &str, responder: Option<&str>) -> Broker {
    let options = [("ocsp.mode", mode), ("ocsp.refresh", "1s")];
    let responder = responder.map(|url| ("ocsp.responder", url));
    let options: Vec<_> = options.into_iter().chain(responder).collect();
    fleet.start_with(mosquitto, &fleet.configuration_with("certificates.conf", &options))
}

fn connected(broker: &Broker, login: &Login, client_id: &str) -> Client {
    let mut client = Client::connect(broker, login, &Connect::v5(client_id));
    let device = &client_id[..MINE.len()];
    assert_eq!(client.publish_acknowledged(&format!("devices/{device}/a"), "").unwrap(), 0);
    client
}

#[test]
fn a_responder_that_says_revoked_ends_a_live_session() {
    on_every_broker(|mosquitto| {
        for named_by_the_certificate in [true, false] {
            let fleet = Fleet::with_sensors();
            let responder = Responder::start(&fleet, &fleet.ca.root());
            let [mine, other] = [MINE, OTHER].map(|name| {
                fleet.warden(&["device", "add", name, "--cn", "--role", "sensor"]);
                let address = named_by_the_certificate.then(|| responder.url());
                fleet.ca.issue(&fleet.ca.root(), &Leaf { responder: address, ..Leaf::named(name) })
            });
            responder.says(&[(&mine, Word::Good), (&other, Word::Good)]);
            let url = responder.url();
            let broker = start(&fleet, mosquitto, "soft", (!named_by_the_certificate).then_some(&*url));
            let (mut client, mut stays) = (connected(&broker, &mine, MINE), connected(&broker, &other, OTHER));

            responder.says(&[(&mine, Word::Revoked), (&other, Word::Good)]);
            broker.wait_for_log("responder says that this certificate is revoked");
            client.closed();
            broker.wait_for_log("client thrown off client_id=device-001 reason=certificate-revoked");
            for tls in [TlsVersion::V12, TlsVersion::V13] {
                let alert = SClient::start(&broker, Listen::Certificates, &mine, tls, Tickets::Ignore, &[]).alert();
                assert_eq!(alert, Some(44), "{tls:?}");
            }
            stays.ping().unwrap();
            connected(&broker, &other, OTHER);
        }
    });
}

#[test]
fn soft_who_hears_nothing_lets_everybody_in() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let mine = fleet.certificate_device(MINE, "sensor");
        // One that takes the question and never answers; its port is nobody's once it is gone.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let broker = start(&fleet, mosquitto, "soft", Some(&url));
        connected(&broker, &mine, MINE).ping().unwrap();
        let (question, _) = silent.accept().unwrap();
        let mut client = connected(&broker, &mine, "device-001-b");
        drop((question, silent));
        broker.wait_for_log("responder gives no answer");
        client.ping().unwrap();
        connected(&broker, &mine, "device-001-c").ping().unwrap();
    });
}

#[test]
fn soft_an_answer_that_its_authority_did_not_sign_is_not_believed() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let mine = fleet.certificate_device(MINE, "sensor");
        let forger = Fleet::without_database();
        let responder = Responder::start(&fleet, &forger.ca.root());
        responder.says(&[(&mine, Word::Revoked)]);
        let broker = start(&fleet, mosquitto, "soft", Some(&responder.url()));
        let mut client = connected(&broker, &mine, MINE);
        broker.wait_for_log("its answer is not believed");
        client.ping().unwrap();
        connected(&broker, &mine, "device-001-b").ping().unwrap();
    });
}

#[test]
fn hard_who_hears_nothing_lets_nobody_in_until_there_is_an_answer() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let [mine, other] = [MINE, OTHER].map(|name| fleet.certificate_device(name, "sensor"));
        let responder = Responder::start(&fleet, &fleet.ca.root());
        let (port, url) = (responder.port(), responder.url());
        drop(responder);
        let broker = start(&fleet, mosquitto, "hard", Some(&url));
        let tries = |login, name| Client::try_connect(&broker, login, &Connect::v5(name));
        assert!(tries(&mine, MINE).is_err());
        assert!(tries(&other, OTHER).is_err());
        broker.wait_for_log("device=device-001 reason=revocation-unknown");
        broker.wait_for_log("responder gives no answer");
        assert!(tries(&mine, MINE).is_err());

        let responder = Responder::start_on(&fleet, &fleet.ca.root(), port);
        responder.says(&[(&mine, Word::Good)]);
        let mut client = eventually("the answer is there", || tries(&mine, MINE).ok().map(|(client, _)| client));
        assert_eq!(client.publish_acknowledged("devices/device-001/a", "").unwrap(), 0);
        // Of this one it says that it does not know it, which is no answer.
        broker.wait_for_log("responder does not know this certificate");
        assert!(tries(&other, OTHER).is_err());
        responder.says(&[(&mine, Word::Good), (&other, Word::Revoked)]);
        broker.wait_for_log("responder says that this certificate is revoked");
        assert!(tries(&other, OTHER).is_err());
        client.ping().unwrap();
    });
}
