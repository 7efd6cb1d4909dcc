//! What is named: the plugin, its options, files, the database.

use super::{
    BROKER_CANNOT_USE, DATABASE, FILE_MISSING, Facts, KEY_DOES_NOT_FIT, KEY_FILE, Named, OPENSSL_UNSEEN,
    OPTION_REJECTED, PLUGIN_MISSING, PLUGIN_OF_OTHER_RELEASE, Purpose, SECRET_EXPOSED, finding, ours,
};
use crate::audit::finding::{Finding, Kind};
use crate::audit::mosquitto_conf::Conf;

pub(super) fn look(conf: &Conf, named: &[Named], facts: &Facts, findings: &mut Vec<Finding>) {
    look_at_plugin(conf, facts, findings);
    for named in named {
        look_at_file(named, facts, findings);
    }
    let place = ours(conf).next().map_or("mosquitto.conf", |plugin| plugin.place.as_str());
    let mut tell = |kind: Kind, what: &str, remedy: &str| findings.push(finding(kind, place, what.to_owned(), remedy));
    if let Some(why) = &facts.database {
        tell(DATABASE, why, "mend what it says; `warden status` shows whether the database can be used");
    }
    if let Some(why) = &facts.key_file {
        tell(KEY_FILE, why, "restore the key file from a backup, or name the right one with `key_file`");
    }
    if let Some((file, database)) = &facts.other_key {
        let what = format!(
            "the key file holds the key {file}, the database is sealed with {database}: no pre-shared key opens"
        );
        tell(KEY_DOES_NOT_FIT, &what, "restore the key file that belongs to the database, or name it with `key_file`");
    }
    let certificates = conf.listeners.iter().any(|listener| listener.is_true("require_certificate"));
    if facts.openssl == Some(false) && certificates && facts.handshake {
        let what = "this broker has no OpenSSL that plugins see: certificates are judged when their client connects";
        tell(OPENSSL_UNSEEN, what, "use the broker of your distribution, or set `handshake = \"off\"` to have it said");
    }
}

fn look_at_plugin(conf: &Conf, facts: &Facts, findings: &mut Vec<Finding>) {
    for plugin in ours(conf) {
        let mut tell =
            |kind: Kind, what: String, remedy: &str| findings.push(finding(kind, &plugin.place, what, remedy));
        match facts.files.get(plugin.path.as_ref() as &std::path::Path) {
            Some(file) if file.readable => {}
            Some(_) => {
                let what = format!("the broker's user cannot read `{}`", plugin.path);
                tell(
                    PLUGIN_MISSING,
                    what,
                    &format!("`chmod a+r {}`, and a+x for the directories above it", plugin.path),
                );
            }
            None => {
                tell(PLUGIN_MISSING, format!("there is no `{}`", plugin.path), "name the path where it is installed");
            }
        }
    }
    let Some(plugin) = ours(conf).next() else { return };
    let mut tell = |kind: Kind, what: String, remedy: &str| findings.push(finding(kind, &plugin.place, what, remedy));
    if let Some(release) = facts.plugin_release.as_ref().filter(|release| **release != facts.release) {
        let what = format!("the plugin is of release {release}, `warden` of {}", facts.release);
        tell(PLUGIN_OF_OTHER_RELEASE, what, "install both from one release");
    }
    for problem in &facts.refused_options {
        tell(OPTION_REJECTED, problem.clone(), "correct it; the README lists the options");
    }
}

fn look_at_file(named: &Named, facts: &Facts, findings: &mut Vec<Finding>) {
    let Named { place, what, path, purpose } = named;
    let path = path.display();
    let mut tell = |kind: Kind, what: String, remedy: &str| findings.push(finding(kind, place, what, remedy));
    let Some(file) = facts.files.get(&named.path) else {
        return tell(
            FILE_MISSING,
            format!("{what}: there is no `{path}`"),
            "name the right path, or put the file there",
        );
    };
    if *purpose == Purpose::Secret && file.mode & 0o007 != 0 {
        let found =
            format!("{what}: everybody on this machine can use `{path}`, its mode is {:04o}", file.mode & 0o7777);
        tell(SECRET_EXPOSED, found, &format!("`chmod o= {path}`"));
    }
    if !file.readable {
        let found = format!("{what}: the broker's user cannot read `{path}`");
        tell(
            BROKER_CANNOT_USE,
            found,
            "give the file, and a way through the directories above it, to that user or its group",
        );
    } else if *purpose == Purpose::Write && !file.writable {
        let found = format!(
            "{what}: the broker's user cannot write `{path}`, or not in its directory, where SQLite keeps its log"
        );
        tell(BROKER_CANNOT_USE, found, "give both to that user: `chown`, or `warden init --owner`");
    }
}
