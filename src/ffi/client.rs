//! A client of the broker, as one callback sees it.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use super::broker::{Functions, OpenSsl};
use super::handshake::encoded;
use super::sys;
use crate::plugin;
use crate::plugin::session::ConnectionMark;

/// A client for the length of a callback.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    raw: NonNull<sys::mosquitto>,
    functions: &'a Functions,
}

impl<'a> Client<'a> {
    /// # Safety
    ///
    /// `raw` is NULL, or a client that the broker keeps alive for `'a`.
    pub(super) unsafe fn new(raw: *mut sys::mosquitto, functions: &'a Functions) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, functions })
    }

    /// Gives it this user name. The former one, and whatever pointed at it, is gone afterwards.
    pub(super) fn set_user_name(self, user_name: &CStr) -> bool {
        // SAFETY: the client is alive; the broker copies the name.
        let code = unsafe { (self.functions.set_user_name)(self.raw.as_ptr(), user_name.as_ptr()) };
        code == sys::MOSQ_ERR_SUCCESS
    }

    fn text(&self, read: unsafe extern "C" fn(*const sys::mosquitto) -> *const c_char) -> Option<&str> {
        // SAFETY: the client is alive; what the broker returns is NULL or ends in NUL, and stays for this callback:
        // only `set_user_name` replaces any of it, which is the last thing that a callback does.
        unsafe { text(read(self.raw.as_ptr())) }
    }
}

impl plugin::Client for Client<'_> {
    fn mark(&self) -> ConnectionMark {
        self.raw.as_ptr().addr()
    }

    fn client_id(&self) -> Option<&str> {
        self.text(self.functions.client_id)
    }

    fn user_name(&self) -> Option<&str> {
        self.text(self.functions.client_user_name)
    }

    fn address(&self) -> Option<&str> {
        // SAFETY: the client is alive, and the broker keeps the address for as long as it is.
        let address = unsafe { (self.functions.client_address)(self.raw.as_ptr()) };
        // What is no text is the address of a client nonetheless.
        // SAFETY: NULL, or the broker's string.
        if address.is_null() { None } else { Some(unsafe { text(address) }.unwrap_or_default()) }
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        let openssl = self.functions.openssl?;
        // SAFETY: the client is alive. What is returned is NULL or an X509 of which one reference is now ours.
        let certificate = NonNull::new(unsafe { (self.functions.client_certificate)(self.raw.as_ptr()) })?;
        let certificate = Certificate { raw: certificate, openssl };
        certificate.to_der()
    }
}

/// A reference to an OpenSSL certificate.
struct Certificate {
    raw: NonNull<std::ffi::c_void>,
    openssl: OpenSsl,
}

impl Certificate {
    fn to_der(&self) -> Option<Vec<u8>> {
        encoded(self.raw, self.openssl.encode_certificate)
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and is given back once.
        unsafe { (self.openssl.free_certificate)(self.raw.as_ptr()) }
    }
}

/// The bytes at a pointer of the broker, up to the NUL; `None` where it is NULL.
///
/// # Safety
///
/// As for [`text`].
pub(super) unsafe fn bytes<'a>(pointer: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// The text at a pointer of the broker; `None` where it is NULL or not UTF-8.
///
/// # Safety
///
/// `pointer` is NULL, or ends in NUL and stays unchanged for `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char) -> Option<&'a str> {
    // SAFETY: the caller's promise.
    str::from_utf8(unsafe { bytes(pointer) }?).ok()
}
