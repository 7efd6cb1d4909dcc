use crate::harness::{Broker, Client, Connect, End, Fleet, Login, Mosquitto};

/// A listener as one of the example configurations has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    CertificatesNamedByTheBroker,
    CertificatesNamedByWarden,
    /// The same two, where certificates are not judged in the TLS handshake.
    NamedByTheBrokerAfterTheHandshake,
    NamedByWardenAfterTheHandshake,
    PreSharedKeys,
    Passwords,
}

impl Listener {
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::CertificatesNamedByTheBroker | Self::NamedByTheBrokerAfterTheHandshake => "certificates.conf",
            Self::CertificatesNamedByWarden | Self::NamedByWardenAfterTheHandshake => {
                "certificates-named-by-warden.conf"
            }
            Self::PreSharedKeys => "psk.conf",
            Self::Passwords => "passwords.conf",
        }
    }

    fn is_judged_in_the_handshake(self) -> bool {
        !matches!(self, Self::NamedByTheBrokerAfterTheHandshake | Self::NamedByWardenAfterTheHandshake)
    }
}

/// When a client is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Handshake,
    /// With a CONNACK that says so.
    Connect,
    /// The broker accepts CONNECT before anybody is asked: the client is denied everything, and thrown off.
    Afterwards,
}

/// A broker with one listener and two devices that may use it, both with the role `sensor`.
pub(crate) struct Setting {
    pub(crate) fleet: Fleet,
    pub(crate) mosquitto: Mosquitto,
    pub(crate) listener: Listener,
    pub(crate) broker: Broker,
    pub(crate) mine: Login,
    pub(crate) other: Login,
}

pub(crate) const MINE: &str = "device-001";
pub(crate) const OTHER: &str = "device-002";

impl Setting {
    pub(crate) fn new(mosquitto: &Mosquitto, listener: Listener) -> Self {
        let fleet = Fleet::with_sensors();
        if listener == Listener::Passwords {
            // Many brokers share this machine: that hashes take long for a moment is not what is tested.
            fleet.option("password_cost = \"m=8,t=1,p=1\"");
        }
        let (mine, other) = (device(&fleet, listener, MINE, "sensor"), device(&fleet, listener, OTHER, "sensor"));
        if !listener.is_judged_in_the_handshake() {
            fleet.option("handshake = \"off\"");
        }
        let broker = fleet.start(mosquitto, listener.example());
        Self { mosquitto: mosquitto.clone(), listener, broker, mine, other, fleet }
    }

    /// A further device that may use this listener.
    pub(crate) fn device(&self, name: &str, role: &str) -> Login {
        device(&self.fleet, self.listener, name, role)
    }

    /// Where one is turned away whose identity is refused.
    pub(crate) fn gate_of_identities(&self) -> Gate {
        match self.listener {
            Listener::NamedByTheBrokerAfterTheHandshake => Gate::Afterwards,
            Listener::NamedByWardenAfterTheHandshake | Listener::Passwords => Gate::Connect,
            _ => Gate::Handshake,
        }
    }

    /// Where one is turned away whose identity is good, but not for this client id.
    pub(crate) fn gate_of_client_ids(&self) -> Gate {
        match self.listener {
            Listener::CertificatesNamedByWarden | Listener::NamedByWardenAfterTheHandshake | Listener::Passwords => {
                Gate::Connect
            }
            _ => Gate::Afterwards,
        }
    }

    /// This client is turned away, there.
    pub(crate) fn refuses(&self, gate: Gate, login: &Login, connect: &Connect) {
        match (gate, Client::try_connect(&self.broker, login, connect)) {
            // In TLS 1.3 a client has done its part before its certificate is judged.
            (Gate::Handshake, Err(End::Handshake(_) | End::Closed)) => {}
            (Gate::Connect, Ok((mut client, code))) => {
                assert_eq!(code, connect.refusal());
                client.closed();
            }
            (Gate::Afterwards, Ok((mut client, 0))) => {
                if !self.mosquitto.has_connect_event() {
                    // Older brokers tell nobody of a client before it does something.
                    assert!(matches!(client.subscribe("devices/device-001/cmd", 0), Ok(0x80..) | Err(End::Closed)));
                }
                client.closed();
            }
            (gate, Ok((_, code))) => panic!("not refused at {gate:?} but answered {code:#x}"),
            (gate, Err(end)) => panic!("not refused at {gate:?} but: {end:?}"),
        }
    }

    /// This client is let in, and may do what sensors may.
    pub(crate) fn admits(&self, login: &Login, device: &str) -> Client {
        let mut client = Client::connect(&self.broker, login, &Connect::v5(device));
        let topic = format!("devices/{device}/cmd");
        assert_eq!(client.subscribe(&topic, 1).unwrap(), 1);
        assert_eq!(client.publish_acknowledged(&topic, "to myself").unwrap(), 0);
        assert_eq!(client.next_message().unwrap(), (topic, "to myself".to_owned()));
        client
    }
}

fn device(fleet: &Fleet, listener: Listener, name: &str, role: &str) -> Login {
    match listener {
        Listener::PreSharedKeys => fleet.psk_device(name, role),
        Listener::Passwords => fleet.password_device(name, role),
        _ => fleet.certificate_device(name, role),
    }
}

/// Makes a test of each claim about a [`Setting`], for each listener, on every broker.
macro_rules! on_every_listener {
    ($($(#[$attribute:meta])* $claim:ident),* $(,)?) => {
        mod certificates_named_by_the_broker {
            $($(#[$attribute])* #[test] fn $claim() {
                $crate::listeners::try_on_every_broker(super::$claim, $crate::listeners::Listener::CertificatesNamedByTheBroker);
            })*
        }
        mod certificates_named_by_warden {
            $($(#[$attribute])* #[test] fn $claim() {
                $crate::listeners::try_on_every_broker(super::$claim, $crate::listeners::Listener::CertificatesNamedByWarden);
            })*
        }
        mod named_by_the_broker_after_the_handshake {
            $($(#[$attribute])* #[test] fn $claim() {
                $crate::listeners::try_on_every_broker(super::$claim, $crate::listeners::Listener::NamedByTheBrokerAfterTheHandshake);
            })*
        }
        mod named_by_warden_after_the_handshake {
            $($(#[$attribute])* #[test] fn $claim() {
                $crate::listeners::try_on_every_broker(super::$claim, $crate::listeners::Listener::NamedByWardenAfterTheHandshake);
            })*
        }
        mod pre_shared_keys {
            $($(#[$attribute])* #[test] fn $claim() {
                $crate::listeners::try_on_every_broker(super::$claim, $crate::listeners::Listener::PreSharedKeys);
            })*
        }
        mod passwords {
            $($(#[$attribute])* #[test] fn $claim() {
                $crate::listeners::try_on_every_broker(super::$claim, $crate::listeners::Listener::Passwords);
            })*
        }
    };
}
pub(crate) use on_every_listener;

pub(crate) fn try_on_every_broker(claim: fn(&Setting), listener: Listener) {
    crate::harness::on_every_broker(|mosquitto| claim(&Setting::new(mosquitto, listener)));
}
