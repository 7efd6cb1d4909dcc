//! Certificates that are revoked: what the verbs write, what the log records, and what the feed makes of it.

use std::time::{Duration, Instant};

use mosquitto_warden::credential::certificate::{Field, id};
use mosquitto_warden::store::StoreError;
use mosquitto_warden::store::certificate::Unrevoked;
use mosquitto_warden::store::credential::{NewCredential, Proof};
use mosquitto_warden::store::device::NewDevice;
use mosquitto_warden::store::feed::{Changes, Everything, Feed, Update};

use crate::{Fresh, Kind, on_every_database, on_sqlite};

const ISSUER: &str = "CN=Fleet CA,O=Example";

/// A list (1) with two certificates (1, 2), and one that was revoked by hand (3).
const LIST: &str = "INSERT INTO crls (issuer, this_update) VALUES ('CN=Fleet CA,O=Example', '2026-01-01T00:00:00Z');
     INSERT INTO revoked_certificates (issuer, serial, crl_id) VALUES
         ('CN=Fleet CA,O=Example', '0a', 1), ('CN=Fleet CA,O=Example', '0b', 1);
     INSERT INTO revoked_certificates (issuer, serial) VALUES ('CN=Fleet CA,O=Example', '0c');";

fn list(fresh: &Fresh) {
    fresh.sql(LIST).unwrap();
}

impl Fresh {
    async fn feed(&self) -> (Feed, Everything) {
        // The store has the file open as well.
        let mut feed = Feed::open_again(&self.database).await.unwrap();
        let Update::Everything(all) = feed.update().await.unwrap() else { panic!("the first update is everything") };
        (feed, all)
    }
}

async fn changes(feed: &mut Feed) -> Changes {
    match feed.update().await.unwrap() {
        Update::Changes(changes) => changes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_is_revoked_once_however_it_is_written() {
    on_every_database(async |mut fresh| {
        assert!(fresh.store.revoke_certificate("O = Example, CN = fleet ca", "00:0A:FF", None).await.unwrap());
        for (issuer, serial, reason) in
            [(ISSUER, "aff", Some("lost")), ("cn=FLEET CA,o=example", "0x0aff", None), (ISSUER, "0A:FF", None)]
        {
            assert!(!fresh.store.revoke_certificate(issuer, serial, reason).await.unwrap(), "{issuer} {serial}");
        }
        assert!(fresh.store.revoke_certificate(ISSUER, "0b", None).await.unwrap());
        assert!(fresh.store.revoke_certificate("CN=Other CA,O=Example", "aff", None).await.unwrap());
        assert_eq!(fresh.log(), ["certificate 1", "certificate 2", "certificate 3"]);
        let rows = fresh.store.revoked_certificates().await.unwrap();
        let shown: Vec<_> = rows.iter().map(|row| (row.serial.as_str(), row.reason.as_deref(), row.listed)).collect();
        assert_eq!(shown, [("b", None, false), ("aff", None, false), ("aff", Some("lost"), false)]);
        assert_eq!(fresh.store.revocations_of("o=example,cn=fleet ca", "AFF").await.unwrap(), rows[2..]);
    });
}

#[test]
fn a_certificate_that_makes_no_sense_is_refused_in_words() {
    on_every_database(async |mut fresh| {
        let long = "1".repeat(129);
        for (issuer, serial) in [("Fleet CA", "1"), ("", "1"), (ISSUER, "xyz"), (ISSUER, ""), (ISSUER, &long)] {
            let error = fresh.store.revoke_certificate(issuer, serial, None).await.unwrap_err();
            assert!(matches!(error, StoreError::Refused(_)), "{issuer} {serial}: {error}");
        }
        assert!(fresh.store.revoked_certificates().await.unwrap().is_empty());
    });
}

#[test]
fn what_a_list_says_and_what_somebody_decides_do_not_take_back_each_other() {
    on_every_database(async |mut fresh| {
        list(&fresh);
        let taken_back = async |fresh: &mut Fresh| fresh.store.unrevoke_certificate(ISSUER, "A").await.unwrap();
        assert_eq!(taken_back(&mut fresh).await, Unrevoked { changed: false, listed: true });
        assert!(fresh.store.revoke_certificate(ISSUER, "0a", Some("lost")).await.unwrap());
        assert!(!fresh.store.revoke_certificate(ISSUER, "0a", None).await.unwrap());
        assert_eq!(taken_back(&mut fresh).await, Unrevoked { changed: true, listed: true });
        fresh.store.revoke_certificate(ISSUER, "0a", None).await.unwrap();
        fresh.sql("DELETE FROM crls").unwrap();
        let left = fresh.store.revoked_certificates().await.unwrap();
        assert_eq!(left.iter().map(|row| row.serial.as_str()).collect::<Vec<_>>(), ["a", "0c"]);
        assert_eq!(taken_back(&mut fresh).await, Unrevoked { changed: true, listed: false });
        assert_eq!(taken_back(&mut fresh).await, Unrevoked { changed: false, listed: false });
    });
}

#[test]
fn the_credentials_of_a_certificate_are_found_whosever_they_are() {
    on_every_database(async |mut fresh| {
        let digest = "0a".repeat(32);
        for (name, identity, field) in [("a", "cn", Field::Cn), ("b", digest.as_str(), Field::Sha256)] {
            let credentials = vec![NewCredential::new(identity.to_owned(), Proof::X509(field))];
            let device = NewDevice { name: name.to_owned(), credentials, ..NewDevice::default() };
            fresh.store.add_device(&device, false).await.unwrap();
        }
        let fields = [(Field::Cn, "cn"), (Field::SanDns, "cn"), (Field::Sha256, digest.as_str())];
        let found = fresh.store.credentials_of_certificate(&fields).await.unwrap();
        assert_eq!(found.iter().map(|it| it.device.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(fresh.store.credentials_of_certificate(&fields[1..2]).await.unwrap().is_empty());
    });
}

#[test]
fn every_change_of_a_revoked_certificate_is_logged() {
    on_every_database(async |fresh| {
        list(&fresh);
        assert_eq!(fresh.log(), ["certificate 1", "certificate 2", "certificate 3"]);
        for (sql, expected) in [
            ("UPDATE revoked_certificates SET serial = '0d' WHERE id = 3", &["certificate 3"][..]),
            ("UPDATE revoked_certificates SET id = 9 WHERE id = 3", &["certificate 3", "certificate 9"]),
            ("UPDATE revoked_certificates SET reason = 'lost'", &[]),
            ("DELETE FROM revoked_certificates WHERE id = 9", &["certificate 9"]),
            ("DELETE FROM crls", &["certificate 1", "certificate 2"]),
        ] {
            fresh.sql(sql).unwrap_or_else(|answer| panic!("{sql}: {answer}"));
            assert_eq!(fresh.log(), expected, "{sql}");
        }
        assert_eq!(fresh.sql("SELECT count(*) FROM revoked_certificates").unwrap(), "0");
    });
}

/// Each of these replaces a row that no delete trigger hears of.
#[test]
fn replacing_a_revoked_certificate_is_logged_for_the_row_that_it_replaces() {
    on_sqlite(async |fresh| {
        list(&fresh);
        fresh.sql("UPDATE revoked_certificates SET id = 9 WHERE id = 3").unwrap();
        fresh.log();
        for (sql, expected) in [
            (
                "INSERT OR REPLACE INTO revoked_certificates (issuer, serial) SELECT issuer, serial
                 FROM revoked_certificates WHERE id = 9",
                &["certificate 9", "certificate 10"][..],
            ),
            (
                "INSERT OR REPLACE INTO revoked_certificates (id, issuer, serial) VALUES (10, 'CN=x', '1')",
                &["certificate 10", "certificate 10"],
            ),
            (
                "UPDATE OR REPLACE revoked_certificates SET serial = '0a' WHERE id = 2",
                &["certificate 1", "certificate 2", "certificate 2"],
            ),
            (
                "INSERT INTO revoked_certificates (issuer, serial) VALUES ('CN=x', '2');
                 UPDATE OR REPLACE revoked_certificates SET id = 10 WHERE id = 11",
                &["certificate 10", "certificate 10", "certificate 11", "certificate 11"],
            ),
            ("DELETE FROM revoked_certificates WHERE id = 10", &["certificate 10"]),
            ("INSERT OR REPLACE INTO crls (issuer, this_update) SELECT issuer, 'now' FROM crls", &["certificate 2"]),
            (
                "INSERT INTO revoked_certificates (issuer, serial, crl_id) SELECT issuer, '0a', id FROM crls",
                &["certificate 12"],
            ),
            ("DELETE FROM crls", &["certificate 12"]),
        ] {
            fresh.sql(sql).unwrap_or_else(|answer| panic!("{sql}: {answer}"));
            let (log, mut expected) = (fresh.log(), expected.to_vec());
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(log, expected, "{sql}");
        }
        assert_eq!(fresh.sql("SELECT count(*) FROM revoked_certificates").unwrap(), "0");
    });
}

#[test]
fn the_number_of_a_list_is_fixed() {
    on_every_database(async |fresh| {
        list(&fresh);
        let answer = fresh.sql("UPDATE crls SET id = 2").unwrap_err();
        assert!(answer.contains("cannot change"), "{answer}");
        let answer = fresh.sql("UPDATE revoked_certificates SET crl_id = 2").unwrap_err();
        assert!(answer.contains("no such revocation list") || answer.contains("foreign key"), "{answer}");
    });
}

#[test]
fn the_feed_follows_revoked_certificates() {
    on_every_database(async |fresh| {
        list(&fresh);
        let certificate = |serial| id(ISSUER, serial).unwrap();
        let (mut feed, all) = fresh.feed().await;
        assert_eq!(all.certificates, [(1, certificate("a")), (2, certificate("b")), (3, certificate("c"))]);
        assert!(all.unreadable_certificates.is_empty());
        for (sql, expected) in [
            (
                "INSERT INTO revoked_certificates (issuer, serial) VALUES ('o=example , cn=fleet  ca', '00:0D')",
                vec![(4, Some(certificate("d")))],
            ),
            ("UPDATE revoked_certificates SET serial = 'e' WHERE id = 4", vec![(4, Some(certificate("e")))]),
            ("UPDATE revoked_certificates SET id = 5 WHERE id = 4", vec![(4, None), (5, Some(certificate("e")))]),
            ("DELETE FROM revoked_certificates WHERE id = 5", vec![(5, None)]),
            ("DELETE FROM crls", vec![(1, None), (2, None)]),
        ] {
            fresh.sql(sql).unwrap();
            let changes = changes(&mut feed).await;
            assert_eq!(changes.certificates, expected, "{sql}");
            assert!(
                changes.devices.is_empty() && changes.roles.is_empty() && changes.unreadable_certificates.is_empty()
            );
        }
        fresh.sql("UPDATE revoked_certificates SET reason = 'lost'").unwrap();
        assert!(matches!(feed.update().await.unwrap(), Update::Nothing));
    });
}

#[test]
fn a_row_that_names_no_certificate_stops_no_other() {
    on_sqlite(async |fresh| {
        list(&fresh);
        // The schema refuses the second; a database from elsewhere may not.
        fresh
            .sql(
                "PRAGMA ignore_check_constraints = ON;
                 INSERT INTO revoked_certificates (issuer, serial) VALUES ('Fleet CA', '1'), ('CN=ca', 'none'), ('CN=ca', ':');",
            )
            .unwrap();
        let (mut feed, all) = fresh.feed().await;
        assert_eq!(all.certificates.len(), 3);
        let numbers = |unreadable: &[(i64, Box<str>)]| unreadable.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(numbers(&all.unreadable_certificates), [4, 5, 6]);
        assert!(all.unreadable_certificates[0].1.contains("issuer"), "{all:?}");
        assert!(all.unreadable_certificates[1].1.contains("serial"), "{all:?}");
        fresh.sql("UPDATE revoked_certificates SET issuer = 'nobody' WHERE id = 3").unwrap();
        let delta = changes(&mut feed).await;
        assert_eq!(delta.certificates, [(3, None)]);
        assert_eq!(numbers(&delta.unreadable_certificates), [3]);
        fresh.sql("UPDATE revoked_certificates SET issuer = 'CN=ca' WHERE id = 4").unwrap();
        let delta = changes(&mut feed).await;
        assert_eq!(delta.certificates, [(4, Some(id("CN=ca", "1").unwrap()))]);
        assert!(delta.unreadable_certificates.is_empty());
    });
}

#[test]
fn a_credential_with_a_pin_that_is_none_makes_its_device_unreadable() {
    on_sqlite(async |fresh| {
        fresh
            .sql(
                "PRAGMA ignore_check_constraints = ON;
                 INSERT INTO devices (name) VALUES ('good'), ('bad'), ('worse'), ('none');
                 INSERT INTO credentials (device_id, kind, identity, issuer) VALUES
                     (1, 'x509_cn', 'good', replace(hex(zeroblob(32)), '0', 'a')),
                     (2, 'x509_cn', 'bad', replace(hex(zeroblob(32)), '0', 'A')),
                     (3, 'x509_cn', 'worse', 'CN=ca'),
                     (4, 'x509_cn', 'none', NULL);",
            )
            .unwrap();
        let (_, all) = fresh.feed().await;
        let readable: Vec<_> = all.devices.iter().map(|device| (&*device.name, device.unreadable.is_none())).collect();
        assert_eq!(readable, [("good", true), ("bad", false), ("worse", false), ("none", true)]);
        assert!(all.devices[1].unreadable.as_ref().unwrap().contains("`issuer`"), "{:?}", all.devices[1]);
        assert_eq!(all.devices[0].credentials[0].limits.issuer.as_deref(), Some(&*"a".repeat(64)));
    });
}

/// The bound is far above what it takes, and far below what reading it row by row from the log would.
#[test]
fn a_hundred_thousand_are_read_in_seconds() {
    on_every_database(async |fresh| {
        let (serial, numbers) = match fresh.kind {
            Kind::Sqlite => ("printf('%032x', value)", "generate_series(1, 100000)"),
            Kind::Postgres => ("lpad(to_hex(value), 32, '0')", "generate_series(1, 100000) AS value"),
            Kind::Mariadb => ("lpad(hex(seq), 32, '0')", "seq_1_to_100000"),
        };
        let many = format!(
            "INSERT INTO revoked_certificates (issuer, serial) SELECT 'CN=Fleet CA,O=Example', {serial} FROM {numbers}"
        );
        let (mut feed, _) = fresh.feed().await;
        fresh.sql(&many).unwrap();
        let begun = Instant::now();
        assert_eq!(changes(&mut feed).await.certificates.len(), 100_000);
        let delta = begun.elapsed();
        let begun = Instant::now();
        let (_, all) = fresh.feed().await;
        let whole = begun.elapsed();
        assert_eq!(all.certificates.len(), 100_000);
        assert!(delta < Duration::from_mins(2) && whole < Duration::from_mins(2), "{delta:?} {whole:?}");
    });
}
