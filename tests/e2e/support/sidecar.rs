//! The binary `lineside`, run in a temporary folder.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{SECRET, within};

/// Starts a sidecar with the default settings of these tests.
pub(crate) fn sidecar() -> Sidecar {
    place().start()
}

/// A new [`Place`] with the default settings of these tests.
pub(crate) fn place() -> Place {
    Place(Arc::new(Inner {
        folder: tempfile::Builder::new()
            .prefix("lineside-")
            .tempdir()
            .unwrap(),
        settings: Vec::new(),
    }))
}

/// A temporary folder for the link, and the settings of every process that runs there. Cheap to clone; the folder is
/// removed with the last clone.
#[derive(Clone)]
pub(crate) struct Place(Arc<Inner>);

struct Inner {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
}

impl Place {
    /// Sets an environment variable for every process that runs here.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        Arc::get_mut(&mut self.0)
            .expect("settings cannot change once the place is shared")
            .settings
            .push((name, value.to_string()));
        self
    }

    /// Another folder, with the same settings.
    pub(crate) fn clone_elsewhere(&self) -> Self {
        let Self(inner) = place();
        let mut inner = Arc::into_inner(inner).expect("the new place is not shared yet");
        inner.settings.clone_from(&self.0.settings);
        Self(Arc::new(inner))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.folder.path()
    }

    /// Path of the link.
    pub(crate) fn link(&self) -> PathBuf {
        self.folder().join("sockets/lineside.sock")
    }

    /// Runs the binary with these arguments and the settings of this place; the environment of the tests is cleared.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// The same, as an argument of another program such as `sh -c` or `setpriv`.
    pub(crate) fn command_under(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let binary = binary();
        let mut words = wrapper
            .iter()
            .map(OsStr::new)
            .chain([binary.as_os_str()])
            .chain(arguments.iter().map(OsStr::new));
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .env("LINESIDE_SECRET", SECRET)
            .env("LINESIDE_BIND", "127.0.0.1:0")
            .env("LINESIDE_ADMIN_BIND", "none")
            // A number above the limit of open files would log a warning.
            .env("LINESIDE_CONNECTIONS_MAX", "500")
            .env("LINESIDE_LINK", format!("unix:{}", self.link().display()))
            .envs(self.0.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder())
            .stdin(Stdio::null());
        command
    }

    /// Starts a sidecar and waits until it listens for browsers.
    pub(crate) fn start(&self) -> Sidecar {
        self.start_from(&mut self.command(&[]))
    }

    /// The same, with a command that the test has changed.
    pub(crate) fn start_from(&self, command: &mut Command) -> Sidecar {
        let mut sidecar = self.spawn_from(command);
        let listening = sidecar.logged(&["event=listening"]);
        let port = listening
            .split_once("bind=127.0.0.1:")
            .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect());
        let port: String = port.expect(&listening);
        sidecar.port = port.parse().unwrap();
        sidecar
    }

    /// Starts a sidecar without waiting until it listens.
    pub(crate) fn spawn(&self) -> Sidecar {
        self.spawn_from(&mut self.command(&[]))
    }

    /// The same, with a command that the test has changed.
    pub(crate) fn spawn_from(&self, command: &mut Command) -> Sidecar {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::default();
        let readers = vec![
            log.follow(child.stdout.take().unwrap()),
            log.follow(child.stderr.take().unwrap()),
        ];
        Sidecar {
            port: 0,
            place: self.clone(),
            child,
            log,
            readers,
        }
    }
}

/// Path of the binary that cargo built beside this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let binary = profile.join("lineside");
    assert!(
        binary.exists(),
        "{} does not exist: run `cargo build -p lineside`, or `bin/test e2e`, which builds it",
        binary.display()
    );
    binary
}

/// A running sidecar; killed when dropped.
pub(crate) struct Sidecar {
    /// Port for browsers.
    pub(crate) port: u16,
    place: Place,
    child: Child,
    log: Log,
    readers: Vec<JoinHandle<()>>,
}

impl Sidecar {
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits until the process has ended and its log is read to the end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = within("the sidecar ends", || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.ended().signal(), Some(9));
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for a log line that contains all of these parts.
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        within(&format!("a log line with {parts:?}"), || {
            let lines = self.log();
            let found = lines
                .iter()
                .find(|line| parts.iter().all(|part| line.contains(part)));
            found.cloned()
        })
    }

    /// Lines of standard output and standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            println!("the sidecar's log:\n{}", self.log().join("\n"));
        }
    }
}

/// TCP addresses on which the sidecar listens, ordered by port.
pub(crate) fn listening_ports(sidecar: &Sidecar) -> Vec<String> {
    // /proc/<pid>/fd lists sockets by inode; /proc/<pid>/net/tcp{,6} has their state, of which 0A is LISTEN (proc(5)).
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid())).unwrap();
    let sockets: Vec<String> = descriptors
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|target| {
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']').map(String::from)
        })
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table =
            std::fs::read_to_string(format!("/proc/{}/net/{table}", sidecar.pid())).unwrap();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == "0A" && sockets.iter().any(|socket| socket == fields[9]) {
                let (address, port) = fields[1].split_once(':').unwrap();
                let port = u16::from_str_radix(port, 16).unwrap();
                let address = address.replace("0100007F", "127.0.0.1");
                found.push((port, format!("{address}:{port}")));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, address)| address).collect()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn follow(&self, output: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = Arc::clone(&self.0);
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.lock().unwrap().push(line);
            }
        })
    }
}
