//! Exit codes, errors and hints.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::{Said, Warden};

#[test]
fn every_refusal_has_its_exit_code_and_one_error() {
    let warden = Warden::fleet();
    for (words, code, error) in [
        ("device add device-001", 5, "there is already a device `device-001`"),
        ("device add a/b", 2, "a device name cannot hold"),
        ("device add x --role senor", 4, "there is no role `senor`"),
        ("device add x --cn device-001", 5, "this identity already means another device"),
        ("device show device-00", 4, "there is no device `device-00`"),
        ("device set device-001", 2, "the following required arguments"),
        ("device set device-001 --client-id %c", 2, "invalid value '%c'"),
        ("device set device-001 --attribute site", 2, "invalid value 'site'"),
        ("device set device-002 --name device-001", 5, "this name is an identity of another device"),
        ("device list --role x", 4, "there is no role `x`"),
        ("device remove device-001", 2, "removing device `device-001` with its credentials needs to be confirmed"),
        ("role add sensor", 5, "there is already a role `sensor`"),
        ("role grant sensor x", 4, "there is no device `x`"),
        ("role remove sensor", 2, "removing role `sensor`"),
        ("rule add sensor allow publish a/#/b", 2, "invalid value 'a/#/b'"),
        ("rule add sensor allow publish $share/g/a", 2, "invalid value '$share/g/a'"),
        ("rule add sensor allow publish %x", 2, "invalid value '%x'"),
        ("rule add sensor allow shout a", 2, "invalid value 'shout'"),
        ("rule add sensor deny publish a --max-qos 1", 2, "a highest QoS is 0, 1 or 2"),
        ("rule add sensor allow publish a --max-qos 3", 2, "3 is not in 0..=2"),
        ("rule add x allow publish a", 4, "there is no role `x`"),
        ("rule remove 99", 4, "there is no rule `99`"),
        ("credential add device-001 x509_cn", 5, "this identity already has a credential of this kind"),
        ("credential add device-001 magic", 2, "invalid value 'magic'"),
        ("credential add device-001 x509_cn --identity x --not-after soon", 2, "invalid value 'soon'"),
        ("credential revoke device-001 psk", 4, "there is no credential `psk (any)`"),
        ("explain device-001 publish", 2, "the following required arguments"),
        ("explain x publish a", 4, "there is no device `x`"),
        ("nonsense", 2, "unrecognized subcommand 'nonsense'"),
    ] {
        let said = warden.run(words);
        assert_eq!(said.code, code, "{words}: {said:?}");
        assert!(said.stderr.starts_with("error: ") && said.stderr.contains(error), "{words}: {said:?}");
        assert_eq!(said.stderr.matches("error:").count(), 1, "{words}: {said:?}");
        assert!(said.stdout.is_empty(), "{words}: {said:?}");
    }
    assert_eq!(warden.json("device list").as_array().unwrap().len(), 2);
    assert_eq!(warden.json("rule list").as_array().unwrap().len(), 2);
}

#[test]
fn a_hint_stands_apart_from_its_error() {
    let warden = Warden::fleet();
    let said = warden.run("device show devcie-001");
    assert_eq!(said.stderr, "error: there is no device `devcie-001`\n\nhint: did you mean `device-001`?\n");
    let said = warden.run("device add device-001");
    assert!(said.stderr.ends_with("\n\nhint: `--if-missing` keeps the one that is there\n"), "{said:?}");
}

#[test]
fn without_a_database_every_command_names_the_one_that_makes_it() {
    let warden = Warden::empty();
    for words in ["status", "device list", "device add x", "role list", "rule list", "explain x publish a"] {
        let said = warden.run(words);
        assert_eq!(said.code, 6, "{said:?}");
        assert!(said.stderr.contains("`warden init` makes one"), "{said:?}");
    }
    assert_eq!(fs::read_dir(warden.directory.path()).unwrap().count(), 0);
}

#[test]
fn a_broken_database_is_refused_in_words() {
    let warden = Warden::fleet();
    let path = warden.path("warden.db");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let said = warden.run("device list");
    assert_eq!(said.code, 6);
    assert!(said.stderr.contains("is cut off") && said.stderr.contains("restore it from a backup"), "{said:?}");
    fs::write(&path, "not a database, but long enough to be one if only its first bytes were right".repeat(9)).unwrap();
    let said = warden.run("device list");
    assert_eq!(said.code, 6);
    assert!(said.stderr.contains("is not an SQLite database"), "{said:?}");
}

/// Root may do everything, so where the tests run as root the question is asked as another user.
#[test]
fn a_file_of_another_user_is_refused_with_the_command_that_gives_it() {
    let warden = Warden::fleet();
    let open = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(warden.directory.path().to_owned(), 0o755);
    let root = rustix::process::geteuid().is_root();
    let user = if root { "nobody".to_owned() } else { mosquitto_warden::system_user::current() };
    // Where the user cannot enter, a copy of the command must do. Made by another process, because one that is forked by
    // another test while this one has it open for writing would keep it from being run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_warden")).arg(warden.path("warden")).status();
    assert!(copied.unwrap().success());
    for (mode, verb) in [(0o000, "read"), (0o444, "written")] {
        open(warden.path("warden.db"), mode);
        let mut command = if root {
            let nobody = mosquitto_warden::system_user::find("nobody").unwrap();
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={}", nobody.uid)).arg(format!("--regid={}", nobody.gid)).arg("--clear-groups");
            command.arg(warden.path("warden"));
            command
        } else {
            Command::new(warden.path("warden"))
        };
        let path = warden.path("warden.db");
        let said = Said::from(command.args(["role", "add", "x", "--database"]).arg(&path).output().unwrap());
        assert_eq!(said.code, 6, "{said:?}");
        assert!(said.stderr.contains(&format!("cannot be {verb} by `{user}`")), "{said:?}");
        assert!(said.stderr.contains(&format!("run `chown {user} {}`", path.display())), "{said:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let warden = Warden::new();
    let devices = "INSERT INTO devices (name) SELECT 'device-' || value FROM generate_series(1, 20000)";
    warden.sqlite3(devices);
    for words in [&["device", "list"][..], &["device", "list", "--json"], &["completions", "bash"]] {
        let mut child =
            warden.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut some = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{words:?}");
    }
}

#[test]
fn what_a_terminal_would_obey_is_shown_as_text() {
    let warden = Warden::fleet();
    let identity = "evil\u{1b}[2J\u{7f}\u{9b}\r\n";
    warden.sqlite3(&format!("UPDATE credentials SET identity = '{identity}' WHERE kind = 'x509_cn'"));
    for words in ["credential list", "device show device-001"] {
        let said = warden.done(words);
        assert!(said.contains(r"evil\u{1b}[2J\u{7f}\u{9b}\r"), "{said}");
        assert!(!said.chars().any(|char| char.is_control() && char != '\n'), "{said:?}");
    }
    let said = warden.args(&["device", "show", "x\u{1b}[31m"]);
    assert!(said.stderr.contains(r"x\u{1b}[31m"), "{said:?}");
    assert_eq!(warden.json("credential list device-001")[0]["identity"], identity);
}
