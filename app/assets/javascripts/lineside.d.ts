/** Position up to which everything was received: `<epoch>.<position>`, or `unknown`. Opaque: do not parse it. */
export type Cursor = string;

/**
 * State of the connection:
 * - `connecting`: the socket is being opened, or a token is being fetched
 * - `open`: publications arrive
 * - `waiting`, `offline`: disconnected, reconnects by itself
 * - `stopped`: does not reconnect, because the server refused for good, or because the page's user has signed out: then
 *   there is no `code`, and the page loads again unless a listener calls `preventDefault()`
 * - `closed`: closed by `close()`
 */
export type Status = "connecting" | "open" | "waiting" | "offline" | "stopped" | "closed";

export interface Message<Data = unknown> {
  readonly type: "message";
  readonly channel: string;
  readonly cursor: Cursor;
  readonly data: Data;
  /** Set if the server crashed before it confirmed this message: the page may have received it already. */
  readonly resent?: true;
}

export type Listener<Data = unknown> = (data: Data, message: Message<Data>) => void;

export interface Subscription {
  /** Ends the subscription: its listener is not called again. */
  unsubscribe(): void;
}

/** Options of a connection. Each option that is missing is read from the page: `<meta name="lineside-url">`, and so on. */
export interface Options {
  /** Address of the WebSocket, absolute or relative to the page. */
  url?: string;
  /** Connection token. */
  token?: string;
  /** Address that answers a POST with a fresh token: `{"token":…}`. */
  tokenUrl?: string;
  /** Cursor of the data that the page was rendered with. Default: `unknown`. null: replay nothing. */
  cursor?: Cursor | null;
}

export interface UserOptions {
  /** Cursor of the data that the listener already has. Default: the page's cursor. null: the connection's cursor. */
  after?: Cursor | null;
}

export interface SubscribeOptions extends UserOptions {
  /** Channel token, needed if the connection token does not allow this channel. */
  token?: string;
}

export interface EventMap {
  /** The status changed. `code` is the close code, `waitMs` the delay before the next attempt, in milliseconds. */
  status: CustomEvent<{ status: Status; code?: number; waitMs?: number }>;
  /** Messages of these channels were lost: refetch their data. Later messages arrive as usual. */
  lost: CustomEvent<{ channels: string[] }>;
  /** The page may not, or may no longer, read this channel. Warns in the console, unless `preventDefault()` is called. */
  refused: CustomEvent<{ channel: string; code: string; message?: string }>;
}

export interface Lineside extends Omit<EventTarget, "addEventListener" | "removeEventListener"> {
  readonly status: Status;
  /** Calls `listener` once for each publication after its cursor, in order. */
  subscribe<Data = unknown>(channel: string, listener: Listener<Data>, options?: SubscribeOptions): Subscription;
  /** Subscribes to the channel of the user that the connection token names. */
  user<Data = unknown>(listener: Listener<Data>, options?: UserOptions): Subscription;
  /**
   * Loads the page again, for a page that is told `lost`. Does so once for each page that the app renders: if a cache or
   * a service worker returns the same page, it warns in the console instead.
   */
  reload(): void;
  /** Closes the connection and ends every subscription. It does not reconnect. */
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
 * Opens a connection and reconnects whenever it breaks.
 * @throws {Error} if there is no `url`
 * @throws {TypeError} if `url` is not a valid URL
 */
export function connect(options?: Options): Lineside;
