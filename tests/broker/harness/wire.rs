//! What a client talks over: TCP, or TLS on it.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use openssl::ssl::{Ssl, SslContext, SslFiletype, SslMethod, SslStream, SslVerifyMode, SslVersion};

use super::{End, Login, PATIENCE, TlsVersion};

/// A connection to a broker.
pub(crate) trait Wire: Read + Write + Debug + Send {
    fn socket(&self) -> &TcpStream;

    /// An orderly end, as far as there is one.
    fn end(&mut self);
}

/// A TCP connection that an interruption does not disturb: where a socket has a timeout, the kernel ends a call with one
/// whenever the machine is put to sleep for a moment (signal(7)), and OpenSSL would take that for the end.
#[derive(Debug)]
pub(crate) struct Tcp(TcpStream);

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| self.0.read(buffer))
    }
}

impl Write for Tcp {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        uninterrupted(|| self.0.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Wire for Tcp {
    fn socket(&self) -> &TcpStream {
        &self.0
    }

    fn end(&mut self) {}
}

impl Wire for SslStream<Tcp> {
    fn socket(&self) -> &TcpStream {
        &self.get_ref().0
    }

    fn end(&mut self) {
        let _ = self.shutdown();
    }
}

/// A connection to this port of a broker.
pub(crate) fn dial(port: u16) -> Result<Tcp, End> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|_| End::Closed)?;
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    Ok(Tcp(socket))
}

/// A connection to this port on which TLS has shaken hands.
pub(crate) fn shake_hands(port: u16, ssl: Ssl) -> Result<SslStream<Tcp>, End> {
    ssl.connect(dial(port)?).map_err(|error| End::Handshake(error.to_string()))
}

/// What a client shows and believes.
pub(crate) fn context(login: &Login, tls: TlsVersion) -> SslContext {
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
