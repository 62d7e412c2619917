"use strict";
// The data of this page, and what all charts are drawn with: elements, numbers, scales, axes, labels.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const finite = (value) => typeof value === "number" && Number.isFinite(value);
const NARROW = 560;

// ---- elements and numbers ----------------------------------------------------------------------------------------

function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const text = (x, y, words, attributes = {}) => shape("text", { x, y, ...attributes }, words);
const title = (words) => shape("title", {}, words);
const color = (index) => `color: var(--series-${index % data.num_colors})`;
const dashes = (index) => data.dashes[Math.floor(index / data.num_colors) % data.dashes.length] || undefined;

function say(value, digits = 4) {
  if (!finite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(1).replace("e+", "e").replace("-", "−").replace("e-", "e−");
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

// ---- scales ------------------------------------------------------------------------------------------------------

function scale(low, high, from, to, log = false) {
  const f = log ? Math.log10 : (x) => x;
  if (f(low) === f(high)) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const at = (x) => from + ((f(x) - f(low)) / (f(high) - f(low))) * (to - from);
  return Object.assign(at, { low, high, from, to, log, clamp: (x) => at(Math.min(high, Math.max(low, x))) });
}

function ticks({ low, high, log }, most) {
  if (log) return logTicks(low, high, most);
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

function logTicks(low, high, most) {
  for (const factors of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const factor of factors) if (factor * 10 ** power >= low * 0.999 && factor * 10 ** power <= high * 1.001) found.push(Number((factor * 10 ** power).toPrecision(6)));
    if (found.length <= most + 1) return found.length >= 2 ? found : ticks({ low, high }, most);
  }
  const found = [];
  const every = Math.ceil(Math.log10(high / low) / most);
  for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power++) if (power % every === 0) found.push(10 ** power);
  return found;
}

// ---- a frame with axes, grid and a place for labels at the right -------------------------------------------------

function frame(holder, { height, left = 52, right = 16, top = 12, bottom = 46, words }) {
  const width = Math.max(260, holder.clientWidth);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": words });
  holder.replaceChildren(svg);
  return { svg, width, height, left, right: width - right, top, bottom: height - bottom };
}

function xAxis(f, x, label, most, form = say) {
  for (const tick of ticks(x, most)) {
    f.svg.append(shape("line", { class: "grid", x1: x(tick), x2: x(tick), y1: f.top, y2: f.bottom }));
    f.svg.append(text(x(tick), f.bottom + 16, form(tick), { "text-anchor": "middle" }));
  }
  f.svg.append(shape("line", { class: "axis", x1: f.left, x2: f.right, y1: f.bottom, y2: f.bottom }));
  f.svg.append(text((f.left + f.right) / 2, f.bottom + 33, label, { "text-anchor": "middle" }));
}

function yAxis(f, y, most) {
  for (const tick of ticks(y, most)) {
    f.svg.append(shape("line", { class: "grid", x1: f.left, x2: f.right, y1: y(tick), y2: y(tick) }));
    f.svg.append(text(f.left - 8, y(tick) + 4, say(tick), { "text-anchor": "end" }));
  }
}

/** Cut a label to the room it has: the middle goes, because names differ at their ends. */
function short(words, room) {
  const most = Math.max(5, Math.floor(room / 7));
  if (words.length <= most) return words;
  const head = Math.ceil((most - 1) / 2);
  return `${words.slice(0, head)}…${words.slice(words.length - (most - 1 - head))}`;
}

/** Put labels beside the ends of lines, moved apart until none lies on another. */
function endLabels(f, labels, gap = 15) {
  labels.sort((a, b) => a.y - b.y);
  for (let i = 1; i < labels.length; i++) labels[i].y = Math.max(labels[i].y, labels[i - 1].y + gap);
  const over = labels.length ? labels[labels.length - 1].y - f.bottom : 0;
  if (over > 0) {
    labels[labels.length - 1].y -= over;
    for (let i = labels.length - 2; i >= 0; i--) labels[i].y = Math.min(labels[i].y, labels[i + 1].y - gap);
  }
  for (const label of labels) {
    f.svg.append(shape("circle", { class: "dot", cx: f.right + 10, cy: label.y, r: 4, style: color(label.entry) }));
    f.svg.append(text(f.right + 19, label.y + 4, short(label.words, f.width - f.right - 22), { class: "label" }));
  }
}

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** Split a line into pieces where a value is missing. */
function pieces(length, has) {
  const found = [];
  let piece = [];
  for (let i = 0; i <= length; i++) {
    if (i < length && has(i)) piece.push(i);
    else if (piece.length) {
      found.push(piece);
      piece = [];
    }
  }
  return found;
}
