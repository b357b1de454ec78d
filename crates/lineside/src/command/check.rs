//! `lineside check`: the likeliest mistakes of a set-up, each with its remedy. It looks as `serve` would, and at the sidecar
//! that runs; it changes nothing.

mod machine;
mod network;
mod running;

use lexopt::Parser;

use super::{Failure, print};
use crate::settings::{Environment, SECRET_FILE, Settings, Source};

/// How grave a finding is, and what it says: what is wrong and what to do.
enum Finding {
    /// It may be meant so.
    Warn(String),
    /// It will not work.
    Fail(String),
}

/// What a check has found: nothing, if all is well.
type Found = Result<(), Finding>;

fn warn(text: impl Into<String>) -> Found {
    Err(Finding::Warn(text.into()))
}

fn fail(text: impl Into<String>) -> Found {
    Err(Finding::Fail(text.into()))
}

pub(super) fn run(mut parser: Parser) -> Result<(), Failure> {
    if let Some(argument) = parser.next()? {
        return Err(argument.unexpected().into());
    }
    let mut report = Report::default();
    report.add("secret", secret(&Environment));
    report.add("secret file", machine::secret_file(&Environment));
    // With any secret, so that the other settings are looked at even if there is none.
    match Settings::read(&WithSecret(&Environment)) {
        Err(message) => report.add("settings", fail(message)),
        Ok(settings) => look(&settings, &mut report),
    }
    print(&report.text)?;
    match report.faults {
        0 => Ok(()),
        1 => Err("1 fault was found".to_owned().into()),
        faults => Err(format!("{faults} faults were found").into()),
    }
}

fn look(settings: &Settings, report: &mut Report) {
    report.add("settings", unknown(settings));
    report.add("link folder", machine::link_folder(settings));
    report.add("link place", machine::link_place(settings));
    report.add("open files", machine::open_files(settings));
    report.add("origins", network::origins(settings, &Environment));
    report.add("proxies", network::proxies(settings, &Environment));
    report.add("admin", network::admin(settings));
    let running = running::find(settings, &Environment);
    report.add("sidecar", running.found());
    if running.is_there() {
        report.add("key", running.key());
        report.add("version", running::version(settings));
        report.add("port and path", running::port_and_path(settings));
    } else {
        report.add("port", network::port(settings));
    }
}

/// The lines, and how many of them are faults.
#[derive(Default)]
struct Report {
    text: String,
    faults: usize,
}

impl Report {
    fn add(&mut self, name: &str, found: Found) {
        let (level, text) = match found {
            Ok(()) => ("ok", String::new()),
            Err(Finding::Warn(text)) => ("warn", format!(": {text}")),
            Err(Finding::Fail(text)) => {
                self.faults += 1;
                ("fail", format!(": {text}"))
            }
        };
        self.text.push_str(&format!("{level:<4}  {name}{text}\n"));
    }
}

/// None, or one that nobody may use.
fn secret(source: &impl Source) -> Found {
    crate::settings::secret(source)
        .map(drop)
        .map_err(Finding::Fail)
}

/// Variables that look like settings.
fn unknown(settings: &Settings) -> Found {
    match &settings.unknown[..] {
        [] => Ok(()),
        names => warn(format!(
            "{} means nothing to the sidecar; mind the spelling",
            names.join(", ")
        )),
    }
}

/// The same settings with a secret in any case, which nobody is shown.
struct WithSecret<'a, S>(&'a S);

impl<S: Source> Source for WithSecret<'_, S> {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        match name {
            "LINESIDE_SECRET" => Ok(Some("no secret: 0123456789 0123456789".to_owned())),
            SECRET_FILE | "LINESIDE_SECRET_FD" => Ok(None),
            other => self.0.get(other),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }
}
