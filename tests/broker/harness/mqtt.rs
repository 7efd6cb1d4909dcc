//! MQTT 3.1.1 and 5 on the wire: as much of it as the tests send and read.

use super::Login;

/// The version of the protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// A message to be sent when the client is lost.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// The first packet of a client.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    client_id: Vec<u8>,
    clean: bool,
    user_name: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    will: Option<Will>,
}

impl Connect {
    /// MQTT 3.1.1, a clean session, no user name.
    pub(crate) fn v311(client_id: impl Into<Vec<u8>>) -> Self {
        Self {
            version: Version::V311,
            client_id: client_id.into(),
            clean: true,
            user_name: None,
            password: None,
            will: None,
        }
    }

    /// MQTT 5, a clean session, no user name.
    pub(crate) fn v5(client_id: impl Into<Vec<u8>>) -> Self {
        Self { version: Version::V5, ..Self::v311(client_id) }
    }

    /// The session outlives the connection.
    pub(crate) fn persistent(mut self) -> Self {
        self.clean = false;
        self
    }

    pub(crate) fn user(mut self, name: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Self {
        self.user_name = Some(name.into());
        self.password = Some(password.into());
        self
    }

    /// With the user name and the password of this login, if that is what it has.
    pub(crate) fn by(mut self, login: &Login) -> Self {
        if let Login::Password { user_name, password, .. } = login {
            self.user_name = Some(user_name.clone());
            self.password.clone_from(password);
        }
        self
    }

    pub(crate) fn will(mut self, topic: &str, payload: &str) -> Self {
        self.will = Some(Will { topic: topic.into(), payload: payload.into() });
        self
    }

    /// The return code by which a broker refuses it as not authorized.
    pub(crate) fn refusal(&self) -> u8 {
        match self.version {
            Version::V311 => 5,
            Version::V5 => 0x87,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let v5 = self.version == Version::V5;
        let flags = u8::from(self.clean) << 1
            | u8::from(self.will.is_some()) << 2
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user_name.is_some()) << 7;
        let mut body = string(b"MQTT");
        body.extend([if v5 { 5 } else { 4 }, flags]);
        // No keep-alive: who is silent stays, however long a test takes on a slow machine (MQTT 3.1.1, 3.1.2.10).
        body.extend([0, 0]);
        if v5 && self.clean {
            body.push(0);
        } else if v5 {
            // Session expiry interval: an hour.
            body.extend([5, 0x11, 0, 0, 0x0E, 0x10]);
        }
        body.extend(string(&self.client_id));
        if let Some(will) = &self.will {
            body.extend(v5.then_some(0));
            body.extend(string(&will.topic));
            body.extend(string(&will.payload));
        }
        body.extend(self.user_name.iter().chain(&self.password).flat_map(|text| string(text)));
        frame(0x10, &body)
    }
}

/// PUBLISH; `id` is needed above QoS 0.
pub(crate) fn publish(version: Version, topic: &[u8], payload: &[u8], qos: u8, id: u16) -> Vec<u8> {
    let mut body = string(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend((version == Version::V5).then_some(0));
    body.extend(payload);
    frame(0x30 | qos << 1, &body)
}

/// SUBSCRIBE to one filter.
pub(crate) fn subscribe(version: Version, filter: &[u8], qos: u8, id: u16) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend((version == Version::V5).then_some(0));
    body.extend(string(filter));
    body.push(qos);
    frame(0x82, &body)
}

/// UNSUBSCRIBE from one filter.
pub(crate) fn unsubscribe(version: Version, filter: &[u8], id: u16) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend((version == Version::V5).then_some(0));
    body.extend(string(filter));
    frame(0xA2, &body)
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A packet of any kind with any body: hostile ones too.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

/// Text, or what passes for it, with its length in front: at most 65,535 bytes.
pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("MQTT has no longer strings");
    [&length.to_be_bytes()[..], text].concat()
}

/// What a broker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Connack {
        session_present: bool,
        code: u8,
    },
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        retain: bool,
        id: u16,
    },
    Puback {
        id: u16,
        code: u8,
    },
    Suback {
        id: u16,
        code: u8,
    },
    Unsuback {
        id: u16,
    },
    Pingresp,
    /// MQTT 5 only; a broker that speaks 3.1.1 just closes.
    Disconnect {
        code: u8,
    },
    Other {
        first: u8,
    },
}

impl Packet {
    /// Takes the first whole packet out of `buffer`, if there is one.
    pub(crate) fn take(version: Version, buffer: &mut Vec<u8>) -> Option<Self> {
        let mut length = 0;
        let mut header = 1;
        loop {
            let byte = *buffer.get(header)?;
            length |= usize::from(byte & 0x7F) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if buffer.len() < header + length {
            return None;
        }
        let packet: Vec<u8> = buffer.drain(..header + length).collect();
        Some(Self::parse(version, packet[0], &packet[header..]))
    }

    fn parse(version: Version, first: u8, body: &[u8]) -> Self {
        let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let last = body.last().copied().unwrap_or(0);
        match first >> 4 {
            2 => Self::Connack { session_present: body[0] & 1 == 1, code: body[1] },
            3 => {
                let qos = first >> 1 & 3;
                let topic_end = 2 + usize::from(number(0));
                let topic = String::from_utf8(body[2..topic_end].to_vec()).unwrap();
                let mut at = topic_end;
                let id = if qos > 0 { number(at) } else { 0 };
                at += if qos > 0 { 2 } else { 0 };
                // The brokers here add no property that takes more than 127 bytes.
                at += if version == Version::V5 { 1 + usize::from(body[at]) } else { 0 };
                Self::Publish { topic, payload: body[at..].to_vec(), qos, retain: first & 1 == 1, id }
            }
            4 => Self::Puback { id: number(0), code: body.get(2).copied().unwrap_or(0) },
            9 => Self::Suback { id: number(0), code: last },
            11 => Self::Unsuback { id: number(0) },
            13 => Self::Pingresp,
            14 => Self::Disconnect { code: body.first().copied().unwrap_or(0) },
            _ => Self::Other { first },
        }
    }
}
