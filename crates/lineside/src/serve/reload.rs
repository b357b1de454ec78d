//! SIGHUP: reads the secret's file again and replaces the keys. Connections stay open.
//!
//! Only the file can change: the environment of a running process cannot be changed from outside.

use std::convert::Infallible;

use tokio::signal::unix::Signal;

use crate::keyring::Keyring;
use crate::log::{Level, event};
use crate::settings::{Environment, SECRET_FILE, Source as _, secret};

/// Remedy for a failed reload.
const REMEDY: &str = "correct the file and send SIGHUP again; the previous keys stay in use";

/// Reads the secret again at each SIGHUP, until the sidecar stops.
pub(crate) async fn reload_secrets(mut hangups: Signal, keys: &Keyring) -> Infallible {
    loop {
        if hangups.recv().await.is_none() {
            return std::future::pending().await;
        }
        // In a thread, because the file may be on a slow disk.
        let read = tokio::task::spawn_blocking(read).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(new) => {
                let new_fingerprints = new.fingerprints();
                let old_fingerprints = keys.replace(new).fingerprints();
                let missing_in = |list: &[[u8; 8]], other: &[[u8; 8]]| {
                    list.iter().filter(|it| !other.contains(it)).count()
                };
                event!(
                    Level::Info,
                    "secret_reloaded",
                    keys = new_fingerprints.len(),
                    added = missing_in(&new_fingerprints, &old_fingerprints),
                    retired = missing_in(&old_fingerprints, &new_fingerprints)
                );
            }
            Err(message) => event!(
                Level::Error,
                "secret_not_reloaded",
                message,
                remedy = REMEDY
            ),
        }
    }
}

fn read() -> Result<lineside_token::Keys, String> {
    match Environment.get(SECRET_FILE)? {
        Some(_) => secret(&Environment),
        None => Err(format!(
            "the secret is not in a file and cannot be reloaded; restart to change it, or set {SECRET_FILE}"
        )),
    }
}
