//! The access controls that are compared, and a broker with each of them.

use std::time::{Duration, Instant};

use super::harness::wire::{context, dial, shake_hands};
use super::harness::{Broker, Client, Connect, Crowd, Listen, Mosquitto, TlsVersion, eventually};
use super::population::{Member, PASSWORD, Population};
use openssl::ssl::{Ssl, SslContext};

/// What takes longer to start is not waited for.
const LONGEST_START: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Control {
    /// Anybody may do anything. What knows the pre-shared keys is a `psk_file` with few of them.
    None,
    /// `acl_file` with a section for each user, `password_file`, `psk_file`.
    Sections,
    /// The same with two `pattern` lines for all devices.
    Patterns,
    /// Mosquitto's own plugin, and `psk_file`.
    DynamicSecurity,
    Warden,
}

impl Control {
    pub(crate) const ALL: [Self; 5] = [Self::None, Self::Sections, Self::Patterns, Self::DynamicSecurity, Self::Warden];

    /// The word by which it is chosen, and how tables and plots call it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sections => "sections",
            Self::Patterns => "patterns",
            Self::DynamicSecurity => "dynamic-security",
            Self::Warden => "warden",
        }
    }

    /// fleet.conf, and a listener for passwords without TLS, with this control instead of ours.
    fn configuration(self, listeners: &[Listener], population: &Population, mosquitto: &Mosquitto) -> String {
        let ours = population.fleet.configuration("fleet.conf");
        let path = |file: &str| population.file(file).display().to_string();
        let keys = |file: &str| {
            if listeners.contains(&Listener::Psk) { format!("psk_file {}", path(file)) } else { String::new() }
        };
        let files = |acl: &str| {
            let ([passwords, acl], keys) = (["passwords", acl].map(path), keys("psk"));
            format!("password_file {passwords}\n{keys}\nacl_file {acl}")
        };
        let global = match self {
            Self::None => keys("psk-of-few"),
            Self::Sections => files("acl-sections"),
            Self::Patterns => files("acl-patterns"),
            Self::DynamicSecurity => {
                let file = if mosquitto.has_connect_event() { "dynsec-patterns.json" } else { "dynsec-roles.json" };
                let plugin = mosquitto.dynamic_security().0.display().to_string();
                format!("plugin {plugin}\nplugin_opt_config_file {}\n{}", path(file), keys("psk"))
            }
            Self::Warden => String::new(),
        };
        let ours = ours
            .lines()
            .filter(|line| self == Self::Warden || !line.starts_with("plugin"))
            .fold(String::new(), |text, line| text + line + "\n");
        let anonymous = if self == Self::None { "allow_anonymous true" } else { "allow_anonymous false" };
        // Every message counts, so none is dropped because many wait.
        let ours = ours.replace("allow_anonymous false", &format!("{anonymous}\n{global}\nmax_queued_messages 0"));
        format!("{ours}\nlistener 8886\n")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Listener {
    Plain,
    Certificates,
    Psk,
}

impl Listener {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Certificates, Self::Psk];

    /// The word by which it is chosen, and how tables call it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Certificates => "certificates",
            Self::Psk => "psk",
        }
    }
}

/// A broker with one of the controls.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) control: Control,
    pub(crate) broker: Broker,
    pub(crate) started: Duration,
}

impl Running {
    /// Starts it for those who come to these listeners, as quiet as one that an operator starts; or nothing, if that takes
    /// too long.
    pub(crate) fn start(
        control: Control,
        listeners: &[Listener],
        population: &Population,
        mosquitto: &Mosquitto,
    ) -> Result<Self, String> {
        let configuration = control.configuration(listeners, population, mosquitto);
        let (begun, directory) = (Instant::now(), population.fleet.path(""));
        match Broker::start_within(LONGEST_START, &[], mosquitto, &directory, &configuration) {
            Ok(broker) => Ok(Self { control, broker, started: begun.elapsed() }),
            Err(failure) => {
                assert!(begun.elapsed() > LONGEST_START, "{control:?}: {:?}: {}", failure.code, failure.log);
                Err(format!("starts in > {} s", LONGEST_START.as_secs()))
            }
        }
    }

    /// Somebody who is let in; with a password, after some time for the first one.
    pub(crate) fn admit(&self, door: &Door, client_id: &str) -> Client {
        eventually("who may come is let in", || door.enter(&self.broker, client_id))
    }

    /// Those who may read it all have subscribed to it, with ids of their own for each listener.
    pub(crate) fn watchers(&self, population: &Population, listener: Listener) -> Crowd {
        Crowd::new(population.watchers.iter().map(|watcher| {
            let client_id = format!("{}-{}", watcher.name, listener.word());
            let mut client = self.admit(&Door::new(watcher, listener), &client_id);
            assert_eq!(client.subscribe("devices/#", 0).unwrap(), 0, "{:?}", self.control);
            client
        }))
    }
}

/// How somebody comes in; TLS is prepared, so that files are not read again for each connection.
pub(crate) struct Door {
    name: String,
    listener: Listener,
    tls: Option<SslContext>,
}

impl Door {
    pub(crate) fn new(member: &Member, listener: Listener) -> Self {
        let tls = match listener {
            Listener::Plain => None,
            Listener::Certificates => Some(context(&member.certificate, TlsVersion::V13)),
            // The newest that all Mosquittos have with a `psk_file`.
            Listener::Psk => Some(context(&member.psk, TlsVersion::V12)),
        };
        Self { name: member.name.clone(), listener, tls }
    }

    /// Whose it is.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Handshake and CONNECT: a client that was let in.
    pub(crate) fn enter(&self, broker: &Broker, client_id: &str) -> Option<Client> {
        let connect = Connect::v311(client_id);
        let port = match self.listener {
            Listener::Plain => broker.port(Listen::Passwords),
            Listener::Certificates => broker.port(Listen::Certificates),
            Listener::Psk => broker.port(Listen::Psk),
        };
        let (mut client, connect) = match &self.tls {
            None => (Client::over(dial(port).ok()?), connect.user(self.name.as_str(), PASSWORD)),
            Some(tls) => (Client::over(shake_hands(port, Ssl::new(tls).unwrap()).ok()?), connect),
        };
        (client.connect_on(&connect).ok()? == 0).then_some(client)
    }
}
