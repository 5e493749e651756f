// The page of the outbox: each destination and what the node does about it, with what an operator can do, and below the deliveries that are owed.
import { $, TokenRequired, age, ask, attempt, bytes, cell, change, confirmed, count, make, perSecond, plural, put, say, shown, state } from "./core.js";
import { Failure, moment, read, reliance, second, tellTimes } from "./catalogue.js";
import * as deliveries from "./deliveries.js";
import * as sinks from "./sinks.js";

const PAUSE_MS = 2000;
// Destinations that are shown before one asks for all.
const FIRST = 20;
const PHASES = {
  idle: ["idle", ""], sending: ["sending", "good"], down: ["down", "bad"], paused: ["paused", "warn"], outside_hours: ["outside its hours", ""],
  unavailable: ["not readable", "bad"], stopping: ["stopping", ""],
};

const own = { rows: new Map(), destinations: [], at: -Infinity, abort: null, isAsking: false, isWhole: false };
const body = $("destinations").tBodies[0];

// What is asked: it is no event, and costs the node no look into a file.
async function load() {
  const { signal } = own.abort;
  own.isAsking = true;
  try {
    const { destinations } = await read(await ask("api/destinations", { signal }));
    own.destinations = destinations;
    show();
    deliveries.follow(destinations);
  } catch (error) {
    if (signal.aborted || error instanceof TokenRequired) return;
    // The stream of events tells of a node that does not answer.
    if (error instanceof Failure) nothing(error.message);
  } finally {
    if (!signal.aborted) Object.assign(own, { isAsking: false, at: performance.now() });
  }
}
function nothing(why) {
  own.destinations = [];
  for (const part of ["destinations", "all-destinations", "deliveries-panel"]) $(part).hidden = true;
  say("destinations-now", "");
  say("no-destinations", why);
  $("no-destinations").hidden = !why;
}

// What fails comes first: of many destinations, the first are seen.
const fails = (one) => one.dead > 0 || ["down", "unavailable"].includes(one.live?.phase);
function show() {
  const all = own.destinations;
  if (!all.length) {
    nothing("No destinations. What is received stays here; a table [[destination]] of the configuration names one.");
    return;
  }
  const sum = (of) => all.reduce((total, one) => total + of(one), 0);
  const failing = all.filter(fails).length;
  put($("destinations-now"), [
    make("span", {}, plural(all.length, "destination")),
    make("span", { class: failing ? "attention" : "" }, failing ? `${count(failing)} failing` : "none failing"),
    make("span", {}, `${count(sum((one) => one.waiting + one.retrying))} to be delivered, ${bytes(sum((one) => one.waiting_bytes))}`),
  ]);
  const sorted = [...all.filter(fails), ...all.filter((one) => !fails(one))];
  const wanted = sorted.slice(0, own.isWhole ? all.length : FIRST).map((one) => {
    // A row stays the same element: a button in it keeps the focus.
    const row = own.rows.get(one.name) ?? entry(one.name);
    own.rows.set(one.name, row);
    row.show(one);
    return row.element;
  });
  wanted.forEach((row, at) => { if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null); });
  while (body.rows.length > wanted.length) body.lastElementChild.remove();
  $("destinations").hidden = false;
  $("no-destinations").hidden = true;
  $("deliveries-panel").hidden = false;
  $("all-destinations").hidden = own.isWhole || all.length <= FIRST;
  say("all-destinations", `Show all ${count(all.length)}`);
}

function entry(name) {
  const choose = make("button", { type: "button", class: "name", title: "Show its deliveries below" }, name);
  choose.addEventListener("click", () => deliveries.choose(name));
  const peer = make("span", { class: "second" });
  const pause = make("button", { type: "button", class: "row-action" });
  const retry = make("button", { type: "button", class: "row-action", "aria-label": `Retry the dead deliveries to ${name}` }, "Retry dead");
  const element = make("tr", {}, make("td", { class: "lead wide destination" }, choose, peer), make("td", { class: "wide actions", "data-label": "" }, pause, retry));
  let isPaused = false;
  pause.addEventListener("click", async () => {
    const yes = isPaused || await confirmed(`Pause ${name}?`, "Nothing new is sent to it, also after a restart, until it is resumed. What is received for it waits.", "Pause");
    if (yes) order(name, { action: isPaused ? "resume" : "pause" });
  });
  retry.addEventListener("click", async () => {
    const yes = await confirmed(`Retry what is dead for ${name}?`, "Everything that was given up waits again, with no attempts behind it. What caused the failures should be mended.", "Retry");
    if (yes) order(name, { action: "retry", dead: true });
  });
  return { element, show(one) {
    isPaused = one.is_paused;
    const text = one.peer ? shown(one.peer) : "";
    if (peer.textContent !== text) peer.textContent = text;
    if (pause.textContent !== (isPaused ? "Resume" : "Pause")) {
      pause.textContent = isPaused ? "Resume" : "Pause";
      pause.setAttribute("aria-label", `${pause.textContent} ${name}`);
    }
    retry.hidden = !one.dead;
    [...element.children].slice(1, -1).forEach((old) => old.remove());
    element.lastElementChild.before(...cells(one));
  } };
}
async function order(name, what) {
  await attempt(() => change("POST", `api/outbox/${encodeURIComponent(name)}`, what));
  own.at = -Infinity;
  if (!own.isAsking && !own.abort.signal.aborted) load();
}

function cells(one) {
  const { live, waiting_bytes, waiting_since, next_retry } = one;
  const now = state.tick.status.now_unix_ms;
  const number = (label, n, kind, ...more) => cell(label, make("span", {}, count(n), ...more), n ? `n ${kind}` : "n none");
  const isMoving = live?.phase === "sending" && live.bytes_per_s > 0;
  const rate = live?.bytes_per_s ? perSecond(live.bytes_per_s) : "–";
  // Without anything that waits, the last answers are awaited.
  const left = isMoving && waiting_bytes ? [second(`${age(waiting_bytes / live.bytes_per_s * 1000)} left`)] : [];
  return [
    cell("State", doing(one), "wide doing"),
    number("Waiting", one.waiting, "", ...(waiting_bytes ? [second(bytes(waiting_bytes))] : [])),
    number("Retrying", one.retrying, "", ...(next_retry ? [second("next ", moment(next_retry))] : [])),
    number("Dead", one.dead, "attention"),
    number("Delivered", one.delivered, "", ...(one.sent ? [second(`${count(one.sent)} sent, not committed yet`)] : [])),
    cell("Oldest", waiting_since ? age(Math.max(0, now - new Date(waiting_since))) : "–", waiting_since ? "n" : "n none"),
    cell("Rate", make("span", {}, rate, ...left), rate === "–" ? "n none" : "n"),
  ];
}
// What the node does about it, and what failed last.
function doing({ is_configured, is_paused, live }) {
  const [word, kind] = !is_configured ? ["not configured", "warn"] : PHASES[live?.phase] ?? ["–", ""];
  const box = make("span", {}, make("span", { class: `tag ${kind || "plain"}` }, word));
  if (is_paused && live?.phase !== "paused") box.append(make("span", { class: "tag warn" }, "paused"));
  if (!is_configured) box.append(second("It keeps what it is owed until the configuration names it again."));
  if (live?.phase === "sending") box.append(second(`over ${plural(live.connections, "association")}`));
  if (live?.down_since) box.append(second("since ", moment(live.down_since), ...(live.next_probe ? [", next call ", moment(live.next_probe)] : [])));
  if (live?.last_error) {
    const when = live.last_error_at && !live.down_since ? ["last failure ", moment(live.last_error_at), ": "] : [];
    box.append(make("span", { class: "second why", title: shown(live.last_error) }, ...when, shown(live.last_error)));
  }
  return box;
}

export function heard() {
  const note = reliance(state.tick.status.catalogue);
  say("outbox-note", note);
  $("outbox-note").hidden = !note;
  tellTimes($("outbox"));
  sinks.heard();
  if (!own.isAsking && !document.hidden && performance.now() - own.at >= PAUSE_MS) load();
}
export function enter(escaped) {
  leave();
  own.abort = new AbortController();
  nothing("");
  deliveries.enter(escaped, own.abort.signal);
  sinks.enter();
  scrollTo(0, 0);
  load();
}
export function leave() {
  own.abort?.abort();
  sinks.leave();
  Object.assign(own, { isAsking: false, at: -Infinity });
}
$("all-destinations").addEventListener("click", () => {
  own.isWhole = true;
  show();
  body.rows[FIRST]?.querySelector("button").focus();
});
