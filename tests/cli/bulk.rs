//! Many devices at once: from a table, and revoked by file or attribute.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{Said, Warden};

const TABLE: &str = "\
name,cn,psk_identity,roles,attributes,client_id
d-1,d-1,p-1,sensor,site=oslo,%u-*
d-2,,p-2,,site=bergen,
d-3,d3.example,,,site=oslo;floor=2,
";

fn with_table(table: &str) -> Warden {
    let warden = Warden::new();
    warden.done("role add sensor");
    fs::write(warden.path("t.csv"), table).unwrap();
    warden
}

fn devices(warden: &Warden) -> String {
    warden.sqlite3("SELECT count(*) FROM devices")
}

#[test]
fn a_table_becomes_devices_with_keys_in_a_file_that_nobody_else_can_read() {
    let warden = with_table(TABLE);
    let said = warden.run("device import t.csv");
    assert!(said.code == 2 && said.stderr.contains("`--keys new-keys.psk`"), "{said:?}");
    assert_eq!(devices(&warden), "0");
    let report = warden.json("device import t.csv --keys k.psk");
    assert_eq!(report["devices"], json!({ "added": 3, "there": 0 }));
    assert_eq!((&report["credentials"]["added"], &report["grants"]["added"]), (&json!(4), &json!(1)));
    assert_eq!(fs::metadata(warden.path("k.psk")).unwrap().permissions().mode() & 0o777, 0o600);
    let sealing = mosquitto_warden::key_file::read(&warden.path("warden.key")).unwrap();
    let keys = fs::read_to_string(warden.path("k.psk")).unwrap();
    assert_eq!(keys.lines().count(), 2);
    for line in keys.lines() {
        let (identity, key) = line.split_once(':').unwrap();
        let sealed = warden.sqlite3(&format!("SELECT secret FROM credentials WHERE identity = '{identity}'"));
        assert_eq!(sealing.open(identity, &sealed).unwrap().hex().as_str(), key);
    }
    let shown = warden.json("device show d-1");
    assert_eq!((&shown["client_id"], &shown["attributes"]), (&json!("%u-*"), &json!({ "site": "oslo" })));
    assert_eq!(shown["roles"], json!(["sensor"]));
    // Once more: nothing is added, and no key is made.
    let revision = warden.json("status")["revision"].clone();
    assert_eq!(warden.json("device import t.csv --keys k.psk")["changed"], false);
    assert_eq!(warden.json("device import t.csv")["devices"]["there"], 3);
    assert_eq!(fs::read_to_string(warden.path("k.psk")).unwrap(), keys);
    assert_eq!(warden.json("status")["revision"], revision);
}

#[test]
fn bad_lines_are_named_and_keep_all_out_unless_they_are_left_out() {
    let warden = with_table("name,cn,roles\ngood,good,sensor\na/b,,\nbad,taken,\nworse,,no-role\nd,\n");
    warden.done("device add other --cn taken");
    let said = warden.run("device import t.csv");
    assert_eq!((said.code, devices(&warden)), (1, "1".to_owned()), "{said:?}");
    for line in [
        "mistake: line 3: `a/b`: a device name cannot hold",
        "mistake: line 4: device `bad`: `taken` is an identity of device `other`",
        "mistake: line 5: device `worse`: there is no role `no-role`",
        "mistake: line 6: the line has 2 fields",
    ] {
        assert!(said.stdout.contains(line), "{line}: {said:?}");
    }
    assert_eq!(warden.run("device import t.csv --dry-run").code, 1);
    assert_eq!(warden.json("device import t.csv --skip-bad")["devices"]["added"], 1);
    assert_eq!(devices(&warden), "2");
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let warden = with_table(TABLE);
    let report = warden.json("device import t.csv --dry-run");
    assert_eq!((&report["changed"], &report["devices"]["added"]), (&json!(false), &json!(3)));
    assert_eq!(devices(&warden), "0");
    assert!(!warden.path("k.psk").exists());
}

#[test]
fn names_can_come_from_standard_input() {
    let warden = with_table(TABLE);
    let said = warden.run_with_stdin("device import - --cn --role sensor", "name\nd-8\nd-9\n");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(warden.sqlite3("SELECT identity FROM credentials"), "d-8\nd-9");
    assert!(said.stderr.is_empty(), "nothing but a terminal is shown a bar: {said:?}");
}

/// `script` gives it a terminal of its own.
#[test]
fn a_terminal_is_shown_how_far_it_is() {
    let names: Vec<String> = (0..2_000).map(|number| format!("d-{number:05}")).collect();
    let warden = with_table(&format!("name\n{}\n", names.join("\n")));
    fs::write(warden.path("names"), names.join("\n")).unwrap();
    for (words, shown) in [
        ("device import t.csv --cn --psk --role sensor --keys k.psk", "adding devices ["),
        ("device revoke --file names --yes", "revoking ["),
    ] {
        let line = format!("stty cols 100; {} {words}", env!("CARGO_BIN_EXE_warden"));
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(warden.directory.path());
        let output = command.env("WARDEN_DATABASE", "./warden.db").env("TERM", "xterm").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(shown) && said.contains(" of 2,000"), "{words}: {said}");
    }
}

#[test]
fn a_file_for_keys_that_others_can_read_is_refused() {
    let warden = with_table(TABLE);
    fs::write(warden.path("k.psk"), "").unwrap();
    fs::set_permissions(warden.path("k.psk"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = warden.run("device import t.csv --keys k.psk");
    assert!(said.code == 1 && said.stderr.contains("chmod 600"), "{said:?}");
    std::os::unix::fs::symlink(warden.path("elsewhere"), warden.path("link")).unwrap();
    assert_eq!(warden.run("device import t.csv --keys link").code, 1);
    assert!(!warden.path("elsewhere").exists());
    assert_eq!(devices(&warden), "0");
}

/// Keys are written before their batch is committed: those of one that was not are used when the command runs again.
#[test]
fn a_key_that_was_written_and_not_used_is_used_the_next_time() {
    let warden = with_table(TABLE);
    let key = "8d1f0c9b7a6e5d4c3b2a19081726354f";
    fs::write(warden.path("k.psk"), format!("p-1:{key}\np-2:8d1f")).unwrap();
    fs::set_permissions(warden.path("k.psk"), fs::Permissions::from_mode(0o600)).unwrap();
    warden.done("device import t.csv --keys k.psk");
    let sealing = mosquitto_warden::key_file::read(&warden.path("warden.key")).unwrap();
    let sealed = warden.sqlite3("SELECT secret FROM credentials WHERE identity = 'p-1'");
    assert_eq!(sealing.open("p-1", &sealed).unwrap().hex().as_str(), key);
    let keys = fs::read_to_string(warden.path("k.psk")).unwrap();
    let lines: Vec<_> = keys.lines().collect();
    assert_eq!((lines.len(), lines[1]), (3, "p-2:8d1f"));
    assert!(lines[2].starts_with("p-2:") && lines[2].len() == 68);
}

/// Runs this until `begun`, and then presses Ctrl-C.
fn interrupted(warden: &Warden, words: &[&str], begun: impl Fn() -> bool) -> Said {
    let mut command = warden.command(words);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Each look is a process of its own, so this does not spin.
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(2);
    while !begun() {
        assert!(std::time::Instant::now() < deadline, "no batch was written");
    }
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    Said::from(child.wait_with_output().unwrap())
}

#[test]
fn ctrl_c_leaves_whole_batches_and_the_same_command_goes_on() {
    let names: Vec<String> = (0..5_000).map(|number| format!("d-{number:05}")).collect();
    let warden = with_table(&format!("name\n{}\n", names.join("\n")));
    let words = ["device", "import", "t.csv", "--cn", "--psk", "--role", "sensor", "--keys", "k.psk"];
    let count = || warden.sqlite3("SELECT count(*) FROM devices").parse::<usize>().unwrap();
    // It has begun to write when the first batch is there.
    let said = interrupted(&warden, &words, || count() > 0);
    let there = count();
    assert_eq!(said.code, 130, "{said:?}");
    assert!(said.stderr.contains(&format!("of the lines, {there} of 5000 are in")), "{there}: {said:?}");
    assert_eq!(there % 500, 0);
    let whole = "SELECT count(*) FROM devices WHERE (SELECT count(*) FROM credentials WHERE device_id = devices.id) = 2 \
                 AND EXISTS (SELECT 1 FROM device_roles WHERE device_id = devices.id)";
    assert_eq!(warden.sqlite3(whole), there.to_string());
    warden.done(&words.join(" "));
    assert_eq!((count(), warden.sqlite3(whole)), (5_000, "5000".to_owned()));
    assert_eq!(fs::read_to_string(warden.path("k.psk")).unwrap().lines().count(), 5_000);
}

#[test]
fn ctrl_c_leaves_whole_batches_revoked_and_the_same_command_goes_on() {
    let names: Vec<String> = (0..5_000).map(|number| format!("d-{number:05}")).collect();
    let warden = with_table(&format!("name\n{}\n", names.join("\n")));
    warden.done("device import t.csv");
    fs::write(warden.path("names"), names.join("\n")).unwrap();
    // A batch takes so long that Ctrl-C comes before the last one, however busy this machine is.
    warden.sqlite3(
        "CREATE TRIGGER slow AFTER UPDATE OF status ON devices WHEN NEW.name LIKE '%00' BEGIN
             SELECT count(*) FROM (WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000000)
                                   SELECT n FROM numbers);
         END",
    );
    let revoked = || warden.sqlite3("SELECT count(*) FROM devices WHERE status = 'revoked'").parse::<usize>().unwrap();
    let words = ["device", "revoke", "--file", "names", "--reason", "stolen", "--yes", "--wait"];
    let said = interrupted(&warden, &words, || revoked() > 0);
    let done = revoked();
    assert_eq!((said.code, done % 500), (130, 0), "{done}: {said:?}");
    assert!(0 < done && done < 5_000, "{done}: {said:?}");
    assert!(said.stdout.contains(&format!("{done} devices are now revoked, 0 were already")), "{said:?}");
    assert!(said.stderr.contains("whole batches are done"), "{said:?}");
    warden.sqlite3("DROP TRIGGER slow");
    let again = warden.json("device revoke --file names --reason stolen --yes");
    assert_eq!((&again["changed"], &again["already"]), (&json!(5_000 - done), &json!(done)));
}

#[test]
fn ctrl_c_ends_the_wait_for_brokers_and_not_what_was_committed() {
    let warden = with_table(TABLE);
    warden.done("device import t.csv --keys k.psk");
    warden.sqlite3(
        "INSERT INTO brokers (name, instance, beats, interval_ms, version, mosquitto, revision, confirmed, sessions,
                              started_at, seen_at)
         VALUES ('oslo-1', '1', 1, 60000, '0.1.0', '2.0.21', 9, 0, 12, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'),
                 strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
    );
    let revoked = || warden.sqlite3("SELECT count(*) FROM devices WHERE status = 'revoked'");
    let words = ["device", "revoke", "--where", "site=oslo", "--yes", "--wait", "--timeout", "5m", "--json"];
    let said = interrupted(&warden, &words, || revoked() == "2");
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, &report["changed"], report.get("confirmation")), (130, &json!(2), None), "{said:?}");
    assert!(said.stderr.contains("it is committed"), "{said:?}");

    let said = warden.run("device revoke --where site=bergen --yes --wait --timeout 100ms");
    assert_eq!((said.code, revoked().as_str()), (7, "3"), "{said:?}");
    assert!(said.stderr.contains("not confirmed by `oslo-1`"), "{said:?}");
    warden.sqlite3("UPDATE brokers SET ended_at = seen_at");
    let confirmed = warden.json("device revoke --where site=bergen --yes --wait");
    assert_eq!((&confirmed["already"], &confirmed["confirmation"]["confirmed"]), (&json!(1), &json!(true)));
    assert_eq!(warden.run("device revoke --where site=oslo --dry-run --wait").code, 2);
}

#[test]
fn many_devices_are_revoked_by_attribute_or_file() {
    let warden = with_table(TABLE);
    warden.done("device import t.csv --keys k.psk");
    let status = || warden.sqlite3("SELECT group_concat(status, ' ') FROM (SELECT status FROM devices ORDER BY name)");
    let dry = warden.json("device revoke --where site=oslo --dry-run");
    assert_eq!(dry["devices"], json!(["d-1", "d-3"]));
    assert_eq!(status(), "active active active");
    let said = warden.run("device revoke --where site=oslo");
    assert!(said.code == 2 && said.stderr.contains("`--yes`"), "{said:?}");
    assert_eq!(status(), "active active active");
    assert_eq!(warden.json("device revoke --where site=oslo --reason stolen --yes")["changed"], 2);
    assert_eq!(status(), "revoked active revoked");
    assert_eq!(warden.sqlite3("SELECT status_reason FROM devices WHERE name = 'd-3'"), "stolen");
    let again = warden.json("device revoke --where site=oslo --yes");
    assert_eq!((&again["changed"], &again["already"]), (&json!(0), &json!(2)));
    assert_eq!(warden.json("device revoke --where floor=3 --yes")["changed"], 0);

    fs::write(warden.path("names"), "d-2\n\n d-2\nd-1\nnobody\n").unwrap();
    let said = warden.run("device revoke --file names --yes");
    assert!(said.code == 4 && said.stdout.contains("there is no device `nobody`"), "{said:?}");
    assert!(said.stdout.contains("1 devices are now revoked, 1 were already"), "{said:?}");
    assert_eq!(status(), "revoked revoked revoked");
    for words in ["device revoke", "device revoke d-1 --file names", "device revoke d-2 --dry-run --wait"] {
        assert_eq!(warden.run(words).code, 2, "{words}");
    }
}
