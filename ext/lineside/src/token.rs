//! Signing of tokens for Ruby. The rules are those of `lineside-token`.

use lineside_token::{ChannelDraft, ClaimError, ConnectionDraft, IdentityDraft, Keys};
use magnus::scan_args::get_kwargs;
use magnus::{Error, RHash, RString, Ruby};

use crate::error::{self, guard};
use crate::{gvl, revocation};

/// `Native.derive(app_key)`: derives a secret from the app's `secret_key_base`.
pub(crate) fn derive(ruby: &Ruby, app_key: RString) -> Result<String, Error> {
    guard(ruby, || Ok(gvl::read(app_key, lineside_token::derive)))
}

/// `Native.check_secrets(secrets)`: raises `ConfigurationError` if the list of secrets is invalid.
pub(crate) fn check_secrets(ruby: &Ruby, secrets: RString) -> Result<(), Error> {
    guard(ruby, || keys(ruby, secrets).map(drop))
}

/// `Native.sign_connection(secrets, sub:, sid:, channels:, allow:, seconds:)`: signs a connection token.
pub(crate) fn sign_connection(
    ruby: &Ruby,
    secrets: RString,
    claims: RHash,
) -> Result<String, Error> {
    guard(ruby, || {
        type Texts = Vec<String>;
        let names = ["sub", "sid", "channels", "allow", "seconds"];
        let given = get_kwargs::<_, (Option<String>, Option<String>, Texts, Texts, u64), (), ()>(
            claims,
            &names,
            &[],
        )?;
        let (sub, sid, channels, allow, ttl_s) = given.required;
        let draft = ConnectionDraft {
            sub,
            sid,
            channels,
            allow,
            ttl_s,
        };
        sign(ruby, secrets, |keys, now_ms| {
            lineside_token::sign_connection(draft, keys, now_ms)
        })
    })
}

/// `Native.sign_channel(secrets, channel:, sub:, seconds:)`: signs a channel token.
pub(crate) fn sign_channel(ruby: &Ruby, secrets: RString, claims: RHash) -> Result<String, Error> {
    guard(ruby, || {
        let names = ["channel", "sub", "seconds"];
        let given = get_kwargs::<_, (String, Option<String>, u64), (), ()>(claims, &names, &[])?;
        let (channel, sub, ttl_s) = given.required;
        let draft = ChannelDraft {
            channel,
            sub,
            ttl_s,
        };
        sign(ruby, secrets, |keys, now_ms| {
            lineside_token::sign_channel(draft, keys, now_ms)
        })
    })
}

/// `Native.sign_identity(secrets, sub:, sid:, seconds:, identifier: nil)`: signs an identity, the value of the cookie `lineside`.
pub(crate) fn sign_identity(ruby: &Ruby, secrets: RString, claims: RHash) -> Result<String, Error> {
    guard(ruby, || {
        let names = ["sub", "sid", "seconds"];
        let given = get_kwargs::<_, (String, Option<String>, u64), (Option<Option<String>>,), ()>(
            claims,
            &names,
            &["identifier"],
        )?;
        let (sub, sid, ttl_s) = given.required;
        let (identifier,) = given.optional;
        let draft = IdentityDraft {
            sub,
            sid,
            identifier: identifier.flatten(),
            ttl_s,
        };
        sign(ruby, secrets, |keys, now_ms| {
            lineside_token::sign_identity(draft, keys, now_ms)
        })
    })
}

fn sign(
    ruby: &Ruby,
    secrets: RString,
    signed: impl FnOnce(&Keys, u64) -> Result<String, ClaimError>,
) -> Result<String, Error> {
    let keys = keys(ruby, secrets)?;
    signed(&keys, revocation::issued_ms())
        .map_err(|problem| error::argument(ruby, problem.to_string()))
}

fn keys(ruby: &Ruby, secrets: RString) -> Result<Keys, Error> {
    Keys::parse(&secrets.to_string()?)
        .map_err(|problem| error::configuration(ruby, problem.to_string()))
}
