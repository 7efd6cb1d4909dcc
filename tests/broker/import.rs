//! Old rules and new ones on real brokers, side by side: a broker with Mosquitto's own files answers, the evaluators that
//! `warden import --verify` uses have to agree with it, and one with the plugin on the imported database answers as
//! before, but for what the import has announced.

use std::fs;

use mosquitto_warden::import::Series;
use mosquitto_warden::import::acl_file::AclFile;
use mosquitto_warden::import::acl_judge::{self, Who};
use mosquitto_warden::import::dynsec::Dynsec;
use mosquitto_warden::import::dynsec_judge;
use mosquitto_warden::policy::decision::Action;

use crate::harness::{
    Broker, Client, Connect, Fleet, Listen, Login, Mosquitto, eventually, give_to_broker, on_every_broker,
};
use crate::import_logins::{Old, logs_in_as_before, upgrades_hashes};

/// Who is asked about: user name, client id and key.
const ALICE: (&str, &str, &str) = ("alice", "alice-1", "8d1f0c9b7a6e5d4c3b2a19081726354f");
const BOB: (&str, &str, &str) = ("bob", "bob-1", "9d1f0c9b7a6e5d4c3b2a19081726354e");
/// Who may publish anything, so that it can be seen who receives it.
const PROBE: (&str, &str, &str) = ("probe", "probe-1", "7d1f0c9b7a6e5d4c3b2a19081726354d");

const ACL: &str = "\
# only for clients without user name
topic readwrite anonymous/#

user alice
topic readwrite a/#
topic deny a/secret
topic read news/+/today
topic write $SYS/own
topic beaten/x

user bob
topic write a/+
topic deny a/b/c
topic read 100%/%u

user probe
topic write #

pattern readwrite own/%u/#
pattern read to/%c
pattern write x-%u/+
pattern deny beaten/#
pattern read mark/%c
";

/// Topics that the rules name, and those beside them.
const TOPICS: [&str; 24] = [
    "a",
    "a/b",
    "a/b/c",
    "a/secret",
    "a/secret/more",
    "news/x/today",
    "news/today",
    "news/x/tomorrow",
    "anonymous/x",
    "beaten/x",
    "beaten/y",
    "own/alice",
    "own/alice/x",
    "own/bob/x",
    "own/%u/x",
    "to/alice-1",
    "to/bob-1",
    "x-alice/1",
    "x-bob/1",
    "x-%u/1",
    "100%/%u",
    "100%/bob",
    "other",
    "$SYS/own",
];

fn series(mosquitto: &Mosquitto) -> (Series, &'static str) {
    if mosquitto.version().starts_with("2.0.") { (Series::V20, "2.0") } else { (Series::V21, "2.1") }
}

fn login((user, _, key): (&str, &str, &str)) -> Login {
    Login::psk(user, key)
}

/// The listener for pre-shared keys of the old broker, which has them in a file.
fn old_listener(fleet: &Fleet) -> String {
    let keys = [ALICE, BOB, PROBE].map(|(user, _, key)| format!("{user}:{key}\n"));
    fs::write(fleet.path("etc/psk"), keys.concat()).unwrap();
    format!(
        "allow_anonymous false\nlistener 8884\npsk_hint hint\npsk_file {}\nuse_identity_as_username true\n",
        fleet.path("etc/psk").display()
    )
}

/// Whether a broker lets a client publish there.
fn publishes(client: &mut Client, topic: &str) -> bool {
    client.publish_acknowledged(topic, "asked").unwrap() == 0
}

/// Whether a broker hands a client what somebody else publishes there. It has subscribed to this topic, and to one behind
/// which it can see that nothing came.
fn receives(client: &mut Client, client_id: &str, probe: &mut Client, topic: &str) -> bool {
    let mark = format!("mark/{client_id}");
    probe.publish_acknowledged(topic, "asked").unwrap();
    probe.publish_acknowledged(&mark, "behind").unwrap();
    let (first, _) = client.next_message().unwrap();
    if first == mark {
        return false;
    }
    assert_eq!(first, topic);
    assert_eq!(client.next_message().unwrap().0, mark);
    true
}

/// What a broker answers about these users and topics.
fn answers(broker: &Broker, topics: &[&str]) -> Vec<(String, Action, String, bool)> {
    let mut answers = Vec::new();
    let mut probe = Client::connect(broker, &login(PROBE), &Connect::v5(PROBE.1));
    for who in [ALICE, BOB] {
        let mut client = Client::connect(broker, &login(who), &Connect::v5(who.1));
        assert_eq!(client.subscribe(&format!("mark/{}", who.1), 0).unwrap(), 0);
        for topic in topics {
            let mut answer = |action, allowed| answers.push((who.0.to_owned(), action, (*topic).to_owned(), allowed));
            answer(Action::Publish, publishes(&mut client, topic));
            // Nobody can publish below $SYS, so nobody can see who would receive it.
            if !topic.starts_with('$') && client.subscribe(topic, 0).unwrap() < 0x80 {
                answer(Action::Receive, receives(&mut client, who.1, &mut probe, topic));
                client.unsubscribe(topic).unwrap();
            }
        }
    }
    answers
}

#[test]
fn imported_devices_log_in_as_before_and_may_do_what_they_could() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::new();
        let (series, word) = series(mosquitto);
        fs::write(fleet.path("etc/acl"), ACL).unwrap();
        let acl_file = fleet.path("etc/acl");
        let old = fleet.start_with(mosquitto, &format!("acl_file {}\n{}", acl_file.display(), old_listener(&fleet)));
        let before = answers(&old, &TOPICS);
        drop(old);

        // The evaluator says what the broker does.
        let (file, mistakes) = AclFile::parse(ACL.as_bytes());
        assert!(mistakes.is_empty());
        for (user, action, topic, allowed) in &before {
            let client_id = format!("{user}-1");
            let who = Who { user: Some(user), client_id: &client_id };
            assert_eq!(acl_judge::allows(&file, series, who, *action, topic), *allowed, "{user} {action} {topic}");
        }
        let allowed = before.iter().filter(|(.., allowed)| *allowed).count();
        assert!(allowed > 10 && before.len() - allowed > 40, "{allowed} of {}", before.len());

        let acl_file = acl_file.to_str().unwrap();
        fleet.warden(&["import", "psk-file", fleet.path("etc/psk").to_str().unwrap()]);
        fleet.warden(&["import", "acl-file", acl_file, "--mosquitto", word, "--keep-subscriptions"]);
        let new = fleet.start(mosquitto, "psk.conf");
        let after = answers(&new, &TOPICS);
        assert_eq!(before.len(), after.len());
        let differences: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        // The one that the import has told: the deny of a pattern wins over the user's own line.
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(differences.iter().all(|((user, _, topic, was), _)| user == "alice" && topic == "beaten/x" && *was));
        let told = fleet.warden(&["import", "acl-file", acl_file, "--mosquitto", word, "--keep-subscriptions"]);
        assert!(told.contains("`pattern deny beaten/#` now wins over what user `alice` is granted"), "{told}");
        let verified = fleet.try_warden(&["import", "acl-file", acl_file, "--mosquitto", word, "--verify"]);
        let verified = String::from_utf8(verified.stdout).unwrap();
        assert!(verified.contains("narrower: alice publish beaten/x"), "{verified}");

        // And the refused twins of who comes in: another key, and nobody.
        let wrong = Login::psk("alice", BOB.2);
        assert!(Client::try_connect(&new, &wrong, &Connect::v5("alice-1")).is_err());
        assert!(Client::try_connect(&new, &Login::psk("carol", ALICE.2), &Connect::v5("carol")).is_err());
    });
}

#[test]
fn without_keeping_subscriptions_they_must_lie_inside_what_may_be_read() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::new();
        old_listener(&fleet);
        fs::write(fleet.path("etc/acl"), ACL).unwrap();
        fleet.warden(&["import", "psk-file", fleet.path("etc/psk").to_str().unwrap()]);
        fleet.warden(&["import", "acl-file", fleet.path("etc/acl").to_str().unwrap()]);
        let broker = fleet.start(mosquitto, "psk.conf");
        let mut client = Client::connect(&broker, &login(ALICE), &Connect::v5(ALICE.1));
        for (filter, granted) in
            [("a/#", true), ("own/alice/#", true), ("#", false), ("own/#", false), ("beaten/x", false)]
        {
            assert_eq!(client.subscribe(filter, 0).unwrap() < 0x80, granted, "{filter}");
        }
    });
}

/// What is made with `mosquitto_ctrl dynsec`, one command each.
const COMMANDS: &str = "\
createRole sensor
addRoleACL sensor publishClientSend a/# allow 1
addRoleACL sensor publishClientSend a/secret deny 5
addRoleACL sensor publishClientSend a/beaten deny 0
addRoleACL sensor publishClientSend own/%u/x allow 1
addRoleACL sensor publishClientReceive quiet deny 0
addRoleACL sensor subscribePattern a/# allow 1
addRoleACL sensor subscribePattern mark/# allow 1
addRoleACL sensor subscribeLiteral quiet allow 1
addRoleACL sensor subscribeLiteral lit/+ allow 1
createRole boss
addRoleACL boss publishClientSend a/secret allow 0
addRoleACL boss publishClientSend b/# allow 0
addRoleACL boss subscribePattern # allow 0
createRole probe
addRoleACL probe publishClientSend # allow 0
createGroup bosses
addGroupRole bosses boss
createClient alice -p password-of-alice
createClient bob -p password-of-bob
createClient probe -p password-of-probe
createClient idle -p password-of-idle
addClientRole alice sensor 3
addClientRole probe probe
addGroupClient bosses bob
disableClient idle";

const DYNSEC_TOPICS: [&str; 12] =
    ["a", "a/x", "a/secret", "a/beaten", "b", "b/x", "quiet", "lit/x", "own/alice/x", "own/%u/x", "other", "$SYS/own"];

#[test]
fn a_dynamic_security_file_made_by_mosquitto_ctrl_is_read_as_the_broker_reads_it() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::new();
        let (series, word) = series(mosquitto);
        let (plugin, _) = mosquitto.dynamic_security();
        fs::create_dir(fleet.path("dynsec")).unwrap();
        let file = fleet.path("dynsec/dynamic-security.json");
        let run = |arguments: &[&str]| {
            let output = mosquitto.dynamic_security().1.args(arguments).output().expect("no mosquitto_ctrl: make deps");
            assert!(output.status.success(), "{arguments:?}: {output:?}");
        };
        run(&["dynsec", "init", file.to_str().unwrap(), "admin", "password-of-admin"]);
        for path in ["dynsec", "dynsec/dynamic-security.json"] {
            give_to_broker(&fleet.path(path));
        }
        let options = format!("plugin {}\nplugin_opt_config_file {}\n", plugin.display(), file.display());
        let old = fleet.start_with(mosquitto, &format!("{options}{}\nlistener 8885\n", old_listener(&fleet)));
        let port = old.port(Listen::WebSockets).to_string();
        for command in COMMANDS.lines() {
            let login = ["-h", "127.0.0.1", "-p", &port, "-u", "admin", "-P", "password-of-admin", "dynsec"];
            run(&login.into_iter().chain(command.split(' ')).collect::<Vec<_>>());
        }
        let before = answers(&old, &DYNSEC_TOPICS);
        let mut subscriptions = Vec::new();
        for who in [ALICE, BOB] {
            let mut client = Client::connect(&old, &login(who), &Connect::v5(who.1));
            for filter in
                ["#", "a/#", "a/+", "a/x/#", "+/x", "lit/+", "lit/x", "quiet", "other", "$share/g/a/x", "$SYS/#"]
            {
                subscriptions.push((who.0, filter, client.subscribe(filter, 0).unwrap() < 0x80));
            }
        }
        drop(old);

        let dynsec = Dynsec::parse(&fs::read(&file).unwrap()).unwrap();
        let judge = |user: &str, action, topic: &str| {
            dynsec_judge::allows(&dynsec, series, user, &format!("{user}-1"), action, topic)
        };
        for (user, action, topic, allowed) in &before {
            assert_eq!(judge(user, *action, topic), *allowed, "{user} {action} {topic}");
        }
        for (user, filter, allowed) in subscriptions {
            assert_eq!(judge(user, Action::Subscribe, filter), allowed, "{user} subscribe {filter}");
        }

        let file = file.to_str().unwrap();
        let report = fleet.warden(&["import", "dynsec", file, "--mosquitto", word]);
        for words in
            ["now wins over allow `a/#` of role `sensor`", "`lit/+`: subscriptions that are inside this filter"]
        {
            assert!(report.contains(words), "{words}: {report}");
        }
        fleet.warden(&["import", "psk-file", fleet.path("etc/psk").to_str().unwrap()]);
        assert_eq!(fleet.sql("SELECT status FROM devices WHERE name = 'idle'").trim(), "suspended");
        let hashes = "SELECT count(*) FROM credentials WHERE kind = 'password' AND secret LIKE '$7$%'";
        assert_eq!(fleet.sql(hashes).trim(), "5");
        let new = fleet.start(mosquitto, "psk.conf");
        let after = answers(&new, &DYNSEC_TOPICS);
        for answer in &after {
            let (user, _, topic, _) = answer;
            // A deny that an allow of a higher priority had beaten; a filter that was granted as a text alone.
            let announced = user == "alice" && ["a/beaten", "lit/x"].contains(&&**topic);
            assert!(announced || before.contains(answer), "{answer:?}");
        }
        assert!(after.len() > 20);
        drop(new);

        upgrades_hashes(&fleet);
        let broker = fleet.start(mosquitto, "passwords.conf");
        for (name, allowed, denied) in [("alice", "a/x", "a/secret"), ("bob", "a/secret", "a/x")] {
            let password = format!("password-of-{name}");
            logs_in_as_before(&fleet, &broker, &Old { name, password: &password, allowed, denied });
        }
        let idle = fleet.ca.password("idle", "password-of-idle");
        eventually("who was disabled is refused as suspended", || {
            assert_eq!(Client::try_connect(&broker, &idle, &Connect::v5("idle")).unwrap().1, 0x87);
            let refused = "user=idle device=idle client=idle reason=device-suspended";
            (broker.count_in_log(refused) > 0).then_some(())
        });
    });
}
