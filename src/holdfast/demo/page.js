// The page of the demo: buttons to the control server, its events on to the page, requests onto the strip.
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
  for (const order of mine) if (!order.ended) order.note.textContent = `waits ${seconds(now() - order.sent)} s`;
}

// ── own orders ────────────────────────────────────────────────────────────────────────────────

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `you-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function enter(name) {
  if (!mine.length) $("mine").replaceChildren();
  const order = { kind: "mine", sent: now(), ended: null, status: 0, lane: null, name };
  order.line = document.createElement("li");
  order.line.dataset.fate = "waiting";
  const title = document.createElement("b");
  title.textContent = name;
  order.note = document.createElement("em");
  order.note.textContent = "sent";
  order.note.setAttribute("aria-live", "off"); // it ticks; its end is announced below
  order.line.append(title, order.note);
  $("mine").prepend(order.line);
  mine.unshift(order);
  while (mine.length > 3 && $("mine").children.length > 3) $("mine").lastChild.remove();
  requests.set(`mine-${order.sent}`, order);
  return order;
}

async function place(event) {
  event.preventDefault();
  const item = $("item").selectedOptions[0];
  const reference = newKey();
  const order = enter(item.textContent);
  let text;
  try {
    const answer = await fetch("/api/orders", {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": reference },
      body: JSON.stringify({ reference, item_id: Number(item.value) }),
    });
    const content = await answer.json();
    order.status = answer.status;
    text = answer.ok ? `order ${content.id} confirmed` : content.title || `answered ${answer.status}`;
  } catch {
    text = "no answer";
  }
  order.ended = now();
  order.line.dataset.fate = order.status === 201 ? "answered" : "failed";
  order.note.setAttribute("aria-live", "polite");
  order.note.textContent = `${text} in ${(order.ended - order.sent).toFixed(order.ended - order.sent < 1 ? 2 : 1)} s`;
}

async function fillItems() {
  const answer = await fetch("/api/items");
  if (!answer.ok) return;
  const options = (await answer.json()).map((item) => new Option(item.name, item.id));
  $("item").replaceChildren(...options);
}

// ── the strip: time runs to the right, each request is a line as long as it took ──────────────

const SLOW = 0.15; // seconds from which on a request is a line, not a dot
const canvas = $("strip");
const pen = canvas.getContext("2d");
const colours = {};
let lanes = 12; // how many fit; follows what is needed, slowly

function mix() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["good", "wait", "bad", "soft", "line", "band", "ink", "card", "bad-ink"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

function placeInLanes(gap) {
  const free = []; // when each lane is free again
  let needed = 0;
  for (const one of requests.values()) {
    if (one.lane === null) {
      let lane = 0;
      while (free[lane] !== undefined && free[lane] > one.sent) lane += 1;
      one.lane = lane;
    }
    free[one.lane] = Math.max(free[one.lane] ?? 0, (one.ended ?? Infinity) + gap);
    needed = Math.max(needed, one.lane + 1);
  }
  return needed;
}

function draw() {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const moment = now();
  const span = width < 600 ? 12 : 20;
  const floor = height - 22;
  const x = (at) => width - 10 - ((moment - at) / span) * (width - 10);
  for (const [id, one] of requests) if (one.ended !== null && moment - one.ended > span + 2) requests.delete(id);
  const needed = placeInLanes((10 / width) * span);
  const wanted = Math.max(14, needed + 2);
  lanes += (wanted - lanes) * (still.matches || wanted > lanes * 2 ? 1 : 0.08);
  const step = (floor - 22) / lanes;
  drawTime(x, moment, span, floor, width);
  drawOutages(x, moment, floor, width);
  if (!requests.size) drawHint(width, floor);
  const y = (one) => floor - 10 - one.lane * step;
  for (const one of requests.values()) drawRequest(one, x, moment, y(one), step);
  for (const one of requests.values()) if (one.kind === "mine") drawYou(x(one.ended ?? moment), y(one));
}

function drawHint(width, floor) {
  pen.font = "15px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.fillStyle = colours.soft;
  const text = width < 600 ? "Let visitors come, or place an order." : "Nobody is here yet. Let visitors come, or place an order yourself.";
  pen.fillText(text, width / 2, floor / 2);
}

function drawYou(x, y) {
  pen.font = "600 12px system-ui, sans-serif";
  pen.textAlign = "center";
  const right = x > canvas.clientWidth - 50;
  const middle = right ? x - 26 : x + 26;
  pen.fillStyle = colours.ink;
  pen.beginPath();
  pen.roundRect(middle - 16, y - 9, 32, 18, 9);
  pen.fill();
  pen.fillStyle = colours.card;
  pen.fillText("you", middle, y + 4);
}

function drawTime(x, moment, span, floor, width) {
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = colours.soft;
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(0, floor + 0.5);
  pen.lineTo(width, floor + 0.5);
  pen.stroke();
  pen.textBaseline = "alphabetic";
  for (let ago = 0; ago <= span; ago += 5) {
    pen.textAlign = ago === 0 ? "right" : "center";
    if (x(moment - ago) > 20) pen.fillText(ago ? `${ago} s ago` : "now", ago ? x(moment - ago) : width, floor + 17);
  }
}

function drawOutages(x, moment, floor, width) {
  if (!state) return;
  for (const [began, ended] of state.database.outages) {
    const [left, right] = [Math.max(0, x(began)), Math.min(x(ended ?? moment), width)];
    if (right < 0) continue;
    pen.fillStyle = colours.band;
    pen.fillRect(left, 0, right - left, floor);
    pen.fillStyle = colours.bad;
    if (x(began) >= 0) pen.fillRect(x(began), 0, 1.5, floor);
    pen.fillStyle = colours.good;
    if (ended !== null) pen.fillRect(x(ended), 0, 1.5, floor);
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "left";
    pen.fillStyle = colours["bad-ink"];
    const label = `no database, ${seconds((ended ?? moment) - began)} s`;
    if (right - left > pen.measureText(label).width + 14) pen.fillText(label, left + 8, 15);
  }
}

function drawRequest(one, x, moment, y, step) {
  const own = one.kind === "mine";
  const end = one.ended ?? moment;
  const lasted = end - one.sent;
  const good = one.status >= 200 && one.status < 300;
  const colour = one.ended === null ? colours.wait : good ? colours.good : colours.bad;
  const thick = Math.max(1.2, Math.min(5, step * 0.62)) * (own ? 1.6 : 1);
  const radius = own ? 5 : Math.max(1.6, Math.min(one.kind === "read" ? 2.4 : 3.4, step * 0.6));
  if (one.ended === null && lasted < SLOW) return; // nearly all are answered before an eye sees them
  pen.strokeStyle = pen.fillStyle = colour;
  if (lasted >= SLOW) {
    pen.globalAlpha = one.ended === null || !good ? 1 : 0.62;
    pen.lineWidth = thick;
    pen.lineCap = "round";
    pen.setLineDash(one.ended !== null && !good ? [4, 5] : []);
    pen.beginPath();
    pen.moveTo(x(one.sent), y);
    pen.lineTo(x(end), y);
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }
  if (one.ended !== null && !good) {
    pen.lineWidth = 2.5;
    pen.beginPath();
    for (const side of [-4, 4]) { pen.moveTo(x(end) - 4, y - side); pen.lineTo(x(end) + 4, y + side); }
    pen.stroke();
    return;
  }
  pen.beginPath();
  pen.arc(x(end), y, radius, 0, 7);
  pen.fill();
  if (!own) return;
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 2;
  pen.stroke();
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

$("order").addEventListener("submit", place);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", mix);

let drawn = 0;
function frame(at) {
  if (at - drawn > (still.matches ? 500 : 30)) {
    drawn = at;
    draw();
    tick();
  }
  requestAnimationFrame(frame);
}

mix();
fillItems().catch(() => { /* the select keeps its one item; the notice says that the demo has ended */ });
listen();
requestAnimationFrame(frame);
