//! Revocation lists, as the openssl command makes them.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::json;

use crate::{Said, Warden};

/// An authority with its files in the directory of a `Warden`; its certificate is `NAME.pem`.
pub(crate) struct Lists<'a> {
    warden: &'a Warden,
    name: &'static str,
}

impl<'a> Lists<'a> {
    pub(crate) fn new(warden: &'a Warden, name: &'static str, subject: &str) -> Self {
        let lists = Self { warden, name };
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
        lists.openssl(&[&new[..], &["-subj", subject, "-keyout", &key, "-out", &certificate]].concat());
        lists
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        let output = command.args(arguments).current_dir(self.warden.directory.path()).output();
        let output = output.expect("the openssl command is needed; run `make deps`");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes a list, in `FILE.crl` and `FILE.der`, with this number. Each entry is a serial number, or one with a reason
    /// after a comma.
    pub(crate) fn make(&self, file: &str, number: u32, entries: &[&str]) {
        self.make_with(file, number, entries, &[]);
    }

    fn make_delta(&self, file: &str, number: u32, base: u32, entries: &[&str]) {
        fs::write(self.warden.path("base"), format!("{base}")).unwrap();
        self.make_with(file, number, entries, &["-crlexts", "delta"]);
    }

    fn make_with(&self, file: &str, number: u32, entries: &[&str], more: &[&str]) {
        let Self { warden, name } = self;
        let base = fs::read_to_string(warden.path("base")).unwrap_or_else(|_| "0".to_owned());
        let config = format!(
            "[ca]\ndefault_ca = here\n[here]\ndatabase = index\ncrlnumber = number\ncertificate = {name}.pem\n\
             private_key = {name}.key\ndefault_md = sha256\ndefault_crl_days = 30\nunique_subject = no\n\
             crl_extensions = full\n[full]\nauthorityKeyIdentifier = keyid\n\
             [delta]\nauthorityKeyIdentifier = keyid\n2.5.29.27 = critical,ASN1:INTEGER:{base}\n"
        );
        let mut index = String::new();
        for entry in entries {
            let (serial, reason) = entry.split_once(',').map_or((*entry, ""), |(serial, reason)| (serial, reason));
            let comma = if reason.is_empty() { "" } else { "," };
            writeln!(index, "R\t301231235959Z\t260101000000Z{comma}{reason}\t{serial}\tunknown\t/CN={serial}").unwrap();
        }
        fs::write(warden.path("config"), config).unwrap();
        fs::write(warden.path("index"), index).unwrap();
        fs::write(warden.path("number"), format!("{number:04X}\n")).unwrap();
        let (pem, der) = (format!("{file}.crl"), format!("{file}.der"));
        self.openssl(&[&["ca", "-gencrl", "-config", "config", "-out", &pem], more].concat());
        self.openssl(&["crl", "-in", &pem, "-outform", "DER", "-out", &der]);
    }
}

fn fleet(warden: &Warden) -> Lists<'_> {
    Lists::new(warden, "ca", "/O=Example/CN=Fleet CA")
}

/// Serial numbers and reasons of what is revoked.
fn revoked(warden: &Warden) -> String {
    warden.sqlite3(
        "SELECT group_concat(serial || coalesce(' ' || reason, ''), ', ') FROM
                    (SELECT serial, reason FROM revoked_certificates ORDER BY serial)",
    )
}

fn revision(warden: &Warden) -> String {
    warden.sqlite3("SELECT max(revision) FROM change_log")
}

#[track_caller]
fn refused(said: &Said, code: i32, error: &str) {
    assert_eq!(said.code, code, "{said:?}");
    assert!(said.stderr.starts_with("error: ") && said.stderr.contains(error), "{said:?}");
    assert!(said.stdout.is_empty(), "{said:?}");
}

#[test]
fn the_certificates_of_a_list_are_revoked_until_a_newer_one_says_otherwise() {
    let warden = Warden::new();
    let lists = fleet(&warden);
    lists.make("one", 1, &["4A01,keyCompromise", "00FF", "10"]);
    let said = warden.done("crl import one.crl --ca ca.pem");
    assert_eq!(said, "list 1 of `CN=Fleet CA,O=Example` imported: 3 revoked, 3 of them newly; 0 no more\n");
    assert_eq!(revoked(&warden), "10, 4a01 keyCompromise, ff");
    let issuers = warden.sqlite3("SELECT DISTINCT issuer FROM revoked_certificates");
    assert_eq!(issuers, "CN=Fleet CA,O=Example");
    assert_eq!(warden.sqlite3("SELECT DISTINCT revoked_at FROM revoked_certificates"), "2026-01-01T00:00:00Z");

    lists.make("two", 2, &["4A01,superseded", "11"]);
    let said = warden.done("crl import two.der --ca ca.pem");
    assert_eq!(said, "list 2 of `CN=Fleet CA,O=Example` imported: 2 revoked, 1 of them newly; 2 no more\n");
    assert_eq!(revoked(&warden), "11, 4a01 superseded");
}

#[test]
fn a_list_that_is_there_is_not_imported_again_and_an_older_one_never() {
    let warden = Warden::new();
    let lists = fleet(&warden);
    lists.make("nine", 9, &["01"]);
    lists.make("ten", 0x10, &["01", "02"]);
    warden.done("crl import ten.crl --ca ca.pem");
    let before = revision(&warden);
    for file in ["ten.crl", "ten.der", "nine.crl"] {
        let words = format!("crl import {file} --ca ca.pem");
        assert!(warden.done(&words).contains("is already imported, or a newer one is"));
        assert_eq!(warden.json(&words)["changed"], false);
    }
    assert_eq!((revoked(&warden).as_str(), revision(&warden)), ("1, 2", before));
    // What somebody took out of it by hand comes back.
    warden.sqlite3("DELETE FROM revoked_certificates WHERE serial = '2'");
    assert_eq!(warden.json("crl import ten.crl --ca ca.pem")["added"], 1);
    assert_eq!(revoked(&warden), "1, 2");
}

#[test]
fn only_what_differs_is_written() {
    let warden = Warden::new();
    let lists = fleet(&warden);
    lists.make("one", 1, &["01", "02", "03"]);
    lists.make("two", 2, &["02", "03", "04"]);
    warden.done("crl import one.crl --ca ca.pem");
    let before: u32 = revision(&warden).parse().unwrap();
    warden.done("crl import two.crl --ca ca.pem");
    assert_eq!(revision(&warden), (before + 2).to_string());
}

#[test]
fn what_somebody_revoked_stays_revoked() {
    let warden = Warden::new();
    let lists = fleet(&warden);
    lists.make("one", 1, &["4A01", "4A02"]);
    lists.make("two", 2, &[]);
    warden.done("certificate revoke --serial 4a01 --ca ca.pem --reason stolen");
    warden.done("crl import one.crl --ca ca.pem");
    assert_eq!(warden.sqlite3("SELECT count(DISTINCT serial) FROM revoked_certificates"), "2");
    let said = warden.json("crl import two.crl --ca ca.pem");
    assert_eq!((&said["removed"], &said["revoked"]), (&json!(2), &json!(0)));
    assert_eq!(revoked(&warden), "4a01 stolen");
}

#[test]
fn a_delta_list_changes_the_one_that_is_there() {
    let warden = Warden::new();
    let lists = fleet(&warden);
    lists.make("full", 5, &["01", "02", "03"]);
    lists.make_delta("delta", 7, 5, &["02,removeFromCRL", "04,certificateHold"]);
    refused(
        &warden.run("crl import delta.crl --ca ca.pem"),
        5,
        "import the full list of `CN=Fleet CA,O=Example` first",
    );
    warden.done("crl import full.crl --ca ca.pem");
    let said = warden.done("crl import delta.crl --ca ca.pem");
    assert_eq!(said, "delta list 7 of `CN=Fleet CA,O=Example` imported: 3 revoked, 1 of them newly; 1 no more\n");
    assert_eq!(revoked(&warden), "1, 3, 4 certificateHold");
    assert_eq!(warden.json("crl list")[0]["number"], "7");
    // The same once more changes nothing, nor does an older one.
    lists.make_delta("older", 6, 5, &["03,removeFromCRL"]);
    for file in ["delta", "older"] {
        assert_eq!(warden.json(&format!("crl import {file}.der --ca ca.pem"))["changed"], false);
    }
    // One that builds on a list that was never seen cannot be applied.
    lists.make_delta("ahead", 12, 11, &["05"]);
    refused(
        &warden.run("crl import ahead.crl --ca ca.pem"),
        5,
        "this delta list changes list b, and what is there is 7",
    );
    assert_eq!(revoked(&warden), "1, 3, 4 certificateHold");
}

#[test]
fn only_lists_of_the_given_authorities_are_believed() {
    let warden = Warden::new();
    fleet(&warden).make("good", 1, &["01"]);
    let other = Lists::new(&warden, "other", "/O=Example/CN=Other CA");
    // The same name, another key.
    let namesake = Lists::new(&warden, "namesake", "/O=Example/CN=Fleet CA");
    namesake.make("forged", 2, &["02"]);
    other.make("other", 1, &["03"]);
    let said = warden.run("crl import good.crl --ca other.pem");
    refused(&said, 1, "the list is from `CN=Fleet CA,O=Example`, and none of the given certificates is");
    assert!(said.stderr.contains("\n\nhint: name the certificate of the authority"), "{said:?}");
    // The key identifiers tell them apart.
    refused(&warden.run("crl import forged.crl --ca ca.pem"), 1, "none of the given certificates is that authority's");
    let mut der = fs::read(warden.path("good.der")).unwrap();
    let at = der.windows(3).position(|bytes| bytes == [2, 1, 1]).unwrap();
    der[at + 2] = 0;
    let last = der.len() - 1;
    fs::write(warden.path("version.der"), &der).unwrap();
    der[at + 2] = 1;
    der[last] ^= 1;
    fs::write(warden.path("tampered.der"), &der).unwrap();
    fs::write(warden.path("cut.der"), &der[..last]).unwrap();
    refused(
        &warden.run("crl import tampered.der --ca ca.pem"),
        1,
        "the list was altered, or another key has signed it",
    );
    for file in ["version.der", "cut.der", "ca.pem", "index"] {
        refused(&warden.run(&format!("crl import {file} --ca ca.pem")), 1, "this is no revocation list");
    }
    refused(&warden.run("crl import missing.crl --ca ca.pem"), 2, "cannot read `missing.crl`");
    refused(&warden.run("crl import good.crl --ca good.crl"), 2, "`good.crl`: the certificate cannot be decoded");
    refused(&warden.run("crl import good.crl"), 2, "--ca <FILE>");
    assert_eq!(revoked(&warden), "");
    // Among several, the right one is found, and two authorities do not mind each other.
    let bundle = [fs::read(warden.path("namesake.pem")).unwrap(), fs::read(warden.path("ca.pem")).unwrap()].concat();
    fs::write(warden.path("bundle.pem"), bundle).unwrap();
    warden.done("crl import good.crl --ca other.pem --ca bundle.pem");
    warden.done("crl import other.crl --ca other.pem");
    assert_eq!(revoked(&warden), "1, 3");
}

#[test]
fn a_list_that_is_out_of_date_is_imported_with_a_warning() {
    let warden = Warden::new();
    let past = ["-crl_lastupdate", "200101000000Z", "-crl_nextupdate", "200201000000Z"];
    fleet(&warden).make_with("past", 1, &["01"], &past);
    let said = warden.run("crl import past.crl --ca ca.pem");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        said.stderr,
        "warning: the list is out of date: its authority has promised a newer one for 2020-02-01T00:00:00Z\n"
    );
    assert_eq!(revoked(&warden), "1");
}

#[test]
fn lists_are_listed() {
    let warden = Warden::new();
    assert_eq!(warden.json("crl list"), json!([]));
    let times = ["-crl_lastupdate", "260101000000Z", "-crl_nextupdate", "380101000000Z"];
    fleet(&warden).make_with("one", 0xab, &["01", "02"], &times);
    let said = warden.json("crl import one.crl --ca ca.pem");
    let imported_at = said["imported_at"].clone();
    let mut list = json!({
        "issuer": "CN=Fleet CA,O=Example", "number": "ab", "revoked": 2, "this_update": "2026-01-01T00:00:00Z",
        "next_update": "2038-01-01T00:00:00Z", "imported_at": imported_at,
    });
    assert_eq!(warden.json("crl list"), json!([list]));
    let more = json!({ "changed": true, "added": 2, "removed": 0, "delta": false });
    list.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(said, list);
    let table = warden.done("crl list");
    let lines: Vec<_> = table.lines().map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty())).collect();
    let cells: Vec<Vec<_>> = lines.into_iter().map(Iterator::collect).collect();
    assert_eq!(cells[0], ["ISSUER", "NUMBER", "REVOKED", "THIS UPDATE", "NEXT UPDATE", "IMPORTED"]);
    assert_eq!(cells[1][..3], ["CN=Fleet CA,O=Example", "ab", "2"]);
}

#[test]
fn a_hundred_thousand_certificates_are_revoked_at_once() {
    let warden = Warden::new();
    let lists = fleet(&warden);
    let serials: Vec<String> = (0..100_001).map(|at| format!("01{at:08X}")).collect();
    let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
    lists.make("many", 1, &serials[..100_000]);
    lists.make("next", 2, &serials[1..]);
    let said = warden.json("crl import many.crl --ca ca.pem");
    assert_eq!((&said["added"], &said["revoked"]), (&json!(100_000), &json!(100_000)));
    assert_eq!(warden.sqlite3("SELECT count(*) FROM revoked_certificates WHERE serial = '10001869f'"), "1");
    let before: u32 = revision(&warden).parse().unwrap();
    let said = warden.json("crl import next.der --ca ca.pem");
    assert_eq!((&said["added"], &said["removed"], &said["revoked"]), (&json!(1), &json!(1), &json!(100_000)));
    assert_eq!(revision(&warden), (before + 2).to_string());
    lists.make("none", 3, &[]);
    assert_eq!(warden.json("crl import none.crl --ca ca.pem")["removed"], 100_000);
    assert_eq!(revoked(&warden), "");
}
