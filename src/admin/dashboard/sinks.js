// The sinks of events, on the page of the outbox: what each is owed and what the node does about it; and the last events, for whoever they are.
import { $, TokenRequired, age, ask, attempt, cell, change, confirmed, count, make, plural, put, say, shown, state } from "./core.js";
import { Failure, moment, read, second } from "./catalogue.js";

const PAUSE_MS = 2000, IDLE_MS = 15000, LAST = 20;
const PHASES = {
  idle: ["idle", ""], publishing: ["publishing", "good"], down: ["down", "bad"], gone: ["wants no events", "bad"], unavailable: ["not readable", "bad"],
};

// `told` is what the sinks and the completions were at the last look at events, which was at `looked`.
const own = { at: -Infinity, abort: null, isAsking: false, sinks: "", events: "", told: "", looked: -Infinity };

// The sinks cost the node no look into a file; the events do, so they are asked for when something has changed, and now and then.
async function load() {
  const { signal } = own.abort;
  own.isAsking = true;
  try {
    const { sinks } = await read(await ask("api/sinks", { signal }));
    if (own.sinks !== JSON.stringify(sinks) || sinks.some((sink) => sink.waiting_since)) showSinks(sinks);
    own.sinks = JSON.stringify(sinks);
    const told = `${own.sinks} ${state.tick?.status.catalogue?.entered_total}`;
    if (told !== own.told || performance.now() - own.looked >= IDLE_MS) {
      const { events } = await read(await ask(`api/sinks/events?after=-${LAST}&limit=${LAST}`, { signal }));
      Object.assign(own, { told, looked: performance.now() });
      if (own.events !== JSON.stringify(events)) showEvents(events);
      own.events = JSON.stringify(events);
    }
  } catch (error) {
    if (signal.aborted || error instanceof TokenRequired) return;
    // The panel of destinations says why the catalogue has no answer.
    if (error instanceof Failure) hide();
  } finally {
    if (!signal.aborted) Object.assign(own, { isAsking: false, at: performance.now() });
  }
}
function hide() {
  Object.assign(own, { sinks: "", events: "", told: "" });
  for (const part of ["sinks-panel", "events-panel"]) $(part).hidden = true;
}

function showSinks(sinks) {
  $("sinks-panel").hidden = false;
  $("sinks").hidden = !sinks.length;
  $("no-sinks").hidden = Boolean(sinks.length);
  const failing = sinks.filter((sink) => sink.dead > 0 || ["down", "gone", "unavailable"].includes(sink.phase)).length;
  put($("sinks-now"), sinks.length ? [
    make("span", {}, plural(sinks.length, "sink")), make("span", { class: failing ? "attention" : "" }, failing ? `${count(failing)} failing` : "none failing"),
  ] : []);
  // A button that has the focus keeps it.
  const focused = document.activeElement?.closest("#sinks tr")?.dataset.name;
  put($("sinks").tBodies[0], sinks.map(row));
  if (focused) [...$("sinks").tBodies[0].rows].find((each) => each.dataset.name === focused)?.querySelector("button:not([hidden])")?.focus();
}
function row(sink) {
  const { name, peer, waiting_since } = sink;
  const number = (label, n, kind) => cell(label, count(n), n ? `n ${kind}` : "n none");
  const retry = make("button", { type: "button", class: "row-action", "aria-label": `Retry the events of ${name}` }, "Retry");
  retry.hidden = !sink.dead && !sink.gone;
  retry.addEventListener("click", async () => {
    const yes = await confirmed(`Retry the events of ${name}?`, "Everything that it is owed is tried now, what was given up too. What caused the failures should be mended.", "Retry");
    if (yes) await attempt(() => change("POST", `api/sinks/${encodeURIComponent(name)}`, { action: "retry" }));
    own.at = -Infinity;
  });
  const now = state.tick.status.now_unix_ms;
  const element = make("tr", {},
    cell("Sink", make("span", {}, shown(name), second(peer ? shown(peer) : "")), "lead wide destination"),
    cell("State", doing(sink), "wide doing"),
    number("Waiting", sink.waiting, ""), number("Dead", sink.dead, "attention"), number("Published", sink.published, ""),
    cell("Oldest", waiting_since ? age(Math.max(0, now - new Date(waiting_since))) : "–", waiting_since ? "n" : "n none"),
    make("td", { class: "wide actions", "data-label": "" }, retry));
  element.dataset.name = name;
  return element;
}
function doing({ phase, gone, next_attempt, last_error, last_error_at }) {
  const [word, kind] = phase ? PHASES[phase] ?? ["–", ""] : ["not configured", "warn"];
  const box = make("span", {}, make("span", { class: `tag ${kind || "plain"}` }, word));
  if (gone) box.append(second("since ", moment(gone)));
  if (next_attempt) box.append(second("next attempt ", moment(next_attempt)));
  if (last_error) box.append(make("span", { class: "second why", title: shown(last_error) }, "last failure ", moment(last_error_at), ": ", shown(last_error)));
  return box;
}

function showEvents(events) {
  $("events-panel").hidden = false;
  $("events").hidden = !events.length;
  $("no-events").hidden = Boolean(events.length);
  put($("events").tBodies[0], events.toReversed().map(({ id, kind, subject, time, data, owed }) => {
    const { study, digest, xxh128, ...facts } = JSON.parse(data);
    const words = Object.entries(facts).map(([name, fact]) => `${name} ${Array.isArray(fact) ? fact.join(" ") : fact}`).join(", ");
    const about = study ? make("a", { class: "uid", href: `#/studies/${encodeURIComponent(study)}` }, shown(study)) : make("span", { class: "uid" }, shown(subject));
    return make("tr", { title: id },
      cell("Type", make("span", {}, shown(kind), ...(owed ? [make("span", { class: "tag warn" }, `owed to ${plural(owed, "sink")}`)] : [])), "lead"),
      cell("About", make("span", {}, about, second(shown(words))), "wide"), cell("When", moment(time), "n"));
  }));
}

export function heard() {
  if (!own.isAsking && !document.hidden && performance.now() - own.at >= PAUSE_MS) load();
}
export function enter() {
  leave();
  own.abort = new AbortController();
  hide();
}
export function leave() {
  own.abort?.abort();
  Object.assign(own, { isAsking: false, at: -Infinity });
}
