//! The three functions that the broker looks up by name.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use tracing::Level;

use super::broker::{Broker, Functions};
use super::client::text;
use super::guard::{measure, refuse_on_panic};
use super::thread::{MainThread, apart, keep_own_descriptors};
use super::wake::Waker;
use super::{callback, handshake, sys, version};
use crate::config::{self, Config, Problems};
use crate::log;
use crate::plugin::{Desk, NoStart, Plugin};

/// The version of the plugin interface that we speak: the one of Mosquitto 2.
const INTERFACE: c_int = 5;

/// All that there is between init and cleanup.
pub(super) struct Instance {
    // Dropped first: its thread wakes the broker's, and must be gone before the handler is.
    pub(super) plugin: Arc<Plugin>,
    pub(super) desk: MainThread<Desk>,
    pub(super) broker: MainThread<Broker>,
    pub(super) functions: Functions,
    identifier: *mut sys::mosquitto_plugin_id_t,
    _waker: Waker,
}

type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

/// The events that we answer to. The last two came with 2.1.
const CALLBACKS: [(u32, Callback); 8] = [
    (sys::MOSQ_EVT_RELOAD, callback::reload),
    (sys::MOSQ_EVT_ACL_CHECK, callback::acl_check),
    (sys::MOSQ_EVT_BASIC_AUTH, callback::basic_auth),
    (sys::MOSQ_EVT_PSK_KEY, callback::psk_key),
    (sys::MOSQ_EVT_TICK, callback::tick),
    (sys::MOSQ_EVT_DISCONNECT, callback::disconnect),
    (sys::WARDEN_EVT_CONNECT, callback::connect),
    (sys::WARDEN_EVT_CLIENT_OFFLINE, callback::disconnect),
];

/// Tells the broker which version of its plugin interface we speak, or -1 if it offers none that we do.
///
/// # Safety
///
/// `versions` points at `count` numbers.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn mosquitto_plugin_version(count: c_int, versions: *const c_int) -> c_int {
    refuse_on_panic("version", -1, || {
        let (Ok(count), false) = (usize::try_from(count), versions.is_null()) else { return -1 };
        // SAFETY: the broker's promise.
        let offered = unsafe { std::slice::from_raw_parts(versions, count) };
        if offered.contains(&INTERFACE) { INTERFACE } else { -1 }
    })
}

/// Reads the options, loads the policy and registers for events. Any trouble is in the broker's log, and keeps the
/// broker from starting.
///
/// # Safety
///
/// Called by the broker, on its thread: `options` points at `count` options, and `user_data` at room for a pointer,
/// which every callback and cleanup are given again.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn mosquitto_plugin_init(
    identifier: *mut sys::mosquitto_plugin_id_t,
    user_data: *mut *mut c_void,
    options: *mut sys::mosquitto_opt,
    count: c_int,
) -> c_int {
    refuse_on_panic("init", sys::MOSQ_ERR_UNKNOWN, || {
        let Ok(functions) = Functions::find() else { return sys::MOSQ_ERR_NOT_SUPPORTED };
        // SAFETY: the broker's promise, passed on.
        unsafe { start(functions, identifier, user_data, options, count) }
    })
}

/// Stops our thread and frees what init made. Called with NULL after an init that failed, by some brokers.
///
/// # Safety
///
/// Called by the broker, on its thread, with what init put into `user_data`, and no callback runs any more.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn mosquitto_plugin_cleanup(
    user_data: *mut c_void,
    _options: *mut sys::mosquitto_opt,
    _count: c_int,
) -> c_int {
    refuse_on_panic("cleanup", sys::MOSQ_ERR_SUCCESS, || {
        if !user_data.is_null() {
            // SAFETY: it is what init leaked, and comes here once.
            let instance = unsafe { Box::from_raw(user_data.cast::<Instance>()) };
            instance.unregister(CALLBACKS.len());
            handshake::forget(&instance.plugin);
        }
        sys::MOSQ_ERR_SUCCESS
    })
}

/// As [`mosquitto_plugin_init`], with the broker's functions found.
///
/// # Safety
///
/// As there.
pub(super) unsafe fn start(
    functions: Functions,
    identifier: *mut sys::mosquitto_plugin_id_t,
    user_data: *mut *mut c_void,
    options: *mut sys::mosquitto_opt,
    count: c_int,
) -> c_int {
    if user_data.is_null() {
        return sys::MOSQ_ERR_INVAL;
    }
    // SAFETY: there is room for a pointer. Some brokers call cleanup after an init that failed: let it find NULL.
    unsafe { *user_data = std::ptr::null_mut() };
    let broker = Broker::new(functions);
    let refuse = |problems: &mut dyn Iterator<Item = String>| {
        for problem in problems {
            broker.log(&Level::ERROR, &problem);
        }
        sys::MOSQ_ERR_INVAL
    };
    log::install();
    // SAFETY: the broker's promise.
    let config = unsafe { read_options(options, count) };
    let config = match config.and_then(|options| config::from_options(options, config::read)) {
        Ok(config) => config,
        Err(problems) => {
            // What is wrong with the files that are named is said at once as well.
            let rest = problems.rest().map(|config| Config { broker_name: None, ..config.clone() });
            let rest = rest.map(|config| start_apart(config, "", || ()));
            let more = rest.and_then(Result::err).unwrap_or_default();
            let more = more.iter().map(|problem| log::causes(problem));
            return refuse(&mut problems.iter().map(str::to_owned).chain(more));
        }
    };
    if config.callback_times {
        measure();
    }
    let waker = Waker::install();
    let wake = Waker::of_this_thread();
    let mosquitto = match config.broker_name {
        Some(_) => version::of_program_at(broker.functions.log as usize),
        None => String::new(),
    };
    let plugin = match start_apart(config, &mosquitto, wake) {
        Ok(plugin) => Arc::new(plugin),
        Err(problems) => return refuse(&mut problems.iter().map(|problem| log::causes(problem))),
    };
    if broker.functions.openssl.is_none() {
        broker.log(&Level::ERROR, "this broker has no OpenSSL that certificates could be read with; they are refused");
    }
    broker.write_log();
    let instance = Box::into_raw(Box::new(Instance {
        plugin,
        desk: MainThread::new(Desk::default()),
        functions: broker.functions,
        broker: MainThread::new(broker),
        identifier,
        _waker: waker,
    }));
    // SAFETY: the instance was made just now, and nobody else has it yet.
    let result = unsafe { (*instance).register(instance.cast()) };
    match result {
        Ok(()) => {
            // SAFETY: as above; its callbacks run when we have returned.
            unsafe { (*instance).ask_in_handshakes() };
            // SAFETY: there is room for a pointer.
            unsafe { *user_data = instance.cast() };
            sys::MOSQ_ERR_SUCCESS
        }
        Err(code) => {
            // SAFETY: what was registered is unregistered, so that nobody has the instance but us.
            drop(unsafe { Box::from_raw(instance) });
            code
        }
    }
}

/// [`Plugin::start`], on a thread of its own.
fn start_apart(config: Config, mosquitto: &str, wake: impl Fn() + Send + 'static) -> Result<Plugin, Vec<NoStart>> {
    let started = apart("warden-start", || {
        if !config.needs_sockets() {
            keep_own_descriptors();
        }
        Plugin::start(config, mosquitto, wake)
    });
    started.unwrap_or_else(|error| Err(vec![NoStart::Thread(error)]))
}

impl Instance {
    /// Registers for every event; for none where one that every broker has is refused.
    fn register(&self, user_data: *mut c_void) -> Result<(), c_int> {
        let Some(broker) = self.broker.get() else { return Err(sys::MOSQ_ERR_UNKNOWN) };
        for (index, (event, callback)) in CALLBACKS.into_iter().enumerate() {
            let Ok(event_number) = c_int::try_from(event) else { continue };
            // SAFETY: the identifier is the broker's; the callback takes what it is registered with; cleanup frees the
            // instance after the broker has forgotten the callbacks.
            let code = unsafe {
                (self.functions.register)(self.identifier, event_number, Some(callback), std::ptr::null(), user_data)
            };
            match (event, code) {
                (sys::WARDEN_EVT_CONNECT, sys::MOSQ_ERR_SUCCESS) => broker.set_tells_of_connections(),
                (sys::WARDEN_EVT_CONNECT | sys::WARDEN_EVT_CLIENT_OFFLINE, _) | (_, sys::MOSQ_ERR_SUCCESS) => {}
                (_, code) => {
                    let why = match code {
                        sys::MOSQ_ERR_ALREADY_EXISTS => "is the plugin named twice in mosquitto.conf?",
                        _ => "is this broker older than 2.0.11?",
                    };
                    broker.log(&Level::ERROR, &format!("the broker refuses event {event} with code {code}; {why}"));
                    self.unregister(index);
                    return Err(code);
                }
            }
        }
        Ok(())
    }

    /// Has the plugin asked in TLS handshakes, as far as its operator wants that and OpenSSL lets us.
    fn ask_in_handshakes(&self) {
        let Some(broker) = self.broker.get() else { return };
        let wanted = self.plugin.wants_handshakes();
        if !wanted && self.plugin.wants_resumption() && !self.plugin.limits_handshakes() {
            return broker.announce(c"off");
        }
        match (self.functions.ask_in_handshakes)(&self.plugin) {
            Ok(()) => broker.announce(if wanted { c"enforced" } else { c"off" }),
            Err(why) => {
                broker.log(
                    &Level::ERROR,
                    &format!(
                        "CERTIFICATES ARE NOT JUDGED IN THE TLS HANDSHAKE, AND TLS SESSIONS CAN BE RESUMED: {why}; \
                         they are judged when their client is connected; `handshake = \"off\"` says that this is meant, \
                         without `admission_rate`"
                    ),
                );
                broker.announce(c"impossible");
            }
        }
    }

    /// Takes back the first `many` registrations.
    fn unregister(&self, many: usize) {
        for (event, callback) in CALLBACKS.into_iter().take(many) {
            let Ok(event) = c_int::try_from(event) else { continue };
            // SAFETY: as registered.
            unsafe { (self.functions.unregister)(self.identifier, event, Some(callback), std::ptr::null()) };
        }
    }

    /// Where the broker never ticks, its operator is told in the callbacks in which that can be done.
    pub(super) fn write_log_without_ticks(&self) {
        if let (Some(desk), Some(broker)) = (self.desk.get(), self.broker.get())
            && !desk.ticked()
        {
            broker.write_log();
        }
    }
}

/// The options as text.
///
/// # Safety
///
/// `options` points at `count` options, whose strings stay for `'a`.
unsafe fn read_options<'a>(
    options: *const sys::mosquitto_opt,
    count: c_int,
) -> Result<Vec<(&'a str, &'a str)>, Problems> {
    let count = usize::try_from(count).unwrap_or(0);
    if options.is_null() || count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller's promise.
    let options = unsafe { std::slice::from_raw_parts(options, count) };
    let mut problems = Problems::default();
    let mut pairs = Vec::with_capacity(count);
    for (index, option) in options.iter().enumerate() {
        // SAFETY: NULL, or the broker's strings.
        match unsafe { (text(option.key), text(option.value)) } {
            (Some(key), Some(value)) => pairs.push((key, value)),
            _ => problems.push(format!("plugin option number {} is not a text", index + 1)),
        }
    }
    if problems.is_empty() { Ok(pairs) } else { Err(problems) }
}
