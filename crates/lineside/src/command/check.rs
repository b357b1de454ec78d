//! `lineside check`: finds common mistakes of the set-up, and names the remedy of each. Reads the settings as `serve` does,
//! and queries the running sidecar. Changes nothing.

mod machine;
mod network;
mod running;

use lineside_token::Keys;

use super::{Failure, link, print};
use crate::settings::{Environment, SECRET_FILE, Settings, Source, secret};
use crate::text::printable;

/// A possible mistake, with its remedy.
enum Finding {
    /// It may be intended.
    Warn(String),
    /// The sidecar does not work with it.
    Fail(String),
    /// The point was not checked, for this reason.
    Skip(String),
}

/// Result of one check.
type CheckResult = Result<(), Finding>;

fn warn(text: impl Into<String>) -> CheckResult {
    Err(Finding::Warn(text.into()))
}

fn fail(text: impl Into<String>) -> CheckResult {
    Err(Finding::Fail(text.into()))
}

fn skip(text: impl Into<String>) -> CheckResult {
    Err(Finding::Skip(text.into()))
}

pub(super) fn run() -> Result<(), Failure> {
    let mut report = Report::default();
    // Read once: the launcher passes the secret through a pipe.
    let keys = secret(&Environment);
    let missing = keys.as_ref().err().cloned();
    report.add("secret", missing.map_or(Ok(()), fail));
    report.add("secret file", machine::secret_file(&Environment));
    // With a made-up secret, to check the other settings even if there is none.
    match Settings::read(&WithSecret(&Environment)) {
        Err(message) => {
            report.add("settings", fail(message));
            report.add("sidecar", skip("the settings are invalid"));
        }
        Ok(settings) => check(&settings, keys.as_ref().ok(), &mut report),
    }
    print(&report.text)?;
    match report.faults {
        0 => Ok(()),
        1 => Err("1 fault was found".to_owned().into()),
        faults => Err(format!("{faults} faults were found").into()),
    }
}

fn check(settings: &Settings, keys: Option<&Keys>, report: &mut Report) {
    report.add("settings", unknown(settings));
    report.add("link folder", machine::link_folder(settings));
    report.add("link path", machine::link_path(settings));
    report.add("open files", machine::open_files(settings));
    report.add("memory", machine::memory(settings, &Environment));
    report.add("origins", network::origins(settings, &Environment));
    report.add("proxies", network::proxies(settings, &Environment));
    report.add("admin", network::admin(settings));
    match link::describe(&settings.link) {
        Ok(running) => {
            report.add("sidecar", Ok(()));
            report.add("key", running::key(&running, keys));
            report.add("version", running::version(&running));
            report.add("sidecar path", running::path(&running, settings));
            report.add("port", running::port(&running, settings));
            report.add("cable by route", running::cable(&running, settings));
        }
        Err(message) => {
            report.add("sidecar", fail(message));
            report.add(
                "key, version, sidecar path, cable by route",
                skip("no sidecar answers"),
            );
            report.add("port", network::port(settings));
        }
    }
}

/// Text of the report, and the number of faults in it.
#[derive(Default)]
struct Report {
    text: String,
    faults: usize,
}

impl Report {
    fn add(&mut self, name: &str, result: CheckResult) {
        let (level, text) = match result {
            Ok(()) => ("ok", String::new()),
            Err(Finding::Warn(text)) => ("warn", format!(": {text}")),
            Err(Finding::Skip(text)) => ("skip", format!(": {text}")),
            Err(Finding::Fail(text)) => {
                self.faults += 1;
                ("fail", format!(": {text}"))
            }
        };
        self.text
            .push_str(&format!("{level:<4}  {name}{}\n", printable(&text)));
    }
}

/// Finds unknown `LINESIDE_*` variables.
fn unknown(settings: &Settings) -> CheckResult {
    match &settings.unknown[..] {
        [] => Ok(()),
        names => warn(format!(
            "the sidecar has no setting {}; check the spelling",
            names.join(", ")
        )),
    }
}

/// Source of the same settings with a made-up secret.
struct WithSecret<'a, S>(&'a S);

impl<S: Source> Source for WithSecret<'_, S> {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        match name {
            "LINESIDE_SECRET" => Ok(Some("made-up secret: 0123456789 0123456789".to_owned())),
            SECRET_FILE | "LINESIDE_SECRET_FD" => Ok(None),
            other => self.0.get(other),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }
}
