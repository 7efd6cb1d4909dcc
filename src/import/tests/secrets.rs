use super::super::plan::{Secret, StoredHash, Weight};
use super::super::secret_file::{Kind, plan};
use super::{assert_found, found};

const HASH: &str = "$7$101$bG9uZ3NhbHRzYWx0$c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ=";
const FORMS: [&str; 7] = [
    HASH,
    "$6$zu5PdbBdqzMt1OTI$9CbV/+vuHpuEJPjKj2sP6irka5WDULQ6YJfiMrLdNMczXN/Y4J/ZI68Tm+6Cncst2L20fxqfoIRNGdo8nbVI2g==",
    "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
    "PBKDF2$sha256$901$x8mf3JIFTUFU9C23$OKKmZ7jxf2fbrY3anHL41+JriCEr5u4Y",
    "$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e",
    "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq",
];
const KEY: &str = "8d1f0c9b7a6e5d4c3b2a19081726354f";

#[test]
fn hashes_stay_as_they_are_and_what_is_in_clear_is_refused() {
    let text =
        format!("# users\n\n a :{HASH}\r\nb:{}\nc:secret\nd:\nno colon\na:{HASH}\ne/f:{HASH}\ng:$7$\n", FORMS[1]);
    let plan = plan(text.as_bytes(), Kind::Passwords, &["sensor".to_owned()]);
    let devices: Vec<_> = plan.devices.iter().map(|it| (it.line, &*it.name, it.roles.concat())).collect();
    assert_eq!(devices, [(3, "a", "sensor".to_owned()), (4, "b", "sensor".to_owned())]);
    let hashes: Vec<_> = plan.devices.iter().flat_map(|it| &it.credentials).collect();
    assert!(matches!(&hashes[0].secret, Secret::Password(hash) if hash.as_str() == HASH));
    for (line, words) in [
        (5, "`c`: this is no hash of a known form"),
        (6, "`d`: this is no hash of a known form"),
        (7, "no colon"),
        (8, "there already, in line 3"),
        (9, "a device name cannot hold"),
        (10, "`g`: this begins like a hash of the form $7$"),
    ] {
        assert_found(&plan, Weight::Mistake, Some(line), words);
    }
    assert_eq!(found(&plan, Weight::Mistake).len(), 6);
    assert!(!format!("{plan:?}").contains("secret\""));
}

#[test]
fn every_form_that_a_login_can_be_checked_against_is_taken() {
    for form in FORMS {
        assert_eq!(StoredHash::parse(form).unwrap().as_str(), form);
    }
    // A login that takes so long would stop the broker.
    let slow = FORMS[3].replace("$901$", "$500001$");
    assert!(StoredHash::parse(&slow).unwrap_err().contains("for too long"));
    for other in ["", "$", "$7$", "$1$md5", "$7$a b", "PBKDF2$md5$1$a$b", "secret", "$7$\u{e9}"] {
        let error = StoredHash::parse(other).unwrap_err();
        assert!(other.len() < 3 || !error.contains(other) || other == "$7$", "{error}");
    }
    assert_eq!(format!("{:?}", StoredHash::parse(HASH).unwrap()), "StoredHash(..)");
}

#[test]
fn keys_that_cannot_be_used_are_named_and_never_shown() {
    let short = "deadbeef";
    let text =
        format!("id:{short}\neasy:12345\nsame:{}\na:{KEY}\nb:{}\nc:{KEY}x\n", "ab".repeat(16), KEY.to_uppercase());
    let plan = plan(text.as_bytes(), Kind::Psks, &[]);
    assert_eq!(plan.devices.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["a"]);
    for (line, words) in [
        (1, "`id`: the key has 4 bytes"),
        (2, "`easy`: the key has 3 bytes"),
        (3, "easy to guess"),
        (5, "the same key as line 4"),
        (6, "hexadecimal"),
    ] {
        assert_found(&plan, Weight::Mistake, Some(line), words);
    }
    let shown = format!("{plan:?}");
    assert!(!shown.contains(KEY) && !shown.contains(short), "{shown}");
}
