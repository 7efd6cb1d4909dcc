use super::tests::{NOW, credential, device, role, snapshot};
use super::*;
use crate::policy::decision::Action;
use crate::policy::device::Limit;
use crate::policy::leaving::leaving;

const PSK: CredentialKind = CredentialKind::Psk;
const CN: CredentialKind = CredentialKind::X509Cn;
const SHA256: CredentialKind = CredentialKind::X509Sha256;

/// One that only gives the second role.
fn only(kind: CredentialKind, identity: &str) -> Credential {
    Credential { limits: Limit { role: Some(2), ..Limit::default() }.into(), ..credential(kind, identity) }
}

/// A device with these credentials that has the first role, and both roles.
fn fleet(credentials: Vec<Credential>) -> Snapshot {
    snapshot(vec![device(1, "d", credentials)], vec![role(1, "own/%u", None), role(2, "begin/%u", None)])
}

fn rights(all: &Snapshot, proof: Proof<'_>) -> Result<Rights, Reason> {
    all.present(proof, NOW).map(|present| present.rights).map_err(|refusal| refusal.reason)
}

/// Whether it may use the topic of its own role, and that of the one that it begins with.
fn may(all: &Snapshot, proof: Proof<'_>) -> [bool; 2] {
    let Present { device, rights } = all.present(proof, NOW).unwrap();
    ["own/d", "begin/d"].map(|topic| {
        let question = Question { action: Action::Publish, topic, qos: 0, retain: false };
        all.judge(device, rights, None, &question).allowed
    })
}

fn shown(not_after: UnixSeconds) -> Certificate {
    Certificate {
        id: crate::policy::certificate::CertificateId([1; 16]),
        kind: CN,
        identity: "claim".into(),
        common_name: Some("claim".into()),
        sha256: "f".into(),
        spki_sha256: "k".into(),
        authorities: Box::default(),
        not_before: 0,
        not_after,
    }
}

#[test]
fn a_credential_with_a_role_gives_that_role_and_no_other() {
    let all = fleet(vec![only(PSK, "begin"), credential(PSK, "own")]);
    assert_eq!(may(&all, Proof::Identity(PSK, "begin")), [false, true]);
    assert_eq!(may(&all, Proof::Identity(PSK, "own")), [true, false]);
}

#[test]
fn a_password_with_a_role_gives_that_role_and_no_other() {
    let password = |hash: &str| Credential { secret: Some(hash.into()), ..credential(CredentialKind::Password, "u") };
    let by = |hash| Proof::Password { user_name: "u", hash };
    let all = fleet(vec![Credential { limits: Limit { role: Some(2), ..Limit::default() }.into(), ..password("h") }]);
    assert_eq!(may(&all, by("h")), [false, true]);
    assert_eq!(rights(&all, by("other")), Err(Reason::PasswordChanged));
    assert_eq!(may(&fleet(vec![password("h")]), by("h")), [true, false]);
    let all = fleet(vec![
        Credential { limits: Limit { role: Some(2), ..Limit::default() }.into(), ..password("h") },
        credential(CN, "d"),
    ]);
    assert_eq!(rights(&all, by("h")), Err(Reason::CredentialRevoked));
}

#[test]
fn a_role_that_is_not_there_gives_nothing() {
    let all = snapshot(vec![device(1, "d", vec![only(PSK, "begin")])], vec![role(1, "own/%u", None)]);
    assert_eq!(may(&all, Proof::Identity(PSK, "begin")), [false, false]);
}

#[test]
fn it_is_over_once_there_is_a_certificate_whatever_becomes_of_that() {
    let begin = Proof::Identity(PSK, "begin");
    assert_eq!(rights(&fleet(vec![only(PSK, "begin")]), begin), Ok(Rights::Only(Some(2))));
    for kind in CredentialKind::ALL.into_iter().filter(|kind| kind.is_certificate()) {
        for revoked in [false, true] {
            let certificate = Credential {
                revoked,
                limits: Limit { not_after: Some(NOW - 1), ..Limit::default() }.into(),
                ..credential(kind, "c")
            };
            let all = fleet(vec![only(PSK, "begin"), certificate]);
            assert_eq!(rights(&all, begin), Err(Reason::CredentialRevoked), "{kind:?} {revoked}");
        }
    }
    // What it may begin with beside it is none, nor is another key.
    for other in [only(CN, "claim"), credential(PSK, "own"), credential(CredentialKind::Password, "own")] {
        let all = fleet(vec![only(PSK, "begin"), other]);
        assert_eq!(rights(&all, begin), Ok(Rights::Only(Some(2))));
    }
}

#[test]
fn it_has_an_end_like_any_other() {
    let ending = |not_after| {
        fleet(vec![Credential {
            limits: Limit { not_after: Some(not_after), ..Limit::default() }.into(),
            ..only(PSK, "begin")
        }])
    };
    assert!(rights(&ending(NOW + 1), Proof::Identity(PSK, "begin")).is_ok());
    assert_eq!(rights(&ending(NOW), Proof::Identity(PSK, "begin")), Err(Reason::Expired));
}

#[test]
fn a_certificate_to_begin_with_is_not_renewed() {
    let all = fleet(vec![only(CN, "claim")]);
    assert_eq!(rights(&all, Proof::Certificate(&shown(NOW + 1))), Ok(Rights::Only(Some(2))));
    // `certificate-expired` is what lets somebody renew.
    assert_eq!(rights(&all, Proof::Certificate(&shown(NOW))), Err(Reason::Expired));
    let own = fleet(vec![credential(CN, "claim")]);
    assert_eq!(rights(&own, Proof::Certificate(&shown(NOW))), Err(Reason::CertificateExpired));
}

#[test]
fn a_fingerprint_narrows_what_the_name_gives() {
    let certificate = shown(NOW + 1);
    let all = fleet(vec![only(CN, "claim"), only(SHA256, "f")]);
    assert_eq!(rights(&all, Proof::Certificate(&certificate)), Ok(Rights::Only(Some(2))));
    // A name without a role is a certificate, and so the fingerprint's role is over.
    let all = fleet(vec![credential(CN, "claim"), only(SHA256, "f")]);
    assert_eq!(rights(&all, Proof::Certificate(&certificate)), Err(Reason::CredentialRevoked));
}

#[test]
fn where_only_the_user_name_is_known_the_lesser_rights_hold() {
    let all = fleet(vec![credential(PSK, "own"), only(PSK, "begin")]);
    assert_eq!(rights(&all, Proof::UserName("own")), Ok(Rights::Own));
    assert_eq!(rights(&all, Proof::UserName("begin")), Ok(Rights::Only(Some(2))));
    assert_eq!(rights(&all, Proof::UserName("d")), Ok(Rights::Only(Some(2))), "it may be either");
}

#[test]
fn its_own_roles_and_the_one_it_begins_with_bind_the_client_id() {
    let roles = vec![role(1, "own/%u", Some("%u*")), role(2, "begin/%u", Some("*-new"))];
    let all = snapshot(vec![device(1, "d", vec![only(PSK, "begin"), credential(PSK, "own")])], roles);
    let admitted = |identity, id| all.admit(Proof::Identity(PSK, identity), Some(id), NOW).is_ok();
    assert!(admitted("begin", "d-new"));
    assert!(!admitted("begin", "d-old") && !admitted("begin", "other-new"));
    assert!(admitted("own", "d-old"));
}

#[test]
fn who_began_so_leaves_when_the_certificate_comes() {
    let before = fleet(vec![only(PSK, "begin")]);
    let after = before.next(2, [(1, Some(device(1, "d", vec![only(PSK, "begin"), credential(CN, "d")])))], []);
    let gone: Vec<_> = leaving((&before, NOW), (&after, NOW), [1]).collect();
    assert_eq!(gone.len(), 1);
    assert_eq!((&*gone[0].user_name, gone[0].reason), ("begin", Reason::CredentialRevoked));
}
