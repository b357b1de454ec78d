use super::*;

/// Names that Rails 6.1 signed with the bytes `00 ff "key"`.
const PLAIN: &str =
    "ImJvb2tzIg==--b8c11ab1a6d285edc02ab67fe309a54d26fc19a3edfbbc2035d9cf44063c6241";
const EXPIRING: &str = "eyJfcmFpbHMiOnsibWVzc2FnZSI6IkltSnZiMnR6SWc9PSIsImV4cCI6IjIwMjctMDEtMTVUMDg6MDA6MDAuMDAwWiIsInB1ciI6bnVsbH19--f4b191a4e45f7c866b57e416eec0bcca7b5d6572c841fde7332d3169d1b01816";
const OF_PURPOSE: &str = "eyJfcmFpbHMiOnsibWVzc2FnZSI6IkltSnZiMnR6SWc9PSIsImV4cCI6bnVsbCwicHVyIjoieCJ9fQ==--2565c57ebdd8a6997e82e09ba5be90d3f362ad8bdfb1dcb30160528aa2ddc8d9";
const LIST: &str = "WyJhIl0=--7bf617415575b06f01c9d9809136934c945d880a3df8de6e11629f76a974b652";
const NOT_ASCII: &str =
    "ImLDvGM+aGVyP35+fiI=--a650d24ae98448ab56c4dd414ce761a099258765649399592ddb8c65724fe577";
/// The form of Rails 7.1, in base64url without padding.
const NEW: &str = "eyJfcmFpbHMiOnsiZGF0YSI6ImJvb2tzIiwiZXhwIjoiMjAyNy0wMS0xNVQwODowMDowMC4wMDBaIn19--b099e2aec88fae386347ce880f80c302b22a28917f3db111922cd0b78767a4fe";
/// End of the names that expire: 2027-01-15 08:00 UTC.
const EXPIRES_MS: u64 = 1_800_000_000_000;

fn keys() -> StreamKeys {
    let other = LENIENT.encode("another");
    let key = LENIENT.encode(b"\x00\xffkey");
    StreamKeys::decode(&[other, key]).unwrap()
}

fn verify(signed: &str, now_ms: u64) -> Result<(String, Option<u64>), StreamNameError> {
    let name = keys().verify(signed, now_ms)?;
    Ok((name.name, name.expires_ms))
}

#[test]
fn names_of_rails_are_verified_with_each_key() {
    assert_eq!(verify(PLAIN, 0), Ok(("books".into(), None)));
    assert_eq!(verify(NOT_ASCII, 0), Ok(("büc>her?~~~".into(), None)));
    let url = NOT_ASCII.replacen('+', "-", 1);
    assert_eq!(
        verify(&url, 0),
        Err(StreamNameError::Signature),
        "the text is signed"
    );
}

#[test]
fn expiry_is_enforced_in_both_forms() {
    for signed in [EXPIRING, NEW] {
        let valid = verify(signed, EXPIRES_MS - 1);
        assert_eq!(valid, Ok(("books".into(), Some(EXPIRES_MS))));
        assert_eq!(verify(signed, EXPIRES_MS), Err(StreamNameError::Expired));
    }
}

#[test]
fn other_purposes_and_values_are_refused() {
    assert_eq!(verify(OF_PURPOSE, 0), Err(StreamNameError::Purpose));
    assert_eq!(verify(LIST, 0), Err(StreamNameError::Malformed));
}

#[test]
fn no_changed_byte_is_accepted() {
    let changes = (0..PLAIN.len()).flat_map(|at| [1u8, 32].map(|bit| (at, bit)));
    for (at, bit) in changes {
        let mut bytes = PLAIN.as_bytes().to_vec();
        bytes[at] ^= bit;
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(
            verify(&changed, 0),
            Err(StreamNameError::Signature),
            "{changed}"
        );
    }
    for cut in 0..PLAIN.len() {
        assert!(verify(&PLAIN[..cut], 0).is_err() && verify(&PLAIN[cut + 1..], 0).is_err());
    }
    assert!(verify("", 0).is_err() && verify(&"é".repeat(40), 0).is_err());
    assert!(verify(&"a".repeat(SIGNED_NAME_BYTES_MAX + 1), 0).is_err());
}

#[test]
fn keys_that_cannot_be_read_are_refused_by_number() {
    assert_eq!(StreamKeys::decode(&["YQ".into(), "?".into()]), Err(1));
    assert_eq!(StreamKeys::decode(&[String::new()]), Err(0));
    assert_eq!(
        StreamKeys::decode(&vec!["YQ".into(); 17]),
        Err(STREAM_KEYS_MAX)
    );
    assert_eq!(
        StreamKeys::decode(&[]).map(|keys| keys.is_empty()),
        Ok(true)
    );
    assert_eq!(format!("{:?}", keys()), "StreamKeys(2 keys)");
}
