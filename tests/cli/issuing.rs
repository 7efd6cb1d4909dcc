//! An authority, the certificates that it issues, and what a device begins its life with. What was made is judged by the
//! openssl command.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::{Said, Warden};

const P256: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

impl Warden {
    /// With an authority in `ca`, and devices `device-001` and `device-002` with the role `sensor`.
    fn with_authority() -> Self {
        let warden = Self::new();
        warden.passphrase("passphrase", "correct horse battery staple");
        warden.done("ca init ca --passphrase-file passphrase");
        warden.done("role add sensor");
        warden.done("rule add sensor allow publish devices/%u/#");
        warden.done("role add bootstrap");
        warden.done("rule add bootstrap allow publish bootstrap/%u");
        warden.done("device add device-001 --role sensor");
        warden.done("device add device-002 --role sensor");
        warden
    }

    fn passphrase(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("{text}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn issue(&self, words: &str) -> Said {
        self.run(&format!("certificate {words} --ca ca --passphrase-file passphrase"))
    }

    /// The openssl command in the directory; what it said on both outputs, and whether it was content.
    fn openssl(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("openssl").args(arguments).current_dir(self.directory.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    /// What the openssl command must be able to say.
    fn told(&self, arguments: &[&str]) -> String {
        let (content, said) = self.openssl(arguments);
        assert!(content, "openssl {arguments:?}: {said}");
        said
    }

    /// A request in `NAME.csr` with its key in `NAME.key`.
    fn request(&self, name: &str, more: &[&str]) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let subject = if more.contains(&"-subj") { &[][..] } else { &["-subj", "/CN=any"] };
        let arguments = ["req", "-new", "-nodes", "-keyout", &key, "-out", &request];
        self.told(&[&arguments[..], subject, more].concat());
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().mode() & 0o7777
    }

    fn issued(&self) -> String {
        self.sqlite3("SELECT count(*) FROM certificates")
    }
}

fn text_of(warden: &Warden, file: &str) -> String {
    warden.told(&["x509", "-noout", "-text", "-in", file])
}

#[test]
fn an_authority_is_for_devices_alone_and_its_key_is_encrypted() {
    let warden = Warden::empty();
    warden.passphrase("passphrase", "correct horse battery staple");
    warden.passphrase("wrong", "incorrect horse battery");
    for (curve, name) in [("p256", "NIST CURVE: P-256"), ("p384", "NIST CURVE: P-384")] {
        warden.done(&format!("ca init {curve} --name Fleet --curve {curve} --days 100 --passphrase-file passphrase"));
        assert_eq!((warden.mode(curve), warden.mode(&format!("{curve}/ca.key"))), (0o700, 0o600));
        assert_eq!(warden.mode(&format!("{curve}/ca.crt")), 0o644);
        let text = text_of(&warden, &format!("{curve}/ca.crt"));
        for part in [
            name,
            "Subject: CN = Fleet",
            "Basic Constraints: critical\n                CA:TRUE, pathlen:0",
            "Key Usage: critical\n                Certificate Sign, CRL Sign",
            "Subject Key Identifier",
            "Authority Key Identifier",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let (ca, key) = (format!("{curve}/ca.crt"), format!("{curve}/ca.key"));
        assert!(warden.told(&["verify", "-x509_strict", "-CAfile", &ca, &ca]).contains("OK"));
        assert!(fs::read_to_string(warden.path(&key)).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        let scheme = warden.told(&["asn1parse", "-in", &key]);
        assert!(scheme.contains(":scrypt") && scheme.contains(":aes-256-cbc"), "{scheme}");
        let of_key = warden.told(&["pkey", "-in", &key, "-passin", "file:passphrase", "-pubout"]);
        assert_eq!(of_key, warden.told(&["x509", "-in", &ca, "-noout", "-pubkey"]));
        assert!(!warden.openssl(&["pkey", "-in", &key, "-passin", "file:wrong", "-noout"]).0);
    }
    let shown = warden.json("ca show p256");
    assert_eq!((&shown["subject"], &shown["key"]), (&"CN=Fleet".into(), &"there, encrypted".into()));
}

#[test]
fn an_authority_is_never_written_over_nor_made_with_a_passphrase_that_is_none() {
    let warden = Warden::empty();
    warden.passphrase("passphrase", "correct horse battery staple");
    warden.passphrase("short", "elevenchars");
    warden.passphrase("empty", "");
    warden.passphrase("exposed", "correct horse battery staple");
    fs::set_permissions(warden.path("exposed"), fs::Permissions::from_mode(0o640)).unwrap();
    for (words, code, error) in [
        ("ca init ca --passphrase-file short", 2, "at least 12 characters"),
        ("ca init ca --passphrase-file empty", 2, "holds no passphrase"),
        ("ca init ca --passphrase-file exposed", 6, "has mode 0640"),
        ("ca init ca --passphrase-file nowhere", 2, "cannot read `nowhere`"),
        ("ca init no/ca --passphrase-file passphrase", 1, "cannot be made"),
        ("ca show ca", 2, "cannot read `ca/ca.crt`"),
    ] {
        let said = warden.run(words);
        assert!(said.code == code && said.stderr.contains(error), "{words}: {said:?}");
        assert!(!warden.path("ca").exists(), "{words}");
    }
    let from_stdin = "ca init ca --passphrase-file -";
    assert_eq!(warden.run_with_stdin(from_stdin, "correct horse battery staple\n").code, 0);
    let before = fs::read(warden.path("ca/ca.key")).unwrap();
    let said = warden.run("ca init ca --passphrase-file passphrase");
    assert!(said.code == 5 && said.stderr.contains("already a file `ca/ca.crt`"), "{said:?}");
    assert_eq!(fs::read(warden.path("ca/ca.key")).unwrap(), before);
}

#[test]
fn what_is_issued_is_for_tls_clients_and_for_nothing_else() {
    let warden = Warden::with_authority();
    let said = warden.issue("issue device-001 --uri urn:device:1 --dns d1.fleet.example --days 90");
    assert_eq!(said.code, 0, "{said:?}");
    for (file, mode) in [("", 0o700), ("key.pem", 0o600), ("certificate.pem", 0o644), ("chain.pem", 0o644)] {
        assert_eq!(warden.mode(&format!("device-001/{file}")), mode, "{file}");
    }
    let file = "device-001/certificate.pem";
    let verify =
        |purpose| warden.openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca/ca.crt", file]);
    assert!(verify("sslclient").0, "{}", verify("sslclient").1);
    for purpose in ["sslserver", "smimesign", "timestampsign"] {
        assert!(!verify(purpose).0, "{purpose}");
    }
    let text = text_of(&warden, file);
    for part in [
        "Version: 3",
        "Subject: CN = device-001\n",
        "Basic Constraints: critical\n                CA:FALSE",
        "Key Usage: critical\n                Digital Signature\n",
        "Extended Key Usage: \n                TLS Web Client Authentication\n",
        "URI:urn:device:1, DNS:d1.fleet.example",
        "Authority Key Identifier",
        "Subject Key Identifier",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let of_key = warden.told(&["pkey", "-in", "device-001/key.pem", "-pubout"]);
    assert_eq!(of_key, warden.told(&["x509", "-in", file, "-noout", "-pubkey"]));
    let chain = fs::read_to_string(warden.path("device-001/chain.pem")).unwrap();
    let parts = [file, "ca/ca.crt"].map(|file| fs::read_to_string(warden.path(file)).unwrap());
    assert_eq!(chain, parts.concat());
    // It begins a little before now, and ends when it was told to.
    assert!(warden.openssl(&["x509", "-in", file, "-noout", "-checkend", "7775000"]).0, "90 days are 7776000 s");
    assert!(!warden.openssl(&["x509", "-in", file, "-noout", "-checkend", "7777000"]).0);

    warden.issue("issue device-002");
    let serial =
        |device: &str| warden.told(&["x509", "-noout", "-serial", "-in", &format!("{device}/certificate.pem")]);
    let (one, two) = (serial("device-001"), serial("device-002"));
    assert!(one != two && one.len() > "serial=".len() + 24 && two.len() > "serial=".len() + 24, "{one}{two}");
}

#[test]
fn no_certificate_outlives_its_authority() {
    let warden = Warden::with_authority();
    warden.done("ca init short --days 10 --passphrase-file passphrase");
    let said = warden.run("certificate issue device-001 --ca short --days 90 --passphrase-file passphrase");
    assert!(said.code == 0 && said.stdout.contains("its authority ends then as well"), "{said:?}");
    let end = |file| warden.told(&["x509", "-noout", "-enddate", "-in", file]);
    assert_eq!(end("device-001/certificate.pem"), end("short/ca.crt"));
}

#[test]
fn a_request_gives_its_key_and_nothing_else() {
    let warden = Warden::with_authority();
    let asked =
        ["-subj", "/CN=admin/O=Root", "-addext", "subjectAltName=DNS:admin", "-addext", "basicConstraints=CA:TRUE"];
    warden.request("greedy", &[&P256[..], &asked].concat());
    let said = warden.issue("issue device-001 --csr greedy.csr");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("which does not count") && said.stderr.contains("extensions"), "{said:?}");
    fs::write(warden.path("out.pem"), &said.stdout).unwrap();
    let text = text_of(&warden, "out.pem");
    assert!(text.contains("Subject: CN = device-001\n") && text.contains("CA:FALSE"), "{text}");
    assert!(!text.contains("admin") && !text.contains("Alternative"), "{text}");
    let of_request = warden.told(&["req", "-in", "greedy.csr", "-noout", "-pubkey"]);
    assert_eq!(warden.told(&["x509", "-in", "out.pem", "-noout", "-pubkey"]), of_request);
    assert_eq!(said.stdout.matches("BEGIN CERTIFICATE").count(), 2, "the certificate and its chain");
    assert!(!warden.path("device-001").exists(), "there is no key to keep");
}

#[test]
fn a_request_is_granted_if_its_key_is_strong_and_its_own() {
    let warden = Warden::with_authority();
    let curve =
        |name: &str| ["-newkey", "ec", "-pkeyopt", &format!("ec_paramgen_curve:{name}")].map(str::to_owned).to_vec();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (name, key) in [
        ("p256", curve("P-256")),
        ("p384", curve("P-384")),
        ("ed25519", words("-newkey ed25519")),
        ("rsa2048", words("-newkey rsa:2048")),
    ] {
        warden.request(name, &key.iter().map(String::as_str).collect::<Vec<_>>());
        let said = warden.issue(&format!("issue device-001 --additional --csr {name}.csr --out {name}.pem"));
        assert_eq!(said.code, 0, "{name}: {said:?}");
        let verified =
            warden.told(&["verify", "-purpose", "sslclient", "-CAfile", "ca/ca.crt", &format!("{name}.pem")]);
        assert!(verified.contains("OK"), "{name}: {verified}");
    }
    // DER as well.
    warden.told(&["req", "-in", "p256.csr", "-outform", "DER", "-out", "der.csr"]);
    assert_eq!(warden.issue("issue device-001 --additional --csr der.csr --out der.pem").code, 0);
    assert_eq!(warden.issued(), "5");

    for (name, key, error) in [
        ("rsa1024", words("-newkey rsa:1024"), "an RSA key of 1024 bits"),
        ("p521", curve("P-521"), "of a kind that is not accepted"),
        ("koblitz", curve("secp256k1"), "of a kind that is not accepted"),
        ("ed448", words("-newkey ed448"), "of a kind that is not accepted"),
        ("exponent3", words("-newkey rsa:2048 -pkeyopt rsa_keygen_pubexp:3"), "exponent below 65537"),
    ] {
        warden.request(name, &key.iter().map(String::as_str).collect::<Vec<_>>());
        refused(&warden, name, error);
    }
    // One bit of the signature, and one of the name that was signed.
    let der = fs::read(warden.path("der.csr")).unwrap();
    let name = der.windows(3).position(|bytes| bytes == b"any").unwrap();
    for (at, what) in [(der.len() - 1, "signature"), (name, "subject")] {
        let mut altered = der.clone();
        altered[at] ^= 1;
        fs::write(warden.path(&format!("{what}.csr")), altered).unwrap();
        refused(&warden, what, "its signature is not by its own key");
    }
    for (what, bytes) in [("empty", &b""[..]), ("noise", &[0x30; 300]), ("cut", &der[..der.len() - 9])] {
        fs::write(warden.path(&format!("{what}.csr")), bytes).unwrap();
        refused(&warden, what, "it is no certificate request");
    }
    fs::write(warden.path("longer.csr"), [&der[..], &[0]].concat()).unwrap();
    refused(&warden, "longer", "it is no certificate request");
    assert_eq!(warden.issued(), "5");
}

fn refused(warden: &Warden, request: &str, error: &str) {
    let said = warden.issue(&format!("issue device-002 --csr {request}.csr --out refused.pem"));
    assert!(said.code == 2 && said.stderr.contains(error), "{request}: {said:?}");
    assert!(!warden.path("refused.pem").exists(), "{request}");
}

#[test]
fn whatever_is_refused_leaves_no_file_and_no_row() {
    let warden = Warden::with_authority();
    warden.passphrase("wrong", "incorrect horse battery");
    warden.request("one", &P256);
    fs::create_dir(warden.path("taken")).unwrap();
    fs::write(warden.path("taken/chain.pem"), "mine").unwrap();
    let before = warden.json("credential list");
    warden.done("device add gone");
    warden.done("device revoke gone");
    let long = "x".repeat(65);
    warden.done(&format!("device add {long}"));
    warden.done("device add .hidden");
    for (words, code, error) in [
        ("issue device-01", 4, "there is no device `device-01`"),
        ("issue gone", 5, "the device `gone` is revoked"),
        ("issue device-001 --out taken", 5, "already a file `taken/chain.pem`"),
        ("issue device-001 --csr one.csr --out taken/chain.pem", 5, "already a file `taken/chain.pem`"),
        ("issue device-001 --csr none.csr", 2, "cannot read `none.csr`"),
        ("issue device-001 --as x509_san_uri", 2, "none of the fields"),
        ("issue device-001 --days 0", 2, "0 is not in 1..=36500"),
        ("issue device-001 --uri ", 2, ""),
        ("issue .hidden", 2, "no name for a directory"),
        ("renew device-001", 5, "has no certificate that was issued here"),
        (&format!("issue {long}"), 1, "a common name has 1 to 64 characters"),
    ] {
        let said = warden.issue(words);
        assert!(said.code == code && said.stderr.contains(error), "{words}: {said:?}");
        assert!(!warden.path("device-001").exists(), "{words}");
    }
    for (words, code, error) in [
        ("--ca ca --passphrase-file wrong", 6, "the passphrase does not open the key"),
        ("--ca ca", 2, "nobody can be asked for the passphrase"),
        ("--ca nowhere --passphrase-file passphrase", 2, "cannot read `nowhere/ca.crt`"),
    ] {
        let said = warden.run(&format!("certificate issue device-001 {words}"));
        assert!(said.code == code && said.stderr.contains(error), "{words}: {said:?}");
    }
    assert_eq!(fs::read_to_string(warden.path("taken/chain.pem")).unwrap(), "mine");
    assert_eq!(fs::read_dir(warden.path("taken")).unwrap().count(), 1);
    assert_eq!((warden.issued().as_str(), warden.json("credential list")), ("0", before));

    // The files are there already when the database refuses.
    warden.done("credential add device-001 x509_cn");
    warden.done("credential revoke device-001 x509_cn");
    let said = warden.issue("issue device-001");
    assert!(said.code == 5 && said.stderr.contains("is revoked, and certificates that were made before"), "{said:?}");
    assert!(!warden.path("device-001").exists());
}

#[test]
fn an_authority_is_used_only_with_its_own_key_in_a_file_of_its_own() {
    let warden = Warden::with_authority();
    warden.done("ca init other --passphrase-file passphrase");
    let issue = |error: &str, code: i32| {
        let said = warden.issue("issue device-001");
        assert!(said.code == code && said.stderr.contains(error), "{said:?}");
    };
    let key = fs::read(warden.path("ca/ca.key")).unwrap();
    fs::copy(warden.path("other/ca.key"), warden.path("ca/ca.key")).unwrap();
    issue("the key is not the one of the authority's certificate", 1);
    let plain = warden.told(&["pkey", "-in", "other/ca.key", "-passin", "file:passphrase"]);
    fs::write(warden.path("ca/ca.key"), plain).unwrap();
    issue("holds no private key that is encrypted", 6);
    fs::write(warden.path("ca/ca.key"), key).unwrap();
    fs::set_permissions(warden.path("ca/ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    issue("has mode 0644", 6);
    fs::set_permissions(warden.path("ca/ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(warden.issue("issue device-001").code, 0);
    // That of a device is none.
    fs::copy(warden.path("device-001/certificate.pem"), warden.path("ca/ca.crt")).unwrap();
    let said = warden.issue("issue device-002");
    assert!(said.code == 1 && said.stderr.contains("not that of an authority"), "{said:?}");
}

#[test]
fn an_authority_that_openssl_made_issues_as_well() {
    let warden = Warden::with_authority();
    fs::create_dir(warden.path("made")).unwrap();
    let made = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-aes-256-cbc"];
    warden.told(&[&made[..], &["-pass", "file:passphrase", "-out", "made/ca.key"]].concat());
    let ca = ["req", "-x509", "-days", "30", "-subj", "/CN=made/O=Example", "-passin", "file:passphrase"];
    warden.told(&[&ca[..], &["-key", "made/ca.key", "-out", "made/ca.crt"]].concat());
    fs::set_permissions(warden.path("made/ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let said = warden.run("certificate issue device-001 --ca made --passphrase-file passphrase");
    assert_eq!(said.code, 0, "{said:?}");
    let verified = ["verify", "-purpose", "sslclient", "-CAfile", "made/ca.crt", "device-001/certificate.pem"];
    assert!(warden.told(&verified).contains("OK"));
}

#[test]
fn a_device_has_one_certificate_until_it_is_renewed_and_no_others_key() {
    let warden = Warden::with_authority();
    warden.request("one", &P256);
    let first = warden.issue("issue device-001 --csr one.csr --out first.pem");
    assert_eq!(first.code, 0, "{first:?}");
    for (words, error) in [
        ("issue device-001", "has the certificate"),
        ("issue device-002 --csr one.csr", "this key is already that of the device `device-001`"),
    ] {
        let said = warden.issue(words);
        assert!(said.code == 5 && said.stderr.contains(error), "{words}: {said:?}");
    }
    let renewed = warden.issue("renew device-001 --csr one.csr --out second.pem --overlap 7d --json");
    assert_eq!(renewed.code, 0, "{renewed:?}");
    let renewed: serde_json::Value = serde_json::from_str(&renewed.stdout).unwrap();
    let ending = renewed["ending"].as_array().unwrap();
    assert_eq!((ending.len(), &ending[0]["state"]), (1, &"active".into()));
    let days = "SELECT round(julianday(not_after) - julianday('now')) FROM credentials WHERE not_after IS NOT NULL";
    assert_eq!(warden.sqlite3(days), "7.0");
    let kinds = "SELECT group_concat(kind, ' ') FROM (SELECT kind FROM credentials ORDER BY kind)";
    assert_eq!(warden.sqlite3(kinds), "x509_cn x509_sha256 x509_sha256");
    // At once, and what has ended is not made to end again.
    assert_eq!(warden.issue("renew device-001 --overlap 0s --out third").code, 0);
    let states = |words: &str| {
        let listed = warden.json(&format!("certificate list {words}"));
        listed.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states("--issued device-001"), ["ended", "ended", "active"]);
    assert!(states("--issued device-002").is_empty());
    assert!(states("--expiring 364d").is_empty());
    assert_eq!(states("--expiring 366d"), ["active"]);
    warden.done("certificate revoke third/certificate.pem");
    assert_eq!(states("--issued"), ["ended", "ended", "revoked"]);
    assert!(states("--expiring 366d").is_empty());
    assert_eq!(warden.issue("renew device-001 --out fourth").code, 5, "there is nothing left to renew");
    assert_eq!(warden.issue("issue device-001 --out fourth").code, 0);
}

#[test]
fn a_device_begins_with_one_role_until_it_has_a_certificate() {
    let warden = Warden::with_authority();
    let may = |topic: &str| warden.run(&format!("explain d {topic}")).code == 0;
    let added = warden.json("device add d --role sensor --bootstrap --until 2036-01-01T00:00:00Z");
    assert_eq!(added["bootstrap"]["identity"], "d-bootstrap");
    assert_eq!(added["bootstrap"]["key"].as_str().unwrap().len(), 64);
    assert_eq!(added["credentials"][0]["only_role"], "bootstrap");
    assert_eq!(added["credentials"][0]["not_after"], "2036-01-01T00:00:00Z");
    assert!(may("publish bootstrap/d") && !may("publish devices/d/a"));
    assert!(warden.done("credential list d").contains("ONLY ROLE"));
    let said = warden.issue("issue d");
    assert!(said.stdout.contains("credential psk `d-bootstrap` revoked"), "{said:?}");
    assert!(!may("publish bootstrap/d") && may("publish devices/d/a"));
    // It does not begin again.
    let said = warden.run("credential add d psk --identity again --only-role bootstrap");
    assert!(said.code == 5 && said.stderr.contains("the device has a certificate"), "{said:?}");

    // Neither does one whose certificate came from elsewhere: by the command, or by plain SQL.
    warden.done("device add e --role sensor --bootstrap");
    warden.done("credential add e --certificate d/certificate.pem --as x509_spki_sha256");
    let status = "SELECT status FROM credentials WHERE identity = 'e-bootstrap'";
    assert_eq!(warden.sqlite3(status), "revoked");
    warden.done("device add f --role sensor --bootstrap");
    let by_hand =
        "INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', 'f' FROM devices WHERE name = 'f'";
    warden.sqlite3(by_hand);
    assert_eq!(warden.run("explain f publish bootstrap/f").code, 3);
    assert_eq!(warden.run("explain f publish devices/f/a").code, 0);
    warden.sqlite3("UPDATE credentials SET status = 'revoked' WHERE identity = 'f'");
    assert!(warden.run("explain f publish bootstrap/f").stdout.starts_with("denied: credential-revoked"));

    // A role that goes takes along what gave nothing else.
    warden.done("device add g --role sensor --bootstrap");
    warden.done("role remove bootstrap --yes");
    assert_eq!(warden.sqlite3("SELECT count(*) FROM credentials WHERE identity = 'g-bootstrap'"), "0");
    for (words, code, error) in [
        ("device add h --bootstrap", 4, "there is no role `bootstrap`"),
        ("device add h --bootstrap --cn", 2, "cannot be used with"),
        ("device add h --until 2036-01-01T00:00:00Z", 2, "--bootstrap"),
    ] {
        let said = warden.run(words);
        assert!(said.code == code && said.stderr.contains(error), "{words}: {said:?}");
    }
}

#[test]
fn a_device_that_is_revoked_takes_all_along_that_it_has() {
    let warden = Warden::with_authority();
    warden.issue("issue device-001");
    warden.done("credential add device-001 psk");
    warden.issue("issue device-002");
    let rows = "SELECT (SELECT count(*) FROM credentials WHERE status = 'revoked'), (SELECT count(*) FROM revoked_certificates),
                       (SELECT count(*) FROM devices WHERE status = 'revoked')";
    let asked = warden.json("device revoke device-001 --dry-run");
    assert_eq!(warden.sqlite3(rows), "0|0|0");
    let done = warden.json("device revoke device-001 --reason stolen");
    assert_eq!(warden.sqlite3(rows), "3|1|1");
    for part in ["credentials", "certificates"] {
        assert_eq!(asked[part], done[part], "what was said is what was done");
    }
    assert_eq!(
        (&asked["changed"], &asked["dry_run"], &asked["status"]),
        (&false.into(), &true.into(), &"active".into())
    );
    assert_eq!((&done["changed"], &done["dry_run"], &done["status"]), (&true.into(), &false.into(), &"revoked".into()));
    assert_eq!(done["credentials"].as_array().unwrap().len(), 3);
    assert_eq!(done["certificates"].as_array().unwrap().len(), 1);
    let again = warden.json("device revoke device-001");
    assert_eq!((&again["changed"], &again["credentials"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(warden.sqlite3(rows), "3|1|1");
    assert_eq!(warden.run("device revoke device-003 --dry-run").code, 4);
}
