//! Commands of the peers, with the settings in `bench/peers`. `bin/bench peers` installs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::Program;
use crate::Outcome;
use crate::sidecar::SECRET;

/// Configurations and programs of this repository, and the folder of what is installed.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tmp/bench/peers");
const NGINX: &str = "/usr/sbin/nginx";
const REDIS: &str = "/usr/bin/redis-server";
const NODE: &str = "/usr/bin/node";
const PUMA: &str = "/usr/bin/puma";

/// Files without which a program cannot run.
pub(super) fn files(program: Program) -> Vec<PathBuf> {
    let socketio = installed("socketio/node_modules/socket.io/package.json");
    match program {
        Program::Limit | Program::LimitCoalescing | Program::Lineside => Vec::new(),
        Program::Nchan => vec![NGINX.into(), installed("nchan/ngx_nchan_module.so")],
        Program::Centrifugo => vec![installed("centrifugo/centrifugo")],
        Program::SocketIo => vec![NODE.into(), socketio],
        Program::SocketIoRedis => vec![NODE.into(), socketio, REDIS.into()],
        Program::ActionCable => vec![PUMA.into(), REDIS.into()],
    }
}

/// Command of a peer that listens at `port`, run in `folder`.
pub(super) fn command(
    program: Program,
    port: u16,
    redis_port: Option<u16>,
    folder: &Path,
) -> Outcome<Command> {
    let redis = redis_port.map(url).unwrap_or_default();
    let command = match program {
        Program::Nchan => {
            configure("nchan.conf", port, folder)?;
            let mut command = Command::new(NGINX);
            command.arg("-p").arg(folder).args(["-c", "nchan.conf"]);
            command
        }
        Program::Centrifugo => {
            configure("centrifugo.json", port, folder)?;
            let mut command = Command::new(installed("centrifugo/centrifugo"));
            command.args(["--config", "centrifugo.json"]);
            command
        }
        Program::SocketIo | Program::SocketIoRedis => {
            let mut command = Command::new(NODE);
            command
                .arg(installed("socketio/server.mjs"))
                .env("BENCH_PORT", port.to_string())
                .env("BENCH_SECRET", SECRET)
                .env("BENCH_REDIS", redis)
                .env("NODE_ENV", "production");
            command
        }
        Program::ActionCable => {
            let mut command = Command::new(PUMA);
            command
                .args(["--threads", "5:5", "--bind"])
                .arg(format!("tcp://127.0.0.1:{port}"))
                .arg(format!("{SOURCES}/action_cable/config.ru"))
                .env("RAILS_ENV", "production")
                .env("BENCH_SECRET", SECRET)
                .env("BENCH_REDIS", redis);
            command
        }
        Program::Limit | Program::LimitCoalescing | Program::Lineside => {
            return Err(format!("{} is no peer", program.name()).into());
        }
    };
    Ok(command)
}

/// Redis without persistence.
pub(super) fn redis(port: u16) -> Command {
    let mut command = Command::new(REDIS);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"]);
    command
}

/// Process that publishes lines of a Unix socket through Redis to Socket.IO.
pub(super) fn emitter(redis_port: u16) -> Command {
    let mut command = Command::new(NODE);
    command
        .arg(installed("socketio/emitter.mjs"))
        .env("BENCH_REDIS", url(redis_port))
        .env("NODE_ENV", "production");
    command
}

fn url(redis_port: u16) -> String {
    format!("redis://127.0.0.1:{redis_port}")
}

fn installed(path: &str) -> PathBuf {
    Path::new(INSTALLED).join(path)
}

/// Writes a configuration of this repository into the folder, with its port and secret.
fn configure(name: &str, port: u16, folder: &Path) -> Outcome<()> {
    let template = fs::read_to_string(Path::new(SOURCES).join(name))?;
    let text = template
        .replace("BENCH_PORT", &port.to_string())
        .replace("BENCH_SECRET", SECRET)
        .replace("BENCH_INSTALLED", INSTALLED);
    Ok(fs::write(folder.join(name), text)?)
}
