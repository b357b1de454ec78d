//! Page that runs the browser module, `app/assets/javascripts/lineside.js`, in a JavaScript engine without a browser. The test
//! provides its sockets, timers, requests and random numbers (`browser.js`), so that each run can be repeated exactly.
//!
//! ```text
//! let mut page = Page::load(seed, now_ms, &tags);
//! page.connect();
//! page.subscribe(1, "board", None);
//! for action in page.actions() { … }   // Open { socket, .. }: open one, then call page.opened(socket)
//! page.received(socket, text);         // a text message from the server
//! page.advance(now_ms);                // runs due timers in their order; page.due_ms() is the next
//! ```
//!
//! The page acts only within these calls. After each one, [`Page::actions`] returns its actions, including those of microtasks.

use std::cell::Cell;
use std::rc::Rc;

use rquickjs::{Context, Function, Module, Runtime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const MODULE: &str = include_str!("../../app/assets/javascripts/lineside.js");
const BROWSER: &str = include_str!("browser.js");

/// `<meta>` tags of a page, as `lineside_meta_tags` and `csrf_meta_tags` render them. None is a missing tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tags {
    /// URL of the sidecar.
    #[serde(rename = "lineside-url")]
    pub url: Option<String>,
    /// Connection token.
    #[serde(rename = "lineside-token")]
    pub token: Option<String>,
    /// URL of the token endpoint.
    #[serde(rename = "lineside-token-url")]
    pub token_url: Option<String>,
    /// Newest cursor at the start of the page's request.
    #[serde(rename = "lineside-cursor")]
    pub cursor: Option<String>,
    /// CSRF token of its requests.
    #[serde(rename = "csrf-token")]
    pub csrf: Option<String>,
}

/// Action of a page.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Opens a socket. Sockets are numbered from 1.
    Open {
        /// Which.
        socket: u32,
        /// URL of the socket.
        url: String,
        /// Offered subprotocol.
        protocol: String,
    },
    /// Sends a text message over an open socket.
    Send {
        /// Which.
        socket: u32,
        /// Text of the message.
        text: String,
    },
    /// Closes a socket, and ignores its later events.
    Close {
        /// Which.
        socket: u32,
    },
    /// Requests a token from the app. Requests are numbered from 1.
    Fetch {
        /// Which.
        request: u32,
        /// URL of the request.
        url: String,
        /// CSRF token of the request.
        csrf: String,
    },
    /// A listener received a publication.
    Message {
        /// Which.
        listener: u32,
        /// Channel of the publication.
        channel: String,
        /// Cursor of the publication.
        cursor: String,
        /// True if it may be a repeat after a crash.
        resent: bool,
        /// Data of the app.
        data: Value,
    },
    /// Event `lost`: the state of these channels must be fetched again.
    Lost {
        /// Which.
        channels: Vec<String>,
    },
    /// Event `refused`.
    Refused {
        /// Which.
        channel: String,
        /// Code in docs/codes.md.
        code: String,
    },
    /// Event `status`.
    Status {
        /// New status.
        status: String,
    },
    /// Uncaught exception of a listener, reported with `reportError`.
    Exception {
        /// Message of the exception.
        message: String,
    },
}

/// Result of `take` in browser.js.
#[derive(Debug, Deserialize)]
struct Taken {
    actions: Vec<Action>,
    due_ms: Option<f64>,
    status: Option<String>,
}

/// Page with the module loaded.
pub struct Page {
    // Declared before the runtime, so that it is dropped first.
    context: Context,
    runtime: Runtime,
    /// Number of unhandled promise rejections.
    unhandled: Rc<Cell<i64>>,
    actions: Vec<Action>,
    due_ms: Option<u64>,
    status: String,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            actions,
            due_ms,
            status,
            ..
        } = self;
        let mut shown = formatter.debug_struct("Page");
        shown
            .field("actions", actions)
            .field("due_ms", due_ms)
            .field("status", status)
            .finish_non_exhaustive()
    }
}

impl Page {
    /// Loads a page that was rendered with `tags`. `seed` decides its random numbers; `now_ms` is the browser's clock, in
    /// milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// Panics if the module does not load.
    #[must_use]
    pub fn load(seed: u32, now_ms: u64, tags: &Tags) -> Self {
        let runtime = Runtime::new().expect("a JavaScript engine");
        let unhandled = Rc::new(Cell::new(0));
        runtime.set_host_promise_rejection_tracker(Some(Box::new({
            let unhandled = Rc::clone(&unhandled);
            move |_, _, _, is_handled| {
                unhandled.set(unhandled.get() + if is_handled { -1 } else { 1 });
            }
        })));
        let context = Context::full(&runtime).expect("its context");
        context.with(|context| {
            context.eval::<(), _>(BROWSER).expect("browser.js runs");
            let module = Module::declare(context.clone(), "lineside", MODULE);
            let (module, loading) = module
                .and_then(Module::eval)
                .expect("lineside.js is a module");
            loading.finish::<()>().expect("lineside.js runs");
            let connect: Function<'_> = module.get("connect").expect("it exports connect");
            context
                .globals()
                .set("connect", connect)
                .expect("a global of that name");
        });
        let mut page = Self {
            context,
            runtime,
            unhandled,
            actions: Vec::new(),
            due_ms: None,
            status: String::new(),
        };
        page.drive(&json!(["load", seed, now_ms, tags]));
        page
    }

    /// Takes the actions since the last call, in order.
    pub fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Returns the time of the next timer.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Returns `status` of the module; empty before [`connect`](Self::connect).
    #[must_use]
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Calls `connect()` of the module.
    pub fn connect(&mut self) {
        self.drive(&json!(["connect"]));
    }

    /// Subscribes, with or without a channel token. The caller chooses the number of the listener.
    pub fn subscribe(&mut self, listener: u32, channel: &str, token: Option<&str>) {
        self.drive(&json!(["subscribe", listener, channel, token]));
    }

    /// Subscribes to the user's own channel.
    pub fn user(&mut self, listener: u32) {
        self.drive(&json!(["user", listener]));
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, listener: u32) {
        self.drive(&json!(["unsubscribe", listener]));
    }

    /// Closes the connection for good.
    pub fn close(&mut self) {
        self.drive(&json!(["close"]));
    }

    /// Advances the clock to `now_ms`, and runs each due timer at its own time. An earlier time has no effect.
    pub fn advance(&mut self, now_ms: u64) {
        while self.drive(&json!(["tick", now_ms])) {}
    }

    /// Lets the machine sleep until `now_ms`. Timers due meanwhile run at the next [`advance`](Self::advance).
    pub fn sleep(&mut self, now_ms: u64) {
        self.drive(&json!(["sleep", now_ms]));
    }

    /// Reports that a socket is open.
    pub fn opened(&mut self, socket: u32) {
        self.drive(&json!(["opened", socket]));
    }

    /// Delivers a text message.
    pub fn received(&mut self, socket: u32, text: &str) {
        self.drive(&json!(["received", socket, text]));
    }

    /// Reports that a socket has closed with a code: 1006 if it broke or never opened (RFC 6455 §7.4.1).
    pub fn closed(&mut self, socket: u32, code: u16) {
        self.drive(&json!(["closed", socket, code]));
    }

    /// Answers a request with a token.
    pub fn give_token(&mut self, request: u32, token: &str) {
        self.drive(&json!(["answered", request, 200, token]));
    }

    /// Answers a request with an HTTP status and no token. Status 0 is a network error.
    pub fn refuse_token(&mut self, request: u32, status: u16) {
        self.drive(&json!(["answered", request, status, null]));
    }

    /// Takes the browser offline or online.
    pub fn network(&mut self, is_online: bool) {
        self.drive(&json!(["network", is_online]));
    }

    /// Moves the tab to the background or the foreground.
    pub fn visibility(&mut self, is_visible: bool) {
        let state = if is_visible { "visible" } else { "hidden" };
        self.drive(&json!(["visibility", state]));
    }

    /// Moves the page into the back/forward cache.
    pub fn hide(&mut self) {
        self.drive(&json!(["hide"]));
    }

    /// Restores the page from the back/forward cache.
    pub fn show(&mut self) {
        self.drive(&json!(["show"]));
    }

    /// Performs a Turbo visit: renders another page into the same document.
    pub fn visit(&mut self, tags: &Tags) {
        self.drive(&json!(["visit", tags]));
    }

    /// Calls `drive` in browser.js, runs all microtasks, and collects the actions.
    fn drive(&mut self, call: &Value) -> bool {
        let happened = self.context.with(|context| {
            let drive: Function<'_> = context.globals().get("drive").expect("drive");
            drive.call((call.to_string(),)).unwrap_or_else(|_| {
                let exception = context.catch();
                panic!("lineside.js threw at {call}: {exception:?}")
            })
        });
        while self.runtime.is_job_pending() {
            if let Err(exception) = self.runtime.execute_pending_job() {
                panic!("lineside.js threw after {call}: {exception:?}");
            }
        }
        assert_eq!(
            self.unhandled.get(),
            0,
            "lineside.js leaves a rejection unhandled after {call}"
        );
        self.take();
        happened
    }

    fn take(&mut self) {
        let text: String = self.context.with(|context| {
            let take: Function<'_> = context.globals().get("take").expect("take");
            take.call(()).expect("take throws nothing")
        });
        let taken: Taken = serde_json::from_str(&text).expect("valid JSON from browser.js");
        self.actions.extend(taken.actions);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time in milliseconds since 1970, rounded up to a whole one"
        )]
        let whole = |ms: f64| ms.ceil() as u64;
        self.due_ms = taken.due_ms.map(whole);
        self.status = taken.status.unwrap_or_default();
    }
}
