// The customer of the demo: orders sent from this page, and what becomes of those that were journaled.
"use strict";

const SHOWN = 20; // orders in the list
const ASK_EVERY = 500; // milliseconds between two questions about a journaled order

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `you-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function enter(name) {
  if (!mine.length) $("mine").replaceChildren();
  const order = { kind: "mine", sent: now(), ended: null, status: 0, lane: null, name, words: "waits" };
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
  while (mine.length > SHOWN) mine.pop().line.remove();
  requests.set(`mine-${order.sent}`, order);
  return order;
}

function settle(order, fate, text) {
  order.words = "";
  order.line.dataset.fate = fate;
  order.note.setAttribute("aria-live", "polite");
  const took = now() - order.sent;
  order.note.textContent = `${text} in ${took.toFixed(took < 1 ? 2 : 1)} s`;
}

async function place(event) {
  event.preventDefault();
  const item = $("item").selectedOptions[0];
  const reference = newKey();
  const order = enter(item.textContent);
  try {
    const answer = await fetch($("unhurried").checked ? "/api/orders/unhurried" : "/api/orders", {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": reference },
      body: JSON.stringify({ reference, item_id: Number(item.value) }),
    });
    const content = await answer.json();
    order.status = answer.status;
    order.ended = now();
    if (answer.status === 202) journaled(order, content.operation);
    else if (answer.ok) settle(order, "answered", `order ${content.id} confirmed`);
    else settle(order, "failed", content.title || `answered ${answer.status}`);
  } catch {
    order.ended = now();
    settle(order, "failed", "no answer");
  }
}

// ── journaled orders ──────────────────────────────────────────────────────────────────────────

function journaled(order, where) {
  order.words = "journaled, waits";
  order.line.dataset.fate = "journaled";
  const link = document.createElement("a");
  link.href = where;
  link.textContent = order.name;
  order.line.querySelector("b").replaceChildren(link);
  askAgain(order, where);
}

function askAgain(order, where) {
  setTimeout(() => askFor(order, where), ASK_EVERY);
}

async function askFor(order, where) {
  let operation = null;
  try {
    const answer = await fetch(where, { cache: "no-store" });
    if (answer.status === 404) return settle(order, "failed", "forgotten");
    if (answer.ok) operation = await answer.json();
  } catch { /* the shop restarts, or the demo has ended: the notice says so, and we ask again */ }
  const status = operation?.status;
  if (status === "done") settle(order, "answered", `order ${operation.response?.body?.id ?? ""} confirmed`);
  else if (status === "failed" || status === "dead") settle(order, "failed", status);
  else askAgain(order, where);
}

// ── begin ─────────────────────────────────────────────────────────────────────────────────────

async function fillItems() {
  const answer = await fetch("/api/items");
  if (!answer.ok) return;
  const options = (await answer.json()).map((item) => new Option(item.name, item.id));
  $("item").replaceChildren(...options);
}

$("order").addEventListener("submit", place);
fillItems().catch(() => { /* the select keeps its one item; the notice says that the demo has ended */ });
