//! Loads a plugin as Mosquitto does, and asks it what Mosquitto asks.
#![expect(unsafe_code, reason = "plugins speak C")]

#[path = "broker.rs"]
mod broker;
/// The broker's types, as the plugin has them too.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::expect_used,
    clippy::undocumented_unsafe_blocks,
    missing_debug_implementations,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    reason = "generated code"
)]
mod sys {
    include!(concat!(env!("OUT_DIR"), "/broker.rs"));
}

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;
use std::{mem, ptr};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::allocations;
use broker::{Callback, Registered};

pub(crate) use broker::Client;

pub(crate) const ALLOWED: c_int = sys::MOSQ_ERR_SUCCESS;
pub(crate) const DENIED: c_int = sys::MOSQ_ERR_ACL_DENIED;
/// Nobody else is asked here, and then the broker denies.
pub(crate) const DEFERRED: c_int = sys::MOSQ_ERR_PLUGIN_DEFER;

type Version = unsafe extern "C" fn(c_int, *const c_int) -> c_int;
type Init =
    unsafe extern "C" fn(*mut sys::mosquitto_plugin_id_t, *mut *mut c_void, *mut sys::mosquitto_opt, c_int) -> c_int;
type Cleanup = unsafe extern "C" fn(*mut c_void, *mut sys::mosquitto_opt, c_int) -> c_int;

/// A plugin that has started.
pub(crate) struct Plugin {
    /// Looked up once, because it is asked often.
    acl_check: (Callback, *mut c_void),
    registered: Box<Registered>,
    user_data: *mut c_void,
    library: Library,
}

impl Plugin {
    /// Starts it with these options, and ticks once.
    pub(crate) fn load(library: &Path, options: &[(&str, &str)]) -> Self {
        let options: Vec<[CString; 2]> =
            options.iter().map(|(key, value)| [key, value].map(|text| CString::new(*text).unwrap())).collect();
        let mut options: Vec<sys::mosquitto_opt> = options
            .iter()
            .map(|[key, value]| sys::mosquitto_opt { key: key.as_ptr().cast_mut(), value: value.as_ptr().cast_mut() })
            .collect();
        let registered = Box::new(Registered::default());
        let mut user_data = ptr::null_mut();
        // SAFETY: a plugin for Mosquitto, whose functions have these types (mosquitto_plugin.h) and are called in the
        // order that is told there, all on this thread; the options stay until init returns, and nobody keeps them.
        let library = unsafe {
            let library = Library::open(Some(library), RTLD_NOW | RTLD_LOCAL).unwrap();
            let version = library.get::<Version>(b"mosquitto_plugin_version\0").unwrap();
            assert_eq!(version(1, &5), 5);
            let init = library.get::<Init>(b"mosquitto_plugin_init\0").unwrap();
            let identifier = ptr::from_ref(&*registered).cast_mut().cast();
            let count = options.len().try_into().unwrap();
            let before = allocations::of_this_thread();
            assert_eq!(init(identifier, &raw mut user_data, options.as_mut_ptr(), count), ALLOWED);
            assert!(allocations::of_this_thread() - before > 20, "nobody starts without them: they are not counted");
            library
        };
        let acl_check = registered.0.borrow()[&number(sys::MOSQ_EVT_ACL_CHECK)];
        let plugin = Self { acl_check, registered, user_data, library };
        plugin.tick();
        plugin
    }

    /// What the broker does all the time.
    pub(crate) fn tick(&self) {
        // More than the event has, of which no plugin here looks at anything.
        self.fire(sys::MOSQ_EVT_TICK, &mut [0_u64; 16]);
    }

    /// Has it find out who this is, and says that they are connected.
    pub(crate) fn login(&self, client: &mut Client) {
        let raw = ptr::from_mut(client).cast();
        // SAFETY: numbers and pointers, which may be zero.
        let mut event: sys::mosquitto_evt_basic_auth = unsafe { mem::zeroed() };
        event.client = raw;
        assert_eq!(self.fire(sys::MOSQ_EVT_BASIC_AUTH, &mut event), Some(ALLOWED));
        let mut event = sys::warden_evt_client { future: ptr::null_mut(), client: raw };
        self.fire(sys::WARDEN_EVT_CONNECT, &mut event);
    }

    /// May this client publish there?
    pub(crate) fn may_publish(&self, client: &Client, topic: &CStr) -> c_int {
        // SAFETY: numbers and pointers, which may be zero.
        let mut event: sys::mosquitto_evt_acl_check = unsafe { mem::zeroed() };
        event.client = ptr::from_ref(client).cast_mut().cast();
        event.topic = topic.as_ptr();
        event.access = number(sys::MOSQ_ACL_WRITE);
        event.qos = 1;
        let (callback, user_data) = self.acl_check;
        // SAFETY: registered for this event with this pointer; the client is only read, as for every question.
        unsafe { callback(number(sys::MOSQ_EVT_ACL_CHECK), (&raw mut event).cast(), user_data) }
    }

    /// Tells of an event, if it wants to hear of it.
    fn fire<T>(&self, event: u32, data: &mut T) -> Option<c_int> {
        let (callback, user_data) = self.registered.0.borrow().get(&number(event)).copied()?;
        // SAFETY: registered for this event with this pointer, and what is told has its type.
        Some(unsafe { callback(number(event), ptr::from_mut(data).cast(), user_data) })
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // SAFETY: once, after the last callback, with what init made; the library and what was registered are freed later.
        unsafe {
            let cleanup = self.library.get::<Cleanup>(b"mosquitto_plugin_cleanup\0").unwrap();
            assert_eq!(cleanup(self.user_data, ptr::null_mut(), 0), ALLOWED);
        }
    }
}

fn number(constant: u32) -> c_int {
    constant.cast_signed()
}
