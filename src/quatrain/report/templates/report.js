"use strict";
document.documentElement.classList.add("scripted");

const byId = (id) => document.getElementById(id);

// The figure of accuracy against cost.
function drawPlot() {
  const source = byId("points");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const plot = byId("plot"), tip = byId("tip");
  const view = { metric: 0, cost: 0, hidden: new Set(), width: 0, focus: -1 };
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "11px system-ui, sans-serif";
  let points = [], current = -1;

  const make = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const write = (value) => {
    const size = Math.abs(value);
    const text = size >= 1e4 && size < 1e9 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(6));
    return text.replace("-", "−");
  };
  const fixed = (value) => {
    const size = Math.abs(value);
    return (size >= 1e9 || (size < 0.1 && size > 0) ? value.toPrecision(3) : value.toFixed(2)).replace("-", "−");
  };

  const ticksOf = (low, high, most) => {
    const power = 10 ** Math.floor(Math.log10((high - low) / most));
    const step = [1, 2, 5, 10].map((n) => n * power).find((s) => (high - low) / s <= most);
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n <= high / step + 1e-9; n++) found.push(+(n * step).toPrecision(12));
    return found;
  };
  const logTicksOf = (low, high) => {
    const steps = high / low < 1000 ? [1, 2, 5] : [1], found = [];
    for (let d = Math.floor(Math.log10(low)); d <= Math.ceil(Math.log10(high)); d++) {
      for (const step of steps) found.push(+(step * 10 ** d).toPrecision(12));
    }
    return found.filter((value) => value >= low && value <= high);
  };
  const scaleOf = (values, start, end, mayBeLog) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    const log = mayBeLog && low > 0 && high / low > 30;
    if (log) { low /= 1.4; high *= 1.4; } else {
      const free = (high - low) * 0.08 || Math.abs(low) * 0.08 || 1;
      low -= free; high += free;
    }
    const map = log ? Math.log : (value) => value;
    const scale = (value) => start + (map(value) - map(low)) / (map(high) - map(low)) * (end - start);
    scale.ticks = (most) => log ? logTicksOf(low, high) : ticksOf(low, high, most);
    return scale;
  };

  const frontOf = (members) => {
    const sign = data.metrics[view.metric].better, found = [];
    if (!sign) return found;
    const value = (point) => sign * point.cell.values[view.metric][0];
    const cost = (point) => point.cell.costs[view.cost];
    for (const point of [...members].sort((a, b) => cost(a) - cost(b) || value(b) - value(a))) {
      if (!found.length || value(point) > value(found.at(-1))) found.push(point);
    }
    return found;
  };
  const oddsOf = (cell) => cell.odds[`${view.metric},${view.cost}`];

  const describe = (cell) => {
    const [mean, low, high] = cell.values[view.metric];
    const bounds = low === null ? "" : ` [${fixed(low)}, ${fixed(high)}]`;
    const odds = oddsOf(cell);
    const lines = [
      `${data.metrics[view.metric].title} ${fixed(mean)}${bounds}`,
      `${fixed(cell.costs[view.cost])} ${data.costs[view.cost].title}`,
      `${cell.seeds} ${cell.seeds === 1 ? "seed" : "seeds"}`,
    ];
    if (odds !== undefined) lines.push(`on the front with probability ${Math.round(100 * odds)} %`);
    return lines;
  };

  const show = (number) => {
    if (number === current) return;
    if (current >= 0 && points[current]) points[current].node.classList.remove("on");
    current = number;
    tip.hidden = number < 0;
    plot.firstElementChild.classList.toggle("active", number >= 0);
    if (number < 0) return;
    const point = points[number];
    point.node.classList.add("on");
    const title = document.createElement("b");
    title.textContent = `${point.cell.name} · ${data.groups[point.cell.group]}`;
    const lines = describe(point.cell).map((text) => {
      const line = document.createElement("div");
      line.textContent = text;
      return line;
    });
    tip.replaceChildren(title, ...lines);
    const left = point.x + 14 + tip.offsetWidth > view.width ? point.x - 14 - tip.offsetWidth : point.x + 14;
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = `${Math.max(0, point.y - tip.offsetHeight / 2) + plot.offsetTop}px`;
  };

  const labels = (ordered, leading, frame) => {
    const taken = points.map((p) => [p.x - 5, p.y - 5, p.x + 5, p.y + 5]);
    const places = [[1, -1], [-1, 1], [1, 0], [1, 1], [-1, 0], [-1, -1], [0, 1], [0, -1]];
    const found = [];
    for (const point of ordered) {
      const odds = oddsOf(point.cell);
      const text = leading.has(point) && odds !== undefined ? `${point.cell.label} · ${Math.round(100 * odds)} %` : point.cell.label;
      const width = pen.measureText(text).width, height = 13;
      for (const [dx, dy] of places) {
        const left = point.x + 6 * dx + (dx - 1) / 2 * width, top = point.y + 6 * dy + (dy - 1) / 2 * height;
        const box = [left - 2, top, left + width + 2, top + height];
        if (left < frame[0] || top < frame[1] || box[2] > frame[2] || box[3] > frame[3]) continue;
        if (taken.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3])) continue;
        taken.push(box);
        found.push(make("text", { class: "label", x: left, y: top + 10 }, text));
        break;
      }
    }
    return found;
  };

  const axesOf = (x, y, frame) => {
    const [left, top, right, bottom] = frame, group = make("g", { "aria-hidden": "true" });
    for (const at of y.ticks(6)) {
      group.append(make("line", { class: "grid", x1: left, x2: right, y1: y(at), y2: y(at) }));
      group.append(make("text", { class: "tick", x: left - 7, y: y(at) + 4, "text-anchor": "end" }, write(at)));
    }
    group.append(make("line", { class: "baseline", x1: left, x2: right, y1: bottom, y2: bottom }));
    for (const at of x.ticks(view.width < 500 ? 4 : 8)) {
      group.append(make("line", { class: "baseline", x1: x(at), x2: x(at), y1: bottom, y2: bottom + 4 }));
      group.append(make("text", { class: "tick", x: x(at), y: bottom + 17, "text-anchor": "middle" }, write(at)));
    }
    group.append(make("text", { class: "title", x: right, y: bottom + 35, "text-anchor": "end" }, data.costs[view.cost].title));
    group.append(make("text", { class: "title", x: 2, y: top - 8 }, data.metrics[view.metric].title));
    return group;
  };

  const render = () => {
    const width = view.width = Math.max(300, plot.clientWidth), height = width < 600 ? 360 : 440;
    const frame = [56, 30, width - 24, height - 48];
    const cells = data.cells.filter((cell) =>
      !view.hidden.has(cell.group) && cell.values[view.metric] && cell.costs[view.cost] !== null);
    const title = `${data.metrics[view.metric].title} against ${data.costs[view.cost].title}, one point for each cell; arrow keys move between points`;
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title });
    byId("direction").textContent = data.metrics[view.metric].direction;
    tip.hidden = true;
    points = []; current = -1;
    plot.replaceChildren(svg);
    if (!cells.length) {
      svg.append(make("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "No cell has both values"));
      return;
    }
    const x = scaleOf(cells.map((cell) => cell.costs[view.cost]), frame[0], frame[2], true);
    const ends = cells.flatMap((cell) => cell.values[view.metric].filter((value) => value !== null));
    const y = scaleOf(ends, frame[3], frame[1], false);
    points = cells.map((cell) => ({ cell, x: x(cell.costs[view.cost]), y: y(cell.values[view.metric][0]) }))
      .sort((a, b) => a.x - b.x || a.y - b.y);
    const leading = new Set(), fronts = [];
    data.groups.forEach((_, group) => {
      const front = frontOf(points.filter((point) => point.cell.group === group));
      front.forEach((point) => leading.add(point));
      const line = front.map((point) => `${point.x.toFixed(1)},${point.y.toFixed(1)}`).join(" ");
      fronts.push(make("polyline", { class: `front c${group % 8}`, points: line }));
    });
    const ordered = [...points].sort((a, b) => leading.has(b) - leading.has(a));
    points.forEach((point, number) => {
      const [, low, high] = point.cell.values[view.metric];
      const text = `${point.cell.name}, ${data.groups[point.cell.group]}: ${describe(point.cell).join(", ")}`;
      const node = point.node = make("g", { class: `point c${point.cell.group % 8}`, role: "img", "aria-label": text, tabindex: number ? -1 : 0 });
      if (low !== null) node.append(make("line", { class: "whisker", x1: point.x, x2: point.x, y1: y(low), y2: y(high) }));
      const shape = data.shapes[point.cell.group % data.shapes.length];
      node.append(make("path", { d: shape, transform: `translate(${point.x.toFixed(1)} ${point.y.toFixed(1)})` }));
      node.addEventListener("focus", () => show(number));
      node.addEventListener("blur", () => show(-1));
    });
    svg.append(axesOf(x, y, frame), ...fronts, ...points.map((point) => point.node), ...labels(ordered, leading, [frame[0], frame[1] - 4, width - 2, frame[3]]));
    svg.addEventListener("pointermove", (event) => show(nearest(event, svg)));
    svg.addEventListener("pointerleave", () => show(-1));
    svg.addEventListener("keydown", move);
  };
  const nearest = (event, svg) => {
    const box = svg.getBoundingClientRect(), scale = view.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = -1, least = 24 ** 2;
    points.forEach((point, number) => {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) { best = number; least = distance; }
    });
    return best;
  };
  const move = (event) => {
    const last = points.length - 1, from = Math.max(0, points.findIndex((point) => point.node === document.activeElement));
    const to = { ArrowRight: Math.min(last, from + 1), ArrowLeft: Math.max(0, from - 1), ArrowDown: Math.min(last, from + 1), ArrowUp: Math.max(0, from - 1), Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    points[from].node.setAttribute("tabindex", -1);
    points[to].node.setAttribute("tabindex", 0);
    points[to].node.focus();
  };

  byId("metric").addEventListener("change", (event) => { view.metric = +event.target.value; render(); });
  byId("price").addEventListener("change", (event) => { view.cost = +event.target.value; render(); });
  for (const box of document.querySelectorAll("[data-group]")) {
    box.addEventListener("change", () => {
      view.hidden[box.checked ? "delete" : "add"](+box.dataset.group);
      render();
    });
  }
  new ResizeObserver(() => {
    if (Math.abs(plot.clientWidth - view.width) > 1) render();
  }).observe(plot);
  render();
}

// Tables: sorting by a header, a filter of rows, and columns on and off.
function sortTables() {
  const collator = new Intl.Collator("en", { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    const headers = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    headers.forEach((header, place) => header.firstElementChild.addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") !== "ascending", numeric = header.classList.contains("n");
      const keys = [...body.rows].map((row) => [numeric ? row.cells[place].dataset.value : row.cells[place].textContent, row]);
      keys.sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = numeric ? a - b : collator.compare(a, b);
        return up ? order : -order;
      });
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...keys.map(([, row]) => row));
    }));
  }
}

function filterTable() {
  const table = byId("results"), rows = [...table.tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  byId("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, number) => {
      row.hidden = !words.every((word) => texts[number].includes(word));
      shown += !row.hidden;
    });
    byId("count").textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
  for (const box of document.querySelectorAll("[data-column]")) {
    const toggle = () => {
      for (const row of table.rows) row.cells[+box.dataset.column].hidden = !box.checked;
    };
    box.addEventListener("change", toggle);
    if (!box.checked) toggle();
  }
}

drawPlot();
sortTables();
filterTable();
// A link to folded contents opens them.
const unfold = () => {
  const target = location.hash && byId(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
};
addEventListener("hashchange", unfold);
unfold();
