//! What a policy is expected to say, as a TOML file states it, and what it says instead.
//!
//! ```toml
//! [[test]]
//! device = "device-001"
//! action = "publish"
//! topic = "devices/device-001/temperature"
//! expect = "allowed"
//! ```

use serde::Deserialize;
use toml::Spanned;

use crate::policy::decision::{Action, Question, Reason, Verdict};
use crate::policy::device::{CredentialKind, Device, Rights, UnixSeconds};
use crate::policy::explain::{NearMiss, explain};
use crate::policy::snapshot::{Proof, Snapshot};
use crate::policy::topic::{check_filter, check_name, unshared};

/// One expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The line on which it begins, from 1.
    pub line: usize,
    pub device: String,
    pub action: Action,
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    pub client_id: Option<String>,
    /// By which credential it is here; none: any that is good.
    pub credential: Option<(CredentialKind, String)>,
    pub allowed: bool,
    pub reason: Option<String>,
    /// The number of the rule that decides.
    pub rule: Option<i64>,
    /// The role of the rule that decides.
    pub role: Option<String>,
}

/// What is found where something else was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub allowed: bool,
    pub reason: Reason,
    /// The rule that decides, if one does: its number, its role, and its words.
    pub rule: Option<(i64, String, String)>,
    /// What makes it so: rules that nearly match, and why they do not.
    pub why: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    test: Vec<Spanned<toml::Table>>,
}

/// Reads a file. All that is wrong with it is named, each with its line.
pub fn read(text: &str) -> Result<Vec<Expectation>, Vec<String>> {
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            return Err(vec![format!("line {line}: {}", error.message())]);
        }
    };
    let (mut expectations, mut mistakes) = (Vec::new(), Vec::new());
    if file.test.is_empty() {
        mistakes.push("line 1: there is no `[[test]]`".to_owned());
    }
    for entry in file.test {
        let line = line_of(text, entry.span().start);
        match Entry::new(entry.into_inner()).finish(line) {
            Ok(expectation) => expectations.push(expectation),
            Err(wrong) => mistakes.extend(wrong.into_iter().map(|what| format!("line {line}: {what}"))),
        }
    }
    if mistakes.is_empty() { Ok(expectations) } else { Err(mistakes) }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// An entry whose keys are taken one by one; what is left is unknown.
struct Entry {
    table: toml::Table,
    mistakes: Vec<String>,
}

const KEYS: &str = "device, action, topic, qos, retain, client_id, credential, expect, reason, rule and role";

impl Entry {
    fn new(table: toml::Table) -> Self {
        Self { table, mistakes: Vec::new() }
    }

    fn take<T>(&mut self, key: &str, wanted: &str, read: impl FnOnce(&toml::Value) -> Option<T>) -> Option<T> {
        let value = self.table.remove(key)?;
        let read = read(&value);
        if read.is_none() {
            self.mistakes.push(format!("`{key}`: {wanted} is wanted, not `{value}`"));
        }
        read
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.take(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    fn required<T>(&mut self, key: &str, take: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if !self.table.contains_key(key) {
            self.mistakes.push(format!("`{key}` is missing"));
        }
        take(self)
    }

    fn finish(mut self, line: usize) -> Result<Expectation, Vec<String>> {
        let device = self.required("device", |entry| entry.text("device"));
        let action = self.required("action", |entry| {
            entry.take("action", "`publish`, `subscribe` or `receive`", |value| {
                let actions = [Action::Publish, Action::Subscribe, Action::Receive];
                actions.into_iter().find(|action| value.as_str() == Some(action.as_str()))
            })
        });
        let topic = self.required("topic", |entry| entry.text("topic"));
        let allowed = self.required("expect", |entry| {
            entry.take("expect", "`allowed` or `denied`", |value| match value.as_str() {
                Some("allowed") => Some(true),
                Some("denied") => Some(false),
                _ => None,
            })
        });
        let qos = self.take("qos", "0, 1 or 2", |value| {
            value.as_integer().and_then(|qos| u8::try_from(qos).ok()).filter(|qos| *qos <= 2)
        });
        let retain = self.take("retain", "true or false", toml::Value::as_bool);
        let client_id = self.text("client_id");
        let credential = self.take("credential", "`KIND IDENTITY`, such as `psk device-001`,", |value| {
            let (kind, identity) = value.as_str()?.split_once(' ')?;
            Some((CredentialKind::parse(kind)?, identity.to_owned()))
        });
        let reason = self.take("reason", "a reason, such as `no-rule`,", |value| {
            value.as_str().filter(|word| Reason::ALL.iter().any(|reason| reason.as_str() == *word)).map(str::to_owned)
        });
        let rule = self.take("rule", "the number of a rule", toml::Value::as_integer);
        let role = self.text("role");
        for key in self.table.keys() {
            self.mistakes.push(format!("unknown key `{key}`; there are {KEYS}"));
        }
        if let (Some(action), Some(topic)) = (action, &topic)
            && let Err(why) = check(action, topic)
            && reason.as_deref() != Some(Reason::MalformedTopic.as_str())
        {
            self.mistakes.push(format!("`topic`: {why}"));
        }
        match (device, action, topic, allowed) {
            (Some(device), Some(action), Some(topic), Some(allowed)) if self.mistakes.is_empty() => {
                let (qos, retain) = (qos.unwrap_or(0), retain.unwrap_or(false));
                let asked = Expectation {
                    line,
                    device,
                    action,
                    topic,
                    qos,
                    retain,
                    client_id,
                    credential,
                    allowed,
                    reason,
                    rule,
                    role,
                };
                Ok(asked)
            }
            _ => Err(self.mistakes),
        }
    }
}

fn check(action: Action, topic: &str) -> Result<(), String> {
    if action != Action::Subscribe {
        return check_name(topic).map_err(|error| error.to_string());
    }
    let filter = unshared(topic).ok_or("a share is written `$share/group/filter`")?;
    check_filter(filter).map_err(|error| error.to_string())
}

impl Expectation {
    /// What is found, if it is something else.
    #[must_use]
    pub fn unmet(&self, policy: &Snapshot, now: UnixSeconds) -> Option<Finding> {
        let found = self.find(policy, now);
        let (rule, role) = found.rule.as_ref().map_or((None, None), |(id, role, _)| (Some(*id), Some(role)));
        let met = found.allowed == self.allowed
            && self.reason.as_ref().is_none_or(|reason| found.reason.as_str() == reason)
            && (self.rule.is_none() || self.rule == rule)
            && (self.role.is_none() || self.role.as_ref() == role);
        (!met).then_some(found)
    }

    fn find(&self, policy: &Snapshot, now: UnixSeconds) -> Finding {
        let denied = |reason, why: &str| Finding { allowed: false, reason, rule: None, why: vec![why.to_owned()] };
        let Some(device) = policy.device_named(&self.device) else {
            return denied(Reason::UnknownIdentity, "there is no such device");
        };
        let rights = match self.present(policy, device, now) {
            Ok(rights) => rights,
            Err(reason) => return denied(reason, "it may not be here at all"),
        };
        let client_id = self.client_id.as_deref();
        let question = Question { action: self.action, topic: &self.topic, qos: self.qos, retain: self.retain };
        let explanation = explain(policy.roles_of(device, rights), &device.names(client_id), &question);
        let Verdict { allowed, reason, .. } = explanation.verdict;
        let near = |near: &NearMiss<'_>| format!("rule {} of role `{}`: {}", near.rule.id, near.role, near.why);
        Finding {
            allowed,
            reason,
            rule: explanation.deciding.map(|(role, rule)| (rule.id, role.to_owned(), rule.to_string())),
            why: explanation.near.iter().map(near).collect(),
        }
    }

    fn present(&self, policy: &Snapshot, device: &Device, now: UnixSeconds) -> Result<Rights, Reason> {
        let proof = match &self.credential {
            Some((kind, identity)) => {
                if device.credential(*kind, identity).is_none() {
                    return Err(Reason::UnknownIdentity);
                }
                Proof::Identity(*kind, identity)
            }
            None => Proof::UserName(&self.device),
        };
        let admitted = match &self.client_id {
            Some(client_id) => policy.admit(proof, Some(client_id), now),
            None => policy.present(proof, now),
        };
        admitted.map(|present| present.rights).map_err(|refusal| refusal.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::device::{Credential, DeviceStatus, Limit};
    use crate::policy::role::{ClientIdBinding, Role};
    use crate::policy::rule::{Attributes, ClientIdPattern, Rule, RuleTopic};

    fn policy() -> Snapshot {
        let rule = |id, effect: &str, topic: &str| {
            Ok(Rule {
                id,
                effect: effect.parse().unwrap(),
                actions: "publish".parse().unwrap(),
                topic: RuleTopic::parse(topic).unwrap(),
                max_qos: (id == 1).then_some(1),
                retain: None,
            })
        };
        let bound = ClientIdBinding::Pattern(ClientIdPattern::parse("%u*").unwrap());
        let role = Role::compile(1, "sensor", bound, vec![rule(1, "allow", "d/%u/#"), rule(2, "deny", "d/+/x")]);
        let device = |id, name: &str, status| Device {
            id,
            name: name.into(),
            status,
            client_id: ClientIdBinding::Any,
            attributes: Attributes::default(),
            credentials: [Credential {
                kind: CredentialKind::Psk,
                identity: name.into(),
                secret: None,
                revoked: false,
                limits: Limit { not_after: Some(100), ..Limit::default() }.into(),
            }]
            .into(),
            roles: [1].into(),
            unreadable: None,
        };
        let devices = [device(1, "d1", DeviceStatus::Active), device(2, "d2", DeviceStatus::Revoked)];
        Snapshot::default().next(1, devices.map(|device| (device.id, Some(device))), [(1, Some(role))])
    }

    #[track_caller]
    fn one(text: &str) -> Expectation {
        let text = format!("[[test]]\ndevice = 'd1'\naction = 'publish'\n{text}");
        read(&text).unwrap().remove(0)
    }

    #[test]
    fn what_the_policy_says_is_met_and_all_else_is_not() {
        let (policy, d) = (policy(), "topic = 'd/d1/a'\n");
        for met in [
            format!("{d}expect = 'allowed'"),
            format!("{d}expect = 'allowed'\nqos = 1\nreason = 'allowed-by-rule'\nrule = 1\nrole = 'sensor'"),
            format!("{d}expect = 'denied'\nqos = 2\nreason = 'no-rule'"),
            format!("{d}expect = 'allowed'\nclient_id = 'd1-a'\ncredential = 'psk d1'"),
            format!("{d}expect = 'denied'\nclient_id = 'e'\nreason = 'client-id-mismatch'"),
            format!("{d}expect = 'denied'\ncredential = 'psk d2'"),
            "topic = 'd/d1/x'\nexpect = 'denied'\nrule = 2".into(),
            "topic = 'd/+'\nexpect = 'denied'\nreason = 'malformed-topic'".into(),
        ] {
            assert_eq!(one(&met).unmet(&policy, 50), None, "{met}");
        }
        for unmet in [
            format!("{d}expect = 'denied'"),
            format!("{d}expect = 'allowed'\nrule = 2"),
            format!("{d}expect = 'allowed'\nrole = 'other'"),
            format!("{d}expect = 'allowed'\nqos = 2"),
            format!("{d}expect = 'denied'\nqos = 2\nreason = 'denied-by-rule'"),
        ] {
            assert!(one(&unmet).unmet(&policy, 50).is_some(), "{unmet}");
        }
        let ended = one(&format!("{d}expect = 'allowed'")).unmet(&policy, 100).unwrap();
        assert_eq!((ended.allowed, ended.reason), (false, Reason::Expired));
    }

    #[test]
    fn a_credential_to_begin_with_is_judged_by_its_role_alone() {
        let own = policy();
        let topic = RuleTopic::parse("begin/%u").unwrap();
        let (effect, actions) = ("allow".parse().unwrap(), "publish".parse().unwrap());
        let begin = Rule { id: 20, effect, actions, topic, max_qos: None, retain: None };
        let begin = Role::compile(2, "begin", ClientIdBinding::Any, vec![Ok(begin)]);
        let mut device = (**own.device_named("d1").unwrap()).clone();
        let claim = Credential {
            identity: "claim".into(),
            limits: Limit { role: Some(2), ..Limit::clone(&device.credentials[0].limits) }.into(),
            ..device.credentials[0].clone()
        };
        device.credentials = device.credentials.iter().cloned().chain([claim]).collect();
        let policy = own.next(2, [(1, Some(device))], [(2, Some(begin))]);
        for (credential, topic, expect) in [
            ("psk claim", "begin/d1", "allowed"),
            ("psk claim", "d/d1/a", "denied"),
            ("psk d1", "d/d1/a", "allowed"),
            ("psk d1", "begin/d1", "denied"),
        ] {
            let text = format!("credential = '{credential}'\ntopic = '{topic}'\nexpect = '{expect}'");
            assert_eq!(one(&text).unmet(&policy, 50), None, "{text}");
        }
    }

    #[test]
    fn who_may_not_be_here_may_do_nothing() {
        let of = |device: &str| {
            let text =
                format!("[[test]]\ndevice = '{device}'\naction = 'publish'\ntopic = 'd/d2/a'\nexpect = 'allowed'");
            read(&text).unwrap().remove(0).unmet(&policy(), 50).unwrap().reason
        };
        assert_eq!((of("d2"), of("d3")), (Reason::DeviceRevoked, Reason::UnknownIdentity));
    }

    #[test]
    fn all_that_is_wrong_is_named_with_its_line() {
        let text = "\n[[test]]\ndevice = 1\naction = 'read'\ntopic = 'a/+'\nexpect = 'yes'\nqos = 3\nwhy = 'x'\n\n\
                    [[test]]\ntopic = 'a'\naction = 'subscribe'\nreason = 'none'\n\n\
                    [[test]]\ndevice = 'd'\naction = 'publish'\ntopic = '#'\nexpect = 'denied'\n";
        let mistakes = read(text).unwrap_err();
        for (line, what) in [
            (2, "`device`: a text"),
            (2, "`action`: `publish`"),
            (2, "`expect`: `allowed`"),
            (2, "`qos`: 0, 1 or 2"),
            (2, "unknown key `why`"),
            (10, "`device` is missing"),
            (10, "`expect` is missing"),
            (10, "`reason`: a reason"),
            (15, "`topic`: a topic name cannot hold"),
        ] {
            let starts = |mistake: &String| mistake.starts_with(&format!("line {line}: {what}"));
            assert!(mistakes.iter().any(starts), "{line} {what}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 9);
        assert!(
            read("").is_err() && read("x = 1").is_err() && read("[[test]]\n=").unwrap_err()[0].starts_with("line 2")
        );
    }
}
