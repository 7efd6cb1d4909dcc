//! What one question costs.
#![expect(clippy::expect_used, reason = "a bench whose own rules make no sense has nothing to measure")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mosquitto_warden::policy::certificate::{Certificate, CertificateId};
use mosquitto_warden::policy::decision::{Action, Question};
use mosquitto_warden::policy::device::{Credential, CredentialKind, Device, DeviceId, DeviceStatus, Limits};
use mosquitto_warden::policy::revocation::Revocations;
use mosquitto_warden::policy::role::{ClientIdBinding, Role, judge};
use mosquitto_warden::policy::rule::{Attributes, Names, Rule, RuleTopic};
use mosquitto_warden::policy::snapshot::{Proof, Snapshot};

fn rule(id: i64, effect: &str, actions: &str, topic: &str) -> Rule {
    Rule {
        id,
        effect: effect.parse().expect("an effect"),
        actions: actions.parse().expect("actions"),
        topic: RuleTopic::parse(topic).expect("a topic"),
        max_qos: None,
        retain: None,
    }
}

/// A role for a fleet of sensors, filled up to `size` rules with literal topics, a deny among ten allows.
fn sensor(size: i64) -> Role {
    let mut rules = vec![
        rule(1, "allow", "publish", "site/dev/%u/#"),
        rule(2, "allow", "read", "site/cmd/%u/+"),
        rule(3, "deny", "publish", "site/dev/+/secret"),
        rule(4, "allow", "read", "site/all"),
        rule(5, "allow", "read", "site/all/+/#"),
    ];
    for id in 6..=size {
        let effect = if id % 10 == 0 { "deny" } else { "allow" };
        rules.push(rule(id, effect, "all", &format!("site/line-{}/cell-{id}/state", id % 100)));
    }
    Role::compile(1, "sensor", ClientIdBinding::Any, rules.into_iter().map(Ok).collect())
}

/// What is asked in every group: a name, the question, and whether it is allowed in [`sensor`].
fn questions() -> [(&'static str, Question<'static>, bool); 9] {
    let ask = |action, topic| Question { action, topic, qos: 1, retain: false };
    [
        ("publish-allowed", ask(Action::Publish, "site/dev/device-0001234/up"), true),
        ("publish-literal", ask(Action::Publish, "site/line-7/cell-7/state"), true),
        ("publish-denied", ask(Action::Publish, "site/dev/device-0001234/secret"), false),
        ("publish-refused", ask(Action::Publish, "site/dev/device-0004321/up"), false),
        ("receive-allowed", ask(Action::Receive, "site/cmd/device-0001234/reboot"), true),
        ("receive-refused", ask(Action::Receive, "site/cmd/device-0004321/reboot"), false),
        ("subscribe-allowed", ask(Action::Subscribe, "site/cmd/device-0001234/+"), true),
        ("subscribe-together", ask(Action::Subscribe, "site/all/#"), true),
        ("subscribe-refused", ask(Action::Subscribe, "site/#"), false),
    ]
}

fn acl_check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acl_check");
    let attributes = Attributes::default();
    let names = Names { device: "device-0001234", client_id: Some("device-0001234"), attributes: &attributes };
    for size in [10, 100, 10_000] {
        let roles = [sensor(size)];
        for (name, question, allowed) in questions() {
            assert_eq!(judge(roles.iter(), &names, &question).allowed, allowed, "{name} of {size}");
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| judge(black_box(&roles).iter(), black_box(&names), black_box(&question)));
            });
        }
    }
    // A device with several roles, of which the last one decides.
    let roles = [sensor(100), sensor(100), sensor(100)];
    for (name, question, _) in questions() {
        group.bench_function(BenchmarkId::new(name, "three-roles"), |bencher| {
            bencher.iter(|| judge(black_box(&roles).iter(), black_box(&names), black_box(&question)));
        });
    }
    group.finish();
}

/// A fleet of `size` devices with a certificate each, and one role.
fn fleet(size: i64) -> Snapshot {
    Snapshot::default().next(1, (0..size).map(|id| (id, Some(device(id)))), [(1, Some(sensor(10)))])
}

fn credential(name: &str) -> Credential {
    Credential {
        kind: CredentialKind::X509Cn,
        identity: name.into(),
        secret: None,
        revoked: false,
        limits: Limits::default(),
    }
}

fn device(id: DeviceId) -> Device {
    let name: Box<str> = format!("device-{id:07}").into();
    let certificate = credential(&name);
    Device {
        id,
        name: name.into(),
        status: DeviceStatus::Active,
        client_id: ClientIdBinding::Any,
        attributes: Attributes::default(),
        credentials: [certificate].into(),
        roles: [1].into(),
        unreadable: None,
    }
}

/// A whole access check: who is it, may it be here, may it do this. A device and its topic at random; by a
/// certificate, also where a hundred thousand others are revoked and some are known by their fingerprints.
fn fleet_check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fleet_check");
    for size in [1_000, 100_000] {
        let asked: Vec<(Certificate, String)> = (0..65_536)
            .map(|n: i64| {
                let name = format!("device-{:07}", (n * 7_919) % size);
                let topic = format!("site/dev/{name}/up");
                (certificate(&name, n), topic)
            })
            .collect();
        let plain = fleet(size);
        let mut revocations = Revocations::default();
        revocations.change_rows((0..100_000).map(|n| (n, Some(certificate("", -1 - n).id))));
        let fingerprint = Credential { kind: CredentialKind::X509Sha256, ..credential("none of them") };
        let pinned = Device { credentials: [fingerprint].into(), ..device(size) };
        let with_revocations = plain.next(2, [(size, Some(pinned))], []).with_revocations(revocations);
        for (name, snapshot) in [("publish", plain), ("publish-among-revocations", with_revocations)] {
            let mut next = asked.iter().cycle();
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    let (certificate, topic) = next.next().expect("it never ends");
                    let client_id = Some(&*certificate.identity);
                    let present =
                        snapshot.admit(Proof::Certificate(certificate), client_id, 0).expect("it is admitted");
                    let question = Question { action: Action::Publish, topic, qos: 1, retain: false };
                    assert!(snapshot.judge(present.device, present.rights, client_id, &question).allowed);
                });
            });
        }
    }
    group.finish();
}

fn certificate(name: &str, number: i64) -> Certificate {
    Certificate {
        id: CertificateId(i128::from(number).to_be_bytes()),
        kind: CredentialKind::X509Cn,
        identity: name.into(),
        common_name: Some(name.into()),
        sha256: format!("{number:064x}").into(),
        spki_sha256: format!("{number:064x}").into(),
        authorities: [[7; 32]].into(),
        not_before: 0,
        not_after: i64::MAX,
    }
}

/// One row changed: the next version of a fleet in which one device is revoked.
fn snapshot_update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot_update");
    for size in [1_000, 100_000] {
        let snapshot = fleet(size);
        let mut ids = (0..size).map(|n| (n * 7_919) % size).cycle();
        group.bench_function(BenchmarkId::new("one-device", size), |bencher| {
            bencher.iter(|| {
                let id = ids.next().expect("it never ends");
                let revoked = Device { status: DeviceStatus::Revoked, ..device(id) };
                black_box(snapshot.next(2, [(id, Some(revoked))], []))
            });
        });
        group.bench_function(BenchmarkId::new("first-load", size), |bencher| {
            bencher.iter_with_large_drop(|| fleet(black_box(size)));
        });
    }
    group.finish();
}

criterion_group!(benches, acl_check, fleet_check, snapshot_update);
criterion_main!(benches);
