// Switches the page's network off and on. While it is off, sockets are closed, new ones fail and requests are rejected.
// Import it before any module that connects.

const { WebSocket: NetworkSocket, fetch: networkFetch } = globalThis;
const sockets = new Set();
let isCut = false;

globalThis.WebSocket = class extends NetworkSocket {
  constructor(...parameters) {
    super(...parameters);
    sockets.add(this);
    this.addEventListener("close", () => sockets.delete(this));
    // Closed before it opens, the socket fails like a refused connection.
    if (isCut) this.close();
  }
};

globalThis.fetch = (...parameters) =>
  isCut ? Promise.reject(new TypeError("the network is cut")) : networkFetch(...parameters);

Object.defineProperty(navigator, "onLine", { get: () => !isCut });

export function switchNetwork(isOn) {
  isCut = !isOn;
  if (isCut) for (const socket of sockets) socket.close();
  dispatchEvent(new Event(isOn ? "online" : "offline"));
}
