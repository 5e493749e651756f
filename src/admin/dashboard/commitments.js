// The panel of storage commitment on the page of the node: the figures of each event, and for operators the requests that are not reported.
import { $, age, attempt, cell, change, clock, confirmed, count, make, plural, put, say, shown, state } from "./core.js";
import { Failure, read } from "./catalogue.js";

const MOST = 20, PAUSE_MS = 2000, IDLE_MS = 15000;
// The last question: what the figures were then, when, with which token, and whether it was denied.
const asked = { figures: "", at: -Infinity, token: null, isDenied: false, isRunning: false };

export function show(tick) {
  const health = tick.status.commitment;
  $("commitments-panel").hidden = !health;
  if (!health) return;
  const waits = health.pending ? `${plural(health.pending, "report")} pending` : "no report pending";
  const tried = health.retrying ? `, ${count(health.retrying)} tried again` : "";
  const oldest = health.oldest_pending_ms === null ? "" : `, the oldest for ${age(health.oldest_pending_ms)}`;
  put($("commitments-now"), [
    make("span", {}, `${waits}${tried}${oldest}`),
    make("span", {}, `since start: ${plural(health.received_total, "request")}, ${count(health.reported_total)} reported`),
    make("span", { class: health.gave_up_total ? "attention" : "" }, `${count(health.gave_up_total)} given up`),
    make("span", {}, `${plural(health.committed_total, "instance")} committed, ${count(health.not_committed_total)} not`),
  ]);
  const failure = health.last_failure;
  const why = health.reason ? `${health.reason}${health.remedy ? `: ${health.remedy}` : ""}`
    : failure ? `${clock(failure.at_unix_ms)}: no report to ${failure.calling_ae_title.trim() || "a modality"}: ${failure.error || "see the log"}` : "";
  say("commitments-trouble", shown(why));
  $("commitments-trouble").hidden = !why;
  follow(health);
}

// The requests name peers and instances, so they are for operators. The sign-in does not take the place of the figures: who is denied is told so.
async function follow(health) {
  const figures = [health.pending, health.retrying, health.received_total, health.reported_total, health.gave_up_total].join(), now = performance.now();
  if (asked.token !== state.token) Object.assign(asked, { token: state.token, isDenied: false, figures: "", at: -Infinity });
  const since = now - asked.at;
  if (asked.isDenied || asked.isRunning || document.hidden || since < PAUSE_MS || (figures === asked.figures && since < IDLE_MS)) return;
  asked.isRunning = true;
  try {
    const [pending, givenUp] = await Promise.all(["pending", "given_up"].map(page));
    const found = [...pending.commitments, ...givenUp.commitments].sort((one, other) => other.id - one.id);
    const hasMore = found.length > MOST || pending.next !== null || givenUp.next !== null;
    listed(found.slice(0, MOST), "Every report has been taken.", hasMore);
    Object.assign(asked, { figures, at: now });
  } catch (error) {
    // The stream of events tells of a node that does not answer.
    if (!(error instanceof Failure)) return;
    listed([], error.message);
    asked.at = now;
  } finally {
    asked.isRunning = false;
  }
}
async function page(of) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const answer = await fetch(`api/commitments?state=${of}&limit=${MOST}`, { headers, cache: "no-store" });
  if (answer.status === 401 || answer.status === 403) {
    asked.isDenied = true;
    throw new Failure("The requests are shown to operators: sign in on the page Studies.");
  }
  return read(answer);
}
function listed(requests, nothing, hasMore = false) {
  const body = $("commitments").tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  const wanted = requests.map((request) => {
    const id = String(request.id);
    // A row stays the same element: a button in it keeps the focus.
    const row = rows.get(id) ?? retryable(id);
    const title = shown(request.calling_ae_title.trim()) || "(no title)";
    row.lastElementChild.firstElementChild.setAttribute("aria-label", `Report request ${id} of ${title} now`);
    const attempts = request.attempts ? plural(request.attempts, "attempt") : "no attempt yet";
    const next = request.next_attempt ? `, next at ${clock(new Date(request.next_attempt).getTime())}` : "";
    const cells = [
      cell("Calling AE", title, "lead"),
      cell("Address", request.address, "mono"),
      cell("Asked", new Date(request.received).toLocaleString([], { hour12: false }), "when"),
      cell("Instances", count(request.instances), "n"),
      cell("Not committed", request.evaluated === null ? "–" : count(request.not_committed), request.not_committed ? "n attention" : "n"),
      cell("State", request.state === "given_up" ? "given up" : request.state, request.state === "given_up" ? "attention" : ""),
      cell("Report", `${attempts}${next}${request.last_error ? `: ${shown(request.last_error)}` : ""}`, "wide"),
    ];
    [...row.children].slice(0, -1).forEach((old) => old.remove());
    row.prepend(...cells);
    return row;
  });
  wanted.forEach((row, i) => { if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null); });
  while (body.rows.length > wanted.length) body.lastElementChild.remove();
  $("commitments").hidden = !requests.length;
  say("no-commitments", hasMore ? `The latest ${MOST}: tidegate commitments --pending and --given-up list all.` : requests.length ? "" : nothing);
  $("no-commitments").hidden = !$("no-commitments").textContent;
}
function retryable(id) {
  const button = make("button", { type: "button", class: "row-action" }, "Report now");
  button.addEventListener("click", async () => {
    const yes = await confirmed(`Report request ${id} now?`, "The instances are looked up again, and the modality is called at once. A request that was given up is tried for the whole time again.", "Report");
    if (yes) await attempt(async () => { await change("POST", `api/commitments/${id}/retry`); asked.at = -Infinity; asked.figures = ""; });
  });
  const row = make("tr", {}, make("td", { class: "wide", "data-label": "" }, button));
  row.dataset.id = id;
  return row;
}
