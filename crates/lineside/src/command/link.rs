//! Links of the commands that ask the sidecar.

use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use lineside_protocol::codes;
use lineside_protocol::frame::{Description, DescriptionReply, DescriptionRequest, Fault, Frame};
use lineside_publisher::remedy;
use nix::errno::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Deadline for an answer of the sidecar.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the running sidecar for its settings in effect.
///
/// # Errors
/// Returns an error if no sidecar of this user answers, with the remedy.
pub(super) fn describe(path: &Path) -> Result<Description, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let answer = async { tokio::time::timeout(ANSWER_TIMEOUT, exchange(path)).await };
    runtime.block_on(answer).unwrap_or_else(|_| {
        let seconds = ANSWER_TIMEOUT.as_secs();
        Err(format!(
            "the sidecar did not answer on the link within {seconds} s; is it suspended?"
        ))
    })
}

async fn exchange(path: &Path) -> Result<Description, String> {
    let mut link = connect(path).await?;
    let broken =
        |error| format!("the link failed ({error}): the sidecar may be stopping or suspended");
    let mut bytes = Vec::new();
    DescriptionRequest.encode(&mut bytes);
    link.write_all(&bytes).await.map_err(broken)?;
    let mut received = BytesMut::new();
    loop {
        if let Some(frame) = Frame::split(&mut received).map_err(|error| error.to_string())? {
            return match DescriptionReply::decode(&frame).map_err(|error| error.to_string())? {
                DescriptionReply::Described(description) => Ok(description),
                DescriptionReply::Fault(fault) => Err(refusal(fault)),
            };
        }
        if link.read_buf(&mut received).await.map_err(broken)? == 0 {
            return Err("the sidecar closed the link: it may be stopping".to_owned());
        }
    }
}

/// Message of a fault that the sidecar sent.
pub(super) fn refusal(Fault { code, message }: Fault) -> String {
    if code == codes::LINK_UNKNOWN_KIND.number || code == codes::LINK_BAD_FRAME.number {
        format!(
            "the sidecar does not support this command ({message}): restart it with this version"
        )
    } else {
        message
    }
}

/// Connects to the sidecar.
///
/// # Errors
/// Returns an error if no sidecar listens, or if the process that listens runs as another user.
pub(super) async fn connect(path: &Path) -> Result<UnixStream, String> {
    let link = UnixStream::connect(path)
        .await
        .map_err(|error| match Errno::try_from(error) {
            Ok(errno) => remedy::unopened(path, errno),
            Err(error) => format!("{} cannot be opened: {error}", path.display()),
        })?;
    let theirs = link
        .peer_cred()
        .map_err(|error| {
            format!(
                "cannot read the user of the process that listens at {}: {error}",
                path.display()
            )
        })?
        .uid();
    if theirs != nix::unistd::geteuid().as_raw() {
        return Err(remedy::foreign(path, theirs));
    }
    Ok(link)
}
