use proptest::prelude::*;

use super::*;

/// Cheap, for tests that hash often.
fn cheap() -> Cost {
    "m=8,t=1,p=1".parse().unwrap()
}

/// What is published elsewhere, or was made by the programs that write these forms, and the password of each.
const KNOWN: [(&str, &[u8], &str); 11] = [
    // The reference implementation's own test.
    ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", b"password", "argon2id"),
    ("$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", b"password", "argon2id"),
    // mosquitto_passwd 2.0.11, -H sha512 and without, and 2.1.2.
    (
        "$6$zu5PdbBdqzMt1OTI$9CbV/+vuHpuEJPjKj2sP6irka5WDULQ6YJfiMrLdNMczXN/Y4J/ZI68Tm+6Cncst2L20fxqfoIRNGdo8nbVI2g==",
        b"correct horse battery",
        "sha512",
    ),
    (
        "$7$101$r0qgUG2mtxQCC0Id$NMVV+ANnJDfM2vuyxiOyLdXPOrXASekH4fX1eRlg7KqWr9gaffnkrI1KPMxXgqwHdVx5e/rGRDBx3vZ7HirNVg==",
        b"correct horse battery",
        "pbkdf2",
    ),
    (
        "$7$1000$fcDiAPnJooXiSGsJgpZK9IIV6tXFFEohtbyvTNfmvPWyodV4ReUqMzLxlsbKUv6HpH5EcpONt/iZB/iCbMz4aA==$hTJX+1MQLrlSuGbVIsU4n2L4PVUizek/JfSZlABbrRoCkIeJ3hp3O3wspAnbT2D4iCVvmaP6wjTqxHenfUIxrA==",
        b"correct horse battery",
        "pbkdf2",
    ),
    // RFC 7914, section 11: `passwd`, `salt`, one round.
    (
        "PBKDF2$sha256$1$c2FsdA==$VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLxJypzM8Xm2RZkWZLOdd+8xfHG4RbHjC9UJESBB06GXgw==",
        b"passwd",
        "pbkdf2",
    ),
    // Python's hashlib, with a salt as it is written, which is how mosquitto-auth-plug takes it.
    ("PBKDF2$sha256$901$x8mf3JIFTUFU9C23$OKKmZ7jxf2fbrY3anHL41+JriCEr5u4Y", b"correct horse battery", "pbkdf2"),
    // crypt_blowfish's own tests.
    ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", b"U*U", "bcrypt"),
    ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", b"U*U*", "bcrypt"),
    ("$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq", b"\xa3", "bcrypt"),
    ("$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e", b"x", "bcrypt"),
];

#[test]
fn every_known_form_matches_its_password_and_no_other() {
    for (text, password, form) in KNOWN {
        let hash = PasswordHash::parse(text).unwrap();
        assert_eq!(hash.form(), form, "{text}");
        assert!(hash.matches(password), "{text}");
        let longer = [password, b"x"].concat();
        let (shorter, upper) = (&password[..password.len() - 1], password.to_ascii_uppercase());
        for wrong in [b"".as_slice(), &longer, shorter, b"wrong", &vec![b'x'; 70_000]] {
            assert!(!hash.matches(wrong), "{text}");
        }
        assert!(upper == password || !hash.matches(&upper), "{text}");
        assert!(!format!("{hash:?}").contains(text.rsplit('$').next().unwrap()));
    }
}

/// From the documentation of mosquitto-go-auth, which takes what the salt stands for.
#[test]
fn a_hash_of_go_auth_matches_its_password() {
    let text = "PBKDF2$sha512$100000$os24lcPr9cJt2QDVWssblQ==$BK1BQ2wbwU1zNxv3Ml3wLuu5//hPop3/LvaPYjjCwdBvnpwusnukJPpcXQzyyjOlZdieXTx6sXAcX4WnZRZZnw==";
    let hash = PasswordHash::parse(text).unwrap();
    assert!(hash.matches(b"testpw") && !hash.matches(b"testpW"));
}

#[test]
fn what_begins_like_a_hash_and_is_none_is_refused() {
    for text in [
        "",
        "$",
        "$6$",
        "$6$$",
        "$7$",
        "$7$$$",
        "$2b$",
        "PBKDF2$",
        "$argon2id$",
        "secret",
        "$1$abc$def",
        "$5$abc$def",
        "$argon2i$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=256,t=2,p=2,x=1$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=+256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$",
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$AAAA",
        "$argon2id$v=19$m=256,t=2,p=2$$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$7$0$r0qgUG2mtxQCC0Id$NMVV+ANnJDfM2vuyxiOyLdXPOrXASekH4fX1eRlg7KqWr9gaffnkrI1KPMxXgqwHdVx5e/rGRDBx3vZ7HirNVg==",
        "$7$-1$r0qgUG2mtxQCC0Id$NMVV+ANnJDfM2vuyxiOyLdXPOrXASekH4fX1eRlg7KqWr9gaffnkrI1KPMxXgqwHdVx5e/rGRDBx3vZ7HirNVg==",
        "$7$101$r0qgUG2mtxQCC0Id$",
        "$7$101$$NMVV+ANnJDfM2vuyxiOyLdXPOrXASekH4fX1eRlg7KqWr9gaffnkrI1KPMxXgqwHdVx5e/rGRDBx3vZ7HirNVg==",
        "$6$zu5PdbBdqzMt1OTI$9CbV",
        "PBKDF2$md5$1$c2FsdA==$VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLw=",
        "PBKDF2$sha256$1$$VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLw=",
        "$2b$03$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e",
        "$2b$xx$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e",
        "$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8",
        "$2b$ä4$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e",
    ] {
        assert!(matches!(PasswordHash::parse(text), Err(HashError::Unknown | HashError::Malformed(_))), "{text}");
    }
}

#[test]
fn what_would_stop_a_broker_is_refused_before_it_is_begun() {
    let output = "VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLw=";
    for text in [
        "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc".to_owned(),
        "$argon2id$v=19$m=65536,t=5,p=1$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc".to_owned(),
        "$argon2id$v=19$m=8,t=4294967295,p=1$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc".to_owned(),
        "$argon2id$v=19$m=65536,t=1,p=16777215$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc".to_owned(),
        format!("PBKDF2$sha256$500001$c2FsdA==${output}"),
        format!("PBKDF2$sha256$99999999999999999999$c2FsdA==${output}"),
        format!("$7$4294967295$c2FsdA==${output}"),
        "$2b$13$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e".to_owned(),
        "$2b$31$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e".to_owned(),
    ] {
        assert!(matches!(PasswordHash::parse(&text), Err(HashError::Expensive(_))), "{text}");
    }
}

#[test]
fn a_new_hash_is_argon2id_with_a_salt_of_its_own() {
    let (one, other) = (hash(b"secret", cheap()).unwrap(), hash(b"secret", cheap()).unwrap());
    assert_ne!(one, other);
    assert!(one.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{one}");
    for text in [one, other] {
        let hash = PasswordHash::parse(&text).unwrap();
        assert!(hash.matches(b"secret") && !hash.matches(b"Secret"));
    }
    let default = PasswordHash::parse(&hash(b"secret", Cost::default()).unwrap()).unwrap();
    assert!(default.is_as_good_as(Cost::default()) && default.is_as_good_as(cheap()));
    assert!(!default.is_as_good_as("m=19456,t=3,p=1".parse().unwrap()));
    assert!(!PasswordHash::parse(KNOWN[2].0).unwrap().is_as_good_as(cheap()));
}

#[test]
fn an_upgraded_hash_is_known_by_the_one_that_it_replaces() {
    let old = KNOWN[3].0;
    let new = upgrade(b"correct horse battery", old, cheap()).unwrap();
    assert!(PasswordHash::parse(&new).unwrap().matches(b"correct horse battery"));
    assert!(is_upgrade(old, &new));
    assert!(!is_upgrade(KNOWN[4].0, &new) && !is_upgrade(&new, old) && !is_upgrade(&new, &new));
    assert!(!is_upgrade(old, &hash(b"correct horse battery", cheap()).unwrap()), "another salt");
}

#[test]
fn a_password_behind_a_nul_is_another_one() {
    // bcrypt repeats what it is given, with a NUL behind it.
    let hash = PasswordHash::parse("$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e").unwrap();
    assert!(hash.matches(b"x") && !hash.matches(b"x\0x") && !hash.matches(b"x\0"));
}

#[test]
fn a_cost_is_written_as_in_a_hash_and_has_bounds() {
    for text in ["m=19456,t=2,p=1", "m=65536,t=4,p=8", "m=8,t=16,p=1"] {
        assert_eq!(text.parse::<Cost>().unwrap().to_string(), text);
    }
    assert_eq!(Cost::default().to_string(), "m=19456,t=2,p=1");
    for text in
        ["", "m=19456", "m=19456,t=2,p=1,", "t=2,m=19456,p=1", "m= 8,t=1,p=1", "m=-8,t=1,p=1", "m=99999999999,t=1,p=1"]
    {
        assert_eq!(text.parse::<Cost>(), Err(CostError::Form), "{text}");
    }
    for text in [
        "m=7,t=1,p=1",
        "m=8,t=0,p=1",
        "m=8,t=1,p=0",
        "m=15,t=1,p=2",
        "m=65537,t=1,p=1",
        "m=65536,t=5,p=1",
        "m=8,t=17,p=1",
    ] {
        assert_eq!(text.parse::<Cost>(), Err(CostError::Bounds), "{text}");
    }
}

#[test]
fn passwords_that_are_easy_to_guess_are_not_accepted() {
    for (password, expected) in [
        ("", Err(Weakness::Short)),
        ("short12", Err(Weakness::Short)),
        ("Device-001", Err(Weakness::Name)),
        ("aaaaaaaaaaaa", Err(Weakness::Pattern)),
        ("abababababab", Err(Weakness::Pattern)),
        ("12345678", Err(Weakness::Pattern)),
        ("hgfedcba", Err(Weakness::Pattern)),
        ("a\0bcdefghijk", Err(Weakness::Nul)),
        ("pässwört", Ok(())),
        ("correct horse battery", Ok(())),
    ] {
        assert_eq!(accept(password, &["device-001"]), expected, "{password}");
    }
    assert_eq!(accept(&"abcdefxy".repeat(129), &[]), Err(Weakness::Long));
}

proptest! {
    /// Whatever is in the row: no panic, and nothing that was not hashed matches.
    #[test]
    fn no_text_is_trouble(
        prefix in prop::sample::select(vec!["", "$6$", "$7$", "$7$1$", "PBKDF2$sha256$1$", "PBKDF2$sha512$2$", "$2b$04$", "$2y$",
            "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$", "$argon2id$v=19$"]),
        rest in "[a-zA-Z0-9+/=$.,äß-]{0,120}",
        password in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        if let Ok(hash) = PasswordHash::parse(&format!("{prefix}{rest}")) {
            prop_assert!(!hash.matches(&password));
        }
    }

    /// A known hash of which one character was changed, left out or doubled.
    #[test]
    fn a_damaged_hash_matches_nothing(which in 0..KNOWN.len(), at in any::<prop::sample::Index>(), how in 0..3, with in "[ -~ä]") {
        let (text, password, _) = KNOWN[which];
        let characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len());
        let (before, after) = (characters[..at].iter().collect::<String>(), characters[at + 1..].iter().collect::<String>());
        let damaged = match how {
            0 => format!("{before}{with}{after}"),
            1 => format!("{before}{after}"),
            _ => format!("{before}{}{}{after}", characters[at], characters[at]),
        };
        // bcrypt's three letters mean the same to us, and its last character has bits that mean nothing.
        prop_assume!(damaged != text && !text.starts_with("$2"));
        if let Ok(hash) = PasswordHash::parse(&damaged) {
            // Of what a hash says of itself only argon2id's lanes, salt and result are left.
            prop_assert!(!hash.matches(password), "{damaged}");
        }
    }

    #[test]
    fn what_was_hashed_matches_whatever_its_bytes_are(password in prop::collection::vec(any::<u8>(), 1..80), other in prop::collection::vec(any::<u8>(), 1..80)) {
        let hash = PasswordHash::parse(&hash(&password, cheap()).unwrap()).unwrap();
        prop_assert!(hash.matches(&password));
        prop_assert_eq!(hash.matches(&other), password == other);
    }
}
