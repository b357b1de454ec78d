use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const FIRST: &str = "0123456789abcdef0123456789abcdef";
const SECOND: &str = "fedcba9876543210fedcba9876543210";

fn base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

#[test]
fn mac_matches_rfc_7515_appendix_a_1() {
    let key = base64url(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let signed = concat!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        ".",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    );
    let keys = Keys {
        keys: vec![Key::new(&key, 1).expect("64 bytes")],
    };
    let mac = base64url("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(keys.sign(signed.as_bytes()).to_vec(), mac);
    assert!(keys.verify(signed.as_bytes(), &mac));
    assert!(!keys.verify(&signed.as_bytes()[1..], &mac));
}

#[test]
fn truncated_or_extended_mac_is_refused() {
    let keys = Keys::parse(FIRST).expect("a key");
    let mac = keys.sign(b"text");
    assert!(keys.verify(b"text", &mac));
    for bytes in 0..mac.len() {
        assert!(!keys.verify(b"text", &mac[..bytes]), "{bytes} bytes");
    }
    assert!(!keys.verify(b"text", &[&mac[..], &[0]].concat()));
}

#[test]
fn first_key_signs_and_all_keys_verify() {
    let (old, new) = (
        Keys::parse(SECOND).expect("a key"),
        Keys::parse(FIRST).expect("a key"),
    );
    let both = Keys::parse(&format!(" {FIRST}\n,\t{SECOND} ")).expect("two keys");
    assert_eq!(both.sign(b"text"), new.sign(b"text"));
    assert!(both.verify(b"text", &old.sign(b"text")));
    assert!(!new.verify(b"text", &old.sign(b"text")));
}

// Expected value: printf 'lineside key fingerprint v1' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
#[test]
fn fingerprint_is_that_of_the_signing_key() {
    let both = Keys::parse(&format!("{FIRST},{SECOND}")).expect("two keys");
    assert_eq!(both.fingerprint(), 0xc63e_266a_f7e7_fc47_u64.to_be_bytes());
    let second = Keys::parse(SECOND).expect("a key").fingerprint();
    assert_eq!(both.fingerprints(), [both.fingerprint(), second]);
    assert_ne!(both.fingerprint(), second);
}

#[test]
fn weak_secret_is_refused_with_its_position() {
    let short = &FIRST[1..];
    for (list, error) in [
        (String::new(), KeyError::Empty { position: 1 }),
        (" \n".into(), KeyError::Empty { position: 1 }),
        (format!("{FIRST},"), KeyError::Empty { position: 2 }),
        (format!(",{FIRST}"), KeyError::Empty { position: 1 }),
        (
            format!("{FIRST}, ,{SECOND}"),
            KeyError::Empty { position: 2 },
        ),
        (
            short.into(),
            KeyError::Short {
                position: 1,
                bytes: 31,
            },
        ),
        (
            format!("{FIRST},   {short}   "),
            KeyError::Short {
                position: 2,
                bytes: 31,
            },
        ),
        ("x".repeat(64), KeyError::Repeated { position: 1 }),
        (
            format!("{FIRST},{}", "\0".repeat(32)),
            KeyError::Repeated { position: 2 },
        ),
        (
            [FIRST; KEYS_MAX + 1].join(","),
            KeyError::TooMany {
                count: KEYS_MAX + 1,
            },
        ),
    ] {
        assert_eq!(Keys::parse(&list).err(), Some(error));
        let message = error.to_string();
        assert!(!message.contains(short), "{message}");
    }
    assert!(Keys::parse(FIRST).is_ok(), "32 bytes are enough");
    assert!(Keys::parse(&[FIRST; KEYS_MAX].join(",")).is_ok());
}

#[test]
fn debug_output_contains_no_key() {
    let keys = Keys::parse(&format!("{FIRST},{SECOND}")).expect("two keys");
    assert_eq!(format!("{keys:?}"), "Keys(2, redacted)");
    assert_eq!(format!("{keys:#?}"), "Keys(2, redacted)");
}

// Expected value: openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt "key:a secret_key_base of some Rails app"
// -kdfopt info:lineside/secret/v1 HKDF
#[test]
fn derived_secret_matches_rfc_5869_and_is_a_valid_key() {
    let secret = derive(b"a secret_key_base of some Rails app");
    assert_eq!(
        secret,
        "6aa4adfbde599b386d6244bb5ed741a9293e3f8c07147ac6f714b1a0661af4ea"
    );
    assert!(Keys::parse(&secret).is_ok());
    assert_ne!(secret, derive(b"a secret_key_base of some Rails apq"));
}
