//! What is found in single rules, and in rules that stand beside each other.

use super::{
    ALLOW_DENIED, ALLOWS_CONTROL, ALLOWS_EVERYTHING, ALLOWS_OTHER_DEVICES, ALLOWS_SYS, ATTRIBUTE_SOME_LACK,
    BEGINS_WITH_WILDCARD, CLIENT_ID_UNUSABLE, CONDITION_IGNORED, COVERED_RULE, DENY_MISSES_DOLLAR, DENY_WITHOUT_ALLOW,
    DENY_WITHOUT_VALUE, DUPLICATE_RULE, Fleet, NEVER_MATCHES, NO_ATTRIBUTE, RECEIVE_WITHOUT_SUBSCRIBE,
    SUBSCRIBE_WITHOUT_RECEIVE, UNREADABLE_RULE, some, words,
};
use crate::audit::finding::{Finding, Kind};
use crate::policy::decision::Action;
use crate::policy::device::Device;
use crate::policy::role::{ClientIdBinding, Role};
use crate::policy::rule::{Actions, Effect, Placeholder, Rule};

/// Levels behind which a name of a device is usual.
const COLLECTIONS: [&str; 16] = [
    "client", "clients", "dev", "device", "devices", "gateway", "gateways", "meter", "meters", "node", "nodes",
    "sensor", "sensors", "thing", "things", "users",
];

pub(super) fn look(fleet: &Fleet<'_>, role: &Role, findings: &mut Vec<Finding>) {
    for broken in role.unreadable() {
        let effect = if broken.may_deny { "the role denies everything" } else { "it allows nothing" };
        findings.push(Finding {
            kind: UNREADABLE_RULE,
            place: place(role, broken.id),
            what: format!("{}; {effect}", broken.why),
            remedy: format!("remove it with `warden rule remove {}`, and add what was meant", broken.id),
        });
    }
    let beside = fleet.beside(role);
    for (index, rule) in role.rules().iter().enumerate() {
        let mut tell = |kind: Kind, what: String, remedy: &str| {
            findings.push(Finding { kind, place: place(role, rule.id), what, remedy: remedy.to_owned() });
        };
        match rule.effect {
            Effect::Allow => {
                look_at_breadth(fleet, rule, &mut tell);
                look_at_reading(rule, &beside, &mut tell);
            }
            Effect::Deny => look_at_deny(rule, &beside, &mut tell),
        }
        look_at_conditions(rule, &mut tell);
        look_at_placeholders(role, rule, fleet.holders(role), &mut tell);
        look_at_others(role, index, rule, &beside, &mut tell);
    }
}

fn place(role: &Role, rule: i64) -> String {
    format!("role {}, rule {rule}", role.name())
}

/// More than one device needs.
fn look_at_breadth(fleet: &Fleet<'_>, rule: &Rule, tell: &mut impl FnMut(Kind, String, &str)) {
    let topic = rule.topic.as_str();
    let publishes = rule.actions.contains(Action::Publish);
    let levels: Vec<&str> = topic.split('/').collect();
    let first = levels.first().copied().unwrap_or_default();
    if topic == "#" {
        let remedy = "name the topics that are needed; `%u` stands for the name of the device";
        return tell(ALLOWS_EVERYTHING, format!("{} is for every topic of every device", words(rule)), remedy);
    }
    if first == "$CONTROL" {
        if rule.is_idle() {
            let what =
                format!("{} never matches: `$CONTROL` takes a rule without wildcards and placeholders", words(rule));
            return tell(NEVER_MATCHES, what, "remove it, or name the topic in full");
        }
        let remedy = "remove it unless these devices administer the broker; then allow the code for this role";
        return tell(ALLOWS_CONTROL, format!("{} lets devices command the broker", words(rule)), remedy);
    }
    if first == "$SYS" {
        if rule.actions == Actions::PUBLISH {
            let what = format!("{} never matches: the broker denies every publish to `$SYS`", words(rule));
            return tell(NEVER_MATCHES, what, "remove it");
        }
        let remedy = "keep it for those who watch the broker; devices need none of it";
        return tell(
            ALLOWS_SYS,
            format!("{} shows how the broker is doing, its clients' number among it", words(rule)),
            remedy,
        );
    }
    if first == "+" {
        let what = format!("{} is for topics of every kind, and not for those that begin with `$`", words(rule));
        return tell(BEGINS_WITH_WILDCARD, what, "name the first level");
    }
    for (at, level) in levels.iter().enumerate().skip(1) {
        let before = levels.get(..at).unwrap_or_default();
        let named_elsewhere = fleet.before_names.contains(&before.join("/"));
        let usual = before.last().is_some_and(|level| COLLECTIONS.contains(&level.to_ascii_lowercase().as_str()));
        if matches!(*level, "+" | "#") && (named_elsewhere || usual) {
            let whose = if publishes { "devices speak for each other" } else { "devices read what others get" };
            let what = format!("{} has `{level}` where a device's name stands: {whose}", words(rule));
            let remedy = "put `%u` there; where a service needs it, allow the code for its role";
            return tell(ALLOWS_OTHER_DEVICES, what, remedy);
        }
    }
}

/// A subscription and its deliveries are two rights.
fn look_at_reading(rule: &Rule, beside: &[Vec<(&Role, &Rule)>], tell: &mut impl FnMut(Kind, String, &str)) {
    let somewhere = |action: Action| {
        let helps =
            |other: &Rule| other.effect == Effect::Allow && other.actions.contains(action) && other.may_meet(rule);
        beside.iter().any(|rules| rules.iter().any(|(_, other)| helps(other)))
    };
    let (subscribes, receives) = (rule.actions.contains(Action::Subscribe), rule.actions.contains(Action::Receive));
    if subscribes && !receives && !somewhere(Action::Receive) {
        let what = format!("{} admits a subscription whose messages no rule lets through", words(rule));
        tell(SUBSCRIBE_WITHOUT_RECEIVE, what, "make it `read`, which is subscribe and receive");
    }
    if receives && !subscribes && !somewhere(Action::Subscribe) {
        let what = format!("{} lets messages through to which no rule admits a subscription", words(rule));
        tell(RECEIVE_WITHOUT_SUBSCRIBE, what, "make it `read`, or remove it");
    }
}

fn look_at_deny(rule: &Rule, beside: &[Vec<(&Role, &Rule)>], tell: &mut impl FnMut(Kind, String, &str)) {
    let shares = |other: &Rule| {
        [Action::Publish, Action::Subscribe, Action::Receive]
            .iter()
            .any(|action| rule.actions.contains(*action) && other.actions.contains(*action))
    };
    let allows = || beside.iter().flatten().filter(|(_, other)| other.effect == Effect::Allow && shares(other));
    let first = rule.topic.as_str().split('/').next().unwrap_or_default();
    if matches!(first, "+" | "#")
        && let Some((role, allow)) = allows().find(|(_, other)| other.topic.as_str().starts_with('$'))
    {
        let what = format!("{} does not deny {} of role `{}`", words(rule), words(allow), role.name());
        tell(DENY_MISSES_DOLLAR, what, "add a deny that begins with that level, or remove the allow");
    }
    if !allows().any(|(_, other)| other.may_meet(rule)) {
        let what = format!("{} takes away what no rule allows: everything is denied already", words(rule));
        tell(DENY_WITHOUT_ALLOW, what, "remove it, unless it is to stand against rules to come");
    }
}

fn look_at_conditions(rule: &Rule, tell: &mut impl FnMut(Kind, String, &str)) {
    if rule.retain.is_some() && !rule.actions.contains(Action::Publish) {
        let what = format!("{} has a condition on retained messages, which is asked of a publish only", words(rule));
        tell(CONDITION_IGNORED, what, "leave out the condition");
    }
    if rule.max_qos.is_some() && rule.actions == Actions::RECEIVE {
        let what = format!("{} has a highest QoS, which is not asked of a delivery", words(rule));
        tell(CONDITION_IGNORED, what, "leave out the condition, or put it on the rule for `subscribe`");
    }
}

fn look_at_placeholders(role: &Role, rule: &Rule, holders: &[&Device], tell: &mut impl FnMut(Kind, String, &str)) {
    for placeholder in rule.topic.placeholders() {
        match placeholder {
            Placeholder::Device => {}
            Placeholder::ClientId => {
                if let ClientIdBinding::Pattern(pattern) = role.client_id()
                    && pattern.as_str().contains(['/', '+', '#'])
                {
                    let effect = if rule.effect == Effect::Deny { "denies any text there" } else { "never matches" };
                    let what = format!("{} {effect}: client ids like `{pattern}` cannot stand in a level", words(rule));
                    tell(CLIENT_ID_UNUSABLE, what, "use `%u`, or a pattern without `/`, `+` and `#`");
                }
            }
            Placeholder::Attribute(name) => {
                let lacks = |device: &&&Device| {
                    let usable = |value: &str| !value.is_empty() && !value.contains(['/', '+', '#', '\0']);
                    !device.attributes.get(name).is_some_and(usable)
                };
                let lacking: Vec<&Device> = holders.iter().filter(lacks).copied().collect();
                if lacking.is_empty() {
                    continue;
                }
                let rule_words = words(rule);
                let who = some(&lacking);
                let remedy =
                    format!("`warden device set DEVICE --attribute {name}=VALUE`; `/`, `+` and `#` cannot be in it");
                match rule.effect {
                    Effect::Deny => {
                        let what = format!(
                            "{rule_words} denies any text in the place of `{placeholder}`, which {who} cannot fill"
                        );
                        tell(DENY_WITHOUT_VALUE, what, &remedy);
                    }
                    Effect::Allow if lacking.len() == holders.len() => {
                        let what =
                            format!("{rule_words} never matches: no device with the role has the attribute `{name}`");
                        tell(NO_ATTRIBUTE, what, &remedy);
                    }
                    Effect::Allow => {
                        tell(
                            ATTRIBUTE_SOME_LACK,
                            format!("{rule_words} allows nothing to {who}, without `{name}`"),
                            &remedy,
                        );
                    }
                }
            }
        }
    }
}

/// Rules that another one makes idle. Of two that are the same, the later is told.
fn look_at_others(
    role: &Role,
    index: usize,
    rule: &Rule,
    beside: &[Vec<(&Role, &Rule)>],
    tell: &mut impl FnMut(Kind, String, &str),
) {
    let denied_by = |rules: &Vec<(&Role, &Rule)>| {
        rules.iter().find(|(_, other)| other.effect == Effect::Deny && other.covers(rule)).map(|(_, deny)| deny.id)
    };
    if rule.effect == Effect::Allow
        && let Some(deny) = beside.iter().map(denied_by).reduce(|one, next| next.and(one)).flatten()
    {
        let what = format!("{} allows nothing: rule {deny} denies all of it", words(rule));
        return tell(ALLOW_DENIED, what, "remove one of the two");
    }
    for (other_index, other) in role.rules().iter().enumerate() {
        if other_index == index || other.effect != rule.effect || !other.covers(rule) {
            continue;
        }
        let same = rule.covers(other);
        if same && other_index > index {
            continue;
        }
        let remedy = format!("`warden rule remove {}`", rule.id);
        if same {
            return tell(DUPLICATE_RULE, format!("{} says the same as rule {}", words(rule), other.id), &remedy);
        }
        let what = format!("{} adds nothing to rule {}, {}", words(rule), other.id, words(other));
        return tell(COVERED_RULE, what, &remedy);
    }
}
