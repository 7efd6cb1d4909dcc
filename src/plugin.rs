//! The plugin without C: one method for each question the broker asks, and one for each tick.
//!
//! Every question is answered from the current snapshot. What belongs to the broker's thread alone is on the [`Desk`];
//! a question that comes from any other thread (the HTTP API of 2.1) comes without it.

pub mod handshake;
pub mod kick;
pub mod session;

mod admission;
mod aftermath;
mod budget;
mod keys;
mod login;
mod pieces;
mod proofs;
mod refusal;
mod rush;
mod verdicts;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{self, Config, CrlExpired, Freshness, Ocsp, OnStale, Unknown};
use crate::credential::psk::{OpenError, Psk};
use crate::key_file::{self, KeyFileError};
use crate::live::cache::CacheFile;
use crate::live::heartbeat::Registration;
use crate::live::lists::{ListError, Lists};
use crate::live::responders::Asking;
use crate::live::{Live, Sources, Staleness, StartError, WithoutDatabase, unix_now};
use crate::policy::decision::{Action, Question, Reason};
use crate::policy::device::CredentialKind;
use crate::policy::revocation::Demands;
use crate::policy::snapshot::{Present, Proof};

use admission::begin;
use aftermath::Aftermath;
use handshake::Handshakes;
use keys::Keys;
use kick::{Cause, Kicks};
use login::Logins;
use refusal::{Refusals, Refused};
use rush::Rush;
use session::{Connection, ConnectionMark, Proved, Sessions};
use verdicts::Verdicts;

/// A broker that has not ticked after this time never will.
const FIRST_TICK: Duration = Duration::from_secs(3);

/// A client, as the broker shows it during one callback.
pub trait Client {
    /// See [`ConnectionMark`].
    fn mark(&self) -> ConnectionMark;
    /// Its client id; `None` where the broker has none (yet), or it is not UTF-8.
    fn client_id(&self) -> Option<&str>;
    /// Its user name; `None` where it has none, or it is not UTF-8.
    fn user_name(&self) -> Option<&str>;
    /// From where it is connected. The broker says so of no record that stands for somebody else.
    fn address(&self) -> Option<&str>;
    /// Whether it is connected.
    fn has_address(&self) -> bool {
        self.address().is_some()
    }
    /// Its certificate (DER), where it is connected with one.
    fn certificate(&self) -> Option<Vec<u8>>;
}

/// What the plugin may do to the broker, on its thread and outside other callbacks.
pub trait Broker {
    /// Closes the connection of the client with this id, and does not send its will.
    fn kick_client_id(&self, client_id: &str);
    /// Closes every connection of clients with this user name, and does not send their wills.
    fn kick_user_name(&self, user_name: &str);
    /// Whether it tells of clients that have connected.
    fn tells_of_connections(&self) -> bool;
}

/// An answer to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Answer<T = ()> {
    Allow(T),
    Deny,
    /// Somebody else is to decide.
    Defer,
}

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    To(Action),
    /// Take back a subscription.
    Unsubscribe,
}

/// What a client wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub access: Access,
    /// `None` where it is not UTF-8.
    pub topic: Option<&'a str>,
    pub qos: u8,
    pub retain: bool,
}

/// Why the broker must not start.
#[derive(Debug, thiserror::Error)]
pub enum NoStart {
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Live(StartError),
    #[error(transparent)]
    List(#[from] ListError),
    #[error(
        "the key file `{}` is not the one that this database is sealed with; \
         name the right one with plugin_opt_key_file",
        .0.display()
    )]
    OtherKey(PathBuf),
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    #[error("cannot start the thread that watches the key file: {0}")]
    Keys(std::io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot start the thread that upgrades passwords: {0}")]
    Upgrades(std::io::Error),
}

/// The plugin.
#[derive(Debug)]
pub struct Plugin {
    config: Config,
    keys: Keys,
    live: Live,
    handshakes: Handshakes,
    logins: Logins,
    refusals: Refusals,
    rush: Option<Rush>,
    started: Instant,
}

/// What belongs to the broker's thread alone.
///
/// Nothing in it is borrowed while the broker is called: a kick comes back as further questions.
#[derive(Debug, Default)]
pub struct Desk {
    sessions: RefCell<Sessions>,
    verdicts: RefCell<Verdicts>,
    kicks: RefCell<Kicks>,
    aftermath: RefCell<Aftermath>,
    /// Set while a client is thrown off: whether it keeps its subscriptions.
    kicking: Cell<Option<bool>>,
    /// From RELOAD to the next tick: the broker asks about everybody once more.
    reloading: Cell<bool>,
    ticked: Cell<bool>,
}

impl Desk {
    /// Whether the broker has ever called us on its tick.
    pub fn ticked(&self) -> bool {
        self.ticked.get()
    }
}

impl Plugin {
    /// Opens what `config` names. `wake` is called, from any thread, when the broker should tick soon; `mosquitto` is the
    /// broker's version.
    ///
    /// All that is missing is reported at once.
    pub fn start(config: Config, mosquitto: &str, wake: impl Fn() + Send + 'static) -> Result<Self, Vec<NoStart>> {
        let keys = key_file::read(&config.key_file).map_err(NoStart::from);
        let keys = keys.and_then(|key| Keys::watch(config.key_file.clone(), key).map_err(NoStart::Keys));
        let (lists, wrong_lists) = match Lists::read(&config.crl_files, &config.crl_issuers) {
            Ok(lists) => (lists, Vec::new()),
            Err(errors) => (Lists::default(), errors),
        };
        let registration = config.broker_name.clone().map(|name| Registration {
            name,
            interval: config.heartbeat_interval,
            mosquitto: mosquitto.to_owned(),
        });
        let sources = Sources { registration, ..sources(&config, keys.as_ref().ok(), lists) };
        let live = Live::start(sources, wake).map_err(|error| match error {
            StartError::OtherKey => NoStart::OtherKey(config.key_file.clone()),
            error => NoStart::Live(error),
        });
        let (keys, live) = match (keys, live) {
            (Ok(keys), Ok(live)) if wrong_lists.is_empty() => (keys, live),
            (keys, live) => {
                let others = [keys.err(), live.err()].into_iter().flatten();
                return Err(others.chain(wrong_lists.into_iter().map(NoStart::List)).collect());
            }
        };
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        if live.is_trusted() {
            let snapshot = live.snapshot();
            tracing::info!(
                // Unseen by the optimizer, so that the mark stays in the library's file in one piece.
                version = config::release_of(std::hint::black_box(config::RELEASE_MARK)),
                database = %config.database,
                revision = snapshot.revision(),
                devices = snapshot.device_count(),
                roles = snapshot.role_count(),
                "policy loaded"
            );
        }
        if let Some(address) = config.database.unverified() {
            tracing::warn!(
                database = %address,
                "nothing verifies that this server is the one that it should be; whoever is in between can admit \
                 devices: write sslmode=verify-full (PostgreSQL) or ssl-mode=VERIFY_IDENTITY (MariaDB, MySQL) in its address"
            );
        }
        let logins = Logins::new(&config).map_err(|error| vec![error])?;
        let refusals = Refusals::new(config.refusals_per_second);
        let rush = config.admission_rate.map(Rush::new);
        let (handshakes, started) = (Handshakes::default(), Instant::now());
        Ok(Self { config, keys, live, handshakes, logins, refusals, rush, started })
    }

    /// The key of this PSK identity. `None` stands for bytes that are no identity, such as a session ticket.
    pub fn psk_key(&self, desk: Option<&Desk>, client: &impl Client, identity: Option<&str>) -> Answer<Psk> {
        let Some(identity) = identity.filter(|identity| !identity.is_empty()) else {
            return self.unknown();
        };
        let refuse = |reason, device: Option<&str>| -> Answer<Psk> {
            self.refuse(&Refused { action: "handshake", user_name: Some(identity), device, ..Refused::by(reason) })
        };
        if let Err(reason) = self.ready(desk).and_then(|()| self.fresh()) {
            return refuse(reason, None);
        }
        let snapshot = self.live.snapshot();
        let device = match snapshot.present(Proof::Identity(CredentialKind::Psk, identity), unix_now()) {
            Ok(present) => present.device,
            Err(refusal) => return refuse(refusal.reason, refusal.device.map(|device| &*device.name)),
        };
        let sealed = device.credential(CredentialKind::Psk, identity).and_then(|psk| psk.secret.as_deref());
        match sealed.map(|sealed| self.keys.load().open(identity, sealed)) {
            Some(Ok(psk)) => {
                if let Some(desk) = desk {
                    desk.sessions.borrow_mut().handshake(client.mark(), identity);
                }
                Answer::Allow(psk)
            }
            // Written by somebody else than us, or sealed with another key.
            Some(Err(OpenError::OtherKey { .. })) => {
                self.refusals.hint(
                    "a pre-shared key is sealed with a key that the key file does not hold: \
                     copy the key file from where `warden key rotate` was run",
                );
                refuse(Reason::UnreadableDevice, Some(&device.name))
            }
            Some(Err(_)) | None => refuse(Reason::UnreadableDevice, Some(&device.name)),
        }
    }

    /// Who a client is that the broker has no name for, and what password it gives. Allowed, it is to be known by the user
    /// name in the answer, or keeps the one it has.
    pub fn login(
        &self,
        desk: Option<&Desk>,
        client: &impl Client,
        password: Option<&[u8]>,
    ) -> Answer<Option<Arc<str>>> {
        // The HTTP API of 2.1 asks from a thread of its own; no device logs in there.
        let Some(desk) = desk else { return self.unknown() };
        let certificate = if desk.reloading.get() {
            match self.asked_again(desk, client) {
                Some(answer) => return answer,
                // A client of somebody else, or the record of a persistent session whose client is away, which the
                // broker keeps whatever we say. Neither is worth a line in the log.
                None => match client.certificate() {
                    None if password.is_none() || !client.has_address() => return self.unknown(),
                    certificate => certificate,
                },
            }
        } else {
            client.certificate()
        };
        let client_id = client.client_id();
        let refuse = |reason, user_name: Option<&str>, device: Option<&str>| {
            self.refuse(&Refused { action: "connect", user_name, device, client_id, ..Refused::by(reason) })
        };
        let Some(certificate) = certificate else {
            let sessions = desk.sessions.borrow();
            return match sessions.handshake_of(client.mark()) {
                Some(identity) => {
                    self.refusals.hint(
                        "a PSK listener does not tell the plugin who its clients are: \
                         set `use_identity_as_username true` on it",
                    );
                    refuse(Reason::WrongListenerOptions, Some(identity), None)
                }
                None => match client.user_name() {
                    Some(user_name) => {
                        drop(sessions);
                        self.login_by_password(desk, client, user_name, password.unwrap_or_default())
                    }
                    None => refuse(Reason::UnknownIdentity, None, None),
                },
            };
        };
        let certificate = match self.certificate(&certificate) {
            Ok(certificate) => certificate,
            Err(reason) => return refuse(reason, None, None),
        };
        let name = &*certificate.identity;
        if let Err(reason) = self.ready(Some(desk)).and_then(|()| self.fresh_after_the_handshake()) {
            return refuse(reason, Some(name), None);
        }
        let snapshot = self.live.snapshot();
        let now = unix_now();
        match self.welcome(&snapshot, Proof::Certificate(&certificate), client_id, now) {
            Ok(welcome @ (Present { device, .. }, _)) => {
                if let Some(client_id) = client_id {
                    let connection = Connection { mark: client.mark(), client_id, user_name: &device.name };
                    let proved = Proved::Certificate(Arc::clone(&certificate));
                    begin(desk, &snapshot, welcome, proved, &connection, now);
                }
                Answer::Allow(Some(Arc::clone(&device.name)))
            }
            Err(refusal) => refuse(refusal.reason, Some(name), refusal.device.map(|device| &*device.name)),
        }
    }

    /// After a RELOAD the broker asks about every client once more, without what it proved: who is good is remembered.
    fn asked_again(&self, desk: &Desk, client: &impl Client) -> Option<Answer<Option<Arc<str>>>> {
        let (client_id, user_name) = (client.client_id()?, client.user_name()?);
        let connection = Connection { mark: client.mark(), client_id, user_name };
        let mut sessions = desk.sessions.borrow_mut();
        let held = sessions.find_held(&connection)?;
        let good = self.renew_stay(held, &connection, &self.live.snapshot()).is_ok();
        Some(if good { Answer::Allow(None) } else { Answer::Deny })
    }

    /// A client has connected (2.1 tells so). One that the broker named by itself was asked about by nobody yet.
    pub fn connected(&self, desk: &Desk, client: &impl Client) {
        let Some(user_name) = client.user_name() else { return };
        let Some(client_id) = client.client_id() else { return desk.sessions.borrow_mut().lack_one() };
        // The tick throws off whoever is refused.
        let connection = Connection { mark: client.mark(), client_id, user_name };
        let refused = Refused { action: "connect", ..Refused::by(Reason::UnknownIdentity) };
        let _ = self.admit(Some(desk), client, &connection, self.live.snapshot(), refused);
        let mut sessions = desk.sessions.borrow_mut();
        if sessions.find(&connection).is_none() && !desk.kicks.borrow().awaits(client_id) {
            sessions.lack_one();
        }
    }

    /// Whether a client may do what it wants to.
    pub fn check(&self, desk: Option<&Desk>, client: &impl Client, attempt: &Attempt<'_>) -> Answer {
        let action = match attempt.access {
            Access::To(action) => action.as_str(),
            Access::Unsubscribe => "unsubscribe",
        };
        if let Some(keeps) = desk.and_then(|desk| desk.kicking.get())
            && attempt.access == Access::To(Action::Subscribe)
        {
            // The broker asks whether one that we are throwing off may keep its subscriptions.
            return if keeps { Answer::Allow(()) } else { Answer::Deny };
        }
        // Loaded before anything is looked at that may be far away in memory: it is a barrier to the processor, which can
        // wait for all that comes behind it at once.
        let snapshot = self.live.snapshot();
        let client_id = client.client_id();
        let Some(user_name) = client.user_name() else {
            if self.config.unknown == Unknown::Deny {
                let refused = Refused { action, client_id, topic: attempt.topic, ..Refused::by(Reason::NoUserName) };
                self.refusals.report(&refused);
            }
            return self.unknown();
        };
        let connection = Connection { mark: client.mark(), client_id: client_id.unwrap_or_default(), user_name };
        let question = match attempt.access {
            // No filter matches NUL, whatever is asked.
            Access::To(action) => {
                let topic = attempt.topic.unwrap_or("\0");
                Some(Question { action, topic, qos: attempt.qos, retain: attempt.retain })
            }
            Access::Unsubscribe => None,
        };
        let verdicts = desk.map(|desk| &desk.verdicts);
        let place =
            verdicts.zip(question).and_then(|(table, question)| table.borrow().place(connection.mark, &question));
        let refused = Refused { action, topic: attempt.topic, ..Refused::by(Reason::UnknownIdentity) };
        let admitted = match self.admit(desk, client, &connection, snapshot, refused) {
            Ok(admitted) => admitted,
            Err(Reason::UnknownIdentity) => return self.unknown(),
            Err(_) => return Answer::Deny,
        };
        // To take back a subscription is no right that a rule could give.
        let Some(question) = question else { return Answer::Allow(()) };
        let remembered = verdicts.zip(place).zip(admitted.stay());
        if remembered.is_some_and(|((verdicts, place), stay)| verdicts.borrow().allow(place, stay, &question)) {
            return Answer::Allow(());
        }
        let names = admitted.names(client_id, user_name);
        let verdict = admitted.snapshot.judge_by(admitted.roles(), &names, &question);
        if verdict.allowed {
            if let Some(((verdicts, place), stay)) = remembered {
                verdicts.borrow_mut().remember(place, stay, &question);
            }
            return Answer::Allow(());
        }
        self.refusals.report(&Refused {
            action,
            user_name: Some(user_name),
            device: Some(&admitted.device().name),
            client_id,
            topic: attempt.topic,
            rule: verdict.rule,
            reason: verdict.reason,
        });
        Answer::Deny
    }

    /// A connection has ended.
    pub fn disconnected(&self, desk: &Desk, client: &impl Client) {
        let client_id = client.client_id();
        desk.sessions.borrow_mut().end(client.mark());
        if let Some(client_id) = client_id
            && desk.sessions.borrow().with_client_id(client_id).is_none()
        {
            desk.kicks.borrow_mut().forget(client_id);
        }
    }

    /// The broker reads its configuration again (SIGHUP), and will ask about every client.
    pub fn reload(&self, desk: &Desk) {
        desk.reloading.set(true);
    }

    /// Throws off whom the policy no longer lets be here.
    pub fn tick(&self, desk: &Desk, broker: &impl Broker) {
        desk.ticked.set(true);
        self.live.heard();
        desk.reloading.set(false);
        desk.sessions.borrow_mut().tick();
        self.see_to_changes(desk, broker, Instant::now());
        self.live.count_sessions(desk.sessions.borrow().count());
        self.refusals.tick();
    }

    /// Whether connecting clients can be told the truth: the policy is as fresh as the operator wants it.
    fn fresh(&self) -> Result<(), Reason> {
        let fresh = match self.config.freshness {
            Freshness::Strict => self.live.confirm(self.config.barrier_timeout).is_ok(),
            Freshness::Bounded => self.live.age().is_some_and(|age| age <= self.config.max_staleness),
        };
        if !self.live.is_trusted() {
            return Err(Reason::StalePolicy);
        }
        if fresh || self.config.on_stale == OnStale::Serve { Ok(()) } else { Err(Reason::StalePolicy) }
    }

    /// As [`Self::fresh`], for those whose certificate was not judged in the handshake. For the others that was enough: they
    /// are sessions now, and what changes after it reaches them as it reaches every session.
    fn fresh_after_the_handshake(&self) -> Result<(), Reason> {
        if self.handshakes.are_seen() { Ok(()) } else { self.fresh() }
    }

    /// Whether the broker ticks: without it nobody could be thrown off.
    fn ready(&self, desk: Option<&Desk>) -> Result<(), Reason> {
        if desk.is_some_and(|desk| !desk.ticked.get()) && self.started.elapsed() > FIRST_TICK {
            self.refusals.hint(
                "this broker never gives the plugin a tick, so no revocation could end a session: \
                 with 2.0.11, remove `per_listener_settings true`",
            );
            return Err(Reason::WrongListenerOptions);
        }
        Ok(())
    }

    /// Denies and says so, unless it is somebody whom others are to decide about.
    fn refuse<T>(&self, refused: &Refused<'_>) -> Answer<T> {
        let answer = if refused.reason == Reason::UnknownIdentity { self.unknown() } else { Answer::Deny };
        if !matches!(answer, Answer::Defer) {
            self.refusals.report(refused);
        }
        answer
    }

    /// What is said to somebody whom the database does not know.
    fn unknown<T>(&self) -> Answer<T> {
        match self.config.unknown {
            // Without a policy, nobody knows who is unknown to the database.
            Unknown::Defer if self.live.age().is_some() => Answer::Defer,
            Unknown::Deny | Unknown::Defer => Answer::Deny,
        }
    }
}

/// What is followed, as the configuration says.
fn sources(config: &Config, keys: Option<&Keys>, lists: Lists) -> Sources {
    Sources {
        database: config.database.clone(),
        poll_interval: config.poll_interval,
        demands: Demands {
            current_lists: config.crl_expired == CrlExpired::Refuse,
            standing: config.ocsp == Ocsp::Hard,
        },
        lists,
        asking: (config.ocsp != Ocsp::Off).then(|| Asking {
            responder: config.ocsp_responder.clone(),
            refresh: config.ocsp_refresh,
            require_nonce: config.ocsp_require_nonce,
        }),
        keys: keys.map(Keys::shared),
        cache: keys.zip(config.cache_file.clone()).map(|(keys, path)| CacheFile {
            path,
            key: keys.load().for_caches(),
            max_age: config.cache_max_age,
        }),
        without_database: WithoutDatabase {
            from_cache: config.start_without_database.may_use_the_cache(),
            refusing: config.start_without_database.may_refuse(),
        },
        staleness: Staleness {
            bound: (config.freshness == Freshness::Bounded).then_some(config.max_staleness),
            serve: config.on_stale == OnStale::Serve,
        },
        registration: None,
    }
}

/// While this lives, a client is being thrown off; also where a panic ends it, nobody is afterwards.
struct Kicking<'d>(&'d Cell<Option<bool>>);

impl<'d> Kicking<'d> {
    fn begin(kicking: &'d Cell<Option<bool>>, cause: Cause) -> Self {
        kicking.set(Some(cause.keeps_subscriptions));
        Self(kicking)
    }
}

impl Drop for Kicking<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
