"use strict";
// Learning curves: lines, bands, where runs diverged, what the pointer is at.

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
  const below = choice.log ? lines.filter((line) => line.median.some((value) => finite(value) && value <= 0)) : [];
  if (below.length) words += ` A logarithmic scale has no place for values of 0 or less: some of ${below.map((line) => line.label).join(", ")} are not drawn.`;
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
