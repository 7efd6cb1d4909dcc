//! What is found in credentials.

use std::collections::HashMap;

use super::{
    Audited, BEGINNING_OVER, BEGINNING_WITHOUT_END, CREDENTIAL_ENDED, CREDENTIAL_ENDS, Fleet, NO_CREDENTIAL,
    NO_GOOD_CREDENTIAL, NOT_YET_VALID, SERIAL_WITHOUT_ISSUER, SHARED_IDENTITY, UNREADABLE_PASSWORD, WEAK_PASSWORD_HASH,
};
use crate::audit::finding::{Finding, Kind};
use crate::credential::password::{Cost, PasswordHash};
use crate::policy::device::{Credential, CredentialKind, Device, DeviceStatus};

pub(super) fn look(audited: &Audited<'_>, fleet: &Fleet<'_>, findings: &mut Vec<Finding>) {
    let owners = owners(fleet);
    for device in fleet.devices.iter().filter(|device| device.unreadable.is_none()) {
        for credential in &device.credentials {
            look_for_others(device, credential, &owners, findings);
            look_at_password(device, credential, findings);
        }
        if device.status == DeviceStatus::Active {
            look_at_validity(audited, device, findings);
        }
    }
}

fn look_at_validity(audited: &Audited<'_>, device: &Device, findings: &mut Vec<Finding>) {
    let Audited { now, expiring, .. } = *audited;
    let mut tell = |kind: Kind, credential: Option<&Credential>, what: String, remedy: String| {
        let of = |credential: &Credential| {
            format!("device {}, {} {}", device.name, credential.kind.as_str(), credential.identity)
        };
        let place = credential.map_or_else(|| format!("device {}", device.name), of);
        findings.push(Finding { kind, place, what, remedy });
    };
    let add = format!("`warden credential add {} …`", device.name);
    if device.credentials.is_empty() {
        return tell(NO_CREDENTIAL, None, "it has no credential, so that it cannot connect".to_owned(), add);
    }
    let over = |credential: &Credential| credential.limits.role.is_some() && device.has_certificate();
    // What is not valid yet will be.
    let lasts = |credential: &Credential| {
        !credential.revoked && !over(credential) && credential.limits.not_after.is_none_or(|end| now < end)
    };
    if !device.credentials.iter().any(lasts) {
        let what = "all its credentials are revoked or have ended, so that it cannot connect".to_owned();
        return tell(NO_GOOD_CREDENTIAL, None, what, format!("{add}, or `warden device revoke {}`", device.name));
    }
    for credential in device.credentials.iter().filter(|credential| !credential.revoked) {
        let kind = credential.kind.as_str();
        if over(credential) {
            let what = "it is over, but would be good again if the device's certificates were removed".to_owned();
            let remedy =
                format!("`warden credential revoke {} {kind} --identity {}`", device.name, credential.identity);
            tell(BEGINNING_OVER, Some(credential), what, remedy);
            continue;
        }
        if credential.limits.role.is_some() && credential.limits.not_after.is_none() {
            let what = "it is good until the device has a certificate, whenever that may be".to_owned();
            let remedy = "an end, with `--until` or `--not-after` when it is added".to_owned();
            tell(BEGINNING_WITHOUT_END, Some(credential), what, remedy);
        }
        if let Some(end) = credential.limits.not_after {
            let others = device.credentials.iter().filter(|other| lasts(other) && *other != credential).count();
            let left = if others == 0 { "; it is its last" } else { "" };
            if end <= now {
                let remedy = format!("`warden credential remove {} {kind}`", device.name);
                tell(CREDENTIAL_ENDED, Some(credential), format!("it ended {}", days(now - end, "ago")), remedy);
            } else if end - now <= expiring {
                tell(
                    CREDENTIAL_ENDS,
                    Some(credential),
                    format!("it ends {}{left}", days(end - now, "from now")),
                    add.clone(),
                );
            }
        }
        if credential.limits.not_before.is_some_and(|start| now < start) {
            let what = format!("it begins {}", days(credential.limits.not_before.unwrap_or(now) - now, "from now"));
            tell(NOT_YET_VALID, Some(credential), what, "nothing, if that is meant".to_owned());
        }
    }
}

/// A time in days, or in hours where it is less than two of them.
fn days(seconds: i64, side: &str) -> String {
    let (day, hour) = (86_400, 3_600);
    if seconds >= 2 * day {
        format!("{} days {side}", seconds / day)
    } else {
        format!("{} hours {side}", seconds / hour)
    }
}

fn look_at_password(device: &Device, credential: &Credential, findings: &mut Vec<Finding>) {
    if credential.kind != CredentialKind::Password || credential.revoked {
        return;
    }
    let stored = PasswordHash::parse(credential.secret.as_deref().unwrap_or_default());
    let (kind, what, remedy) = match stored {
        Ok(hash) if hash.is_as_good_as(Cost::default()) => return,
        Ok(hash) => (
            WEAK_PASSWORD_HASH,
            format!("its hash ({}) costs less to guess than a new one", hash.form()),
            "`password_upgrade = true` among the plugin's options, which replaces it at its next login".to_owned(),
        ),
        Err(error) => (
            UNREADABLE_PASSWORD,
            error.to_string(),
            format!("`warden credential add {} password --identity {} --replace`", device.name, credential.identity),
        ),
    };
    findings.push(Finding {
        kind,
        place: format!("device {}, password {}", device.name, credential.identity),
        what,
        remedy,
    });
}

type Owners<'f> = HashMap<&'f str, Vec<(&'f Device, Option<CredentialKind>)>>;

/// Whose each name and each identity is.
fn owners<'f>(fleet: &'f Fleet<'_>) -> Owners<'f> {
    let mut owners: Owners<'_> = HashMap::new();
    for device in &fleet.devices {
        owners.entry(&device.name).or_default().push((device, None));
        for credential in &device.credentials {
            owners.entry(&credential.identity).or_default().push((device, Some(credential.kind)));
        }
    }
    owners
}

fn look_for_others(device: &Device, credential: &Credential, owners: &Owners<'_>, findings: &mut Vec<Finding>) {
    let place = || format!("device {}, {} {}", device.name, credential.kind.as_str(), credential.identity);
    if credential.kind == CredentialKind::X509Serial && credential.limits.issuer.is_none() && !credential.revoked {
        findings.push(Finding {
            kind: SERIAL_WITHOUT_ISSUER,
            place: place(),
            what: "another authority may have issued a certificate with this serial number".to_owned(),
            remedy: "remove the credential, and add it with `--issuer CA.crt`".to_owned(),
        });
    }
    let others = owners.get(&*credential.identity).into_iter().flatten();
    let mut others = others.filter(|(owner, kind)| {
        // Of two credentials, the one whose kind comes later is told, so that a pair is told once.
        let later = kind.is_none_or(|kind| kind.as_str() < credential.kind.as_str());
        owner.id != device.id && later
    });
    if let Some((owner, kind)) = others.next() {
        let whose = kind.map_or("the name".to_owned(), |kind| format!("the {} identity", kind.as_str()));
        findings.push(Finding {
            kind: SHARED_IDENTITY,
            place: place(),
            what: format!("this is also {whose} of device `{}`", owner.name),
            remedy: "give one of the two another identity, so that logs and people cannot take one for the other"
                .to_owned(),
        });
    }
}
