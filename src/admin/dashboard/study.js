// The page of a study: whether it arrived whole, by series, and who sent it.
import { $, TokenRequired, ask, bytes, cell, count, draw, make, plural, put, say, shown, state } from "./core.js";
import { Failure, Follower, WHOLE, called, date, lasted, moment, read, reliance, second, tellTimes, value } from "./catalogue.js";

// Rows of a table at most.
const MAX_ROWS = 200;

const own = { uid: null, abort: null, text: "", isAsking: false, isMoving: false, follower: new Follower() };

async function load() {
  const { signal } = own.abort;
  own.isAsking = true;
  const began = performance.now();
  try {
    const found = await read(await ask(`api/studies/${encodeURIComponent(own.uid)}`, { signal }));
    const text = JSON.stringify(found);
    if (text !== own.text) show(found);
    own.text = text;
  } catch (error) {
    if (signal.aborted || error instanceof TokenRequired) return;
    if (!(error instanceof Failure)) own.follower.heard = "";
    const isNoted = ["rebuilding", "unavailable"].includes(state.tick?.status.catalogue?.condition);
    nothing(isNoted ? "The study cannot be shown until then." : error instanceof Failure ? error.message : "The node does not respond. The page asks again when it does.");
  } finally {
    if (!signal.aborted) own.isAsking = false;
    own.follower.answered(began, own.isMoving);
  }
}
function nothing(why) {
  own.text = "";
  say("study-title", "Study");
  put($("study-facts"), why ? fact("Study Instance UID", make("span", { class: "mono uid" }, shown(own.uid))) : []);
  say("study-nothing", why);
  $("study-nothing").hidden = !why;
  for (const part of ["study-trouble", "study-series", "study-deliveries", "study-arrivals"]) $(part).hidden = true;
}

function show({ study, completion, series, deliveries, arrivals, arrivals_total }) {
  $("study-nothing").hidden = true;
  put($("study-title"), [value(called(study))]);
  const or = (text, as = value) => (text ? as(text) : "–");
  put($("study-facts"), [
    ["Patient ID", or(study.patient_id)], ["Born", or(study.patient_birth_date, date)], ["Accession", or(study.accession_number)],
    ["Study date", or(study.study_date, date)], ["Modality", or(study.modalities.join(" "))], ["Description", or(study.description)],
    ["State", whole(study, completion)],
    ["Stored", `${plural(study.files, "file")} in ${plural(study.series, "series", "series")}, ${bytes(study.bytes)}`],
    ["Received", make("span", {}, moment(study.first_received), ` – `, moment(study.last_received), ` (${lasted(study.first_received, study.last_received)})`)],
    ["Study Instance UID", make("span", { class: "mono uid" }, shown(study.study_instance_uid))],
  ].flatMap(([name, content]) => fact(name, content)));
  trouble(study, series);
  own.isMoving = deliveries.some((one) => one.waiting + one.retrying + one.sent > 0);
  $("study-deliveries").hidden = !deliveries.length;
  $("study-owed").hidden = !deliveries.some((one) => one.waiting + one.retrying + one.sent + one.dead > 0);
  $("study-owed").href = `#/outbox/${encodeURIComponent(study.study_instance_uid)}`;
  put($("progress").tBodies[0], deliveries.map(progressRow));
  $("study-series").hidden = !series.length;
  say("series-count", shortened(series.length, study.series));
  put($("series").tBodies[0], series.slice(0, MAX_ROWS).map(seriesRow));
  $("study-arrivals").hidden = !arrivals.length;
  say("arrivals-count", shortened(arrivals.length, arrivals_total));
  put($("arrivals").tBodies[0], arrivals.slice(0, MAX_ROWS).map(arrivalRow));
}
// By what it is complete, and what of it seems missing: it may be complete and lack something.
const BASES = { quiet: "nothing new came", told: "all came that its datasets tell", asked: "its source has answered" };
function whole({ completeness, completed }, completion) {
  const [word, kind] = WHOLE[completeness] ?? ["–", "plain"];
  const box = make("span", {}, make("span", { class: `tag ${kind}` }, word), ...(completed ? [" complete ", moment(completed)] : []));
  if (!completion) return box;
  const { basis, expected, missing } = completion;
  if (missing) box.append(" ", make("span", { class: "tag warn" }, `${count(missing)}${expected === null ? "" : ` of ${count(expected)}`} missing`));
  box.append(second(`${BASES[basis] ?? basis}${missing || expected === null ? "" : `, ${count(expected)} expected`}`));
  return box;
}
const fact = (name, content) => [make("div", {}, make("dt", {}, name), make("dd", {}, content))];
const shortened = (listed, total) => (Math.min(listed, MAX_ROWS) < total ? `the first ${Math.min(listed, MAX_ROWS)} of ${count(total)}` : "");

// What an operator should look at, in words.
function trouble(study, series) {
  const words = [];
  const sum = (of) => series.reduce((total, each) => total + of(each), 0);
  const missing = sum((each) => each.numbers.missing), versions = sum((each) => each.versions);
  const inSeries = series.filter((each) => each.numbers.missing).length;
  if (missing) words.push(`${plural(missing, "Instance Number")} missing in ${plural(inSeries, "series", "series")}. Some devices skip numbers: a gap is a reason to ask the sender, and no proof of a loss.`);
  if (study.gone) words.push(`${plural(study.gone, "stored file")} gone: removed or moved by people or programs since ${study.gone === 1 ? "it was" : "they were"} acknowledged.`);
  const dead = study.deliveries?.dead ?? 0;
  if (dead) words.push(`${plural(dead, "delivery", "deliveries")} given up: a destination does not have what it should. The reasons are with what is owed.`);
  if (versions) words.push(`${plural(versions, "further version")} of instances that are stored already: resent with other content.`);
  put($("study-trouble"), words.map((text) => make("li", {}, text)));
  $("study-trouble").hidden = !words.length;
}
const ranges = (of) => of.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(", ");
function numberCell({ numbers }) {
  const { lowest, highest, missing, missing_ranges, gone, gone_ranges, repeated, without } = numbers;
  const box = make("span", {}, lowest === null ? "–" : lowest === highest ? `${lowest}` : `${lowest}–${highest}`);
  if (lowest !== null && highest > lowest) box.append(strip(numbers));
  for (const [kind, word, total, of] of [["warn", "missing", missing, missing_ranges], ["bad", "gone", gone, gone_ranges]]) {
    if (!total) continue;
    const all = ranges(of);
    const listed = all.length > 70 ? `${all.slice(0, all.lastIndexOf(",", 70))}, …` : all;
    box.append(make("span", { class: `tag ${kind}`, title: all }, `${word} ${count(total)}: ${listed}`));
  }
  if (repeated) box.append(second(`${plural(repeated, "number")} used more than once`));
  if (without) box.append(second(`${plural(without, "file")} without a number`));
  return box;
}
// The numbers from the lowest to the highest, with the gaps where they are.
function strip({ lowest, highest, missing_ranges, gone_ranges }) {
  const span = highest - lowest + 1;
  const svg = draw("svg", { class: "numbers", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(draw("rect", { class: "there", width: 100, height: 6 }));
  for (const [a, b] of [...missing_ranges, ...gone_ranges]) {
    // A gap of one number among thousands is still seen.
    svg.append(draw("rect", { class: "missing", x: (a - lowest) * 100 / span, width: Math.max((b - a + 1) * 100 / span, 0.8), height: 6 }));
  }
  return svg;
}
function seriesRow(series) {
  const or = (text) => (text ? value(text) : "–");
  const title = make("span", {}, or(series.description), make("span", { class: "second mono uid" }, series.series_instance_uid ? shown(series.series_instance_uid) : "no Series Instance UID"));
  const images = make("span", {}, count(series.files));
  if (series.versions) images.append(second(`of them ${plural(series.versions, "version")}`));
  if (series.gone) images.append(make("span", { class: "tag bad" }, `${count(series.gone)} gone`));
  if (series.released) images.append(second(`${count(series.released)} released`));
  return make("tr", {},
    cell("Series", series.number === null ? "–" : String(series.number), "n number"), cell("Modality", or(series.modality)),
    cell("Description", title, "wide lead"), cell("Files", images, "n"), cell("Size", bytes(series.bytes), "n"),
    cell("Instance Numbers", numberCell(series), "wide numbers"), cell("Last received", moment(series.last_received), "n wide"));
}
function progressRow({ destination, waiting, retrying, sent, dead, delivered }) {
  const all = waiting + retrying + sent + dead + delivered;
  const number = (label, n, kind = "") => cell(label, count(n), n ? `n ${kind}` : "n none");
  const bar = make("meter", { min: 0, max: Math.max(all, 1), value: delivered, "aria-hidden": "true" });
  return make("tr", {},
    cell("Destination", shown(destination), "lead wide destination"), cell("Delivered", make("span", { class: "progress" }, `${count(delivered)} of ${count(all)}`, bar, ...(sent ? [second(`${count(sent)} sent, not committed there yet`)] : [])), "wide"),
    number("Waiting", waiting), number("Retrying", retrying), number("Dead", dead, "attention"));
}
function arrivalRow(arrival) {
  const or = (text) => (text ? value(text) : "–");
  return make("tr", {},
    cell("Calling AE", arrival.calling_ae_title === null ? "(not recorded)" : or(arrival.calling_ae_title.trim()), arrival.calling_ae_title === null ? "lead none" : "lead"),
    cell("Address", arrival.address ?? "–", "mono"), cell("Access rule", or(arrival.rule)), cell("Association", arrival.association === null ? "–" : String(arrival.association), "n"),
    cell("Files", count(arrival.files), "n"), cell("First", moment(arrival.first_received), "n wide"), cell("Last", moment(arrival.last_received), "n wide"));
}

export function heard() {
  const catalogue = state.tick.status.catalogue;
  const note = reliance(catalogue);
  say("study-note", note);
  $("study-note").hidden = !note;
  tellTimes($("study"));
  if (!own.isAsking && own.follower.isDue()) load();
}
export function enter(escaped) {
  leave();
  try { own.uid = decodeURIComponent(escaped); } catch { own.uid = escaped; }
  own.abort = new AbortController();
  nothing("");
  scrollTo(0, 0);
  $("study-title").focus({ preventScroll: true });
  load();
}
export function leave() {
  own.abort?.abort();
  Object.assign(own, { isAsking: false, isMoving: false, text: "", follower: new Follower() });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("study").hidden && !$("confirm").open) location.hash = "#/studies";
});
