//! A client of our own, which can say what no well-behaved one would.
//!
//! It reads until something comes, never for a while to see that nothing does: to show that a message was not delivered,
//! send one behind it that will be, and see which comes first.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use openssl::ssl::{HandshakeError, Ssl, SslContext, SslFiletype, SslMethod, SslStream, SslVerifyMode, SslVersion};

use super::mqtt::{self, Connect, Packet, Version};
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
    stream: SslStream<TcpStream>,
    pub(crate) version: Version,
    received: Vec<u8>,
    /// Messages that came while another answer was awaited.
    messages: VecDeque<(String, String)>,
    next_id: u16,
}

impl Client {
    /// The TLS handshake and nothing else: with a certificate on the listener for certificates, with a key on the other.
    pub(crate) fn handshake(broker: &Broker, login: &Login, tls: TlsVersion) -> Result<Self, End> {
        let port = broker.port(login.listen());
        loop {
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|_| End::Closed)?;
            socket.set_nodelay(true).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.set_write_timeout(Some(PATIENCE)).unwrap();
            let error = match Ssl::new(&context(login, tls)).unwrap().connect(socket) {
                Ok(stream) => {
                    let (received, messages) = (Vec::new(), VecDeque::new());
                    return Ok(Self { stream, version: Version::V311, received, messages, next_id: 0 });
                }
                Err(HandshakeError::Failure(stream)) => stream.into_error(),
                Err(error) => return Err(End::Handshake(error.to_string())),
            };
            // A socket with a timeout is interrupted when the machine is put to sleep for a moment.
            if error.io_error().is_none_or(|error| error.kind() != io::ErrorKind::Interrupted) {
                return Err(End::Handshake(error.to_string()));
            }
        }
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
        self.stream.write_all(bytes).map_err(|_| End::Closed)
    }

    /// The next packet.
    pub(crate) fn read(&mut self) -> Result<Packet, End> {
        self.read_within(PATIENCE)
    }

    /// The next packet, if it comes in this time.
    pub(crate) fn read_within(&mut self, time: Duration) -> Result<Packet, End> {
        self.stream.get_ref().set_read_timeout(Some(time)).unwrap();
        self.poll()
    }

    /// The next packet; on a socket that does not block, [`End::Silent`] where there is none yet.
    pub(crate) fn poll(&mut self) -> Result<Packet, End> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(packet) = Packet::take(self.version, &mut self.received) {
                return Ok(packet);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(End::Closed),
                Ok(length) => self.received.extend(&chunk[..length]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(End::Silent);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
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
        self.stream.get_ref().shutdown(Shutdown::Both).unwrap();
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
        self.stream.get_ref().set_nonblocking(true).unwrap();
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
        let _ = self.stream.shutdown();
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

fn context(login: &Login, tls: TlsVersion) -> SslContext {
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    let version = match tls {
        TlsVersion::Any => None,
        TlsVersion::V12 => Some(SslVersion::TLS1_2),
        TlsVersion::V13 => Some(SslVersion::TLS1_3),
    };
    context.set_min_proto_version(version).unwrap();
    context.set_max_proto_version(version).unwrap();
    match login {
        Login::Certificate { certificate, key } => {
            context.set_ca_file(key.with_file_name("ca.crt")).unwrap();
            context.set_verify(SslVerifyMode::PEER);
            context.set_certificate_chain_file(certificate).unwrap();
            context.set_private_key_file(key, SslFiletype::PEM).unwrap();
        }
        Login::Password { ca, .. } => {
            context.set_ca_file(ca).unwrap();
            context.set_verify(SslVerifyMode::PEER);
        }
        Login::Psk { identity, key } => {
            context.set_cipher_list("PSK").unwrap();
            let (identity, key) = (identity.clone(), bytes_of(key));
            context.set_psk_client_callback(move |_, _, identity_out, key_out| {
                // OpenSSL has zeroed the buffer, and takes the identity up to the first zero.
                identity_out[..identity.len()].copy_from_slice(&identity);
                key_out[..key.len()].copy_from_slice(&key);
                Ok(key.len())
            });
        }
    }
    context.build()
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digit = |d: u8| u8::try_from(char::from(d).to_digit(16).expect("a key is hexadecimal digits")).unwrap();
    hexadecimal.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
