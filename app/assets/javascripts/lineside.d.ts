/** Everything up to here was seen: `<epoch>.<position>`, or `unknown`. Made by the server; not to be taken apart. */
export type Cursor = string;

/**
 * - `connecting`: on the way
 * - `open`: what is published arrives
 * - `waiting`, `offline`: comes back by itself
 * - `stopped`: does not come back: the server said so, or nobody is signed in
 * - `closed`: by `close()`
 */
export type Status = "connecting" | "open" | "waiting" | "offline" | "stopped" | "closed";

export interface Message<Data = unknown> {
  readonly type: "message";
  readonly channel: string;
  readonly cursor: Cursor;
  readonly data: Data;
  /** It was sent before a crash of the server too, and may have been seen then. */
  readonly resent?: true;
}

export type Listener<Data = unknown> = (data: Data, message: Message<Data>) => void;

export interface Subscription {
  /** Nothing more is heard. */
  unsubscribe(): void;
}

/** What is not given is read from the page: `<meta name="lineside-url">`, and so on. */
export interface Options {
  /** Where the socket is opened; relative to the page. */
  url?: string;
  /** A connection token. */
  token?: string;
  /** Where fresh tokens come from: a POST that answers `{"token":…}`. */
  tokenUrl?: string;
  /** What the page shows is as of here. Without one it is `unknown`; null for no past at all. */
  cursor?: Cursor | null;
}

export interface UserOptions {
  /** What the listener shows is as of here. The page's cursor by default; null for where the connection stands. */
  after?: Cursor | null;
}

export interface SubscribeOptions extends UserOptions {
  /** A channel token, where the connection's own does not open the channel. */
  token?: string;
}

export interface EventMap {
  /** `code` is the close code, and `waitMs` the time until the next try. */
  status: CustomEvent<{ status: Status; code?: number; waitMs?: number }>;
  /** Of these channels some is gone: fetch anew what the page shows of them. What comes from now on is heard as ever. */
  lost: CustomEvent<{ channels: string[] }>;
  /** This channel is not open to the page, or is no longer. */
  refused: CustomEvent<{ channel: string; code: string; message?: string }>;
}

export interface Lineside extends Omit<EventTarget, "addEventListener" | "removeEventListener"> {
  readonly status: Status;
  /** Calls `listener` for each publication after its cursor, in order, once. */
  subscribe<Data = unknown>(channel: string, listener: Listener<Data>, options?: SubscribeOptions): Subscription;
  /** The same for the channel of the user whose token it is. */
  user<Data = unknown>(listener: Listener<Data>, options?: UserOptions): Subscription;
  /** Ends the connection and every subscription, for good. */
  close(): void;
  addEventListener<Type extends keyof EventMap>(
    type: Type,
    listener: (event: EventMap[Type]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Type extends keyof EventMap>(
    type: Type,
    listener: (event: EventMap[Type]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
}

/**
 * Opens a connection, and keeps it open.
 * @throws {Error} without a `url`; {TypeError} when it is none
 */
export function connect(options?: Options): Lineside;
