use super::*;

const IDENTITY: &str = "device-001";

fn key() -> SealingKey {
    SealingKey::from_text("00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f\n").unwrap()
}

fn psk() -> Psk {
    Psk::from_hex("d9b2a5c3f07e41688b1c5d2e9f60a734").unwrap()
}

#[test]
fn a_key_beside_another_opens_and_does_not_seal() {
    let (new, old) = (SealingKey::generate().unwrap(), key());
    let both = new.clone().beside(&old);
    let sealed = old.seal(IDENTITY, &psk()).unwrap();
    assert!(matches!(new.open(IDENTITY, &sealed), Err(OpenError::OtherKey { .. })));
    assert_eq!(both.open(IDENTITY, &sealed).unwrap(), psk());
    assert_eq!(new.open(IDENTITY, &both.seal(IDENTITY, &psk()).unwrap()).unwrap(), psk());
    assert_eq!(both.digest(&psk()), new.digest(&psk()));
    let read = SealingKey::from_text(&both.to_text()).unwrap();
    assert_eq!(read.keys().map(SealingKey::id).collect::<Vec<_>>(), [new.id(), old.id()]);
    assert_eq!(read.named(old.id()).unwrap().keys().count(), 1);
    assert!(read.named("0123456789abcdef").is_none());
    assert_eq!(both.alone().beside(&both).keys().count(), 2, "never more than two");
    for text in [format!("{}{}", &*both.to_text(), &*old.to_text()), format!("\n{}", &*old.to_text())] {
        assert!(SealingKey::from_text(&text).is_err());
    }
}

#[test]
fn a_generated_key_has_the_length_asked_for_and_is_new_each_time() {
    for len in [Psk::MIN_BYTES, Psk::DEFAULT_BYTES, Psk::MAX_BYTES] {
        let one = Psk::generate(len).unwrap();
        assert_eq!(one.hex().len(), 2 * len);
        assert_ne!(one, Psk::generate(len).unwrap());
        assert_eq!(Psk::from_hex(&one.hex()).unwrap(), one);
    }
}

#[test]
fn a_key_too_short_or_too_long_is_refused() {
    for len in [0, 1, 15, 257, 100_000] {
        assert_eq!(Psk::generate(len).unwrap_err(), PskError::Length { found: len });
        let bytes = Zeroizing::new((0..len).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect());
        assert_eq!(Psk::from_bytes(bytes).unwrap_err(), PskError::Length { found: len });
    }
}

#[test]
fn a_key_that_people_type_is_refused() {
    for (weak, what) in [
        ("00".repeat(16), "zeros"),
        ("ff".repeat(32), "ones"),
        ("deadbeef".repeat(4), "a short word repeated"),
        ("0123456789abcdef0001020304050607".to_owned(), "distinct enough, and so accepted"),
        ("000102030405060708090a0b0c0d0e0f".to_owned(), "counting"),
        ("f0e0d0c0b0a090807060504030201000".to_owned(), "counting down"),
    ] {
        let accepted = Psk::from_hex(&weak).is_ok();
        assert_eq!(accepted, what.ends_with("accepted"), "{what}");
    }
}

#[test]
fn what_is_not_hexadecimal_is_refused_without_being_repeated() {
    for text in ["", "d9b2a5c3f07e41688b1c5d2e9f60a73", "zzb2a5c3f07e41688b1c5d2e9f60a734", "pässwörd", "d9 b2"] {
        let error = Psk::from_hex(text).unwrap_err();
        assert!(matches!(error, PskError::NotHex | PskError::Length { .. }), "{text}: {error}");
        assert!(text.is_empty() || !error.to_string().contains(text));
    }
}

#[test]
fn a_key_fits_a_buffer_with_room_for_its_digits_and_a_nul() {
    let mut buffer = [b'x'; 40];
    assert_eq!(psk().write_hex_nul(&mut buffer), Some(32));
    assert_eq!(&buffer[..33], b"d9b2a5c3f07e41688b1c5d2e9f60a734\0");
    assert_eq!(&buffer[33..], b"xxxxxxx");
    assert_eq!(psk().write_hex_nul(&mut [b'x'; 33]), Some(32));
}

#[test]
fn a_buffer_too_small_is_left_alone() {
    for len in [0, 1, 31, 32] {
        let mut buffer = vec![b'x'; len];
        assert_eq!(psk().write_hex_nul(&mut buffer), None);
        assert_eq!(buffer, vec![b'x'; len]);
    }
}

#[test]
fn nothing_secret_is_shown_by_debug() {
    assert_eq!(format!("{:?}", psk()), "Psk(..)");
    assert_eq!(format!("{:?}", key()), format!("SealingKey {{ id: \"{}\", .. }}", key().id()));
    let text = key().to_text();
    assert!(!text.contains(key().id()));
}

#[test]
fn a_sealing_key_reads_what_it_wrote() {
    let made = SealingKey::generate().unwrap();
    let read = SealingKey::from_text(&made.to_text()).unwrap();
    assert_eq!(made.id(), read.id());
    assert_eq!(read.open(IDENTITY, &made.seal(IDENTITY, &psk()).unwrap()).unwrap(), psk());
    assert_ne!(made.id(), SealingKey::generate().unwrap().id());
}

#[test]
fn a_sealing_key_of_the_wrong_size_is_refused_without_being_repeated() {
    for (text, expected) in [
        (String::new(), KeyError::Length { found: 0 }),
        ("\n".to_owned(), KeyError::Length { found: 0 }),
        ("ab".repeat(31), KeyError::Length { found: 62 }),
        ("ab".repeat(33), KeyError::Length { found: 66 }),
        (format!("{}\n\n", "ab".repeat(32)), KeyError::Length { found: 65 }),
        (format!(" {}", "ab".repeat(32)), KeyError::Length { found: 65 }),
        ("xy".repeat(32), KeyError::NotHex),
    ] {
        let error = SealingKey::from_text(&text).unwrap_err();
        assert_eq!(error, expected);
        assert!(!error.to_string().contains("abab") && !error.to_string().contains("xyxy"));
    }
    SealingKey::from_text(&format!("{}\r\n", "AB".repeat(32))).unwrap();
}

#[test]
fn a_sealed_key_opens_and_is_never_sealed_alike_twice() {
    let one = key().seal(IDENTITY, &psk()).unwrap();
    let two = key().seal(IDENTITY, &psk()).unwrap();
    assert_ne!(one, two);
    assert!(one.starts_with(&format!("warden1.{}.", key().id())));
    assert!(!one.contains(&**psk().hex()));
    assert_eq!(key().open(IDENTITY, &one).unwrap(), psk());
    assert_eq!(key().open(IDENTITY, &two).unwrap(), psk());
}

/// The form is kept in databases: this text was written by the first release and must open for ever.
#[test]
fn what_an_earlier_release_sealed_still_opens() {
    assert_eq!(key().id(), "f40eafe2a06832cb");
    assert_eq!(key().digest(&psk()), "0b27aad5072554d0a5e30bf7cc0d566c339f98cb1cdbf5821a51ac7956c06f38");
    let sealed = "warden1.f40eafe2a06832cb.\
        09e65a2482602d738c25fe46b9094d6fc7c18e89e123f10cd76e136151c1ffb6626df6fb7c0ec4c502ee798eab31025fc61873aef715cdc7";
    assert_eq!(key().open(IDENTITY, sealed).unwrap(), psk());
}

#[test]
fn a_sealed_key_moved_to_another_identity_does_not_open() {
    let sealed = key().seal(IDENTITY, &psk()).unwrap();
    for other in ["", "device-002", "device-0011", "device-00", "DEVICE-001", "device-001\0"] {
        assert_eq!(key().open(other, &sealed).unwrap_err(), OpenError::Altered, "{other:?}");
    }
}

#[test]
fn a_sealed_key_altered_anywhere_does_not_open() {
    let sealed = key().seal(IDENTITY, &psk()).unwrap();
    for at in 0..sealed.len() {
        for with in [b'0', b'1', b'.', b'f', b'z'] {
            let mut bytes = sealed.clone().into_bytes();
            if bytes[at] == with {
                continue;
            }
            bytes[at] = with;
            let altered = String::from_utf8(bytes).unwrap();
            assert!(key().open(IDENTITY, &altered).is_err(), "byte {at} as {}", char::from(with));
        }
    }
}

#[test]
fn a_sealed_key_cut_or_lengthened_does_not_open() {
    let sealed = key().seal(IDENTITY, &psk()).unwrap();
    for len in 0..sealed.len() {
        assert!(key().open(IDENTITY, sealed.get(..len).unwrap()).is_err(), "{len}");
    }
    for more in ["0", "00", ".", ".00", "\n", &"00".repeat(10_000)] {
        assert!(key().open(IDENTITY, &format!("{sealed}{more}")).is_err());
    }
}

#[test]
fn another_key_is_named_instead_of_opening() {
    let other = SealingKey::generate().unwrap();
    let error = other.open(IDENTITY, &key().seal(IDENTITY, &psk()).unwrap()).unwrap_err();
    assert_eq!(error, OpenError::OtherKey { expected: other.id().to_owned(), found: key().id().to_owned() });
    // Nor does it with the name of this key written over it.
    let renamed = key().seal(IDENTITY, &psk()).unwrap().replace(key().id(), other.id());
    assert_eq!(other.open(IDENTITY, &renamed).unwrap_err(), OpenError::Altered);
}

#[test]
fn equal_keys_have_equal_digests_under_one_sealing_key_only() {
    assert_eq!(key().digest(&psk()), key().digest(&psk()));
    assert_ne!(key().digest(&psk()), key().digest(&Psk::generate(16).unwrap()));
    assert_ne!(key().digest(&psk()), SealingKey::generate().unwrap().digest(&psk()));
    assert_eq!(key().digest(&psk()).len(), 64);
}
