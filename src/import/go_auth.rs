//! The tables of the go-auth plugin for Mosquitto as devices and roles: users with the hash of a password, and topics
//! with a number for what may be done with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::levels;
use super::plan::{Credential, Device, Plan, Role, Rule, Secret, StoredHash, Weight, fault_of_name};
use crate::policy::rule::Effect;

/// The role of those who may do anything.
pub const SUPERUSER: &str = "go-auth-superuser";

/// A row of the table of users.
#[derive(Clone)]
pub struct User {
    pub name: String,
    pub password_hash: String,
    pub is_admin: bool,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("is_admin", &self.is_admin).finish_non_exhaustive()
    }
}

/// A row of the table of ACLs.
#[derive(Debug, Clone)]
pub struct Acl {
    pub user: String,
    pub topic: String,
    /// 1: read, 2: write, 3: both, 4: subscribe; sums of these are taken as such.
    pub rw: i64,
}

/// Makes a plan of the rows. Findings have the number of the row as their line.
#[must_use]
pub fn plan(users: &[User], acls: &[Acl]) -> Plan {
    let mut plan = Plan::default();
    let mut topics = topics(users, acls, &mut plan);
    let mut seen = HashMap::new();
    for (row, user) in (1..).zip(users) {
        if let Some(fault) = fault_of_name(&user.name) {
            plan.find(Weight::Mistake, row, format!("user `{}`: {fault}", user.name));
            continue;
        }
        if let Some(first) = seen.insert(&user.name, row) {
            plan.find(Weight::Mistake, row, format!("user `{}` is there already, in row {first}", user.name));
            continue;
        }
        let hash = match StoredHash::parse(&user.password_hash) {
            Ok(hash) => hash,
            Err(fault) => {
                plan.find(Weight::Mistake, row, format!("user `{}`: {fault}", user.name));
                continue;
            }
        };
        let mut roles = Vec::new();
        if let Some(rules) = topics.remove(&*user.name).filter(|rules| !rules.is_empty()) {
            roles.push(plan.role_for(role_name(&user.name, row), rules));
        }
        if user.is_admin {
            superuser(&user.name, row, &mut plan);
            roles.push(SUPERUSER.to_owned());
        }
        let credentials = vec![Credential { identity: user.name.clone(), secret: Secret::Password(hash) }];
        plan.devices.push(Device { line: row, name: user.name.clone(), roles, credentials, ..Device::default() });
    }
    if acls.iter().any(|acl| acl.rw & 4 != 0) {
        let words = "a shared subscription is judged by its topic, so whoever may subscribe to a topic may share it; the \
                     plugin compares it as a text that begins with `$share`";
        plan.find(Weight::Wider, None, words);
    }
    if !acls.is_empty() {
        plan.find(
            Weight::Narrower,
            None,
            "what may be received has to be subscribed to with a rule of its own (4), as in the tables; a query of \
             go-auth's such as `rw >= $2` may have granted more than the number says, and is not read",
        );
    }
    plan
}

fn role_name(user: &str, row: usize) -> String {
    let name = format!("go-auth-{user}");
    // Another user may be called like the role of those who may do anything.
    if name.chars().count() > 255 || name == SUPERUSER { format!("go-auth-row-{row}") } else { name }
}

/// The rules of each user.
fn topics<'a>(users: &[User], acls: &'a [Acl], plan: &mut Plan) -> HashMap<&'a str, BTreeSet<Rule>> {
    let known: BTreeSet<&str> = users.iter().map(|user| &*user.name).collect();
    // What one topic is granted in several rows is said in as few rules as there are words for.
    let mut granted: BTreeMap<(&str, &str), (i64, usize)> = BTreeMap::new();
    for (row, acl) in (1..).zip(acls) {
        if !known.contains(&*acl.user) {
            plan.find(Weight::Note, row, format!("`{}` is for the user `{}`, who is not there", acl.topic, acl.user));
        } else if !(0..=7).contains(&acl.rw) {
            plan.find(Weight::Mistake, row, format!("`{}`: {} is none of the numbers 0 to 7", acl.topic, acl.rw));
        } else if acl.rw == 0 {
            plan.find(Weight::Note, row, format!("`{}`: 0 grants nothing", acl.topic));
        } else {
            granted.entry((&acl.user, &acl.topic)).or_insert((0, row)).0 |= acl.rw;
        }
    }
    let mut rules: HashMap<&str, BTreeSet<Rule>> = HashMap::new();
    for ((user, topic), (rw, row)) in granted {
        if levels::is_open_control(topic) {
            let words = format!("`{topic}`: topics under `$CONTROL` are allowed only without wildcard and placeholder");
            plan.find(Weight::Narrower, row, words);
        }
        if topic.starts_with(['+', '#']) {
            plan.find(Weight::Narrower, row, format!("`{topic}`: topics that begin with `$` were inside this filter"));
        }
        if rw & 4 != 0 && (topic.ends_with('+') || topic.ends_with("+/#")) {
            plan.find(
                Weight::Narrower,
                row,
                format!("`{topic}`: a subscription with `#` in place of `+` was inside this"),
            );
        }
        if topic.contains("%c") {
            let words = format!("`{topic}`: client ids with `/`, `+` or `#` in them stood for more than one level");
            plan.find(Weight::Narrower, row, words);
        }
        let actions: &[&str] = match rw {
            1 => &["receive"],
            2 => &["publish"],
            3 => &["publish", "receive"],
            4 => &["subscribe"],
            5 => &["read"],
            6 => &["publish", "subscribe"],
            _ => &["all"],
        };
        for action in actions {
            match Rule::new(Effect::Allow, action, levels::values_anywhere(topic)) {
                Ok(rule) => {
                    rules.entry(user).or_default().insert(rule);
                }
                Err(fault) => {
                    plan.find(Weight::Mistake, row, format!("`{topic}`: {fault}"));
                    break;
                }
            }
        }
    }
    rules
}

fn superuser(name: &str, row: usize, plan: &mut Plan) {
    let words = format!(
        "user `{name}` may do anything: role `{SUPERUSER}` says so, for topics below `$SYS` as well, and not for others \
         that begin with `$`"
    );
    plan.find(Weight::Narrower, row, words);
    if !plan.roles.iter().any(|role| role.name == SUPERUSER) {
        let all =
            ["#", "$SYS/#"].into_iter().filter_map(|topic| Rule::new(Effect::Allow, "all", topic.to_owned()).ok());
        plan.roles.push(Role { name: SUPERUSER.to_owned(), rules: all.collect() });
    }
}

#[cfg(test)]
mod tests {
    use super::super::go_auth_judge::allows;
    use super::*;
    use crate::policy::decision::Action;

    fn user(name: &str, is_admin: bool) -> User {
        User {
            name: name.to_owned(),
            password_hash: "PBKDF2$sha256$901$x8mf3JIFTUFU9C23$OKKmZ7jxf2fbrY3anHL41+JriCEr5u4Y".to_owned(),
            is_admin,
        }
    }

    fn acl(user: &str, topic: &str, rw: i64) -> Acl {
        Acl { user: user.to_owned(), topic: topic.to_owned(), rw }
    }

    #[test]
    fn numbers_become_actions_and_equal_users_share_a_role() {
        let acls = [
            acl("a", "r", 1),
            acl("a", "w", 2),
            acl("a", "rw", 3),
            acl("a", "s", 4),
            acl("a", "r", 4),
            acl("b", "x/%u", 7),
        ];
        let plan = plan(&[user("a", false), user("b", true), user("c", false)], &acls);
        let rules = |name: &str| {
            let role = plan.roles.iter().find(|role| role.name == name).unwrap();
            role.rules.iter().map(|rule| format!("{} {}", rule.action, rule.topic)).collect::<Vec<_>>()
        };
        assert_eq!(rules("go-auth-a"), ["publish rw", "publish w", "read r", "receive rw", "subscribe s"]);
        assert_eq!(rules("go-auth-b"), ["all x/%u"]);
        assert_eq!(rules(SUPERUSER), ["all #", "all $SYS/#"]);
        let roles: Vec<_> = plan.devices.iter().map(|device| device.roles.join(" ")).collect();
        assert_eq!(roles, ["go-auth-a", "go-auth-b go-auth-superuser", ""]);
        assert!(plan.mistakes().next().is_none());
    }

    #[test]
    fn rows_that_make_no_sense_are_named() {
        let mut plain = user("plain", false);
        plain.password_hash = "in-clear".to_owned();
        let users = [user("a/b", false), plain, user("c", false), user("c", false)];
        let plan = plan(&users, &[acl("c", "x", 9), acl("c", "a/#/b", 1), acl("nobody", "x", 1), acl("c", "y", 0)]);
        let mistakes: Vec<_> = plan.mistakes().map(|finding| finding.line.unwrap()).collect();
        assert_eq!(mistakes, [1, 2, 1, 2, 4]);
        assert_eq!(plan.findings.iter().filter(|it| it.weight == Weight::Note).count(), 2);
        assert!(!format!("{plan:?} {users:?}").contains("in-clear"));
    }

    /// What is asked, with what a row grants, from the plugin's own tests and beyond.
    #[test]
    fn the_evaluator_matches_as_the_plugin_does() {
        let allows = |topic: &str, rw, action, asked: &str| {
            allows(&[user("test", false)], &[acl("test", topic, rw)], "test", "test_client", action, asked)
        };
        for (topic, rw, action, asked, allowed) in [
            ("test/topic/1", 1, Action::Receive, "test/topic/1", true),
            ("test/topic/1", 1, Action::Receive, "test/topic/2", false),
            ("test/topic/1", 1, Action::Publish, "test/topic/1", false),
            ("test/topic/1", 3, Action::Subscribe, "test/topic/1", false),
            ("test/%u", 1, Action::Receive, "test/test", true),
            ("test/%c", 1, Action::Receive, "test/test_client", true),
            ("test/topic/+", 4, Action::Subscribe, "test/topic/#", true),
            ("test/#", 2, Action::Publish, "test", true),
            ("test/#/x", 2, Action::Publish, "test/y/x", false),
            ("test/+", 2, Action::Publish, "test", false),
            ("#", 1, Action::Receive, "$SYS/x", true),
            ("#", 2, Action::Publish, "$SYS/x", false),
        ] {
            assert_eq!(allows(topic, rw, action, asked), allowed, "{topic} {rw} {action} {asked}");
        }
    }
}
