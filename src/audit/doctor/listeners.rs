//! What the configuration says by itself.

use super::{
    ANONYMOUS, CERTIFICATE_AND_PSK, CRLFILE_ON_WEBSOCKETS, FILE_NEVER_ASKED, Facts, HANDSHAKE_OFF, IDENTITY_OFF,
    LISTENER_WITHOUT_PLUGIN, NO_CERTIFICATE_WANTED, NO_LISTENER, NO_PLUGIN, NO_TLS, OLD_TLS, OPTION_TOO_SHORT,
    OPTION_WITHOUT_PLUGIN, OTHER_PLUGIN_FIRST, PASSWORDS_WITHOUT_TLS, PER_LISTENER, PLUGIN_BEFORE_LISTENERS,
    PLUGIN_TWICE, PSK_FILE, RUNS_AS_ROOT, SUBJECT_AS_USERNAME, USERNAME_AS_CLIENTID, finding, is_ours, ours,
};
use crate::audit::finding::{Finding, Kind};
use crate::audit::mosquitto_conf::{Conf, Listener, Plugin};

pub(super) fn look(conf: &Conf, facts: &Facts, findings: &mut Vec<Finding>) {
    let mut tell = |kind: Kind, place: &str, what: &str, remedy: &str| {
        findings.push(finding(kind, place, what.to_owned(), remedy));
    };
    look_at_plugins(conf, &mut tell);
    look_at_whole(conf, facts, &mut tell);
    for listener in &conf.listeners {
        look_at_listener(conf, listener, facts, &mut tell);
    }
}

type Tell<'t> = dyn FnMut(Kind, &str, &str, &str) + 't;

fn look_at_plugins(conf: &Conf, tell: &mut Tell<'_>) {
    let ours: Vec<&Plugin> = ours(conf).collect();
    if ours.is_empty() {
        tell(
            NO_PLUGIN,
            "mosquitto.conf",
            "no line loads the plugin",
            "add `plugin /usr/lib/mosquitto-warden/libmosquitto_warden.so`, and its options below it",
        );
    }
    for (index, plugin) in ours.iter().enumerate() {
        if let Some(first) = ours.iter().take(index).find(|other| other.listener == plugin.listener) {
            let what = format!("the plugin is loaded already, at {}", first.place);
            tell(PLUGIN_TWICE, &plugin.place, &what, "remove one of the two lines");
        }
        for option in plugin.options.iter().filter(|option| option.key.len() < 3) {
            let what = format!("the broker refuses the key `{}`, which has fewer than three characters", option.key);
            tell(OPTION_TOO_SHORT, &option.place, &what, "correct the key");
        }
    }
    for option in &conf.stray_options {
        let what = format!("`plugin_opt_{}` stands before any plugin", option.key);
        tell(OPTION_WITHOUT_PLUGIN, &option.place, &what, "move it below the line `plugin …`");
    }
    if let Some(own) = conf.plugins.iter().position(is_ours)
        && let Some(other) = conf.plugins.iter().take(own).find(|other| !is_ours(other))
    {
        let what = format!(
            "`{}` is asked first: whom it admits, and what it allows, this plugin is not asked about",
            other.path
        );
        tell(
            OTHER_PLUGIN_FIRST,
            &other.place,
            &what,
            "put this plugin first, unless the other one leaves devices alone",
        );
    }
}

fn look_at_whole(conf: &Conf, facts: &Facts, tell: &mut Tell<'_>) {
    for line in conf.all("allow_anonymous").filter(|line| line.is_true()) {
        let what = "clients without any name get in where the plugin leaves them to others";
        tell(ANONYMOUS, &line.place, what, "`allow_anonymous false`");
    }
    for line in conf.all("psk_file") {
        let what = "Mosquitto 2.0 then asks the file alone for keys, and the plugin never; revoking has no effect";
        tell(
            PSK_FILE,
            &line.place,
            what,
            "remove the line; `warden credential add DEVICE psk --key-stdin` takes the keys over",
        );
    }
    if !facts.defers {
        for key in ["acl_file", "password_file"] {
            for line in conf.all(key) {
                let what = format!("the plugin answers first and leaves nobody to this `{key}`");
                let remedy =
                    "remove the line, or set `unknown = \"defer\"` if it is for users that the database does not know";
                tell(FILE_NEVER_ASKED, &line.place, &what, remedy);
            }
        }
    }
    if let Some(line) = conf.get("user").filter(|line| line.value == "root") {
        tell(RUNS_AS_ROOT, &line.place, "the broker runs as root", "`user mosquitto`");
    }
    if conf.listeners.is_empty() {
        let what = "without a `listener`, only clients on this machine reach the broker, and without TLS";
        tell(NO_LISTENER, "mosquitto.conf", what, "add a listener as in mosquitto-conf/");
    }
    if let Some(line) = conf.get("per_listener_settings").filter(|line| line.is_true()) {
        if facts.broker.is_none_or(|broker| broker <= (2, 0, 11)) {
            let what = "Mosquitto 2.0.11 gives the plugins of listeners no tick: nobody could be thrown off, so everybody is refused";
            tell(PER_LISTENER, &line.place, what, "remove the line; one plugin serves every listener");
        }
        for plugin in ours(conf).filter(|plugin| plugin.listener.is_none()) {
            let what = "with `per_listener_settings true`, a plugin before the first listener serves nobody";
            tell(PLUGIN_BEFORE_LISTENERS, &plugin.place, what, "remove `per_listener_settings`");
        }
        for (index, listener) in conf.listeners.iter().enumerate() {
            if !ours(conf).any(|plugin| plugin.listener == Some(index)) {
                let what = format!("the listener {} has no plugin: nobody checks its clients", listener.address);
                tell(LISTENER_WITHOUT_PLUGIN, &listener.place, &what, "remove `per_listener_settings`");
            }
        }
    }
}

fn look_at_listener(conf: &Conf, listener: &Listener, facts: &Facts, tell: &mut Tell<'_>) {
    let address = &listener.address;
    let has = |key: &str| listener.get(key).is_some();
    let (psk, certificate) = (has("psk_hint"), has("certfile") || has("keyfile"));
    if psk && (certificate || listener.is_true("require_certificate")) {
        let what =
            format!("the listener {address} has certificates and a `psk_hint`; clients with certificates are refused");
        tell(CERTIFICATE_AND_PSK, &listener.place, &what, "give each kind a listener of its own");
    }
    if psk && !listener.is_true("use_identity_as_username") {
        let what = format!(
            "on the listener {address} a client with any good key may choose its user name, so the plugin refuses everybody"
        );
        tell(IDENTITY_OFF, &listener.place, &what, "`use_identity_as_username true`");
    }
    if let Some(line) = listener.get("use_subject_as_username").filter(|line| line.is_true()) {
        let what = "the user name would be the whole subject, which the plugin knows nobody by";
        tell(SUBJECT_AS_USERNAME, &line.place, what, "`use_identity_as_username true` instead");
    }
    if let Some(line) = listener.get("use_username_as_clientid").filter(|line| line.is_true()) {
        let what = "it goes by the user name that the client claims, before the plugin is asked";
        tell(USERNAME_AS_CLIENTID, &line.place, what, "remove the line, and bind client ids with `--client-id '%u'`");
    }
    if certificate && !psk && !listener.is_true("require_certificate") && !facts.passwords {
        let what = format!("the listener {address} asks clients for no certificate, and no device has a password");
        let remedy = "`require_certificate true`, or `warden credential add DEVICE password`";
        tell(NO_CERTIFICATE_WANTED, &listener.place, &what, remedy);
    }
    if !certificate && !psk && !is_local(address) {
        let (kind, what) = if facts.passwords { (PASSWORDS_WITHOUT_TLS, ", passwords too,") } else { (NO_TLS, "") };
        let what = format!("the listener {address} has no TLS: whatever is sent{what} can be read on the way");
        let remedy = "add `certfile` and `keyfile`, or bind it to this machine: `listener 1883 127.0.0.1`";
        tell(kind, &listener.place, &what, remedy);
    }
    if let Some(line) = listener.get("tls_version").filter(|line| ["tlsv1", "tlsv1.1"].contains(&&*line.value)) {
        let what = format!("the listener {address} admits {}, which RFC 8996 retires", line.value);
        tell(OLD_TLS, &line.place, &what, "`tls_version tlsv1.2`");
    }
    let websockets = listener.get("protocol").is_some_and(|line| line.value == "websockets");
    if let Some(line) = listener.get("crlfile").filter(|_| websockets)
        && facts.broker.is_none_or(|broker| broker < (2, 1, 0))
    {
        let what = "on a listener for WebSockets before 2.1, SIGHUP with a `crlfile` makes the broker use memory that it has freed";
        tell(CRLFILE_ON_WEBSOCKETS, &line.place, what, "`crl_files` among the plugin's options instead");
    }
    if certificate && !facts.handshake && ours(conf).next().is_some() {
        let what =
            format!("on the listener {address} a revoked device completes the handshake: `handshake` is \"off\"");
        tell(HANDSHAKE_OFF, &listener.place, &what, "`handshake = \"enforce\"`");
    }
}

/// Whether only this machine reaches a listener: its port is followed by a loopback address, or it is a socket.
fn is_local(address: &str) -> bool {
    let mut words = address.split_whitespace();
    let port = words.next();
    let bound = words.next().unwrap_or_default();
    port == Some("0") || bound == "localhost" || bound == "::1" || bound.starts_with("127.")
}
