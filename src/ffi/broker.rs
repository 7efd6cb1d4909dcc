//! What we call in the broker, looked up when the plugin starts.
//!
//! One binary serves every broker, so nothing is linked: a function that is missing is an error with its name. All of
//! them belong to the broker's thread.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};
use std::sync::Arc;

use libloading::os::unix::Library;
use tracing::Level;

use super::handshake::{self, NoHook};
use super::sys;
use crate::log;
use crate::plugin::{self, Plugin};

/// Where the broker's clients can read, as a retained message, whether certificates are judged in the TLS handshake:
/// `enforced`, `off` or `impossible`.
const HANDSHAKE_TOPIC: &CStr = c"$SYS/broker/warden/handshake";
/// How many log lines one tick writes.
const LINES_PER_TICK: usize = 100;

type I2dX509 = unsafe extern "C" fn(certificate: *const c_void, out: *mut *mut c_uchar) -> c_int;
type X509Free = unsafe extern "C" fn(certificate: *mut c_void);

/// The functions of the broker, and of the OpenSSL that it uses.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) register: unsafe extern "C" fn(
        *mut sys::mosquitto_plugin_id_t,
        c_int,
        sys::MOSQ_FUNC_generic_callback,
        *const c_void,
        *mut c_void,
    ) -> c_int,
    pub(super) unregister: unsafe extern "C" fn(
        *mut sys::mosquitto_plugin_id_t,
        c_int,
        sys::MOSQ_FUNC_generic_callback,
        *const c_void,
    ) -> c_int,
    pub(super) log: unsafe extern "C" fn(c_int, *const c_char, ...),
    pub(super) client_id: unsafe extern "C" fn(*const sys::mosquitto) -> *const c_char,
    pub(super) client_user_name: unsafe extern "C" fn(*const sys::mosquitto) -> *const c_char,
    pub(super) client_address: unsafe extern "C" fn(*const sys::mosquitto) -> *const c_char,
    pub(super) client_certificate: unsafe extern "C" fn(*const sys::mosquitto) -> *mut c_void,
    pub(super) set_user_name: unsafe extern "C" fn(*mut sys::mosquitto, *const c_char) -> c_int,
    pub(super) kick_client_id: unsafe extern "C" fn(*const c_char, bool) -> c_int,
    pub(super) kick_user_name: unsafe extern "C" fn(*const c_char, bool) -> c_int,
    pub(super) publish: unsafe extern "C" fn(
        *const c_char,
        *const c_char,
        c_int,
        *const c_void,
        c_int,
        bool,
        *mut sys::mosquitto_property,
    ) -> c_int,
    /// Has a plugin asked in TLS handshakes.
    pub(super) ask_in_handshakes: fn(&Arc<Plugin>) -> Result<(), NoHook>,
    /// Absent in a broker without TLS.
    pub(super) openssl: Option<OpenSsl>,
}

/// What we need of OpenSSL to read a certificate.
#[derive(Clone, Copy)]
pub(super) struct OpenSsl {
    pub(super) encode_certificate: I2dX509,
    pub(super) free_certificate: X509Free,
}

impl Functions {
    /// Finds them in the process that has loaded us.
    pub(super) fn find() -> Result<Self, libloading::Error> {
        // SAFETY: the names and types are bindgen's, from the broker's own headers.
        let found = unsafe { sys::Functions::from_library(Library::this()) }?;
        Ok(Self {
            register: found.mosquitto_callback_register?,
            unregister: found.mosquitto_callback_unregister?,
            log: found.mosquitto_log_printf?,
            client_id: found.mosquitto_client_id?,
            client_user_name: found.mosquitto_client_username?,
            client_address: found.mosquitto_client_address?,
            client_certificate: found.mosquitto_client_certificate?,
            set_user_name: found.mosquitto_set_username?,
            kick_client_id: found.mosquitto_kick_client_by_clientid?,
            kick_user_name: found.mosquitto_kick_client_by_username?,
            publish: found.mosquitto_broker_publish_copy?,
            ask_in_handshakes: handshake::ask,
            openssl: OpenSsl::find(),
        })
    }
}

impl OpenSsl {
    fn find() -> Option<Self> {
        let process = Library::this();
        // SAFETY: the types are those of i2d_X509(3) and X509_free(3), unchanged since OpenSSL 1.1.
        unsafe {
            Some(Self {
                encode_certificate: *process.get::<I2dX509>(b"i2d_X509\0").ok()?,
                free_certificate: *process.get::<X509Free>(b"X509_free\0").ok()?,
            })
        }
    }
}

/// The broker, for its own thread.
pub(super) struct Broker {
    pub(super) functions: Functions,
    tells_of_connections: Cell<bool>,
    announcement: Cell<Option<&'static CStr>>,
}

impl Broker {
    pub(super) fn new(functions: Functions) -> Self {
        Self { functions, tells_of_connections: Cell::new(false), announcement: Cell::new(None) }
    }

    /// The broker has a CONNECT event, and we hear of it.
    pub(super) fn set_tells_of_connections(&self) {
        self.tells_of_connections.set(true);
    }

    /// The next tick makes known whether certificates are judged in the handshake.
    pub(super) fn announce(&self, handshake: &'static CStr) {
        self.announcement.set(Some(handshake));
    }

    /// Publishes what is to be made known.
    pub(super) fn publish_announcement(&self) {
        let Some(payload) = self.announcement.take() else { return };
        let Ok(length) = c_int::try_from(payload.count_bytes()) else { return };
        // SAFETY: two strings, and as many bytes as are told; the broker copies them. No client id: it is the broker's
        // own message. We are on the tick and hold no borrow.
        unsafe {
            (self.functions.publish)(
                std::ptr::null(),
                HANDSHAKE_TOPIC.as_ptr(),
                length,
                payload.as_ptr().cast(),
                0,
                true,
                std::ptr::null_mut(),
            );
        }
    }

    /// Writes the log lines that wait to the broker's log.
    pub(super) fn write_log(&self) {
        for line in log::take(LINES_PER_TICK) {
            self.log(&line.level, &line.text);
        }
    }

    /// Writes one line to the broker's log.
    pub(super) fn log(&self, level: &Level, text: &str) {
        let level = match *level {
            Level::ERROR => sys::MOSQ_LOG_ERR,
            Level::WARN => sys::MOSQ_LOG_WARNING,
            _ => sys::MOSQ_LOG_INFO,
        };
        let (Ok(text), Ok(level)) =
            (CString::new(format!("warden: {text}").replace('\0', "\\0")), c_int::try_from(level))
        else {
            return;
        };
        // SAFETY: the format takes one string, and gets one that ends in NUL; the broker copies it.
        unsafe { (self.functions.log)(level, c"%s".as_ptr(), text.as_ptr()) }
    }
}

impl plugin::Broker for Broker {
    fn kick_client_id(&self, client_id: &str) {
        let Ok(client_id) = CString::new(client_id) else { return };
        // SAFETY: a string of ours that ends in NUL and outlives the call. We are on the tick and hold no borrow, so
        // that the callbacks which this leads to find everything free.
        unsafe {
            (self.functions.kick_client_id)(client_id.as_ptr(), false);
        }
    }

    fn kick_user_name(&self, user_name: &str) {
        let Ok(user_name) = CString::new(user_name) else { return };
        // SAFETY: as above. The pointer is never NULL, which would throw off everybody without a user name.
        unsafe {
            (self.functions.kick_user_name)(user_name.as_ptr(), false);
        }
    }

    fn tells_of_connections(&self) -> bool {
        self.tells_of_connections.get()
    }
}
