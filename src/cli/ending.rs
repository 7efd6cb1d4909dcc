//! What `warden device revoke` has ended, or would end.

use serde_json::{Value, json};

use super::credential;
use super::issued;
use crate::store::device::Status;
use crate::store::ending::Ended;

/// It as an object, and as lines.
pub(super) fn told(device: &str, ended: &Ended, dry_run: bool) -> (Value, String) {
    let now = jiff::Timestamp::now().as_second();
    let object = json!({
        "device": device,
        "status": if dry_run { ended.status.as_str() } else { Status::Revoked.as_str() },
        "changed": ended.changed() && !dry_run,
        "dry_run": dry_run,
        "credentials": ended.credentials.iter().map(credential::to_json).collect::<Value>(),
        "certificates": ended.certificates.iter().map(|one| issued::to_json(one, now)).collect::<Value>(),
    });
    let already = ended.status == Status::Revoked.as_str();
    let mut lines = vec![match (already, dry_run) {
        (true, _) => format!("device `{device}` is already revoked"),
        (false, true) => format!("device `{device}` would be revoked"),
        (false, false) => format!("device `{device}` is now revoked"),
    }];
    let verb = if dry_run { "would be revoked" } else { "revoked" };
    lines.extend(ended.credentials.iter().map(|it| format!("credential {} `{}` {verb}", it.kind, it.identity)));
    let certificates = ended.certificates.iter();
    lines.extend(certificates.map(|it| format!("certificate `{}` of `{}` {verb}", it.serial, it.issuer)));
    (object, lines.join("\n"))
}
