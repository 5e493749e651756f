// The words for what the catalogue holds: names, dates and times as people write them, and how far the catalogue can be relied on.
import { age, count, make, sentence, shown, state } from "./core.js";

// A value of a dataset. Its direction is its own: a name in Hebrew does not turn the words around it.
export const value = (text) => make("bdi", {}, shown(text));
export const second = (...children) => make("span", { class: "second" }, ...children);

// PS3.5 §6.2.1: the groups of a person name are the same name in other scripts.
export function personName(text) {
  const groups = text.split("=").map((group, at) => {
    const [family, given, middle, prefix, suffix] = group.split("^").map((part) => part.trim());
    const first = [prefix, given, middle].filter(Boolean).join(" ");
    // A comma is for the alphabetic one.
    return [[family, first].filter(Boolean).join(at ? " " : ", "), suffix].filter(Boolean).join(" ");
  }).filter(Boolean);
  return groups.slice(0, 2).join(" · ");
}
// The name as it is stored, for what is typed as the page shows it.
export const asStored = (text) => text.replace(/\s*,\s*/, "^");
export const date = (text) => (/^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : shown(text));
// A study in words: its patient, or what else tells it from others.
export function called(study) {
  return (study.patient_name && personName(study.patient_name)) || study.patient_id || study.study_instance_uid || "(no Study Instance UID)";
}

// Times: in the zone of who looks, and in UTC in the title. The last minute is told from now.
const two = (n) => String(n).padStart(2, "0");
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
export function moment(iso) {
  const at = new Date(iso), day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = make("time", { datetime: iso, title: `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())} ${zone}\n${iso} UTC` });
  tell(time);
  return time;
}
function tell(time) {
  const at = new Date(time.dateTime), now = new Date(state.tick?.status.now_unix_ms ?? Date.now()), since = now - at;
  time.classList.toggle("fresh", since >= 0 && since < 60000);
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
  const text = since >= 0 && since < 60000 ? `${Math.floor(since / 1000)} s ago`
    : at.toDateString() === now.toDateString() ? `today ${clock}` : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}`;
  if (time.textContent !== text) time.textContent = text;
}
export function tellTimes(page) {
  for (const time of page.querySelectorAll("time.fresh")) tell(time);
}

// Whether all of a study seems to have come, in words, with the kind of its tag.
export const WHOLE = { unknown: ["not followed", "plain"], open: ["open", "plain"], complete: ["complete", ""], reopened: ["reopened", "warn"] };

// How far the catalogue can be relied on; empty if it has every stored instance.
export function reliance(catalogue) {
  if (!catalogue) return "";
  const { condition, files, reason, remedy, missed_total, waiting } = catalogue;
  const seen = files === null || files === undefined ? "" : ` ${count(files)} files so far.`;
  switch (condition) {
    case "catching_up": return `The catalogue is being compared with the disk.${seen} What was stored while the node did not run may be missing until then.`;
    case "behind": return `Some stored instances are not in the catalogue yet${reason ? ` (${shown(reason)})` : ""}: ${count(waiting)} wait to be entered, ${count(missed_total)} were missed and will be found by catch-up. Nothing is lost.`;
    case "rebuilding": return `The catalogue is being rebuilt from the stored files.${seen} Instances are received and stored as before.`;
    case "unavailable": return `The catalogue is unavailable: ${shown(reason ?? "")}. ${sentence(shown(remedy ?? "the node tries again by itself"))} Instances are received and stored as before.`;
    default: return "";
  }
}

// When to ask again: at once after something was entered, and now and then, since files that are gone are no event. A question that takes long is
// asked less often. Deliveries are no event either: where one watches them, more often.
const PAUSE_MS = 1500, MOVING_MS = 3000, IDLE_MS = 10000;
export class Follower {
  heard = "";
  quietUntil = 0;
  idleUntil = 0;
  answered(began, isMoving = false) {
    const now = performance.now();
    this.quietUntil = now + Math.max(PAUSE_MS, 4 * (now - began));
    this.idleUntil = now + Math.max(isMoving ? MOVING_MS : IDLE_MS, 20 * (now - began));
  }
  isDue() {
    const catalogue = state.tick.status.catalogue, now = performance.now();
    const heard = catalogue ? `${catalogue.condition} ${catalogue.entered_total} ${catalogue.files === null}` : "off";
    if (document.hidden || now < this.quietUntil || (heard === this.heard && now < this.idleUntil)) return false;
    this.heard = heard;
    return true;
  }
}

// What a question failed with.
export class Failure extends Error {}
export async function read(answer) {
  const body = await answer.json();
  if (!answer.ok) throw new Failure(sentence(body.error));
  return body;
}
export const lasted = (from, to) => age(new Date(to) - new Date(from));
