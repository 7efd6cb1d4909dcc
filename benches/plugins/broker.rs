//! The functions of the broker that plugins look for in the process that loads them. build.rs has them exported, by the
//! list in `called-by-plugins.list`.
#![expect(unsafe_code, reason = "this is the broker's side of the interface in C")]
#![allow(clippy::missing_safety_doc, reason = "each is called as the function of the broker that it stands for")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uchar, c_void};
use std::process::abort;
use std::ptr;
use std::sync::LazyLock;

use super::sys;
use crate::stand::Template;

pub(super) type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

/// What a plugin has registered, by the event; its identifier points here.
#[derive(Default)]
pub(super) struct Registered(pub(super) RefCell<HashMap<c_int, (Callback, *mut c_void)>>);

/// Somebody who is connected.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) id: CString,
    pub(super) user_name: Option<CString>,
}

impl Client {
    /// Who has said this name, and is believed.
    pub(crate) fn with_user_name(name: &str) -> Self {
        Self { user_name: CString::new(name).ok(), ..Self::with_certificate(name) }
    }

    /// Who has shown a certificate with this common name.
    pub(crate) fn with_certificate(name: &str) -> Self {
        Self { id: CString::new(name).unwrap(), user_name: None }
    }
}

// SAFETY: the type is that of d2i_X509(3).
unsafe extern "C" {
    fn d2i_X509(certificate: *mut *mut c_void, der: *mut *const c_uchar, length: c_long) -> *mut c_void;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mosquitto_callback_register(
    identifier: *mut sys::mosquitto_plugin_id_t,
    event: c_int,
    callback: Callback,
    _: *const c_void,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: the identifier is what init was given, and stays until after cleanup.
    let registered = unsafe { &*identifier.cast::<Registered>() };
    registered.0.borrow_mut().insert(event, (callback, user_data));
    sys::MOSQ_ERR_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mosquitto_callback_unregister(
    identifier: *mut sys::mosquitto_plugin_id_t,
    event: c_int,
    _: Callback,
    _: *const c_void,
) -> c_int {
    // SAFETY: as above.
    let registered = unsafe { &*identifier.cast::<Registered>() };
    registered.0.borrow_mut().remove(&event);
    sys::MOSQ_ERR_SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_plugin_set_info(
    _: *mut sys::mosquitto_plugin_id_t,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    sys::MOSQ_ERR_SUCCESS
}

/// Shows errors. On Linux for `x86_64` and `aarch64` the first six whole numbers and pointers of a call are in registers,
/// whether its function is variadic or not; more than four arguments no plugin logs with an error.
#[unsafe(no_mangle)]
unsafe extern "C" fn mosquitto_log_printf(level: c_int, format: *const c_char, a: usize, b: usize, c: usize, d: usize) {
    if u32::try_from(level) == Ok(sys::MOSQ_LOG_ERR) {
        let mut line = [0_u8; 1000];
        // SAFETY: the format, and the first of its arguments, as the plugin passed them, and room for so many bytes.
        unsafe { libc::snprintf(line.as_mut_ptr().cast(), line.len(), format, a, b, c, d) };
        eprintln!("{}", CStr::from_bytes_until_nul(&line).unwrap().to_string_lossy());
    }
}

unsafe fn client<'a>(raw: *const sys::mosquitto) -> &'a Client {
    // SAFETY: every client that a plugin is shown is a `Client` that outlives the callback.
    unsafe { &*raw.cast::<Client>() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mosquitto_client_id(raw: *const sys::mosquitto) -> *const c_char {
    // SAFETY: as there.
    unsafe { client(raw) }.id.as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mosquitto_client_username(raw: *const sys::mosquitto) -> *const c_char {
    // SAFETY: as there.
    unsafe { client(raw) }.user_name.as_ref().map_or(ptr::null(), |name| name.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_address(_: *const sys::mosquitto) -> *const c_char {
    c"127.0.0.1".as_ptr()
}

/// An `X509` of OpenSSL, of which the plugin frees one reference.
#[unsafe(no_mangle)]
unsafe extern "C" fn mosquitto_client_certificate(raw: *const sys::mosquitto) -> *mut c_void {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::new);
    // SAFETY: as there.
    let der = TEMPLATE.named(unsafe { client(raw) }.id.to_str().unwrap());
    // SAFETY: as many bytes as are told; OpenSSL copies them.
    unsafe { d2i_X509(ptr::null_mut(), &mut der.as_ptr(), der.len().try_into().unwrap()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mosquitto_set_username(raw: *mut sys::mosquitto, user_name: *const c_char) -> c_int {
    // SAFETY: only BASIC_AUTH calls this, which `Plugin::login` lends the client for, to be changed; the name is a
    // string of the plugin's.
    unsafe { (*raw.cast::<Client>()).user_name = Some(CStr::from_ptr(user_name).to_owned()) };
    sys::MOSQ_ERR_SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_broker_publish_copy(
    _: *const c_char,
    _: *const c_char,
    _: c_int,
    _: *const c_void,
    _: c_int,
    _: bool,
    _: *mut c_void,
) -> c_int {
    sys::MOSQ_ERR_SUCCESS
}

macro_rules! not_called_here {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> c_int {
            eprintln!("a plugin has called {}, for which there is no reason", stringify!($name));
            abort()
        }
    )*};
}
not_called_here! {
    mosquitto_apply_on_all_clients mosquitto_client mosquitto_control_command_reply mosquitto_control_generic_callback
    mosquitto_kick_client_by_clientid mosquitto_kick_client_by_username
}
