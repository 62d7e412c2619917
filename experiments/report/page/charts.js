"use strict";
// Paired differences, ranks, sensitivity.

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
  const f = frame(holder, { height: narrow ? 280 : 340, right: Math.min(26 + 7.2 * longest, holder.clientWidth * 0.28), bottom: 46, words: `${metric} by ${key}: ${lines.map((line) => line.label + (finite(line.chosen) ? `, chosen ${say(line.chosen)}` : "")).join("; ")}` });
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
      const diverged = point.states.includes("diverged"), lost = point.states.some((state) => state !== "done" && state !== "diverged");
      const words = title(`${line.label}, ${key} ${say(point.value)}: ${point.lost}`), place = x(point.value) - 4;
      for (const score of point.scores) if (finite(score)) group.append(shape("circle", { class: "faint", cx: x(point.value), cy: y(score), r: 2.5 }, title(`${line.label}, ${key} ${say(point.value)}: ${say(score)}`)));
      if (diverged) group.append(shape("path", { class: "cross", d: `M${place} ${f.bottom - 9}l8 8m0 -8l-8 8` }, words));
      if (lost) group.append(shape("path", { class: "cross", d: `M${place} ${f.bottom - (diverged ? 21 : 9)}h8v8h-8z` }, words.cloneNode(true)));
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
