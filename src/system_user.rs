//! Names and numbers of the machine's users, for messages and for giving files away.
//!
//! Read from `/etc/passwd`: the C library's way needs unsafe code, and the users that matter here (`mosquitto`, `root`)
//! are local. A user known elsewhere appears by number.

use std::fs;

use rustix::process::geteuid;

/// A user and the group that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The user of this name, or of this number.
pub fn find(name_or_number: &str) -> Option<SystemUser> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    users(&passwd).find(|user| user.name == name_or_number || user.uid.to_string() == name_or_number)
}

/// The groups of a user, by number.
pub fn groups_of(user: &SystemUser) -> Vec<u32> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    memberships(&groups, &user.name).chain([user.gid]).collect()
}

/// The name of the user with this number, or the number.
pub fn name_of(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    users(&passwd).find(|user| user.uid == uid).map_or_else(|| uid.to_string(), |user| user.name)
}

/// Who this process is.
pub fn current() -> String {
    name_of(geteuid().as_raw())
}

fn users(passwd: &str) -> impl Iterator<Item = SystemUser> + '_ {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(SystemUser { name, uid, gid })
    })
}

fn memberships<'g>(groups: &'g str, name: &'g str) -> impl Iterator<Item = u32> + 'g {
    groups.lines().filter_map(move |line| {
        let mut fields = line.split(':').skip(2);
        let gid = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == name).then_some(gid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_in_the_groups_that_name_it() {
        let groups = "root:x:0:\nssl-cert:x:110:postgres,mosquitto\nother:x:111:mosquitto2\nbroken:x:y:mosquitto\n";
        assert_eq!(memberships(groups, "mosquitto").collect::<Vec<_>>(), [110]);
        assert!(groups_of(&find("root").unwrap()).contains(&0));
    }

    #[test]
    fn lines_that_are_not_users_are_passed_over() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\n\n# no\nbad:x:y:z\nmosquitto:x:102:105::/var/lib/mosquitto:/usr\n";
        let names: Vec<_> = users(passwd).map(|user| (user.name, user.uid, user.gid)).collect();
        assert_eq!(names, [("root".to_owned(), 0, 0), ("mosquitto".to_owned(), 102, 105)]);
    }

    #[test]
    fn root_is_known_by_name_and_by_number() {
        assert_eq!(find("root"), find("0"));
        assert_eq!(name_of(0), "root");
        assert_eq!(find("no such user"), None);
    }
}
