//! SIGHUP: the secret is read again from its file, and keys rotate while everybody stays connected.
//!
//! The environment of a process cannot be changed from outside, so the file is all that there is to read again.

use std::convert::Infallible;

use tokio::signal::unix::Signal;

use crate::keyring::Keyring;
use crate::log::{Level, event};
use crate::settings::{Environment, SECRET_FILE, Source as _, secret};

/// For an operator whose reload changed nothing.
const REMEDY: &str = "mend the file and send SIGHUP again; until then the keys from before go on";

/// Reads the secret anew at each of these signals, for ever.
pub(crate) async fn reload_secrets(mut hangups: Signal, keys: &Keyring) -> Infallible {
    loop {
        if hangups.recv().await.is_none() {
            return std::future::pending().await;
        }
        // A file may lie where reading takes its time; nobody else waits for it.
        let read = tokio::task::spawn_blocking(read).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(new) => {
                let new_fingerprints = new.fingerprints();
                let old_fingerprints = keys.replace(new).fingerprints();
                let missing_in = |list: &[[u8; 8]], other: &[[u8; 8]]| {
                    list.iter().filter(|it| !other.contains(it)).count()
                };
                event(
                    Level::Info,
                    "secret_reloaded",
                    &[
                        ("keys", &new_fingerprints.len()),
                        ("added", &missing_in(&new_fingerprints, &old_fingerprints)),
                        ("retired", &missing_in(&old_fingerprints, &new_fingerprints)),
                    ],
                );
            }
            Err(message) => event(
                Level::Error,
                "secret_not_reloaded",
                &[("message", &message), ("remedy", &REMEDY)],
            ),
        }
    }
}

fn read() -> Result<lineside_token::Keys, String> {
    match Environment.get(SECRET_FILE)? {
        Some(_) => secret(&Environment),
        None => Err(format!(
            "the secret came with the start of this process and can only change with the next; with {SECRET_FILE} it \
             could be read again"
        )),
    }
}
