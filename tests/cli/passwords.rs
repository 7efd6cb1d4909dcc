//! Passwords: never on a command line, hashed, and never shown again.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Warden;

const PASSWORD: &str = "correct horse battery";
/// By `mosquitto_passwd`.
const HASH: &str =
    "$7$101$r0qgUG2mtxQCC0Id$NMVV+ANnJDfM2vuyxiOyLdXPOrXASekH4fX1eRlg7KqWr9gaffnkrI1KPMxXgqwHdVx5e/rGRDBx3vZ7HirNVg==";

#[test]
fn a_password_is_hashed_and_shown_nowhere() {
    let warden = Warden::fleet();
    let said = warden.run_with_stdin("credential add device-001 password --stdin", &format!("{PASSWORD}\n"));
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "credential password `device-001` of device `device-001` added\n")
    );
    let stored = warden.sqlite3("SELECT secret FROM credentials WHERE kind = 'password'");
    assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    for words in ["device show device-001", "credential list", "credential list --json", "device list"] {
        let shown = warden.done(words);
        assert!(!shown.contains(PASSWORD) && !shown.contains(&stored), "{words}");
    }
    assert!(!warden.sqlite3(".dump").contains(PASSWORD));
    let said = warden.run_with_stdin("device add device-003 --password d3 --stdin --role sensor --json", PASSWORD);
    let said: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said["credentials"][0]["identity"], "d3");
}

#[test]
fn a_password_is_replaced_only_where_that_is_said() {
    let warden = Warden::fleet();
    let add = |more: &str, password: &str| {
        warden.run_with_stdin(&format!("credential add device-001 password --stdin {more}"), password)
    };
    assert_eq!(add("--replace", PASSWORD).code, 4);
    assert_eq!(add("", PASSWORD).code, 0);
    let stored = || warden.sqlite3("SELECT secret FROM credentials WHERE kind = 'password'");
    let before = stored();
    let said = add("", "another password");
    assert_eq!((said.code, stored()), (5, before.clone()), "{said:?}");
    let said = add("--replace", "another password");
    assert_eq!(said.stdout, "credential password `device-001` of device `device-001` has a new password\n");
    assert_ne!(stored(), before);
}

#[test]
fn a_ready_hash_is_taken_as_it_is() {
    let warden = Warden::fleet();
    let said = warden.run_with_stdin("credential add device-001 password --hash", &format!("{HASH}\n"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(warden.sqlite3("SELECT secret FROM credentials WHERE kind = 'password'"), HASH);
    for (wrong, words) in [
        (PASSWORD, "no hash of a known form"),
        ("$7$101$x$y", "begins like a hash of the form $7$"),
        ("$2b$31$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e", "would stop the broker for too long"),
        ("", "standard input holds no password"),
    ] {
        let said = warden.run_with_stdin("credential add device-002 password --hash", wrong);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains(words) && (wrong.is_empty() || !said.stderr.contains(wrong)), "{said:?}");
    }
}

#[test]
fn a_weak_password_is_refused_with_a_better_way() {
    let warden = Warden::fleet();
    for (password, words) in [
        ("short", "less than 8 characters"),
        ("DEVICE-001", "the name of the device, or its user name"),
        ("the-other-name", "the name of the device, or its user name"),
        ("aaaaaaaaaaaa", "easy to guess"),
        (&"correct horse ".repeat(80), "more than 1024 bytes"),
    ] {
        let words_of_command = "credential add device-001 password --identity the-other-name --stdin";
        let said = warden.run_with_stdin(words_of_command, password);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains(words) && said.stderr.contains("hint: for a device"), "{said:?}");
    }
    assert_eq!(warden.sqlite3("SELECT count(*) FROM credentials WHERE kind = 'password'"), "0");
}

#[test]
fn without_a_terminal_a_password_is_not_waited_for() {
    let warden = Warden::fleet();
    for words in ["credential add device-001 password", "device add device-003 --password"] {
        let said = warden.run(words);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains("hint: `--stdin` reads the password from standard input"), "{said:?}");
    }
    // And nowhere does the command line take one.
    for words in
        ["credential add device-001 password secret", "device add x --stdin", "credential add device-001 psk --stdin"]
    {
        assert_eq!(warden.run(words).code, 2, "{words}");
    }
}

/// Returns when this terminal shows no more what is typed.
fn wait_for_no_echo(terminal: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let stty = Command::new("stty").args(["-a", "-F", terminal]).output().expect("`stty` of coreutils is needed");
        assert!(stty.status.success(), "{}", String::from_utf8_lossy(&stty.stderr));
        if String::from_utf8(stty.stdout).unwrap().split_whitespace().any(|word| word == "-echo") {
            return;
        }
        assert!(Instant::now() < deadline, "{terminal} shows what is typed");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// On a terminal of its own, which `script` makes.
#[test]
fn on_a_terminal_it_is_asked_for_twice_and_not_echoed() {
    let warden = Warden::fleet();
    let typed = |first: &str, second: &str| {
        let program = env!("CARGO_BIN_EXE_warden");
        let database = warden.path("warden.db");
        let command = format!("tty; {program} credential add device-001 password --database {}", database.display());
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped());
        let mut child = script.stdout(Stdio::piped()).spawn().expect("`script` of util-linux is needed");
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut seen = String::new();
        let mut see = |until: &str| {
            let mut byte = [0];
            while !seen.ends_with(until) && std::io::Read::read(&mut stdout, &mut byte).unwrap() == 1 {
                seen.push(byte[0].into());
            }
            assert!(seen.ends_with(until), "{seen}");
            seen.clone()
        };
        let terminal = see("\n").trim().to_owned();
        for (prompt, answer) in [("password: ", first), ("once more: ", second)] {
            see(prompt);
            // The prompt comes a moment before.
            wait_for_no_echo(&terminal);
            std::io::Write::write_all(&mut stdin, format!("{answer}\n").as_bytes()).unwrap();
        }
        std::io::Read::read_to_string(&mut stdout, &mut seen).unwrap();
        (child.wait().unwrap().code().unwrap(), seen)
    };
    let (code, seen) = typed(PASSWORD, "something else");
    assert_eq!(code, 2, "{seen}");
    assert!(seen.contains("the two passwords are not the same"), "{seen}");
    let (code, seen) = typed(PASSWORD, PASSWORD);
    assert_eq!(code, 0, "{seen}");
    assert!(!seen.contains(PASSWORD), "{seen}");
    assert_eq!(warden.sqlite3("SELECT count(*) FROM credentials WHERE kind = 'password'"), "1");
}

#[test]
fn the_cost_comes_from_the_configuration() {
    let warden = Warden::fleet();
    let file = warden.path("warden.toml");
    let database = warden.path("warden.db");
    std::fs::write(&file, format!("database = \"{}\"\npassword_cost = \"m=8,t=1,p=1\"", database.display())).unwrap();
    let mut command = warden.command(&["credential", "add", "device-001", "password", "--stdin", "--config"]);
    command.arg(&file).env_remove("WARDEN_DATABASE").stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), PASSWORD.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let stored = warden.sqlite3("SELECT secret FROM credentials WHERE kind = 'password'");
    assert!(stored.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{stored}");
}
