//! Certificates that are revoked: by rows of the database, by lists of their authorities (RFC 5280, section 5), and by
//! what their authorities' responders say (RFC 6960).

use std::collections::HashSet;
use std::sync::Arc;

use super::certificate::{Certificate, CertificateId, Sha256};
use super::decision::Reason;
use super::device::UnixSeconds;
use super::shared_map::Map;

/// A revocation list, as it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The public key of the authority that it speaks for.
    pub authority: Sha256,
    pub revoked: HashSet<CertificateId, foldhash::quality::RandomState>,
    /// When the next one should be there.
    pub next_update: Option<UnixSeconds>,
}

/// What a responder has said of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not revoked; to be believed up to this second.
    Good {
        until: UnixSeconds,
    },
    Revoked,
}

/// What has to be known of a certificate before it is admitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demands {
    /// That the lists of its authorities are not past their next update.
    pub current_lists: bool,
    /// What its responder says.
    pub standing: bool,
}

/// All that is known of revoked certificates.
#[derive(Clone, Default)]
pub struct Revocations {
    demands: Demands,
    /// The rows of the database, by number; and each certificate with how many rows name it.
    rows: Map<i64, CertificateId>,
    named: Map<CertificateId, u32>,
    /// By the name that whoever reads them gives them. There are few, and each is replaced as a whole.
    lists: Arc<[(Box<str>, Arc<List>)]>,
    standings: Map<CertificateId, Standing>,
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations")
            .field("rows", &self.rows.len())
            .field("lists", &self.lists.len())
            .field("standings", &self.standings.len())
            .finish_non_exhaustive()
    }
}

impl Revocations {
    /// None yet, with these demands.
    #[must_use]
    pub fn with_demands(demands: Demands) -> Self {
        Self { demands, ..Self::default() }
    }

    /// Whether this certificate is not revoked, as far as is known.
    pub fn check(&self, certificate: &Certificate) -> Result<(), Reason> {
        let id = &certificate.id;
        let revoked = self.contains(id) || self.standing(id) == Some(Standing::Revoked);
        if revoked { Err(Reason::CertificateRevoked) } else { Ok(()) }
    }

    /// Whether enough is known of this certificate for its holder to come in.
    pub fn suffice(&self, certificate: &Certificate, now: UnixSeconds) -> Result<(), Reason> {
        let vouched = || matches!(self.standing(&certificate.id), Some(Standing::Good { until }) if now < until);
        // Where its authorities were not seen, any list may be the one that concerns it.
        let concerns =
            |list: &List| certificate.authorities.is_empty() || certificate.authorities.contains(&list.authority);
        let past = |list: &List| list.next_update.is_some_and(|next| now >= next);
        let current = || !self.lists.iter().any(|(_, list)| concerns(list) && past(list));
        if (!self.demands.standing || vouched()) && (!self.demands.current_lists || current()) {
            Ok(())
        } else {
            Err(Reason::RevocationUnknown)
        }
    }

    /// Whether a row or a list names this certificate.
    #[must_use]
    pub fn contains(&self, id: &CertificateId) -> bool {
        (!self.named.is_empty() && self.named.contains_key(id))
            || self.lists.iter().any(|(_, list)| list.revoked.contains(id))
    }

    /// What a responder has said of this certificate.
    #[must_use]
    pub fn standing(&self, id: &CertificateId) -> Option<Standing> {
        self.standings.get(id).copied()
    }

    /// How many rows name certificates.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// The rows: their numbers, and the certificates that they name.
    pub fn rows(&self) -> impl Iterator<Item = (i64, CertificateId)> {
        self.rows.iter().map(|(number, id)| (*number, *id))
    }

    /// The certificates that rows name.
    pub fn named(&self) -> impl Iterator<Item = &CertificateId> {
        self.named.keys()
    }

    /// The lists, with their names.
    pub fn lists(&self) -> impl Iterator<Item = (&str, &List)> {
        self.lists.iter().map(|(name, list)| (&**name, &**list))
    }

    /// The same without any row.
    #[must_use]
    pub fn without_rows(&self) -> Self {
        Self { rows: Map::default(), named: Map::default(), ..self.clone() }
    }

    /// Puts these rows in the place of their former selves, or takes them out.
    pub fn change_rows(&mut self, rows: impl IntoIterator<Item = (i64, Option<CertificateId>)>) {
        for (number, id) in rows {
            if let Some(before) = self.rows.remove(&number) {
                match self.named.get(&before) {
                    Some(count) if *count > 1 => {
                        let count = count - 1;
                        self.named.insert(before, count);
                    }
                    _ => drop(self.named.remove(&before)),
                }
            }
            if let Some(id) = id {
                self.rows.insert(number, id);
                let count = self.named.get(&id).copied().unwrap_or(0);
                self.named.insert(id, count.saturating_add(1));
            }
        }
    }

    /// Puts this list in the place of its former self, or takes it out.
    pub fn change_list(&mut self, name: &str, list: Option<List>) {
        let others = self.lists.iter().filter(|(other, _)| **other != *name).cloned();
        self.lists = others.chain(list.map(|list| (name.into(), Arc::new(list)))).collect();
    }

    /// Remembers what a responder has said of this certificate, or forgets it.
    pub fn change_standing(&mut self, id: CertificateId, standing: Option<Standing>) {
        match standing {
            Some(standing) => self.standings.insert(id, standing),
            None => self.standings.remove(&id),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::device::CredentialKind;

    const A: CertificateId = CertificateId([1; 16]);
    const B: CertificateId = CertificateId([2; 16]);
    const CA: Sha256 = [7; 32];

    fn certificate(id: CertificateId, authorities: &[Sha256]) -> Certificate {
        Certificate {
            id,
            kind: CredentialKind::X509Cn,
            identity: "d".into(),
            common_name: Some("d".into()),
            sha256: "".into(),
            spki_sha256: "".into(),
            authorities: authorities.into(),
            not_before: 0,
            not_after: i64::MAX,
        }
    }

    fn list(revoked: &[CertificateId], next_update: Option<UnixSeconds>) -> List {
        List { authority: CA, revoked: revoked.iter().copied().collect(), next_update }
    }

    #[test]
    fn a_certificate_is_revoked_until_the_last_row_that_names_it_is_gone() {
        let mut revocations = Revocations::default();
        let check = |revocations: &Revocations, id| revocations.check(&certificate(id, &[CA]));
        revocations.change_rows([(1, Some(A)), (2, Some(A))]);
        assert_eq!(check(&revocations, A), Err(Reason::CertificateRevoked));
        assert_eq!(check(&revocations, B), Ok(()));
        revocations.change_rows([(1, None)]);
        assert_eq!(check(&revocations, A), Err(Reason::CertificateRevoked));
        revocations.change_rows([(2, Some(B))]);
        assert_eq!(check(&revocations, A), Ok(()));
        assert_eq!(check(&revocations, B), Err(Reason::CertificateRevoked));
        assert_eq!(check(&revocations.without_rows(), B), Ok(()));
    }

    #[test]
    fn a_list_counts_until_it_is_replaced() {
        let mut revocations = Revocations::default();
        revocations.change_list("a", Some(list(&[A], None)));
        revocations.change_list("b", Some(list(&[B], None)));
        assert!(revocations.contains(&A) && revocations.contains(&B));
        revocations.change_list("a", Some(list(&[], None)));
        assert!(!revocations.contains(&A) && revocations.contains(&B));
        revocations.change_list("b", None);
        assert!(!revocations.contains(&B));
    }

    #[test]
    fn a_list_past_its_next_update_matters_only_where_that_is_asked_for_and_to_its_own_authority() {
        for (current_lists, authorities, expected) in [
            (false, &[CA][..], Ok(())),
            (true, &[CA], Err(Reason::RevocationUnknown)),
            (true, &[], Err(Reason::RevocationUnknown)),
            (true, &[[8; 32]], Ok(())),
        ] {
            let mut revocations = Revocations::with_demands(Demands { current_lists, standing: false });
            revocations.change_list("a", Some(list(&[], Some(100))));
            assert_eq!(revocations.suffice(&certificate(A, authorities), 99), Ok(()));
            assert_eq!(revocations.suffice(&certificate(A, authorities), 100), expected);
        }
    }

    #[test]
    fn a_responder_is_believed_when_it_says_revoked_and_for_a_time_when_it_says_good() {
        for (standing, silent) in [(false, Ok(())), (true, Err(Reason::RevocationUnknown))] {
            let mut revocations = Revocations::with_demands(Demands { current_lists: false, standing });
            assert_eq!(revocations.suffice(&certificate(A, &[]), 0), silent);
            revocations.change_standing(A, Some(Standing::Good { until: 100 }));
            assert_eq!(revocations.suffice(&certificate(A, &[]), 99), Ok(()));
            assert_eq!(revocations.suffice(&certificate(A, &[]), 100), silent);
            revocations.change_standing(A, Some(Standing::Revoked));
            assert_eq!(revocations.check(&certificate(A, &[])), Err(Reason::CertificateRevoked));
            revocations.change_standing(A, None);
            assert_eq!(revocations.check(&certificate(A, &[])), Ok(()));
        }
    }
}
