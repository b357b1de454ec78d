//! Command line: `serve`, `publish`, `token`, `tail` and `check`.

mod check;
mod help;
mod link;
mod publish;
mod tail;
mod token;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt as _};
use lineside_token::ConnectionDraft;

use crate::serve::serve;
use crate::settings::{Environment, Settings};
use crate::text::printable;

/// Exit status after wrong arguments (`EX_USAGE` of sysexits(3)).
const USAGE: u8 = 64;

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
    let mut arguments = arguments.peekable();
    // The gem has the arguments parsed before it boots an app for its settings.
    let is_parse_only = arguments.next_if(|it| it == "--parse-only").is_some();
    let command = Command::parse(Parser::from_args(arguments));
    let done = command.and_then(|command| if is_parse_only { Ok(()) } else { command.run() });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { status, message }) => {
            print_error(&message);
            ExitCode::from(status)
        }
    }
}

/// A command with its valid arguments.
enum Command {
    Serve,
    Publish(publish::Input),
    Token(ConnectionDraft),
    Tail(String),
    Check,
    /// Prints a text.
    Print(String),
}

impl Command {
    fn parse(mut parser: Parser) -> Result<Self, Failure> {
        let name = match parser.next()? {
            None => return Ok(Self::Serve),
            Some(Arg::Long("version") | Arg::Short('V')) => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Self::Print(format!("lineside {version}\n")));
            }
            Some(Arg::Long("help") | Arg::Short('h')) => "help".to_owned(),
            Some(Arg::Value(command)) => command.string()?,
            Some(argument) => return Err(argument.unexpected().into()),
        };
        let arguments: Vec<OsString> = parser.raw_args()?.collect();
        let asks_for_help = arguments.iter().any(|it| it == "--help" || it == "-h");
        if let Some(text) = help::of(&name).filter(|_| asks_for_help) {
            return Ok(Self::Print(text));
        }
        let mut parser = Parser::from_args(arguments.iter().cloned());
        match name.as_str() {
            "help" => help::parse(parser).map(Self::Print),
            "serve" => nothing(&mut parser).map(|()| Self::Serve),
            "check" => nothing(&mut parser).map(|()| Self::Check),
            "publish" => publish::Input::parse(arguments).map(Self::Publish),
            "token" => token::parse(parser).map(Self::Token),
            "tail" => tail::parse(parser).map(Self::Tail),
            other => Err(help::unknown(other)),
        }
    }

    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve => Ok(serve(Settings::read(&Environment)?)?),
            Self::Publish(input) => publish::run(&input),
            Self::Token(draft) => token::run(draft),
            Self::Tail(wanted) => tail::run(wanted),
            Self::Check => check::run(),
            Self::Print(text) => print(&text),
        }
    }
}

/// Expects the end of the arguments.
fn nothing(parser: &mut Parser) -> Result<(), Failure> {
    match parser.next()? {
        None => Ok(()),
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
