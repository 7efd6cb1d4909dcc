//! A broker without Mosquitto: its functions, recording what they are told, and clients with whatever a broker may show.
//!
//! Everything is kept per thread, as in the broker, so that tests do not see each other.

#![allow(clippy::missing_safety_doc, reason = "each is called as the function of the broker that it stands for")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};

use super::broker::{Functions, OpenSsl};
use super::handshake::NoHook;
use super::sys;

type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

#[derive(Default)]
struct Record {
    callbacks: HashMap<c_int, (Callback, usize)>,
    log: Vec<String>,
    kicked: Vec<String>,
    published: Vec<String>,
    /// What the next registration of this event is answered with, instead of success.
    refuses: HashMap<c_int, c_int>,
    /// What a kick leads to before it returns, as in the real broker.
    during_kick: Option<Box<dyn Fn()>>,
}

thread_local!(static RECORD: RefCell<Record> = RefCell::default());

/// A client record of this broker.
pub(super) struct FakeClient {
    pub(super) id: Option<CString>,
    pub(super) user_name: Option<CString>,
    pub(super) address: Option<CString>,
    pub(super) certificate: Option<Vec<u8>>,
}

impl FakeClient {
    pub(super) fn new(id: &[u8], user_name: &[u8]) -> Self {
        Self {
            id: CString::new(id).ok(),
            user_name: CString::new(user_name).ok(),
            address: Some(c"127.0.0.1".to_owned()),
            certificate: None,
        }
    }

    pub(super) fn raw(&mut self) -> *mut sys::mosquitto {
        std::ptr::from_mut(self).cast()
    }
}

pub(super) fn functions() -> Functions {
    // SAFETY: like every C compiler on the platforms that we support, the callee of a variadic call finds the first
    // three arguments where a function that takes three has them.
    let log = unsafe {
        std::mem::transmute::<
            unsafe extern "C" fn(c_int, *const c_char, *const c_char),
            unsafe extern "C" fn(c_int, *const c_char, ...),
        >(log)
    };
    Functions {
        register,
        unregister,
        log,
        client_id,
        client_user_name,
        client_address,
        client_certificate,
        set_user_name,
        kick_client_id,
        kick_user_name,
        publish,
        // This broker makes no handshakes.
        ask_in_handshakes: |_| Err(NoHook::Missing("SSL_CTX_new")),
        openssl: Some(OpenSsl { encode_certificate, free_certificate }),
    }
}

/// The broker's log so far.
pub(super) fn log_lines() -> Vec<String> {
    RECORD.with_borrow(|record| record.log.clone())
}

/// Who was thrown off so far: `id …` or `user …`.
pub(super) fn kicked() -> Vec<String> {
    RECORD.with_borrow(|record| record.kicked.clone())
}

/// What the plugin has published so far: `topic payload`.
pub(super) fn published() -> Vec<String> {
    RECORD.with_borrow(|record| record.published.clone())
}

/// The events that are registered.
pub(super) fn registered() -> Vec<c_int> {
    let mut events: Vec<c_int> = RECORD.with_borrow(|record| record.callbacks.keys().copied().collect());
    events.sort_unstable();
    events
}

pub(super) fn refuse_registration(event: u32, code: c_int) {
    RECORD.with_borrow_mut(|record| record.refuses.insert(event.try_into().unwrap(), code));
}

pub(super) fn during_kick(body: impl Fn() + 'static) {
    RECORD.with_borrow_mut(|record| record.during_kick = Some(Box::new(body)));
}

/// What another thread needs to call the plugin as well.
pub(super) struct Callbacks(HashMap<c_int, (Callback, usize)>);

/// The callbacks that are registered on this thread.
pub(super) fn share_callbacks() -> Callbacks {
    Callbacks(RECORD.with_borrow(|record| record.callbacks.clone()))
}

impl Callbacks {
    /// From now on events can be fired on this thread too.
    pub(super) fn adopt(self) {
        RECORD.with_borrow_mut(|record| record.callbacks = self.0);
    }
}

/// Fires an event.
pub(super) fn fire<T>(event: u32, data: &mut T) -> c_int {
    let event: c_int = event.try_into().unwrap();
    let (callback, user_data) = RECORD.with_borrow(|record| record.callbacks[&event]);
    // SAFETY: registered with this pointer, which cleanup has not freed; the event is of the type that belongs to it.
    unsafe { callback(event, std::ptr::from_mut(data).cast(), user_data as *mut c_void) }
}

unsafe extern "C" fn register(
    _: *mut sys::mosquitto_plugin_id_t,
    event: c_int,
    callback: sys::MOSQ_FUNC_generic_callback,
    _: *const c_void,
    user_data: *mut c_void,
) -> c_int {
    RECORD.with_borrow_mut(|record| {
        if let Some(code) = record.refuses.get(&event) {
            return *code;
        }
        record.callbacks.insert(event, (callback.unwrap(), user_data.addr()));
        sys::MOSQ_ERR_SUCCESS
    })
}

unsafe extern "C" fn unregister(
    _: *mut sys::mosquitto_plugin_id_t,
    event: c_int,
    _: sys::MOSQ_FUNC_generic_callback,
    _: *const c_void,
) -> c_int {
    RECORD.with_borrow_mut(|record| record.callbacks.remove(&event));
    sys::MOSQ_ERR_SUCCESS
}

unsafe extern "C" fn log(_: c_int, format: *const c_char, text: *const c_char) {
    // SAFETY: our own caller passes two strings that end in NUL.
    let (format, text) = unsafe { (CStr::from_ptr(format), CStr::from_ptr(text)) };
    assert_eq!(format, c"%s");
    RECORD.with_borrow_mut(|record| record.log.push(text.to_str().unwrap().to_owned()));
}

fn client<'a>(raw: *const sys::mosquitto) -> &'a FakeClient {
    // SAFETY: every client that the tests show is a FakeClient that outlives the callback.
    unsafe { &*raw.cast::<FakeClient>() }
}

fn shown(text: Option<&CString>) -> *const c_char {
    text.map_or(std::ptr::null(), |text| text.as_ptr())
}

unsafe extern "C" fn client_id(raw: *const sys::mosquitto) -> *const c_char {
    shown(client(raw).id.as_ref())
}

unsafe extern "C" fn client_user_name(raw: *const sys::mosquitto) -> *const c_char {
    shown(client(raw).user_name.as_ref())
}

unsafe extern "C" fn client_address(raw: *const sys::mosquitto) -> *const c_char {
    shown(client(raw).address.as_ref())
}

unsafe extern "C" fn client_certificate(raw: *const sys::mosquitto) -> *mut c_void {
    match &client(raw).certificate {
        Some(der) => Box::into_raw(Box::new(der.clone())).cast(),
        None => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn encode_certificate(certificate: *const c_void, out: *mut *mut c_uchar) -> c_int {
    // SAFETY: made by `client_certificate`, and not freed yet.
    let der = unsafe { &*certificate.cast::<Vec<u8>>() };
    if !out.is_null() {
        // SAFETY: the caller has made room for as many bytes as the first call told.
        unsafe {
            (*out).copy_from_nonoverlapping(der.as_ptr(), der.len());
            *out = (*out).add(der.len());
        }
    }
    der.len().try_into().unwrap()
}

unsafe extern "C" fn free_certificate(certificate: *mut c_void) {
    // SAFETY: made by `client_certificate`, given back once.
    drop(unsafe { Box::from_raw(certificate.cast::<Vec<u8>>()) });
}

unsafe extern "C" fn set_user_name(raw: *mut sys::mosquitto, user_name: *const c_char) -> c_int {
    // SAFETY: as in `client`, and the name is a string of the caller's.
    unsafe { (*raw.cast::<FakeClient>()).user_name = Some(CStr::from_ptr(user_name).to_owned()) };
    sys::MOSQ_ERR_SUCCESS
}

fn kick(what: &str, name: *const c_char, with_will: bool) -> c_int {
    assert!(!with_will && !name.is_null());
    // SAFETY: a string of the caller's.
    let name = unsafe { CStr::from_ptr(name) }.to_str().unwrap();
    let during_kick = RECORD.with_borrow_mut(|record| {
        record.kicked.push(format!("{what} {name}"));
        record.during_kick.take()
    });
    if let Some(body) = during_kick {
        body();
    }
    sys::MOSQ_ERR_SUCCESS
}

unsafe extern "C" fn kick_client_id(id: *const c_char, with_will: bool) -> c_int {
    kick("id", id, with_will)
}

unsafe extern "C" fn kick_user_name(user_name: *const c_char, with_will: bool) -> c_int {
    kick("user", user_name, with_will)
}

unsafe extern "C" fn publish(
    client_id: *const c_char,
    topic: *const c_char,
    length: c_int,
    payload: *const c_void,
    qos: c_int,
    retain: bool,
    _: *mut sys::mosquitto_property,
) -> c_int {
    assert!(client_id.is_null() && qos == 0 && retain);
    // SAFETY: a string of the caller's, and as many bytes as it tells.
    let (topic, payload) = unsafe {
        (CStr::from_ptr(topic), std::slice::from_raw_parts(payload.cast::<u8>(), length.try_into().unwrap()))
    };
    let line = format!("{} {}", topic.to_str().unwrap(), str::from_utf8(payload).unwrap());
    RECORD.with_borrow_mut(|record| record.published.push(line));
    sys::MOSQ_ERR_SUCCESS
}
