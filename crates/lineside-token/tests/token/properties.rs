//! Properties of signing and verification, with random claims and bytes.

use lineside_token::{
    ChannelDraft, ConnectionDraft, TTL_SECONDS_MAX, sign_channel, sign_connection, verify_channel,
    verify_connection,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::forge::{HEADER, NOW_MS, SECRET, encode, keys, seal, sign_parts};

/// Names of shared channels: none of these begins with a reserved prefix.
const NAME: &str = "[a-tv-z.é☂][^*\\p{Cc}]{0,40}";

fn drafts() -> impl Strategy<Value = ConnectionDraft> {
    let name = || NAME.prop_filter("reserved", |name| !name.starts_with("cable:"));
    let grant = prop_oneof![
        name(),
        name().prop_map(|name| name + ":*"),
        Just("*".into()),
        Just("user:*".into())
    ];
    let people = (
        proptest::option::of("[^*\\p{Cc}]{1,40}"),
        proptest::option::of("\\PC{1,40}"),
    );
    (
        people,
        vec(name(), 0..8),
        vec(grant, 0..8),
        1..=TTL_SECONDS_MAX,
    )
        .prop_map(|((sub, sid), channels, allow, ttl_s)| ConnectionDraft {
            sub,
            sid,
            channels,
            allow,
            ttl_s,
        })
}

proptest! {
    #[test]
    fn verified_claims_equal_the_signed_claims(draft in drafts(), now_ms in 0..=u64::MAX / 2) {
        let token = sign_connection(draft.clone(), &keys(), now_ms).expect("a good draft");
        let claims = verify_connection(&token, &keys(), now_ms).expect("genuine");
        let allow: Vec<_> = claims.allow.iter().map(|grant| grant.as_str().to_owned()).collect();
        let ttl_s = claims.exp - now_ms / 1000;
        prop_assert_eq!(claims.iat_ms, now_ms);
        let read = ConnectionDraft { sub: claims.sub, sid: claims.sid, channels: claims.channels, allow, ttl_s };
        prop_assert_eq!(read, draft);
    }

    #[test]
    fn every_signed_token_is_verified(
        sub in any::<Option<String>>(), sid in any::<Option<String>>(),
        channels in vec(any::<String>(), 0..3), allow in vec(any::<String>(), 0..3), now_ms in any::<u64>(),
    ) {
        let draft = ConnectionDraft { sub: sub.clone(), sid, channels, allow, ttl_s: 60 };
        if let Ok(token) = sign_connection(draft, &keys(), now_ms) {
            prop_assert!(verify_connection(&token, &keys(), now_ms).is_ok());
        }
        let draft = ChannelDraft { channel: sub.clone().unwrap_or_default(), sub, ttl_s: 60 };
        if let Ok(token) = sign_channel(draft, &keys(), now_ms) {
            prop_assert!(verify_channel(&token, &keys(), now_ms).is_ok());
        }
    }

    #[test]
    fn token_with_a_changed_byte_is_refused(draft in drafts(), place in any::<prop::sample::Index>(), byte in "[ -~]") {
        let token = sign_connection(draft, &keys(), NOW_MS).expect("a good draft");
        let place = place.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(place..=place, &byte);
        prop_assume!(changed != token);
        prop_assert!(verify_connection(&changed, &keys(), NOW_MS).is_err());
    }

    #[test]
    fn arbitrary_text_is_refused_without_a_panic(token in any::<String>(), now_ms in any::<u64>()) {
        prop_assert!(verify_connection(&token, &keys(), now_ms).is_err());
        prop_assert!(verify_channel(&token, &keys(), now_ms).is_err());
    }

    #[test]
    fn signed_arbitrary_bytes_are_refused_without_a_panic(
        header in vec(any::<u8>(), 0..64), claims in vec(any::<u8>(), 0..256), now_ms in any::<u64>(),
    ) {
        let bare = sign_parts("{}", &encode(&claims), SECRET.as_bytes());
        for token in [seal(&header, &claims), seal(HEADER, &claims), bare] {
            prop_assert!(verify_connection(&token, &keys(), now_ms).is_err());
            prop_assert!(verify_channel(&token, &keys(), now_ms).is_err());
        }
    }

    #[test]
    fn signed_arbitrary_times_do_not_panic(iat_ms in any::<u64>(), ttl_s in any::<u64>(), nbf in any::<u64>(), now_ms in any::<u64>()) {
        let (iat, exp) = (iat_ms / 1000, (iat_ms / 1000).saturating_add(ttl_s));
        let claims = format!(r#"{{"aud":"lineside","iat":{iat},"iat_ms":{iat_ms},"exp":{exp},"nbf":{nbf}}}"#);
        let verified = verify_connection(&seal(HEADER, claims), &keys(), now_ms);
        prop_assert!(ttl_s <= TTL_SECONDS_MAX || verified.is_err());
    }
}
