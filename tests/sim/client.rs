//! Client in a page: the browser module, or a plain client of the protocol.

mod plain;

use lineside_tests::page::{Action, Page, Tags};

pub(crate) use plain::Plain;

/// Client in a page. The methods are those of [`Page`]; a client ignores the events that have a default here.
pub(crate) trait Client {
    fn actions(&mut self) -> Vec<Action>;
    fn due_ms(&self) -> Option<u64>;
    fn status(&self) -> &str;
    fn advance(&mut self, now_ms: u64);
    fn opened(&mut self, socket: u32);
    fn received(&mut self, socket: u32, text: &str);
    fn closed(&mut self, socket: u32, code: u16);
    fn give_token(&mut self, request: u32, token: &str);
    fn refuse_token(&mut self, request: u32, status: u16);
    fn close(&mut self);
    /// Stops sending requests of its own.
    fn quieten(&mut self) {}
    fn subscribe(&mut self, _listener: u32, _channel: &str, _token: Option<&str>) {}
    fn user(&mut self, _listener: u32) {}
    fn unsubscribe(&mut self, _listener: u32) {}
    fn sleep(&mut self, _now_ms: u64) {}
    fn network(&mut self, _is_online: bool) {}
    fn visibility(&mut self, _is_visible: bool) {}
    fn hide(&mut self) {}
    fn show(&mut self) {}
    fn visit(&mut self, _tags: &Tags) {}
}

impl Client for Page {
    fn actions(&mut self) -> Vec<Action> {
        Self::actions(self)
    }

    fn due_ms(&self) -> Option<u64> {
        Self::due_ms(self)
    }

    fn status(&self) -> &str {
        Self::status(self)
    }

    fn advance(&mut self, now_ms: u64) {
        Self::advance(self, now_ms);
    }

    fn opened(&mut self, socket: u32) {
        Self::opened(self, socket);
    }

    fn received(&mut self, socket: u32, text: &str) {
        Self::received(self, socket, text);
    }

    fn closed(&mut self, socket: u32, code: u16) {
        Self::closed(self, socket, code);
    }

    fn give_token(&mut self, request: u32, token: &str) {
        Self::give_token(self, request, token);
    }

    fn refuse_token(&mut self, request: u32, status: u16) {
        Self::refuse_token(self, request, status);
    }

    fn close(&mut self) {
        Self::close(self);
    }

    fn subscribe(&mut self, listener: u32, channel: &str, token: Option<&str>) {
        Self::subscribe(self, listener, channel, token);
    }

    fn user(&mut self, listener: u32) {
        Self::user(self, listener);
    }

    fn unsubscribe(&mut self, listener: u32) {
        Self::unsubscribe(self, listener);
    }

    fn sleep(&mut self, now_ms: u64) {
        Self::sleep(self, now_ms);
    }

    fn network(&mut self, is_online: bool) {
        Self::network(self, is_online);
    }

    fn visibility(&mut self, is_visible: bool) {
        Self::visibility(self, is_visible);
    }

    fn hide(&mut self) {
        Self::hide(self);
    }

    fn show(&mut self) {
        Self::show(self);
    }

    fn visit(&mut self, tags: &Tags) {
        Self::visit(self, tags);
    }
}
