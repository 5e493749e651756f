// The deliveries that are owed, on the page of the outbox: of a destination, in a state, or of a study, a page at a time.
import { $, TokenRequired, ask, bytes, cell, count, make, put, say, shown } from "./core.js";
import { Failure, moment, read, second } from "./catalogue.js";

const LIMIT = 50, PAUSE_MS = 3000, IDLE_MS = 15000, FAILED = "dead,retrying";
const NOTHING = {
  [FAILED]: "Nothing has failed.", dead: "Nothing was given up.", retrying: "Nothing is tried again.", waiting: "Nothing waits.", sent: "Nothing awaits the commitment of a destination.", "": "Nothing is owed.",
};

// `asked` is what the figures of the destinations were at the last question, which was at `at`.
const list = { study: null, after: null, next: null, page: 1, text: "", asked: "", at: -Infinity, signal: null, abort: null, isAsking: false };
const body = $("deliveries").tBodies[0];

function query() {
  const typed = { destination: $("of-destination").value, state: $("of-state").value, study: list.study, after: list.after };
  return new URLSearchParams([...Object.entries(typed).filter(([, text]) => text), ["limit", LIMIT]]);
}
async function load() {
  list.abort?.abort();
  const abort = list.abort = new AbortController();
  const signal = AbortSignal.any([abort.signal, list.signal]);
  list.isAsking = true;
  try {
    const { deliveries, next } = await read(await ask(`api/outbox?${query()}`, { signal }));
    list.next = next;
    const text = JSON.stringify(deliveries);
    if (text !== list.text) put(body, deliveries.map(entry));
    list.text = text;
    tell(deliveries.length ? "" : list.after ? "There are no more." : NOTHING[$("of-state").value]);
  } catch (error) {
    if (signal.aborted || error instanceof TokenRequired) return;
    Object.assign(list, { text: "", next: null });
    put(body, []);
    tell(error instanceof Failure ? error.message : "The node does not respond. The page asks again when it does.");
  } finally {
    if (!signal.aborted) Object.assign(list, { isAsking: false, at: performance.now() });
  }
}
function tell(nothing) {
  const rows = body.rows.length;
  $("deliveries").hidden = !rows;
  say("no-deliveries", nothing);
  $("no-deliveries").hidden = !nothing;
  $("next-deliveries").hidden = !list.next;
  $("first-deliveries").hidden = list.page === 1;
  say("deliveries-count", list.page > 1 ? `page ${count(list.page)}` : list.next ? `the first ${count(rows)}` : "");
}
// Another question, from its beginning.
function begin() {
  Object.assign(list, { after: null, page: 1 });
  load();
}

function entry(delivery) {
  const { destination, state, study_instance_uid, sop_instance_uid, calling_ae_title, attempts } = delivery;
  const kind = { dead: "bad", retrying: "warn" }[state] ?? "plain";
  const from = calling_ae_title ? `, from ${shown(calling_ae_title.trim())}` : "";
  const study = study_instance_uid
    ? second("study ", make("a", { class: "uid", href: `#/studies/${encodeURIComponent(study_instance_uid)}` }, shown(study_instance_uid)), from) : second(`no study${from}`);
  const failure = make("span", {}, failed(delivery));
  if (delivery.last_attempt) failure.append(second("failed ", moment(delivery.last_attempt), ...(delivery.next_attempt ? [", next at ", moment(delivery.next_attempt)] : [])));
  return make("tr", {},
    cell("Destination", shown(destination), "lead wide destination"), cell("State", make("span", { class: `tag ${kind}` }, shown(state))),
    cell("Instance", make("span", {}, make("span", { class: "mono uid" }, shown(sop_instance_uid)), study), "wide instance"),
    cell("Size", bytes(delivery.bytes), "n"), cell("Owed since", moment(delivery.owed), "n"), cell("Attempts", attempts ? count(attempts) : "–", attempts ? "n" : "n none"),
    cell("Last failure", failure, failure.textContent === "–" ? "wide why none" : "wide why"));
}
// A reason begins with the status that the destination answered, if it answered.
function failed({ last_error, last_status }) {
  return last_error ? shown(last_error) : last_status ? `status ${last_status}` : "–";
}

// What the destinations are owed now. The page that one reads stays as it is, but for the first.
export function follow(destinations) {
  const names = ["", ...destinations.map((one) => one.name)], select = $("of-destination");
  if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    const { value } = select;
    put(select, names.map((name) => make("option", { value: name }, name || "all")));
    select.value = names.includes(value) ? value : "";
  }
  const state = $("of-state").value;
  const ofState = ({ waiting, retrying, sent, dead }) => ({ [FAILED]: [retrying, dead], dead: [dead], retrying: [retrying], waiting: [waiting], sent: [sent] })[state] ?? [waiting, retrying, sent, dead];
  const figures = destinations.filter((one) => !select.value || one.name === select.value).map(ofState).join(), since = performance.now() - list.at;
  if (list.isAsking || list.page > 1 || since < PAUSE_MS || (figures === list.asked && since < IDLE_MS)) return;
  list.asked = figures;
  load();
}
export function choose(destination) {
  $("of-destination").value = destination;
  begin();
  $("deliveries-title").focus({ preventScroll: true });
  $("deliveries-panel").scrollIntoView({ block: "start" });
}
export function enter(escaped, signal) {
  let study = null;
  try { study = escaped ? decodeURIComponent(escaped) : null; } catch { study = escaped; }
  if (study !== list.study) $("of-state").value = study ? "" : FAILED;
  Object.assign(list, { study, after: null, next: null, page: 1, text: "", asked: "", at: -Infinity, signal, isAsking: false });
  $("of-study").hidden = !study;
  put($("of-study-uid"), study ? [make("a", { class: "mono uid", href: `#/studies/${encodeURIComponent(study)}` }, shown(study))] : []);
  put(body, []);
  tell("");
}
for (const id of ["of-destination", "of-state"]) $(id).addEventListener("change", begin);
$("deliveries-filter").addEventListener("submit", (event) => event.preventDefault());
for (const [id, move] of [["next-deliveries", () => Object.assign(list, { after: list.next, page: list.page + 1 })], ["first-deliveries", () => Object.assign(list, { after: null, page: 1 })]]) {
  $(id).addEventListener("click", () => {
    move();
    load();
    $("deliveries-title").focus({ preventScroll: true });
    $("deliveries-panel").scrollIntoView({ block: "start" });
  });
}
