//! Roles, rules and who has which roles, as a file that people keep under version control.
//!
//! ```toml
//! [[role]]
//! name = "sensor"
//! client_id = "%u*"
//! rules = [
//!     { allow = "publish", topic = "devices/%u/#", max_qos = 1 },
//!     { deny = "read", topic = "devices/+/secret" },
//! ]
//!
//! [devices]
//! "device-001" = ["sensor"]
//! ```
//!
//! What is written here is in one order only, so that equal policies are equal texts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::policy::rule::{Actions, ClientIdPattern, Effect, Rule, RuleTopic};

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFile {
    pub roles: BTreeMap<String, RoleText>,
    /// The roles of devices, where the file says anything of them.
    pub devices: Option<BTreeMap<String, BTreeSet<String>>>,
}

/// A role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleText {
    pub client_id: Option<String>,
    pub rules: BTreeSet<RuleText>,
}

/// A rule, known to be one. `write` is `publish`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleText {
    pub topic: String,
    pub effect: Effect,
    pub action: &'static str,
    pub max_qos: Option<u8>,
    pub retain: Option<bool>,
}

impl RuleText {
    /// From words, as the database has them.
    pub fn new(
        effect: &str,
        action: &str,
        topic: &str,
        max_qos: Option<i64>,
        retain: Option<bool>,
    ) -> Result<Self, String> {
        let effect: Effect = effect.parse().map_err(|error| format!("{error}"))?;
        let action = action.parse::<Actions>().map_err(|error| error.to_string())?.as_str();
        RuleTopic::parse(topic).map_err(|error| error.to_string())?;
        let max_qos = match max_qos {
            None => None,
            Some(_) if effect == Effect::Deny => return Err("`max_qos` belongs to allow rules".to_owned()),
            Some(qos) => Some(u8::try_from(qos).ok().filter(|qos| *qos <= 2).ok_or("`max_qos` is 0, 1 or 2")?),
        };
        Ok(Self { topic: topic.to_owned(), effect, action, max_qos, retain })
    }

    /// As the engine takes it.
    pub fn rule(&self, id: i64) -> Result<Rule, String> {
        Ok(Rule {
            id,
            effect: self.effect,
            actions: self.action.parse().map_err(|error| format!("{error}"))?,
            topic: RuleTopic::parse(&self.topic).map_err(|error| error.to_string())?,
            max_qos: self.max_qos,
            retain: self.retain,
        })
    }
}

impl fmt::Display for RuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.effect, self.action, self.topic)?;
        self.max_qos.map_or(Ok(()), |qos| write!(f, " --max-qos {qos}"))?;
        self.retain.map_or(Ok(()), |retain| write!(f, " --retain {retain}"))
    }
}

impl fmt::Display for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# Roles and their rules: `warden export` writes this file, `warden apply` puts it in force.\n")?;
        for (name, role) in &self.roles {
            write!(f, "\n[[role]]\nname = {}\n", quoted(name))?;
            if let Some(client_id) = &role.client_id {
                writeln!(f, "client_id = {}", quoted(client_id))?;
            }
            if role.rules.is_empty() {
                f.write_str("rules = []\n")?;
                continue;
            }
            f.write_str("rules = [\n")?;
            for rule in &role.rules {
                write!(f, "    {{ {} = \"{}\", topic = {}", rule.effect, rule.action, quoted(&rule.topic))?;
                rule.max_qos.map_or(Ok(()), |qos| write!(f, ", max_qos = {qos}"))?;
                rule.retain.map_or(Ok(()), |retain| write!(f, ", retain = {retain}"))?;
                f.write_str(" },\n")?;
            }
            f.write_str("]\n")?;
        }
        let Some(devices) = &self.devices else { return Ok(()) };
        f.write_str("\n[devices]\n")?;
        for (device, roles) in devices {
            let roles: Vec<String> = roles.iter().map(|role| quoted(role)).collect();
            writeln!(f, "{} = [{}]", quoted(device), roles.join(", "))?;
        }
        Ok(())
    }
}

/// A text as TOML's basic strings have it. They are JSON's, but for one control character; the ways in which libraries
/// write longer texts do not do for keys.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// Reads a file. All that is wrong with it is named, each with its line.
pub fn read(text: &str) -> Result<PolicyFile, Vec<String>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, mistakes: Vec::new() };
    for error in errors {
        reader.mistake(error.span().map_or(0, |span| span.start), error.message());
    }
    let mut file = PolicyFile::default();
    // What does not even read as TOML would be told a second time.
    if reader.mistakes.is_empty() {
        for (key, value) in table.get_ref() {
            match &**key.get_ref() {
                "role" => reader.roles(value, &mut file),
                "devices" => file.devices = Some(reader.devices(value)),
                other => {
                    reader.mistake(
                        key.span().start,
                        &format!("unknown key `{other}`; there are `[[role]]` and `[devices]`"),
                    );
                }
            }
        }
        reader.known_roles(&table, &file);
    }
    if reader.mistakes.is_empty() {
        return Ok(file);
    }
    reader.mistakes.sort_by_key(|(line, _)| *line);
    Err(reader.mistakes.into_iter().map(|(line, what)| format!("line {line}: {what}")).collect())
}

type Value<'i> = Spanned<DeValue<'i>>;

struct Reader<'t> {
    text: &'t str,
    mistakes: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn mistake(&mut self, at: usize, what: &str) {
        let line = self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        self.mistakes.push((line, what.to_owned()));
    }

    /// Takes a value as something, or says what is wanted instead.
    fn wanted<'v, 'i, T>(
        &mut self,
        value: &'v Value<'i>,
        what: &str,
        take: impl FnOnce(&'v DeValue<'i>) -> Option<T>,
    ) -> Option<T> {
        let taken = take(value.get_ref());
        if taken.is_none() {
            self.mistake(value.span().start, &format!("{what} is wanted here, not a {}", value.get_ref().type_str()));
        }
        taken
    }

    fn string(&mut self, value: &Value<'_>) -> Option<String> {
        self.wanted(value, "a text", |value| value.as_str().map(str::to_owned))
    }

    fn roles(&mut self, value: &Value<'_>, file: &mut PolicyFile) {
        let Some(entries) = self.wanted(value, "`[[role]]`", DeValue::as_array) else { return };
        for entry in entries {
            let Some(table) = self.wanted(entry, "a table", DeValue::as_table) else { continue };
            let (mut name, mut role) = (None, RoleText::default());
            for (key, value) in table {
                match &**key.get_ref() {
                    "name" => name = self.string(value),
                    "client_id" => role.client_id = self.client_id(value),
                    "rules" => role.rules = self.rules(value),
                    other => {
                        let what = format!("unknown key `{other}`; a role has name, client_id and rules");
                        self.mistake(key.span().start, &what);
                    }
                }
            }
            let at = entry.span().start;
            match name {
                None if table.contains_key("name") => {}
                None => self.mistake(at, "the role has no `name`"),
                Some(name) if name.is_empty() || name.chars().count() > 255 => {
                    self.mistake(at, "the name of a role has 1 to 255 characters");
                }
                Some(name) if file.roles.contains_key(&name) => {
                    self.mistake(at, &format!("there are two roles `{name}`"));
                }
                Some(name) => {
                    file.roles.insert(name, role);
                }
            }
        }
    }

    fn client_id(&mut self, value: &Value<'_>) -> Option<String> {
        let text = self.string(value)?;
        if let Err(error) = ClientIdPattern::parse(&text) {
            self.mistake(value.span().start, &error.to_string());
        } else if text.chars().count() > 1024 {
            self.mistake(value.span().start, "a client id pattern has at most 1024 characters");
        }
        Some(text)
    }

    fn rules(&mut self, value: &Value<'_>) -> BTreeSet<RuleText> {
        let mut rules = BTreeSet::new();
        for entry in self.wanted(value, "a list of rules", DeValue::as_array).into_iter().flatten() {
            if let Some(rule) = self.rule(entry)
                && let Some(twice) = rules.replace(rule)
            {
                self.mistake(entry.span().start, &format!("the rule `{twice}` is there twice"));
            }
        }
        rules
    }

    fn rule(&mut self, entry: &Value<'_>) -> Option<RuleText> {
        let at = entry.span().start;
        let table =
            self.wanted(entry, "a rule, such as `{ allow = \"publish\", topic = \"a\" }`,", DeValue::as_table)?;
        let before = self.mistakes.len();
        let (mut action, mut topic, mut max_qos, mut retain) = (None, None, None, None);
        for (key, value) in table {
            match &**key.get_ref() {
                effect @ ("allow" | "deny") => {
                    let word = self.string(value);
                    if action.replace((effect, word)).is_some() {
                        self.mistake(at, "a rule has `allow` or `deny`, not both");
                    }
                }
                "topic" => topic = self.string(value),
                "max_qos" => {
                    max_qos = self.wanted(value, "0, 1 or 2", |value| value.as_integer()?.as_str().parse::<i64>().ok());
                }
                "retain" => retain = self.wanted(value, "true or false", DeValue::as_bool),
                other => {
                    let what = format!("unknown key `{other}`; a rule has allow or deny, topic, max_qos and retain");
                    self.mistake(key.span().start, &what);
                }
            }
        }
        if self.mistakes.len() > before {
            return None;
        }
        match (action, topic) {
            (Some((effect, Some(action))), Some(topic)) => {
                RuleText::new(effect, &action, &topic, max_qos, retain).map_err(|why| self.mistake(at, &why)).ok()
            }
            (action, topic) => {
                if action.is_none() {
                    self.mistake(at, "the rule has neither `allow` nor `deny`");
                }
                if topic.is_none() {
                    self.mistake(at, "the rule has no `topic`");
                }
                None
            }
        }
    }

    fn devices(&mut self, value: &Value<'_>) -> BTreeMap<String, BTreeSet<String>> {
        let mut devices = BTreeMap::new();
        for (device, value) in self.wanted(value, "a table", DeValue::as_table).into_iter().flatten() {
            let mut roles = BTreeSet::new();
            for role in self.wanted(value, "a list of roles", DeValue::as_array).into_iter().flatten() {
                if let Some(name) = self.string(role)
                    && !roles.insert(name)
                {
                    self.mistake(role.span().start, "the role is there twice");
                }
            }
            devices.insert(device.get_ref().to_string(), roles);
        }
        devices
    }

    /// Roles that devices are to have must be there.
    fn known_roles(&mut self, table: &Spanned<DeTable<'_>>, file: &PolicyFile) {
        let devices = table.get_ref().get("devices").and_then(|devices| devices.get_ref().as_table());
        for (device, roles) in devices.into_iter().flatten() {
            for role in roles.get_ref().as_array().into_iter().flatten() {
                if let Some(name) = role.get_ref().as_str().filter(|name| !file.roles.contains_key(*name)) {
                    let what =
                        format!("device `{}` is to have the role `{name}`, which is not in the file", device.get_ref());
                    self.mistake(role.span().start, &what);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, btree_set};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_reads_as_it_is_written() {
        let text = "# Roles and their rules: `warden export` writes this file, `warden apply` puts it in force.\n\n\
                    [[role]]\nname = \"empty\"\nrules = []\n\n\
                    [[role]]\nname = \"sensor\"\nclient_id = \"%u*\"\nrules = [\n    \
                    { deny = \"all\", topic = \"a/#\" },\n    \
                    { allow = \"publish\", topic = \"devices/%u/#\", max_qos = 1, retain = true },\n]\n\n\
                    [devices]\n\"d 1\" = [\"empty\", \"sensor\"]\n\"d2\" = []\n";
        assert_eq!(read(text).unwrap().to_string(), text);
    }

    #[test]
    fn all_that_is_wrong_is_named_with_its_line() {
        let text = "colour = 1\n[[role]]\nclient_id = '%x'\nrules = [\n{ allow = 'publish' },\n{ topic = 'a' },\n\
                    { allow = 'shout', topic = 'a' },\n{ deny = 'all', topic = 'a', max_qos = 1 },\n\
                    { allow = 'all', topic = '#/a' },\n{ allow = 'all', topic = 'a', size = 1 },\n7,\n\
                    { allow = 'all', deny = 'all', topic = 'a' },\n]\n[[role]]\nname = 'r'\n[[role]]\nname = 'r'\nrules = 1\n\
                    [devices]\nd = ['gone', 1]\ne = 'r'\n";
        let mistakes = read(text).unwrap_err();
        for (line, what) in [
            (1, "unknown key `colour`"),
            (2, "the role has no `name`"),
            (3, "unknown placeholder"),
            (5, "the rule has no `topic`"),
            (6, "the rule has neither"),
            (7, "unknown action `shout`"),
            (8, "`max_qos` belongs"),
            (9, "`#` must be the last"),
            (10, "unknown key `size`"),
            (11, "a rule, such as"),
            (12, "a rule has `allow` or `deny`"),
            (16, "there are two roles `r`"),
            (18, "a list of rules is wanted"),
            (20, "device `d` is to have the role `gone`"),
            (20, "a text is wanted"),
            (21, "a list of roles is wanted"),
        ] {
            let starts = |mistake: &String| mistake.starts_with(&format!("line {line}: {what}"));
            assert!(mistakes.iter().any(starts), "{line} {what}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 16, "{mistakes:#?}");
        assert!(read("[[role]\nname = \n").unwrap_err()[0].starts_with("line 1: "));
        assert_eq!(read(""), Ok(PolicyFile::default()));
    }

    fn rules() -> impl Strategy<Value = BTreeSet<RuleText>> {
        let topic = proptest::sample::select(vec!["a", "a/+", "%u/#", "\"q\"/é", "a\\b", "%{s}/'", "\u{7f}\n"]);
        let action = proptest::sample::select(vec!["publish", "subscribe", "receive", "read", "all"]);
        let rule = (topic, action, any::<bool>(), option::of(0..3i64), option::of(any::<bool>()));
        let rule = rule.prop_map(|(topic, action, deny, qos, retain)| {
            let (effect, qos) = if deny { ("deny", None) } else { ("allow", qos) };
            RuleText::new(effect, action, topic, qos, retain).unwrap()
        });
        btree_set(rule, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            roles in btree_map("[a-z\"\\\\\n é]{1,6}", (option::of("[a-z%u*]{0,3}a"), rules()), 0..4),
            names in btree_set("\\PC{1,8}", 0..4),
            said in any::<bool>(),
        ) {
            let usable = |pattern: &String| ClientIdPattern::parse(pattern).is_ok();
            let roles: BTreeMap<String, RoleText> = roles
                .into_iter()
                .map(|(name, (client_id, rules))| (name, RoleText { client_id: client_id.filter(usable), rules }))
                .collect();
            let all: BTreeSet<String> = roles.keys().cloned().collect();
            let devices = said.then(|| names.into_iter().map(|name| (name, all.clone())).collect());
            let file = PolicyFile { roles, devices };
            prop_assert_eq!(read(&file.to_string()), Ok(file));
        }
    }
}
