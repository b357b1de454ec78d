//! Forged and malformed tokens are refused.

use lineside_token::{
    ClaimError, Keys, TOKEN_BYTES_MAX, TokenError, verify_channel, verify_connection,
};
use serde_json::json;

use crate::forge::{
    HEADER, NOW_MS, SECRET, channel, connection, encode, keys, refusal, seal, sealed, sign_parts,
};

#[test]
fn baseline_token_is_accepted() {
    assert!(verify_connection(&sealed(json!({})), &keys(), NOW_MS).is_ok());
    assert!(verify_channel(&seal(HEADER, channel(json!({}))), &keys(), NOW_MS).is_ok());
    for header in [
        r#"{"alg":"HS256"}"#,
        r#" {"kid":"1", "alg" : "\u0048S256"}"#,
    ] {
        assert!(
            verify_connection(&seal(header, connection(json!({}))), &keys(), NOW_MS).is_ok(),
            "{header}"
        );
    }
    // Unknown claims are ignored.
    let more = json!({"publish": ["*"], "presence": true, "jti": {"a": [1.5e300, null]}});
    assert!(verify_connection(&sealed(more), &keys(), NOW_MS).is_ok());
}

#[test]
fn other_algorithms_are_refused() {
    let claims = connection(json!({}));
    for alg in [
        "none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS384", "HS512", "RS256", "ES256",
        "EdDSA",
    ] {
        let header = json!({"alg": alg, "typ": "JWT"}).to_string();
        let unsigned = format!("{}.{}.", encode(&header), encode(&claims));
        assert_eq!(refusal(&unsigned), TokenError::Signature, "{alg}");
        assert_eq!(
            refusal(&seal(&header, &claims)),
            TokenError::Header,
            "{alg}"
        );
    }
    for header in [
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":256}"#,
        r#"{"alg":"HS256","typ":"jwt"}"#,
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":null}"#,
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
    ] {
        assert_eq!(
            refusal(&seal(header, &claims)),
            TokenError::Header,
            "{header}"
        );
    }
}

#[test]
fn signature_of_an_unlisted_secret_is_refused() {
    let (claims, other) = (
        encode(connection(json!({}))),
        "another secret: nobody was told of it",
    );
    // A key inside the token, or named by it, is not used.
    let jwk = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": encode(other)}}).to_string();
    let path =
        json!({"alg": "HS256", "kid": "/dev/null", "jku": "http://localhost/keys"}).to_string();
    for (header, secret) in [
        (HEADER, ""),
        (HEADER, other),
        (HEADER, &SECRET[1..]),
        (HEADER, " "),
        (&jwk, other),
        (&path, ""),
    ] {
        let token = sign_parts(&encode(header), &claims, secret.as_bytes());
        assert_eq!(
            refusal(&token),
            TokenError::Signature,
            "{header} {secret:?}"
        );
    }
    let rotated = Keys::parse(&format!("{other},{SECRET}")).expect("two secrets");
    assert!(verify_connection(&sealed(json!({})), &rotated, NOW_MS).is_ok());
    let retired = Keys::parse(other).expect("a secret");
    assert_eq!(
        verify_connection(&sealed(json!({})), &retired, NOW_MS),
        Err(TokenError::Signature)
    );
}

#[test]
fn token_with_another_audience_is_refused() {
    let (for_connection, for_channel) = (
        seal(HEADER, connection(json!({}))),
        seal(HEADER, channel(json!({}))),
    );
    let audience = |want| TokenError::Claim(ClaimError::Audience { want });
    assert_eq!(refusal(&for_channel), audience("lineside"));
    assert_eq!(
        verify_channel(&for_connection, &keys(), NOW_MS),
        Err(audience("lineside:channel"))
    );
    for aud in [
        json!(["lineside"]),
        json!(["lineside", "lineside:channel"]),
        json!("Lineside"),
        json!("lineside "),
        json!("lineside:cable"),
        json!(""),
        json!(1),
        json!({"lineside": 1}),
    ] {
        // The claims of both kinds of token, so that only the audience is wrong.
        let changes = json!({"aud": aud, "channel": "news"});
        assert_eq!(
            refusal(&sealed(changes.clone())),
            audience("lineside"),
            "{aud}"
        );
        let token = sealed(changes);
        assert_eq!(
            verify_channel(&token, &keys(), NOW_MS),
            Err(audience("lineside:channel")),
            "{aud}"
        );
    }
    assert_eq!(
        refusal(&sealed(json!({"aud": null}))),
        TokenError::Claim(ClaimError::Missing { claim: "aud" })
    );
}

#[test]
fn duplicate_name_is_refused_in_any_spelling() {
    let claims = connection(json!({}));
    let json = |part| TokenError::Json { part };
    for again in [
        r#""exp":9999999999"#,
        r#""\u0065xp":9999999999"#,
        r#""aud":"lineside""#,
        r#""sub":"43""#,
    ] {
        let doubled = claims.replacen('{', &format!("{{{again},"), 1);
        assert_eq!(refusal(&seal(HEADER, doubled)), json("claims"), "{again}");
    }
    let unknown = claims.replacen('{', r#"{"x":1,"x":1,"#, 1);
    assert_eq!(refusal(&seal(HEADER, unknown)), json("claims"));
    for header in [
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
    ] {
        assert_eq!(refusal(&seal(header, &claims)), json("header"), "{header}");
    }
}

#[test]
fn invalid_json_and_wrong_types_are_refused() {
    for text in [
        "",
        "null",
        "[]",
        "1",
        "\"x\"",
        "{",
        "{}{}",
        "{},",
        "{\"a\":\"\u{0}\"}",
        "\u{feff}{}",
    ] {
        assert_eq!(
            refusal(&seal(HEADER, text)),
            TokenError::Json { part: "claims" },
            "{text:?}"
        );
        assert_eq!(
            refusal(&seal(text, connection(json!({})))),
            TokenError::Json { part: "header" },
            "{text:?}"
        );
    }
    assert_eq!(
        refusal(&seal(HEADER, b"{\"a\":\"\xff\"}")),
        TokenError::Json { part: "claims" }
    );
    assert_eq!(
        refusal(&seal(HEADER, r#"{"a":"\ud800"}"#)),
        TokenError::Json { part: "claims" }
    );
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(2000), "]".repeat(2000));
    assert_eq!(
        refusal(&seal(HEADER, deep)),
        TokenError::Json { part: "claims" }
    );
    let null = |claim: &str| {
        seal(
            HEADER,
            connection(json!({claim: "?"})).replace("\"?\"", "null"),
        )
    };
    for claim in ["sub", "sid", "channels", "allow"] {
        for value in [
            json!(42),
            json!(true),
            json!([1]),
            json!(["a", null]),
            json!([["a"]]),
            json!({"a": "b"}),
        ] {
            let error = refusal(&sealed(json!({claim: value})));
            assert!(
                matches!(error, TokenError::Claim(ClaimError::Type { claim: it, .. }) if it == claim),
                "{error}"
            );
        }
        let error = refusal(&null(claim));
        assert!(
            matches!(error, TokenError::Claim(ClaimError::Type { claim: it, .. }) if it == claim),
            "{error}"
        );
    }
    for claim in ["channels", "allow"] {
        let error = refusal(&sealed(json!({claim: "news"})));
        assert!(
            matches!(error, TokenError::Claim(ClaimError::Type { claim: it, .. }) if it == claim),
            "{error}"
        );
    }
}

#[test]
fn token_not_in_the_compact_form_is_refused() {
    let good = sealed(json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let [header, claims, mac] = parts[..] else {
        panic!("{good}")
    };
    for token in [
        "",
        ".",
        "a",
        "a.b",
        &format!("{good}.{mac}"),
        &format!("{header}.{claims}.{mac}."),
    ] {
        assert_eq!(refusal(token), TokenError::Shape, "{token}");
    }
    // Four parts with a valid MAC over the first three, as in a JWE or a nested token.
    let four = sign_parts(header, &format!("{claims}.{claims}"), SECRET.as_bytes());
    assert_eq!(refusal(&four), TokenError::Shape);
    for token in [
        "..",
        &format!("{header}.{claims}."),
        &format!(".{claims}.{mac}"),
        &format!("{header}..{mac}"),
    ] {
        assert_eq!(refusal(token), TokenError::Signature, "{token}");
    }
    for token in [
        format!("{good}="),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}\0"),
        good.clone() + "é",
    ] {
        assert_eq!(
            refusal(&token),
            TokenError::Encoding { part: "signature" },
            "{token:?}"
        );
    }
}

#[test]
fn each_token_has_exactly_one_encoding() {
    let good = sealed(json!({}));
    let (signed, mac) = good.rsplit_once('.').expect("three parts");
    // 32 bytes are 42 characters of 6 bits and one with 4: its two low bits are not part of the MAC.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(&mac[42..]).expect("in the alphabet");
    for bits in 1..4 {
        let twin = format!(
            "{signed}.{}{}",
            &mac[..42],
            &alphabet[last + bits..=last + bits]
        );
        assert_eq!(
            refusal(&twin),
            TokenError::Encoding { part: "signature" },
            "{twin}"
        );
    }
    // The same in parts under a valid MAC: {"alg":"HS256"} is 15 bytes, and one more character has unused bits.
    for (header, part) in [
        (encode(r#"{"alg":"HS256"} "#) + "==", "header"),
        (encode(r#"{"alg":"HS256"} "#).replace("IA", "IB"), "header"),
        ("eyJhbGciOiJIUzI1NiJ9+/".into(), "header"),
    ] {
        let token = sign_parts(&header, &encode(connection(json!({}))), SECRET.as_bytes());
        assert_eq!(refusal(&token), TokenError::Encoding { part }, "{header}");
    }
}

#[test]
fn token_over_the_length_limit_is_refused() {
    let padded = |bytes: usize| sealed(json!({"pad": "x".repeat(bytes)}));
    let fits = (0..)
        .map(|less| padded(6000 - less))
        .find(|token| token.len() <= TOKEN_BYTES_MAX)
        .expect("a length");
    assert!(fits.len() > TOKEN_BYTES_MAX - 4, "{}", fits.len());
    assert!(verify_connection(&fits, &keys(), NOW_MS).is_ok());
    let ten_kib = "x".repeat(10 * 1024);
    for token in [padded(6100), ten_kib] {
        assert_eq!(refusal(&token), TokenError::TooLong { bytes: token.len() });
    }
}

#[test]
fn claims_of_a_forgery_are_not_read() {
    // Only the signature is checked: the error is the same for all claims.
    for claims in [
        connection(json!({"exp": 1})),
        "not json".into(),
        connection(json!({"aud": "x"})),
        String::new(),
    ] {
        let token = sign_parts(&encode(HEADER), &encode(claims), b"a wrong secret");
        assert_eq!(refusal(&token), TokenError::Signature);
    }
    let not_base64 = sign_parts("%", "%", b"a wrong secret");
    assert_eq!(refusal(&not_base64), TokenError::Signature);
}
