//! One function for each event: guard, read, ask, answer.
//!
//! The codes that are returned are those that a broker of every version takes well: an access check that answers with
//! anything but these three would disconnect the publisher, and RELOAD with anything but success ends 2.1.

use std::ffi::{CString, c_int, c_void};

use super::client::{Client, bytes, text};
use super::entry::Instance;
use super::guard::{refuse_on_panic, report_longest};
use super::sys;
use crate::plugin::{Access, Answer, Attempt};
use crate::policy::decision::Action;

const ALLOWED: c_int = sys::MOSQ_ERR_SUCCESS as c_int;
const DENIED: c_int = sys::MOSQ_ERR_ACL_DENIED as c_int;
const NOT_AUTHENTICATED: c_int = sys::MOSQ_ERR_AUTH as c_int;
const DEFERRED: c_int = sys::MOSQ_ERR_PLUGIN_DEFER as c_int;

/// Declares the C function for an event: what it is called in the log, what a panic answers, and what it does with the
/// instance and the event.
macro_rules! callback {
    ($(#[$doc:meta])* $name:ident($instance:ident, $event:ident: $type:ty) or $refusal:ident $body:block) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// `user_data` is what `mosquitto_plugin_init` registered this function with, and `event` is the broker's.
        pub(super) unsafe extern "C" fn $name(_: c_int, event: *mut c_void, user_data: *mut c_void) -> c_int {
            refuse_on_panic(stringify!($name), $refusal, || {
                // SAFETY: the instance lives until cleanup, which comes after the last callback, and is only ever
                // shared; the event is of this type, and the broker's to change again only after we return.
                let pointers = unsafe { (user_data.cast::<Instance>().as_ref(), event.cast::<$type>().as_mut()) };
                let (Some($instance), Some($event)) = pointers else { return $refusal };
                $body
            })
        }
    };
}

callback! {
    /// May this client send, be sent, subscribe to or unsubscribe from this topic?
    acl_check(instance, event: sys::mosquitto_evt_acl_check) or DENIED {
        // SAFETY: the client and the topic are the broker's, for this callback.
        let (client, topic) = unsafe { (Client::new(event.client, &instance.functions), text(event.topic)) };
        let Some(client) = client else { return DENIED };
        let Ok(access) = u32::try_from(event.access) else { return DENIED };
        let access = match access {
            sys::MOSQ_ACL_READ => Access::To(Action::Receive),
            sys::MOSQ_ACL_WRITE => Access::To(Action::Publish),
            sys::MOSQ_ACL_SUBSCRIBE => Access::To(Action::Subscribe),
            sys::MOSQ_ACL_UNSUBSCRIBE => Access::Unsubscribe,
            _ => return DENIED,
        };
        let attempt = Attempt { access, topic, qos: event.qos, retain: event.retain };
        match instance.plugin.check(instance.desk.get(), &client, &attempt) {
            Answer::Allow(()) => ALLOWED,
            Answer::Deny => DENIED,
            Answer::Defer => DEFERRED,
        }
    }
}

callback! {
    /// Who is this client, which the broker has no name for?
    basic_auth(instance, event: sys::mosquitto_evt_basic_auth) or NOT_AUTHENTICATED {
        // SAFETY: the client and the password are the broker's, for this callback.
        let (client, password) = unsafe { (Client::new(event.client, &instance.functions), bytes(event.password)) };
        let Some(client) = client else { return NOT_AUTHENTICATED };
        let answer = instance.plugin.login(instance.desk.get(), &client, password);
        instance.write_log_without_ticks();
        match answer {
            Answer::Allow(None) => ALLOWED,
            // `event.username` points at what this frees; it is not read any more.
            Answer::Allow(Some(name)) => match CString::new(&*name) {
                Ok(name) if client.set_user_name(&name) => ALLOWED,
                _ => NOT_AUTHENTICATED,
            },
            Answer::Deny => NOT_AUTHENTICATED,
            Answer::Defer => DEFERRED,
        }
    }
}

callback! {
    /// Which key has this PSK identity?
    psk_key(instance, event: sys::mosquitto_evt_psk_key) or NOT_AUTHENTICATED {
        // SAFETY: the client and the identity are the broker's, for this callback.
        let (client, identity) = unsafe { (Client::new(event.client, &instance.functions), text(event.identity)) };
        let Some(client) = client else { return NOT_AUTHENTICATED };
        let answer = instance.plugin.psk_key(instance.desk.get(), &client, identity);
        instance.write_log_without_ticks();
        match answer {
            Answer::Allow(psk) => {
                let (Ok(length), false) = (usize::try_from(event.max_key_len), event.key.is_null()) else {
                    return NOT_AUTHENTICATED;
                };
                // SAFETY: the broker has made room for `max_key_len` characters and a NUL, and set them to zero.
                let room = unsafe { std::slice::from_raw_parts_mut(event.key.cast::<u8>(), length) };
                if psk.write_hex_nul(room).is_some() { ALLOWED } else { NOT_AUTHENTICATED }
            }
            Answer::Deny => NOT_AUTHENTICATED,
            Answer::Defer => DEFERRED,
        }
    }
}

callback! {
    /// A client has connected (2.1).
    connect(instance, event: sys::warden_evt_client) or ALLOWED {
        // SAFETY: the client is the broker's, for this callback.
        let client = unsafe { Client::new(event.client, &instance.functions) };
        if let (Some(client), Some(desk)) = (client, instance.desk.get()) {
            instance.plugin.connected(desk, &client);
        }
        ALLOWED
    }
}

callback! {
    /// A connection has ended: DISCONNECT, and on 2.1 also `CLIENT_OFFLINE`.
    disconnect(instance, event: sys::warden_evt_client) or ALLOWED {
        // SAFETY: the client is the broker's, for this callback.
        let client = unsafe { Client::new(event.client, &instance.functions) };
        if let (Some(client), Some(desk)) = (client, instance.desk.get()) {
            instance.plugin.disconnected(desk, &client);
        }
        ALLOWED
    }
}

callback! {
    /// The broker reads its configuration again. It will ask about every client after this.
    reload(instance, _event: c_void) or ALLOWED {
        if let Some(desk) = instance.desk.get() {
            instance.plugin.reload(desk);
        }
        ALLOWED
    }
}

callback! {
    /// Once per loop of the broker, in the middle of nothing: the time to throw clients off and to write the log.
    ///
    /// The event's wish for the next tick is left alone: on 2.1 it can only delay it.
    tick(instance, _event: c_void) or ALLOWED {
        if let (Some(desk), Some(broker)) = (instance.desk.get(), instance.broker.get()) {
            instance.plugin.tick(desk, broker);
            broker.publish_announcement();
            report_longest();
            broker.write_log();
        }
        ALLOWED
    }
}
