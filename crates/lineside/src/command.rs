//! Command line: `serve`, `publish`, `token`, `tail` and `check`.

mod check;
mod link;
mod publish;
mod tail;
mod token;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::serve::serve;
use crate::settings::{Environment, Settings};
use crate::text::printable;

/// Exit status after wrong arguments (`EX_USAGE` of sysexits(3)).
const USAGE: u8 = 64;

const HELP: &str = "\
lineside: realtime for Rails

  lineside [serve]                  serve browsers and publishers until SIGTERM
  lineside publish CHANNEL JSON     publish, and wait for the sidecar's confirmation
  lineside publish -                the same for each line of {\"channel\":…,\"data\":…} on standard input
  lineside token [--sub USER] [--channel NAME]… [--allow GRANT]… [--ttl 1h]
                                    print a connection token
  lineside tail [CHANNEL]           print each publication as a line of JSON; CHANNEL may end in *
  lineside check                    check the settings and the running sidecar
  lineside --version

Settings are LINESIDE_* variables of the environment. `bundle exec lineside` adds the settings of the app.
";

/// Failure of a command: a message of one line, and the exit status.
#[derive(Debug)]
struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Self {
            status: USAGE,
            message: format!("{} (see lineside --help)", message.into()),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { status: 1, message }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(error.to_string())
    }
}

/// Runs a command. The arguments do not include the name of the program.
///
/// After a failure the exit status is not 0, and standard error has one line.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match dispatch(Parser::from_args(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { status, message }) => {
            print_error(&message);
            ExitCode::from(status)
        }
    }
}

fn dispatch(mut parser: Parser) -> Result<(), Failure> {
    match parser.next()? {
        None => Ok(serve(Settings::read(&Environment)?)?),
        Some(Arg::Long("version") | Arg::Short('V')) => {
            print(&format!("lineside {}\n", env!("CARGO_PKG_VERSION")))
        }
        Some(Arg::Long("help") | Arg::Short('h')) => print(HELP),
        Some(Arg::Value(command)) => match command.string()?.as_str() {
            "serve" => match parser.next()? {
                None => Ok(serve(Settings::read(&Environment)?)?),
                Some(argument) => Err(argument.unexpected().into()),
            },
            "publish" => publish::run(parser),
            "token" => token::run(parser),
            "tail" => tail::run(parser),
            "check" => check::run(parser),
            other => Err(Failure::usage(format!("unknown command {other:?}"))),
        },
        Some(argument) => Err(argument.unexpected().into()),
    }
}

/// Prints a line on standard error. The message may hold text of another process or of the environment.
fn print_error(message: &str) {
    // If standard error is closed, there is nowhere to report the failure.
    let _unreported = writeln!(std::io::stderr(), "lineside: {}", printable(message));
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::from(format!("standard output cannot be written: {error}")))
}
