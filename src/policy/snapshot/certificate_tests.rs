//! Who may be here by a certificate.

use super::tests::{NOW, credential, device, snapshot};
use super::*;
use crate::policy::certificate::CertificateId;
use crate::policy::device::{DeviceStatus, Limit};

const CN: CredentialKind = CredentialKind::X509Cn;
const SHA256: CredentialKind = CredentialKind::X509Sha256;
const SPKI: CredentialKind = CredentialKind::X509SpkiSha256;
const CA: [u8; 32] = [0xca; 32];

fn certificate(name: &str, serial: u8) -> Certificate {
    Certificate {
        id: CertificateId([serial; 16]),
        kind: CN,
        identity: name.into(),
        common_name: Some(name.into()),
        sha256: format!("sha256 of {serial}").into(),
        spki_sha256: "the key".into(),
        authorities: [CA].into(),
        not_before: NOW - 10,
        not_after: NOW + 10,
    }
}

fn reason(snapshot: &Snapshot, certificate: &Certificate) -> Option<Reason> {
    snapshot.present(Proof::Certificate(certificate), NOW).err().map(|refusal| refusal.reason)
}

#[test]
fn a_certificate_is_known_by_its_identity_and_by_nothing_else() {
    let all = snapshot(vec![device(1, "a", vec![credential(CN, "a-cn")])], vec![]);
    assert_eq!(reason(&all, &certificate("a-cn", 1)), None);
    assert_eq!(reason(&all, &certificate("a", 1)), Some(Reason::UnknownIdentity), "the name of the device");
    let other_kind = Certificate { kind: CredentialKind::X509SanDns, ..certificate("a-cn", 1) };
    assert_eq!(reason(&all, &other_kind), Some(Reason::UnknownIdentity));
}

#[test]
fn one_certificate_is_revoked_by_its_fingerprint_and_its_successor_is_not() {
    let revoked = Credential { revoked: true, ..credential(SHA256, "sha256 of 1") };
    let all = snapshot(vec![device(1, "a", vec![credential(CN, "a"), revoked])], vec![]);
    assert_eq!(reason(&all, &certificate("a", 1)), Some(Reason::CredentialRevoked));
    assert_eq!(reason(&all, &certificate("a", 2)), None);
    let revoked = Credential { revoked: true, ..credential(SPKI, "the key") };
    let all = snapshot(vec![device(1, "a", vec![credential(CN, "a"), revoked])], vec![]);
    for serial in [1, 2] {
        assert_eq!(reason(&all, &certificate("a", serial)), Some(Reason::CredentialRevoked), "the same key");
    }
}

#[test]
fn a_fingerprint_speaks_against_a_certificate_whoever_it_belongs_to() {
    let revoked = Credential { revoked: true, ..credential(SHA256, "sha256 of 1") };
    let devices = vec![
        device(1, "a", vec![credential(CN, "a")]),
        device(2, "b", vec![revoked, credential(SHA256, "sha256 of 2")]),
    ];
    let all = snapshot(devices, vec![]);
    assert_eq!(reason(&all, &certificate("a", 1)), Some(Reason::CredentialRevoked));
    assert_eq!(reason(&all, &certificate("a", 2)), Some(Reason::AmbiguousIdentity));
    assert_eq!(reason(&all, &certificate("nobody", 1)), Some(Reason::CredentialRevoked), "also of nobody");
    assert_eq!(reason(&all, &certificate("a", 3)), None);
}

#[test]
fn fingerprints_are_looked_for_as_long_as_there_are_any() {
    let revoked = || Credential { revoked: true, ..credential(SHA256, "sha256 of 1") };
    let with = device(1, "a", vec![credential(CN, "a"), revoked()]);
    let without = device(1, "a", vec![credential(CN, "a")]);
    let mut all = snapshot(vec![without.clone()], vec![]);
    for (device, expected) in
        [(&with, Some(Reason::CredentialRevoked)), (&without, None), (&with, Some(Reason::CredentialRevoked))]
    {
        all = all.next(2, [(1, Some(device.clone()))], []);
        assert_eq!(reason(&all, &certificate("a", 1)), expected);
    }
}

#[test]
fn a_pinned_issuer_must_be_in_the_chain() {
    let pinned = |issuer: [u8; 32]| {
        let digits = match issuer {
            CA => "ca",
            _ => "cb",
        };
        let credential = Credential {
            limits: Limit { issuer: Some(digits.repeat(32).into()), ..Limit::default() }.into(),
            ..credential(CN, "a")
        };
        snapshot(vec![device(1, "a", vec![credential])], vec![])
    };
    assert_eq!(reason(&pinned(CA), &certificate("a", 1)), None);
    assert_eq!(reason(&pinned([0xcb; 32]), &certificate("a", 1)), Some(Reason::WrongIssuer));
    let unseen = Certificate { authorities: Box::default(), ..certificate("a", 1) };
    assert_eq!(reason(&pinned(CA), &unseen), Some(Reason::WrongIssuer), "a chain that nobody saw");
    let damaged =
        Credential { limits: Limit { issuer: Some("ca".into()), ..Limit::default() }.into(), ..credential(CN, "a") };
    let all = snapshot(vec![device(1, "a", vec![damaged])], vec![]);
    assert_eq!(reason(&all, &certificate("a", 1)), Some(Reason::WrongIssuer));
}

#[test]
fn what_ends_a_certificate_is_told_in_the_order_of_its_weight() {
    let expired = Certificate { not_after: NOW, ..certificate("a", 1) };
    let mut one = device(1, "a", vec![credential(CN, "a")]);
    let all = snapshot(vec![one.clone()], vec![]);
    assert_eq!(reason(&all, &expired), Some(Reason::CertificateExpired));
    assert_eq!(
        reason(&all, &Certificate { not_before: NOW + 1, ..certificate("a", 1) }),
        Some(Reason::CertificateNotYetValid)
    );
    one.status = DeviceStatus::Revoked;
    let all = snapshot(vec![one], vec![]);
    assert_eq!(reason(&all, &expired), Some(Reason::DeviceRevoked), "it must not be let in to renew it");
    let mut revocations = Revocations::default();
    revocations.change_rows([(1, Some(CertificateId([1; 16])))]);
    let all = all.with_revocations(revocations);
    assert_eq!(reason(&all, &expired), Some(Reason::CertificateRevoked));
    assert_eq!(reason(&all, &certificate("nobody", 1)), Some(Reason::CertificateRevoked), "also of nobody");
}

#[test]
fn a_credential_that_ends_is_found_in_the_second_in_which_it_does() {
    let ends = |end| Credential {
        limits: Limit { not_after: Some(end), ..Limit::default() }.into(),
        ..credential(CN, &format!("{end}"))
    };
    let all = snapshot(vec![device(1, "a", vec![ends(10), ends(20)]), device(2, "b", vec![ends(10)])], vec![]);
    let ending = |snapshot: &Snapshot, after, up_to| snapshot.ending(after, up_to).collect::<Vec<_>>();
    assert_eq!(ending(&all, 9, 10), [1, 2]);
    assert_eq!(ending(&all, 10, 19), Vec::<DeviceId>::new());
    assert_eq!(ending(&all, 10, 20), [1]);
    assert_eq!(ending(&all, 20, 9), Vec::<DeviceId>::new(), "a clock that was put back");
    assert_eq!(ending(&all, i64::MAX, i64::MAX), Vec::<DeviceId>::new());
    let next = all.next(2, [(1, None)], []);
    assert_eq!(ending(&next, 0, 100), [2]);
}
