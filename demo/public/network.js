// This page's network, with a switch: cut, its sockets break without a word, no new one opens and no request gets out.
// To be imported before anything that connects.

const { WebSocket: NetworkSocket, fetch: networkFetch } = globalThis;
const sockets = new Set();
let isCut = false;

globalThis.WebSocket = class extends NetworkSocket {
  constructor(...parameters) {
    super(...parameters);
    sockets.add(this);
    this.addEventListener("close", () => sockets.delete(this));
    // Before it is open, this is how a connection fails.
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
