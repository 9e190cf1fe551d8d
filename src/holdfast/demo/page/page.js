// The page of the demo: buttons to the control server, its events on to the page; strip.js draws,
// orders.js is the customer.
"use strict";

const $ = (id) => document.getElementById(id);
const control = new URL(document.querySelector("meta[name=control]").content || location.href);
const token = control.searchParams.get("token") || "";
const still = matchMedia("(prefers-reduced-motion: reduce)");

// ── time: the server's monotonic seconds, carried on by this browser's clock ──────────────────

let ahead = -Infinity; // server seconds minus ours; the largest seen had the shortest way
const here = () => performance.now() / 1000;
const now = () => here() + (ahead === -Infinity ? 0 : ahead);
const wall = (at) => new Date(Date.now() - (now() - at) * 1000).toLocaleTimeString([], { hour12: false });
const seconds = (value) => value.toFixed(1);
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

// ── what is known ─────────────────────────────────────────────────────────────────────────────

let state = null;
let busy = false; // a button of the database was pressed and is not answered yet
let before = null; // the shop's figures when the last outage began
const requests = new Map(); // id -> {kind, sent, ended, status, lane}
const mine = []; // own orders, latest first

async function press(path, body) {
  const answer = await fetch(new URL(path, control), {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error || `the control server answered ${answer.status}`);
  return content;
}

function complain(text) {
  $("gone").textContent = text;
  $("gone").hidden = !text;
}

// ── events ────────────────────────────────────────────────────────────────────────────────────

function listen() {
  const events = new EventSource(new URL(`/events?token=${encodeURIComponent(token)}`, control));
  events.onopen = () => { complain(""); $("log").replaceChildren(); };
  events.onerror = () => {
    complain("The demo has ended. Start it again, then reload this page.");
    $("switch").disabled = true;
    $("lamp").dataset.state = "unknown";
    $("database-state").textContent = "unknown";
    $("headline").dataset.mood = "calm";
    $("headline").textContent = "The shop is closed.";
    $("aside").textContent = "";
    state = null;
  };
  events.addEventListener("state", (event) => follow(JSON.parse(event.data)));
  events.addEventListener("visits", (event) => JSON.parse(event.data).forEach(visit));
  events.addEventListener("log", (event) => JSON.parse(event.data).forEach(write));
}

function follow(next) {
  ahead = Math.max(ahead, next.now - here());
  const wasAway = state && state.database.state !== "running";
  if (next.database.state !== "running" && !wasAway) before = next.shop;
  state = next;
  show();
}

function visit([id, kind, sent, ended, status]) {
  const known = requests.get(id) || { kind, sent, lane: null };
  requests.set(id, Object.assign(known, { ended, status }));
}

function write(line) {
  const entry = document.createElement("li");
  entry.dataset.kind = line.kind;
  const time = document.createElement("time");
  time.textContent = wall(line.at);
  const text = document.createElement("span");
  text.textContent = line.text;
  entry.append(time, document.createElement("i"), text);
  $("log").prepend(entry);
  while ($("log").children.length > 100) $("log").lastChild.remove();
}

// ── words and figures ─────────────────────────────────────────────────────────────────────────

const STATES = { running: "running", stopping: "stopping", stopped: "stopped", starting: "starting" };

function show() {
  const { database, shop, visitors } = state;
  $("lamp").dataset.state = database.state;
  $("database-state").textContent = STATES[database.state];
  $("database-title").textContent = `PostgreSQL on port ${database.port}`;
  const does = database.state === "running" || database.state === "stopping" ? "stop" : "start";
  $("switch").dataset.does = does;
  $("switch").textContent = does === "stop" ? "Stop the database" : "Start the database";
  $("switch").disabled = busy || database.state === "stopping" || database.state === "starting";
  for (const name of ["served", "waiting", "held", "replayed", "failed"]) {
    $(name).textContent = shop[name].toLocaleString("en");
  }
  light("waiting", shop.waiting ? "wait" : "");
  light("failed", shop.failed ? "bad" : shop.held ? "good" : "");
  $("longest").textContent = seconds(visitors.longest);
  const chosen = document.querySelector(`#rates input[value="${visitors.rate}"]`);
  if (chosen && !$("rates").dataset.busy) chosen.checked = true;
  tell(database, shop, visitors);
}

function light(key, mood) {
  document.querySelector(`[data-key="${key}"]`).dataset.lit = mood;
}

function tell(database, shop, visitors) {
  const [mood, headline, aside] = words(database, shop, visitors);
  $("headline").dataset.mood = mood;
  if ($("headline").textContent !== headline) $("headline").textContent = headline;
  if ($("aside").textContent !== aside) $("aside").textContent = aside;
}

function words(database, shop, visitors) {
  const last = database.outages.at(-1);
  const failed = before ? shop.failed - before.failed : 0;
  const fate = failed ? `${count(failed, "request")} failed.` : "None has failed.";
  if (database.state !== "running") {
    if (!shop.waiting) {
      const next = visitors.rate ? "Requests that need it will wait." : "Place an order, or let visitors come: they will wait.";
      return [failed ? "bad" : "wait", "The database is gone.", next];
    }
    const waits = `${count(shop.waiting, "request")} ${shop.waiting === 1 ? "waits" : "wait"}.`;
    return [failed ? "bad" : "wait", `The database is gone. ${waits}`, `${fate} Start it again and watch them go.`];
  }
  if (!last) {
    const aside = visitors.rate
      ? "Reads and orders go straight through. Now stop the database."
      : "An ordinary FastAPI shop on a real PostgreSQL. Send it visitors, then stop its database.";
    return ["calm", "The shop is open.", aside];
  }
  if (shop.waiting || !shop.up) return ["wait", "It is back. The waiting requests go first.", fate];
  const held = before ? shop.held - before.held : shop.held;
  const away = `${seconds(last[1] - last[0])} s without a database`;
  if (failed) return ["bad", `${away}, ${count(failed, "request")} failed.`, `${count(held, "request")} waited. The log says why the others did not get through.`];
  if (!held) return ["good", `${away}, and nobody came.`, "Let visitors come, and stop it again."];
  const all = held === 1 ? "The one request that waited was answered." : `All ${held.toLocaleString("en")} requests that waited were answered.`;
  return ["good", `${away}, nothing failed.`, all];
}

function tick() {
  if (!state) return;
  const last = state.database.outages.at(-1);
  const runs = last && last[1] === null;
  $("clock").textContent = last ? seconds(Math.max(0, (runs ? now() : last[1]) - last[0])) : "0.0";
  $("clock-caption").textContent = !last ? "no outage yet" : runs ? "away so far" : "was the last outage";
  for (const order of mine) if (order.words) order.note.textContent = `${order.words} ${seconds(now() - order.sent)} s`;
}

// ── begin ─────────────────────────────────────────────────────────────────────────────────────

$("switch").addEventListener("click", async () => {
  busy = $("switch").disabled = true;
  try {
    await press(`/database/${$("switch").dataset.does}`);
    complain("");
  } catch (error) {
    complain(error.message);
  }
  busy = false;
  if (state) show();
});

$("rates").addEventListener("change", async (event) => {
  $("rates").dataset.busy = "yes";
  try {
    await press("/visitors", { rate: Number(event.target.value) });
  } catch (error) {
    complain(error.message);
  }
  delete $("rates").dataset.busy;
});

listen();
