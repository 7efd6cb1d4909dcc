//! Logins with user name and password.
//!
//! No broker of 2.0 or 2.1 lets a plugin answer later without losing clients, so a password is verified where the broker
//! asks, and the broker waits meanwhile. What keeps that short is here: who has proved its password before is answered
//! from [`Proofs`], and what is hashed is within a [`Budget`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::admission::begin;
use super::budget::{Budget, Source};
use super::proofs::Proofs;
use super::refusal::Refused;
use super::session::{Connection, Proved};
use super::{Answer, Client, Desk, NoStart, Plugin};
use crate::config::{Config, Unknown};
use crate::credential::password::{self, Cost, MOST_BYTES, PasswordHash};
use crate::live::unix_now;
use crate::live::upgrades::{Upgrade, Upgrades};
use crate::policy::decision::Reason;
use crate::policy::device::{CredentialKind, DeviceId};
use crate::policy::snapshot::{Present, Proof, Snapshot};

/// All that logins need to remember.
#[derive(Debug)]
pub(super) struct Logins {
    /// The broker's thread is the only one that logs anybody in; nothing is waited for while it is held.
    accounts: Mutex<Accounts>,
    cost: Cost,
    /// The hash of nobody's password: what is verified for those who have none, so that it takes as long.
    decoy: PasswordHash,
    upgrades: Option<Upgrades>,
}

#[derive(Debug)]
struct Accounts {
    budget: Budget,
    proofs: Proofs,
}

impl Logins {
    pub(super) fn new(config: &Config) -> Result<Self, NoStart> {
        let mut nobodys = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *nobodys).map_err(|_| NoStart::NoRandomness)?;
        let decoy = password::hash(&*nobodys, config.password_cost).and_then(|text| PasswordHash::parse(&text));
        let upgrades = config.password_upgrade.then(|| Upgrades::start(&config.database, config.password_cost));
        Ok(Self {
            accounts: Mutex::new(Accounts {
                budget: Budget::new(config.login_budget, config.login_attempts, Instant::now()),
                proofs: Proofs::new().map_err(|_| NoStart::NoRandomness)?,
            }),
            cost: config.password_cost,
            decoy: decoy.map_err(|_| NoStart::NoRandomness)?,
            upgrades: upgrades.transpose().map_err(NoStart::Upgrades)?,
        })
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This device was changed: what it has proved by what it has no more is forgotten.
    pub(super) fn changed(&self, id: DeviceId, snapshot: &Snapshot) {
        self.accounts().proofs.changed(id, snapshot.device(id).map(|device| &**device));
    }

    /// Whether this is the password of which `stored` is the hash, and how that is known. Takes as long for those who
    /// have no hash, or one that costs less than a new one, as for one whose password is wrong.
    fn verify(&self, stored: Option<&str>, password: &[u8]) -> (Found, Duration) {
        let start = Instant::now();
        let hash = stored.map(PasswordHash::parse);
        let found = match &hash {
            Some(Err(_)) => Found::Unreadable,
            Some(Ok(hash)) if hash.matches(password) => Found::Right { upgrade: !hash.is_as_good_as(self.cost) },
            None | Some(Ok(_)) => Found::Wrong,
        };
        let cheaper = !matches!(&hash, Some(Ok(hash)) if hash.is_as_good_as(self.cost));
        if cheaper && !matches!(found, Found::Right { .. }) {
            let _ = self.decoy.matches(password);
        }
        (found, start.elapsed())
    }
}

/// What came of looking at a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Right {
        /// Its hash is to be replaced by a better one.
        upgrade: bool,
    },
    Wrong,
    /// What is stored is no hash that can be verified.
    Unreadable,
}

impl Plugin {
    /// Whether a client that gives this user name and password may be here. Allowed, it is known by its device's name.
    pub(super) fn login_by_password(
        &self,
        desk: &Desk,
        client: &impl Client,
        user_name: &str,
        password: &[u8],
    ) -> Answer<Option<Arc<str>>> {
        let client_id = client.client_id();
        let refuse = |reason, device: Option<&str>| {
            let refused =
                Refused { action: "connect", user_name: Some(user_name), device, client_id, ..Refused::by(reason) };
            self.refuse(&refused)
        };
        // Whom the budget does not cover, and who is not known, does not even make the broker wait for the database.
        let source = Source::of(client.address());
        let covered = {
            let accounts = self.logins.accounts();
            accounts.budget.allows(&accounts.proofs.tried(user_name), source, Instant::now())
        };
        if !covered && !self.knows(&self.live.snapshot(), user_name, password) {
            return self.over_budget(user_name, &refuse);
        }
        if let Err(reason) = self.ready(Some(desk)).and_then(|()| self.fresh()) {
            return refuse(reason, None);
        }
        let snapshot = self.live.snapshot();
        let owner = snapshot.owner(CredentialKind::Password, user_name);
        if owner.is_none() && self.config.unknown == Unknown::Defer {
            // Somebody else's user, whose password is not ours to hash.
            return Answer::Defer;
        }
        let name = owner.map(|device| &*device.name);
        let stored = owner.and_then(|device| device.credential(CredentialKind::Password, user_name)?.secret.as_deref());
        let wrong = if owner.is_some() { Reason::WrongPassword } else { Reason::UnknownIdentity };
        if password.is_empty() || password.len() > MOST_BYTES {
            return refuse(wrong, name);
        }
        if !self.knows(&snapshot, user_name, password) {
            if !covered {
                return self.over_budget(user_name, &refuse);
            }
            let (found, time) = self.logins.verify(stored, password);
            let now = Instant::now();
            let Accounts { budget, proofs } = &mut *self.logins.accounts();
            let tried = proofs.tried(user_name);
            budget.hashed(time, now);
            match (found, owner, stored) {
                (Found::Right { upgrade }, Some(device), Some(stored)) => {
                    budget.right(&tried);
                    proofs.remember(device.id, user_name, stored, password);
                    if let Some(upgrades) = self.logins.upgrades.as_ref().filter(|_| upgrade) {
                        upgrades.ask(Upgrade::new(user_name, stored, password));
                    }
                }
                (found, ..) => {
                    budget.wrong(tried, source, now);
                    return refuse(if found == Found::Unreadable { Reason::UnreadableDevice } else { wrong }, name);
                }
            }
        }
        let hash = stored.unwrap_or_default();
        let now = unix_now();
        match self.welcome(&snapshot, Proof::Password { user_name, hash }, client_id, now) {
            Ok(welcome @ (Present { device, .. }, _)) => {
                if let Some(client_id) = client_id {
                    let connection = Connection { mark: client.mark(), client_id, user_name: &device.name };
                    let proved = Proved::Password { user_name: user_name.into(), hash: hash.into() };
                    begin(desk, &snapshot, welcome, proved, &connection, now);
                }
                Answer::Allow((*device.name != *user_name).then(|| Arc::clone(&device.name)))
            }
            Err(refusal) => refuse(refusal.reason, name),
        }
    }

    /// Whether this password has been right before, for the hash that is stored now.
    fn knows(&self, snapshot: &Snapshot, user_name: &str, password: &[u8]) -> bool {
        let Some(device) = snapshot.owner(CredentialKind::Password, user_name) else { return false };
        let stored = device.credential(CredentialKind::Password, user_name).and_then(|it| it.secret.as_deref());
        stored.is_some_and(|hash| self.logins.accounts().proofs.knows(device.id, user_name, hash, password))
    }

    fn over_budget<T>(&self, user_name: &str, refuse: &impl Fn(Reason, Option<&str>) -> Answer<T>) -> Answer<T> {
        let snapshot = self.live.snapshot();
        match snapshot.owner(CredentialKind::Password, user_name) {
            None if self.config.unknown == Unknown::Defer => Answer::Defer,
            owner => refuse(Reason::LoginBudget, owner.map(|device| &*device.name)),
        }
    }
}
