//! The configuration of Mosquitto's dynamic-security plugin, a JSON file, as 2.0 and 2.1 write it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dynsec {
    #[serde(rename = "defaultACLAccess")]
    pub default_access: DefaultAccess,
    pub clients: Vec<Client>,
    pub groups: Vec<Group>,
    pub roles: Vec<Role>,
    /// The group of clients without user name.
    pub anonymous_group: Option<String>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What is allowed where no role says anything. What is missing is denied, as the plugin has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "as the file has them")]
pub struct DefaultAccess {
    pub publish_client_send: bool,
    pub publish_client_receive: bool,
    pub subscribe: bool,
    pub unsubscribe: bool,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Client {
    pub username: String,
    pub textname: Option<String>,
    pub textdescription: Option<String>,
    /// The only client id that it may use.
    pub clientid: Option<String>,
    /// PBKDF2 with HMAC-SHA-512, in base64, with salt and rounds beside it.
    pub password: Option<String>,
    pub salt: Option<String>,
    pub iterations: Option<u32>,
    /// As `mosquitto_passwd` writes it (2.1).
    pub encoded_password: Option<String>,
    pub disabled: bool,
    pub roles: Vec<Granted>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("username", &self.username).field("roles", &self.roles).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Group {
    pub groupname: String,
    pub textname: Option<String>,
    pub textdescription: Option<String>,
    pub roles: Vec<Granted>,
    pub clients: Vec<Member>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A role of a client or a group.
#[derive(Debug, Clone, Deserialize)]
pub struct Granted {
    pub rolename: String,
    #[serde(default = "unset")]
    pub priority: i64,
}

/// A client of a group.
#[derive(Debug, Clone, Deserialize)]
pub struct Member {
    pub username: String,
    #[serde(default = "unset")]
    pub priority: i64,
}

/// What the plugin takes a priority for that is not there.
const fn unset() -> i64 {
    -1
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Role {
    pub rolename: String,
    pub textname: Option<String>,
    pub textdescription: Option<String>,
    /// Whether a subscription may have wildcards (2.1).
    pub allowwildcardsubs: Option<bool>,
    pub acls: Vec<Acl>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Acl {
    pub acltype: String,
    pub topic: String,
    pub priority: i64,
    pub allow: bool,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What an ACL is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclType {
    PublishClientSend,
    PublishClientReceive,
    /// A filter, as text.
    SubscribeLiteral,
    /// A filter that has to be inside another.
    SubscribePattern,
    UnsubscribeLiteral,
    UnsubscribePattern,
}

impl Acl {
    /// What it is about; the plugin does not mind case.
    #[must_use]
    pub fn kind(&self) -> Option<AclType> {
        Some(match self.acltype.to_ascii_lowercase().as_str() {
            "publishclientsend" => AclType::PublishClientSend,
            "publishclientreceive" => AclType::PublishClientReceive,
            "subscribeliteral" => AclType::SubscribeLiteral,
            "subscribepattern" => AclType::SubscribePattern,
            "unsubscribeliteral" => AclType::UnsubscribeLiteral,
            "unsubscribepattern" => AclType::UnsubscribePattern,
            _ => return None,
        })
    }
}

impl Dynsec {
    /// Reads a file. The error is in words, with the line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The role with this name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.rolename == name)
    }

    /// The client with this name; the first one counts.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.username == name)
    }

    /// The roles of a client in the order in which they are asked: its own, then those of its groups; by falling
    /// priority, and by name where that is the same.
    #[must_use]
    pub fn roles_of(&self, client: &Client) -> Vec<&Role> {
        let mut groups: Vec<(i64, &Group)> = self
            .groups
            .iter()
            .filter_map(|group| {
                let member = group.clients.iter().find(|member| member.username == client.username)?;
                Some((member.priority, group))
            })
            .collect();
        groups.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.groupname.cmp(&other.groupname)));
        let lists = std::iter::once(&client.roles).chain(groups.into_iter().map(|(_, group)| &group.roles));
        lists.flat_map(|list| self.in_order(list)).collect()
    }

    fn in_order<'a>(&'a self, list: &[Granted]) -> Vec<&'a Role> {
        let mut list: Vec<&Granted> = list.iter().collect();
        list.sort_by(|one, other| other.priority.cmp(&one.priority).then_with(|| one.rolename.cmp(&other.rolename)));
        list.into_iter().filter_map(|granted| self.role(&granted.rolename)).collect()
    }
}

impl Role {
    /// Its ACLs of a kind, in the order in which they are asked.
    #[must_use]
    pub fn acls_of(&self, kind: AclType) -> Vec<&Acl> {
        let mut acls: Vec<&Acl> = self.acls.iter().filter(|acl| acl.kind() == Some(kind)).collect();
        acls.sort_by_key(|acl| std::cmp::Reverse(acl.priority));
        acls
    }
}
