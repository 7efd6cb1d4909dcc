//! What `warden init` makes, for whom, and what it keeps.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::Warden;

#[test]
fn the_database_is_for_the_group_and_the_key_for_its_owner_alone() {
    let warden = Warden::new();
    let mode = |name| fs::metadata(warden.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("warden.db"), 0o660);
    assert_eq!(mode("warden.key"), 0o600);
}

#[test]
fn run_again_it_keeps_everything() {
    let warden = Warden::fleet();
    let key = fs::read(warden.path("warden.key")).unwrap();
    let said = warden.json("init");
    assert_eq!(said["database_created"], false);
    assert_eq!(said["key_created"], false);
    assert_eq!(said["schema_migrated"], false);
    assert_eq!(fs::read(warden.path("warden.key")).unwrap(), key);
    assert_eq!(warden.json("device list").as_array().unwrap().len(), 2);
}

#[test]
fn the_key_itself_is_never_shown() {
    let warden = Warden::empty();
    let said = warden.run("init");
    let key = fs::read_to_string(warden.path("warden.key")).unwrap();
    for said in [said, warden.run("init --json"), warden.run("status"), warden.run("status --json")] {
        assert_eq!(said.code, 0, "{said:?}");
        assert!(!said.stdout.contains(key.trim()) && !said.stderr.contains(key.trim()));
    }
}

#[test]
fn a_lost_key_file_is_not_replaced_in_silence() {
    let warden = Warden::fleet();
    fs::rename(warden.path("warden.key"), warden.path("elsewhere")).unwrap();
    let said = warden.run("init");
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.stderr.contains("there is no key file"), "{said:?}");
    assert!(!warden.path("warden.key").exists());
    let elsewhere = warden.path("elsewhere");
    warden.done(&format!("init --key-file {}", elsewhere.display()));
}

#[test]
fn the_key_of_another_database_is_refused() {
    let (warden, other) = (Warden::fleet(), Warden::new());
    fs::copy(other.path("warden.key"), warden.path("warden.key")).unwrap();
    for words in ["init", "device add device-003 --psk", "credential add device-001 psk"] {
        let said = warden.run(words);
        assert_eq!(said.code, 5, "{said:?}");
        assert!(said.stderr.contains("the database is sealed with the key"), "{said:?}");
    }
    assert_eq!(warden.json("status")["key_usable"], false);
    // What needs no key goes on.
    warden.done("device add device-003 --cn");
    warden.done("device revoke device-002");
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let warden = Warden::fleet();
    fs::set_permissions(warden.path("warden.key"), fs::Permissions::from_mode(0o640)).unwrap();
    for words in ["init", "device add device-003 --psk"] {
        let said = warden.run(words);
        assert_eq!(said.code, 6, "{said:?}");
        assert!(said.stderr.contains("run `chmod 600 "), "{said:?}");
    }
    assert_eq!(warden.run("device show device-003").code, 4);
}

#[test]
fn the_files_of_root_are_given_to_the_broker() {
    if !rustix::process::geteuid().is_root() {
        let said = Warden::empty().run("init --owner root");
        assert_eq!(said.code, 2, "{said:?}");
        return;
    }
    let warden = Warden::empty();
    let said = warden.json("init --owner nobody");
    assert_eq!(said["owner"], "nobody");
    let nobody = mosquitto_warden::system_user::find("nobody").unwrap();
    for name in ["warden.db", "warden.key"] {
        let metadata = fs::metadata(warden.path(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (nobody.uid, nobody.gid), "{name}");
    }
    let said = Warden::empty().run("init --owner no-such-user");
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let warden = Warden::empty();
    let said = warden.run("init --database no/warden.db");
    assert_eq!(said.code, 6);
    assert_eq!(said.stderr, "error: there is no directory `no`; run `mkdir -p no`\n");
}

#[test]
fn a_name_without_a_directory_is_in_this_one() {
    let warden = Warden::empty();
    warden.done("init --database fleet.db");
    assert!(warden.path("fleet.db").exists() && warden.path("fleet.key").exists());
    warden.done("status --database fleet.db");
}
