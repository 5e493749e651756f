// The dashboard: it reads /api/history once and then lives on /api/events. The fragment of the address names the page.
import { $, TokenRequired, age, ask, attempt, change, confirmed, health, notice, say, shown, state } from "./core.js";
import * as commitments from "./commitments.js";
import * as node from "./node.js";
import * as outbox from "./outbox.js";
import * as studies from "./studies.js";
import * as study from "./study.js";

const KEEP = 600;
// Whether every page needs a token, and the event stream that is open.
const stream = { isClosed: false, abort: null };

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value;
  sessionStorage.setItem("token", state.token);
  $("token").value = "";
  stream.isClosed = false;
  // What is streamed depends on who asks.
  live();
  route();
});

// One event stream after the other; fetch, because EventSource cannot show a token.
async function live() {
  stream.abort?.abort();
  const { signal } = stream.abort = new AbortController();
  for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
    try {
      state.points = await (await ask("api/history?seconds=600", { signal })).json();
      await listen(signal, (tick) => { wait = 500; notice(""); take(tick); });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof TokenRequired) {
        stream.isClosed = true;
        health("token required", "");
        return;
      }
    }
    health("disconnected", "bad");
    notice("The node does not respond. The figures below are the last ones received.");
    await new Promise((done) => setTimeout(done, wait));
    if (signal.aborted) return;
  }
}
async function listen(signal, heard) {
  const answer = await ask("api/events", { signal });
  if (!answer.ok) throw new Error(`events: ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    // A node that says nothing for this long is not there any more, whatever the connection says.
    const late = new Promise((_, fail) => setTimeout(() => fail(new Error("no event in time")), 8000));
    const { value, done } = await Promise.race([reader.read(), late]).catch((error) => { reader.cancel().catch(() => {}); throw error; });
    if (done) return;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data) heard(JSON.parse(data));
    }
  }
}

// What an event changes.

function take(tick) {
  state.tick = tick;
  const second = tick.status.last_second;
  const last = state.points.at(-1);
  if (second && (!last || second.at_unix_ms > last.at_unix_ms)) state.points.push(second);
  state.points.splice(0, Math.max(0, state.points.length - KEEP));
  node.rate(tick);
  header(tick.status);
  show();
}
// The page that is seen.
function show() {
  if (!state.tick) return;
  if (!$("main").hidden) {
    node.show();
    node.past(state.tick);
    commitments.show(state.tick);
  }
  if (!$("studies").hidden) studies.heard();
  if (!$("outbox").hidden) outbox.heard();
  if (!$("study").hidden) study.heard();
}
function header(status) {
  const failing = status.readiness.checks.filter((check) => !check.ok).map((check) => check.name);
  if (status.phase === "serving") health(status.readiness.ready ? "ready" : `not ready: ${failing.join(", ")}`, status.readiness.ready ? "good" : "bad");
  else {
    // A drain is no fault. What else fails is told beside it.
    const faults = failing.filter((name) => name !== "serving");
    health([status.phase === "drained" ? "draining" : status.phase, ...faults].join(", "), faults.length ? "bad" : "");
  }
  say("ae-title", shown(status.ae_title));
  say("version", `version ${status.version}`);
  say("uptime", `up ${age(status.now_unix_ms - status.started_unix_ms)}`);
  $("drain").disabled = !["serving", "drained"].includes(status.phase);
  say("drain", status.phase === "drained" ? "Serve again" : "Drain");
}
$("drain").addEventListener("click", async () => {
  if (state.tick.status.phase === "drained") { await attempt(() => change("DELETE", "api/drain")); return; }
  const yes = await confirmed("Drain this node?", "New associations are rejected (transient) and load balancers are told that it is not ready. Open associations continue.", "Drain");
  if (yes) await attempt(() => change("POST", "api/drain"));
});

// Pages. What is searched for is not in the address: it may name a patient, and browsers keep addresses.

// The links to pages, and what is a part of each.
const LINKS = { "to-node": ["main"], "to-studies": ["studies", "study"], "to-outbox": ["outbox"] };
function route() {
  if (stream.isClosed) return;
  const [, page, uid] = location.hash.split("/");
  const name = page === "studies" ? (uid ? "study" : "studies") : page === "outbox" ? "outbox" : "main";
  state.page = { main: "", studies: "Studies · ", study: "Study · ", outbox: "Outbox · " }[name];
  $("sign-in").hidden = true;
  studies.leave();
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== name;
  for (const [link, names] of Object.entries(LINKS)) {
    if (names.includes(name)) $(link).setAttribute("aria-current", "page"); else $(link).removeAttribute("aria-current");
  }
  if (name === "studies") studies.enter();
  if (name === "study") study.enter(uid); else study.leave();
  if (name === "outbox") outbox.enter(uid); else outbox.leave();
  show();
}
window.addEventListener("hashchange", route);
// The page whose sign-in is shown is entered again without a change of the address.
for (const link of Object.keys(LINKS)) $(link).addEventListener("click", () => location.hash === $(link).hash && route());
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, select, textarea, dialog");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey || !$("sign-in").hidden) return;
  event.preventDefault();
  if ($("studies").hidden) location.hash = "#/studies";
  // The page is there once the address has changed.
  setTimeout(() => { $("text").focus(); $("text").select(); });
});

history.scrollRestoration = "manual";
live();
route();
