//! Files of Mosquitto and tables of other plugins: imported whole or not at all, once, and with a report.

use std::fs;

use insta::assert_snapshot;
use serde_json::json;

use crate::Warden;

const ACL: &str = "\
topic read $SYS/#
user roger
topic foo/bar
topic deny foo/bar/secret
user alice
topic readwrite machines/alice/#
topic read machines/+/status
pattern readwrite own/%u/#
pattern deny machines/alice/%c
";
const HASH: &str = "$7$101$bG9uZ3NhbHRzYWx0$c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ=";
const KEY: &str = "8d1f0c9b7a6e5d4c3b2a19081726354f";

/// An example that Debian's package of Mosquitto comes with.
fn example(name: &str) -> String {
    let path = format!("/usr/share/doc/mosquitto/examples/{name}.example");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}; run `make deps`"))
}

fn with(files: &[(&str, &str)]) -> Warden {
    let warden = Warden::new();
    for (name, text) in files {
        fs::write(warden.path(name), text).unwrap();
    }
    warden
}

/// Everything that an import may change.
fn policy(warden: &Warden) -> String {
    warden.sqlite3(
        "SELECT name, status, client_id, attributes FROM devices; SELECT name FROM roles;
         SELECT role_id, effect, action, topic FROM rules; SELECT * FROM device_roles;
         SELECT device_id, kind, identity, secret_digest FROM credentials;",
    )
}

#[test]
fn mosquittos_own_examples_are_imported_and_what_differs_is_told() {
    let warden = with(&[("acl", &example("aclfile")), ("passwords", &example("pwfile")), ("psk", &example("pskfile"))]);
    let said = warden.run("import acl-file acl");
    assert_eq!(said.code, 0, "{said:?}");
    assert_snapshot!(said.stdout, @"
    wider: with patterns, Mosquitto denies clients with `+` or `#` in their client id what their user's own lines do not allow; here such a client id makes `%c` match nothing, and changes nothing else
    narrower: Mosquitto accepts every subscription and holds back what may not be read; here a subscription must lie wholly inside what may be read (`--keep-subscriptions` accepts every one as before)
    note: the file holds no credentials; `password-file` and `psk-file` import those
    note: every device that is there gets the role `acl-patterns`; those that come later need it too (`--role` of the other imports, or this import once more)
    narrower: line 2: `$SYS/#` is for clients without user name: there are none here, and it is not imported
    roles        2 added, 0 replaced, 0 there already
    devices      1 added, 0 there already
    credentials  0 added
    grants       2 added
    ");
    let said = warden.run("import password-file passwords");
    assert_eq!(said.code, 0, "{said:?}");
    assert_snapshot!(said.stdout, @"
    note: passwords stay hashed as they are
    roles        0 added, 0 replaced, 0 there already
    devices      2 added, 1 there already
    credentials  3 added
    grants       0 added
    ");
    // The keys of the example are far too short.
    let said = warden.run("import psk-file psk");
    assert_eq!(said.code, 1);
    assert_snapshot!(format!("{}{}", said.stdout, said.stderr), @"
    mistake: line 1: `id`: the key has 4 bytes; a pre-shared key has at least 16 and at most 256
    mistake: line 2: `easy`: the key has 3 bytes; a pre-shared key has at least 16 and at most 256
    roles        0 added, 0 replaced, 0 there already
    devices      0 added, 0 there already
    credentials  0 added
    grants       0 added
    this is what would be done; nothing was changed
    error: 2 of the entries cannot be imported, so nothing was changed

    hint: `--skip-bad` leaves them out and imports the rest
    ");
    let stored = warden.sqlite3("SELECT secret FROM credentials WHERE identity = 'roger' AND kind = 'password'");
    assert!(example("pwfile").contains(&format!("roger:{stored}")));
    for (question, code) in [
        ("roger publish foo/bar", 0),
        ("roger publish foo/baz", 3),
        ("roger publish $SYS/broker/connection/c/state --client-id c", 0),
        ("roger publish $SYS/broker/connection/c/state --client-id d", 3),
    ] {
        let said = warden.run(&format!("explain {question}"));
        assert_eq!((said.code, said.stdout.contains("allowed-by-rule")), (code, code == 0), "{question}: {said:?}");
    }
}

#[test]
fn a_second_import_changes_nothing() {
    let warden = with(&[("acl", ACL), ("passwords", &format!("roger:{HASH}\n")), ("psk", &format!("alice:{KEY}\n"))]);
    let imports = ["import psk-file psk", "import acl-file acl", "import password-file passwords"];
    for words in imports {
        assert_eq!(warden.json(words)["changed"], true, "{words}");
    }
    let (before, revision) = (policy(&warden), warden.json("status")["revision"].clone());
    for words in imports {
        assert_eq!(warden.json(words)["changed"], false, "{words}");
    }
    assert_eq!((policy(&warden), warden.json("status")["revision"].clone()), (before, revision));
}

#[test]
fn a_dry_run_tells_all_and_changes_nothing() {
    let warden = with(&[("acl", ACL)]);
    let dry = warden.json("import acl-file acl --dry-run");
    assert_eq!(
        (&dry["changed"], &dry["roles"]["added"], &dry["devices"]["added"]),
        (&json!(false), &json!(3), &json!(2))
    );
    assert_eq!(policy(&warden), "");
    assert_eq!(warden.json("import acl-file acl")["roles"], dry["roles"]);
}

#[test]
fn one_bad_line_keeps_all_out_unless_it_is_left_out() {
    let warden = with(&[
        ("acl", "user a\ntopic x\nuser b/c\ntopic y\ntopics z\n"),
        ("passwords", &format!("a:{HASH}\nb:secret-in-clear\nc\n")),
        ("psk", &format!("p:{KEY}\nq:{KEY}\nr:abc\n")),
    ]);
    for (words, lines) in [
        ("import acl-file acl", &["line 3: ", "line 5: "][..]),
        ("import password-file passwords", &["line 2: ", "line 3: "]),
        ("import psk-file psk", &["line 2: ", "line 3: "]),
    ] {
        let said = warden.run(words);
        assert_eq!((said.code, policy(&warden)), (1, String::new()), "{words}: {said:?}");
        assert!(lines.iter().all(|line| said.stdout.contains(&format!("mistake: {line}"))), "{said:?}");
        assert!(said.stderr.contains("`--skip-bad`"), "{said:?}");
        assert!(!format!("{said:?}").contains("secret-in-clear") && !said.stdout.contains(KEY), "{said:?}");
    }
    for words in ["import acl-file acl", "import password-file passwords", "import psk-file psk"] {
        assert_eq!(warden.run(&format!("{words} --skip-bad")).code, 0);
    }
    assert_eq!(warden.sqlite3("SELECT group_concat(name, ' ') FROM (SELECT name FROM devices ORDER BY name)"), "a p");
}

#[test]
fn what_is_there_already_stays() {
    let warden = with(&[
        ("acl", "user a\ntopic x\n"),
        ("other", "user a\ntopic y\n"),
        ("psk", &format!("a:{KEY}\nother:{}\n", KEY.replace('8', "7"))),
        ("passwords", &format!("a:{HASH}\n")),
    ]);
    warden.done("device add d --cn other");
    warden.done("import acl-file acl");
    let said = warden.run("import acl-file other");
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.stdout.contains("there is a role `acl-a` with other rules"), "{said:?}");
    assert!(said.stderr.contains("`--replace-roles`"));
    assert_eq!(warden.sqlite3("SELECT topic FROM rules"), "x");
    assert_eq!(warden.json("import acl-file other --replace-roles")["roles"]["replaced"], 1);
    assert_eq!(warden.sqlite3("SELECT topic FROM rules"), "y");

    let said = warden.run("import psk-file psk");
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("line 2: device `other`: `other` is an identity of device `d`"), "{said:?}");
    warden.done("import psk-file psk --skip-bad");
    warden.done("import password-file passwords");
    let secrets = warden.sqlite3("SELECT secret FROM credentials ORDER BY id");
    fs::write(warden.path("psk"), format!("a:{}\n", KEY.replace('8', "9"))).unwrap();
    fs::write(warden.path("passwords"), "a:$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e\n").unwrap();
    for words in ["import psk-file psk", "import password-file passwords"] {
        assert!(warden.done(words).contains("keeps its own secret"), "{words}");
    }
    assert_eq!(warden.sqlite3("SELECT secret FROM credentials ORDER BY id"), secrets);
}

#[test]
fn a_key_that_was_imported_opens_under_its_identity() {
    let warden = with(&[("psk", &format!("sensor-1:{}\n", KEY.to_uppercase()))]);
    warden.done("role add sensor");
    warden.done("import psk-file psk --role sensor");
    let sealing = mosquitto_warden::key_file::read(&warden.path("warden.key")).unwrap();
    let sealed = warden.sqlite3("SELECT secret FROM credentials");
    assert_eq!(sealing.open("sensor-1", &sealed).unwrap().hex().as_str(), KEY);
    assert!(warden.done("device list").contains("sensor"));
    let said = warden.run("import psk-file psk --role no-such-role");
    assert!(said.code == 1 && said.stdout.contains("there is no role `no-such-role`"), "{said:?}");
}

/// What the acl file says and what the database says, question by question.
#[test]
fn verify_lists_what_differs_and_nothing_else() {
    let warden =
        with(&[("acl", ACL), ("plain", "user a\ntopic readwrite x/#\ntopic deny x/no\npattern read own/%u\n")]);
    let said = warden.run("import acl-file plain --verify");
    assert!(said.code == 8 && said.stdout.contains("`a` is no device here"), "{said:?}");
    warden.done("import acl-file plain --keep-subscriptions");
    let said = warden.run("import acl-file plain --verify");
    assert!(said.stdout.lines().all(|line| line.contains(" subscribe $") || line.contains("questions")), "{said:?}");
    // Somebody has opened what was closed, and closed what was open.
    warden.done("rule add acl-a allow receive secret");
    warden.done("rule add acl-a deny publish x/verify");
    let verified: serde_json::Value =
        serde_json::from_str(&warden.run("import acl-file plain --verify --json").stdout).unwrap();
    let differences = verified["differences"].as_array().unwrap();
    assert!(
        differences.iter().any(|it| it["topic"] == "x/verify" && it["before"] == "allowed" && it["now"] == "denied")
    );

    let warden = with(&[("acl", ACL)]);
    warden.done("import acl-file acl");
    let said = warden.run("import acl-file acl --verify");
    assert_eq!(said.code, 8);
    // The deny of a pattern, which the user's own line has beaten.
    assert!(
        said.stdout.contains(
            "narrower: alice publish machines/alice/alice (client id alice): was allowed, now denied-by-rule"
        ),
        "{said:?}"
    );
    assert!(!said.stdout.contains("wider: "), "{}", said.stdout);
    fs::write(warden.path("bad"), "topics\n").unwrap();
    assert_eq!(warden.run("import acl-file bad --verify").code, 1);
}

#[test]
fn dynamic_security_becomes_devices_roles_and_suspended_devices() {
    let file = json!({
        "defaultACLAccess": { "publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true },
        "clients": [
            { "username": "a", "password": "c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ=", "salt": "c2FsdA==", "iterations": 101, "clientid": "a-1",
              "roles": [{ "rolename": "sensor" }] },
            { "username": "b", "disabled": true, "roles": [] },
        ],
        "groups": [{ "groupname": "g", "roles": [{ "rolename": "boss" }], "clients": [{ "username": "b" }] }],
        "roles": [
            { "rolename": "sensor", "acls": [
                { "acltype": "publishClientSend", "topic": "s/%u/#", "priority": 0, "allow": true },
                { "acltype": "subscribePattern", "topic": "s/#", "priority": 0, "allow": true },
            ] },
            { "rolename": "boss", "acls": [{ "acltype": "publishClientSend", "topic": "#", "priority": 0, "allow": true }] },
        ],
    });
    let warden = with(&[("dynsec.json", &file.to_string())]);
    assert_eq!(warden.json("import dynsec dynsec.json")["devices"]["added"], 2);
    assert_eq!(warden.json("import dynsec dynsec.json")["changed"], false);
    assert_eq!(warden.sqlite3("SELECT secret FROM credentials"), "$7$101$c2FsdA==$c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ=");
    assert_eq!(warden.sqlite3("SELECT name, status, client_id FROM devices"), "a|active|a-1\nb|suspended|");
    let roles = "SELECT devices.name, roles.name FROM device_roles JOIN devices ON devices.id = device_id \
                 JOIN roles ON roles.id = role_id ORDER BY 1, 2";
    assert_eq!(warden.sqlite3(roles), "a|dynsec-default\na|sensor\nb|boss\nb|dynsec-default");
    let said = warden.run("import dynsec dynsec.json --verify");
    // A shared subscription is one to the topic itself here, and `$share` no topic of an ACL there.
    assert!(
        said.stdout.lines().all(|line| line.contains(" subscribe $share/") || line.contains("questions")),
        "{}",
        said.stdout
    );
    fs::write(warden.path("bad.json"), "{\n\"clients\": 1 }").unwrap();
    let said = warden.run("import dynsec bad.json");
    assert!(said.code == 1 && said.stderr.contains("line 2"), "{said:?}");
}

#[test]
fn the_tables_of_go_auth_are_read_from_their_own_database() {
    let warden = Warden::new();
    let tables = "
        create table test_user (id integer primary key, username varchar(100) not null, password_hash varchar(200) not null,
                                is_admin integer not null);
        create table test_acl (id integer primary key, test_user_id integer not null, topic varchar(200) not null, rw int not null);
        insert into test_user values (1, 'a', 'PBKDF2$sha256$901$x8mf3JIFTUFU9C23$OKKmZ7jxf2fbrY3anHL41+JriCEr5u4Y', 0), (2, 'root', '$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e', 1);
        insert into test_acl values (1, 1, 'a/%u/#', 3), (2, 1, 'a/%u/#', 4), (3, 1, 'news', 5);";
    let shell = std::process::Command::new("sqlite3").arg(warden.path("go-auth.db")).arg(tables).status().unwrap();
    assert!(shell.success());
    let report = warden.json("import go-auth-sql go-auth.db");
    assert_eq!((&report["devices"]["added"], &report["credentials"]["added"]), (&json!(2), &json!(2)));
    assert_eq!(
        warden.sqlite3("SELECT action, topic FROM rules JOIN roles ON roles.id = role_id WHERE name = 'go-auth-a'"),
        "all|a/%u/#\nread|news"
    );
    assert_eq!(warden.json("import go-auth-sql go-auth.db")["changed"], false);
    let verified: serde_json::Value =
        serde_json::from_str(&warden.run("import go-auth-sql go-auth.db --verify --json").stdout).unwrap();
    let differences = verified["differences"].as_array().unwrap();
    assert!(!differences.is_empty() && verified["absent"] == json!([]), "{verified}");
    for it in differences {
        // Shared subscriptions are none there, and who may do anything may do so below any `$`.
        let (topic, by_root) = (it["topic"].as_str().unwrap(), it["device"] == "root");
        assert!(it["before"] == "allowed" || topic.starts_with("$share/"), "{it}");
        assert!(topic.starts_with("$share/") || (by_root && topic.starts_with('$')), "{it}");
    }
    let acl = "INSERT INTO test_acl VALUES (4, 1, 'late', 2)";
    let shell = std::process::Command::new("sqlite3").arg(warden.path("go-auth.db")).arg(acl).status().unwrap();
    assert!(shell.success());
    let said = warden.run("import go-auth-sql go-auth.db --verify");
    assert!(said.code == 8 && said.stdout.contains("narrower: a publish late"), "{said:?}");
    let said = warden.run("import go-auth-sql nowhere.db");
    assert!(said.code == 2 && said.stderr.contains("nowhere.db"), "{said:?}");
    let said = warden.args(&["import", "go-auth-sql", "go-auth.db", "--users", "SELECT id FROM test_user"]);
    assert!(said.code != 0 && said.stderr.contains("username"), "{said:?}");
}
