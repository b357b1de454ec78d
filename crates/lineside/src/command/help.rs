//! Help of the command, as a whole and for each subcommand.

use lexopt::{Arg, Parser, ValueExt as _};

use super::Failure;

/// Help of the whole command.
const ALL: &str = "\
lineside: realtime for Rails

  lineside [serve]                  serve browsers and publishers until SIGTERM
  lineside publish CHANNEL JSON     publish, and wait for the sidecar's confirmation
  lineside publish -                the same for each line of {\"channel\":…,\"data\":…} on standard input
  lineside token [--sub USER] [--channel NAME]… [--allow GRANT]… [--ttl 1h]
                                    print a connection token
  lineside tail [CHANNEL]           print each publication as a line of JSON; CHANNEL may end in *
  lineside check                    check the settings and the running sidecar
  lineside help [COMMAND]           print this help, or that of a command
  lineside --version

Settings are LINESIDE_* variables of the environment. `bundle exec lineside` adds the settings of the app.
";

/// Help of each subcommand, by its name.
const COMMANDS: [(&str, &str); 6] = [
    (
        "serve",
        "\
lineside [serve]

Serves browsers and publishers until SIGTERM, then drains: browsers are told when to reconnect, and the history is saved for
the next start. One line says where it listens. LINESIDE_LOG_LEVEL=debug shows each setting in effect.
",
    ),
    (
        "publish",
        "\
lineside publish CHANNEL JSON
lineside publish -

Publishes one payload, waits for the sidecar's confirmation, and prints the cursor. With -, publishes each line of standard
input, which has the form {\"channel\":\"orders\",\"data\":{\"id\":7}}, and prints nothing.

  lineside publish orders '{\"id\":7}'
  lineside publish user:42 '\"hello\"'
",
    ),
    (
        "token",
        "\
lineside token [--sub USER] [--channel NAME]… [--allow GRANT]… [--ttl 1h]

Prints a connection token.

  --sub USER        id of the user whose channel the token opens
  --channel NAME    channel that is subscribed on connect
  --allow GRANT     channel that may be subscribed: a name, or a prefix such as chat:*
  --ttl TIME        lifetime, such as 90s, 15m or 1h; 1h by default, 24h at most
",
    ),
    (
        "tail",
        "\
lineside tail [CHANNEL]

Prints each publication as a line of JSON, from now on, until Ctrl-C. CHANNEL is a name, or a prefix and *. The name of a
record's channel is followed by the record, as \"readable\".

  lineside tail
  lineside tail 'user:*'
",
    ),
    (
        "check",
        "\
lineside check

Checks the settings and the running sidecar. Prints ok, warn, fail or skip for each point, with what to do, and exits with 1
after a fail. Changes nothing. `bin/rails lineside:check` also checks the app.
",
    ),
    ("help", ALL),
];

/// Returns the help of a subcommand.
pub(super) fn of(command: &str) -> Option<String> {
    let found = COMMANDS.iter().find(|(name, _)| *name == command);
    found.map(|(_, text)| (*text).to_owned())
}

/// Returns the help of the command that the arguments name.
pub(super) fn parse(mut parser: Parser) -> Result<String, Failure> {
    match parser.next()? {
        None => Ok(ALL.to_owned()),
        Some(Arg::Value(command)) => {
            let command = command.string()?;
            super::nothing(&mut parser)?;
            of(&command).ok_or_else(|| unknown(&command))
        }
        Some(argument) => Err(argument.unexpected().into()),
    }
}

/// Failure for a name that is not a command.
pub(super) fn unknown(command: &str) -> Failure {
    Failure::usage(format!("unknown command {command:?}"))
}
