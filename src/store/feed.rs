//! What a reader of the database is told: nothing new, what changed, or everything.
//!
//! Whoever follows a feed applies a delta to what it has, and starts afresh when it is given everything: after a start,
//! after the database was away for longer than its change log reaches, and after another one was put in its place.

use crate::policy::certificate::CertificateId;
use crate::policy::device::{Device, DeviceId, RoleId};
use crate::policy::role::Role;

/// What was found when the database was asked.
#[derive(Debug)]
pub enum Update {
    /// Nothing newer is committed.
    Nothing,
    /// These devices, roles and revoked certificates are different now.
    Changes(Changes),
    /// The whole policy.
    Everything(Everything),
}

/// What is different since the last update. `None` stands for what is no more.
#[derive(Debug, Default)]
pub struct Changes {
    pub revision: i64,
    pub devices: Vec<(DeviceId, Option<Device>)>,
    pub roles: Vec<(RoleId, Option<Role>)>,
    /// Rows of revoked certificates, by number.
    pub certificates: Vec<(i64, Option<CertificateId>)>,
    /// Which of these rows name no certificate, and why. They revoke nothing.
    pub unreadable_certificates: Vec<(i64, Box<str>)>,
}

/// The whole policy of one revision.
#[derive(Debug, Default)]
pub struct Everything {
    pub revision: i64,
    pub devices: Vec<Device>,
    pub roles: Vec<Role>,
    /// Rows of revoked certificates, by number.
    pub certificates: Vec<(i64, CertificateId)>,
    /// Rows that name no certificate, and why. They revoke nothing.
    pub unreadable_certificates: Vec<(i64, Box<str>)>,
}
