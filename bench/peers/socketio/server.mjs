// Socket.IO with the settings that its documentation recommends for load: WebSocket only, bufferutil, and no request kept per
// connection. A page joins the rooms of its token. Without BENCH_REDIS the process publishes lines of publications.sock.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { Server } from "socket.io";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { readPublications } from "./publications.mjs";

const { BENCH_PORT, BENCH_SECRET, BENCH_REDIS } = process.env;

// Claims of a token signed with HS256, or an error.
const verify = (token) => {
  const [head, claims, signature] = token.split(".");
  const expected = createHmac("sha256", BENCH_SECRET).update(`${head}.${claims}`).digest();
  if (!timingSafeEqual(expected, Buffer.from(signature, "base64url"))) throw new Error("signature");
  const parsed = JSON.parse(Buffer.from(claims, "base64url"));
  if (parsed.exp * 1000 < Date.now()) throw new Error("expired");
  return parsed;
};

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });
if (BENCH_REDIS) {
  const publisher = createClient({ url: BENCH_REDIS });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createAdapter(publisher, subscriber));
}
io.engine.on("connection", (socket) => {
  socket.request = null;
});
io.use((socket, next) => {
  try {
    socket.data.rooms = verify(socket.handshake.auth.token).channels;
    next();
  } catch (error) {
    next(error);
  }
});
io.on("connection", (socket) => {
  socket.join(socket.data.rooms);
  socket.emit("ready");
});
if (!BENCH_REDIS) readPublications((room, data) => io.to(room).emit("message", data));
http.listen({ port: Number(BENCH_PORT), host: "127.0.0.1", backlog: 4096 });
