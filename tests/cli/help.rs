//! Every help ends in examples, and those examples are good.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use clap::CommandFactory;
use insta::assert_snapshot;
use mosquitto_warden::cli::Cli;

use crate::Warden;
use crate::authority::Authority;
use crate::crl::Lists;

/// Every command that does something, by the words that call it, with what clap knows of it.
pub(crate) fn verbs() -> BTreeMap<String, clap::Command> {
    fn collect(words: &str, command: &clap::Command, all: &mut BTreeMap<String, clap::Command>) {
        if !command.has_subcommands() {
            all.insert(words.to_owned(), command.clone());
        }
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            collect(format!("{words} {}", sub.get_name()).trim_start(), sub, all);
        }
    }
    let mut all = BTreeMap::new();
    collect("", &Cli::command(), &mut all);
    all
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_examples_that_begin_with_it() {
    for (words, command) in verbs() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with("EXAMPLES:\n") && !examples(&help).is_empty(), "{words:?} has no examples");
        assert!(help.contains(&format!("warden {words}")), "{words:?}: {help}");
        assert!(command.get_about().is_some(), "{words:?} says nothing of itself");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{words:?} says nothing of {}", argument.get_id());
        }
    }
}

/// Runs every example of every help, in an order that makes sense, on a database of its own.
#[test]
fn every_example_can_be_pasted() {
    let warden = Warden::empty();
    for line in [
        "warden init --database ./warden.db",
        "warden role add sensor",
        "warden role add logger",
        "warden role add gateway --client-id '%u-*'",
        "warden role add bootstrap",
        "openssl req -new -newkey rsa:2048 -nodes -subj /CN=any -keyout device-002.key -out device-002.csr 2>&1",
        "openssl req -new -newkey rsa:2048 -nodes -subj /CN=any -keyout device-003.key -out device-003.csr 2>&1",
        "warden rule add sensor allow publish 'devices/%u/#'",
    ] {
        paste(&warden, line);
    }
    put_files(&warden);
    let order = [
        "device add",
        "device import",
        "import",
        "device list",
        "device show",
        "rule",
        "role list",
        "role show",
        "role withdraw",
        "role grant",
        "explain",
        "test",
        "export",
        "apply",
        "diff",
        "lint",
        "doctor",
        "credential add",
        "credential list",
        "credential rotate",
        "key",
        "ca ",
        "certificate",
        "crl",
        "device suspend",
        "device activate",
        "device revoke",
        "broker list",
        "broker wait",
        "status",
        "db",
        "device set",
    ];
    let mut pasted = 0;
    for wanted in order {
        for (_, command) in verbs().iter().filter(|(words, _)| words.starts_with(wanted)) {
            let help = command.get_after_help().unwrap().to_string();
            for example in examples(&help).iter().filter(|example| !example.contains("/var/lib")) {
                paste(&warden, example);
                pasted += 1;
            }
        }
    }
    assert!(pasted > 25, "{pasted}");
}

/// The files that examples name.
pub(crate) fn put_files(warden: &Warden) {
    std::fs::write(warden.path("mosquitto.conf"), "listener 1883\n").unwrap();
    let expected = "[[test]]\ndevice = 'device-001'\naction = 'publish'\ntopic = 'a'\nexpect = 'denied'\n";
    std::fs::write(warden.path("policy-test.toml"), expected).unwrap();
    let ca = Authority::new(warden.directory.path(), "ca");
    ca.issue("device-001", 0x4a00, &["device-001.fleet.example"]);
    std::fs::write(warden.path("passwordfile"), "d1:$7$101$r0qgUG2mtxQCC0Id$NMVV+ANnJDfM2vuyxiOyLdXPOrXASekH4fX1eRlg7KqWr9gaffnkrI1KPMxXgqwHdVx5e/rGRDBx3vZ7HirNVg==\n").unwrap();
    Lists::new(warden, "ca", "/O=Example/CN=ca").make("fleet", 1, &["4A07"]);
    std::fs::write(warden.path("passphrase"), "correct horse battery staple\n").unwrap();
    std::fs::set_permissions(warden.path("passphrase"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let hash = "$7$101$bG9uZ3NhbHRzYWx0$c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ=";
    let user =
        "INSERT INTO test_user VALUES (1, 'go', '$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e', 0)";
    let tables = "CREATE TABLE test_user (id, username, password_hash, is_admin);
                  CREATE TABLE test_acl (id, test_user_id, topic, rw);";
    for (name, text) in [
        ("devices.csv", "name,psk_identity,attributes\nd-10,d-10,site=bergen\n".to_owned()),
        ("stolen.txt", "d-10\n".to_owned()),
        ("mosquitto.acl", "topic read $SYS/#\n".to_owned()),
        ("mosquitto.passwd", format!("roger:{hash}\n")),
        ("mosquitto.psk", "lee:8d1f0c9b7a6e5d4c3b2a19081726354f\nid:deadbeef\n".to_owned()),
        ("dynamic-security.json", "{}".to_owned()),
    ] {
        std::fs::write(warden.path(name), text).unwrap();
    }
    let mut shell = std::process::Command::new("sqlite3");
    let made = shell.arg(warden.path("go-auth.db")).arg(format!("{tables}{user}")).status().unwrap();
    assert!(made.success());
}

/// The examples of a help, each with the lines on which it goes on, which stand further in.
fn examples(help: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    for line in help.lines().skip(1) {
        // clap breaks what is longer, and what is broken cannot be pasted.
        assert!(line.len() < 80 && line.starts_with("  "), "{line}");
        match examples.last_mut() {
            Some(example) if line.starts_with("    ") => *example = format!("{example}\n{line}"),
            _ => examples.push(line.to_owned()),
        }
    }
    examples
}

fn paste(warden: &Warden, line: &str) {
    // No help says so, but a test may not have jq: what comes before the pipe is ours.
    let line = line.split(" | jq").next().unwrap();
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_warden")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(line).env_clear().env("PATH", path).current_dir(warden.directory.path());
    command.env("WARDEN_DATABASE", "./warden.db").env("WARDEN_PASSPHRASE_FILE", "passphrase");
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    // A denial is an answer, and so is a finding, or that no broker is there to confirm anything.
    assert!(matches!(output.status.code(), Some(0 | 3 | 7 | 8)), "{line}: {output:?}");
}

#[test]
fn completions_know_the_commands() {
    let warden = Warden::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = warden.done(&format!("completions {shell}"));
        assert!(script.contains("explain") && script.contains("withdraw"), "{shell}");
    }
    assert_eq!(warden.run("completions csh").code, 2);
}

#[test]
fn the_first_help_reads_like_this() {
    assert_snapshot!(Warden::empty().done("-h"), @r#"
    Says which devices may use an MQTT broker, and what each of them may do there

    Usage: warden [OPTIONS] <COMMAND>

    Commands:
      init         Make the database and the key file, or bring the database up to date
      device       Add, import, list, show, change and remove devices; suspend, revoke and activate them
      credential   Add, list, rotate, revoke and remove the ways in which devices prove who they are
      certificate  Issue certificates to devices and renew them; revoke single ones and take it back;
                   list them, look into them
      ca           Make an authority that issues certificates to devices, and look at it
      crl          Import the revocation lists of authorities, and show which there are
      key          Replace the key that pre-shared keys are sealed with
      role         Add, list, show and remove roles; grant them to devices and withdraw them
      rule         Add, list and remove the rules of roles
      broker       List the brokers that have registered, wait for them, forget those that are gone
      import       Bring devices, credentials, roles and rules over from Mosquitto's own files and from
                   other plugins
      db           Show the rights that the plugin needs in a database on a server
      explain      Say whether a device may do something, and why
      test         Say whether the policy says what a file expects of it
      export       Write the roles and their rules as a file that `warden apply` reads
      apply        Make roles and rules what a file says, and the roles of the devices that it names
      diff         Say which devices gain or lose which rights between two policies
      lint         Look for what is wrong with the policy, or was hardly meant
      doctor       Look for what is unsafe in a broker's configuration, or cannot work
      status       Show the schema, the revision, and how much is in the database
      completions  Write what a shell needs to complete `warden`
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Global options:
          --database <PATH>  The database [env: WARDEN_DATABASE]
          --key-file <PATH>  The file with the key that pre-shared keys are sealed with [env:
                             WARDEN_KEY_FILE]
          --config <FILE>    The plugin's configuration file, to take the two from [env: WARDEN_CONFIG]
          --json             Write results as JSON

    EXIT CODES:
      0  done; for `explain`: allowed
      1  failed
      2  the command line makes no sense
      3  for `explain`: denied
      4  no such device, credential, role, rule or broker
      5  in conflict with what is there
      6  the database or the key file cannot be used
      7  for `--wait` and `broker wait`: not every broker has confirmed in time
      8  for `lint` and `doctor`: something is found; for `test`: something does not hold;
         for `diff`, `apply --dry-run` and `import --verify`: there is a difference
      130  interrupted by Ctrl-C; whole batches are done

    EXAMPLES:
      warden init
      warden role add sensor
      warden rule add sensor allow publish 'devices/%u/#'
      warden device add device-001 --cn --role sensor
      warden explain device-001 publish devices/device-001/temperature
      warden ca init fleet-ca
      warden certificate issue device-002 --ca fleet-ca
      warden device revoke device-001 --reason stolen
    "#);
}

/// In tests/cli/snapshots, to be read as a user reads it whenever it changes.
#[test]
fn every_help_reads_like_this() {
    let warden = Warden::empty();
    let global = "(?s)Global options:.*?\n\n(EXAMPLES:)";
    let helps: String = verbs()
        .keys()
        .map(|verb| format!("$ warden {verb} --help\n{}\n", warden.done(&format!("{verb} --help")).trim_end()))
        .collect::<Vec<_>>()
        .join("\n");
    insta::with_settings!({ filters => vec![(global, "$1")], omit_expression => true }, {
        assert_snapshot!("every_help", helps);
    });
}
