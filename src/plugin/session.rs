//! Who is connected, as far as the broker has shown them to us.
//!
//! What a client proved is remembered here, because the broker shows its certificate or its PSK identity only at times; a
//! session ends with its DISCONNECT event. All of it belongs to the broker's thread.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use compact_str::CompactString;

use super::pieces::{Keyed, Pieces};
use super::verdicts::StayId;
use crate::policy::certificate::{Certificate, CertificateId};
use crate::policy::device::{CredentialKind, DeviceId, RoleId, SharedDevice, UnixSeconds};
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

/// A connection, as the broker knows it: the same one only while all of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    pub mark: ConnectionMark,
    pub client_id: &'a str,
    pub user_name: &'a str,
}

/// One client that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
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
    /// The broker knows the device by its own name, which then need not be looked for in the device.
    pub under_its_name: bool,
    /// By which it is judged.
    pub roles: Arc<[RoleId]>,
}

impl Stay {
    /// Whether it is what the policy of this version says at this time.
    #[must_use]
    pub fn holds(&self, version: Version, now: UnixSeconds) -> bool {
        self.version == version && (self.from..self.until).contains(&now)
    }
}

/// A session, under which names the broker knows it, and what was last found out about it.
///
/// All that is looked at for each message lies side by side, in the two lines of memory that processors fetch together:
/// with very many sessions they wait for each place.
#[derive(Debug)]
#[repr(align(128))]
pub struct Held {
    mark: ConnectionMark,
    client_id: CompactString,
    /// `None`: the same, as most have it.
    user_name: Option<CompactString>,
    pub stay: Stay,
    pub session: Box<Session>,
}

impl Held {
    fn is(&self, connection: &Connection<'_>) -> bool {
        let user_name = self.user_name.as_ref().unwrap_or(&self.client_id);
        self.client_id == connection.client_id && user_name == connection.user_name
    }
}

impl Keyed for Held {
    type Key = ConnectionMark;

    fn key(&self) -> &ConnectionMark {
        &self.mark
    }
}

const _: () = assert!(size_of::<Held>() == 128, "two lines");

/// The clients that are connected.
#[derive(Debug, Default)]
pub struct Sessions {
    by_mark: Pieces<Held>,
    by_client_id: Pieces<(CompactString, ConnectionMark)>,
    by_device: Pieces<(DeviceId, Vec<ConnectionMark>)>,
    by_certificate: Pieces<(CertificateId, Vec<ConnectionMark>)>,
    /// When the certificates of sessions expire.
    ends: BTreeSet<(UnixSeconds, ConnectionMark)>,
    /// The identities of PSK handshakes whose client id is not known yet.
    handshakes: Pieces<(ConnectionMark, Box<str>)>,
    /// The connection that ended last. Its will is asked about afterwards, which must not bring it back.
    ended_last: Option<ConnectionMark>,
    /// Whether somebody may be here who is not among them.
    others: bool,
}

impl Sessions {
    /// Somebody has connected who is not among them, and nobody is about to end that connection.
    pub fn lack_one(&mut self) {
        self.others = true;
    }

    /// Whether they never [lacked](Self::lack_one) anybody: nothing tells when one has gone of whom nothing is remembered.
    #[must_use]
    pub fn are_all(&self) -> bool {
        !self.others
    }

    /// The session of this connection.
    #[must_use]
    pub fn find(&self, connection: &Connection<'_>) -> Option<&Session> {
        let held = self.by_mark.get(&connection.mark).filter(|held| held.is(connection))?;
        Some(&held.session)
    }

    /// The same, and what was last found out about it.
    pub fn find_held(&mut self, connection: &Connection<'_>) -> Option<&mut Held> {
        self.by_mark.get_mut(&connection.mark).filter(|held| held.is(connection))
    }

    /// The session with this client id.
    #[must_use]
    pub fn with_client_id(&self, client_id: &str) -> Option<&Session> {
        let (_, mark) = self.by_client_id.get(client_id)?;
        self.by_mark.get(mark).map(|held| &*held.session)
    }

    /// The stored hash by which this session came in was replaced by another one of the same password.
    pub fn replace_hash(&mut self, client_id: &str, new: &str) {
        let mark = self.by_client_id.get(client_id);
        if let Some(held) = mark.and_then(|(_, mark)| self.by_mark.get_mut(mark))
            && let Proved::Password { hash, .. } = &mut held.session.proved
        {
            *hash = new.into();
        }
    }

    /// The client ids of a device's sessions.
    pub fn of_device(&self, device: DeviceId) -> impl Iterator<Item = &str> {
        self.client_ids(self.by_device.get(&device))
    }

    /// The client ids of the sessions with this certificate.
    pub fn with_certificate(&self, id: &CertificateId) -> impl Iterator<Item = &str> {
        self.client_ids(self.by_certificate.get(id))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_mark.len()
    }

    /// When the next certificate of a session expires.
    #[must_use]
    pub fn next_end(&self) -> Option<UnixSeconds> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// The client id of a session whose certificate has expired, until it is told of each once.
    pub fn next_expired(&mut self, now: UnixSeconds) -> Option<Box<str>> {
        let due = self.ends.first().is_some_and(|(end, _)| *end <= now);
        let (_, mark) = if due { self.ends.pop_first()? } else { return None };
        self.by_mark.get(&mark).map(|held| held.client_id.as_str().into())
    }

    /// Remembers a session, in the place of any other with its client id.
    pub fn start(&mut self, connection: &Connection<'_>, session: Session, stay: Stay) {
        let Connection { mark, client_id, user_name } = *connection;
        self.handshakes.remove(&mark);
        if self.ended_last == Some(mark) {
            return;
        }
        self.forget(mark);
        if let Some((_, former)) = self.by_client_id.get(client_id) {
            self.forget(*former);
        }
        if self.by_mark.len() < MOST_SESSIONS {
            add_to(&mut self.by_device, session.device, mark);
            if let Some(certificate) = session.proved.certificate() {
                add_to(&mut self.by_certificate, certificate.id, mark);
                if !session.renewing {
                    self.ends.insert((certificate.not_after, mark));
                }
            }
            let user_name = (user_name != client_id).then(|| user_name.into());
            self.by_client_id.insert((client_id.into(), mark));
            let session = Box::new(session);
            self.by_mark.insert(Held { mark, client_id: client_id.into(), user_name, stay, session });
        }
    }

    /// A connection ended, whether its session had started or not. After a takeover its client id is somebody else's.
    pub fn end(&mut self, mark: ConnectionMark) {
        self.handshakes.remove(&mark);
        self.ended_last = Some(mark);
        self.forget(mark);
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
        if self.handshakes.len() < MOST_HANDSHAKES || self.handshakes.get(&mark).is_some() {
            self.handshakes.insert((mark, identity.into()));
        }
    }

    /// The PSK identity of this connection, while its session has not started.
    #[must_use]
    pub fn handshake_of(&self, mark: ConnectionMark) -> Option<&str> {
        self.handshakes.get(&mark).map(|(_, identity)| &**identity)
    }

    fn client_ids<'a, K>(&'a self, marks: Option<&'a (K, Vec<ConnectionMark>)>) -> impl Iterator<Item = &'a str> {
        marks
            .into_iter()
            .flat_map(|(_, marks)| marks)
            .filter_map(|mark| self.by_mark.get(mark))
            .map(|held| &*held.client_id)
    }

    fn forget(&mut self, mark: ConnectionMark) {
        let Some(Held { client_id, session, .. }) = self.by_mark.remove(&mark) else { return };
        self.by_client_id.remove(&client_id);
        remove_from(&mut self.by_device, &session.device, mark);
        if let Some(certificate) = session.proved.certificate() {
            remove_from(&mut self.by_certificate, &certificate.id, mark);
            self.ends.remove(&(certificate.not_after, mark));
        }
    }
}

fn add_to<K: Hash + Eq>(table: &mut Pieces<(K, Vec<ConnectionMark>)>, key: K, mark: ConnectionMark) {
    match table.get_mut(&key) {
        Some((_, marks)) => marks.push(mark),
        None => table.insert((key, vec![mark])),
    }
}

fn remove_from<K: Hash + Eq>(table: &mut Pieces<(K, Vec<ConnectionMark>)>, key: &K, mark: ConnectionMark) {
    if let Some((_, marks)) = table.get_mut(key) {
        marks.retain(|other| *other != mark);
        if marks.is_empty() {
            table.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::device::{Device, DeviceStatus};
    use crate::policy::role::ClientIdBinding;

    const fn of(client_id: &str, mark: ConnectionMark) -> Connection<'_> {
        Connection { mark, client_id, user_name: "u" }
    }

    fn session(device: DeviceId) -> Session {
        Session { proved: Proved::Psk("u".into()), device, renewing: false }
    }

    fn stay(version: Version, from: UnixSeconds, until: UnixSeconds) -> Stay {
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
        let roles = Arc::clone(&device.roles);
        Stay { id: StayId::new(), version, from, until, device, under_its_name: true, roles }
    }

    fn start(sessions: &mut Sessions, connection: &Connection<'_>, session: Session) {
        sessions.start(connection, session, stay(Version::default(), 0, UnixSeconds::MAX));
    }

    fn with_certificate(id: u8, not_after: UnixSeconds) -> Session {
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
        Session { proved: Proved::Certificate(Arc::new(certificate)), ..session(7) }
    }

    #[test]
    fn a_session_is_found_by_its_certificate_while_it_lasts() {
        let mut sessions = Sessions::default();
        let found = |sessions: &Sessions, id| sessions.with_certificate(&CertificateId([id; 16])).count();
        start(&mut sessions, &of("c", 1), with_certificate(1, 10));
        start(&mut sessions, &of("d", 2), with_certificate(1, 10));
        assert_eq!((found(&sessions, 1), found(&sessions, 2)), (2, 0));
        start(&mut sessions, &of("c", 3), with_certificate(2, 10));
        sessions.end(2);
        assert_eq!((found(&sessions, 1), found(&sessions, 2)), (0, 1));
    }

    #[test]
    fn who_expires_is_told_once_and_in_time_and_not_when_gone() {
        let mut sessions = Sessions::default();
        start(&mut sessions, &of("a", 1), with_certificate(1, 10));
        start(&mut sessions, &of("b", 2), with_certificate(2, 11));
        start(&mut sessions, &of("c", 3), with_certificate(3, 10));
        sessions.end(3);
        assert_eq!(sessions.next_expired(9), None);
        assert_eq!(sessions.next_expired(10).as_deref(), Some("a"));
        assert_eq!(sessions.next_expired(10), None);
        assert_eq!(sessions.next_expired(12).as_deref(), Some("b"));
    }

    #[test]
    fn a_session_is_found_by_its_client_id_and_only_as_itself() {
        let mut sessions = Sessions::default();
        start(&mut sessions, &of("c", 1), session(7));
        assert!(sessions.find(&of("c", 1)).is_some());
        assert!(sessions.find(&of("c", 2)).is_none(), "another connection");
        assert!(sessions.find(&of("d", 1)).is_none(), "another client id");
        assert!(sessions.find(&Connection { user_name: "v", ..of("c", 1) }).is_none(), "another user");
        assert!(sessions.find(&Connection { user_name: "c", ..of("c", 1) }).is_none(), "the client id as user name");
        assert_eq!(sessions.of_device(7).collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn what_was_found_out_holds_for_its_policy_and_its_time() {
        let (version, other) = (Version::default(), Version::default());
        let stay = stay(version, 10, 20);
        assert!(stay.holds(version, 10) && stay.holds(version, 19));
        assert!(!stay.holds(version, 20), "it has come to its end");
        assert!(!stay.holds(version, 9), "the clock was set back");
        assert!(!stay.holds(other, 15), "something was changed");
    }

    #[test]
    fn the_end_of_the_one_taken_over_does_not_end_the_one_who_took_over() {
        let mut sessions = Sessions::default();
        start(&mut sessions, &of("c", 1), session(7));
        start(&mut sessions, &of("c", 2), session(8));
        sessions.end(1);
        assert!(sessions.find(&of("c", 2)).is_some());
        assert_eq!(sessions.of_device(7).count(), 0);
        sessions.end(2);
        assert!(sessions.with_client_id("c").is_none());
    }

    #[test]
    fn whoever_has_the_mark_of_another_has_nothing_else_of_it() {
        let mut sessions = Sessions::default();
        start(&mut sessions, &of("c", 1), session(7));
        start(&mut sessions, &of("d", 1), session(8));
        assert!(sessions.find(&of("c", 1)).is_none() && sessions.with_client_id("c").is_none());
        assert_eq!((sessions.of_device(7).count(), sessions.of_device(8).count()), (0, 1));
        assert_eq!(sessions.count(), 1);
    }

    #[test]
    fn the_will_of_an_ended_session_does_not_bring_it_back() {
        let mut sessions = Sessions::default();
        start(&mut sessions, &of("c", 1), session(7));
        sessions.end(1);
        start(&mut sessions, &of("c", 1), session(7));
        assert!(sessions.with_client_id("c").is_none());
        sessions.tick();
        start(&mut sessions, &of("c", 1), session(7));
        assert!(sessions.with_client_id("c").is_some(), "the same address, used again");
    }

    #[test]
    fn a_handshake_is_known_until_its_session_starts_or_it_ends() {
        let mut sessions = Sessions::default();
        sessions.handshake(1, "a");
        sessions.handshake(2, "b");
        assert_eq!(sessions.handshake_of(1), Some("a"));
        start(&mut sessions, &of("c", 1), session(7));
        sessions.end(2);
        assert_eq!((sessions.handshake_of(1), sessions.handshake_of(2)), (None, None));
    }
}
