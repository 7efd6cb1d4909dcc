//! What a cache holds, record by record: policy values as texts and numbers, and back.
//!
//! Rules and patterns are written as somebody typed them and read as if somebody typed them again, so that nothing
//! becomes a policy value here that could not have come from a row.

use serde::{Deserialize, Serialize};

use crate::policy::certificate::CertificateId;
use crate::policy::device::{Credential, CredentialKind, Device, DeviceStatus, Limit};
use crate::policy::role::{ClientIdBinding, Role, UnreadableRule};
use crate::policy::rule::{ClientIdPattern, Rule, RuleTopic};

/// One row of the policy. In this order of kinds they are numbered in the file: new ones come last.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    #[serde(borrow)]
    Role(RoleRecord<'a>),
    Device(DeviceRecord<'a>),
    /// A row of revoked certificates.
    Certificate(i64, [u8; 16]),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DeviceRecord<'a> {
    id: i64,
    name: &'a str,
    #[serde(with = "Status")]
    status: DeviceStatus,
    client_id: ClientId<'a>,
    attributes: Vec<(&'a str, &'a str)>,
    credentials: Vec<CredentialRecord<'a>>,
    roles: Vec<i64>,
    unreadable: Option<&'a str>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct CredentialRecord<'a> {
    kind: &'a str,
    identity: &'a str,
    secret: Option<&'a str>,
    issuer: Option<&'a str>,
    role: Option<i64>,
    revoked: bool,
    not_before: Option<i64>,
    not_after: Option<i64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RoleRecord<'a> {
    id: i64,
    name: &'a str,
    client_id: ClientId<'a>,
    rules: Vec<RuleRecord<'a>>,
    unreadable: Vec<(i64, bool, &'a str)>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct RuleRecord<'a> {
    id: i64,
    effect: &'a str,
    actions: &'a str,
    topic: &'a str,
    max_qos: Option<u8>,
    retain: Option<bool>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum ClientId<'a> {
    Any,
    Pattern(&'a str),
    Unreadable,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "DeviceStatus")]
enum Status {
    Active,
    Suspended,
    Revoked,
}

/// A record that no release writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is a record in it that makes no sense: {0}")]
pub struct Nonsense(pub(super) &'static str);

impl<'a> From<&'a Device> for Record<'a> {
    fn from(device: &'a Device) -> Self {
        let credential = |it: &'a Credential| CredentialRecord {
            kind: it.kind.as_str(),
            identity: &it.identity,
            secret: it.secret.as_deref(),
            issuer: it.limits.issuer.as_deref(),
            role: it.limits.role,
            revoked: it.revoked,
            not_before: it.limits.not_before,
            not_after: it.limits.not_after,
        };
        Self::Device(DeviceRecord {
            id: device.id,
            name: &device.name,
            status: device.status,
            client_id: (&device.client_id).into(),
            attributes: device.attributes.iter().collect(),
            credentials: device.credentials.iter().map(credential).collect(),
            roles: device.roles.to_vec(),
            unreadable: device.unreadable.as_deref(),
        })
    }
}

impl TryFrom<DeviceRecord<'_>> for Device {
    type Error = Nonsense;

    fn try_from(record: DeviceRecord<'_>) -> Result<Self, Nonsense> {
        let credential = |it: CredentialRecord<'_>| {
            let limit = Limit {
                issuer: it.issuer.map(Into::into),
                role: it.role,
                not_before: it.not_before,
                not_after: it.not_after,
            };
            Ok(Credential {
                kind: CredentialKind::parse(it.kind).ok_or(Nonsense("a credential of an unknown kind"))?,
                identity: it.identity.into(),
                secret: it.secret.map(Into::into),
                revoked: it.revoked,
                limits: limit.into(),
            })
        };
        Ok(Self {
            id: record.id,
            name: record.name.into(),
            status: record.status,
            client_id: record.client_id.try_into()?,
            attributes: record.attributes.into_iter().collect(),
            credentials: record.credentials.into_iter().map(credential).collect::<Result<_, _>>()?,
            roles: record.roles.into(),
            unreadable: record.unreadable.map(Into::into),
        })
    }
}

impl<'a> From<&'a Role> for Record<'a> {
    fn from(role: &'a Role) -> Self {
        let rule = |it: &'a Rule| RuleRecord {
            id: it.id,
            effect: it.effect.as_str(),
            actions: it.actions.as_str(),
            topic: it.topic.as_str(),
            max_qos: it.max_qos,
            retain: it.retain,
        };
        Self::Role(RoleRecord {
            id: role.id(),
            name: role.name(),
            client_id: role.client_id().into(),
            rules: role.rules().iter().map(rule).collect(),
            unreadable: role.unreadable().iter().map(|it| (it.id, it.may_deny, &*it.why)).collect(),
        })
    }
}

impl TryFrom<RoleRecord<'_>> for Role {
    type Error = Nonsense;

    fn try_from(record: RoleRecord<'_>) -> Result<Self, Nonsense> {
        let rule = |it: RuleRecord<'_>| {
            Ok(Rule {
                id: it.id,
                effect: it.effect.parse().map_err(|_| Nonsense("a rule of an unknown effect"))?,
                actions: it.actions.parse().map_err(|_| Nonsense("a rule about unknown actions"))?,
                topic: RuleTopic::parse(it.topic).map_err(|_| Nonsense("a rule about no topic"))?,
                max_qos: match it.max_qos {
                    Some(3..) => return Err(Nonsense("a rule with an unknown QoS")),
                    qos => qos,
                },
                retain: it.retain,
            })
        };
        let unreadable = |(id, may_deny, why): (i64, bool, &str)| UnreadableRule { id, may_deny, why: why.into() };
        let rules: Vec<Rule> = record.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
        let unreadable = record.unreadable.into_iter().map(|it| Err(unreadable(it)));
        let rows = rules.into_iter().map(Ok).chain(unreadable).collect();
        Ok(Self::compile(record.id, record.name, record.client_id.try_into()?, rows))
    }
}

impl From<(i64, CertificateId)> for Record<'_> {
    fn from((number, id): (i64, CertificateId)) -> Self {
        Self::Certificate(number, id.0)
    }
}

impl<'a> From<&'a ClientIdBinding> for ClientId<'a> {
    fn from(binding: &'a ClientIdBinding) -> Self {
        match binding {
            ClientIdBinding::Any => Self::Any,
            ClientIdBinding::Pattern(pattern) => Self::Pattern(pattern.as_str()),
            ClientIdBinding::Unreadable => Self::Unreadable,
        }
    }
}

impl TryFrom<ClientId<'_>> for ClientIdBinding {
    type Error = Nonsense;

    fn try_from(binding: ClientId<'_>) -> Result<Self, Nonsense> {
        Ok(match binding {
            ClientId::Any => Self::Any,
            ClientId::Pattern(text) => {
                Self::Pattern(ClientIdPattern::parse(text).map_err(|_| Nonsense("a pattern for no client id"))?)
            }
            ClientId::Unreadable => Self::Unreadable,
        })
    }
}
