// The page of studies: a search that is answered while one types, newest first. What arrives meanwhile is seen at once, and moves nothing that
// is being read: counts change where they stand, and a new study is put on top only while the list is seen from its top and nothing points at it.
import { $, TokenRequired, ask, bytes, cell, count, make, plural, put, say, shown, state } from "./core.js";
import { Failure, Follower, WHOLE, asStored, called, date, moment, read, reliance, second, tellTimes, value } from "./catalogue.js";

const FIRST = 50, MORE = 100;
// Rows of the page at most. Further ones take the place of the first.
const MAX_ROWS = 300;
const TYPING_MS = 180, SLOW_MS = 400, VERY_SLOW_MS = 2000;

const list = {
  rows: new Map(), next: null, isCut: false, newer: 0,
  abort: null, isAsking: false, isExtending: false, isLoaded: false, typing: 0, scroll: 0, opened: null,
};
const follower = new Follower();
const body = $("studies-list").tBodies[0];

// What is asked.

function search() {
  const typed = { text: asStored($("text").value.trim()), source: $("source").value.trim(), date_from: $("date-from").value, date_to: $("date-to").value };
  const received = $("received").value;
  if (received === "today") typed.since = new Date(new Date().setHours(0, 0, 0, 0)).toISOString();
  else typed.since = received;
  return Object.entries(typed).filter(([, text]) => text);
}
async function page(limit, after, signal) {
  const query = new URLSearchParams([...search(), ["limit", limit], ...(after ? [["after", after]] : [])]);
  return read(await ask(`api/studies?${query}`, { signal }));
}

// A new search, or the same from its beginning.
async function load() {
  list.abort?.abort();
  const { signal } = list.abort = new AbortController();
  clearTimeout(list.typing);
  $("clear").hidden = !search().length;
  const slow = setTimeout(() => say("studies-count", "searching …"), SLOW_MS);
  const verySlow = setTimeout(() => say("studies-count", "still searching; a search of more than 5 s is stopped"), VERY_SLOW_MS);
  const began = performance.now();
  Object.assign(list, { isAsking: true, isLoaded: false });
  try {
    const { studies, next } = await page(FIRST, null, signal);
    list.rows.clear();
    body.replaceChildren();
    Object.assign(list, { next, isCut: false, newer: 0, isLoaded: true });
    append(studies);
    tell(studies.length ? "" : search().length ? "No study fits. A search finds values that begin with the text, in upper or lower case." : "No studies yet. They appear here when the first instance is stored.");
    if (!studies.length) instance(signal);
  } catch (error) {
    if (signal.aborted) return;
    failed(error);
  } finally {
    clearTimeout(slow);
    clearTimeout(verySlow);
    if (!signal.aborted) list.isAsking = false;
    follower.answered(began, [...list.rows.values()].some(({ study }) => ["open", "reopened"].includes(study.completeness)));
  }
}
function failed(error) {
  if (error instanceof TokenRequired) return;
  list.rows.clear();
  body.replaceChildren();
  Object.assign(list, { next: null, isCut: false, newer: 0, isLoaded: false });
  if (!(error instanceof Failure)) follower.heard = "";
  // The note above the list has the reason.
  const isNoted = ["rebuilding", "unavailable"].includes(state.tick?.status.catalogue?.condition);
  tell(isNoted ? "No studies can be shown until then." : error instanceof Failure ? error.message : "The node does not respond. The page asks again when it does.");
}
async function more() {
  if (list.isExtending) return;
  const { signal } = list.abort;
  list.isExtending = true;
  try {
    const { studies, next } = await page(MORE, list.next, signal);
    list.next = next;
    const hadFocus = document.activeElement === $("more");
    const first = append(studies);
    cut();
    tell("");
    if (hadFocus) first?.querySelector("a").focus({ preventScroll: true });
  } catch (error) {
    if (!signal.aborted && !(error instanceof TokenRequired)) say("studies-count", error.message);
  } finally { list.isExtending = false; }
}
// The first rows go when there are too many; what is seen stays where it is.
function cut() {
  const surplus = body.rows.length - MAX_ROWS;
  if (surplus <= 0) return;
  const before = document.documentElement.scrollHeight, at = scrollY;
  for (const row of [...body.rows].slice(0, surplus)) {
    list.rows.delete(row.dataset.uid);
    row.remove();
  }
  list.isCut = true;
  scrollTo(0, at - (before - document.documentElement.scrollHeight));
}

// The same search again, since something was entered.
async function refresh() {
  if (list.isAsking) return;
  const { signal } = list.abort;
  list.isAsking = true;
  const began = performance.now();
  try {
    const { studies, next } = await page(FIRST, null, signal);
    const isSame = (study) => list.rows.get(study.study_instance_uid)?.study.last_received === study.last_received;
    // A page of nothing but news: there may be more of them behind it.
    const isContiguous = !next || studies.some(isSame);
    const unknown = studies.filter((study) => !list.rows.has(study.study_instance_uid));
    for (const study of studies) list.rows.get(study.study_instance_uid)?.show(study);
    list.newer = unknown.length;
    if (isFollowing() && unknown.length) {
      list.newer = 0;
      if (!isContiguous || body.rows.length + unknown.length > MAX_ROWS) {
        list.rows.clear();
        body.replaceChildren();
        list.next = next;
        append(studies);
      } else body.prepend(...unknown.map(entry));
    }
    tell(body.rows.length ? "" : $("no-studies").textContent, isContiguous);
  } catch (error) {
    if (!signal.aborted) failed(error);
  } finally {
    if (!signal.aborted) list.isAsking = false;
    follower.answered(began, [...list.rows.values()].some(({ study }) => ["open", "reopened"].includes(study.completeness)));
  }
}
// Whether a row on top disturbs nobody.
function isFollowing() {
  return !list.isCut && (!body.rows.length || (scrollY < 40 && !body.matches(":hover") && !body.contains(document.activeElement)));
}

// What is shown.

function tell(nothing, isContiguous = true) {
  const rows = body.rows.length;
  $("studies-list").hidden = !rows;
  $("studies-list").classList.toggle("no-deliveries", ![...list.rows.values()].some((own) => own.study.deliveries));
  say("no-studies", nothing);
  $("no-studies").hidden = Boolean(rows) || !nothing;
  $("more").hidden = !list.next;
  $("to-top").hidden = !list.isCut;
  $("newer").hidden = !list.newer;
  say("newer", `${isContiguous ? plural(list.newer, "new study", "new studies") : `more than ${list.newer} new studies`}: show`);
  const which = search().length ? "that fit" : "";
  say("studies-count", !rows ? "" : list.isCut ? `${count(rows)} shown, further back` : list.next ? `the newest ${count(rows)} ${which}` : `${plural(rows, "study", "studies")} ${which}`);
  if (rows) $("found-instance").hidden = true;
}
function append(studies) {
  const rows = studies.filter((study) => !list.rows.has(study.study_instance_uid)).map(entry);
  body.append(...rows);
  return rows[0];
}
// A row stays the same element while its study changes: a link in it keeps the focus.
function entry(study) {
  const uid = study.study_instance_uid;
  const link = make(uid ? "a" : "span", uid ? { href: `#/studies/${encodeURIComponent(uid)}` } : { title: "Instances without a Study Instance UID" });
  const who = make("span", { class: "second" });
  const row = make("tr", {}, make("td", { class: "lead who" }, link, who));
  row.dataset.uid = uid;
  const own = { row, study: null, show(study) {
    if (own.study && JSON.stringify(own.study) === JSON.stringify(study)) return;
    own.study = study;
    if (link.textContent !== shown(called(study))) put(link, [value(called(study))]);
    link.className = study.patient_name || study.patient_id ? "" : "mono";
    const parts = [study.patient_name && study.patient_id ? [value(study.patient_id)] : [], study.patient_birth_date ? [`born ${date(study.patient_birth_date)}`] : []];
    put(who, parts.filter((part) => part.length).flatMap((part, at) => (at ? [" · ", ...part] : part)));
    [...row.children].slice(1).forEach((old) => old.remove());
    row.append(...cells(study));
  } };
  own.show(study);
  list.rows.set(uid, own);
  return row;
}
function cells(study) {
  const or = (label, text, kind, as = value) => cell(label, text ? as(text) : "–", text ? kind : `${kind} none`);
  const [sender, ...others] = study.calling_ae_titles;
  const sources = make("span", { title: study.calling_ae_titles.map(shown).join(", ") }, sender ? value(sender.trim()) : "–", ...(others.length ? [second(`and ${plural(others.length, "other")}`)] : []));
  const images = make("span", {}, make("span", { class: "count" }, count(study.files)), second(`${plural(study.series, "series", "series")}, ${bytes(study.bytes)}`));
  if (study.gone) images.append(make("span", { class: "tag bad" }, `${count(study.gone)} gone`));
  if (study.released) images.append(second(`${count(study.released)} released`));
  const { deliveries } = study;
  return [
    or("Study date", study.study_date, "date", date),
    or("Modality", study.modalities.join(" "), "modality"),
    or("Description", study.description, "what", (text) => make("span", { class: "clamp", title: shown(text) }, value(text))),
    or("Accession", study.accession_number, "accession"),
    cell("Files", images, "n images"),
    cell("Source", sources, sender ? "source" : "source none"),
    cell("State", whole(study), study.completeness === "unknown" ? "state none" : "state"),
    cell("Delivered", deliveries ? delivered(deliveries) : "–", deliveries ? "n delivery" : "n delivery none"),
    cell("Received", moment(study.last_received), "n at"),
  ];
}

// Whether all of it seems to have come.
function whole({ completeness, completed }) {
  const [word, kind] = WHOLE[completeness];
  if (completeness === "unknown") return make("span", {}, "–");
  return make("span", { class: `tag ${kind}`, ...(completed ? { title: `complete last at ${completed}` } : {}) }, word);
}

// To all destinations together: an instance counts once for each.
function delivered({ waiting, retrying, sent, dead, delivered }) {
  const owed = waiting + retrying + sent + dead, box = make("span", {}, owed ? `${count(delivered)} of ${count(owed + delivered)}` : delivered ? "all" : "–");
  if (retrying) box.append(make("span", { class: "tag warn" }, `${count(retrying)} retrying`));
  if (dead) box.append(make("span", { class: "tag bad" }, `${count(dead)} dead`));
  return box;
}

// An instance is asked for by its UID when no study has it.
async function instance(signal) {
  const uid = $("text").value.trim();
  $("found-instance").hidden = true;
  if (!/^[0-9]+(\.[0-9]+){3,}$/.test(uid)) return;
  const answer = await ask(`api/instances/${encodeURIComponent(uid)}`, { signal }).catch(() => null);
  if (!answer?.ok || signal.aborted) return;
  const { instances } = await answer.json();
  put($("found-instance"), [make("h3", {}, "An instance has this UID"), ...instances.slice(0, 20).map((file) => make("p", {},
    make("span", { class: file.state === "present" ? "tag" : "tag bad" }, file.state),
    make("span", { class: "mono" }, shown(file.path)), ` ${bytes(file.bytes)}, received `, moment(file.received),
    ...(file.origin ? [" from ", value(file.origin.calling_ae_title.trim())] : []), " ",
    ...file.deliveries.map(onItsWay),
    ...(file.study_instance_uid ? [make("a", { href: `#/studies/${encodeURIComponent(file.study_instance_uid)}` }, "its study")] : [])))]);
  say("no-studies", "No study has this UID.");
  $("found-instance").hidden = false;
}

function onItsWay({ destination, state, since, last_attempt, next_attempt, last_status, reason }) {
  const kind = { delivered: "", dead: "bad", retrying: "warn" }[state] ?? "plain";
  const why = reason || (last_status && state !== "delivered" ? `status ${last_status}` : "");
  return second(`to ${shown(destination)}: `, make("span", { class: `tag ${kind}` }, shown(state)), " ", moment(last_attempt ?? since),
    ...(next_attempt ? [", next at ", moment(next_attempt)] : []), why ? `: ${shown(why)}` : "");
}

// Each event of the node: the words for the catalogue, and the search again if something was entered.
export function heard() {
  const catalogue = state.tick.status.catalogue;
  const note = reliance(catalogue);
  say("catalogue-note", note);
  $("catalogue-note").hidden = !note;
  $("catalogue-note").classList.toggle("bad", catalogue?.condition === "unavailable");
  tellTimes($("studies"));
  if (list.isAsking || !follower.isDue()) return;
  if (list.isLoaded) refresh(); else load();
}
export function enter() {
  if (!list.isLoaded) { load(); return; }
  list.abort = new AbortController();
  follower.heard = "";
  scrollTo(0, list.scroll);
  list.rows.get(list.opened)?.row.querySelector("a")?.focus({ preventScroll: true });
}
export function leave() {
  if ($("studies").hidden) return;
  list.scroll = scrollY;
  list.abort?.abort();
  list.isAsking = false;
}

// Keys and pointer.

$("filter").addEventListener("click", () => {
  const isOpen = $("search").classList.toggle("open");
  $("filter").setAttribute("aria-expanded", String(isOpen));
});
$("search").addEventListener("input", () => {
  clearTimeout(list.typing);
  list.typing = setTimeout(load, TYPING_MS);
});
$("search").addEventListener("submit", (event) => { event.preventDefault(); load(); });
$("clear").addEventListener("click", () => { $("search").reset(); load(); $("text").focus(); });
$("more").addEventListener("click", more);
for (const id of ["newer", "to-top"]) $(id).addEventListener("click", () => { scrollTo(0, 0); load(); $("studies-title").focus({ preventScroll: true }); });
body.addEventListener("click", (event) => {
  const link = event.target.closest("tr")?.querySelector("a");
  if (!link || event.target.closest("a") || String(getSelection())) return;
  link.click();
});
body.addEventListener("focusin", (event) => { list.opened = event.target.closest("tr")?.dataset.uid; });
$("studies").addEventListener("keydown", (event) => {
  const links = [...body.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement), isTyping = event.target === $("text");
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (to === undefined || (at < 0 && !(isTyping && event.key === "ArrowDown"))) return;
  event.preventDefault();
  if (to < 0) $("text").focus(); else if (to >= links.length) $("more").focus(); else links[to].focus();
});
