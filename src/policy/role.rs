//! A role: rules in the shape in which they are asked, and the verdict of several roles together.

use super::decision::{Question, Reason, RuleId, Verdict};
use super::rule::{ClientIdPattern, Names, Rule};
use super::trie::{Asked, Trie, Walk};

/// A rule as it comes from where it is written down.
pub type RuleRow = Result<Rule, UnreadableRule>;

/// A rule that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRule {
    pub id: RuleId,
    /// Whether it is a deny, or cannot be told from one.
    pub may_deny: bool,
    /// What is wrong with it.
    pub why: Box<str>,
}

/// Which client ids a device may use, or a role is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientIdBinding {
    Any,
    Pattern(ClientIdPattern),
    /// The pattern makes no sense, so it is for nobody.
    Unreadable,
}

impl ClientIdBinding {
    /// Whether a client with this id is among them. One that has none is admitted only where any is.
    #[must_use]
    pub fn admits(&self, client_id: Option<&str>, names: &Names<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Pattern(pattern) => client_id.is_some_and(|client_id| pattern.matches(client_id, names)),
            Self::Unreadable => false,
        }
    }
}

/// A named set of rules.
#[derive(Debug, Clone)]
pub struct Role {
    id: i64,
    name: Box<str>,
    client_id: ClientIdBinding,
    rules: Box<[Rule]>,
    unreadable: Box<[UnreadableRule]>,
    trie: Trie,
}

impl Role {
    /// Takes the rules of a role. The order of the rules means nothing.
    ///
    /// An unreadable rule allows nothing; if it may be a deny, the role denies everything until it is mended.
    pub fn compile(id: i64, name: &str, client_id: ClientIdBinding, rows: Vec<RuleRow>) -> Self {
        let (mut rules, mut unreadable) = (Vec::new(), Vec::new());
        for row in rows {
            match row {
                Ok(rule) => rules.push(rule),
                Err(rule) => unreadable.push(rule),
            }
        }
        let trie = Trie::new(&rules);
        Self { id, name: name.into(), client_id, rules: rules.into(), unreadable: unreadable.into(), trie }
    }

    /// The number of the role's row in the database.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The role's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which client ids this role is for.
    pub fn client_id(&self) -> &ClientIdBinding {
        &self.client_id
    }

    /// The rules that could be read.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that could not.
    pub fn unreadable(&self) -> &[UnreadableRule] {
        &self.unreadable
    }

    /// The unreadable rule for which this role denies everything.
    fn blocked_by(&self) -> Option<RuleId> {
        self.unreadable.iter().find(|rule| rule.may_deny).map(|rule| rule.id)
    }
}

/// What these roles together say to a question: any deny wins, and what nobody allows is denied.
///
/// A subscription is allowed where the allow rules of all roles together match every topic of its filter, and denied
/// where the deny rules do. A deny that matches only some of the topics stops the deliveries, not the subscription.
pub fn judge<'r>(roles: impl Iterator<Item = &'r Role>, names: &Names<'_>, question: &Question<'_>) -> Verdict {
    let Some(asked) = Asked::new(question) else { return Verdict::deny(Reason::MalformedTopic) };
    let mut walk = Walk::new(question, asked, names);
    for role in roles {
        if let Some(rule) = role.blocked_by() {
            return Verdict::deny_by(Reason::UnreadableRule, rule);
        }
        walk.through(&role.trie);
        if let Some(rule) = walk.denied() {
            return Verdict::deny_by(Reason::DeniedByRule, rule);
        }
    }
    walk.allowed().map_or(Verdict::deny(Reason::NoRule), Verdict::allow)
}

#[cfg(test)]
mod tests;
