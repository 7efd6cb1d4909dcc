//! The TLS handshake: how we come to be asked about a client's certificate before one byte of MQTT.
//!
//! The broker has no event for it. OpenSSL tells whoever has an extra-data index for `SSL_CTX` of each one that is made
//! (`CRYPTO_get_ex_new_index(3)`), and there we set callbacks that neither the broker nor libwebsockets uses:
//! the one that verifies a peer's certificate (`SSL_CTX_set_cert_verify_callback(3)`), which has OpenSSL do that
//! first, and the one that is shown a session ticket before it is accepted (`SSL_CTX_set_session_ticket_cb(3)`); where
//! handshakes are limited, also the one that is shown the client's first message (`SSL_CTX_set_client_hello_cb(3)`). The
//! index has no function that is called when an `SSL_CTX` is freed, because some brokers unload us before that.
//!
//! Everything is looked up in the process, so that it is the broker's own OpenSSL that is asked.

use std::ffi::{CStr, c_char, c_int, c_long, c_uchar, c_uint, c_ulong, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use arc_swap::ArcSwap;
use libloading::os::unix::Library;
use once_cell::sync::{Lazy, OnceCell};

use super::guard::refuse_on_panic;
use crate::plugin::Plugin;
use crate::plugin::handshake::Chain;
use crate::policy::decision::Reason;

// From OpenSSL's headers, where they are the same since 1.1.1.
const CRYPTO_EX_INDEX_SSL_CTX: c_int = 1;
const SSL_CTRL_SET_SESS_CACHE_MODE: c_int = 44;
const SSL_SESS_CACHE_OFF: c_long = 0;
const SSL_OP_NO_TICKET: u64 = 1 << 14;
const SSL_CLIENT_HELLO_ERROR: c_int = 0;
const SSL_CLIENT_HELLO_SUCCESS: c_int = 1;
const X509_V_ERR_UNSPECIFIED: c_int = 1;
const X509_V_ERR_CERT_NOT_YET_VALID: c_int = 9;
const X509_V_ERR_CERT_HAS_EXPIRED: c_int = 10;
const X509_V_ERR_CERT_REVOKED: c_int = 23;
const X509_V_ERR_CERT_REJECTED: c_int = 28;
const X509_V_ERR_APPLICATION_VERIFICATION: c_int = 50;
const SSL_TICKET_SUCCESS: c_int = 5;
const SSL_TICKET_SUCCESS_RENEW: c_int = 6;
const SSL_TICKET_RETURN_IGNORE_RENEW: c_int = 2;
const SSL_TICKET_RETURN_USE: c_int = 3;
const SSL_TICKET_RETURN_USE_RENEW: c_int = 4;

// From the registry of TLS extensions.
const SESSION_TICKET: c_uint = 35;
const PRE_SHARED_KEY: c_uint = 41;

/// How many tickets a client gets in a full TLS 1.3 handshake. OpenSSL's two are for clients that come back over several
/// connections at once, and each costs the broker's thread about as much as our own part of the handshake.
const TICKETS: usize = 1;

type NewFunction = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, c_int, c_long, *mut c_void);
type VerifyCallback = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
type TicketCallback =
    unsafe extern "C" fn(*mut c_void, *mut c_void, *const c_uchar, usize, c_int, *mut c_void) -> c_int;
type HelloCallback = unsafe extern "C" fn(*mut c_void, *mut c_int, *mut c_void) -> c_int;
type Encode = unsafe extern "C" fn(*const c_void, *mut *mut c_uchar) -> c_int;

/// Declares a struct of functions that are looked up by their names.
macro_rules! functions {
    ($(#[$doc:meta])* $struct:ident { $($name:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case, reason = "their names in OpenSSL")]
        #[derive(Clone, Copy)]
        struct $struct { $($name: $type,)* }

        impl $struct {
            /// Finds them in the process that has loaded us, or says which is missing.
            fn find() -> Result<Self, &'static str> {
                let process = Library::this();
                // SAFETY: the types are those of OpenSSL's manual pages, unchanged since 1.1.1.
                unsafe {
                    Ok(Self {
                        $($name: *process
                            .get::<$type>(concat!(stringify!($name), "\0").as_bytes())
                            .map_err(|_| stringify!($name))?,)*
                    })
                }
            }
        }
    };
}

functions! {
    /// What we need of OpenSSL.
    OpenSsl {
        CRYPTO_get_ex_new_index: unsafe extern "C" fn(
            c_int, c_long, *mut c_void, Option<NewFunction>, *const c_void, *const c_void) -> c_int,
        OPENSSL_sk_num: unsafe extern "C" fn(*const c_void) -> c_int,
        OPENSSL_sk_value: unsafe extern "C" fn(*const c_void, c_int) -> *mut c_void,
        OpenSSL_version: unsafe extern "C" fn(c_int) -> *const c_char,
        SSL_CTX_ctrl: unsafe extern "C" fn(*mut c_void, c_int, c_long, *mut c_void) -> c_long,
        SSL_CTX_set_cert_verify_callback: unsafe extern "C" fn(*mut c_void, Option<VerifyCallback>, *mut c_void),
        SSL_CTX_set_client_hello_cb: unsafe extern "C" fn(*mut c_void, Option<HelloCallback>, *mut c_void),
        SSL_CTX_set_options: unsafe extern "C" fn(*mut c_void, u64) -> u64,
        SSL_CTX_set_num_tickets: unsafe extern "C" fn(*mut c_void, usize) -> c_int,
        SSL_CTX_set_session_ticket_cb: unsafe extern "C" fn(
            *mut c_void, *const c_void, Option<TicketCallback>, *mut c_void) -> c_int,
        SSL_SESSION_get0_peer: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
        SSL_client_hello_get0_ext: unsafe extern "C" fn(*mut c_void, c_uint, *mut *const c_uchar, *mut usize) -> c_int,
        SSL_get_ex_data_X509_STORE_CTX_idx: unsafe extern "C" fn() -> c_int,
        SSL_is_server: unsafe extern "C" fn(*const c_void) -> c_int,
        X509_STORE_CTX_get0_cert: unsafe extern "C" fn(*const c_void) -> *mut c_void,
        X509_STORE_CTX_get0_chain: unsafe extern "C" fn(*const c_void) -> *mut c_void,
        X509_STORE_CTX_get_ex_data: unsafe extern "C" fn(*const c_void, c_int) -> *mut c_void,
        X509_STORE_CTX_set_error: unsafe extern "C" fn(*mut c_void, c_int),
        X509_STORE_CTX_set_time: unsafe extern "C" fn(*mut c_void, c_ulong, libc::time_t),
        X509_cmp_current_time: unsafe extern "C" fn(*const c_void) -> c_int,
        X509_get0_notBefore: unsafe extern "C" fn(*const c_void) -> *const c_void,
        X509_get_X509_PUBKEY: unsafe extern "C" fn(*const c_void) -> *mut c_void,
        X509_verify_cert: unsafe extern "C" fn(*mut c_void) -> c_int,
        i2d_X509: Encode,
        i2d_X509_PUBKEY: Encode,
    }
}

/// OpenSSL, once we are told of each `SSL_CTX`: for the rest of the process, in which our code stays even when the
/// broker has unloaded it.
static HOOKED: OnceCell<OpenSsl> = OnceCell::new();
/// The plugins that are asked. There are several where the broker has `per_listener_settings`; which listener belongs to
/// which is not to be seen here, so that one that admits a client is enough, and the gates that come after ask its own.
static PLUGINS: Lazy<ArcSwap<Vec<Arc<Plugin>>>> = Lazy::new(ArcSwap::default);

/// Why certificates cannot be judged in the handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHook {
    #[error("the broker has no OpenSSL that is shared with its plugins: `{0}` is not to be found")]
    Missing(&'static str),
    #[error("`{0}` is not OpenSSL")]
    Other(String),
    #[error("OpenSSL refuses an index for extra data")]
    Refused,
}

/// Makes this plugin one that is asked, for each `SSL_CTX` that is made from now on.
pub(super) fn ask(plugin: &Arc<Plugin>) -> Result<(), NoHook> {
    HOOKED.get_or_try_init(hook)?;
    PLUGINS.rcu(|plugins| {
        let mut plugins = Vec::clone(plugins);
        plugins.push(Arc::clone(plugin));
        plugins
    });
    if plugin.wants_handshakes() {
        plugin.sees_handshakes();
    }
    Ok(())
}

/// Asks this plugin no more. Whoever makes a handshake after the last one was forgotten is refused.
pub(super) fn forget(plugin: &Arc<Plugin>) {
    PLUGINS.rcu(|plugins| {
        let others = plugins.iter().filter(|other| !Arc::ptr_eq(other, plugin));
        others.map(Arc::clone).collect::<Vec<_>>()
    });
}

fn hook() -> Result<OpenSsl, NoHook> {
    let openssl = OpenSsl::find().map_err(NoHook::Missing)?;
    // SAFETY: number 0 stands for the version, a constant text that ends in NUL.
    let version = unsafe { CStr::from_ptr((openssl.OpenSSL_version)(0)) }.to_string_lossy();
    if !version.starts_with("OpenSSL ") {
        return Err(NoHook::Other(version.into_owned()));
    }
    // SAFETY: as the manual page describes it; the function stays in memory for as long as the process lives, since the
    // library is linked with `-z nodelete`.
    let index = unsafe {
        (openssl.CRYPTO_get_ex_new_index)(
            CRYPTO_EX_INDEX_SSL_CTX,
            0,
            ptr::null_mut(),
            Some(context_made),
            ptr::null(),
            ptr::null(),
        )
    };
    if index < 0 { Err(NoHook::Refused) } else { Ok(openssl) }
}

/// An `SSL_CTX` was made.
///
/// # Safety
///
/// Called by OpenSSL with one that nobody else uses yet.
unsafe extern "C" fn context_made(
    context: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
    _: c_int,
    _: c_long,
    _: *mut c_void,
) {
    refuse_on_panic("context_made", (), || {
        let (Some(openssl), plugins) = (HOOKED.get(), PLUGINS.load()) else { return };
        let enforce = plugins.iter().any(|plugin| plugin.wants_handshakes());
        let resumption = plugins.iter().all(|plugin| plugin.wants_resumption());
        let limited = plugins.iter().any(|plugin| plugin.limits_handshakes());
        if plugins.is_empty() || context.is_null() {
            return;
        }
        if limited {
            // SAFETY: as below.
            unsafe { (openssl.SSL_CTX_set_client_hello_cb)(context, Some(hello), ptr::null_mut()) };
        }
        if !enforce && resumption {
            return;
        }
        // SAFETY: OpenSSL has made the context just now and gives it to us before anybody else. The callbacks stay in
        // memory, and take no argument.
        unsafe {
            // Sessions that are kept in the process could be resumed without anybody being asked.
            (openssl.SSL_CTX_ctrl)(context, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, ptr::null_mut());
            if enforce {
                (openssl.SSL_CTX_set_cert_verify_callback)(context, Some(verify), ptr::null_mut());
            }
            if resumption {
                (openssl.SSL_CTX_set_session_ticket_cb)(context, ptr::null(), Some(ticket_shown), ptr::null_mut());
                (openssl.SSL_CTX_set_num_tickets)(context, TICKETS);
            } else {
                (openssl.SSL_CTX_set_options)(context, SSL_OP_NO_TICKET);
            }
        }
    });
}

/// A client begins a handshake, and nothing was computed for it yet.
///
/// # Safety
///
/// Called by OpenSSL with the connection, and room for the alert that the client is sent where it may not.
unsafe extern "C" fn hello(connection: *mut c_void, _alert: *mut c_int, _: *mut c_void) -> c_int {
    refuse_on_panic("hello", SSL_CLIENT_HELLO_ERROR, || {
        let Some(openssl) = HOOKED.get() else { return SSL_CLIENT_HELLO_ERROR };
        let shows = |extension| {
            let (mut content, mut length) = (ptr::null(), 0);
            // SAFETY: the connection is OpenSSL's, for this callback, in which its client's first message can be looked at; what
            // is found is not kept.
            let found = unsafe {
                (openssl.SSL_client_hello_get0_ext)(connection, extension, &raw mut content, &raw mut length)
            };
            found == 1 && length > 0
        };
        let returning = shows(SESSION_TICKET) || shows(PRE_SHARED_KEY);
        // The alert stays what OpenSSL has written there, internal_error: TLS has none for "later".
        let may = PLUGINS.load().iter().all(|plugin| plugin.may_begin_handshake(returning));
        if may { SSL_CLIENT_HELLO_SUCCESS } else { SSL_CLIENT_HELLO_ERROR }
    })
}

/// A peer has shown a certificate: 1 if it is to be believed, and admitted if it is a client's.
///
/// # Safety
///
/// Called by OpenSSL in a handshake, with what it verifies the certificate with.
unsafe extern "C" fn verify(store: *mut c_void, _: *mut c_void) -> c_int {
    let Some(openssl) = HOOKED.get() else { return 0 };
    let verdict = refuse_on_panic("handshake", Err(X509_V_ERR_UNSPECIFIED), || {
        // SAFETY: `store` is what OpenSSL verifies this certificate with, ours for this callback; and it remembers the
        // connection that it belongs to under this index.
        let (leaf, is_server) = unsafe {
            let index = (openssl.SSL_get_ex_data_X509_STORE_CTX_idx)();
            let connection = (openssl.X509_STORE_CTX_get_ex_data)(store, index);
            let is_server = !connection.is_null() && (openssl.SSL_is_server)(connection) == 1;
            (NonNull::new((openssl.X509_STORE_CTX_get0_cert)(store)), is_server)
        };
        let leaf = leaf.map(|raw| Object { raw, openssl });
        let plugins = PLUGINS.load();
        if is_server && let Some(leaf) = &leaf {
            tolerate_clock(store, leaf, &plugins);
        }
        // SAFETY: as OpenSSL itself would do, had it no callback.
        if unsafe { (openssl.X509_verify_cert)(store) } != 1 {
            // OpenSSL has set the error.
            return Ok(0);
        }
        if !is_server {
            return Ok(1);
        }
        let Some(der) = leaf.and_then(|leaf| leaf.encoded(openssl.i2d_X509)) else {
            return Err(X509_V_ERR_CERT_REJECTED);
        };
        let chain = VerifiedChain { store, openssl };
        let mut refusal = Reason::UnknownIdentity;
        for plugin in plugins.iter() {
            match plugin.handshake(&der, &chain) {
                Ok(()) => return Ok(1),
                Err(reason) => refusal = reason,
            }
        }
        Err(error_of(refusal))
    });
    verdict.unwrap_or_else(|error| {
        // SAFETY: as above. It decides which alert the client is sent.
        unsafe { (openssl.X509_STORE_CTX_set_error)(store, error) };
        0
    })
}

/// Has OpenSSL check the dates as of the first moment in which this certificate is valid, where that comes soon.
fn tolerate_clock(store: *mut c_void, leaf: &Object<'_>, plugins: &[Arc<Plugin>]) {
    let openssl = leaf.openssl;
    // SAFETY: the certificate is OpenSSL's, for this callback.
    let in_future = unsafe { (openssl.X509_cmp_current_time)((openssl.X509_get0_notBefore)(leaf.raw.as_ptr())) } == 1;
    if !in_future {
        return;
    }
    let Some(der) = leaf.encoded(openssl.i2d_X509) else { return };
    if let Some(time) = plugins.iter().find_map(|plugin| plugin.verification_time(&der)) {
        // SAFETY: the store is OpenSSL's, for this callback.
        unsafe { (openssl.X509_STORE_CTX_set_time)(store, 0, time) };
    }
}

/// A client has shown a session ticket, and OpenSSL could read it: whether it may go on with that session.
///
/// # Safety
///
/// Called by OpenSSL in a handshake, with the session that was in the ticket, if the status says that there is one.
unsafe extern "C" fn ticket_shown(
    _: *mut c_void,
    session: *mut c_void,
    _: *const c_uchar,
    _: usize,
    status: c_int,
    _: *mut c_void,
) -> c_int {
    refuse_on_panic("resumption", SSL_TICKET_RETURN_IGNORE_RENEW, || {
        let Some(openssl) = HOOKED.get() else { return SSL_TICKET_RETURN_IGNORE_RENEW };
        let accept = match status {
            SSL_TICKET_SUCCESS => SSL_TICKET_RETURN_USE,
            SSL_TICKET_SUCCESS_RENEW => SSL_TICKET_RETURN_USE_RENEW,
            _ => return SSL_TICKET_RETURN_IGNORE_RENEW,
        };
        // SAFETY: with this status there is a session, which is OpenSSL's, for this callback; and so is what it holds.
        let peer = unsafe { NonNull::new((openssl.SSL_SESSION_get0_peer)(session)) };
        // A session without a certificate may be one that was made with a pre-shared key, and the broker would not
        // know any more with which.
        let der = peer.and_then(|raw| Object { raw, openssl }.encoded(openssl.i2d_X509));
        let good = der.is_some_and(|der| PLUGINS.load().iter().any(|plugin| plugin.resume(&der)));
        if good { accept } else { SSL_TICKET_RETURN_IGNORE_RENEW }
    })
}

/// What OpenSSL calls it; it chooses the alert by that (RFC 8446, section 6.2).
const fn error_of(reason: Reason) -> c_int {
    match reason {
        Reason::DeviceRevoked | Reason::CredentialRevoked | Reason::CertificateRevoked => X509_V_ERR_CERT_REVOKED,
        Reason::CertificateExpired | Reason::Expired => X509_V_ERR_CERT_HAS_EXPIRED,
        Reason::CertificateNotYetValid | Reason::NotYetValid => X509_V_ERR_CERT_NOT_YET_VALID,
        Reason::UnusableCertificate => X509_V_ERR_CERT_REJECTED,
        _ => X509_V_ERR_APPLICATION_VERIFICATION,
    }
}

/// Something of OpenSSL's that has an encoding, for the length of a callback.
struct Object<'a> {
    raw: NonNull<c_void>,
    openssl: &'a OpenSsl,
}

impl Object<'_> {
    fn encoded(&self, encode: Encode) -> Option<Vec<u8>> {
        encoded(self.raw, encode)
    }
}

/// What one of OpenSSL's `i2d_` functions makes of what it is for.
pub(super) fn encoded(raw: NonNull<c_void>, encode: Encode) -> Option<Vec<u8>> {
    // SAFETY: with a NULL `out`, it only tells the length.
    let length = unsafe { encode(raw.as_ptr(), ptr::null_mut()) };
    let length = usize::try_from(length).ok().filter(|length| *length > 0)?;
    let mut der = vec![0; length];
    let mut out = der.as_mut_ptr();
    // SAFETY: `out` points at as many bytes as were announced; what is encoded is not changed in between.
    let written = unsafe { encode(raw.as_ptr(), &raw mut out) };
    (usize::try_from(written) == Ok(length)).then_some(der)
}

/// The chain that OpenSSL has built and verified.
struct VerifiedChain<'a> {
    store: *mut c_void,
    openssl: &'a OpenSsl,
}

impl VerifiedChain<'_> {
    /// The authorities, from the one that issued the client's certificate on.
    fn certificates(&self) -> impl Iterator<Item = NonNull<c_void>> {
        // SAFETY: the store is OpenSSL's, for this callback, and so is the chain in it, of which NULL has -1.
        let chain = unsafe { (self.openssl.X509_STORE_CTX_get0_chain)(self.store) };
        // SAFETY: as above.
        let count = unsafe { (self.openssl.OPENSSL_sk_num)(chain) };
        // SAFETY: each index is below the count.
        (1..count).filter_map(move |index| NonNull::new(unsafe { (self.openssl.OPENSSL_sk_value)(chain, index) }))
    }
}

impl Chain for VerifiedChain<'_> {
    fn authority_keys(&self) -> Vec<Vec<u8>> {
        let key = |certificate: NonNull<c_void>| {
            // SAFETY: the certificate is OpenSSL's, for this callback, and so is the key in it.
            let key = unsafe { (self.openssl.X509_get_X509_PUBKEY)(certificate.as_ptr()) };
            encoded(NonNull::new(key)?, self.openssl.i2d_X509_PUBKEY)
        };
        self.certificates().filter_map(key).collect()
    }

    fn issuer(&self) -> Option<Vec<u8>> {
        self.certificates().next().and_then(|issuer| encoded(issuer, self.openssl.i2d_X509))
    }
}
