//! `lineside check`: finds common mistakes of the set-up, and names the remedy of each. Reads the settings as `serve` does,
//! and queries the running sidecar. Changes nothing.

mod machine;
mod network;
mod running;

use lexopt::Parser;

use super::{Failure, print};
use crate::settings::{Environment, SECRET_FILE, Settings, Source};
use crate::text::printable;

/// A possible mistake, with its remedy.
enum Finding {
    /// It may be intended.
    Warn(String),
    /// The sidecar does not work with it.
    Fail(String),
}

/// Result of one check.
type CheckResult = Result<(), Finding>;

fn warn(text: impl Into<String>) -> CheckResult {
    Err(Finding::Warn(text.into()))
}

fn fail(text: impl Into<String>) -> CheckResult {
    Err(Finding::Fail(text.into()))
}

pub(super) fn run(mut parser: Parser) -> Result<(), Failure> {
    if let Some(argument) = parser.next()? {
        return Err(argument.unexpected().into());
    }
    let mut report = Report::default();
    report.add("secret", secret(&Environment));
    report.add("secret file", machine::secret_file(&Environment));
    // With a made-up secret, to check the other settings even if there is none.
    match Settings::read(&WithSecret(&Environment)) {
        Err(message) => report.add("settings", fail(message)),
        Ok(settings) => check(&settings, &mut report),
    }
    print(&report.text)?;
    match report.faults {
        0 => Ok(()),
        1 => Err("1 fault was found".to_owned().into()),
        faults => Err(format!("{faults} faults were found").into()),
    }
}

fn check(settings: &Settings, report: &mut Report) {
    report.add("settings", unknown(settings));
    report.add("link folder", machine::link_folder(settings));
    report.add("link path", machine::link_path(settings));
    report.add("open files", machine::open_files(settings));
    report.add("origins", network::origins(settings, &Environment));
    report.add("proxies", network::proxies(settings, &Environment));
    report.add("admin", network::admin(settings));
    let running = running::find(settings, &Environment);
    report.add("sidecar", running.link());
    if running.is_linked() {
        report.add("key", running.key());
        report.add("version", running::version(settings));
        report.add("port and path", running::port_and_path(settings));
    } else {
        report.add("port", network::port(settings));
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
            Err(Finding::Fail(text)) => {
                self.faults += 1;
                ("fail", format!(": {text}"))
            }
        };
        self.text
            .push_str(&format!("{level:<4}  {name}{}\n", printable(&text)));
    }
}

/// Finds a missing or invalid secret.
fn secret(source: &impl Source) -> CheckResult {
    crate::settings::secret(source)
        .map(drop)
        .map_err(Finding::Fail)
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
