//! The command line: `serve`, `publish`, `token`, `tail`, `check`.

mod check;
mod publish;
mod tail;
mod token;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::serve::serve;
use crate::settings::{Environment, Settings};

/// The status of a call that was misunderstood (sysexits(3), `EX_USAGE`).
const USAGE: u8 = 64;

const HELP: &str = "\
lineside: realtime for Rails

  lineside [serve]                  serve browsers and publishers until SIGTERM
  lineside publish CHANNEL JSON     publish, and wait until it has landed
  lineside publish -                the same for each line of {\"channel\":…,\"data\":…} on standard input
  lineside token [--sub USER] [--channel NAME]… [--allow GRANT]… [--ttl 1h]
                                    print a connection token
  lineside tail [CHANNEL]           print what is published, a line of JSON each; CHANNEL may end in *
  lineside check                    look for the likeliest mistakes of the set-up
  lineside --version

Settings come from the environment, LINESIDE_*; `bundle exec lineside` finds the app's by itself.
";

/// Why a command failed: one line, and the status to end with.
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

/// Runs the command that the arguments (without the program's name) ask for.
///
/// A failure is a status other than 0 and one line on standard error.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match dispatch(Parser::from_args(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { status, message }) => {
            complain(&message);
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
            other => Err(Failure::usage(format!("there is no command {other:?}"))),
        },
        Some(argument) => Err(argument.unexpected().into()),
    }
}

/// One line on standard error.
fn complain(message: &str) {
    // Nobody is left to tell when standard error itself is gone.
    let _untold = writeln!(std::io::stderr(), "lineside: {message}");
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::from(format!("standard output cannot be written: {error}")))
}
