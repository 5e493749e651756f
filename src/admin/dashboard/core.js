// The parts that all pages share: figures in words, elements, questions to the node, dialogs. The text of a peer is put on a page as text and
// never as markup: there is no innerHTML in these files.
const SVG = "http://www.w3.org/2000/svg";
export const $ = (id) => document.getElementById(id);

export const state = { points: [], tick: null, token: sessionStorage.getItem("token") || "", page: "" };

// How figures are written.

export function bytes(n, digits = 1) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = Math.abs(n), unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) { value /= 1024; unit += 1; }
  const text = unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(digits);
  return `${n < 0 ? "−" : ""}${text} ${units[unit]}`;
}
export const perSecond = (n) => `${bytes(n)}/s`;
export function micros(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms`;
  return `${(us / 1e6).toFixed(us < 1e7 ? 1 : 0)} s`;
}
export function age(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 10) return `${(ms / 1000).toFixed(1)} s`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}
export const count = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
// A peer's string: control characters and what reverses a line are shown, not obeyed.
export function shown(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

export const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "");

// The page's parts.

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") element.className = value; else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
export function draw(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}
export function say(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}
export const put = (list, children) => list.replaceChildren(...children);

// Asking the node.

// The answer to a request. One that needs a token shows the sign-in.
export async function ask(path, options = {}) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}`, ...options.headers } : options.headers;
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.status === 401 || answer.status === 403) {
    const { error } = await answer.json();
    signIn(error);
    throw new TokenRequired(error);
  }
  return answer;
}
export class TokenRequired extends Error {}
export async function change(method, path, what = null) {
  const content = what ? { body: JSON.stringify(what) } : {};
  const headers = { "X-Tidegate": "1", ...(what ? { "Content-Type": "application/json" } : {}) };
  const answer = await ask(path, { method, headers, ...content });
  if (!answer.ok) throw new Error((await answer.json()).error);
}
export function notice(text) { say("notice", text); $("notice").hidden = !text; }

// The sign-in takes the place of the page. It says why if a token was shown already.
export function signIn(why) {
  for (const page of document.querySelectorAll("main")) page.hidden = true;
  say("sign-in-why", state.token ? sentence(why) : "");
  $("sign-in").hidden = false;
  $("token").focus();
}

export function health(text, kind) {
  const badge = $("health");
  say("health", text);
  badge.className = `badge ${kind}`;
  document.title = `${text} · ${state.page}Tidegate ${state.tick ? shown(state.tick.status.ae_title) : ""}`;
}
export async function attempt(work) {
  try { await work(); } catch (error) { notice(`Request failed: ${error.message}`); }
}
export function confirmed(title, text, yes) {
  say("confirm-title", title);
  say("confirm-text", text);
  say("confirm-yes", yes);
  const dialog = $("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}
export function cell(label, content, kind = "") {
  return make("td", { "data-label": label, class: kind }, content);
}
