//! Whether a client may be here: by the session that it has, or by what the broker shows of it.

use std::cell::RefMut;
use std::sync::Arc;

use arc_swap::Guard;

use super::kick::Cause;
use super::refusal::Refused;
use super::session::{Connection, Held, Proved, Session, Stay};
use super::verdicts::StayId;
use super::{Client, Desk, Plugin};
use crate::config::{Expired, Unknown};
use crate::credential::password::is_upgrade;
use crate::live::unix_now;
use crate::policy::decision::Reason;
use crate::policy::device::{CredentialKind, Rights, RoleId, SharedDevice, UnixSeconds};
use crate::policy::leaving::keeps_subscriptions;
use crate::policy::rule::Names;
use crate::policy::snapshot::{Present, Proof, Refusal, Snapshot};

/// A client that may be here.
pub(super) struct Admitted<'d> {
    /// By which it may.
    pub(super) snapshot: Guard<Arc<Snapshot>>,
    standing: Standing<'d>,
}

enum Standing<'d> {
    /// It has a session, and this is its stay.
    Session(RefMut<'d, Stay>),
    /// It has none, or has one since now.
    Newcomer(SharedDevice, Rights),
}

impl Admitted<'_> {
    pub(super) fn device(&self) -> &SharedDevice {
        match &self.standing {
            Standing::Session(stay) => &stay.device,
            Standing::Newcomer(device, _) => device,
        }
    }

    /// By which it is judged.
    pub(super) fn roles(&self) -> &[RoleId] {
        match &self.standing {
            Standing::Session(stay) => &stay.roles,
            Standing::Newcomer(device, rights) => rights.roles(device),
        }
    }

    /// What the placeholders of its topics stand for.
    pub(super) fn names<'a>(&'a self, client_id: Option<&'a str>, user_name: &'a str) -> Names<'a> {
        let device = self.device();
        match &self.standing {
            // Nothing of the device itself is looked at, which may be far away in memory.
            Standing::Session(stay) if stay.under_its_name => {
                Names { device: user_name, client_id, attributes: &device.attributes }
            }
            _ => device.names(client_id),
        }
    }

    /// By which stay of its session, once it has one.
    pub(super) fn stay(&self) -> Option<StayId> {
        match &self.standing {
            Standing::Session(stay) => Some(stay.id),
            Standing::Newcomer(..) => None,
        }
    }
}

impl Plugin {
    /// The device that a connected client is, if it may be here, and the snapshot that says so. Whoever may not is thrown
    /// off at the next tick; `refused` says what it wanted.
    pub(super) fn admit<'d>(
        &self,
        desk: Option<&'d Desk>,
        client: &impl Client,
        connection: &Connection<'_>,
        snapshot: Guard<Arc<Snapshot>>,
        refused: Refused<'_>,
    ) -> Result<Admitted<'d>, Reason> {
        // No device speaks to the HTTP API of 2.1, which asks from a thread of its own.
        let Some(desk) = desk else { return Err(Reason::UnknownIdentity) };
        let result = self.recognise(desk, client, connection, snapshot);
        if let Err(reason) = result {
            let Connection { client_id, user_name, .. } = *connection;
            let defer = reason == Reason::UnknownIdentity && self.config.unknown == Unknown::Defer;
            if !defer {
                let who = Refused { user_name: Some(user_name), client_id: Some(client_id), ..refused };
                self.refusals.report(&Refused { reason, ..who });
                if client.has_address() && !client_id.is_empty() {
                    // Whoever was never admitted may have taken over a session, whose subscriptions are another's.
                    let its_own = desk.sessions.borrow().find(connection).is_some();
                    let cause = Cause { reason, keeps_subscriptions: !its_own || keeps_subscriptions(reason) };
                    desk.kicks.borrow_mut().client_id(client_id, cause);
                }
            }
        }
        result
    }

    /// As [`Self::admit`]: by the session that is remembered, or by what the broker shows of a client that it named by
    /// itself and that we see for the first time, or by the user name of a record that stands for somebody who is away.
    fn recognise<'d>(
        &self,
        desk: &'d Desk,
        client: &impl Client,
        connection: &Connection<'_>,
        snapshot: Guard<Arc<Snapshot>>,
    ) -> Result<Admitted<'d>, Reason> {
        let Connection { mark, client_id, user_name } = *connection;
        if let Ok(mut held) = RefMut::filter_map(desk.sessions.borrow_mut(), |sessions| sessions.find_held(connection))
        {
            self.renew_stay(&mut held, connection, &snapshot)?;
            let stay = RefMut::map(held, |held| &mut held.stay);
            return Ok(Admitted { snapshot, standing: Standing::Session(stay) });
        }
        self.ready(Some(desk))?;
        let connected = client.has_address();
        let certificate = if connected { client.certificate() } else { None };
        let proved = match certificate {
            Some(certificate) => {
                let certificate = self.certificate(&certificate)?;
                self.fresh_after_the_handshake()?;
                Some(Proved::Certificate(certificate))
            }
            None if connected && desk.sessions.borrow().handshake_of(mark) == Some(user_name) => {
                Some(Proved::Psk(user_name.into()))
            }
            // Away, or about to have its will sent: nothing shows any more what it once proved.
            None => None,
        };
        // Loaded again: what was just confirmed may be newer than what there was before.
        let snapshot = self.live.snapshot();
        let proof = proved.as_ref().map_or(Proof::UserName(user_name), Proved::proof);
        let now = unix_now();
        let welcome = self.welcome(&snapshot, proof, Some(client_id), now);
        let (present, renewing) = welcome.map_err(|refusal| refusal.reason)?;
        let Present { device, rights } = present;
        if let Some(Proved::Certificate(certificate)) = &proved {
            self.check_user_name(&snapshot, device, certificate.common_name.as_deref(), user_name)?;
        }
        let device = Arc::clone(device);
        if let Some(proved) = proved {
            begin(desk, &snapshot, (present, renewing), proved, connection, now);
        }
        Ok(Admitted { snapshot, standing: Standing::Newcomer(device, rights) })
    }

    /// Whether somebody who comes in with this proof may be here under this client id; and whether only in order to
    /// renew a certificate that has expired.
    pub(super) fn welcome<'s>(
        &self,
        snapshot: &'s Snapshot,
        proof: Proof<'_>,
        client_id: Option<&str>,
        now: UnixSeconds,
    ) -> Result<(Present<'s>, bool), Refusal<'s>> {
        let (present, renewing) = self.present(snapshot, proof, now)?;
        snapshot.bound(present, client_id)?;
        Ok((present, renewing))
    }

    /// As [`Self::welcome`], where there is no client id yet.
    pub(super) fn present<'s>(
        &self,
        snapshot: &'s Snapshot,
        proof: Proof<'_>,
        now: UnixSeconds,
    ) -> Result<(Present<'s>, bool), Refusal<'s>> {
        let (present, renewing) = match snapshot.present(proof, now) {
            Ok(present) => (present, false),
            Err(Refusal { reason: Reason::CertificateExpired, device: Some(device) })
                if self.config.expired == Expired::RenewOnly =>
            {
                (self.renewal(snapshot, device), true)
            }
            Err(refusal) => return Err(refusal),
        };
        if let Proof::Certificate(certificate) = proof {
            let refuse = |reason| Refusal { reason, device: Some(present.device) };
            snapshot.revocations().suffice(certificate, now).map_err(refuse)?;
        }
        Ok((present, renewing))
    }

    /// What a device may whose certificate has expired.
    fn renewal<'s>(&self, snapshot: &'s Snapshot, device: &'s SharedDevice) -> Present<'s> {
        let role = snapshot.role_named(&self.config.renewal_role).map(|role| role.id());
        Present { device, rights: Rights::Only(role) }
    }

    /// Finds out whether a session may still be here, as [`Self::still`], unless that is known.
    pub(super) fn renew_stay(
        &self,
        held: &mut Held,
        connection: &Connection<'_>,
        snapshot: &Snapshot,
    ) -> Result<(), Reason> {
        let now = unix_now();
        if !held.stay.holds(snapshot.version(), now) {
            let present = self.still(snapshot, &held.session, connection.client_id, now)?;
            held.stay = stay(snapshot, present, &held.session.proved, connection, now);
        }
        Ok(())
    }

    /// The device that a session belongs to, if it may still be here.
    pub(super) fn still<'s>(
        &self,
        snapshot: &'s Snapshot,
        session: &Session,
        client_id: &str,
        now: UnixSeconds,
    ) -> Result<Present<'s>, Reason> {
        let present = match snapshot.present(session.proved.proof(), now) {
            Err(Refusal { reason: Reason::CertificateExpired, device: Some(device) }) if session.renewing => {
                Ok(self.renewal(snapshot, device))
            }
            result @ Err(Refusal { reason: Reason::PasswordChanged, device: Some(device) }) => {
                match (&session.proved, upgraded_hash(device, session)) {
                    (Proved::Password { user_name, .. }, Some(hash)) => {
                        snapshot.present(Proof::Password { user_name, hash }, now)
                    }
                    _ => result,
                }
            }
            // The certificate may be good again, where a clock was set back; the session stays what it was.
            Ok(Present { device, .. }) if session.renewing => Ok(self.renewal(snapshot, device)),
            result => result,
        };
        let present = present.and_then(|present| snapshot.bound(present, Some(client_id)).map(|()| present));
        let present = present.map_err(|refusal| refusal.reason)?;
        // An identity that has passed to another device takes nobody's session along.
        if present.device.id == session.device { Ok(present) } else { Err(Reason::IdentityMoved) }
    }

    /// Where the broker names the user by the common name, that name must be this device's as well.
    fn check_user_name(
        &self,
        snapshot: &Snapshot,
        device: &SharedDevice,
        common_name: Option<&str>,
        user_name: &str,
    ) -> Result<(), Reason> {
        if *device.name == *user_name {
            return Ok(());
        }
        if common_name != Some(user_name) {
            self.refusals.hint(
                "a client's user name is not the common name of its certificate: \
                 set `use_identity_as_username true`, and not `use_subject_as_username`, on its listener",
            );
            return Err(Reason::WrongListenerOptions);
        }
        match snapshot.owner(CredentialKind::X509Cn, user_name).or_else(|| snapshot.device_named(user_name)) {
            Some(owner) if owner.id == device.id => Ok(()),
            // The broker would count it as somebody else than the device that it is.
            Some(_) | None => Err(Reason::AmbiguousIdentity),
        }
    }
}

/// From now on this connection has a session: it was welcomed with this proof.
pub(super) fn begin(
    desk: &Desk,
    snapshot: &Snapshot,
    (present, renewing): (Present<'_>, bool),
    proved: Proved,
    connection: &Connection<'_>,
    now: UnixSeconds,
) {
    let stay = stay(snapshot, present, &proved, connection, now);
    desk.sessions.borrow_mut().start(connection, Session { proved, device: present.device.id, renewing }, stay);
}

/// What a session may that comes or stays in with this proof, and until when unless the policy changes.
fn stay(
    snapshot: &Snapshot,
    present: Present<'_>,
    proved: &Proved,
    connection: &Connection<'_>,
    now: UnixSeconds,
) -> Stay {
    let Present { device, rights } = present;
    // What else it depends on has no dates: lists and answers of responders change the snapshot.
    let certificate = proved.certificate().map_or(UnixSeconds::MAX, |certificate| certificate.next_date(now));
    let until = device.next_date(now).min(certificate);
    let under_its_name = *device.name == *connection.user_name;
    let roles = match rights {
        // Most lists are many devices', and in the processor's cache for that.
        Rights::Own => Arc::clone(&device.roles),
        Rights::Only(_) => rights.roles(device).into(),
    };
    let (id, version, device) = (StayId::new(), snapshot.version(), Arc::clone(device));
    Stay { id, version, from: now, until, device, under_its_name, roles }
}

/// The hash that has taken the place of the one by which this session came in, if it is of the same password.
pub(super) fn upgraded_hash<'d>(device: &'d SharedDevice, session: &Session) -> Option<&'d str> {
    let Proved::Password { user_name, hash } = &session.proved else { return None };
    let stored = device.credential(CredentialKind::Password, user_name)?.secret.as_deref()?;
    is_upgrade(hash, stored).then_some(stored)
}
