//! What each verb writes, and what it refuses.

use std::collections::BTreeMap;

use mosquitto_warden::credential::certificate::Field;
use mosquitto_warden::store::credential::{HashedPassword, Kind, NewCredential, Proof, SealedPsk};
use mosquitto_warden::store::device::{DeviceChange, DeviceFilter, NewDevice, Status};
use mosquitto_warden::store::rule::NewRule;
use mosquitto_warden::store::{Noun, StoreError};

use crate::on_every_database;

fn cn(identity: &str) -> NewCredential {
    NewCredential::new(identity.to_owned(), Proof::X509(Field::Cn))
}

fn psk(identity: &str, key: &str) -> NewCredential {
    let proof = Proof::Psk(SealedPsk { sealed: format!("sealed {key}"), digest: format!("digest {key}") });
    NewCredential::new(identity.to_owned(), proof)
}

fn device(name: &str) -> NewDevice {
    NewDevice { name: name.to_owned(), ..NewDevice::default() }
}

fn allow(action: &str, topic: &str) -> NewRule {
    NewRule { effect: "allow".into(), action: action.into(), topic: topic.into(), max_qos: None, retain: None }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_device_is_added_with_all_that_belongs_to_it() {
    on_every_database(async |mut fresh| {
        fresh.store.add_role("sensor", None, false).await.unwrap();
        let new = NewDevice {
            client_id: Some("%u-*".to_owned()),
            attributes: pairs(&[("site", "oslo")]),
            credentials: vec![cn("device-001"), psk("device-001", "k")],
            roles: vec!["sensor".to_owned()],
            ..device("device-001")
        };
        let (added, _) = fresh.store.add_device(&new, false).await.unwrap();
        assert_eq!(added, fresh.store.device("device-001").await.unwrap());
        assert_eq!(added.device.status, "active");
        assert_eq!(added.device.attributes.replace(' ', ""), r#"{"site":"oslo"}"#);
        assert_eq!(added.roles, ["sensor"]);
        assert_eq!(added.credentials.iter().map(|it| it.kind.as_str()).collect::<Vec<_>>(), ["psk", "x509_cn"]);
    });
}

#[test]
fn a_device_that_cannot_be_added_whole_is_not_added() {
    on_every_database(async |mut fresh| {
        fresh.store.add_device(&NewDevice { credentials: vec![psk("a", "k")], ..device("a") }, false).await.unwrap();
        let unknown_role = NewDevice { roles: vec!["no".to_owned()], credentials: vec![cn("b")], ..device("b") };
        let shared_key = NewDevice { credentials: vec![psk("b", "k")], ..device("b") };
        let other_identity = NewDevice { credentials: vec![cn("a")], ..device("b") };
        for new in [unknown_role, shared_key, other_identity] {
            fresh.store.add_device(&new, false).await.unwrap_err();
            assert!(matches!(fresh.store.device("b").await, Err(StoreError::NotFound { .. })));
        }
        assert_eq!(fresh.store.credentials(None).await.unwrap().len(), 1);
    });
}

#[test]
fn a_name_that_is_taken_is_refused_in_words() {
    on_every_database(async |mut fresh| {
        fresh.store.add_device(&device("a"), false).await.unwrap();
        fresh.store.add_role("r", None, false).await.unwrap();
        let error = fresh.store.add_device(&device("a"), false).await.unwrap_err();
        assert_eq!(error.to_string(), "there is already a device `a`");
        let error = fresh.store.add_role("r", None, false).await.unwrap_err();
        assert_eq!(error.to_string(), "there is already a role `r`");
        fresh.store.add_credential("a", &cn("x")).await.unwrap();
        let error = fresh.store.add_credential("a", &cn("x")).await.unwrap_err();
        assert_eq!(error.to_string(), "this identity already has a credential of this kind");
        fresh.store.add_device(&device("b"), false).await.unwrap();
        let error = fresh.store.add_credential("b", &cn("x")).await.unwrap_err();
        assert!(error.to_string().starts_with("this identity already"), "{error}");
        let error = fresh.store.add_credential("b", &cn("a")).await.unwrap_err();
        assert_eq!(error.to_string(), "this identity already means another device");
        fresh.store.add_credential("a", &psk("p", "k")).await.unwrap();
        let error = fresh.store.add_credential("b", &psk("q", "k")).await.unwrap_err();
        assert!(error.to_string().starts_with("this key already belongs to another credential"), "{error}");
    });
}

#[test]
fn a_name_that_makes_no_sense_is_refused_in_words() {
    on_every_database(async |mut fresh| {
        for name in ["a+b", "#", "a/b", "a\u{1}", "a\n", "a\u{7f}", "a\0b"] {
            let error = fresh.store.add_device(&device(name), false).await.unwrap_err();
            // Of a NUL, PostgreSQL does not even ask in which column it is.
            let words = ["a device name cannot hold", "a text cannot hold a NUL"];
            assert!(words.iter().any(|words| error.to_string().starts_with(words)), "{name:?}: {error}");
        }
        for name in ["", &"x".repeat(256)] {
            let error = fresh.store.add_device(&device(name), false).await.unwrap_err();
            assert_eq!(error.to_string(), "a name has 1 to 255 characters");
        }
        fresh.store.add_device(&device("gerät 1 (北)"), false).await.unwrap();
    });
}

#[test]
fn an_unknown_name_comes_with_the_nearest_one() {
    on_every_database(async |mut fresh| {
        fresh.store.add_device(&device("device-001"), false).await.unwrap();
        fresh.store.add_role("sensor", None, false).await.unwrap();
        let error = fresh.store.device("devcie-001").await.unwrap_err();
        assert_eq!(error.to_string(), "there is no device `devcie-001`");
        assert_eq!(error.hint().unwrap(), "did you mean `device-001`?");
        let error = fresh.store.grant("device-001", "senor").await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { noun: Noun::Role, nearest: Some(_), .. }));
        let error = fresh.store.device("thermometer").await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { nearest: None, .. }));
    });
}

#[test]
fn what_is_set_changes_and_the_rest_stays() {
    on_every_database(async |mut fresh| {
        let new = NewDevice { attributes: pairs(&[("a", "1"), ("b", "2")]), ..device("d") };
        fresh.store.add_device(&new, false).await.unwrap();
        let change = DeviceChange {
            client_id: Some(Some("%u".to_owned())),
            attributes: pairs(&[("b", "3"), ("c", "4")]),
            attributes_removed: vec!["a".to_owned()],
            ..DeviceChange::default()
        };
        let changed = fresh.store.set_device("d", &change).await.unwrap().device;
        assert_eq!(changed.attributes.replace(' ', ""), r#"{"b":"3","c":"4"}"#);
        assert_eq!(changed.client_id.as_deref(), Some("%u"));
        let rename = DeviceChange { name: Some("e".to_owned()), ..DeviceChange::default() };
        let renamed = fresh.store.set_device("d", &rename).await.unwrap().device;
        assert_eq!((renamed.id, renamed.client_id.as_deref()), (changed.id, Some("%u")));
        let unbind = DeviceChange { client_id: Some(None), ..DeviceChange::default() };
        assert_eq!(fresh.store.set_device("e", &unbind).await.unwrap().device.client_id, None);
        assert!(matches!(fresh.store.device("d").await, Err(StoreError::NotFound { .. })));
    });
}

#[test]
fn a_status_is_given_once_and_logged_once() {
    on_every_database(async |mut fresh| {
        fresh.store.add_device(&device("d"), false).await.unwrap();
        fresh.log();
        assert!(fresh.store.set_status("d", Status::Revoked, Some("stolen")).await.unwrap());
        assert!(!fresh.store.set_status("d", Status::Revoked, None).await.unwrap());
        assert_eq!(fresh.log(), ["device 1"]);
        assert_eq!(fresh.store.device("d").await.unwrap().device.status_reason.as_deref(), Some("stolen"));
        assert!(!fresh.store.set_status("d", Status::Revoked, Some("sold")).await.unwrap());
        assert_eq!(fresh.store.device("d").await.unwrap().device.status_reason.as_deref(), Some("sold"));
        assert!(fresh.store.set_status("d", Status::Active, None).await.unwrap());
        assert_eq!(fresh.store.device("d").await.unwrap().device.status_reason, None);
    });
}

#[test]
fn a_role_is_granted_once_and_withdrawn_once() {
    on_every_database(async |mut fresh| {
        fresh.store.add_device(&device("d"), false).await.unwrap();
        fresh.store.add_role("r", None, false).await.unwrap();
        fresh.log();
        assert!(fresh.store.grant("d", "r").await.unwrap());
        assert!(!fresh.store.grant("d", "r").await.unwrap());
        assert_eq!(fresh.log(), ["device 1"]);
        assert!(fresh.store.withdraw("d", "r").await.unwrap());
        assert!(!fresh.store.withdraw("d", "r").await.unwrap());
        assert_eq!(fresh.log(), ["device 1"]);
    });
}

#[test]
fn the_same_rule_is_stored_once() {
    on_every_database(async |mut fresh| {
        fresh.store.add_role("r", None, false).await.unwrap();
        let (rule, added) = fresh.store.add_rule("r", &allow("publish", "a/%u")).await.unwrap();
        assert!(added);
        assert_eq!(fresh.store.add_rule("r", &allow("publish", "a/%u")).await.unwrap(), (rule.clone(), false));
        let other = NewRule { retain: Some(true), max_qos: Some(1), ..allow("publish", "a/%u") };
        let (other, added) = fresh.store.add_rule("r", &other).await.unwrap();
        assert!(added);
        assert_eq!((other.max_qos, other.retain), (Some(1), Some(true)));
        assert_eq!(fresh.store.remove_rule(rule.id).await.unwrap(), rule);
        let error = fresh.store.remove_rule(rule.id).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no rule `1`");
        assert_eq!(fresh.store.rules(Some("r")).await.unwrap(), fresh.store.rules(None).await.unwrap());
    });
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    on_every_database(async |mut fresh| {
        fresh.store.add_role("r", None, false).await.unwrap();
        let deny_with_qos = NewRule { effect: "deny".into(), max_qos: Some(0), ..allow("publish", "a") };
        for new in [allow("publish", "a/#/b"), allow("shout", "a"), deny_with_qos, allow("read", "")] {
            let error = fresh.store.add_rule("r", &new).await.unwrap_err();
            assert!(matches!(error, StoreError::Refused(_)), "{error}");
        }
        assert!(fresh.store.rules(None).await.unwrap().is_empty());
    });
}

#[test]
fn a_credential_is_found_by_its_kind_where_that_is_enough() {
    on_every_database(async |mut fresh| {
        fresh.store.add_device(&device("d"), false).await.unwrap();
        fresh.store.add_credential("d", &psk("old", "1")).await.unwrap();
        assert_eq!(fresh.store.revoke_credential("d", Kind::Psk, None).await.unwrap(), ("old".to_owned(), true));
        assert_eq!(fresh.store.revoke_credential("d", Kind::Psk, None).await.unwrap(), ("old".to_owned(), false));
        fresh.store.add_credential("d", &psk("new", "2")).await.unwrap();
        let error = fresh.store.find_credential("d", Kind::Psk, None).await.unwrap_err();
        assert_eq!(error.to_string(), "`d` has several credentials of kind psk: `new`, `old`");
        fresh.store.remove_credential("d", Kind::Psk, "old").await.unwrap();
        assert_eq!(fresh.store.find_credential("d", Kind::Psk, None).await.unwrap(), "new");
        let error = fresh.store.find_credential("d", Kind::X509(Field::Cn), None).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { noun: Noun::Credential, .. }), "{error}");
        assert_eq!(fresh.store.credentials(Some("d")).await.unwrap()[0].identity, "new");
    });
}

#[test]
fn a_certificate_has_a_credential_of_every_kind_and_an_issuer_where_it_is_pinned() {
    on_every_database(async |mut fresh| {
        fresh.store.add_device(&device("d"), false).await.unwrap();
        let (digest, pin) = ("a0".repeat(32), "1b".repeat(32));
        for field in [
            Field::Cn,
            Field::SanDns,
            Field::SanUri,
            Field::SanEmail,
            Field::SanIp,
            Field::Subject,
            Field::Serial,
            Field::Sha256,
            Field::SpkiSha256,
        ] {
            let new =
                NewCredential { issuer: Some(pin.clone()), ..NewCredential::new(digest.clone(), Proof::X509(field)) };
            let added = fresh.store.add_credential("d", &new).await.unwrap();
            assert_eq!(added.kind, field.kind().as_str());
            assert_eq!((added.identity.as_str(), added.issuer.as_deref()), (digest.as_str(), Some(pin.as_str())));
        }
        assert_eq!(fresh.store.credentials(Some("d")).await.unwrap().len(), 9);
        let revoked = fresh.store.revoke_credential("d", Kind::X509(Field::Sha256), None).await.unwrap();
        assert_eq!(revoked, (digest, true));
    });
}

#[test]
fn a_fingerprint_or_an_issuer_that_cannot_be_one_is_refused_in_words() {
    on_every_database(async |mut fresh| {
        fresh.store.add_device(&device("d"), false).await.unwrap();
        let good = "0a".repeat(32);
        for bad in ["", "0a", &"0A".repeat(32), &"0a:".repeat(32), &"0a".repeat(33), &"0g".repeat(32)] {
            for field in [Field::Sha256, Field::SpkiSha256] {
                let new = NewCredential::new(bad.to_owned(), Proof::X509(field));
                let error = fresh.store.add_credential("d", &new).await.unwrap_err();
                assert!(matches!(error, StoreError::Refused(_)), "{bad}: {error}");
                assert!(bad.is_empty() || error.to_string().starts_with("a fingerprint is"), "{bad}: {error}");
            }
            let new = NewCredential { issuer: Some(bad.to_owned()), ..cn("d") };
            let error = fresh.store.add_credential("d", &new).await.unwrap_err();
            assert!(error.to_string().starts_with("an issuer is known by"), "{bad}: {error}");
        }
        for bad in ["0a", "00", "A", "a:b", "x"] {
            let new = NewCredential::new(bad.to_owned(), Proof::X509(Field::Serial));
            let error = fresh.store.add_credential("d", &new).await.unwrap_err();
            assert!(error.to_string().starts_with("a serial number is"), "{bad}: {error}");
        }
        let new = NewCredential { issuer: Some(good), ..psk("d", "k") };
        let error = fresh.store.add_credential("d", &new).await.unwrap_err();
        assert_eq!(error.to_string(), "only a certificate has an issuer");
        assert!(fresh.store.credentials(None).await.unwrap().is_empty());
    });
}

#[test]
fn devices_are_listed_by_status_role_and_name() {
    on_every_database(async |mut fresh| {
        fresh.store.add_role("r", None, false).await.unwrap();
        for name in ["a1", "a2", "b1"] {
            fresh.store.add_device(&device(name), false).await.unwrap();
        }
        fresh.store.grant("a2", "r").await.unwrap();
        fresh.store.set_status("b1", Status::Suspended, None).await.unwrap();
        for (filter, expected) in [
            (DeviceFilter::default(), &["a1", "a2", "b1"][..]),
            (DeviceFilter { status: Some(Status::Suspended), ..DeviceFilter::default() }, &["b1"]),
            (DeviceFilter { role: Some("r".to_owned()), ..DeviceFilter::default() }, &["a2"]),
            (DeviceFilter { name: Some("?1".to_owned()), ..DeviceFilter::default() }, &["a1", "b1"]),
            (DeviceFilter { name: Some("c*".to_owned()), ..DeviceFilter::default() }, &[]),
        ] {
            let found = fresh.store.devices(&filter).await.unwrap();
            assert_eq!(found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn what_is_removed_takes_along_what_belongs_to_it() {
    on_every_database(async |mut fresh| {
        fresh.store.add_role("r", None, false).await.unwrap();
        fresh.store.add_rule("r", &allow("all", "#")).await.unwrap();
        let new = NewDevice { credentials: vec![cn("d")], roles: vec!["r".to_owned()], ..device("d") };
        fresh.store.add_device(&new, false).await.unwrap();
        fresh.store.remove_role("r").await.unwrap();
        assert!(fresh.store.rules(None).await.unwrap().is_empty());
        assert!(fresh.store.device("d").await.unwrap().roles.is_empty());
        fresh.store.remove_device("d").await.unwrap();
        assert!(fresh.store.credentials(None).await.unwrap().is_empty());
        assert_eq!(fresh.sql("SELECT count(*) FROM device_roles").unwrap(), "0");
    });
}

#[test]
fn the_status_counts_what_is_there() {
    on_every_database(async |mut fresh| {
        let before = fresh.store.status().await.unwrap();
        assert_eq!((before.schema, before.revision, before.key_id), (3, 0, None));
        fresh.store.add_device(&NewDevice { credentials: vec![cn("d")], ..device("d") }, false).await.unwrap();
        fresh.store.set_key_id("k").await.unwrap();
        fresh.store.set_key_id("another").await.unwrap();
        let after = fresh.store.status().await.unwrap();
        assert_eq!(after.revision, 2);
        assert_eq!(after.key_id.as_deref(), Some("k"));
        assert_eq!((after.counts.active_devices, after.counts.credentials), (1, 1));
    });
}

#[test]
fn a_password_is_replaced_as_a_whole_and_upgraded_only_where_it_is_still_there() {
    on_every_database(async |mut fresh| {
        let store = &mut fresh.store;
        store.add_device(&device("d1"), false).await.unwrap();
        let password = |hash: &str| HashedPassword(hash.to_owned());
        let new = NewCredential::new("u".to_owned(), Proof::Password(password("first")));
        let added = store.add_credential("d1", &new).await.unwrap();
        assert_eq!((added.kind.as_str(), added.identity.as_str()), ("password", "u"));
        assert!(!format!("{new:?}").contains("first"));
        let error = store.replace_password("d1", "v", &password("second")).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        store.replace_password("d1", "u", &password("second")).await.unwrap();
        assert!(!store.upgrade_password("u", "first", "third").await.unwrap(), "it was changed meanwhile");
        assert!(!store.upgrade_password("v", "second", "third").await.unwrap(), "another user name");
        assert!(store.upgrade_password("u", "second", "third").await.unwrap());
        let error = store.add_device(&device("u"), false).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_)), "a user name means one device: {error}");
        assert_eq!(fresh.sql("SELECT secret FROM credentials").unwrap(), "third");
    });
}
