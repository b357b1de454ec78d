//! A release sidecar in a temporary folder.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Outcome;
use crate::client;

/// Secret of the sidecar's tokens.
pub(crate) const SECRET: &str = "the secret of this measurement: 0123456789";
/// Time-out of the start.
const READY_MAX: Duration = Duration::from_secs(20);
/// Time between two looks at a sidecar that starts.
const POLL: Duration = Duration::from_millis(20);

/// A running sidecar; killed when dropped.
pub(crate) struct Sidecar {
    /// Port for browsers.
    pub(crate) port: u16,
    folder: TempDir,
    child: Child,
}

impl Sidecar {
    /// Starts a sidecar with default limits, and waits until it answers.
    pub(crate) fn start() -> Outcome<Self> {
        let folder = tempfile::Builder::new()
            .prefix("lineside-bench-")
            .tempdir()?;
        let binary = std::env::current_exe()?.with_file_name("lineside");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new(&binary)
            .env_clear()
            .env("LINESIDE_SECRET", SECRET)
            .env("LINESIDE_BIND", format!("127.0.0.1:{port}"))
            .env("LINESIDE_ADMIN_BIND", "none")
            .env("LINESIDE_PUBLIC_CHANNELS", "*")
            .env(
                "LINESIDE_LINK",
                format!("unix:{}", link(folder.path()).display()),
            )
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                format!(
                    "{}: {error}; run bin/bench, which builds it",
                    binary.display()
                )
            })?;
        let mut sidecar = Self {
            port,
            folder,
            child,
        };
        let end = Instant::now() + READY_MAX;
        while client::up(port).is_err() {
            if Instant::now() > end || sidecar.child.try_wait()?.is_some() {
                let log = fs::read_to_string(sidecar.folder().join("log"))?;
                return Err(format!("the sidecar did not start:\n{log}").into());
            }
            std::thread::park_timeout(POLL);
        }
        Ok(sidecar)
    }

    /// Path of the link.
    pub(crate) fn link(&self) -> PathBuf {
        link(self.folder.path())
    }

    /// Folder of the link and the log.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Size of the log so far.
    pub(crate) fn log_bytes(&self) -> Outcome<u64> {
        Ok(fs::metadata(self.folder.path().join("log"))?.len())
    }
}

/// Path of the link in the sidecar's folder.
pub(crate) fn link(folder: &Path) -> PathBuf {
    folder.join("sockets/lineside.sock")
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}
