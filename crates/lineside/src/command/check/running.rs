//! Checks of the running sidecar: secret, version, path and port. It describes itself on the link.

use lineside_protocol::frame::Description;
use lineside_token::Keys;

use super::{CheckResult, fail, skip, warn};
use crate::listener::{Bind, BindAddress};
use crate::settings::Settings;

/// Finds a sidecar with another secret.
pub(super) fn key(running: &Description, keys: Option<&Keys>) -> CheckResult {
    let Some(keys) = keys else {
        return skip("there is no secret here to compare with the sidecar's");
    };
    if running.fingerprints.contains(&keys.fingerprint()) {
        return Ok(());
    }
    fail(
        "the sidecar has another secret than this command, so it refuses tokens that are signed with the secret set here; \
         restart it with `bundle exec lineside` inside the app, or give both the same LINESIDE_SECRET",
    )
}

/// Finds a sidecar of another version, such as one that was not restarted after an update.
pub(super) fn version(running: &Description) -> CheckResult {
    let ours = env!("CARGO_PKG_VERSION");
    if running.version == ours {
        return Ok(());
    }
    warn(format!(
        "the sidecar has version {}, but this command has version {ours}; restart the sidecar",
        running.version
    ))
}

/// Finds a path that the sidecar does not serve.
pub(super) fn path(running: &Description, settings: &Settings) -> CheckResult {
    if running.path == settings.path {
        return Ok(());
    }
    fail(format!(
        "the sidecar serves {}, but LINESIDE_PATH is {}; set the same path for the app and the sidecar",
        running.path, settings.path
    ))
}

/// Finds a listener of the sidecar that is not where its setting says.
pub(super) fn port(running: &Description, settings: &Settings) -> CheckResult {
    [
        (
            &running.bind,
            settings.bind,
            "browsers that a proxy sends there cannot connect",
        ),
        (&running.admin, settings.admin_bind, "metrics are not there"),
    ]
    .into_iter()
    .try_for_each(|(effective, bind, effect)| listener(effective, bind, effect))
}

/// Finds whether a proxy can send Action Cable to the sidecar. By default the app does, which needs none of it.
pub(super) fn cable(running: &Description, settings: &Settings) -> CheckResult {
    let here = settings.cable_identity.name();
    let Description {
        bind,
        cable_path,
        cable_identity,
        turbo_keys,
        ..
    } = running;
    if bind == "none" {
        return skip("the sidecar has no port for a proxy, so Action Cable comes through the app");
    }
    if *turbo_keys == 0 {
        return skip(
            "the sidecar has no keys of Turbo's streams (LINESIDE_TURBO_KEYS), so it rejects them if a proxy sends the path of \
             Action Cable to its port; through the app they work",
        );
    }
    if *cable_path != settings.cable_path {
        return fail(format!(
            "the sidecar serves Action Cable at {cable_path}, but LINESIDE_CABLE_PATH is {} here; set the same path for both",
            settings.cable_path
        ));
    }
    if cable_identity != here {
        return fail(format!(
            "LINESIDE_CABLE_IDENTITY of the sidecar is {cable_identity}, but {here} here; restart the sidecar, or set it as for \
             the sidecar"
        ));
    }
    Ok(())
}

fn listener(effective: &str, bind: Bind, effect: &str) -> CheckResult {
    let setting = bind.setting;
    match bind.address {
        BindAddress::None => Ok(()),
        BindAddress::At(address) if address.port() == 0 || address.to_string() == effective => {
            Ok(())
        }
        BindAddress::At(address) if effective == "none" && !bind.is_chosen => warn(format!(
            "the sidecar does not listen at {address}, the default of {setting}: the address was in use when it started, or is none \
             there; set {setting} to another address, or to none if it is not needed"
        )),
        BindAddress::At(address) => warn(format!(
            "the sidecar listens at {effective}, but {setting} is {address} here, so {effect}; set it as for the sidecar"
        )),
    }
}
