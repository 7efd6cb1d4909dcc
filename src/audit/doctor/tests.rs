//! Planted faults, each found under its code and no other; and the configurations that are shipped, with none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::*;
use crate::audit::mosquitto_conf::tests::InMemory;

const PLUGIN: &str = "/usr/lib/mosquitto-warden/libmosquitto_warden.so";

/// Good for certificates and for pre-shared keys.
fn sound() -> String {
    format!(
        "plugin {PLUGIN}\nplugin_opt_database /db\nallow_anonymous false\n\
         listener 8883\ncafile /ca\ncertfile /crt\nkeyfile /key\nrequire_certificate true\n\
         listener 8884\npsk_hint x\nuse_identity_as_username true\n"
    )
}

/// Everything is there and belongs to the broker.
fn facts(conf: &Conf) -> Facts {
    let file = File { mode: 0o640, readable: true, writable: true };
    let paths = named_files(conf).into_iter().map(|named| named.path);
    let files = paths.chain([PLUGIN.into(), "/db".into()]).map(|path| (path, file)).collect();
    Facts { files, release: "0.1.0".into(), handshake: true, ..Facts::default() }
}

fn read(text: &str) -> Conf {
    Conf::read(Path::new("/m.conf"), &InMemory([(PathBuf::from("/m.conf"), text.to_owned())].into()))
}

/// What is found in a configuration whose files are there, once the facts are changed.
fn codes(text: &str, change: impl FnOnce(&mut Facts)) -> BTreeSet<&'static str> {
    let conf = read(text);
    let mut facts = facts(&conf);
    change(&mut facts);
    let mut named = named_files(&conf);
    named.push(Named {
        place: "/m.conf:2".into(),
        what: "database".into(),
        path: "/db".into(),
        purpose: Purpose::Write,
    });
    let findings = examine(&conf, &named, &facts);
    assert!(findings.iter().all(|it| !it.what.is_empty() && !it.remedy.is_empty()), "{findings:#?}");
    findings.iter().map(|finding| finding.kind.code).collect()
}

#[track_caller]
fn found(kind: Kind, text: &str) {
    assert_eq!(codes(text, |_| ()), [kind.code].into(), "{text}");
}

#[track_caller]
fn found_with(kind: Kind, change: impl FnOnce(&mut Facts)) {
    assert_eq!(codes(&sound(), change), [kind.code].into());
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(codes(&sound(), |_| ()), [].into());
    assert_eq!(
        codes(&format!("{}listener 1883 127.0.0.1\nlistener 0 /run/mosquitto.sock\n", sound()), |_| ()),
        [].into()
    );
}

#[test]
fn each_fault_of_a_configuration_is_found() {
    let sound = sound();
    let without = |line: &str| {
        assert!(sound.contains(line), "{line}");
        sound.replace(&format!("{line}\n"), "")
    };
    let and = |line: &str| format!("{sound}{line}\n");
    found(NO_PLUGIN, &sound.replace("libmosquitto_warden", "other").replace("plugin_opt_database /db\n", ""));
    found(PLUGIN_TWICE, &and(&format!("plugin {PLUGIN}")));
    found(OPTION_TOO_SHORT, &sound.replace("plugin_opt_database /db", "plugin_opt_database /db\nplugin_opt_db /db"));
    found(OPTION_WITHOUT_PLUGIN, &format!("plugin_opt_database /db\n{sound}"));
    found(OTHER_PLUGIN_FIRST, &format!("plugin /usr/lib/mosquitto_dynamic_security.so\n{sound}"));
    found(ANONYMOUS, &sound.replace("allow_anonymous false", "allow_anonymous true"));
    found(IDENTITY_OFF, &without("use_identity_as_username true"));
    found(IDENTITY_OFF, &sound.replace("use_identity_as_username true", "use_identity_as_username false"));
    found(PSK_FILE, &and("psk_file /psk"));
    found(CERTIFICATE_AND_PSK, &sound.replace("psk_hint x", "psk_hint x\ncertfile /crt\nkeyfile /key"));
    found(
        SUBJECT_AS_USERNAME,
        &sound.replace("require_certificate true", "require_certificate true\nuse_subject_as_username true"),
    );
    found(USERNAME_AS_CLIENTID, &and("use_username_as_clientid true"));
    found(NO_CERTIFICATE_WANTED, &without("require_certificate true"));
    found(NO_TLS, &and("listener 1883"));
    found(NO_TLS, &and("listener 1883 10.0.0.1"));
    let with_passwords = |text: &str| codes(text, |facts| facts.passwords = true);
    assert_eq!(with_passwords(&and("listener 1883")), ["passwords-without-tls"].into());
    assert_eq!(with_passwords(&without("require_certificate true")), [].into());
    found(OLD_TLS, &and("tls_version tlsv1.1"));
    found(FILE_NEVER_ASKED, &and("acl_file /acl"));
    found(FILE_NEVER_ASKED, &and("password_file /passwords"));
    found(CRLFILE_ON_WEBSOCKETS, &sound.replace("cafile /ca", "cafile /ca\ncrlfile /crl\nprotocol websockets"));
    found(RUNS_AS_ROOT, &and("user root"));
    found(NO_LISTENER, sound.split("listener").next().unwrap());
    found(UNREADABLE_FILE, &and("include_dir /nowhere"));
    let listener = format!("listener 8884\npsk_hint x\nuse_identity_as_username true\nplugin {PLUGIN}\n");
    let per_listener = format!("per_listener_settings true\n{listener}");
    found(PER_LISTENER, &per_listener);
    let with_2_1 = |text: &str| codes(text, |facts| facts.broker = Some((2, 1, 2)));
    assert_eq!(with_2_1(&per_listener), [].into());
    assert_eq!(with_2_1(&format!("{per_listener}listener 1883 ::1\n")), ["listener-without-plugin"].into());
    assert_eq!(
        with_2_1(&format!("per_listener_settings true\nplugin {PLUGIN}\n{listener}")),
        ["plugin-before-listeners"].into()
    );
}

#[test]
fn a_file_for_users_that_are_left_to_others_is_asked() {
    assert_eq!(codes(&format!("{}acl_file /acl\n", sound()), |facts| facts.defers = true), [].into());
}

#[test]
fn each_fault_of_what_is_named_is_found() {
    let at = |path: &'static str, change: fn(&mut File)| {
        move |facts: &mut Facts| change(facts.files.get_mut(Path::new(path)).unwrap())
    };
    let gone = |path: &'static str| move |facts: &mut Facts| assert!(facts.files.remove(Path::new(path)).is_some());
    found_with(PLUGIN_MISSING, gone(PLUGIN));
    found_with(PLUGIN_MISSING, at(PLUGIN, |file| file.readable = false));
    found_with(FILE_MISSING, gone("/ca"));
    found_with(FILE_MISSING, gone("/db"));
    found_with(SECRET_EXPOSED, at("/key", |file| file.mode = 0o644));
    found_with(BROKER_CANNOT_USE, at("/key", |file| file.readable = false));
    found_with(BROKER_CANNOT_USE, at("/db", |file| file.writable = false));
    assert_eq!(codes(&sound(), at("/ca", |file| (file.mode, file.writable) = (0o644, false))), [].into());
    found_with(PLUGIN_OF_OTHER_RELEASE, |facts| facts.plugin_release = Some("0.0.9".into()));
    found_with(OPTION_REJECTED, |facts| facts.refused_options = vec!["unknown option".into()]);
    found_with(DATABASE, |facts| facts.database = Some("it is gone".into()));
    found_with(KEY_FILE, |facts| facts.key_file = Some("it is gone".into()));
    found_with(KEY_DOES_NOT_FIT, |facts| facts.other_key = Some(("a".into(), "b".into())));
    found_with(HANDSHAKE_OFF, |facts| facts.handshake = false);
    found_with(OPENSSL_UNSEEN, |facts| facts.openssl = Some(false));
}

#[test]
fn the_configurations_that_are_shipped_have_none() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("mosquitto-conf");
    let mut looked_at = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            let text = std::fs::read_to_string(&path).unwrap();
            let conf = read(&text);
            let passwords = path.ends_with("passwords.conf");
            let facts = Facts { passwords, ..facts(&conf) };
            assert_eq!(examine(&conf, &named_files(&conf), &facts), [], "{}", path.display());
            looked_at += 1;
        }
    }
    assert!(looked_at >= 5);
}

#[test]
fn every_kind_has_a_code_of_its_own() {
    let codes: BTreeMap<_, _> = KINDS.iter().map(|kind| (kind.code, kind.severity)).collect();
    assert_eq!(codes.len(), KINDS.len());
}
