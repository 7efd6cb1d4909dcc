//! Who is connected, as far as the broker has shown them to us.
//!
//! Kept by client id. What a client proved is remembered here, because the broker shows its certificate or its PSK
//! identity only at times; a session ends with its DISCONNECT event. All of it belongs to the broker's thread.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::verdicts::StayId;
use crate::policy::certificate::{Certificate, CertificateId};
use crate::policy::device::{CredentialKind, DeviceId, Rights, SharedDevice, UnixSeconds};
use crate::policy::snapshot::{Proof, Version};

/// A mark that tells two connections apart while both exist.
///
/// It is the address of the broker's own record, which is used again after its end: good for "still the same?", never
/// as a key to rights.
pub type ConnectionMark = usize;

/// How many connections may be between their PSK handshake and the first message that tells their client id.
const MOST_HANDSHAKES: usize = 100_000;
/// How many sessions are remembered; beyond it a client is known by its user name alone.
const MOST_SESSIONS: usize = 1_000_000;

/// One client that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub mark: ConnectionMark,
    /// As the broker knows it.
    pub user_name: Arc<str>,
    pub proved: Proved,
    pub device: DeviceId,
    /// Its certificate has expired, and it is here to renew it.
    pub renewing: bool,
}

/// What a client has proved.
#[derive(Clone, PartialEq, Eq)]
pub enum Proved {
    Certificate(Arc<Certificate>),
    /// The key of this PSK identity.
    Psk(Box<str>),
    /// The password of this user name, of which this was the stored hash.
    Password {
        user_name: Box<str>,
        hash: Box<str>,
    },
}

impl std::fmt::Debug for Proved {
    /// Without the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.proof().fmt(f)
    }
}

impl Proved {
    /// The same for the policy.
    #[must_use]
    pub fn proof(&self) -> Proof<'_> {
        match self {
            Self::Certificate(certificate) => Proof::Certificate(certificate),
            Self::Psk(identity) => Proof::Identity(CredentialKind::Psk, identity),
            Self::Password { user_name, hash } => Proof::Password { user_name, hash },
        }
    }

    /// The certificate, if that is what it showed.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            Self::Psk(_) | Self::Password { .. } => None,
        }
    }
}

type Map<K, V> = HashMap<K, V, foldhash::quality::RandomState>;

/// That a session may stay, and until when nobody need ask again: the broker asks at every message.
#[derive(Debug, Clone)]
pub struct Stay {
    /// Another one for each: what follows from a stay is remembered by it.
    pub id: StayId,
    /// The policy that says so.
    pub version: Version,
    /// The seconds in which it says so: from the first to the one before the second.
    pub from: UnixSeconds,
    pub until: UnixSeconds,
    pub device: SharedDevice,
    pub rights: Rights,
}

impl Stay {
    /// Whether it is what the policy of this version says at this time.
    #[must_use]
    pub fn holds(&self, version: Version, now: UnixSeconds) -> bool {
        self.version == version && (self.from..self.until).contains(&now)
    }
}

/// A session, and what was last found out about it.
#[derive(Debug)]
struct Held {
    session: Session,
    stay: RefCell<Option<Stay>>,
}

/// The clients that are connected.
#[derive(Debug, Default)]
pub struct Sessions {
    by_client_id: Map<Arc<str>, Held>,
    by_device: Map<DeviceId, Vec<Arc<str>>>,
    by_certificate: Map<CertificateId, Vec<Arc<str>>>,
    /// When the certificates of sessions expire.
    ends: BTreeSet<(UnixSeconds, Arc<str>)>,
    /// The identities of PSK handshakes whose client id is not known yet.
    handshakes: Map<ConnectionMark, Box<str>>,
    /// The connection that ended last. Its will is asked about afterwards, which must not bring it back.
    ended_last: Option<ConnectionMark>,
}

impl Sessions {
    /// The session with this client id, if it is still this connection under this user name.
    #[must_use]
    pub fn find(&self, client_id: &str, mark: ConnectionMark, user_name: &str) -> Option<&Session> {
        self.find_with_stay(client_id, mark, user_name).map(|(session, _)| session)
    }

    /// The same, and what was last found out about it.
    #[must_use]
    pub fn find_with_stay(
        &self,
        client_id: &str,
        mark: ConnectionMark,
        user_name: &str,
    ) -> Option<(&Session, &RefCell<Option<Stay>>)> {
        let Held { session, stay } = self.by_client_id.get(client_id)?;
        (session.mark == mark && *session.user_name == *user_name).then_some((session, stay))
    }

    /// The session with this client id.
    #[must_use]
    pub fn with_client_id(&self, client_id: &str) -> Option<&Session> {
        self.by_client_id.get(client_id).map(|held| &held.session)
    }

    /// The stored hash by which this session came in was replaced by another one of the same password.
    pub fn replace_hash(&mut self, client_id: &str, new: &str) {
        if let Some(held) = self.by_client_id.get_mut(client_id)
            && let Proved::Password { hash, .. } = &mut held.session.proved
        {
            *hash = new.into();
        }
    }

    /// The client ids of a device's sessions.
    pub fn of_device(&self, device: DeviceId) -> impl Iterator<Item = &str> {
        self.by_device.get(&device).into_iter().flatten().map(|client_id| &**client_id)
    }

    /// The client ids of the sessions with this certificate.
    pub fn with_certificate(&self, id: &CertificateId) -> impl Iterator<Item = &str> {
        self.by_certificate.get(id).into_iter().flatten().map(|client_id| &**client_id)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_client_id.len()
    }

    /// When the next certificate of a session expires.
    #[must_use]
    pub fn next_end(&self) -> Option<UnixSeconds> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// The client id of a session whose certificate has expired, until it is told of each once.
    pub fn next_expired(&mut self, now: UnixSeconds) -> Option<Arc<str>> {
        let due = self.ends.first().is_some_and(|(end, _)| *end <= now);
        if due { self.ends.pop_first().map(|(_, client_id)| client_id) } else { None }
    }

    /// Remembers a session, in the place of any other with its client id.
    pub fn start(&mut self, client_id: &str, session: Session) {
        self.handshakes.remove(&session.mark);
        if self.ended_last == Some(session.mark) {
            return;
        }
        self.forget(client_id);
        if self.by_client_id.len() < MOST_SESSIONS {
            // Most clients go by one name, which is then looked up and compared in one place.
            let own = *session.user_name == *client_id;
            let client_id: Arc<str> = if own { Arc::clone(&session.user_name) } else { client_id.into() };
            self.by_device.entry(session.device).or_default().push(Arc::clone(&client_id));
            if let Some(certificate) = session.proved.certificate() {
                self.by_certificate.entry(certificate.id).or_default().push(Arc::clone(&client_id));
                if !session.renewing {
                    self.ends.insert((certificate.not_after, Arc::clone(&client_id)));
                }
            }
            let held = Held { session, stay: RefCell::default() };
            self.by_client_id.insert(client_id, held);
        }
    }

    /// A connection ended. Whether its session had started is told by its client id.
    pub fn end(&mut self, mark: ConnectionMark, client_id: Option<&str>) {
        self.handshakes.remove(&mark);
        self.ended_last = Some(mark);
        // After a takeover the client id belongs to somebody else already.
        if let Some(id) = client_id.filter(|id| self.with_client_id(id).is_some_and(|session| session.mark == mark)) {
            self.forget(id);
        }
    }

    /// Nothing more will be asked about the connection that ended last.
    pub fn tick(&mut self) {
        self.ended_last = None;
    }

    /// This connection was given the key of this PSK identity.
    pub fn handshake(&mut self, mark: ConnectionMark, identity: &str) {
        if self.ended_last == Some(mark) {
            self.ended_last = None;
        }
        if self.handshakes.len() < MOST_HANDSHAKES || self.handshakes.contains_key(&mark) {
            self.handshakes.insert(mark, identity.into());
        }
    }

    /// The PSK identity of this connection, while its session has not started.
    #[must_use]
    pub fn handshake_of(&self, mark: ConnectionMark) -> Option<&str> {
        self.handshakes.get(&mark).map(|identity| &**identity)
    }

    fn forget(&mut self, client_id: &str) {
        let Some(Held { session, .. }) = self.by_client_id.remove(client_id) else { return };
        remove_from(&mut self.by_device, &session.device, client_id);
        if let Some(certificate) = session.proved.certificate() {
            remove_from(&mut self.by_certificate, &certificate.id, client_id);
            self.ends.remove(&(certificate.not_after, client_id.into()));
        }
    }
}

fn remove_from<K: Eq + std::hash::Hash>(map: &mut Map<K, Vec<Arc<str>>>, key: &K, client_id: &str) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|id| **id != *client_id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::device::{Device, DeviceStatus};
    use crate::policy::role::ClientIdBinding;

    fn session(mark: ConnectionMark, device: DeviceId) -> Session {
        Session { mark, user_name: "u".into(), proved: Proved::Psk("u".into()), device, renewing: false }
    }

    fn with_certificate(mark: ConnectionMark, id: u8, not_after: UnixSeconds) -> Session {
        let certificate = Certificate {
            id: CertificateId([id; 16]),
            kind: CredentialKind::X509Cn,
            identity: "u".into(),
            common_name: None,
            sha256: "".into(),
            spki_sha256: "".into(),
            authorities: Box::default(),
            not_before: 0,
            not_after,
        };
        Session { proved: Proved::Certificate(Arc::new(certificate)), ..session(mark, 7) }
    }

    #[test]
    fn a_session_is_found_by_its_certificate_while_it_lasts() {
        let mut sessions = Sessions::default();
        let found = |sessions: &Sessions, id| sessions.with_certificate(&CertificateId([id; 16])).count();
        sessions.start("c", with_certificate(1, 1, 10));
        sessions.start("d", with_certificate(2, 1, 10));
        assert_eq!((found(&sessions, 1), found(&sessions, 2)), (2, 0));
        sessions.start("c", with_certificate(3, 2, 10));
        sessions.end(2, Some("d"));
        assert_eq!((found(&sessions, 1), found(&sessions, 2)), (0, 1));
    }

    #[test]
    fn who_expires_is_told_once_and_in_time_and_not_when_gone() {
        let mut sessions = Sessions::default();
        sessions.start("a", with_certificate(1, 1, 10));
        sessions.start("b", with_certificate(2, 2, 11));
        sessions.start("c", with_certificate(3, 3, 10));
        sessions.end(3, Some("c"));
        assert_eq!(sessions.next_expired(9), None);
        assert_eq!(sessions.next_expired(10).as_deref(), Some("a"));
        assert_eq!(sessions.next_expired(10), None);
        assert_eq!(sessions.next_expired(12).as_deref(), Some("b"));
    }

    #[test]
    fn a_session_is_found_by_its_client_id_and_only_as_itself() {
        let mut sessions = Sessions::default();
        sessions.start("c", session(1, 7));
        assert!(sessions.find("c", 1, "u").is_some());
        assert!(sessions.find("c", 2, "u").is_none(), "another connection");
        assert!(sessions.find("c", 1, "v").is_none(), "another user");
        assert_eq!(sessions.of_device(7).collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn what_was_found_out_holds_for_its_policy_and_its_time() {
        let (version, other) = (Version::default(), Version::default());
        let device = Arc::new(Device {
            id: 7,
            name: "u".into(),
            status: DeviceStatus::Active,
            client_id: ClientIdBinding::Any,
            attributes: std::iter::empty::<(&str, &str)>().collect(),
            credentials: Box::default(),
            roles: [].into(),
            unreadable: None,
        });
        let stay = Stay { id: StayId::new(), version, from: 10, until: 20, device, rights: Rights::Own };
        assert!(stay.holds(version, 10) && stay.holds(version, 19));
        assert!(!stay.holds(version, 20), "it has come to its end");
        assert!(!stay.holds(version, 9), "the clock was set back");
        assert!(!stay.holds(other, 15), "something was changed");
    }

    #[test]
    fn the_end_of_the_one_taken_over_does_not_end_the_one_who_took_over() {
        let mut sessions = Sessions::default();
        sessions.start("c", session(1, 7));
        sessions.start("c", session(2, 8));
        sessions.end(1, Some("c"));
        assert!(sessions.find("c", 2, "u").is_some());
        assert_eq!(sessions.of_device(7).count(), 0);
        sessions.end(2, Some("c"));
        assert!(sessions.with_client_id("c").is_none());
    }

    #[test]
    fn the_will_of_an_ended_session_does_not_bring_it_back() {
        let mut sessions = Sessions::default();
        sessions.start("c", session(1, 7));
        sessions.end(1, Some("c"));
        sessions.start("c", session(1, 7));
        assert!(sessions.with_client_id("c").is_none());
        sessions.tick();
        sessions.start("c", session(1, 7));
        assert!(sessions.with_client_id("c").is_some(), "the same address, used again");
    }

    #[test]
    fn a_handshake_is_known_until_its_session_starts_or_it_ends() {
        let mut sessions = Sessions::default();
        sessions.handshake(1, "a");
        sessions.handshake(2, "b");
        assert_eq!(sessions.handshake_of(1), Some("a"));
        sessions.start("c", session(1, 7));
        sessions.end(2, None);
        assert_eq!((sessions.handshake_of(1), sessions.handshake_of(2)), (None, None));
    }
}
