//! A page that runs the browser module itself, `app/assets/javascripts/lineside.js`, in a JavaScript engine without a
//! browser: its sockets, timers, requests and chances are ours (`browser.js`), so that a run can be repeated to the byte.
//!
//! ```text
//! let mut page = Page::load(seed, now_ms, &tags);
//! page.connect();
//! page.subscribe(1, "board", None);
//! for act in page.acts() { … }         // Open { socket, .. }: give it one, then page.opened(socket)
//! page.received(socket, text);         // a text message from the server
//! page.advance(now_ms);                // timers that are due by then run, in their order; page.due_ms() is the next
//! ```
//!
//! Nothing happens by itself: after each call [`Page::acts`] has what the page did about it, microtasks included.

use std::cell::Cell;
use std::rc::Rc;

use rquickjs::{Context, Function, Module, Runtime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const MODULE: &str = include_str!("../../app/assets/javascripts/lineside.js");
const BROWSER: &str = include_str!("browser.js");

/// The `<meta>` tags of a page, as `lineside_meta_tags` and `csrf_meta_tags` render them; None is a tag that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tags {
    /// Where the page connects.
    #[serde(rename = "lineside-url")]
    pub url: Option<String>,
    /// What it connects with.
    #[serde(rename = "lineside-token")]
    pub token: Option<String>,
    /// Where it gets fresh tokens.
    #[serde(rename = "lineside-token-url")]
    pub token_url: Option<String>,
    /// The journal's newest position when its request began.
    #[serde(rename = "lineside-cursor")]
    pub cursor: Option<String>,
    /// What its requests are made with.
    #[serde(rename = "csrf-token")]
    pub csrf: Option<String>,
}

/// What a page did.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// It opens a socket; sockets are numbered from 1.
    Open {
        /// Which.
        socket: u32,
        /// Where to.
        url: String,
        /// The subprotocol that it offers.
        protocol: String,
    },
    /// It sends a text message over an open socket.
    Send {
        /// Which.
        socket: u32,
        /// The message.
        text: String,
    },
    /// It closes a socket, and hears nothing of it any more.
    Close {
        /// Which.
        socket: u32,
    },
    /// It asks the app for a token; requests are numbered from 1.
    Fetch {
        /// Which.
        request: u32,
        /// Where.
        url: String,
        /// The CSRF token that goes along.
        csrf: String,
    },
    /// One of its listeners was given a publication.
    Heard {
        /// Which.
        listener: u32,
        /// Where it was published.
        channel: String,
        /// Where it stands.
        cursor: String,
        /// It may have come before a crash already.
        resent: bool,
        /// The app's.
        data: Value,
    },
    /// The event `lost`: these have to be fetched anew.
    Lost {
        /// Which.
        channels: Vec<String>,
    },
    /// The event `refused`.
    Refused {
        /// Which.
        channel: String,
        /// Why, by docs/codes.md.
        code: String,
    },
    /// The event `status`.
    Status {
        /// The new one.
        status: String,
    },
    /// An exception that nobody caught. There must be none.
    Fault {
        /// What it says.
        message: String,
    },
}

/// What [`take`](Page::take) brings.
#[derive(Debug, Deserialize)]
struct Taken {
    acts: Vec<Act>,
    due_ms: Option<f64>,
    status: Option<String>,
}

/// One page with the module loaded.
pub struct Page {
    // Before the runtime, which must outlive it.
    context: Context,
    runtime: Runtime,
    /// Promises that were rejected and that nobody looks at.
    unheard: Rc<Cell<i64>>,
    acts: Vec<Act>,
    due_ms: Option<u64>,
    status: String,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            acts,
            due_ms,
            status,
            ..
        } = self;
        let mut shown = formatter.debug_struct("Page");
        shown
            .field("acts", acts)
            .field("due_ms", due_ms)
            .field("status", status)
            .finish_non_exhaustive()
    }
}

impl Page {
    /// A page that was rendered with `tags`. `seed` decides what it leaves to chance; `now_ms` is the browser's clock, in
    /// milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// If the module does not load.
    #[must_use]
    pub fn load(seed: u32, now_ms: u64, tags: &Tags) -> Self {
        let runtime = Runtime::new().expect("a JavaScript engine");
        let unheard = Rc::new(Cell::new(0));
        runtime.set_host_promise_rejection_tracker(Some(Box::new({
            let unheard = Rc::clone(&unheard);
            move |_, _, _, is_heard| unheard.set(unheard.get() + if is_heard { -1 } else { 1 })
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
            unheard,
            acts: Vec::new(),
            due_ms: None,
            status: String::new(),
        };
        page.drive(&json!(["load", seed, now_ms, tags]));
        page
    }

    /// What the page did since it was asked last, in order.
    pub fn acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// When its next timer is due.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// What `status` of the module says; empty before [`connect`](Self::connect).
    #[must_use]
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Its script calls `connect()`.
    pub fn connect(&mut self) {
        self.drive(&json!(["connect"]));
    }

    /// Its script subscribes, with a channel token if there is one. Listeners have numbers of the caller's choice.
    pub fn subscribe(&mut self, listener: u32, channel: &str, token: Option<&str>) {
        self.drive(&json!(["subscribe", listener, channel, token]));
    }

    /// Its script listens to its user's own channel.
    pub fn user(&mut self, listener: u32) {
        self.drive(&json!(["user", listener]));
    }

    /// Its script ends a subscription.
    pub fn unsubscribe(&mut self, listener: u32) {
        self.drive(&json!(["unsubscribe", listener]));
    }

    /// Its script closes the connection for good.
    pub fn close(&mut self) {
        self.drive(&json!(["close"]));
    }

    /// It is `now_ms`: timers that are due by then run, each at its own time. A time before one heard of changes nothing.
    pub fn advance(&mut self, now_ms: u64) {
        while self.drive(&json!(["tick", now_ms])) {}
    }

    /// The machine sleeps until `now_ms`: timers that were due meanwhile run when time [advances](Self::advance) again.
    pub fn sleep(&mut self, now_ms: u64) {
        self.drive(&json!(["sleep", now_ms]));
    }

    /// A socket is open.
    pub fn opened(&mut self, socket: u32) {
        self.drive(&json!(["opened", socket]));
    }

    /// A text message came.
    pub fn received(&mut self, socket: u32, text: &str) {
        self.drive(&json!(["received", socket, text]));
    }

    /// A socket has closed with that code: 1006 for one that broke or never opened (RFC 6455 §7.4.1).
    pub fn closed(&mut self, socket: u32, code: u16) {
        self.drive(&json!(["closed", socket, code]));
    }

    /// The app answers a request with a token.
    pub fn give_token(&mut self, request: u32, token: &str) {
        self.drive(&json!(["answered", request, 200, token]));
    }

    /// The app answers a request with that status and no token; 0 is a request that failed on its way.
    pub fn refuse_token(&mut self, request: u32, status: u16) {
        self.drive(&json!(["answered", request, status, null]));
    }

    /// The browser's network goes or comes back.
    pub fn network(&mut self, is_online: bool) {
        self.drive(&json!(["network", is_online]));
    }

    /// The tab goes to the background or comes back.
    pub fn visibility(&mut self, is_visible: bool) {
        let state = if is_visible { "visible" } else { "hidden" };
        self.drive(&json!(["visibility", state]));
    }

    /// The page is left, and kept for going back to.
    pub fn hide(&mut self) {
        self.drive(&json!(["hide"]));
    }

    /// The page is gone back to.
    pub fn show(&mut self) {
        self.drive(&json!(["show"]));
    }

    /// A Turbo visit renders another page into the same document.
    pub fn visit(&mut self, tags: &Tags) {
        self.drive(&json!(["visit", tags]));
    }

    /// Calls browser.js, runs all microtasks, and keeps what came of it.
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
                panic!("lineside.js threw behind {call}: {exception:?}");
            }
        }
        assert_eq!(
            self.unheard.get(),
            0,
            "lineside.js leaves a rejection uncaught behind {call}"
        );
        self.take();
        happened
    }

    fn take(&mut self) {
        let text: String = self.context.with(|context| {
            let take: Function<'_> = context.globals().get("take").expect("take");
            take.call(()).expect("take throws nothing")
        });
        let taken: Taken = serde_json::from_str(&text).expect("acts as browser.js writes them");
        self.acts.extend(taken.acts);
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
