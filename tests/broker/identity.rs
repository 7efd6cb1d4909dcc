use crate::harness::Listen;
use crate::harness::{
    Authority, Broker, Client, Connect, End, Fleet, Leaf, Login, Mosquitto, SClient, Tickets, TlsVersion,
    on_every_broker, subject,
};
use crate::listeners::{MINE, OTHER};

const NAMED_BY_THE_BROKER: &str = "certificates.conf";
const NAMED_BY_WARDEN: &str = "certificates-named-by-warden.conf";
const EXAMPLES: [&str; 2] = [NAMED_BY_THE_BROKER, NAMED_BY_WARDEN];

/// Tags of texts in names (X.680).
const UTF8: u8 = 0x0C;
const BMP: u8 = 0x1E;
/// Types of attributes (X.520).
const COMMON_NAME: u8 = 3;
const ORGANIZATION: u8 = 10;
/// Tags of alternative names (RFC 5280, section 4.2.1.6).
const MAIL: u8 = 1;
const DNS: u8 = 2;
const URI: u8 = 6;
const IP: u8 = 7;

/// Alerts (RFC 8446, section 6.2).
const HANDSHAKE_FAILURE: u8 = 40;
const BAD_CERTIFICATE: u8 = 42;
const UNSUPPORTED_CERTIFICATE: u8 = 43;
const CERTIFICATE_EXPIRED: u8 = 45;

/// A fleet with one device that has no credential yet.
fn fleet() -> Fleet {
    let fleet = Fleet::with_sensors();
    fleet.warden(&["device", "add", MINE, "--role", "sensor"]);
    fleet
}

fn credential(fleet: &Fleet, device: &str, kind: &str, identity: &str) {
    fleet.sql(&format!(
        "INSERT INTO credentials (device_id, kind, identity) SELECT id, '{kind}', '{identity}' FROM devices \
         WHERE name = '{device}'"
    ));
}

fn start(fleet: &Fleet, mosquitto: &Mosquitto, example: &str, options: &[(&str, &str)]) -> Broker {
    fleet.start_with(mosquitto, &fleet.configuration_with(example, options))
}

/// It is let in as the device, with all that sensors may do.
fn is_admitted(broker: &Broker, login: &Login, device: &str, what: &str) {
    let (mut client, code) = Client::try_connect(broker, login, &Connect::v5(device))
        .unwrap_or_else(|end| panic!("{what}: refused: {end:?}"));
    assert_eq!(code, 0, "{what}");
    assert_eq!(client.publish_acknowledged(&format!("devices/{device}/a"), "").unwrap(), 0, "{what}");
}

/// It does not get through the handshake, and is told so by this alert.
fn is_refused(broker: &Broker, login: &Login, alert: u8, what: &str) {
    for tls in [TlsVersion::V12, TlsVersion::V13] {
        let client = SClient::start(broker, Listen::Certificates, login, tls, Tickets::Ignore, &[]);
        assert_eq!(client.alert(), Some(alert), "{what}, {tls:?}");
    }
}

/// A field, the credential that goes with it, and two certificates of which one has what the credential says.
struct Case {
    field: &'static str,
    kind: &'static str,
    identity: String,
    good: Login,
    bad: Login,
}

fn cases(fleet: &Fleet) -> Vec<Case> {
    let ca = fleet.ca.root();
    let named = |tag: u8, name: &[u8]| {
        fleet.ca.issue(&ca, &Leaf { alternative_names: vec![(tag, name.to_vec())], ..Leaf::named(MINE) })
    };
    let of = |common_name, organization: &str| {
        let subject = subject(&[(ORGANIZATION, UTF8, organization.as_bytes()), (COMMON_NAME, UTF8, common_name)]);
        fleet.ca.issue(&ca, &Leaf { subject, own_key: true, ..Leaf::default() })
    };
    let alternative = |field, kind, tag, identity: &str, good: &[u8], bad: &[u8]| Case {
        field,
        kind,
        identity: identity.to_owned(),
        good: named(tag, good),
        bad: named(tag, bad),
    };
    let (good, bad) = (of(MINE.as_bytes(), "Fleet"), of(MINE.as_bytes(), "Other"));
    let whole = |field, kind, identity| Case { field, kind, identity, good: good.clone(), bad: bad.clone() };
    vec![
        alternative("san_uri", "x509_san_uri", URI, "urn:example:1", b"urn:example:1", b"urn:example:2"),
        alternative("san_dns", "x509_san_dns", DNS, "d1.example", b"d1.example", b"d2.example"),
        alternative("san_email", "x509_san_email", MAIL, "d1@example.org", b"d1@example.org", b"d2@example.org"),
        alternative("san_ip", "x509_san_ip", IP, "192.0.2.1", &[192, 0, 2, 1], &[192, 0, 2, 2]),
        alternative(
            "san_ip",
            "x509_san_ip",
            IP,
            "2001:db8::1",
            &[&b"\x20\x01\x0d\xb8"[..], &[0; 11], &[1]].concat(),
            &[1; 16],
        ),
        Case {
            field: "cn",
            kind: "x509_cn",
            identity: MINE.to_owned(),
            good: fleet.ca.device(MINE),
            bad: fleet.ca.device("device-999"),
        },
        whole("sha256", "x509_sha256", good.sha256()),
        whole("spki_sha256", "x509_spki_sha256", good.spki_sha256()),
        whole("subject", "x509_subject", format!("CN={MINE},O=Fleet")),
        whole("serial", "x509_serial", good.serial()),
    ]
}

#[test]
fn each_field_identifies_the_device_that_it_names_and_no_other() {
    on_every_broker(|mosquitto| {
        let fleet = fleet();
        for Case { field, kind, identity, good, bad } in cases(&fleet) {
            fleet.sql("DELETE FROM credentials");
            credential(&fleet, MINE, kind, &identity);
            for example in EXAMPLES {
                let what = format!("{field} `{identity}` in {example}");
                let broker = start(&fleet, mosquitto, example, &[("certificate.identity", field)]);
                is_admitted(&broker, &good, MINE, &what);
                is_refused(&broker, &bad, HANDSHAKE_FAILURE, &what);
                broker.wait_for_log("action=handshake");
                broker.wait_for_log("reason=unknown-identity");
            }
        }
    });
}

#[test]
fn the_first_field_that_a_certificate_has_counts_and_no_other() {
    on_every_broker(|mosquitto| {
        let fleet = fleet();
        credential(&fleet, MINE, "x509_cn", MINE);
        credential(&fleet, MINE, "x509_san_dns", "d1.example");
        let issue = |names: &[(u8, &[u8])]| {
            let alternative_names = names.iter().map(|(tag, name)| (*tag, name.to_vec())).collect();
            fleet.ca.issue(&fleet.ca.root(), &Leaf { alternative_names, ..Leaf::named(MINE) })
        };
        let order = [("certificate.identity", "san_uri,san_dns,cn")];
        let broker = start(&fleet, mosquitto, NAMED_BY_WARDEN, &order);
        is_admitted(&broker, &issue(&[]), MINE, "its CN, for want of other names");
        is_admitted(&broker, &issue(&[(MAIL, b"d1@example.org"), (DNS, b"d1.example")]), MINE, "its DNS name");
        // The URI is unknown: what is known besides does not count.
        is_refused(&broker, &issue(&[(DNS, b"d1.example"), (URI, b"urn:example:9")]), HANDSHAKE_FAILURE, "its URI");
        let two: &[(u8, &[u8])] = &[(DNS, b"d1.example"), (DNS, b"d1.example.org")];
        is_refused(&broker, &issue(two), BAD_CERTIFICATE, "two DNS names");
        is_refused(&broker, &issue(&[(URI, b"urn:a\0b")]), BAD_CERTIFICATE, "a NUL in its URI");
        is_refused(&broker, &issue(&[(DNS, b"")]), BAD_CERTIFICATE, "an empty DNS name");
        broker.wait_for_log("reason=unusable-certificate");
    });
}

#[test]
fn the_name_that_the_broker_gives_must_be_the_same_device_s() {
    on_every_broker(|mosquitto| {
        let fleet = fleet();
        fleet.warden(&["device", "add", OTHER, "--cn", "--role", "sensor"]);
        credential(&fleet, MINE, "x509_san_dns", "d1.example");
        let issue = |leaf: Leaf| {
            let alternative_names = vec![(DNS, b"d1.example".to_vec())];
            fleet.ca.issue(&fleet.ca.root(), &Leaf { alternative_names, ..leaf })
        };
        let (own, other, nobody) = (issue(Leaf::named(MINE)), issue(Leaf::named(OTHER)), issue(Leaf::named("x")));
        let options = [("certificate.identity", "san_dns")];

        // Named by the plugin, a device is who the rule says, whatever its CN is.
        let broker = start(&fleet, mosquitto, NAMED_BY_WARDEN, &options);
        for login in [&own, &other, &nobody] {
            is_admitted(&broker, login, MINE, "named by warden");
        }
        let broker = start(&fleet, mosquitto, NAMED_BY_THE_BROKER, &options);
        is_admitted(&broker, &own, MINE, "named by the broker");
        for (login, id) in [(&other, "device-001-other"), (&nobody, "device-001-nobody")] {
            if let Ok((mut client, code)) = Client::try_connect(&broker, login, &Connect::v5(id)) {
                assert_eq!(code, 0, "the broker asks nobody before it accepts");
                // Older brokers tell nobody of a client before it does something.
                let denied = client.subscribe("devices/device-001/cmd", 0);
                assert!(matches!(denied, Ok(0x80..) | Err(End::Closed)), "{id}: {denied:?}");
                client.closed();
            }
            broker.wait_for_log(&format!("client thrown off client_id={id} reason=ambiguous-identity"));
        }
    });
}

#[test]
fn no_hostile_certificate_passes_for_a_device() {
    on_every_broker(|mosquitto| {
        let fleet = fleet();
        credential(&fleet, MINE, "x509_cn", MINE);
        let ca = fleet.ca.root();
        let name = |attributes: &[(u8, u8, &[u8])]| {
            fleet.ca.issue(&ca, &Leaf { subject: subject(attributes), ..Leaf::default() })
        };
        let leaf = |leaf: Leaf| fleet.ca.issue(&ca, &leaf);
        let mine = MINE.as_bytes();
        let zoo = [
            ("two CNs", BAD_CERTIFICATE, name(&[(COMMON_NAME, UTF8, mine), (COMMON_NAME, UTF8, b"device-002")])),
            ("the same CN twice", BAD_CERTIFICATE, name(&[(COMMON_NAME, UTF8, mine), (COMMON_NAME, UTF8, mine)])),
            ("NUL in the CN", BAD_CERTIFICATE, name(&[(COMMON_NAME, UTF8, b"device-001\0.example")])),
            ("a CN that ends in NUL", BAD_CERTIFICATE, name(&[(COMMON_NAME, UTF8, b"device-001\0")])),
            ("an empty CN", BAD_CERTIFICATE, name(&[(COMMON_NAME, UTF8, b"")])),
            ("an empty subject", BAD_CERTIFICATE, name(&[])),
            ("a subject without CN", BAD_CERTIFICATE, name(&[(ORGANIZATION, UTF8, mine)])),
            ("its bytes, as two-byte characters", HANDSHAKE_FAILURE, name(&[(COMMON_NAME, BMP, mine)])),
            ("a CN with a line feed", BAD_CERTIFICATE, name(&[(COMMON_NAME, UTF8, b"device-001\n")])),
            ("a CN with a space behind", HANDSHAKE_FAILURE, name(&[(COMMON_NAME, UTF8, b"device-001 ")])),
            ("a CN in capitals", HANDSHAKE_FAILURE, name(&[(COMMON_NAME, UTF8, b"DEVICE-001")])),
            ("an authority", BAD_CERTIFICATE, leaf(Leaf { authority: true, ..Leaf::named(MINE) })),
            ("expired", CERTIFICATE_EXPIRED, leaf(Leaf { dates: (-3600, -60), ..Leaf::named(MINE) })),
            (
                "not valid before tomorrow",
                BAD_CERTIFICATE,
                leaf(Leaf { dates: (24 * 3600, 48 * 3600), ..Leaf::named(MINE) }),
            ),
            (
                "for servers only",
                UNSUPPORTED_CERTIFICATE,
                leaf(Leaf { extended_key_usage: vec![1], ..Leaf::named(MINE) }),
            ),
        ];
        for example in EXAMPLES {
            let broker = start(&fleet, mosquitto, example, &[]);
            for (what, alert, login) in &zoo {
                is_refused(&broker, login, *alert, what);
            }
            is_admitted(&broker, &fleet.ca.device(MINE), MINE, "an honest one");
        }
    });
}

#[test]
fn unusual_certificates_that_say_clearly_who_it_is_are_good() {
    on_every_broker(|mosquitto| {
        let fleet = fleet();
        credential(&fleet, MINE, "x509_cn", MINE);
        let long = format!("{}.example", "d".repeat(8 * 1024));
        credential(&fleet, MINE, "x509_san_dns", &long);
        let leaf = |leaf: Leaf| fleet.ca.issue(&fleet.ca.root(), &leaf);
        let utf16: Vec<u8> = MINE.bytes().flat_map(|byte| [0, byte]).collect();
        let long = leaf(Leaf { alternative_names: vec![(DNS, long.into_bytes())], ..Leaf::named(MINE) });
        let ours = [
            ("8 KiB of alternative name", long.clone()),
            ("version 1", leaf(Leaf { version_1: true, ..Leaf::named(MINE) })),
            ("for clients", leaf(Leaf { extended_key_usage: vec![1, 2], ..Leaf::named(MINE) })),
            ("a clock that is two minutes ahead", leaf(Leaf { dates: (120, 3600), ..Leaf::named(MINE) })),
        ];
        for example in EXAMPLES {
            let broker = start(&fleet, mosquitto, example, &[]);
            for (what, login) in &ours {
                is_admitted(&broker, login, MINE, what);
            }
        }
        // The broker itself takes a CN for bytes, and refuses these for the zeros in them.
        let wide = leaf(Leaf { subject: subject(&[(COMMON_NAME, BMP, &utf16)]), ..Leaf::default() });
        is_admitted(&start(&fleet, mosquitto, NAMED_BY_WARDEN, &[]), &wide, MINE, "a CN of two-byte characters");
        let broker = start(&fleet, mosquitto, NAMED_BY_THE_BROKER, &[("certificate.identity", "san_dns")]);
        is_admitted(&broker, &long, MINE, "known by 8 KiB of name");
    });
}

#[test]
fn the_tolerance_for_clocks_and_the_purpose_of_a_key_are_the_operator_s_choice() {
    on_every_broker(|mosquitto| {
        let fleet = fleet();
        credential(&fleet, MINE, "x509_cn", MINE);
        let leaf = |leaf: Leaf| fleet.ca.issue(&fleet.ca.root(), &leaf);
        let ahead = leaf(Leaf { dates: (120, 3600), ..Leaf::named(MINE) });
        let for_clients = leaf(Leaf { extended_key_usage: vec![2], ..Leaf::named(MINE) });
        let for_anything = leaf(Leaf::named(MINE));
        let version_1 = leaf(Leaf { version_1: true, ..Leaf::named(MINE) });

        let options = [("certificate.clock_skew", "60s"), ("certificate.ext_key_usage", "true")];
        let broker = start(&fleet, mosquitto, NAMED_BY_WARDEN, &options);
        is_admitted(&broker, &for_clients, MINE, "for clients");
        is_refused(&broker, &ahead, BAD_CERTIFICATE, "further ahead than is tolerated");
        is_refused(&broker, &for_anything, BAD_CERTIFICATE, "it does not say what its key is for");
        is_refused(&broker, &version_1, BAD_CERTIFICATE, "it cannot say what its key is for");
        broker.wait_for_log("reason=unusable-certificate");
    });
}

#[test]
fn a_credential_may_say_which_authority_speaks_for_the_device() {
    on_every_broker(|mosquitto| {
        let fleet = fleet();
        credential(&fleet, MINE, "x509_cn", MINE);
        let (ours, below) = (fleet.ca.root(), fleet.ca.intermediate("intermediate CA"));
        let theirs = fleet.ca.second_root("second CA");
        let issue = |authority: &Authority| fleet.ca.issue(authority, &Leaf::named(MINE));
        let (by_ours, by_below, by_theirs) = (issue(&ours), issue(&below), issue(&theirs));
        for example in EXAMPLES {
            let broker = start(&fleet, mosquitto, example, &[]);
            let pin = |pin: &str| fleet.sql(&format!("UPDATE credentials SET issuer = {pin}"));
            pin("NULL");
            for login in [&by_ours, &by_below, &by_theirs] {
                is_admitted(&broker, login, MINE, "any authority that the broker trusts");
            }
            pin(&format!("'{}'", ours.pin()));
            is_admitted(&broker, &by_ours, MINE, "ours");
            is_admitted(&broker, &by_below, MINE, "ours, through another");
            is_refused(&broker, &by_theirs, HANDSHAKE_FAILURE, "theirs");
            broker.wait_for_log("device=device-001 reason=wrong-issuer");
            pin(&format!("'{}'", below.pin()));
            is_admitted(&broker, &by_below, MINE, "the one below ours");
            is_refused(&broker, &by_ours, HANDSHAKE_FAILURE, "ours, and not the one below");
            pin(&format!("'{}'", theirs.pin()));
            is_admitted(&broker, &by_theirs, MINE, "theirs");
            is_refused(&broker, &by_ours, HANDSHAKE_FAILURE, "ours");
        }
    });
}
