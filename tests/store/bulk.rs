//! Many devices and whole roles in one transaction, and the tables of another plugin.

use std::collections::BTreeSet;

use mosquitto_warden::credential::certificate::Field;
use mosquitto_warden::policy::device::CredentialKind;
use mosquitto_warden::store::bulk::{Added, Entry, EntryCredential, RoleOutcome, RuleWords};
use mosquitto_warden::store::credential::{NewCredential, Proof};
use mosquitto_warden::store::device::{NewDevice, Status};
use mosquitto_warden::store::ending::Endings;
use mosquitto_warden::store::{Store, go_auth};

use crate::{Fresh, on_every_database};

fn credential(kind: CredentialKind, identity: &str) -> EntryCredential {
    let secret = (kind != CredentialKind::X509Cn).then(|| format!("secret of {identity}"));
    let digest = (kind == CredentialKind::Psk).then(|| format!("digest of {identity}"));
    EntryCredential { kind, identity: identity.to_owned(), secret, digest }
}

fn entry(name: &str, credentials: Vec<EntryCredential>, roles: &[&str]) -> Entry {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Entry { name: name.to_owned(), credentials, roles, ..Entry::default() }
}

fn rules(rules: &[(&str, &str, &str)]) -> BTreeSet<RuleWords> {
    rules.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect()
}

/// Adds a batch, or as much of it as can be; what was added, and the conflicts of each.
async fn add(store: &mut Store, batch: &[Entry]) -> (Added, Vec<String>) {
    let mut bulk = store.bulk().await.unwrap();
    let standings = bulk.look(batch).await.unwrap();
    let would = standings.iter().fold(Added::default(), |mut sum, it| {
        sum += it.would_add();
        sum
    });
    let added = bulk.add(batch, &standings).await.unwrap();
    assert_eq!(added, would);
    bulk.commit().await.unwrap();
    (added, standings.into_iter().map(|it| it.conflicts.join("; ")).collect())
}

#[test]
fn a_batch_is_added_whole_and_once() {
    on_every_database(async |mut fresh| {
        fresh.store.add_role("sensor", None, false).await.unwrap();
        let kinds = [CredentialKind::X509Cn, CredentialKind::Psk, CredentialKind::Password];
        let batch: Vec<Entry> = (0..1200)
            .map(|number| {
                let name = format!("d-{number}");
                let credentials = kinds.map(|kind| credential(kind, &name)).into();
                let attributes = [("site".to_owned(), "oslo".to_owned())].into();
                Entry { client_id: Some("%u-*".to_owned()), attributes, ..entry(&name, credentials, &["sensor"]) }
            })
            .collect();
        let (added, conflicts) = add(&mut fresh.store, &batch).await;
        assert_eq!(added, Added { devices: 1200, credentials: 3600, grants: 1200 });
        assert!(conflicts.iter().all(String::is_empty));
        let record = fresh.store.device("d-1199").await.unwrap();
        assert_eq!(
            (record.device.client_id.as_deref(), record.roles.len(), record.credentials.len()),
            (Some("%u-*"), 1, 3)
        );
        assert_eq!(record.device.attributes.replace(' ', ""), r#"{"site":"oslo"}"#);
        fresh.log();
        assert_eq!(add(&mut fresh.store, &batch).await.0, Added::default());
        assert!(fresh.log().is_empty(), "what is there already is not touched");
        // Every device is in the log, so that no plugin misses one.
        let more = [entry("new", vec![credential(CredentialKind::X509Cn, "new")], &[])];
        add(&mut fresh.store, &more).await;
        assert_eq!(fresh.log().len(), 1);
    });
}

#[test]
fn what_stands_against_an_entry_is_told_and_costs_no_other() {
    on_every_database(async |mut fresh| {
        use CredentialKind::{Password, Psk, X509Cn};
        let there = entry("there", vec![credential(X509Cn, "cn"), credential(Psk, "p")], &[]);
        add(&mut fresh.store, &[there]).await;
        let mut same_key = credential(Psk, "other");
        same_key.digest = Some("digest of p".to_owned());
        let batch = [
            entry("good", vec![credential(X509Cn, "good")], &[]),
            entry("a", vec![credential(Password, "cn")], &[]),
            entry("cn", vec![], &[]),
            entry("b", vec![credential(X509Cn, "there")], &[]),
            entry("c", vec![same_key], &[]),
            entry("d", vec![], &["no-role"]),
            entry("there", vec![credential(Psk, "p"), credential(Password, "there")], &[]),
        ];
        let (added, conflicts) = add(&mut fresh.store, &batch).await;
        assert_eq!(added, Added { devices: 1, credentials: 2, grants: 0 });
        for (conflict, expected) in conflicts.iter().zip([
            "",
            "`cn` is an identity of device `there`",
            "`cn` is an identity of device `there`",
            "there is a device whose name is `there`",
            "the key of `other` belongs to `p` of device `there` already",
            "there is no role `no-role`",
            "",
        ]) {
            assert!(conflict.starts_with(expected) && conflict.is_empty() == expected.is_empty(), "{conflict}");
        }
    });
}

#[test]
fn what_is_not_committed_never_was() {
    on_every_database(async |mut fresh| {
        let batch = [entry("a", vec![credential(CredentialKind::Psk, "a")], &["new"])];
        let mut bulk = fresh.store.bulk().await.unwrap();
        assert_eq!(bulk.role("new", &rules(&[("allow", "read", "a")]), false).await.unwrap(), RoleOutcome::Added);
        let standings = bulk.look(&batch).await.unwrap();
        assert_eq!(bulk.add(&batch, &standings).await.unwrap().devices, 1);
        drop(bulk);
        assert!(fresh.store.device("a").await.is_err());
        assert!(fresh.store.roles().await.unwrap().is_empty());
    });
}

#[test]
fn a_role_has_exactly_the_rules_that_it_shall_have() {
    on_every_database(async |mut fresh| {
        for name in ["a", "b"] {
            fresh.store.add_device(&NewDevice { name: name.to_owned(), ..NewDevice::default() }, false).await.unwrap();
        }
        let (one, other) =
            (rules(&[("allow", "read", "x"), ("deny", "all", "y/#")]), rules(&[("allow", "publish", "z")]));
        let mut bulk = fresh.store.bulk().await.unwrap();
        for (wanted, replace, outcome) in [
            (&one, false, RoleOutcome::Added),
            (&one, false, RoleOutcome::Unchanged),
            (&one, true, RoleOutcome::Unchanged),
            (&other, false, RoleOutcome::Conflict),
            (&other, true, RoleOutcome::Replaced),
            (&other, false, RoleOutcome::Unchanged),
        ] {
            assert_eq!(bulk.role("r", wanted, replace).await.unwrap(), outcome);
        }
        assert_eq!((bulk.grant_to_all("r").await.unwrap(), bulk.grant_to_all("r").await.unwrap()), (2, 0));
        bulk.commit().await.unwrap();
        let role = fresh.store.role("r").await.unwrap();
        assert_eq!((role.role.devices, role.rules.len(), &*role.rules[0].topic), (2, 1, "z"));
        assert_eq!(fresh.store.policy().await.unwrap().0.device_count(), 2);
    });
}

#[test]
fn devices_are_found_by_attribute_and_revoked_together() {
    on_every_database(async |mut fresh| {
        let site = |name: &str, site: &str| {
            let attributes = [("site".to_owned(), site.to_owned())].into();
            Entry { attributes, ..entry(name, vec![], &[]) }
        };
        let suspended = Entry { suspended: Some("why".to_owned()), ..site("c", "oslo") };
        add(&mut fresh.store, &[site("a", "oslo"), site("b", "bergen"), suspended]).await;
        let names = fresh.store.devices_with("site", "oslo").await.unwrap();
        assert_eq!(names, ["a", "c"]);
        assert!(fresh.store.devices_with("site", "osl").await.unwrap().is_empty());
        let new = NewCredential::new("a".to_owned(), Proof::X509(Field::Cn));
        fresh.store.add_credential("a", &new).await.unwrap();
        for (devices, credentials) in [(2, 1), (0, 0)] {
            let asked = fresh.store.whether_ended(&names).await.unwrap();
            assert_eq!((asked["a"], asked["c"]), (devices == 0, devices == 0));
            let endings = fresh.store.end_devices(&names, Some("lost"), 0).await.unwrap();
            assert_eq!(endings, Endings { devices, credentials, certificates: 0 });
        }
        // Let in again, or given something that would let it in, a device has not ended.
        fresh.store.set_status("c", Status::Active, None).await.unwrap();
        fresh.store.add_credential("a", &NewCredential::new("a2".to_owned(), Proof::X509(Field::Cn))).await.unwrap();
        let asked = fresh.store.whether_ended(&names).await.unwrap();
        assert_eq!((asked["a"], asked["c"]), (false, false));
        fresh.store.end_devices(&names, Some("lost"), 0).await.unwrap();
        let record = fresh.store.device("c").await.unwrap();
        assert_eq!((&*record.device.status, record.device.status_reason.as_deref()), ("revoked", Some("lost")));
        assert_eq!(fresh.store.device("b").await.unwrap().device.status, "active");
    });
}

/// The tables as they are documented, beside our own, in each kind of database.
#[test]
fn the_tables_of_go_auth_are_read_wherever_they_are() {
    on_every_database(async |fresh: Fresh| {
        for statement in [
            "create table test_user (id integer primary key, username varchar(100) not null, \
             password_hash varchar(200) not null, is_admin boolean not null)",
            "create table test_acl (id integer primary key, test_user_id integer not null references test_user (id), \
             topic varchar(200) not null, rw int not null)",
            "insert into test_user values (1, 'a', 'PBKDF2$sha512$1$a$b', false), (2, 'root', '$2a$10$x', true)",
            "insert into test_acl values (1, 1, 'a/%u', 3), (2, 1, 'b', 4)",
        ] {
            fresh.sql(statement).unwrap();
        }
        let (users, acls) = go_auth::read(&fresh.database, go_auth::USERS, go_auth::ACLS).await.unwrap();
        let user = |name: &str, hash: &str, admin| (name.to_owned(), hash.to_owned(), admin);
        assert_eq!(users, [user("a", "PBKDF2$sha512$1$a$b", false), user("root", "$2a$10$x", true)]);
        assert_eq!(acls, [("a".to_owned(), "a/%u".to_owned(), 3), ("a".to_owned(), "b".to_owned(), 4)]);
        let error = go_auth::read(&fresh.database, "SELECT username FROM test_user", go_auth::ACLS).await.unwrap_err();
        assert!(error.to_string().contains("password_hash"), "{error}");
    });
}
