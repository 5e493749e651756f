// The page of the node: figures, memory, charts, associations, writers, refusals. It is drawn from the events, but for the associations that have ended.
import { $, age, ask, attempt, bytes, cell, change, clock, confirmed, count, draw, make, micros, perSecond, plural, put, say, shown, state } from "./core.js";

const STAGES = ["floor", "tls", "negotiating", "receiving", "queued", "writing", "spooling", "catalogue", "commitment", "delivery", "admin"];
const STAGE_WORDS = {
  floor: "association floors", tls: "TLS", negotiating: "negotiating", receiving: "receiving", queued: "queued for writers",
  writing: "being committed", spooling: "being spooled", catalogue: "being catalogued", commitment: "storage commitment", delivery: "being delivered", admin: "admin",
};

const MOST_ENDED = 20;
// The last question for ended associations: which were open then, and when.
const asked = { open: null, at: 0, isRunning: false };

const own = { before: new Map(), rates: new Map(), cursor: null };

export function show() {
  const { status, associations, writers } = state.tick;
  tiles(status);
  memory();
  throughput();
  latency();
  table(associations, status);
  pool(writers);
  refusals(status.refused);
  ended(status.ended);
  put($("checks"), status.readiness.checks.map((check) => {
    const isAsked = check.name === "serving" && status.phase !== "serving";
    return make("li", { class: check.ok ? "ok" : isAsked ? "asked" : "bad" },
      make("b", {}, `${check.name}: ${check.ok ? "ok" : isAsked ? status.phase : "failing"}`), make("p", {}, check.detail));
  }));
}
// Rates of associations, from one event to the next.
export function rate(tick) {
  const now = tick.status.now_unix_ms, next = new Map();
  own.rates = new Map(tick.associations.map((association) => {
    const before = own.before.get(association.id);
    next.set(association.id, { at: now, received: association.received_bytes });
    const span = before ? (now - before.at) / 1000 : association.age_ms / 1000;
    const received = association.received_bytes - (before ? before.received : 0);
    return [association.id, span > 0 ? received / span : 0];
  }));
  own.before = next;
}

function tiles(status) {
  const second = status.last_second || { received_bytes: 0, acknowledged: 0, length_ms: 1000, response: null };
  const per = 1000 / Math.max(second.length_ms, 1);
  say("rate", perSecond(second.received_bytes * per));
  say("instances", `${count(Math.round(second.acknowledged * per))} instances/s`);
  const answered = second.response || state.points.findLast((point) => point.response)?.response;
  say("p50", answered ? micros(answered.p50_us) : "–");
  say("p99", answered ? `p99 ${micros(answered.p99_us)}` : "no response yet");
  say("associations-open", count(status.associations));
  say("associations-max", `of ${count(status.associations_max)}`);
  fill("associations-meter", status.associations, status.associations_max);
  const waiting = Math.max(second.mailbox_depth || 0, status.mailbox_depth);
  say("mailbox", count(waiting));
  say("mailbox-max", `of ${count(status.mailbox_capacity)} slots`);
  if (status.storage) {
    const { free_bytes, size_bytes, ready_above_bytes, free_inodes, writable, unanswered_ms } = status.storage;
    say("disk", `${bytes(free_bytes)} free`);
    const isOutOfInodes = status.readiness.checks.some((check) => check.name === "inodes" && !check.ok);
    const extent = isOutOfInodes ? `${count(free_inodes)} inodes free` : `of ${bytes(size_bytes, 0)}`;
    say("disk-sub", unanswered_ms ? `no answer for ${Math.round(unanswered_ms / 1000)} s` : writable ? extent : "not writable");
    fill("disk-meter", size_bytes - free_bytes, size_bytes);
    grade("disk", !writable || isOutOfInodes || free_bytes <= ready_above_bytes ? "bad" : free_bytes < 2 * ready_above_bytes ? "warn" : "");
  } else {
    say("disk", "no response");
    say("disk-sub", "the disk does not respond");
    grade("disk", "bad");
  }
  say("refused", count(status.refused_total));
  say("restarts", status.hung_threads ? plural(status.hung_threads, "hung thread") : plural(status.restarts_total, "restart"));
  const lately = state.points.slice(-60).some((point) => point.refused > 0);
  $("trouble-tile").className = `tile ${status.hung_threads > 0 || lately ? "bad" : status.restarts_total > 0 ? "warn" : ""}`;
  spark("spark-rate", (point) => point.received_bytes);
  spark("spark-response", (point) => point.response?.p50_us ?? 0);
  spark("spark-refused", (point) => point.refused);
  // Against its capacity: how near it came to being full, and not only how it moved.
  spark("spark-mailbox", (point) => point.mailbox_depth, status.mailbox_capacity);
}
function grade(id, kind) { $(id).closest(".tile").className = `tile ${kind}`; }
function fill(id, value, max) {
  const meter = $(id);
  Object.assign(meter, { max: Math.max(max, 1), low: max * 0.75, high: max * 0.92, optimum: 0, value });
}
function spark(id, of, most = 1) {
  const points = state.points.slice(-60), svg = $(id);
  const max = Math.max(...points.map(of), most);
  svg.setAttribute("viewBox", "0 0 59 22");
  svg.setAttribute("preserveAspectRatio", "none");
  const from = 60 - points.length;
  const path = points.map((point, i) => `${i ? "L" : "M"}${from + i} ${(20 - 18 * of(point) / max).toFixed(2)}`).join("");
  put(svg, path ? [draw("path", { d: path })] : []);
}

// Charts. Time runs to the right; each has its own frame.

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
function frame(id, most, unit) {
  const box = $(id), width = box.clientWidth, height = box.clientHeight;
  const span = spanned();
  const end = state.points.at(-1)?.at_unix_ms ?? Date.now();
  const points = state.points.filter((point) => point.at_unix_ms >= end - span);
  const left = 64, right = width - 8, top = 10, bottom = height - 24;
  const x = (at) => left + (right - left) * (1 - (end - at) / span);
  const y = (value) => bottom - (bottom - top) * Math.min(value / most, 1);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const value of ticks(most, unit)) {
    svg.append(draw("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    svg.append(draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, unit === "bytes" ? bytes(value, value < 10 * 1024 ** 2 ? 1 : 0) : unit(value)));
  }
  const marks = width < 480 ? 3 : 6;
  for (let i = 0; i <= marks; i += 1) {
    const seconds = span / 1000 * (1 - i / marks);
    const text = seconds === 0 ? "now" : seconds >= 60 && seconds % 60 === 0 ? `−${seconds / 60} min` : seconds >= 60 ? `−${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}` : `−${Math.round(seconds)} s`;
    const anchor = i === marks ? "end" : i === 0 ? "start" : "middle";
    svg.append(draw("text", { x: left + (right - left) * i / marks, y: height - 5, "text-anchor": anchor }, text));
  }
  return { box, svg, points, x, y, left, right, top, bottom, end, span };
}
// The time that is shown.
const spanned = () => Number(chosen("span")) * 1000;
function ticks(most, unit) {
  const steps = unit === "bytes" ? 2 ** Math.floor(Math.log2(most / 3)) : (() => {
    const rough = most / 3, power = 10 ** Math.floor(Math.log10(rough));
    return [5, 2, 1].map((n) => n * power).find((n) => n <= rough) ?? power;
  })();
  const values = [];
  for (let value = 0; value <= most * 1.001; value += steps) values.push(value);
  return values.length > 6 ? values.filter((_, i) => i % 2 === 0) : values;
}
const line = (points, x, y) => points.map((point, i) => `${i ? "L" : "M"}${x(point).toFixed(1)} ${y(point).toFixed(1)}`).join("");

function memory() {
  const points = state.points;
  if (!points.length) return;
  const now = points.at(-1);
  const total = (point) => STAGES.reduce((sum, stage) => sum + point.leased[stage], 0);
  const inSpan = visible();
  const used = Math.max(...inSpan.map((point) => Math.max(total(point), point.resident_bytes)), 1);
  const budget = Math.max(...inSpan.map((point) => point.budget_bytes));
  const toBudget = chosen("scale") === "budget";
  const most = toBudget ? Math.max(budget, used) * 1.08 : used * 1.15;
  const f = frame("memory-chart", most, "bytes");
  if (now.pressure !== "normal") f.svg.setAttribute("class", "pressed");
  let below = f.points.map(() => 0);
  for (const stage of STAGES) {
    const above = f.points.map((point, i) => below[i] + point.leased[stage]);
    if (f.points.some((point) => point.leased[stage] > 0)) {
      const edge = f.points.map((point, i) => `${i ? "L" : "M"}${f.x(point.at_unix_ms).toFixed(1)} ${f.y(above[i]).toFixed(1)}`).join("");
      const floor = f.points.map((point, i) => `L${f.x(point.at_unix_ms).toFixed(1)} ${f.y(below[i]).toFixed(1)}`).reverse().join("");
      f.svg.append(draw("path", { class: `area ${stage}`, d: `${edge}${floor}Z` }));
    }
    below = above;
  }
  f.svg.append(draw("path", { class: "line resident", d: line(f.points, (p) => f.x(p.at_unix_ms), (p) => f.y(p.resident_bytes)) }));
  if (toBudget) {
    f.svg.append(draw("path", { class: "line budget", d: line(f.points, (p) => f.x(p.at_unix_ms), (p) => f.y(p.budget_bytes)) }));
    f.svg.append(draw("text", { class: "budget-label", x: f.right - 6, y: f.y(now.budget_bytes) + 17, "text-anchor": "end" }, `budget ${bytes(now.budget_bytes, 0)}`));
  } else {
    f.svg.append(draw("text", { class: "budget-label", x: f.right - 6, y: f.top + 8, "text-anchor": "end" }, `↑ budget ${bytes(now.budget_bytes, 0)}, ${(now.budget_bytes / used).toFixed(0)} × the peak`));
  }
  const percent = total(now) * 100 / Math.max(now.budget_bytes, 1);
  const sums = `held ${bytes(total(now))} of ${bytes(now.budget_bytes, 0)} (${percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %), resident ${bytes(now.resident_bytes)}, pressure ${now.pressure}`;
  say("memory-now", sums);
  f.box.setAttribute("aria-label", `Memory by stage: ${sums}`);
  const tip = cursor(f, total);
  put(f.box, tip ? [f.svg, tip] : [f.svg]);
  legend(now);
}
function cursor(f, total) {
  if (own.cursor === null || !f.points.length) return null;
  const at = f.end - own.cursor;
  const point = f.points.reduce((best, p) => (Math.abs(p.at_unix_ms - at) < Math.abs(best.at_unix_ms - at) ? p : best));
  const x = f.x(point.at_unix_ms);
  f.svg.append(draw("line", { class: "cursor", x1: x, x2: x, y1: f.top, y2: f.bottom }));
  const row = (name, value) => make("p", {}, make("span", {}, name), make("b", {}, value));
  const tip = make("div", { class: "tip" }, make("p", {}, clock(point.at_unix_ms)),
    ...STAGES.filter((stage) => point.leased[stage] > 0).reverse().map((stage) => row(STAGE_WORDS[stage], bytes(point.leased[stage]))),
    row("held", bytes(total(point))), row("resident", bytes(point.resident_bytes)), row("pressure", point.pressure));
  tip.style.left = x > f.box.clientWidth / 2 ? "" : `${x + 12}px`;
  tip.style.right = x > f.box.clientWidth / 2 ? `${f.box.clientWidth - x + 12}px` : "";
  return tip;
}
function swatch(mark) {
  const svg = draw("svg", { class: "swatch", viewBox: "0 0 12 12", "aria-hidden": "true" });
  svg.append(mark);
  return svg;
}
function legend(now) {
  const entry = (mark, words, value) => make("li", {}, swatch(mark), make("span", {}, words), make("span", { class: value ? "value" : "value zero" }, bytes(value)));
  put($("legend"), [
    ...STAGES.map((stage) => entry(draw("rect", { class: stage }), STAGE_WORDS[stage], now.leased[stage])),
    entry(draw("path", { class: "line resident", d: "M0 6H12" }), "resident, as the host sees it", now.resident_bytes),
  ]);
}

function lines(id, most, unit, series, gapless) {
  const f = frame(id, most, unit);
  for (const { of, kind, fills } of series) {
    const parts = [[]];
    for (const point of f.points) {
      const value = of(point);
      if (value === null) { if (!gapless) parts.push([]); } else parts.at(-1).push([f.x(point.at_unix_ms), f.y(value)]);
    }
    for (const part of parts.filter((part) => part.length)) {
      if (part.length === 1) part.push([part[0][0] + 2, part[0][1]]);
      const d = line(part, (p) => p[0], (p) => p[1]);
      if (fills) f.svg.append(draw("path", { class: "under", d: `${d}L${part.at(-1)[0].toFixed(1)} ${f.bottom}L${part[0][0].toFixed(1)} ${f.bottom}Z` }));
      f.svg.append(draw("path", { class: `line ${kind}`, d }));
    }
  }
  put(f.box, [f.svg]);
}
function visible() {
  const end = state.points.at(-1)?.at_unix_ms ?? 0;
  return state.points.filter((point) => point.at_unix_ms >= end - spanned());
}
function throughput() {
  const per = (point, n) => n * 1000 / Math.max(point.length_ms, 1);
  const points = visible();
  const most = Math.max(...points.map((point) => per(point, Math.max(point.received_bytes, point.acknowledged_bytes))), 1024) * 1.1;
  lines("throughput-chart", most, "bytes", [
    { of: (point) => per(point, point.received_bytes), kind: "s-received", fills: true },
    { of: (point) => per(point, point.acknowledged_bytes), kind: "s-stored" },
  ]);
  const now = points.at(-1);
  if (!now) return;
  named("throughput", "Throughput", [["s-received", `received ${perSecond(per(now, now.received_bytes))}`], ["s-stored", `stored ${perSecond(per(now, now.acknowledged_bytes))}`]]);
}
function latency() {
  const points = visible();
  const most = Math.max(...points.map((point) => Math.max(point.response?.p99_us ?? 0, point.commit?.p50_us ?? 0)), 1000) * 1.1;
  lines("latency-chart", most, (us) => micros(Math.round(us)), [
    { of: (point) => point.response?.p99_us ?? null, kind: "s-response99" },
    { of: (point) => point.commit?.p50_us ?? null, kind: "s-commit" },
    { of: (point) => point.response?.p50_us ?? null, kind: "s-response" },
  ]);
  const now = points.findLast((point) => point.response);
  if (now) named("latency", "Response and commit", [["s-response", `p50 ${micros(now.response.p50_us)}`], ["s-response99", `p99 ${micros(now.response.p99_us)}`], ["s-commit", `commit p50 ${micros(now.commit?.p50_us ?? null)}`]]);
  else say("latency-now", "no response in this period");
}

// The words beside a chart's title: each line by its colour and its name.
function named(id, title, series) {
  put($(`${id}-now`), series.map(([kind, text]) => make("span", {}, swatch(draw("path", { class: kind, d: "M0 6H12" })), text)));
  $(`${id}-chart`).setAttribute("aria-label", `${title}: ${series.map(([, text]) => text).join(", ")}`);
}

// Lists.

function table(associations, status) {
  const body = $("associations").tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  const wanted = associations.map((association) => {
    const id = String(association.id);
    // A row stays the same element: a button in it keeps the focus.
    const row = rows.get(id) ?? abortable(id);
    const quiet = association.quiet_ms > 10000 ? ` (idle ${age(association.quiet_ms)})` : "";
    const title = shown(association.calling_ae_title.trim());
    const button = row.lastElementChild;
    button.firstElementChild.setAttribute("aria-label", `Abort the association of ${title || "(unknown)"} from ${association.peer}`);
    const cells = [
      cell("Calling AE", title || "(negotiating)", title ? "lead" : "lead none"),
      cell("Peer", association.peer, "mono"),
      cell("Open", `${age(association.age_ms)}${quiet}`, "n"),
      cell("Rate", perSecond(own.rates.get(association.id) ?? 0), "n"),
      cell("Received", bytes(association.received_bytes), "n"),
      cell("Held", bytes(association.held_bytes), "n"),
      cell("Stored", count(association.acknowledged), "n"),
      cell("Refused", count(association.refused), association.refused ? "n attention" : "n"),
    ];
    [...row.children].slice(0, -1).forEach((old) => old.remove());
    row.prepend(...cells);
    return row;
  });
  wanted.forEach((row, i) => { if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null); });
  while (body.rows.length > wanted.length) body.lastElementChild.remove();
  $("associations").hidden = !associations.length;
  $("no-associations").hidden = Boolean(associations.length);
  say("associations-shown", associations.length < status.associations ? `the ${associations.length} largest holders of ${count(status.associations)}` : "");
}
function abortable(id) {
  const button = make("button", { type: "button", class: "row-action" }, "Abort");
  button.addEventListener("click", () => abort(id));
  const row = make("tr", {}, make("td", { class: "wide", "data-label": "" }, button));
  row.dataset.id = id;
  return row;
}
async function abort(id) {
  const association = state.tick.associations.find((found) => String(found.id) === id);
  if (!association) return;
  const name = shown(association.calling_ae_title.trim()) || "this peer";
  const yes = await confirmed(`Abort the association of ${name}?`,
    `${association.peer} gets an A-ABORT. What it has stored stays stored; the dataset it is sending is dropped, and the sender will have to send it again.`, "Abort");
  if (yes) await attempt(() => change("DELETE", `api/associations/${id}`));
}
// The associations that have ended: asked for when one may have, and now and then so that those of more than an hour ago go.
export async function past(tick) {
  const open = tick.associations.map((association) => association.id).join();
  if (asked.isRunning || (open === asked.open && tick.status.now_unix_ms - asked.at < 5000)) return;
  asked.isRunning = true;
  try {
    const ended = await (await ask(`api/associations/ended?limit=${MOST_ENDED + 1}`)).json();
    Object.assign(asked, { open, at: tick.status.now_unix_ms });
    passed(ended);
  } catch (error) {
    // The stream of events tells of a node that does not answer.
  } finally {
    asked.isRunning = false;
  }
}
function passed(ended) {
  put($("past").tBodies[0], ended.slice(0, MOST_ENDED).map((one) => {
    const further = one.studies > 1 ? ` and ${count(one.studies - 1)} more` : "";
    const instances = [["new", one.new], ["identical", one.identical], ["replaced", one.replaced], ["kept both", one.kept_both]];
    const words = instances.filter(([, n]) => n).map(([name, n]) => `${count(n)} ${name}`).join(", ");
    return make("tr", {},
      cell("When", clock(one.at_unix_ms), "when"),
      cell("Calling AE", shown(one.calling_ae_title.trim()) || "(unknown)", "lead"),
      cell("Called AE", shown(one.called_ae_title.trim()) || "(unknown)"),
      cell("Peer", one.peer, "mono"),
      cell("Rule", shown(one.rule ?? "–")),
      cell("Study", one.first_study ? `${shown(one.first_study)}${further}` : one.studies ? plural(one.studies, "study", "studies") : "–", "mono wide"),
      cell("Instances", words || "none"),
      cell("Refused", count(one.refused), one.refused ? "n attention" : "n"),
      cell("Received", bytes(one.bytes), "n"),
      cell("Lasted", age(one.duration_ms), "n"),
      cell("End", one.end.replaceAll("_", " ")));
  }));
  say("past-shown", ended.length > MOST_ENDED ? `the latest ${MOST_ENDED} of the last hour` : "of the last hour");
  $("past").hidden = !ended.length;
  $("no-past").hidden = Boolean(ended.length);
}

function pool(writers) {
  const busy = writers.writers.filter((writer) => writer.jobs > 0).length;
  const running = writers.writers.filter((writer) => writer.state === "running").length;
  say("writers-now", `${running} of ${writers.writers.length} running, ${busy} busy, ${plural(writers.mailbox_depth, "job")} waiting`);
  put($("writers"), writers.writers.map((writer) => {
    const kind = writer.state !== "running" ? "bad" : !writer.jobs ? "idle" : writer.quiet_ms > 2000 ? "slow" : "busy";
    const doing = writer.state !== "running" ? writer.state : writer.jobs ? `${plural(writer.jobs, "job")} for ${age(writer.busy_ms)}` : "idle";
    const entry = make("li", { class: kind }, make("b", {}, writer.name), make("p", {}, doing), make("p", {}, `${count(writer.instances_total)} stored, ${bytes(writer.bytes_total)}`));
    if (writer.restarts) entry.append(make("p", {}, `${plural(writer.restarts, "restart")}: ${shown(writer.last_exit ?? "")}`));
    return entry;
  }));
}
const image = (event) => event.sop_instance_uid ? `; SOP Instance ${event.sop_instance_uid}` : "";
function refusals(refused) {
  // One row for what the same peer was refused again and again: the latest, and how often.
  const rows = new Map();
  for (const event of refused) {
    const key = [event.peer, event.calling_ae_title, event.called_ae_title, event.reason].join("\n");
    const row = rows.get(key) ?? { event, times: 0 };
    row.times += 1;
    rows.set(key, row);
  }
  put($("refusals").tBodies[0], [...rows.values()].slice(0, 8).map(({ event, times }) => make("tr", {},
    cell("When", `${clock(event.at_unix_ms)}${times > 1 ? `, ${count(times - 1)} earlier` : ""}`, "when"),
    cell("Sender", `${shown(event.calling_ae_title.trim()) || "(unknown)"} ${event.peer}`),
    cell("Called AE", shown(event.called_ae_title.trim()) || "(unknown)"),
    cell("Status", event.status ?? "rejected", "mono"),
    cell("Reason", `${event.reason.replaceAll("_", " ")}: ${shown(event.detail)}${image(event)}`, "wide"))));
  $("refusals").hidden = !refused.length;
  $("no-refusals").hidden = Boolean(refused.length);
}
function ended(events) {
  put($("ended").tBodies[0], events.slice(0, 12).map((event) => make("tr", {},
    cell("When", clock(event.at_unix_ms), "when"), cell("Part", shown(event.child)), cell("Cause", shown(event.cause), "wide"), cell("Action", event.next))));
  $("ended").hidden = !events.length;
  $("no-ended").hidden = Boolean(events.length);
}

// Choices, pointer and keys.

const redraw = () => state.tick && !$("main").hidden && show();
for (const id of ["scale", "span"]) $(id).addEventListener("change", redraw);
const chart = $("memory-chart");
function point(event) {
  const box = chart.getBoundingClientRect(), left = 64, right = box.width - 8;
  const part = Math.min(Math.max((event.clientX - box.left - left) / (right - left), 0), 1);
  own.cursor = (1 - part) * spanned();
  memory();
}
chart.addEventListener("pointermove", point);
chart.addEventListener("pointerdown", point);
chart.addEventListener("pointerleave", () => { own.cursor = null; memory(); });
chart.addEventListener("blur", () => { own.cursor = null; memory(); });
chart.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: 1000, ArrowRight: -1000, PageUp: 10000, PageDown: -10000 }[event.key];
  if (event.key === "Escape") own.cursor = null;
  else if (step) own.cursor = Math.min(Math.max((own.cursor ?? 0) + step, 0), spanned());
  else return;
  event.preventDefault();
  memory();
});
window.addEventListener("resize", redraw);
