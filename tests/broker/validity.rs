use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::{Broker, Client, Connect, Fleet, Leaf, Listen, SClient, Tickets, TlsVersion, on_every_broker};
use crate::listeners::{MINE, OTHER, Setting, on_every_listener};

on_every_listener! {
    a_session_ends_with_its_credential,
}

const EXAMPLES: [&str; 2] = ["certificates.conf", "certificates-named-by-warden.conf"];
/// How long before its end a session starts.
const SOON: i64 = 3;
/// A session is to end within a second; machines that are busy with other tests are granted some more.
const IN_TIME: Duration = Duration::from_secs(4);

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Waits until the session is closed: not before its last second is over, and not long after.
fn ends(mut client: Client, first_second_without: u64) {
    let end = Duration::from_secs(first_second_without);
    client.closed();
    let closed = now();
    assert!(closed >= end, "closed at {closed:?}, before it ended at {end:?}");
    assert!(closed <= end + IN_TIME, "closed at {closed:?}, long after it ended at {end:?}");
}

fn says_why(broker: &Broker, client_id: &str, reason: &str) {
    broker.wait_for_log(&format!("client thrown off client_id={client_id} reason={reason}"));
}

fn a_session_ends_with_its_credential(setting: &Setting) {
    let mut other = setting.admits(&setting.other, OTHER);
    let client = setting.admits(&setting.mine, MINE);
    let end = now().as_secs() + SOON.unsigned_abs();
    setting.fleet.sql(&format!(
        "UPDATE credentials SET not_after = strftime('%Y-%m-%dT%H:%M:%SZ', {end}, 'unixepoch') WHERE identity = '{MINE}'"
    ));
    ends(client, end);
    says_why(&setting.broker, MINE, "expired");
    setting.refuses(setting.gate_of_identities(), &setting.mine, &Connect::v5(MINE));
    other.ping().unwrap();
}

#[test]
fn a_session_ends_with_its_certificate() {
    on_every_broker(|mosquitto| {
        for example in EXAMPLES {
            let fleet = Fleet::with_sensors();
            let other = fleet.certificate_device(MINE, "sensor");
            let broker = fleet.start(mosquitto, example);
            let connect = |login, id: &str| {
                let mut client = Client::connect(&broker, login, &Connect::v5(id));
                assert_eq!(client.publish_acknowledged("devices/device-001/a", "").unwrap(), 0);
                client
            };
            // The same device with another certificate stays.
            let mut stays = connect(&other, "device-001-b");
            let mine = fleet.ca.issue(&fleet.ca.root(), &Leaf { dates: (-60, SOON), ..Leaf::named(MINE) });
            let client = connect(&mine, MINE);
            let last = last_second(&mine.x509());
            ends(client, last + 1);
            says_why(&broker, MINE, "certificate-expired");
            for tls in [TlsVersion::V12, TlsVersion::V13] {
                let alert = SClient::start(&broker, Listen::Certificates, &mine, tls, Tickets::Ignore, &[]).alert();
                // RFC 8446, section 6: `certificate_expired`.
                assert_eq!(alert, Some(45), "{tls:?}");
            }
            stays.ping().unwrap();
        }
    });
}

/// The last second in which it is good.
fn last_second(certificate: &openssl::x509::X509) -> u64 {
    let epoch = openssl::asn1::Asn1Time::from_unix(0).unwrap();
    let since = epoch.diff(certificate.not_after()).unwrap();
    u64::try_from(since.days).unwrap() * 24 * 3600 + u64::try_from(since.secs).unwrap()
}

#[test]
fn an_expired_device_may_renew_its_certificate_and_nothing_else() {
    on_every_broker(|mosquitto| {
        // Only from 2.1 on can a broker be told to let it through.
        if !mosquitto.has_connect_event() {
            return;
        }
        for example in EXAMPLES {
            let fleet = Fleet::with_sensors();
            fleet.warden(&["device", "add", MINE, "--cn", "--role", "sensor"]);
            fleet.warden(&["role", "add", "renewal"]);
            fleet.warden(&["rule", "add", "renewal", "allow", "publish", "renew/%u"]);
            let issue = |dates| fleet.ca.issue(&fleet.ca.root(), &Leaf { dates, ..Leaf::named(MINE) });
            let (expired, good) = (issue((-3600, -60)), issue((-60, 3600)));
            let start = |choice| {
                let configuration = fleet.configuration_with(example, &[("certificate.expired", choice)]);
                let listener = "require_certificate true";
                let lenient = format!("{listener}\ndisable_client_cert_date_checks true");
                fleet.start_with(mosquitto, &configuration.replace(listener, &lenient))
            };
            let may = |broker: &Broker, login| {
                let mut client = Client::connect(broker, login, &Connect::v5(MINE));
                ["renew/device-001", "devices/device-001/a"]
                    .map(|topic| client.publish_acknowledged(topic, "").unwrap() == 0)
            };

            let broker = start("renew_only");
            assert_eq!(may(&broker, &expired), [true, false], "{example}");
            assert_eq!(may(&broker, &good), [false, true], "{example}");
            // Who is connected when its certificate expires has to come back for it.
            let ending = issue((-60, SOON));
            let client = Client::connect(&broker, &ending, &Connect::v5(MINE));
            ends(client, last_second(&ending.x509()) + 1);
            assert_eq!(may(&broker, &ending), [true, false], "{example}");
            // A revoked one has nothing to renew.
            fleet.set_status(MINE, "revoked");
            let revoked =
                SClient::start(&broker, Listen::Certificates, &expired, TlsVersion::V12, Tickets::Ignore, &[]);
            assert_eq!(revoked.alert(), Some(44), "{example}");
            fleet.set_status(MINE, "active");

            let broker = start("refuse");
            let refused =
                SClient::start(&broker, Listen::Certificates, &expired, TlsVersion::V12, Tickets::Ignore, &[]);
            assert_eq!(refused.alert(), Some(45), "{example}");
            assert_eq!(may(&broker, &good), [false, true], "{example}");
        }
    });
}
