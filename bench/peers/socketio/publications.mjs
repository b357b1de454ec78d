// Publications of the generator: lines of a channel, a tab and a payload in JSON, on a Unix socket in the current folder.
import { createServer } from "node:net";

export const readPublications = (publish) => {
  createServer((socket) => {
    let partial = "";
    socket.setEncoding("utf8");
    socket.on("data", (text) => {
      const lines = (partial + text).split("\n");
      partial = lines.pop();
      for (const line of lines) {
        const tab = line.indexOf("\t");
        publish(line.slice(0, tab), JSON.parse(line.slice(tab + 1)));
      }
    });
  }).listen("publications.sock");
};
