//! Certificates that were issued: what a new one does to its device, all of it or nothing; and the end of a device.

use mosquitto_warden::credential::authority::{Authority, Wanted};
use mosquitto_warden::credential::certificate::{Description, Field, describe};
use mosquitto_warden::credential::key_pair::{Curve, KeyPair};
use mosquitto_warden::store::credential::{NewCredential, Proof, SealedPsk};
use mosquitto_warden::store::device::{NewDevice, Status};
use mosquitto_warden::store::issued::{Issued, NewCertificate, Others, State};
use mosquitto_warden::store::{Store, StoreError};

use crate::{Fresh, on_every_database};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;

fn key() -> Vec<u8> {
    KeyPair::generate(Curve::P256).unwrap().public_key_der().unwrap()
}

/// A certificate with this name for this key, good for a year from now.
fn certificate(name: &str, public_key: &[u8]) -> Description {
    let key = KeyPair::generate(Curve::P256).unwrap();
    let pem = Authority::create("Fleet CA", &key, NOW - DAY, NOW + 1000 * DAY).unwrap();
    let authority = Authority::open(pem.as_bytes(), key).unwrap();
    let wanted = Wanted { common_name: name, alternative_names: &[], not_before: NOW - 60, not_after: NOW + 365 * DAY };
    describe(&authority.issue(public_key, &wanted).unwrap()).unwrap()
}

async fn issue(store: &mut Store, name: &str, says: &Description, others: Others) -> Result<Issued, StoreError> {
    let identity = says.common_names[0].as_str();
    let new = NewCertificate { says, field: Field::Cn, identity, authorities: &[], others, now: NOW };
    store.issue(name, &new).await
}

fn only(identity: &str, role: &str) -> NewCredential {
    let proof = Proof::Psk(SealedPsk { sealed: format!("sealed {identity}"), digest: format!("digest {identity}") });
    NewCredential { only_role: Some(role.to_owned()), ..NewCredential::new(identity.to_owned(), proof) }
}

/// The role `begin`, and a device `d` (1) that begins with it.
async fn beginner(fresh: &mut Fresh) {
    fresh.store.add_role("begin", None, false).await.unwrap();
    let new = NewDevice { name: "d".into(), credentials: vec![only("d-begin", "begin")], ..NewDevice::default() };
    fresh.store.add_device(&new, false).await.unwrap();
    fresh.log();
}

async fn states(store: &mut Store, now: i64) -> Vec<State> {
    store.issued_certificates(Some("d")).await.unwrap().iter().map(|one| one.state(now)).collect()
}

#[test]
fn the_first_certificate_brings_credentials_and_ends_what_the_device_began_with() {
    on_every_database(async |mut fresh| {
        beginner(&mut fresh).await;
        let says = certificate("d", &key());
        let issued = issue(&mut fresh.store, "d", &says, Others::None).await.unwrap();
        let named = |all: &[mosquitto_warden::store::credential::Credential]| {
            all.iter().map(|it| (it.kind.clone(), it.identity.clone())).collect::<Vec<_>>()
        };
        let pair = |kind: &str, identity: &str| (kind.to_owned(), identity.to_owned());
        assert_eq!(named(&issued.added), [pair("x509_cn", "d"), pair("x509_sha256", &says.sha256)]);
        assert_eq!(named(&issued.retired), [pair("psk", "d-begin")]);
        assert!(issued.ending.is_empty());
        assert_eq!(fresh.log(), ["device 1"]);
        let left = fresh.store.credentials(Some("d")).await.unwrap();
        let active: Vec<_> = left.iter().filter(|it| it.status == "active").map(|it| it.kind.as_str()).collect();
        assert_eq!(active, ["x509_cn", "x509_sha256"]);
        assert_eq!(states(&mut fresh.store, NOW).await, [State::Active]);
        assert_eq!(states(&mut fresh.store, NOW + 366 * DAY).await, [State::Expired]);
    });
}

#[test]
fn what_cannot_be_issued_changes_nothing() {
    on_every_database(async |mut fresh| {
        beginner(&mut fresh).await;
        fresh.store.add_device(&NewDevice { name: "e".into(), ..NewDevice::default() }, false).await.unwrap();
        let shared = key();
        let says = certificate("e", &shared);
        issue(&mut fresh.store, "e", &says, Others::None).await.unwrap();
        let before = fresh.store.credentials(None).await.unwrap();
        let pin = |identity: &str| NewCredential {
            issuer: Some("0".repeat(64)),
            ..NewCredential::new(identity.to_owned(), Proof::X509(Field::Cn))
        };
        fresh.log();
        for (name, says, others, error) in [
            ("nobody", certificate("d", &key()), Others::None, "there is no device `nobody`"),
            ("d", certificate("e", &key()), Others::None, "this identity already"),
            ("d", certificate("d", &shared), Others::None, "this key is already that of the device `e`"),
            ("d", certificate("d", &key()), Others::EndAt(NOW), "has no certificate that was issued here"),
            ("e", certificate("e", &key()), Others::None, "has the certificate"),
        ] {
            let refused = issue(&mut fresh.store, name, &says, others).await.unwrap_err();
            assert!(refused.to_string().contains(error), "{refused}");
            assert_eq!(fresh.store.credentials(None).await.unwrap(), before, "{error}");
            assert!(fresh.log().is_empty(), "{error}");
        }
        // By what the device has already.
        let says = certificate("d", &key());
        for (credential, error) in
            [(pin("d"), "asks for another authority"), (only("d", "begin"), "only begins its life")]
        {
            let cn = NewCredential { proof: Proof::X509(Field::Cn), ..credential };
            fresh.store.add_credential("d", &cn).await.unwrap();
            let refused = issue(&mut fresh.store, "d", &says, Others::None).await.unwrap_err();
            assert!(refused.to_string().contains(error), "{refused}");
            fresh.sql("DELETE FROM credentials WHERE identity = 'd'").unwrap();
        }
        for (status, error) in [(Status::Revoked, "the device `d` is revoked"), (Status::Suspended, "")] {
            fresh.store.set_status("d", status, None).await.unwrap();
            let answer = issue(&mut fresh.store, "d", &says, Others::None).await;
            assert_eq!(answer.is_err(), !error.is_empty(), "{answer:?}");
            assert!(answer.err().is_none_or(|refused| refused.to_string().contains(error)));
        }
    });
}

#[test]
fn a_renewed_certificate_ends_at_its_date_and_never_later() {
    on_every_database(async |mut fresh| {
        beginner(&mut fresh).await;
        for says in [certificate("d", &key()), certificate("d", &key())] {
            issue(&mut fresh.store, "d", &says, Others::Stay).await.unwrap();
        }
        let ends = async |store: &mut Store| {
            let all = store.issued_certificates(Some("d")).await.unwrap();
            let mut ends: Vec<_> = all.iter().map(|one| (one.end().unwrap() - NOW) / DAY).collect();
            ends.sort_unstable();
            ends
        };
        assert_eq!(ends(&mut fresh.store).await, [365, 365]);
        let renewed =
            issue(&mut fresh.store, "d", &certificate("d", &key()), Others::EndAt(NOW + 7 * DAY)).await.unwrap();
        assert_eq!(renewed.ending.len(), 2);
        assert!(renewed.ending.iter().all(|one| one.state(NOW) == State::Active && one.ends_at.is_some()));
        assert_eq!(ends(&mut fresh.store).await, [7, 7, 365]);
        // Those two are not granted more time.
        let renewed =
            issue(&mut fresh.store, "d", &certificate("d", &key()), Others::EndAt(NOW + 30 * DAY)).await.unwrap();
        assert_eq!(renewed.ending.len(), 1);
        assert_eq!(ends(&mut fresh.store).await, [7, 7, 30, 365]);
        // Nor where a fingerprint that somebody has removed comes back.
        fresh.sql("DELETE FROM credentials WHERE kind = 'x509_sha256'").unwrap();
        let renewed = issue(&mut fresh.store, "d", &certificate("d", &key()), Others::EndAt(NOW + DAY)).await.unwrap();
        assert_eq!(renewed.ending.len(), 4);
        assert_eq!(ends(&mut fresh.store).await, [1, 1, 1, 1, 365]);
        let after = states(&mut fresh.store, NOW + 2 * DAY).await;
        assert_eq!(after.iter().filter(|state| **state == State::Ended).count(), 4);
    });
}

#[test]
fn a_device_that_ends_takes_along_all_that_it_has_and_nothing_else() {
    on_every_database(async |mut fresh| {
        beginner(&mut fresh).await;
        fresh.store.add_device(&NewDevice { name: "e".into(), ..NewDevice::default() }, false).await.unwrap();
        let says = certificate("d", &key());
        issue(&mut fresh.store, "d", &says, Others::None).await.unwrap();
        issue(&mut fresh.store, "e", &certificate("e", &key()), Others::None).await.unwrap();
        fresh.log();
        let asked = fresh.store.end_device("d", None, NOW, true).await.unwrap();
        assert!(fresh.log().is_empty());
        let ended = fresh.store.end_device("d", Some("stolen"), NOW, false).await.unwrap();
        assert_eq!((&asked, ended.changed()), (&ended, true));
        assert_eq!((ended.status.as_str(), ended.credentials.len(), ended.certificates.len()), ("active", 2, 1));
        assert_eq!(fresh.log(), ["certificate 1", "device 1"]);
        assert_eq!(states(&mut fresh.store, NOW).await, [State::Revoked]);
        assert_eq!(
            fresh.store.revocations_of(&says.issuer, &says.serial).await.unwrap()[0].reason.as_deref(),
            Some("stolen")
        );
        let of_e = fresh.store.credentials(Some("e")).await.unwrap();
        assert!(of_e.len() == 2 && of_e.iter().all(|it| it.status == "active"), "{of_e:?}");
        assert!(!fresh.store.end_device("d", None, NOW, false).await.unwrap().changed());
        // What has ended stays so.
        fresh.store.set_status("d", Status::Active, None).await.unwrap();
        let of_d = fresh.store.credentials(Some("d")).await.unwrap();
        assert!(of_d.iter().all(|it| it.status == "revoked"), "{of_d:?}");
        assert_eq!(states(&mut fresh.store, NOW).await, [State::Revoked]);
        // A device that is removed leaves no record.
        fresh.store.remove_device("d").await.unwrap();
        assert_eq!(fresh.sql("SELECT count(*) FROM certificates").unwrap().trim(), "1");
    });
}

#[test]
fn a_credential_never_loses_its_limits() {
    on_every_database(async |mut fresh| {
        beginner(&mut fresh).await;
        let by_hand = "INSERT INTO credentials (device_id, kind, identity, role_id) VALUES (1, 'x509_cn', 'claim', ";
        fresh.sql(&format!("{by_hand} 99)")).unwrap_err();
        fresh.sql("UPDATE credentials SET role_id = 99").unwrap_err();
        assert!(fresh.log().is_empty());
        fresh.sql(&format!("{by_hand} 1)")).unwrap();
        assert_eq!(fresh.log(), ["device 1"]);
        let read = fresh.store.policy_of("d").await.unwrap();
        let device = read.device_named("d").unwrap();
        assert!(device.credentials.len() == 2 && device.credentials.iter().all(|it| it.limits.role == Some(1)));
        assert!(read.role(1).is_some(), "the role is read along with it");
        // They go with their role.
        fresh.sql("DELETE FROM roles WHERE id = 1").unwrap();
        assert_eq!(fresh.log(), ["device 1", "role 1"]);
        assert!(fresh.store.credentials(None).await.unwrap().is_empty());
    });
}

#[test]
fn the_record_takes_no_nonsense() {
    on_every_database(async |mut fresh| {
        beginner(&mut fresh).await;
        let insert = |device: &str, issuer: &str, serial: &str, sha256: &str, not_after: &str| {
            fresh.sql(&format!(
                "INSERT INTO certificates (device_id, issuer, serial, sha256, spki_sha256, not_before, not_after)
                 VALUES ({device}, '{issuer}', '{serial}', '{sha256}', '{sha256}', '2026-01-01T00:00:00Z', '{not_after}')"
            ))
        };
        let (digest, end) = ("a".repeat(64), "2027-01-01T00:00:00Z");
        for (device, issuer, serial, sha256, not_after) in [
            ("9", "CN=ca", "1", digest.as_str(), end),
            ("1", "", "1", &digest, end),
            ("1", "CN=ca", "1G", &digest, end),
            ("1", "CN=ca", "", &digest, end),
            ("1", "CN=ca", "1", "aa", end),
            ("1", "CN=ca", "1", &digest.to_uppercase(), end),
            ("1", "CN=ca", "1", &digest, "tomorrow"),
        ] {
            insert(device, issuer, serial, sha256, not_after).unwrap_err();
        }
        insert("1", "CN=ca", "1", &digest, end).unwrap();
        insert("1", "CN=ca", "2", &digest, end).expect_err("it has been issued once");
        // Nobody's rights depend on it.
        assert!(fresh.log().is_empty());
    });
}
