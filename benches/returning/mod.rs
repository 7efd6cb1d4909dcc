//! Devices that remember their last TLS session and come back with it.

use std::sync::{Arc, Mutex};

use openssl::ssl::{Ssl, SslContext, SslFiletype, SslMethod, SslSession, SslSessionCacheMode, SslVerifyMode};

use crate::harness::Login;

/// A device's certificate, and the newest session that a broker has given for it: good at that broker only.
pub(crate) struct Memory {
    context: SslContext,
    session: Arc<Mutex<Option<SslSession>>>,
}

impl Memory {
    pub(crate) fn new(login: &Login) -> Self {
        let Login::Certificate { certificate, key } = login else { panic!("{login:?} has no certificate") };
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_ca_file(key.with_file_name("ca.crt")).unwrap();
        context.set_verify(SslVerifyMode::PEER);
        context.set_certificate_chain_file(certificate).unwrap();
        context.set_private_key_file(key, SslFiletype::PEM).unwrap();
        context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        let session = Arc::new(Mutex::new(None));
        let newest = Arc::clone(&session);
        context.set_new_session_callback(move |_, session| *newest.lock().unwrap() = Some(session));
        Self { context: context.build(), session }
    }

    /// A connection to be: with what is remembered, or as if for the first time. A broker that resumes a session need not
    /// give a new ticket for it, so the old one is kept until there is a newer.
    pub(crate) fn ssl(&self, resume: bool) -> Ssl {
        let mut ssl = Ssl::new(&self.context).unwrap();
        if resume && let Some(session) = &*self.session.lock().unwrap() {
            show(&mut ssl, session);
        }
        ssl
    }
}

#[expect(unsafe_code, reason = "the openssl crate has no other way to come back with a session")]
fn show(ssl: &mut Ssl, session: &SslSession) {
    // SAFETY: the session was made with the same context.
    unsafe { ssl.set_session(session) }.unwrap();
}
