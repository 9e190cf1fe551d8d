// The strip: time runs to the right, each request is a line as long as it took. It reads what page.js knows.
"use strict";

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
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", mix);
requestAnimationFrame(frame);
