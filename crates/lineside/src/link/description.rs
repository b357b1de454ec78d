//! Link of `lineside check`: answers with the settings in effect. Logs nothing.

use std::sync::Arc;
use std::time::Duration;

use lineside_protocol::frame::{Description, DescriptionReply};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::EXCHANGE_MS_MAX;
use super::first_frame::read_first_frame;
use crate::keyring::Keyring;
use crate::route_keys::RouteKeys;
use crate::settings::CableIdentity;

/// Maximum size of the first frame, in bytes. It is a head alone, with room for options of later versions.
const FRAME_BYTES_MAX: usize = 256;

/// Answer to a request for a description.
#[derive(Debug)]
pub(crate) struct Descriptions {
    /// Address of the listener for browsers, or `none`.
    pub(crate) bind: String,
    /// Address of the admin listener, or `none`.
    pub(crate) admin: String,
    /// Path of the WebSocket endpoint.
    pub(crate) path: String,
    /// Path at which a proxy can send Action Cable.
    pub(crate) cable_path: String,
    /// Whether these connections need an identity cookie.
    pub(crate) cable_identity: CableIdentity,
    /// Keys of signed stream names for these connections, which an app can change.
    pub(crate) turbo_keys: Arc<RouteKeys>,
    /// Keys, which a reload of the secret can change.
    pub(crate) keys: Arc<Keyring>,
}

impl Descriptions {
    /// Answers and closes a link whose first frame has the kind of a request.
    pub(crate) async fn serve(&self, mut stream: UnixStream) {
        if read_first_frame(&stream, FRAME_BYTES_MAX).await.is_err() {
            return;
        }
        let description = Description {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bind: self.bind.clone(),
            admin: self.admin.clone(),
            path: self.path.clone(),
            cable_path: self.cable_path.clone(),
            cable_identity: self.cable_identity.name().to_owned(),
            turbo_keys: self.turbo_keys.current().count(),
            fingerprints: self.keys.current().fingerprints(),
        };
        let mut bytes = Vec::new();
        DescriptionReply::Described(description).encode(&mut bytes);
        let sent = stream.write_all(&bytes);
        let _sent = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS_MAX), sent).await;
    }
}
