//! Every help ends in examples, and those examples are good.

use clap::CommandFactory;
use insta::assert_snapshot;
use mosquitto_warden::cli::Cli;

use crate::Warden;
use crate::authority::Authority;
use crate::crl::Lists;

/// Every command, as the words that call it, with what clap knows of it.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    fn collect(words: &[String], command: &clap::Command, all: &mut Vec<(Vec<String>, clap::Command)>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let words = [words, &[sub.get_name().to_owned()]].concat();
            collect(&words, sub, all);
            all.push((words, sub.clone()));
        }
    }
    let mut all = Vec::new();
    collect(&[], &Cli::command(), &mut all);
    all
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_examples_that_begin_with_it() {
    for (words, command) in commands() {
        if command.has_subcommands() {
            continue;
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with("EXAMPLES:\n") && !examples(&help).is_empty(), "{words:?} has no examples");
        assert!(help.contains(&format!("warden {}", words.join(" "))), "{words:?}: {help}");
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
        "umask 077 && openssl rand -hex 16 > passphrase",
        "openssl req -new -newkey rsa:2048 -nodes -subj /CN=any -keyout device-002.key -out device-002.csr 2>&1",
        "openssl req -new -newkey rsa:2048 -nodes -subj /CN=any -keyout device-003.key -out device-003.csr 2>&1",
        "warden rule add sensor allow publish 'devices/%u/#'",
    ] {
        paste(&warden, line);
    }
    std::fs::write(warden.path("mosquitto.conf"), "listener 1883\n").unwrap();
    let expected = "[[test]]\ndevice = 'device-001'\naction = 'publish'\ntopic = 'a'\nexpect = 'denied'\n";
    std::fs::write(warden.path("policy-test.toml"), expected).unwrap();
    let ca = Authority::new(warden.directory.path(), "ca");
    ca.issue("device-001", 0x4a00, &["device-001.fleet.example"]);
    std::fs::write(warden.path("passwordfile"), "d1:$7$101$r0qgUG2mtxQCC0Id$NMVV+ANnJDfM2vuyxiOyLdXPOrXASekH4fX1eRlg7KqWr9gaffnkrI1KPMxXgqwHdVx5e/rGRDBx3vZ7HirNVg==\n").unwrap();
    Lists::new(&warden, "ca", "/O=Example/CN=ca").make("fleet", 1, &["4A07"]);
    import_files(&warden);
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
        for (_, command) in commands().iter().filter(|(words, _)| words.join(" ").starts_with(wanted)) {
            if command.has_subcommands() {
                continue;
            }
            let help = command.get_after_help().unwrap().to_string();
            for example in examples(&help).iter().filter(|example| !example.contains("/var/lib")) {
                paste(&warden, example);
                pasted += 1;
            }
        }
    }
    assert!(pasted > 25, "{pasted}");
}

/// What the examples of `warden import`, `warden device import` and `warden device revoke` name.
fn import_files(warden: &Warden) {
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

#[test]
fn the_help_of_a_verb_reads_like_this() {
    assert_snapshot!(Warden::empty().done("device add -h"), @r#"
    Add a device, with credentials and roles if they are named

    Usage: warden device add [OPTIONS] <DEVICE>

    Arguments:
      <DEVICE>  The device's name

    Options:
          --cn [<NAME>]             It has a client certificate with this common name [default: the name
                                    of the device]
          --psk [<IDENTITY>]        It gets a pre-shared key, for this identity [default: the name of
                                    the device]; the key is shown this once
          --password [<USER_NAME>]  It has a password, for this user name [default: the name of the
                                    device]; it is asked for on the terminal
          --stdin                   Read the password from standard input instead
          --bootstrap [<IDENTITY>]  It gets a pre-shared key to begin with, for this identity, which
                                    gives it one role alone and is over with its first certificate
                                    [default: the name of the device with `-bootstrap` behind it]; the
                                    key is shown this once
          --bootstrap-role <ROLE>   The role that it begins with [default: bootstrap]
          --until <TIME>            Until when it may begin, for instance 2026-01-31T12:00:00Z [default:
                                    until it has its first certificate]
          --role <ROLE>             It has this role; may be repeated
          --client-id <PATTERN>     Which client ids it may use; `%u` is its name, `*` any characters
          --attribute <NAME=VALUE>  For `%{NAME}` in topics; may be repeated
          --if-missing              Keep a device of this name that is there already, as it is
      -h, --help                    Print help (see more with '--help')

    Global options:
          --database <PATH>  The database [env: WARDEN_DATABASE]
          --key-file <PATH>  The file with the key that pre-shared keys are sealed with [env:
                             WARDEN_KEY_FILE]
          --config <FILE>    The plugin's configuration file, to take the two from [env: WARDEN_CONFIG]
          --json             Write results as JSON

    EXAMPLES:
      warden device add device-001 --cn --role sensor
      warden device add device-002 --psk --role sensor --client-id '%u'
      warden device add device-003 --cn d3.fleet.example --attribute site=oslo \
        --role sensor --role logger
      openssl rand -base64 18 | tee device-004.password |
        warden device add device-004 --password --stdin --role sensor
      warden device add device-005 --role sensor --bootstrap \
        --until 2036-06-30T00:00:00Z
    "#);
}
