"use strict";
// The table of runs, the theme, the test of itself, and the start of it all. Nothing is fetched.

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
