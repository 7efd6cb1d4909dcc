use crate::harness::{
    Broker, Client, Connect, End, Fleet, Listen, Login, SClient, Tickets, TlsVersion, eventually, on_every_broker,
};

const BOTH: [TlsVersion; 2] = [TlsVersion::V12, TlsVersion::V13];

fn let_in(broker: &Broker, login: &Login, client_id: &str) -> Client {
    eventually("it is let in", || {
        let (client, code) = Client::try_connect(broker, login, &Connect::v5(client_id)).ok()?;
        (code == 0).then_some(client)
    })
}

/// Comes until it is told to come later, as somebody who was never here.
fn until_later(broker: &Broker, login: &Login, tls: TlsVersion) {
    eventually("it is told to come later", || match Client::handshake(broker, login, tls) {
        Ok(_) => None,
        Err(End::Handshake(why)) if why.contains("internal error") => Some(()),
        Err(end) => panic!("{tls:?}: {end:?}"),
    });
}

/// A broker on which one handshake may begin in a second, and two devices with certificates.
fn with_one_a_second(test: impl Fn(&Fleet, &Broker, [&Login; 2], TlsVersion) + Sync) {
    on_every_broker(|mosquitto| {
        for tls in BOTH {
            let fleet = Fleet::with_sensors();
            fleet.option("admission_rate = 1");
            let [mine, other] = ["device-001", "device-002"].map(|name| fleet.certificate_device(name, "sensor"));
            let broker = fleet.start(mosquitto, "certificates.conf");
            test(&fleet, &broker, [&mine, &other], tls);
        }
    });
}

#[test]
fn who_comes_while_too_many_do_is_told_to_come_later_and_who_is_there_stays() {
    with_one_a_second(|_, broker, [mine, other], tls| {
        let mut there = let_in(broker, mine, "device-001");
        until_later(broker, other, tls);
        there.ping().unwrap();
        broker.wait_for_log("refused action=handshake reason=too-many-handshakes");
        let_in(broker, other, "device-002").ping().unwrap();
        there.ping().unwrap();
    });
}

#[test]
fn who_returns_is_let_in_though_strangers_take_all_there_is() {
    with_one_a_second(|fleet, broker, [mine, other], tls| {
        let file = fleet.path("session");
        eventually("it is let in", || {
            let tickets = Tickets::Save(&file);
            let mut client = SClient::start(broker, Listen::Certificates, mine, tls, tickets, &[]);
            client.is_let_in(Listen::Certificates, "device-001").then_some(())
        });
        until_later(broker, other, tls);
        let again = || SClient::start(broker, Listen::Certificates, mine, tls, Tickets::Show(&file), &[]);
        let mut resumed = again();
        assert!(resumed.is_let_in(Listen::Certificates, "device-001"), "{tls:?}");
        assert!(resumed.is_resumed(), "{tls:?}");
        // They have as much as strangers have, and no more.
        eventually("it is told to come later as well", || again().alert().filter(|alert| *alert == 80));
    });
}

#[test]
fn keys_are_limited_as_certificates_are_and_nobody_is_without_a_limit() {
    on_every_broker(|mosquitto| {
        for (rate, limited) in [("1", true), ("0", false), ("100000", false)] {
            let fleet = Fleet::with_sensors();
            fleet.option(&format!("admission_rate = {rate}"));
            let login = fleet.psk_device("device-001", "sensor");
            let broker = fleet.start(mosquitto, "psk.conf");
            if limited {
                let_in(&broker, &login, "device-001").ping().unwrap();
                until_later(&broker, &login, TlsVersion::V12);
            } else {
                for _ in 0..20 {
                    Client::handshake(&broker, &login, TlsVersion::V12).unwrap();
                }
                assert_eq!(broker.count_in_log("too-many-handshakes"), 0);
            }
        }
    });
}
