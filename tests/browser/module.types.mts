// Compiled, not run: valid and, where an error is expected, invalid uses of the types.
import { connect, type Lineside, type Status, type Subscription } from "../../app/assets/javascripts/lineside.js";

const lineside: Lineside = connect();
connect({ url: "/lineside", token: "t", tokenUrl: "/lineside/token", cursor: null });
// @ts-expect-error: no such option
connect({ tokenURL: "/lineside/token" });

const orders: Subscription = lineside.subscribe<{ total: number }>("orders", (data, message) => {
  const total: number = data.total;
  const cursor: string = message.cursor;
  console.log(total, cursor, message.resent);
});
lineside.subscribe("orders:7", () => {}, { token: "t", after: "e.1" });
lineside.user<{ unread: number }>(({ unread }) => console.log(unread), { after: null });
// @ts-expect-error: the user's channel takes no channel token
lineside.user(() => {}, { token: "t" });
orders.unsubscribe();

lineside.addEventListener("lost", ({ detail }) => detail.channels.map((channel) => channel.length));
lineside.addEventListener("status", ({ detail }) => console.log(detail.status satisfies Status, detail.waitMs));
lineside.addEventListener("refused", ({ detail }) => console.log(detail.channel, detail.code));
// @ts-expect-error: no such event
lineside.addEventListener("found", () => {});
// @ts-expect-error: read only
lineside.status = "open";
lineside.reload();
lineside.close();
