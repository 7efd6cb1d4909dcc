//! Credentials taken from certificates; single certificates revoked, taken back, listed, shown.

use insta::assert_snapshot;
use openssl::x509::X509;
use serde_json::{Value, json};

use crate::Warden;
use crate::authority::{Authority, sha256, spki_sha256};

/// A fleet with an authority `ca.pem`, `old` and `new` with the CN `device-001`, and `full` with names of every kind.
fn with_certificates() -> (Warden, Authority, X509) {
    let warden = Warden::fleet();
    let ca = Authority::new(warden.directory.path(), "ca");
    ca.issue("old", 0x0aff, &["device-001"]);
    ca.issue("new", 0x0b00, &["device-001"]);
    let full = ca.issue_with("full", 0x1234, &["full.example"], |names| {
        names.dns("d1.example").uri("urn:example:d1").email("d1@example.org").ip("2001:db8::1");
    });
    (warden, ca, full)
}

/// Without what differs from run to run: digests and the present time.
fn steady(text: &str, certificate: &X509) -> String {
    let year = jiff::Timestamp::now().strftime("%Y-%m-").to_string();
    let text = text.replace(&sha256(certificate), "[sha256]").replace(&spki_sha256(certificate), "[spki]");
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for word in words.iter_mut().filter(|word| word.starts_with(&year)) {
        let rest = word.split_once('Z').map_or("", |(_, rest)| rest).to_owned();
        *word = format!("[now]{rest}");
    }
    words.join(" ")
}

#[test]
fn a_credential_can_be_added_for_everything_that_a_certificate_says() {
    let (warden, _, full) = with_certificates();
    for (kind, identity) in [
        ("x509_cn", "full.example"),
        ("x509_san_dns", "d1.example"),
        ("x509_san_uri", "urn:example:d1"),
        ("x509_san_email", "d1@example.org"),
        ("x509_san_ip", "2001:db8::1"),
        ("x509_subject", "CN=full.example"),
        ("x509_serial", "1234"),
        ("x509_sha256", &sha256(&full)),
        ("x509_spki_sha256", &spki_sha256(&full)),
    ] {
        let from_file = warden.json(&format!("credential add device-001 --certificate full.pem --as {kind}"));
        assert_eq!((&from_file["kind"], &from_file["identity"]), (&json!(kind), &json!(identity)));
        assert_eq!(from_file["not_after"], Value::Null, "its dates are its own business");
        warden.done(&format!("credential remove device-001 {kind} --identity {identity} --yes"));
        let by_hand = warden.json(&format!("credential add device-001 {kind} --identity {identity}"));
        assert_eq!((&by_hand["kind"], &by_hand["identity"]), (&json!(kind), &json!(identity)));
    }
    let without_a_word = warden.run("credential add device-002 --certificate full.der");
    assert_eq!(without_a_word.code, 5, "its CN belongs to another device: {without_a_word:?}");
    warden.done("credential remove device-001 x509_cn --identity full.example --yes");
    let said = warden.done("credential add device-002 --certificate full.der");
    assert_eq!(said, "credential x509_cn `full.example` of device `device-002` added\n");
}

#[test]
fn an_identity_that_can_be_written_in_several_ways_is_stored_in_one() {
    let (warden, _, full) = with_certificates();
    let colons: Vec<_> =
        sha256(&full).to_uppercase().as_bytes().chunks(2).map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    let colons = colons.join(":");
    for (kind, written, stored) in [
        ("x509_sha256", colons.as_str(), sha256(&full).as_str()),
        ("x509_serial", "00:0A:FF", "aff"),
        ("x509_san_ip", "2001:DB8:0::1", "2001:db8::1"),
        ("x509_subject", "O = Example , CN = d", "O=Example,CN=d"),
    ] {
        let added = warden.args(&["credential", "add", "device-001", kind, "--identity", written, "--json"]);
        let added: Value = serde_json::from_str(&added.stdout).unwrap();
        assert_eq!(added["identity"], stored);
        let revoked = warden.args(&["credential", "revoke", "device-001", kind, "--identity", written, "--json"]);
        let revoked: Value = serde_json::from_str(&revoked.stdout).unwrap();
        assert_eq!((&revoked["identity"], &revoked["changed"]), (&json!(stored), &json!(true)));
    }
}

#[test]
fn the_issuer_of_a_credential_can_be_pinned_by_its_certificate_or_its_key() {
    let (warden, _, _) = with_certificates();
    let by_file = warden.json("credential add device-001 --certificate full.pem --issuer ca.pem");
    let pin = by_file["issuer"].as_str().unwrap().to_owned();
    let ca = X509::from_pem(&std::fs::read(warden.path("ca.pem")).unwrap()).unwrap();
    assert_eq!(pin, spki_sha256(&ca));
    let upper = pin.to_uppercase();
    let by_key = warden.json(&format!("credential add device-001 x509_sha256 --identity {upper} --issuer {upper}"));
    assert_eq!((&by_key["identity"], &by_key["issuer"]), (&json!(pin), &json!(pin)));
    let list = warden.done("credential list device-001");
    assert_eq!(list.lines().next().unwrap().split_whitespace().last(), Some("ISSUER"));
    assert!(list.lines().any(|line| line.contains("full.example") && line.ends_with(&pin)), "{list}");
    assert!(!warden.done("credential list device-002").contains("ISSUER"));
}

#[test]
fn what_cannot_be_a_credential_is_refused_with_what_to_do() {
    let (warden, ca, _) = with_certificates();
    ca.issue("several", 1, &["a", "b"]);
    ca.issue("none", 2, &[]);
    ca.issue_with("names", 3, &["c"], |names| {
        names.dns("a.example").dns("b.example");
    });
    std::fs::write(warden.path("text.pem"), "not a certificate").unwrap();
    let digits = "0a".repeat(31);
    for (words, code, error) in [
        ("--certificate several.pem", 2, "more than one common name"),
        ("--certificate none.pem", 2, "none of the fields"),
        ("--certificate none.pem --as x509_subject", 2, "none of the fields"),
        ("--certificate names.pem --as x509_san_dns", 2, "more than one DNS name"),
        ("--certificate names.pem --as x509_san_uri", 2, "none of the fields"),
        ("--certificate names.pem --as psk", 2, "invalid value 'psk'"),
        ("--certificate ca.pem", 2, "`ca.pem`: the certificate is that of an authority"),
        ("--certificate text.pem", 2, "`text.pem`: the certificate cannot be decoded"),
        ("--certificate missing.pem", 2, "cannot read `missing.pem`"),
        ("x509_cn --certificate old.pem", 2, "cannot be used with"),
        ("--certificate old.pem --identity x", 2, "cannot be used with"),
        ("x509_cn --as x509_cn", 2, "cannot be used with"),
        ("--as x509_cn", 2, "required arguments"),
        ("x509_cn --issuer missing.pem", 2, "cannot read `missing.pem`"),
        ("x509_cn --issuer text.pem", 2, "`text.pem`: the certificate cannot be decoded"),
        ("psk --issuer ca.pem", 2, "only a credential of kind x509_"),
        ("x509_cn --identity x --key-stdin", 2, "only a credential of kind psk"),
        ("x509_sha256", 2, "a credential of kind x509_sha256 needs `--identity`"),
        ("x509_san_dns", 2, "needs `--identity`"),
        (&format!("x509_sha256 --identity {digits}"), 2, "64 hexadecimal digits"),
        (&format!("x509_spki_sha256 --identity {digits}0g"), 2, "64 hexadecimal digits"),
        ("x509_serial --identity xyz", 2, "is no serial number"),
        ("x509_san_ip --identity 1.2.3", 2, "is no IP address"),
        ("x509_subject --identity device-001", 2, "is no distinguished name"),
        ("--certificate old.pem", 5, "this identity already has a credential of this kind"),
        ("", 2, "required arguments"),
    ] {
        let said = warden.run(&format!("credential add device-001 {words}"));
        assert_eq!(said.code, code, "{words}: {said:?}");
        assert!(said.stderr.starts_with("error: ") && said.stderr.contains(error), "{words}: {said:?}");
        assert!(said.stdout.is_empty(), "{words}: {said:?}");
    }
    assert!(warden.run("credential add device-001 --certificate several.pem").stderr.contains("hint: `--as` takes"));
    assert!(warden.run("credential add device-001 x509_san_uri").stderr.contains("--certificate FILE --as KIND"));
    assert_eq!(warden.json("credential list device-001").as_array().unwrap().len(), 1);
}

#[test]
fn a_credential_that_somebody_else_wrote_wrongly_can_be_removed() {
    let (warden, _, _) = with_certificates();
    warden.sqlite3("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_san_ip', '1.2.3')");
    warden.done("credential remove device-001 x509_san_ip --identity 1.2.3 --yes");
    assert_eq!(warden.run("credential remove device-001 x509_san_ip --identity 1.2.3 --yes").code, 4);
}

#[test]
fn one_certificate_is_revoked_and_taken_back_any_number_of_times() {
    let (warden, _, _) = with_certificates();
    let by_name = ["--serial", "00:0A:FF", "--issuer", "O = Example, cn = CA"];
    let named = |verb| warden.args(&[&["certificate", verb], &by_name[..]].concat());
    for (verb, first, again) in
        [("revoke", "revoked", "is already revoked"), ("unrevoke", "is no longer revoked", "is not revoked")]
    {
        let of = "certificate `aff` of `O=Example,CN=ca`";
        assert_eq!(warden.done(&format!("certificate {verb} old.pem")), format!("{of} {first}\n"));
        for which in ["old.pem", "old.der", "--serial aff --ca ca.pem"] {
            assert_eq!(warden.done(&format!("certificate {verb} {which}")), format!("{of} {again}\n"));
        }
        assert!(named(verb).stdout.ends_with(&format!("{again}\n")));
    }
    assert_eq!(named("revoke").stdout.trim(), "certificate `aff` of `O=Example,CN=CA` revoked");
    assert!(warden.done("certificate revoke old.pem").contains("already revoked"));
    assert!(warden.done("certificate revoke new.pem").ends_with("revoked\n"), "its successor is another one");
}

#[test]
fn what_revokes_which_certificate_is_listed() {
    let (warden, _, full) = with_certificates();
    warden.done("certificate revoke old.pem --reason stolen");
    warden.done("certificate revoke new.pem");
    warden.sqlite3(
        "INSERT INTO crls (issuer, this_update) VALUES ('O=Example,CN=ca', '2026-01-01T00:00:00Z');
         INSERT INTO revoked_certificates (issuer, serial, revoked_at, reason, crl_id) VALUES
             ('O=Example,CN=ca', '0aff', '2026-01-02T03:04:05Z', 'keyCompromise', 1),
             ('O=Example,CN=ca', '0c', '2026-01-02T03:04:05Z', NULL, 1)",
    );
    assert_snapshot!(steady(&warden.done("certificate list"), &full), @"
    ISSUER           SERIAL  SINCE                 SOURCE  REASON
    O=Example,CN=ca  0c      2026-01-02T03:04:05Z  list    -
    O=Example,CN=ca  aff     [now]  hand    stolen
    O=Example,CN=ca  b00     [now]  hand    -
    O=Example,CN=ca  0aff    2026-01-02T03:04:05Z  list    keyCompromise
    ");
    let list = warden.json("certificate list");
    assert_eq!(
        list[0],
        json!({
            "issuer": "O=Example,CN=ca", "serial": "0c", "revoked_at": "2026-01-02T03:04:05Z", "source": "list", "reason": null,
        })
    );
    // What its authority says, nobody else takes back.
    let said = warden.done("certificate unrevoke old.pem");
    assert!(said.contains("is no longer revoked by hand, but is on the list of its authority"), "{said}");
    let said = warden.run("certificate unrevoke old.pem");
    assert_eq!(said.code, 5);
    assert_snapshot!(said.stderr, @"
    error: certificate `aff` of `O=Example,CN=ca` is on the revocation list of its authority

    hint: its authority takes it off in its next list
    ");
}

#[test]
fn a_certificate_is_shown_with_what_the_database_knows_of_it() {
    let (warden, _, full) = with_certificates();
    warden.done("credential add device-001 --certificate full.pem");
    warden.done("credential add device-001 --certificate full.pem --as x509_sha256");
    warden.done("credential revoke device-001 x509_sha256");
    warden.done("certificate revoke full.pem --reason stolen");
    assert_snapshot!(steady(&warden.done("certificate show full.pem"), &full), @"
    subject             CN=full.example
    issuer              O=Example,CN=ca
    serial number       1234
    common name         full.example
    DNS name            d1.example
    URI                 urn:example:d1
    mail address        d1@example.org
    IP address          2001:db8::1
    SHA-256             [sha256]
    public key SHA-256  [spki]
    not before          2026-01-01T00:00:00Z
    not after           2036-01-01T00:00:00Z
    revoked             by hand since [now] (stolen)

    DEVICE      KIND         IDENTITY                                                          STATUS   NOT BEFORE  NOT AFTER
    device-001  x509_cn      full.example                                                      active   -           -
    device-001  x509_sha256  [sha256]  revoked  -           -
    ");
    let shown = warden.json("certificate show full.der");
    assert_eq!(shown["san_dns"], json!(["d1.example"]));
    assert_eq!(shown["revocations"][0]["reason"], "stolen");
    let kinds: Vec<_> =
        shown["credentials"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["x509_cn", "x509_sha256"]);
    // Another device may have one of its names.
    warden.done("credential add device-002 x509_san_uri --identity urn:example:d1");
    assert_eq!(warden.json("certificate show full.der")["credentials"][1]["device"], "device-002");
}

#[test]
fn a_certificate_that_no_device_has_is_shown_as_well() {
    let (warden, ca, _) = with_certificates();
    ca.issue("stranger", 7, &["stranger"]);
    let said = warden.run("certificate show stranger.pem");
    assert_eq!((said.code, said.stderr.as_str()), (0, "no device has a credential for it\n"));
    assert_eq!(warden.json("certificate show stranger.pem")["credentials"], json!([]));
    let elsewhere = warden.run("certificate show stranger.pem --database ./none.db");
    assert_eq!(
        (elsewhere.code, elsewhere.stderr.as_str()),
        (0, "there is no database to look the certificate up in\n")
    );
    assert_eq!(warden.json("certificate show stranger.pem --database ./none.db")["credentials"], Value::Null);
}

#[test]
fn a_certificate_that_is_not_named_well_is_refused() {
    let (warden, _, _) = with_certificates();
    std::fs::write(warden.path("text.pem"), "not a certificate").unwrap();
    for (words, code, error) in [
        ("revoke", 2, "required arguments"),
        ("revoke old.pem --serial 1 --ca ca.pem", 2, "cannot be used with"),
        ("revoke old.pem --ca ca.pem", 2, "cannot be used with"),
        ("revoke --serial 1", 2, "required arguments"),
        ("revoke --ca ca.pem", 2, "required arguments"),
        ("revoke --serial 1 --ca ca.pem --issuer CN=ca", 2, "cannot be used with"),
        ("revoke --serial xyz --ca ca.pem", 2, "invalid value 'xyz'"),
        ("revoke --serial 1 --issuer ca", 2, "invalid value 'ca'"),
        ("revoke --serial 1 --ca text.pem", 2, "`text.pem`: the certificate cannot be decoded"),
        ("revoke text.pem", 2, "`text.pem`: the certificate cannot be decoded"),
        ("revoke missing.pem", 2, "cannot read `missing.pem`"),
        ("unrevoke missing.pem", 2, "cannot read `missing.pem`"),
        ("show text.pem", 2, "`text.pem`: the certificate cannot be decoded"),
        ("show missing.pem", 2, "cannot read `missing.pem`"),
        ("list --database ./none.db", 6, "`warden init` makes one"),
        ("revoke old.pem --database ./none.db", 6, "`warden init` makes one"),
    ] {
        let said = warden.run(&format!("certificate {words}"));
        assert_eq!(said.code, code, "{words}: {said:?}");
        assert!(said.stderr.starts_with("error: ") && said.stderr.contains(error), "{words}: {said:?}");
    }
    assert_eq!(warden.json("certificate list"), json!([]));
}
