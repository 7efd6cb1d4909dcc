//! Who has to leave because the policy changed.

use super::decision::Reason;
use super::device::{DeviceId, UnixSeconds};
use super::snapshot::{Proof, Snapshot};

/// A user name under which nobody may be here any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub user_name: Box<str>,
    pub reason: Reason,
}

/// Whether a device that is refused for this reason keeps its subscriptions for the day it comes back.
#[must_use]
pub fn keeps_subscriptions(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::DeviceSuspended
            | Reason::NotYetValid
            | Reason::UnreadableDevice
            | Reason::StalePolicy
            | Reason::Expired
            | Reason::PasswordChanged
            | Reason::CertificateNotYetValid
            | Reason::CertificateExpired
            | Reason::RevocationUnknown
            | Reason::HandshakeNotSeen
    )
}

/// The user names of these devices that were good in `old` at its time and are not in `new` at its time.
pub fn leaving<'a>(
    (old, then): (&'a Snapshot, UnixSeconds),
    (new, now): (&'a Snapshot, UnixSeconds),
    changed: impl IntoIterator<Item = DeviceId> + 'a,
) -> impl Iterator<Item = Leaving> + 'a {
    let before = changed.into_iter().filter_map(|id| old.device(id));
    before.flat_map(|device| device.user_names()).filter_map(move |name| {
        old.present(Proof::UserName(name), then).ok()?;
        let refusal = new.present(Proof::UserName(name), now).err()?;
        Some(Leaving { user_name: name.into(), reason: refusal.reason })
    })
}
