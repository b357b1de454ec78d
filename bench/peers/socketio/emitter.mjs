// Publishes lines of publications.sock to Socket.IO through Redis.
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { readPublications } from "./publications.mjs";

const client = createClient({ url: process.env.BENCH_REDIS });
await client.connect();
const emitter = new Emitter(client);
readPublications((room, data) => emitter.to(room).emit("message", data));
