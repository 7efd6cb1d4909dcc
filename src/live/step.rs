//! From one version of the policy to the next: what an update of the database makes of it.

use crate::policy::certificate::CertificateId;
use crate::policy::device::{DeviceId, RoleId, SharedDevice};
use crate::policy::snapshot::Snapshot;
use crate::store::feed::{Everything, Update};

/// A version, and what differs in it from the one before.
pub(super) struct Step {
    pub(super) snapshot: Snapshot,
    pub(super) devices: Vec<DeviceId>,
    roles: Vec<RoleId>,
    pub(super) revoked: Vec<CertificateId>,
    /// Rows of revoked certificates that name none, and why.
    unreadable: Vec<(i64, Box<str>)>,
}

impl Step {
    /// The version after this update; `None` where nothing is new.
    pub(super) fn after(old: &Snapshot, update: Update) -> Option<Self> {
        match update {
            Update::Nothing => None,
            Update::Changes(changes) => {
                let devices = changes.devices.iter().map(|(id, _)| *id).collect();
                let roles = changes.roles.iter().map(|(id, _)| *id).collect();
                let is_new = |id: &CertificateId| !old.revocations().contains(id);
                let revoked = changes.certificates.iter().filter_map(|(_, id)| *id).filter(is_new).collect();
                let mut revocations = old.revocations().clone();
                revocations.change_rows(changes.certificates);
                let snapshot = old.next(changes.revision, changes.devices, changes.roles);
                let snapshot = snapshot.with_revocations(revocations);
                let unreadable = changes.unreadable_certificates;
                Some(Self { snapshot, devices, roles, revoked, unreadable })
            }
            Update::Everything(all) => Some(Self::to(old, all)),
        }
    }

    /// The version that is all of this.
    pub(super) fn to(old: &Snapshot, all: Everything) -> Self {
        let mut revocations = old.revocations().without_rows();
        revocations.change_rows(all.certificates.into_iter().map(|(number, id)| (number, Some(id))));
        let revoked = revocations.named().filter(|id| !old.revocations().contains(id)).copied().collect();
        let snapshot = Snapshot::whole(all.revision, all.devices, all.roles).with_revocations(revocations);
        let gone = old.devices().filter(|device| snapshot.device(device.id).is_none());
        let differs = |device: &&SharedDevice| old.device(device.id) != Some(*device);
        let devices = snapshot.devices().filter(differs).chain(gone).map(|device| device.id).collect();
        let roles = snapshot.roles().map(|role| role.id()).collect();
        Self { snapshot, devices, roles, revoked, unreadable: all.unreadable_certificates }
    }

    /// One log line for each row that has become unreadable.
    pub(super) fn report_unreadable(&self, old: &Snapshot) {
        for device in self.devices.iter().filter_map(|id| self.snapshot.device(*id)) {
            let before = old.device(device.id).and_then(|device| device.unreadable.as_ref());
            if let Some(why) = device.unreadable.as_ref().filter(|why| before != Some(*why)) {
                let name = device.name.escape_debug();
                tracing::warn!(device = %name, number = device.id, %why, "unreadable device is refused");
            }
        }
        for (number, why) in &self.unreadable {
            tracing::error!(number, %why, "unreadable row of revoked_certificates: IT REVOKES NOTHING");
        }
        for role in self.roles.iter().filter_map(|id| self.snapshot.role(*id)) {
            let name = role.name().escape_debug();
            for rule in role.unreadable() {
                let effect = if rule.may_deny { "its role denies everything" } else { "it allows nothing" };
                tracing::warn!(role = %name, rule = rule.id, why = %rule.why, "unreadable rule: {effect}");
            }
        }
    }
}
