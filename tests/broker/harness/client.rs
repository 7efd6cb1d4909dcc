//! A client of our own, which can say what no well-behaved one would.
//!
//! It reads until something comes, never for a while to see that nothing does: to show that a message was not delivered,
//! send one behind it that will be, and see which comes first.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use openssl::ssl::Ssl;

use super::mqtt::{self, Connect, Packet, Version};
use super::wire::{self, Wire};
use super::{Broker, Login, PATIENCE};

/// Which version of TLS a client insists on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    /// The newest that both sides have.
    Any,
    V12,
    V13,
}

/// Why there is nothing more to read.
#[derive(Debug)]
pub(crate) enum End {
    /// The TLS handshake failed; the text has OpenSSL's words, such as the alert that the broker sent.
    Handshake(String),
    /// The connection was closed, or reset.
    Closed,
    /// Nothing came for the time that one was ready to wait.
    Silent,
}

/// One connection to a broker.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Box<dyn Wire>,
    pub(crate) version: Version,
    received: Vec<u8>,
    /// Messages that came while another answer was awaited.
    messages: VecDeque<(String, String)>,
    next_id: u16,
}

impl Client {
    /// The TLS handshake and nothing else: with a certificate on the listener for certificates, with a key on the other.
    pub(crate) fn handshake(broker: &Broker, login: &Login, tls: TlsVersion) -> Result<Self, End> {
        let context = wire::context(login, tls);
        Ok(Self::over(wire::shake_hands(broker.port(login.listen()), Ssl::new(&context).unwrap())?))
    }

    /// A connection on which nobody has said anything yet.
    pub(crate) fn over(wire: impl Wire + 'static) -> Self {
        let (received, messages) = (Vec::new(), VecDeque::new());
        Self { wire: Box::new(wire), version: Version::V311, received, messages, next_id: 0 }
    }

    /// Handshake, CONNECT, and the return code of the CONNACK.
    pub(crate) fn try_connect(broker: &Broker, login: &Login, connect: &Connect) -> Result<(Self, u8), End> {
        let mut client = Self::handshake(broker, login, TlsVersion::Any)?;
        let code = client.connect_on(&connect.clone().by(login))?;
        Ok((client, code))
    }

    /// A client that must be let in.
    pub(crate) fn connect(broker: &Broker, login: &Login, connect: &Connect) -> Self {
        match Self::try_connect(broker, login, connect) {
            Ok((client, 0)) => client,
            Ok((_, code)) => panic!("{login:?} was refused with code {code:#x}"),
            Err(end) => panic!("{login:?} was refused: {end:?}"),
        }
    }

    /// CONNECT on a connection that has shaken hands, and the return code of the CONNACK.
    pub(crate) fn connect_on(&mut self, connect: &Connect) -> Result<u8, End> {
        self.version = connect.version;
        self.send(&connect.encode())?;
        match self.read()? {
            Packet::Connack { code, .. } => Ok(code),
            packet => panic!("the answer to CONNECT was {packet:?}"),
        }
    }

    /// Any bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.wire.write_all(bytes).map_err(|_| End::Closed)
    }

    /// The next packet.
    pub(crate) fn read(&mut self) -> Result<Packet, End> {
        self.read_within(PATIENCE)
    }

    /// The next packet, if it comes in this time.
    pub(crate) fn read_within(&mut self, time: Duration) -> Result<Packet, End> {
        self.wire.socket().set_read_timeout(Some(time)).unwrap();
        self.poll()
    }

    /// The next packet; on a socket that does not block, [`End::Silent`] where there is none yet.
    pub(crate) fn poll(&mut self) -> Result<Packet, End> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(packet) = Packet::take(self.version, &mut self.received) {
                return Ok(packet);
            }
            match self.wire.read(&mut chunk) {
                Ok(0) => return Err(End::Closed),
                Ok(length) => self.received.extend(&chunk[..length]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(End::Silent);
                }
                Err(_) => return Err(End::Closed),
            }
        }
    }

    /// PUBLISH at QoS 0, which nobody answers.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) {
        let packet = mqtt::publish(self.version, topic.as_bytes(), payload.as_bytes(), 0, 0);
        self.send(&packet).expect("the connection is open");
    }

    /// PUBLISH at QoS 1, and the answer: 0, or 0x87 for "not authorized", which 3.1.1 does not tell.
    pub(crate) fn publish_acknowledged(&mut self, topic: &str, payload: &str) -> Result<u8, End> {
        let sent = self.new_id();
        let packet = mqtt::publish(self.version, topic.as_bytes(), payload.as_bytes(), 1, sent);
        self.send(&packet)?;
        self.answer(|packet| match packet {
            // 0x10: it is published, and nobody has subscribed to it.
            Packet::Puback { id, code } if *id == sent => Some(if *code == 0x10 { 0 } else { *code }),
            _ => None,
        })
    }

    /// SUBSCRIBE, and the answer: the QoS granted, or 0x80 or more.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) -> Result<u8, End> {
        let sent = self.new_id();
        self.send(&mqtt::subscribe(self.version, filter.as_bytes(), qos, sent))?;
        self.answer(|packet| match packet {
            Packet::Suback { id, code } if *id == sent => Some(*code),
            _ => None,
        })
    }

    /// UNSUBSCRIBE, answered.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> Result<(), End> {
        let sent = self.new_id();
        self.send(&mqtt::unsubscribe(self.version, filter.as_bytes(), sent))?;
        self.answer(|packet| matches!(packet, Packet::Unsuback { id } if *id == sent).then_some(()))
    }

    /// PINGREQ, answered: the broker has seen everything that was sent before.
    pub(crate) fn ping(&mut self) -> Result<(), End> {
        self.send(&mqtt::PINGREQ)?;
        self.answer(|packet| matches!(packet, Packet::Pingresp).then_some(()))
    }

    /// DISCONNECT, without any answer: an orderly end, so no will is sent.
    pub(crate) fn disconnect(mut self) {
        let _ = self.send(&mqtt::DISCONNECT);
    }

    /// The connection breaks: the broker hears no DISCONNECT, so it sends the will.
    pub(crate) fn lose(self) {
        self.wire.socket().shutdown(Shutdown::Both).unwrap();
    }

    /// The topic and payload of the next message.
    pub(crate) fn next_message(&mut self) -> Result<(String, String), End> {
        while self.messages.is_empty() {
            let packet = self.read()?;
            self.keep(packet)?;
        }
        Ok(self.messages.pop_front().expect("there is one"))
    }

    /// Reads until the broker closes, and returns the code of the DISCONNECT that it sent before, if it did.
    pub(crate) fn closed(&mut self) -> Option<u8> {
        let mut reason = None;
        loop {
            match self.read() {
                Ok(Packet::Disconnect { code }) => reason = Some(code),
                Ok(_) => {}
                Err(End::Silent) => panic!("the broker did not close the connection"),
                Err(_) => return reason,
            }
        }
    }

    /// From now on [`Self::poll`] returns at once.
    pub(crate) fn do_not_block(&mut self) {
        self.wire.socket().set_nonblocking(true).unwrap();
    }

    /// Reads until `wanted` finds its answer.
    fn answer<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Result<T, End> {
        loop {
            let packet = self.read()?;
            if let Some(found) = wanted(&packet) {
                return Ok(found);
            }
            self.keep(packet)?;
        }
    }

    /// Keeps what is a message for [`Self::next_message`], acknowledged.
    fn keep(&mut self, packet: Packet) -> Result<(), End> {
        if let Packet::Publish { topic, payload, qos, id, .. } = packet {
            if qos == 1 {
                self.send(&mqtt::frame(0x40, &id.to_be_bytes()))?;
            }
            self.messages.push_back((topic, String::from_utf8(payload).unwrap()));
        }
        Ok(())
    }

    fn new_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }
}

impl Drop for Client {
    /// An orderly end of TLS: Mosquitto 2.0.11 may take an abrupt one for an error of the client that it serves next.
    fn drop(&mut self) {
        self.wire.end();
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.socket().as_fd()
    }
}
