//! Who is connected, as far as the broker has shown them to us.
//!
//! Kept by client id. What a client proved is remembered here, because the broker shows its certificate or its PSK
//! identity only at times; a session ends with its DISCONNECT event. All of it belongs to the broker's thread.

use std::collections::HashMap;

use crate::policy::device::{CredentialKind, DeviceId};
use crate::policy::snapshot::Proof;

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
    pub user_name: Box<str>,
    pub kind: CredentialKind,
    pub identity: Box<str>,
    pub device: DeviceId,
}

impl Session {
    /// What it proved.
    #[must_use]
    pub fn proof(&self) -> Proof<'_> {
        Proof::Identity(self.kind, &self.identity)
    }
}

/// The clients that are connected.
#[derive(Debug, Default)]
pub struct Sessions {
    by_client_id: HashMap<Box<str>, Session, foldhash::quality::RandomState>,
    by_device: HashMap<DeviceId, Vec<Box<str>>, foldhash::quality::RandomState>,
    /// The identities of PSK handshakes whose client id is not known yet.
    handshakes: HashMap<ConnectionMark, Box<str>, foldhash::quality::RandomState>,
    /// The connection that ended last. Its will is asked about afterwards, which must not bring it back.
    ended_last: Option<ConnectionMark>,
}

impl Sessions {
    /// The session with this client id, if it is still this connection under this user name.
    #[must_use]
    pub fn find(&self, client_id: &str, mark: ConnectionMark, user_name: &str) -> Option<&Session> {
        self.by_client_id.get(client_id).filter(|session| session.mark == mark && *session.user_name == *user_name)
    }

    /// The session with this client id.
    #[must_use]
    pub fn with_client_id(&self, client_id: &str) -> Option<&Session> {
        self.by_client_id.get(client_id)
    }

    /// The client ids of a device's sessions.
    pub fn of_device(&self, device: DeviceId) -> impl Iterator<Item = &str> {
        self.by_device.get(&device).into_iter().flatten().map(|client_id| &**client_id)
    }

    /// Remembers a session, in the place of any other with its client id.
    pub fn start(&mut self, client_id: &str, session: Session) {
        self.handshakes.remove(&session.mark);
        if self.ended_last == Some(session.mark) {
            return;
        }
        self.forget(client_id);
        if self.by_client_id.len() < MOST_SESSIONS {
            self.by_device.entry(session.device).or_default().push(client_id.into());
            self.by_client_id.insert(client_id.into(), session);
        }
    }

    /// A connection ended. Whether its session had started is told by its client id.
    pub fn end(&mut self, mark: ConnectionMark, client_id: Option<&str>) {
        self.handshakes.remove(&mark);
        self.ended_last = Some(mark);
        // After a takeover the client id belongs to somebody else already.
        if let Some(id) = client_id.filter(|id| self.by_client_id.get(*id).is_some_and(|session| session.mark == mark))
        {
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
        let Some(session) = self.by_client_id.remove(client_id) else { return };
        if let Some(ids) = self.by_device.get_mut(&session.device) {
            ids.retain(|id| **id != *client_id);
            if ids.is_empty() {
                self.by_device.remove(&session.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(mark: ConnectionMark, device: DeviceId) -> Session {
        Session { mark, user_name: "u".into(), kind: CredentialKind::Psk, identity: "u".into(), device }
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
