"use strict";
// Draws the charts of this page from the data in it, sorts and filters its table. Nothing is fetched.
(() => {
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

  // ---- learning curves ---------------------------------------------------------------------------------------------

  function curves(holder, choice) {
    const lines = data.curves.lines[choice.metric];
    const seen = lines.flatMap((line) => [...line.median, ...line.low, ...line.high]).filter((v) => finite(v) && (!choice.log || v > 0));
    const places = lines.flatMap((line) => line.x[choice.axis]).filter(finite);
    if (!seen.length || !places.length) return void holder.replaceChildren(node("p", { class: "quiet" }, choice.log ? "No value above 0 to draw on a logarithmic scale." : "No values to draw."));
    const narrow = holder.clientWidth < NARROW;
    const longest = Math.max(...lines.map((line) => line.label.length));
    const room = Math.min(26 + 7.2 * longest, holder.clientWidth * (narrow ? 0.24 : 0.3));
    const f = frame(holder, { height: narrow ? 300 : 400, right: room, words: `${choice.metric} by ${choice.axis}: ${lines.map((line) => line.label).join(", ")}` });
    const target = data.curves.target && data.curves.target.metric === choice.metric ? data.curves.target.value : null;
    if (finite(target) && (!choice.log || target > 0)) seen.push(target);
    let [low, high] = [Math.min(...seen), Math.max(...seen)];
    if (!choice.log) [low, high] = [low - (high - low) * 0.03, high + (high - low) * 0.03];
    const y = scale(low, high, f.bottom, f.top, choice.log);
    const x = scale(Math.min(0, ...places), Math.max(...places), f.left, f.right);
    yAxis(f, y, 6);
    xAxis(f, x, choice.axisLabel, narrow ? 4 : 8);
    if (finite(target)) {
      f.svg.append(shape("line", { class: "target", x1: f.left, x2: f.right, y1: y(target), y2: y(target) }));
      f.svg.append(text(f.left + 4, y(target) - 5, `target ${say(target)}`));
    }
    const drawn = (values, i) => finite(values[i]) && (!choice.log || values[i] > 0);
    const labels = [];
    for (const line of lines) {
      const at = line.x[choice.axis];
      const group = shape("g", { style: color(line.entry) }, title(line.label));
      for (const piece of pieces(at.length, (i) => finite(at[i]) && drawn(line.low, i) && drawn(line.high, i)))
        group.append(shape("path", { class: "band", d: `${path([...piece.map((i) => [x(at[i]), y(line.high[i])]), ...piece.reverse().map((i) => [x(at[i]), y(line.low[i])])])}Z` }));
      for (const piece of pieces(at.length, (i) => finite(at[i]) && drawn(line.median, i))) {
        if (piece.length === 1) group.append(shape("circle", { class: "dot", cx: x(at[piece[0]]), cy: y(line.median[piece[0]]), r: 2.5 }));
        group.append(shape("path", { class: "line", "stroke-dasharray": dashes(line.entry), d: path(piece.map((i) => [x(at[i]), y(line.median[i])])) }));
      }
      for (const end of line.endings) {
        if (!finite(end.y) || !finite(end.x[choice.axis]) || (choice.log && end.y <= 0)) continue;
        const [cx, cy] = [x.clamp(end.x[choice.axis]), y.clamp(end.y)];
        group.append(shape("path", { class: "cross", d: `M${cx - 4} ${cy - 4}l8 8m0 -8l-8 8` }, title(`${line.label}, seed ${end.seed}: diverged after step ${end.x.step}`)));
      }
      f.svg.append(group);
      const last = line.median.findLastIndex((_, i) => drawn(line.median, i));
      if (last >= 0) labels.push({ entry: line.entry, words: line.label, y: y(line.median[last]) });
    }
    endLabels(f, labels);
    readout(f, x, y, lines, choice);
    caption(lines, choice);
  }

  function caption(lines, choice) {
    const runs = lines.map((line) => line.runs);
    const many = Math.max(...runs) > 1;
    const band = { quartiles: "the band holds the middle half of them", "min-max": "the band reaches from the lowest to the highest" }[lines[0].band];
    const same = runs.every((count) => count === runs[0]);
    let words = many ? `${choice.metric}: median of ${same ? runs[0] : `${Math.min(...runs)} to ${Math.max(...runs)}`} runs; ${band}.` : `${choice.metric}.`;
    const lost = lines.filter((line) => line.endings.length);
    if (lost.length) {
      words += ` A cross marks a run that diverged${many ? "; from there on it counts as worse than every other" : ""}: `;
      words += lost.map((line) => `${line.label} ${line.endings.length} of ${line.runs}`).join(", ");
      const unseen = lost.reduce((sum, line) => sum + line.endings.filter((end) => !finite(end.y)).length, 0);
      words += unseen ? ` (${unseen} before the first value).` : ".";
    }
    const early = lines.filter((line) => line.counts[line.counts.length - 1] + line.endings.length < line.runs);
    if (early.length) words += ` Some runs ended before others: the right end of ${early.map((line) => line.label).join(", ")} rests on fewer.`;
    if (choice.axis === "gradient_evaluations") words += " Gradient evaluations are spread evenly over the steps of a run.";
    byId("caption-curves").textContent = words;
  }

  /** Follow the pointer, and say what all lines have there. */
  function readout(f, x, y, lines, choice) {
    const line = shape("line", { class: "cursor", y1: f.top, y2: f.bottom, visibility: "hidden" });
    const dots = lines.map((one) => shape("circle", { class: "dot", r: 4, style: color(one.entry), visibility: "hidden" }));
    const words = byId("readout-curves");
    f.svg.append(line, ...dots);
    const hide = () => { for (const item of [line, ...dots]) item.setAttribute("visibility", "hidden"); words.textContent = ""; };
    f.svg.addEventListener("pointerleave", hide);
    f.svg.addEventListener("pointermove", (event) => {
      const box = f.svg.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * f.width;
      if (at < f.left - 5 || at > f.right + 5) return hide();
      const nearest = lines.map((one) => one.x[choice.axis].reduce((best, place, i) => (finite(place) && (best < 0 || Math.abs(x(place) - at) < Math.abs(x(one.x[choice.axis][best]) - at)) ? i : best), -1));
      const parts = [];
      lines.forEach((one, k) => {
        const value = nearest[k] < 0 ? null : one.median[nearest[k]];
        const shown = finite(value) && (!choice.log || value > 0);
        dots[k].setAttribute("visibility", shown ? "visible" : "hidden");
        if (!shown) return;
        const place = one.x[choice.axis][nearest[k]];
        dots[k].setAttribute("cx", x(place));
        dots[k].setAttribute("cy", y(value));
        for (const end of ["x1", "x2"]) line.setAttribute(end, x(place));
        line.setAttribute("visibility", "visible");
        if (!parts.length) parts.push(`${choice.axisLabel} ${say(place)}`);
        parts.push(`${one.label} ${say(value)}`);
      });
      words.textContent = parts.join(" · ");
    });
  }

  function curveControls(redraw) {
    const box = byId("controls-curves");
    const { metrics, axes } = data.curves;
    const choice = { metric: metrics[0].key, axis: axes[0].key, axisLabel: axes[0].label, log: metrics[0].log };
    const radio = (name, label, items, pick) => {
      const set = node("fieldset", {}, node("legend", {}, label));
      items.forEach((item, i) => {
        const input = node("input", { type: "radio", name, value: item.key });
        input.checked = i === 0;
        input.addEventListener("change", () => { pick(item); redraw(); });
        set.append(node("label", {}, input, item.label));
      });
      return set;
    };
    const log = node("input", { type: "checkbox", id: "log-y" });
    const setLog = (value) => { choice.log = value; log.checked = value; };
    log.addEventListener("change", () => { choice.log = log.checked; redraw(); });
    box.append(
      radio("metric", "Show", metrics, (item) => { choice.metric = item.key; setLog(item.log); }),
      radio("axis", "by", axes, (item) => { choice.axis = item.key; choice.axisLabel = item.label; }),
      node("fieldset", {}, node("label", {}, log, "log scale")),
    );
    setLog(metrics[0].log);
    box.hidden = false;
    return choice;
  }

  // ---- paired differences, ranks, sensitivity ----------------------------------------------------------------------

  function paired(holder) {
    const { rows, margin, reference, metric } = data.paired;
    const values = rows.flatMap((row) => [...row.differences.map(([, d]) => d), row.low, row.high]).filter(finite);
    const step = 62;
    const reach = Math.max(...values.map(Math.abs), margin * 1.4, 1e-9) * 1.06;
    const f = frame(holder, { height: 20 + step * rows.length + 46, left: 12, right: 12, top: 20, bottom: 46, words: `Differences in ${metric} to ${reference}, seed by seed` });
    const x = scale(-reach, reach, f.left + 6, f.right - 6);
    if (margin > 0) f.svg.append(shape("rect", { class: "margin", x: x(-margin), width: x(margin) - x(-margin), y: f.top, height: f.bottom - f.top }, title(`margin ±${say(margin)}`)));
    xAxis(f, x, `${metric}, difference to ${short(reference, 200)}`, 6, (tick) => (tick > 0 ? `+${say(tick)}` : say(tick)));
    f.svg.append(shape("line", { class: "zero", x1: x(0), x2: x(0), y1: f.top, y2: f.bottom }));
    const better = data.paired.mode === "max" ? ["worse", "better"] : ["better", "worse"];
    f.svg.append(text(x.from, 11, `← ${better[0]}`), text(x.to, 11, `${better[1]} →`, { "text-anchor": "end" }));
    rows.forEach((row, k) => {
      const top = f.top + step * k;
      const middle = top + 40;
      const lost = row.differences.filter(([, d]) => !finite(d));
      const words = short(row.label, f.width - 40) + (lost.length ? ` (${lost.length} of ${row.differences.length} pairs have a run that diverged)` : "");
      const group = shape("g", { style: color(row.entry) });
      f.svg.append(text(f.left + 4, top + 17, words, { class: "label" }), group);
      row.differences.forEach(([seed, d], i) => {
        if (finite(d)) group.append(shape("circle", { class: "faint", cx: x(d), cy: middle + [-7, 3, -2, 7][i % 4] * 0.9, r: 3.5 }, title(`seed ${seed}: ${say(d)}`)));
      });
      if (finite(row.low) && finite(row.high)) group.append(shape("line", { class: "line", x1: x(row.low), x2: x(row.high), y1: middle, y2: middle }, title(`95 % CI ${say(row.low)} to ${say(row.high)}`)));
      if (finite(row.mean)) group.append(shape("path", { class: "dot", stroke: "var(--paper)", d: `M${x(row.mean)} ${middle - 7}l7 7l-7 7l-7 -7z` }, title(`mean ${say(row.mean)}`)));
    });
  }

  function ranks(holder) {
    const { rows } = data.ranks;
    const step = 34;
    const left = Math.min(28 + 7.2 * Math.max(...rows.map((row) => row.label.length)), holder.clientWidth * 0.4);
    const f = frame(holder, { height: 16 + step * rows.length + 46, left, right: 20, top: 16, bottom: 46, words: `Ranks: ${rows.map((row) => `${row.label} ${row.low} to ${row.high}`).join(", ")}` });
    const x = scale(0.75, rows.length + 0.25, f.left + 8, f.right);
    for (let rank = 1; rank <= rows.length; rank++) {
      f.svg.append(shape("line", { class: "grid", x1: x(rank), x2: x(rank), y1: f.top, y2: f.bottom }));
      f.svg.append(text(x(rank), f.bottom + 16, rank, { "text-anchor": "middle" }));
    }
    f.svg.append(text((x.from + x.to) / 2, f.bottom + 33, "rank", { "text-anchor": "middle" }));
    rows.forEach((row, k) => {
      const y = f.top + step * (k + 0.6);
      const group = shape("g", { style: color(row.entry) }, title(`${row.label}: rank ${row.low === row.high ? row.low : `${row.low} to ${row.high}`}, tie letter ${row.ties}`));
      group.append(shape("line", { class: "line", x1: x(row.low), x2: x(row.high), y1: y, y2: y }));
      for (const rank of new Set([row.low, row.high])) group.append(shape("circle", { class: "dot", cx: x(rank), cy: y, r: 5 }));
      f.svg.append(text(f.left - 8, y + 4, short(row.label, f.left - 12), { class: "label", "text-anchor": "end" }), group);
      f.svg.append(text((x(row.low) + x(row.high)) / 2, y - 9, row.ties, { "text-anchor": "middle" }));
    });
  }

  function sensitivity(holder) {
    const { lines, metric, key } = data.sensitivity;
    const scores = lines.flatMap((line) => line.points.flatMap((point) => point.scores)).filter(finite);
    const rates = lines.flatMap((line) => line.points.map((point) => point.value)).filter(finite);
    const log = Math.min(...rates) > 0;
    const narrow = holder.clientWidth < NARROW;
    const longest = Math.max(...lines.map((line) => line.label.length));
    const f = frame(holder, { height: narrow ? 280 : 340, right: Math.min(26 + 7.2 * longest, holder.clientWidth * 0.28), bottom: 46, words: `${metric} by ${key}: ${lines.map((line) => `${line.label}, chosen ${say(line.chosen)}`).join("; ")}` });
    const [low, high] = scores.length ? [Math.min(...scores), Math.max(...scores)] : [0, 1];
    const pad = (high - low) * 0.05 || 0.05;
    const y = scale(low - pad, high + pad, f.bottom - 14, f.top);
    const x = scale(Math.min(...rates), Math.max(...rates), f.left + 14, f.right - 14, log);
    yAxis(f, y, 6);
    xAxis(f, x, `${key}${log ? " (log scale)" : ""}`, narrow ? 4 : 9);
    const labels = [];
    for (const line of lines) {
      const group = shape("g", { style: color(line.entry) });
      const points = line.points.filter((point) => finite(point.value)).sort((a, b) => a.value - b.value);
      for (const piece of pieces(points.length, (i) => finite(points[i].mean)))
        group.append(shape("path", { class: "line", "stroke-dasharray": dashes(line.entry), d: path(piece.map((i) => [x(points[i].value), y(points[i].mean)])) }));
      for (const point of points) {
        const lost = point.scores.filter((score) => !finite(score)).length;
        for (const score of point.scores) if (finite(score)) group.append(shape("circle", { class: "faint", cx: x(point.value), cy: y(score), r: 2.5 }, title(`${line.label}, ${key} ${say(point.value)}: ${say(score)}`)));
        if (lost) group.append(shape("path", { class: "cross", d: `M${x(point.value) - 4} ${f.bottom - 9}l8 8m0 -8l-8 8` }, title(`${line.label}, ${key} ${say(point.value)}: ${lost} of ${point.scores.length} runs diverged`)));
        if (!finite(point.mean)) continue;
        group.append(shape("circle", { class: "dot", cx: x(point.value), cy: y(point.mean), r: 4 }, title(`${line.label}, ${key} ${say(point.value)}: mean ${say(point.mean)}`)));
        if (point.value === line.chosen) group.append(shape("circle", { class: "ring", cx: x(point.value), cy: y(point.mean), r: 8 }, title(`${line.label}: chosen ${say(point.value)}`)));
      }
      f.svg.append(group);
      const last = points.findLast((point) => finite(point.mean));
      labels.push({ entry: line.entry, words: line.label, y: last ? y(last.mean) : f.bottom });
    }
    endLabels(f, labels);
  }

  // ---- the table of runs -------------------------------------------------------------------------------------------

  function key(cell) {
    const raw = cell.dataset.value;
    if (raw === "") return null;
    return Number.isNaN(Number(raw)) ? raw : Number(raw);
  }

  /** Order numbers before words, and what is missing last in both directions. */
  function order(a, b, direction) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return direction * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  }

  function sortBy(table, column, direction) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
    rows.sort(([a], [b]) => order(a, b, direction));
    body.append(...rows.map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((cell, i) => cell.setAttribute("aria-sort", i !== column ? "none" : direction > 0 ? "ascending" : "descending"));
  }

  function sortable(table) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      cell.querySelector("button").addEventListener("click", () => sortBy(table, column, cell.getAttribute("aria-sort") === "ascending" ? -1 : 1));
    });
  }

  function filterable(table) {
    const [input, count] = [byId("filter"), byId("filter-count")];
    const rows = [...table.tBodies[0].rows];
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const inside = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => inside.includes(word));
        shown += !row.hidden;
      }
      count.textContent = `${shown} of ${rows.length} shown`;
    };
    input.addEventListener("input", apply);
    apply();
    byId("controls-runs").hidden = false;
  }

  // ---- theme, and the page as a whole ------------------------------------------------------------------------------

  function theme() {
    const [root, button] = [document.documentElement, byId("theme")];
    const preferred = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches);
    const name = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`); };
    button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
    preferred.addEventListener("change", name);
    name();
  }

  /** Draw now, and again whenever the holder's width changes. */
  function draw(name, drawing) {
    const holder = byId(`chart-${name}`);
    let width = 0;
    const again = () => { width = holder.clientWidth; drawing(holder); };
    new ResizeObserver(() => { if (holder.clientWidth !== width) again(); }).observe(holder);
    again();
    return again;
  }

  /** With #selftest in the address: use every control once, and write what came of it to <html data-selftest>. */
  function selfTest() {
    const faults = [];
    const check = (holds, what) => { if (!holds) faults.push(what); };
    const table = document.querySelector("table[data-sortable]");
    if (table) {
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        for (const direction of [1, -1]) {
          head.querySelector("button").click();
          const keys = [...table.tBodies[0].rows].map((row) => key(row.cells[column]));
          check(keys.every((k, i) => i === 0 || order(keys[i - 1], k, direction) <= 0), `column ${head.textContent} is not in order`);
          check(head.getAttribute("aria-sort") === (direction > 0 ? "ascending" : "descending"), `aria-sort of ${head.textContent}`);
        }
      });
      const rows = [...table.tBodies[0].rows];
      const filter = (words) => { byId("filter").value = words; byId("filter").dispatchEvent(new Event("input")); return rows.filter((row) => !row.hidden).length; };
      const first = rows[0].cells[0].textContent.trim();
      check(filter(first) >= 1 && rows.every((row) => row.hidden || row.textContent.toLowerCase().includes(first.toLowerCase())), "the filter");
      check(filter("no such run anywhere") === 0, "a filter that nothing passes");
      check(filter("") === rows.length, "an empty filter");
      sortBy(table, 0, 1);
    }
    for (const input of document.querySelectorAll("#controls-curves input")) {
      input.click();
      check(byId("chart-curves").children.length === 1, `the chart after ${input.value}`);
    }
    for (const chart of document.querySelectorAll(".chart")) {
      check(chart.querySelector("svg .label"), `${chart.id} is empty`);
      check(!/NaN|undefined|Infinity/.test(chart.innerHTML), `${chart.id} holds numbers that are none`);
    }
    check(document.documentElement.scrollWidth <= window.innerWidth, "the page scrolls sideways");
    document.documentElement.dataset.selftest = faults.join("; ") || "ok";
  }

  theme();
  if (data.curves) {
    let again = () => {};
    const choice = curveControls(() => again());
    again = draw("curves", (holder) => curves(holder, choice));
  }
  if (data.paired) draw("paired", paired);
  if (data.ranks) draw("ranks", ranks);
  if (data.sensitivity) draw("sensitivity", sensitivity);
  for (const table of document.querySelectorAll("table[data-sortable]")) sortable(table);
  if (byId("filter")) filterable(byId("table-runs"));
  if (location.hash === "#selftest") selfTest();
})();
