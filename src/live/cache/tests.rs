use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::record::Record;
use super::*;
use crate::credential::psk::SealingKey;
use crate::policy::certificate::CertificateId;
use crate::policy::decision::{Action, Question};
use crate::policy::device::{Credential, CredentialKind, Device, DeviceStatus, Limit};
use crate::policy::role::{ClientIdBinding, Role, UnreadableRule};
use crate::policy::rule::{Actions, ClientIdPattern, Effect, Rule, RuleTopic};
use crate::policy::snapshot::{Proof, Snapshot};

const NOW: UnixMillis = 1_800_000_000_000;

fn database() -> Database {
    Database::from(Path::new("/srv/fleet.db"))
}

fn cache(directory: &tempfile::TempDir) -> CacheFile {
    cache_with(directory, "5")
}

fn cache_with(directory: &tempfile::TempDir, digit: &str) -> CacheFile {
    let key = SealingKey::from_text(&digit.repeat(64)).unwrap().for_caches();
    CacheFile { path: directory.path().join("warden.cache"), key, max_age: Duration::from_hours(1) }
}

fn write(cache: &CacheFile, snapshot: &Snapshot, confirmed: UnixMillis) -> crate::credential::cache::CacheId {
    file::write(&cache.path, &cache.key, (&database().to_string(), snapshot, confirmed), || true).unwrap()
}

fn device(id: i64, name: &str) -> Device {
    Device {
        id,
        name: name.into(),
        status: DeviceStatus::Active,
        client_id: ClientIdBinding::Any,
        attributes: [("site", "north")].into_iter().collect(),
        credentials: [Credential {
            kind: CredentialKind::Psk,
            identity: name.into(),
            secret: Some("sealed".into()),
            revoked: false,
            limits: Limit { not_after: Some(4_000_000_000), ..Limit::default() }.into(),
        }]
        .into(),
        roles: [1].into(),
        unreadable: None,
    }
}

fn rule(id: i64, effect: Effect, topic: &str) -> Rule {
    let topic = RuleTopic::parse(topic).unwrap();
    Rule { id, effect, actions: Actions::READ, topic, max_qos: Some(1), retain: None }
}

fn small() -> Snapshot {
    let role = Role::compile(1, "sensor", ClientIdBinding::Any, vec![Ok(rule(1, Effect::Allow, "devices/%u/#"))]);
    let snapshot = Snapshot::default().next(7, [(1, Some(device(1, "device-001")))], [(1, Some(role))]);
    let mut revocations = snapshot.revocations().clone();
    revocations.change_rows([(3, Some(CertificateId([9; 16])))]);
    snapshot.with_revocations(revocations)
}

/// The same policy, made from a cache.
fn again(everything: Everything) -> Snapshot {
    let snapshot = Snapshot::whole(everything.revision, everything.devices, everything.roles);
    let mut revocations = snapshot.revocations().clone();
    revocations.change_rows(everything.certificates.into_iter().map(|(number, id)| (number, Some(id))));
    snapshot.with_revocations(revocations)
}

fn assert_same(one: &Snapshot, other: &Snapshot) {
    assert_eq!(one.revision(), other.revision());
    assert_eq!((one.device_count(), one.role_count()), (other.device_count(), other.role_count()));
    for device in one.devices() {
        assert_eq!(other.device(device.id), Some(device));
    }
    for role in one.roles() {
        assert_eq!(Record::from(&**other.role(role.id()).unwrap()), Record::from(&**role));
    }
    let rows = |snapshot: &Snapshot| {
        let mut rows: Vec<_> = snapshot.revocations().rows().collect();
        rows.sort_unstable();
        rows
    };
    assert_eq!(rows(one), rows(other));
}

#[test]
fn what_was_written_is_read_again_with_the_age_of_its_confirmation() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let id = write(&cache, &small(), NOW - 5_000);
    let cached = cache.read(&database(), NOW).unwrap();
    assert_eq!(cached.age, Duration::from_secs(5));
    assert_same(&small(), &again(cached.everything));
    // Confirmed once more, it is younger; what confirms another cache says nothing of this one.
    file::write_confirmation(&cache.path, &cache.key, &id, NOW - 1_000).unwrap();
    assert_eq!(cache.read(&database(), NOW).unwrap().age, Duration::from_secs(1));
    file::write_confirmation(&cache.path, &cache.key, &[0; 19], NOW).unwrap();
    assert_eq!(cache.read(&database(), NOW).unwrap().age, Duration::from_secs(5));
    for file in [cache.path.clone(), file::confirmation(&cache.path)] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left behind");
}

#[test]
fn no_byte_can_be_changed_taken_away_or_added() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let id = write(&cache, &small(), NOW);
    file::write_confirmation(&cache.path, &cache.key, &id, NOW).unwrap();
    for path in [cache.path.clone(), file::confirmation(&cache.path)] {
        let sound = fs::read(&path).unwrap();
        for index in 0..sound.len() {
            let mut altered = sound.clone();
            altered[index] ^= 0x20;
            fs::write(&path, &altered).unwrap();
            assert!(cache.read(&database(), NOW).is_err(), "byte {index} of {}", path.display());
            fs::write(&path, &sound[..index]).unwrap();
            assert!(cache.read(&database(), NOW).is_err(), "{index} bytes of {}", path.display());
        }
        for more in [&b"\0"[..], &[0; 20], &sound] {
            fs::write(&path, [&sound, more].concat()).unwrap();
            assert!(cache.read(&database(), NOW).is_err(), "{} more bytes", more.len());
        }
        fs::write(&path, &sound).unwrap();
        assert!(cache.read(&database(), NOW).is_ok());
    }
}

#[test]
fn a_cache_that_is_old_of_the_future_or_of_somebody_else_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let refused = |database: &Database, now| cache.read(database, now).unwrap_err().to_string();
    assert!(refused(&database(), NOW).contains("there is no cache"));
    write(&cache, &small(), NOW);
    let hour = 3_600_000;
    assert_eq!(cache.read(&database(), NOW + hour).unwrap().age, cache.max_age);
    let too_old = refused(&database(), NOW + hour + 1_500);
    assert!(too_old.contains("confirmed it 1h 1s ago, and `cache_max_age` is 1h"), "{too_old}");
    assert_eq!(cache.read(&database(), NOW - 60_000).unwrap().age, Duration::ZERO);
    assert!(refused(&database(), NOW - 61_000).contains("was confirmed 1m 1s in the future"));
    let other = Database::from(Path::new("/srv/other.db"));
    assert!(refused(&other, NOW).contains("of another database, `/srv/fleet.db`"));
    let foreign = cache_with(&directory, "6").read(&database(), NOW).unwrap_err().to_string();
    assert!(foreign.contains("is sealed with the key"), "{foreign}");
    let mut newer = fs::read(&cache.path).unwrap();
    newer[23] = 3;
    fs::write(&cache.path, newer).unwrap();
    assert!(refused(&database(), NOW).contains("has format 3"));
    for text in ["", "device-001", "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ\n"] {
        fs::write(&cache.path, text).unwrap();
        assert!(refused(&database(), NOW).contains("is not a cache"));
    }
}

#[test]
fn what_is_no_cache_is_never_replaced_and_a_writing_that_is_stopped_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let text = database().to_string();
    fs::write(&cache.path, "the key to everything").unwrap();
    let refused = file::write(&cache.path, &cache.key, (&text, &small(), NOW), || true).unwrap_err();
    assert!(matches!(refused, CacheError::NotOurs(_)), "{refused}");
    assert_eq!(fs::read(&cache.path).unwrap(), b"the key to everything");
    fs::remove_file(&cache.path).unwrap();
    write(&cache, &small(), NOW);
    let before = fs::read(&cache.path).unwrap();
    let stopped = file::write(&cache.path, &cache.key, (&text, &small(), NOW), || false).unwrap_err();
    assert!(matches!(stopped, CacheError::Interrupted(_)), "{stopped}");
    assert_eq!(fs::read(&cache.path).unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
}

/// A broker that starts without its database must not take what a device begins its life with for more than it is.
#[test]
fn a_credential_to_begin_with_gives_no_more_when_it_comes_out_of_a_cache() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let topic = |text| vec![Ok(rule(1, Effect::Allow, text))];
    let role = |id, name, text| (id, Some(Role::compile(id, name, ClientIdBinding::Any, topic(text))));
    let beginning = Credential {
        identity: "begin".into(),
        limits: Limit { role: Some(2), ..Limit::clone(&device(1, "d").credentials[0].limits) }.into(),
        ..device(1, "d").credentials[0].clone()
    };
    let devices = [Device { credentials: [beginning].into(), ..device(1, "d") }, device(2, "e")];
    let devices = devices.into_iter().map(|device| (device.id, Some(device)));
    let snapshot = Snapshot::default().next(7, devices, [role(1, "sensor", "own/%u"), role(2, "begin", "begin/%u")]);
    write(&cache, &snapshot, NOW);
    let read = again(cache.read(&database(), NOW).unwrap().everything);
    let may = |identity, topic| {
        let present = read.admit(Proof::Identity(CredentialKind::Psk, identity), None, NOW / 1000).unwrap();
        let question = Question { action: Action::Subscribe, topic, qos: 0, retain: false };
        read.judge(present.device, present.rights, None, &question).allowed
    };
    assert!(may("begin", "begin/d"));
    assert!(!may("begin", "own/d"));
    assert!(may("e", "own/e"));
    assert!(!may("e", "begin/e"));
}

/// What lies on the shelf when its keeper goes, or soon after it was put there, can be read.
#[test]
fn the_keeper_writes_what_is_put_there_and_at_the_end_when_it_was_confirmed() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Arc::new(Shelf::default());
    let keeper = Keeper::start(cache(&directory), database().to_string(), Arc::clone(&shelf)).unwrap();
    shelf.put(Arc::new(small()), NOW - 9_000);
    let deadline = Instant::now() + Duration::from_secs(20);
    while cache(&directory).read(&database(), NOW).is_err() {
        assert!(Instant::now() < deadline);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(cache(&directory).read(&database(), NOW).unwrap().age, Duration::from_secs(9));
    shelf.confirm(NOW - 1_000);
    drop(keeper);
    assert_eq!(cache(&directory).read(&database(), NOW).unwrap().age, Duration::from_secs(1));
}

#[test]
fn a_cache_of_many_pieces_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let devices = (1..=5_000).map(|id| (id, Some(device(id, &format!("device-{id:06}")))));
    let snapshot = Snapshot::default().next(1, devices, []);
    write(&cache, &snapshot, NOW);
    assert!(fs::metadata(&cache.path).unwrap().len() > 4 * 64 * 1024, "it has several pieces");
    assert_same(&snapshot, &again(cache.read(&database(), NOW).unwrap().everything));
}

fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof!["[a-d]{1,2}", "\\PC{0,40}"].prop_map(Into::into)
}

fn client_id() -> impl Strategy<Value = ClientIdBinding> {
    prop_oneof![
        Just(ClientIdBinding::Any),
        Just(ClientIdBinding::Unreadable),
        prop::sample::select(vec!["%u*", "a*b*", "%{site}-%u"])
            .prop_map(|pattern| ClientIdBinding::Pattern(ClientIdPattern::parse(pattern).unwrap())),
    ]
}

fn credential() -> impl Strategy<Value = Credential> {
    (
        prop::sample::select(CredentialKind::ALL.to_vec()),
        text(),
        prop::option::of(text()),
        prop::option::of(text()),
        any::<bool>(),
        any::<(Option<i64>, Option<i64>, Option<i64>)>(),
    )
        .prop_map(|(kind, identity, secret, issuer, revoked, (role, not_before, not_after))| Credential {
            kind,
            identity: identity.into(),
            secret,
            revoked,
            limits: Limit { issuer, role, not_before, not_after }.into(),
        })
}

fn any_device() -> impl Strategy<Value = Device> {
    (
        text(),
        prop::sample::select(vec![DeviceStatus::Active, DeviceStatus::Suspended, DeviceStatus::Revoked]),
        client_id(),
        prop::collection::vec((text(), text()), 0..3),
        prop::collection::vec(credential(), 0..4),
        prop::collection::vec(any::<i64>(), 0..3),
        prop::option::weighted(0.1, text()),
    )
        .prop_map(|(name, status, client_id, attributes, credentials, roles, unreadable)| Device {
            id: 0,
            name: name.into(),
            status,
            client_id,
            attributes: attributes.into_iter().collect(),
            credentials: credentials.into(),
            roles: roles.into(),
            unreadable,
        })
}

fn any_rule() -> impl Strategy<Value = Result<Rule, UnreadableRule>> {
    let topics = prop::sample::select(vec!["a/%u/#", "+/x", "$SYS/%%/%{site}", "é/%c", "#"]);
    let actions = prop::sample::select(vec!["publish", "subscribe", "receive", "read", "all"]);
    let readable = (any::<i64>(), any::<bool>(), actions, topics, prop::option::of(0..=2_u8), any::<Option<bool>>())
        .prop_map(|(id, allow, actions, topic, max_qos, retain)| {
            let effect = if allow { Effect::Allow } else { Effect::Deny };
            let (actions, topic) = (actions.parse().unwrap(), RuleTopic::parse(topic).unwrap());
            Ok(Rule { id, effect, actions, topic, max_qos, retain })
        });
    let unreadable =
        (any::<i64>(), any::<bool>(), text()).prop_map(|(id, may_deny, why)| Err(UnreadableRule { id, may_deny, why }));
    prop_oneof![4 => readable, 1 => unreadable]
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let roles = prop::collection::vec((text(), client_id(), prop::collection::vec(any_rule(), 0..5)), 0..4);
    let devices = prop::collection::vec(any_device(), 0..12);
    let certificates = prop::collection::vec(any::<(i64, [u8; 16])>(), 0..5);
    (any::<i64>(), roles, devices, certificates).prop_map(|(revision, roles, devices, certificates)| {
        let roles =
            (1..).zip(roles).map(|(id, (name, client_id, rows))| (id, Some(Role::compile(id, &name, client_id, rows))));
        let devices = (1..).zip(devices).map(|(id, device)| (id, Some(Device { id, ..device })));
        let snapshot = Snapshot::default().next(revision, devices, roles);
        let mut revocations = snapshot.revocations().clone();
        revocations.change_rows(certificates.into_iter().map(|(number, id)| (number, Some(CertificateId(id)))));
        snapshot.with_revocations(revocations)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whoever clashes with whom, too: what was refused is refused again, and nobody else.
    #[test]
    fn any_policy_comes_out_of_a_cache_as_it_went_in(snapshot in any_snapshot()) {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory);
        write(&cache, &snapshot, NOW);
        assert_same(&snapshot, &again(cache.read(&database(), NOW).unwrap().everything));
    }

    /// Only the holder of the key could write these; still they do no harm.
    #[test]
    fn bytes_that_no_release_writes_are_refused_or_understood(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut everything = Everything::default();
        let _ = file::add_records(&mut everything, &bytes);
        prop_assert!(everything.devices.len() + everything.roles.len() + everything.certificates.len() <= bytes.len());
    }

    #[test]
    fn records_that_are_damaged_in_one_place_are_refused_or_understood(
        snapshot in any_snapshot(), place in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = Vec::new();
        for record in file::records(&snapshot) {
            postcard::to_io(&record, &mut bytes).unwrap();
        }
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let mut everything = Everything::default();
        let _ = file::add_records(&mut everything, &bytes);
        again(everything);
    }
}
