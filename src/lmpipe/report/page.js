
// Niceties only; without this script the page says and shows the same.
// 1. metric tables sort by a column; 2. line charts say the values under the pointer or the arrow keys;
// 3. the contents mark the section in view; 4. printing opens what is folded; 5. lists of examples can be filtered.
(() => {
  "use strict";
  const make = (tag, attributes = {}, text = "") => {
    const svg = tag === "line";
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  };

  // 1. Sorting
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.sort ?? cell.textContent;
    return value !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  const sort = (table, header, column) => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(key(a, column), key(b, column)) * (descending ? -1 : 1));
    table.tBodies[0].append(...rows);
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = make("button", { type: "button" }, header.textContent);
      button.addEventListener("click", () => sort(table, header, column));
      header.replaceChildren(button);
    });
  }

  // 2. Values of a line chart
  const number = (value) => {
    const size = Math.abs(value);
    if (size >= 1e9) return `${(value / 1e9).toPrecision(3)} G`;
    if (size >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
    if (size >= 1e4) return `${(value / 1e3).toPrecision(3)} k`;
    return String(Number(value.toPrecision(4)));
  };
  const nearest = (xs, x) => xs.reduce((best, at, i) => (Math.abs(at - x) < Math.abs(xs[best] - x) ? i : best), 0);
  for (const plot of document.querySelectorAll("svg[data-chart]")) {
    const chart = JSON.parse(plot.dataset.chart);
    const series = chart.series.filter((one) => one.x.length);
    if (!series.length) continue;
    const [low, high] = chart.axes.x;
    const longest = series.reduce((a, b) => (b.x.length > a.x.length ? b : a));
    const cursor = make("line", { y1: "0", y2: "100%", class: "cursor", visibility: "hidden" });
    const readout = make("output", { class: "readout", "aria-live": "polite" });
    plot.append(cursor);
    plot.closest("figure").querySelector(".plot-frame").before(readout);
    plot.setAttribute("tabindex", "0");
    let at = longest.x.length - 1;
    const show = (x) => {
      at = nearest(longest.x, x);
      const where = longest.x[at];
      const percent = `${(100 * (where - low)) / (high - low)}%`;
      cursor.setAttribute("x1", percent);
      cursor.setAttribute("x2", percent);
      cursor.setAttribute("visibility", "visible");
      const values = series.map((one) => {
        const i = nearest(one.x, where);
        const off = one.x[i] === where ? "" : ` (at ${number(one.x[i])})`;
        return `${one.label} ${number(one.y[i])}${off}`;
      });
      readout.textContent = `${number(where)} ${chart.of}: ${values.join(", ")}`;
    };
    const hide = () => {
      cursor.setAttribute("visibility", "hidden");
      readout.textContent = "";
    };
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      show(low + ((event.clientX - box.left) / box.width) * (high - low));
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      const step = Math.max(1, Math.round(longest.x.length / 50));
      const moves = { ArrowLeft: at - step, ArrowRight: at + step, Home: 0, End: longest.x.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      show(longest.x[Math.min(longest.x.length - 1, Math.max(0, moves[event.key]))]);
    });
  }

  // 3. Where the reader is
  const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
  const mark = (id) => links.forEach((link, of) => (of === id ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
  const watcher = new IntersectionObserver(
    (entries) => entries.forEach((entry) => entry.isIntersecting && mark(entry.target.id)),
    { rootMargin: "-10% 0px -80% 0px" },
  );
  for (const id of links.keys()) watcher.observe(document.getElementById(id));

  // 4. Paper
  const folded = [];
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open]):not(.numbers)")) {
      details.open = true;
      folded.push(details);
    }
  });
  addEventListener("afterprint", () => folded.splice(0).forEach((details) => (details.open = false)));

  // 5. Examples of one class
  for (const browser of document.querySelectorAll("[data-browser]")) {
    const items = [...browser.querySelectorAll("li")];
    const groups = [...new Set(items.map((item) => item.dataset.group).filter(Boolean))].sort();
    if (groups.length < 2) continue;
    const label = make("label", {}, "Only of class ");
    const choice = make("select");
    choice.append(make("option", { value: "" }, "all"));
    for (const group of groups) choice.append(make("option", { value: group }, group));
    choice.addEventListener("change", () => {
      for (const item of items) item.hidden = choice.value !== "" && item.dataset.group !== choice.value;
    });
    label.append(choice);
    browser.querySelector("ol").before(label);
  }
})();
