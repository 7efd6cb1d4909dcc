use super::super::device_list::{ForEach, plan};
use super::super::plan::{Secret, Weight};
use super::{assert_found, found};

const KEY: &str = "8d1f0c9b7a6e5d4c3b2a19081726354f";

#[test]
fn a_line_says_all_of_a_device() {
    let text = format!(
        "\u{feff}name,cn,psk_identity,psk_key,roles,attributes,client_id\n\
         d-1,d1.example,p-1,{KEY},b; a ;,site=oslo;line=a=b,%u-*\n\
         \"d,2\",,p-2,,,,\n\nd-3,,,,,,\n"
    );
    let plan = plan(text.as_bytes(), &ForEach { roles: vec!["a".to_owned()], ..ForEach::default() });
    assert_eq!(found(&plan, Weight::Mistake), []);
    let [one, two, three] = &plan.devices[..] else { panic!("{plan:?}") };
    assert_eq!((one.line, &*one.name, one.client_id.as_deref()), (2, "d-1", Some("%u-*")));
    assert_eq!(one.roles, ["a", "b"]);
    assert_eq!(
        one.attributes.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>(),
        ["line a=b", "site oslo"]
    );
    let secrets: Vec<_> = one.credentials.iter().map(|it| (&*it.identity, &it.secret)).collect();
    assert!(matches!(secrets[..], [("d1.example", Secret::CommonName), ("p-1", Secret::Psk(_))]), "{secrets:?}");
    assert!(matches!(two.credentials[0].secret, Secret::NewPsk));
    assert_eq!((&*two.name, three.line, three.credentials.len()), ("d,2", 5, 0));
}

#[test]
fn names_alone_are_enough_where_all_devices_are_alike() {
    let plan = plan(b"name\nd-1\n", &ForEach { cn: true, psk: true, roles: vec!["r".to_owned()] });
    let identities: Vec<_> = plan.devices[0].credentials.iter().map(|it| &*it.identity).collect();
    assert_eq!((identities, &plan.devices[0].roles), (vec!["d-1", "d-1"], &vec!["r".to_owned()]));
}

#[test]
fn every_bad_line_is_named() {
    let text = format!(
        "name,cn,psk_identity,psk_key,attributes,client_id\n\
         a/b,,,,,\n,x,,,,\ngood,good,,,,\ngood,,,,,\nother,good,,,,\nd,,,{KEY},,\ne,,e,abcd,,\nf,,,,site,\ng,,,,,%x\n\
         h,,h,{KEY},,\ni,,i,{KEY},,\nj\nk,\"a\nb\",,,,\nl,,,,a=1;a=2,\n"
    );
    let plan = plan(text.as_bytes(), &ForEach::default());
    for (line, words) in [
        (2, "a device name cannot hold"),
        (3, "needs a name"),
        (5, "there already, in line 4"),
        (6, "already means the device of line 4"),
        (7, "without `psk_identity`"),
        (8, "2 bytes"),
        (9, "not `name=value`"),
        (10, "unknown placeholder"),
        (12, "the same key as line 11"),
        (13, "1 fields"),
        (14, "control characters"),
        (16, "there twice"),
    ] {
        assert_found(&plan, Weight::Mistake, Some(line), words);
    }
    assert_eq!(found(&plan, Weight::Mistake).len(), 12);
    assert_eq!(plan.devices.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["good", "h"]);
    for header in ["", "cn\nx", "name,name\n", "name,color\n"] {
        assert_eq!(found(&self::plan(header.as_bytes(), &ForEach::default()), Weight::Mistake).len(), 1, "{header}");
    }
}

#[test]
fn a_line_that_is_not_utf_8_costs_only_itself() {
    let plan = plan(b"name\nd-1\n\xff\nd-3\n", &ForEach::default());
    assert_eq!(plan.devices.iter().map(|it| (it.line, &*it.name)).collect::<Vec<_>>(), [(2, "d-1"), (4, "d-3")]);
    assert_found(&plan, Weight::Mistake, Some(3), "UTF-8");
}
