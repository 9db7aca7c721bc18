"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const color = (i) => `var(--s${i % 8})`;
const el = (id) => document.getElementById(id);

function node(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
}

function html(name, parent, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  parent.appendChild(element);
  return element;
}

function table(target, head, rows) {
  const line = (cells, tag) => {
    const row = html("tr", target);
    for (const cell of cells) html(tag, row, cell);
  };
  line(head, "th");
  for (const row of rows) line(row, "td");
}

function quantile(values, q) {
  if (!values.length) return NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * q)];
}

// Round numbers, about `count` of them, inside [low, high].
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const out = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-12; i++) out.push(+(i * step).toPrecision(12));
  return out;
}

// An empty chart with axes; returns the scales.
function chart(parent, title, { width, height, x, y, unit }) {
  const panel = html("div", parent, undefined, "panel");
  if (title) html("h3", panel, title);
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title || unit }, panel);
  const left = 46, right = width - 8, top = 6, bottom = height - 20;
  const sx = (v) => left + ((v - x[0]) / (x[1] - x[0] || 1)) * (right - left);
  const sy = (v) => bottom - ((v - y[0]) / (y[1] - y[0] || 1)) * (bottom - top);
  for (const t of ticks(y[0], y[1], 4)) {
    node("line", { class: "axis", x1: left, x2: right, y1: sy(t), y2: sy(t) }, svg);
    node("text", { x: left - 5, y: sy(t) + 4, "text-anchor": "end" }, svg, String(t));
  }
  for (const t of ticks(x[0], x[1], 8)) {
    node("text", { x: sx(t), y: height - 5, "text-anchor": "middle" }, svg, `${t} s`);
  }
  node("text", { x: left, y: top + 6, "text-anchor": "start" }, svg, unit);
  return { svg, panel, sx, sy, left, right, top, bottom, x };
}

const path = (points) => {
  let pen = "M";
  return points.map(([x, y]) => {
    if (y === null) { pen = "M"; return ""; }
    const move = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return move;
  }).join("");
};

function span() {
  const times = [0, ...data.states.map((s) => s[0]), ...data.events.map((e) => e.at)];
  for (const c of data.chunks) times.push(c.at, c.start + c.step * (c.values.length / (data.joints.length || 1)));
  return [0, times.reduce((a, b) => Math.max(a, b), 0) || 1];
}

function marks(c) {
  for (const event of data.events) {
    node("line", { x1: c.sx(event.at), x2: c.sx(event.at), y1: c.top, y2: c.bottom, stroke: "var(--bad)", "stroke-width": 1.5, opacity: 0.55 }, c.svg);
  }
}

function tip(c, describe) {
  const box = el("tip");
  c.svg.addEventListener("mousemove", (event) => {
    const bounds = c.svg.getBoundingClientRect();
    const at = ((event.clientX - bounds.left) / bounds.width) * c.svg.viewBox.baseVal.width;
    const time = c.x[0] + ((at - c.left) / (c.right - c.left)) * (c.x[1] - c.x[0]);
    box.textContent = describe(time);
    box.hidden = false;
    box.style.left = `${Math.min(event.clientX + 14, innerWidth - 240)}px`;
    box.style.top = `${event.clientY + 14}px`;
  });
  c.svg.addEventListener("mouseleave", () => { box.hidden = true; });
}

const nearest = (items, time, of) =>
  items.reduce((best, item) => (best === null || Math.abs(of(item) - time) < Math.abs(of(best) - time) ? item : best), null);

function drawJoints(x) {
  const width = data.joints.length;
  data.joints.forEach((joint, j) => {
    const state = data.states.map(([t, values]) => [t, values[j]]);
    const all = state.map((s) => s[1]).filter((v) => v !== null);
    for (const c of data.chunks) for (let i = j; i < c.values.length; i += width) all.push(c.values[i]);
    const low = all.reduce((a, b) => Math.min(a, b), Infinity), high = all.reduce((a, b) => Math.max(a, b), -Infinity);
    const pad = Math.max((high - low) * 0.08, 1e-3);
    const unmeasured = state.every((s) => s[1] === null);
    if (!all.length) {
      const panel = html("div", el("joints"), undefined, "panel");
      html("h3", panel, joint);
      html("p", panel, "nothing to draw: no joint state has this joint, and no chunk came", "note");
      return;
    }
    const y = [low - pad, high + pad];
    // Pose columns: entries of a rotation matrix have no unit.
    const unit = /\.[rm]\d\d$/.test(joint) ? "matrix entry" : "rad or m";
    const c = chart(el("joints"), joint, { width: 620, height: 170, x, y, unit });
    if (unmeasured && unit !== "matrix entry") html("p", c.panel, "not measured: no joint state has a joint of this name", "note");
    marks(c);
    node("path", { class: "state-line", d: path(state.map(([t, v]) => [c.sx(t), v === null ? null : c.sy(v)])) }, c.svg);
    data.chunks.forEach((chunk, k) => {
      const points = [];
      for (let i = 0; i * width < chunk.values.length; i++) points.push([c.sx(chunk.start + i * chunk.step), c.sy(chunk.values[i * width + j])]);
      const stroke = k % 2 ? "var(--odd)" : "var(--even)";
      node("path", { class: "chunk-line", d: path(points), stroke }, c.svg);
      if (points.length) node("circle", { cx: points[0][0], cy: points[0][1], r: 2.2, fill: stroke }, c.svg);
    });
    tip(c, (time) => {
      const s = nearest(state, time, (p) => p[0]);
      return `${time.toFixed(2)} s` + (s && s[1] !== null ? `\nstate ${s[1].toFixed(4)}` : "");
    });
  });
}

function drawLatency(x) {
  const parts = ["encode", ...data.stages, "decode"];
  const times = (c) => [c.encode_ms, ...c.stages_ms, c.decode_ms];
  const high = quantile(data.chunks.map((c) => c.total_ms), 1) || 1;
  const c = chart(el("latency"), "", { width: 1250, height: 220, x, y: [0, high * 1.05], unit: "ms" });
  const gap = data.chunks.length > 1 ? (c.sx(data.chunks[1].at) - c.sx(data.chunks[0].at)) * 0.8 : 6;
  const bar = Math.max(1.5, Math.min(14, gap));
  for (const chunk of data.chunks) {
    let base = 0;
    times(chunk).forEach((ms, i) => {
      // Not over the axis and its figures.
      const left = Math.max(c.left, c.sx(chunk.at) - bar / 2);
      node("rect", { x: left, width: bar, y: c.sy(base + ms), height: Math.max(0, c.sy(base) - c.sy(base + ms)), fill: color(i) }, c.svg);
      base += ms;
    });
  }
  parts.forEach((part, i) => {
    const key = html("span", el("stage-legend"), undefined, "key");
    key.style.background = color(i);
    el("stage-legend").append(part);
  });
  tip(c, (time) => {
    const chunk = nearest(data.chunks, time, (k) => k.at);
    return chunk ? `${chunk.at.toFixed(2)} s\n` + times(chunk).map((ms, i) => `${parts[i]} ${ms.toFixed(2)} ms`).join("\n") : "";
  });
  const column = (i) => data.chunks.map((k) => (i < parts.length ? times(k)[i] : k.total_ms));
  table(el("latency-table"), ["", "median ms", "p95 ms", "max ms"],
    [...parts, "total"].map((part, i) => [part, ...[0.5, 0.95, 1].map((q) => quantile(column(i), q).toFixed(2))]));
}

function drawAges(x) {
  const ages = data.chunks.flatMap((c) => c.ages_ms);
  const high = ages.reduce((a, b) => Math.max(a, b), 1);
  const c = chart(el("ages"), "", { width: 1250, height: 200, x, y: [Math.min(0, ...ages), high * 1.05], unit: "ms" });
  marks(c);
  data.inputs.forEach((input, i) => {
    const points = data.chunks.map((chunk) => [c.sx(chunk.at), c.sy(chunk.ages_ms[i])]);
    node("path", { class: "chunk-line", d: path(points), stroke: color(i) }, c.svg);
    const key = html("span", el("age-legend"), undefined, "key");
    key.style.background = color(i);
    el("age-legend").append(input);
  });
  tip(c, (time) => {
    const chunk = nearest(data.chunks, time, (k) => k.at);
    return chunk ? `${chunk.at.toFixed(2)} s\n` + data.inputs.map((n, i) => `${n} ${chunk.ages_ms[i].toFixed(1)} ms`).join("\n") : "";
  });
  table(el("input-table"), ["input", "topic", "received", "replaced unused", "refused", "out of order", "median age ms", "max age ms"],
    data.statistics.map((s) => {
      const i = data.inputs.indexOf(s.name);
      const column = i < 0 ? [] : data.chunks.map((c) => c.ages_ms[i]);
      const number = (q) => (column.length ? quantile(column, q).toFixed(1) : "");
      return [s.name, s.topic, s.received, s.overwritten, s.refused, s.out_of_order, number(0.5), number(1)];
    }));
}

function drawEvents() {
  if (!data.events.length) {
    html("caption", el("events"), "None.");
    return;
  }
  table(el("events"), ["at", "kind", "what"], data.events.slice(0, 200).map((e) => [`${e.at.toFixed(3)} s`, e.kind, e.text]));
  for (const cell of el("events").querySelectorAll("td:nth-child(n+2)")) cell.className = "text";
  if (data.events.length > 200) html("p", el("events").parentElement, `and ${data.events.length - 200} more`);
}

function drawCards() {
  const totals = data.chunks.map((c) => c.total_ms);
  const sum = (f) => data.chunks.reduce((a, c) => a + f(c), 0);
  const card = (value, label, bad) => {
    const box = html("div", el("cards"), undefined, bad ? "card bad" : "card");
    html("b", box, value);
    html("span", box, label);
  };
  card(String(data.chunks.length), data.chunks.length === 1 ? "chunk" : "chunks", !data.chunks.length);
  card(totals.length ? `${quantile(totals, 0.5).toFixed(1)} ms` : "-", "median inference");
  card(totals.length ? `${quantile(totals, 0.99).toFixed(1)} ms` : "-", "p99 inference");
  const oldest = data.chunks.map((c) => Math.max(...c.ages_ms));
  card(oldest.length ? `${quantile(oldest, 1).toFixed(0)} ms` : "-", "oldest input used");
  const violations = data.events.filter((e) => e.kind === "violation").length;
  card(String(violations), violations === 1 ? "violation" : "violations", violations > 0);
  const refusals = data.events.length - violations;
  card(String(refusals), refusals === 1 ? "refusal" : "refusals", refusals > 0);
  card(String(sum((c) => c.late)), "late rows");
  card(String(sum((c) => c.clamped)), "values clamped");
  card(String(data.unchanged), "cycles unchanged");
  if (data.waiting) card(String(data.waiting), "cycles before every input had come");
}

function drawLimits() {
  if (data.no_trajectories) {
    html("p", el("limits"), `No trajectories: ${data.no_trajectories}`, "bad-text");
  }
  const clamped = Object.entries(data.clamped);
  if (clamped.length) {
    html("h2", el("limits"), "Values clamped to position limits");
    table(html("table", el("limits")), ["joint", "values"], clamped.map(([joint, count]) => [joint, String(count)]));
  }
}

el("policy").textContent = data.policy.name || "a policy";
el("fingerprint").textContent = `${data.policy.fingerprint}, time from ${data.origin}`;
const x = span();
drawCards();
drawLimits();
drawJoints(x);
drawLatency(x);
drawAges(x);
drawEvents();
