//! Planned devices on their way into the database: keys are sealed, hashes go as they are.

use super::error::CliError;
use crate::credential::psk::{Psk, SealingKey};
use crate::import::plan::{Credential, Device, Secret};
use crate::policy::device::CredentialKind;
use crate::store::bulk::{Entry, EntryCredential};

/// Whether pre-shared keys are among the credentials, so that the key file is needed.
pub(super) fn need_sealing(devices: &[Device]) -> bool {
    let mut credentials = devices.iter().flat_map(|device| &device.credentials);
    credentials.any(|credential| matches!(credential.secret, Secret::Psk(_) | Secret::NewPsk))
}

/// A device as the store takes it. Keys that are to be made are not there yet.
pub(super) fn entry(device: &Device, sealing: Option<&SealingKey>) -> anyhow::Result<Entry> {
    let credentials = device.credentials.iter().map(|credential| entry_credential(credential, sealing));
    Ok(Entry {
        name: device.name.clone(),
        client_id: device.client_id.clone(),
        attributes: device.attributes.clone(),
        suspended: device.suspended.map(str::to_owned),
        roles: device.roles.clone(),
        credentials: credentials.collect::<anyhow::Result<_>>()?,
    })
}

fn entry_credential(credential: &Credential, sealing: Option<&SealingKey>) -> anyhow::Result<EntryCredential> {
    let identity = credential.identity.clone();
    let of = |kind| EntryCredential { kind, identity: identity.clone(), secret: None, digest: None };
    Ok(match &credential.secret {
        Secret::CommonName => of(CredentialKind::X509Cn),
        Secret::NewPsk => of(CredentialKind::Psk),
        Secret::Psk(psk) => {
            let mut sealed = of(CredentialKind::Psk);
            seal(&mut sealed, psk, sealing)?;
            sealed
        }
        Secret::Password(hash) => {
            EntryCredential { secret: Some(hash.as_str().to_owned()), ..of(CredentialKind::Password) }
        }
    })
}

/// Gives a credential its key, sealed.
pub(super) fn seal(credential: &mut EntryCredential, psk: &Psk, sealing: Option<&SealingKey>) -> anyhow::Result<()> {
    let sealing = sealing.ok_or(CliError::NoKeyYet)?;
    credential.secret = Some(sealing.seal(&credential.identity, psk)?);
    credential.digest = Some(sealing.digest(psk));
    Ok(())
}
