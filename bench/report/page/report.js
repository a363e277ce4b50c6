"use strict";
// Everything shown comes from the data blocks of this page and enters it as text, never as markup.

const meta = JSON.parse(document.getElementById("meta").textContent);
const VERDICTS = ["negative", "positive", "equivalent", "inconclusive"];
const LONG = 34; // letters of a name that a column has room for; a longer one takes several lines
const MARKS = { negative: "\u2717", positive: "\u2713", equivalent: "=", inconclusive: "\u00b7" };
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
const PAGE = 50;

// --- small things ------------------------------------------------------------------------------------

function el(tag, attributes = {}, ...children) {
  const svg = attributes.ns === "svg";
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "ns" || value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const svg = (tag, attributes, ...children) => el(tag, { ns: "svg", ...attributes }, ...children);

const MINUS = "\u2212";
const signed = (text) => text.replace("-", MINUS);
const short = (x, digits = 3) => (x === null ? "" : signed(String(Number(x.toPrecision(digits)))));
const percent = (x) => (x === null ? "" : (100 * x).toFixed(1) + " %");
// What scores and gaps are measured by: a row names its metric.
const scaleOf = (row) => meta.scales[row.metric ?? "accuracy"] || meta.scales.accuracy;
const byAccuracy = (row) => (row.metric ?? "accuracy") === "accuracy";
// Scores are accuracies in every table of accuracies alone, as their columns are called.
const called = (data, which) => `${which}_${data.distinct("metric").some((name) => name !== "accuracy") ? "score" : "accuracy"}`;
const reached = (x, scale) => (x === null ? "" : scale.bounded ? percent(x) : signed(x.toFixed(scale.decimals)));
function gap(x, scale) {
  if (x === null) return "";
  const value = Number((scale.factor * x).toFixed(scale.decimals));
  return value === 0 ? (0).toFixed(scale.decimals) : (value > 0 ? "+" : MINUS) + Math.abs(value).toFixed(scale.decimals);
}
const pvalue = (p) => (p === null ? "" : p < 0.0001 ? "< 0.0001" : p.toFixed(p < 0.001 ? 4 : 3));
const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many || one + "s"}`;
const words = (name) => name.replaceAll("_", " ");

// --- data --------------------------------------------------------------------------------------------

const loaded = new Map();
function load(id) {
  if (!loaded.has(id)) loaded.set(id, unpack(id));
  return loaded.get(id);
}
async function unpack(id) {
  if (!window.DecompressionStream) throw new Error("This browser is too old to unpack the tables (it has no DecompressionStream).");
  const text = document.getElementById(id).textContent;
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

class Data {
  constructor({ n, columns }) {
    this.n = n;
    this.columns = columns;
  }
  has(name) { return name in this.columns; }
  value(name, i) {
    const column = this.columns[name];
    if (!column) return null;
    if (!column.d) return column[i];
    return column.c[i] < 0 ? null : column.d[column.c[i]];
  }
  row(i) { return Object.fromEntries(Object.keys(this.columns).map((name) => [name, this.value(name, i)])); }
  distinct(name) {
    const column = this.columns[name];
    if (!column) return [];
    return column.d || [...new Set(column)].filter((v) => v !== null).sort((a, b) => a - b);
  }
  // Rows in which every given column has the given value (null: missing).
  where(wanted) {
    const tests = Object.entries(wanted).map(([name, value]) => {
      const column = this.columns[name];
      if (!column) return () => value === null;
      if (!column.d) return (i) => column[i] === value;
      const code = value === null ? -1 : column.d.indexOf(value);
      return value !== null && code < 0 ? () => false : (i) => column.c[i] === code;
    });
    const found = [];
    for (let i = 0; i < this.n; i++) if (tests.every((test) => test(i))) found.push(i);
    return found;
  }
}

// --- a table that sorts, filters and pages -------------------------------------------------------------

class Table {
  // columns: [{name, title, number, show(value, i) -> text or node}]; filters, searched: names of columns.
  constructor(host, data, { columns, filters, searched, sort, open, label, unit }) {
    Object.assign(this, { host, data, columns, searched, open, unit });
    this.page = 0;
    this.sort = sort;
    this.chosen = new Map();
    this.text = "";
    this.controls = el("div", { class: "controls" });
    for (const name of filters) this.addFilter(name);
    const search = el("input", { type: "search", placeholder: "contains", "aria-label": "Search", oninput: () => { this.text = search.value.trim().toLowerCase(); this.refresh(); } });
    this.controls.append(el("label", {}, "search", search), el("button", { type: "button", onclick: () => this.reset() }, "Clear"));
    this.head = el("tr");
    this.body = el("tbody");
    this.pager = el("div", { class: "pager" });
    for (const column of columns) this.head.append(this.heading(column));
    const table = el("table", { "aria-label": label }, el("thead", {}, this.head), this.body);
    host.replaceChildren(this.controls, el("div", { class: "wide" }, table), this.pager);
    this.refresh();
  }
  addFilter(name) {
    const values = this.data.distinct(name);
    if (values.length < 2) return;
    const select = el("select", { "data-filter": name, onchange: () => this.choose(name, select.value === "" ? undefined : values[Number(select.value)]) });
    select.append(el("option", { value: "" }, `all (${values.length})`), ...values.map((value, i) => el("option", { value: i }, String(value))));
    this.controls.append(el("label", {}, words(name === "target_size" ? "size" : name), select));
  }
  heading(column) {
    const button = el("button", { type: "button", onclick: () => this.sortBy(column.name) }, column.title);
    return el("th", { scope: "col", class: column.number ? "number" : null, "data-column": column.name }, button);
  }
  choose(name, value) {
    if (value === undefined) this.chosen.delete(name);
    else this.chosen.set(name, value);
    this.refresh();
  }
  reset() {
    this.chosen.clear();
    this.text = "";
    for (const control of this.controls.querySelectorAll("select, input")) control.value = "";
    this.refresh();
  }
  sortBy(name) {
    const same = this.sort.name === name;
    const numeric = this.columns.find((column) => column.name === name).number;
    this.sort = { name, down: same ? !this.sort.down : Boolean(numeric) };
    this.refresh();
  }
  refresh() {
    this.page = 0;
    this.order = this.matching();
    this.arrange();
    this.draw();
  }
  matching() {
    const kept = this.data.where(Object.fromEntries(this.chosen));
    if (!this.text) return kept;
    const sets = this.searched.map((name) => this.data.columns[name]).filter((column) => column && column.d)
      .map((column) => [column.c, column.d.map((text) => text.toLowerCase().includes(this.text))]);
    return kept.filter((i) => sets.some(([codes, hit]) => codes[i] >= 0 && hit[codes[i]]));
  }
  arrange() {
    const column = this.data.columns[this.sort.name];
    const keys = column.d ? column.c : column;
    const way = this.sort.down ? -1 : 1;
    const gone = (key) => key === null || (column.d && key < 0);
    // What is missing stands last, whichever way the others go.
    this.order.sort((a, b) => gone(keys[a]) - gone(keys[b]) || (gone(keys[a]) ? 0 : way * (keys[a] - keys[b])) || a - b);
  }
  draw() {
    for (const th of this.head.children) {
      if (th.dataset.column === this.sort.name) th.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    }
    const shown = this.order.slice(this.page * PAGE, (this.page + 1) * PAGE);
    this.body.replaceChildren(...shown.map((i) => this.line(i)));
    if (!shown.length) this.body.append(el("tr", {}, el("td", { colspan: this.columns.length, class: "none" }, "No row fits these filters.")));
    const pages = Math.max(1, Math.ceil(this.order.length / PAGE));
    const move = (by) => () => { this.page += by; this.draw(); };
    const total = this.order.length === this.data.n ? "" : ` of ${this.data.n.toLocaleString("en")}`;
    this.pager.replaceChildren(
      el("span", { role: "status" }, count(this.order.length, this.unit) + total),
      el("button", { type: "button", disabled: this.page === 0, onclick: move(-1) }, "Previous"),
      el("span", {}, `page ${this.page + 1} of ${pages.toLocaleString("en")}`),
      el("button", { type: "button", disabled: this.page >= pages - 1, onclick: move(1) }, "Next"),
    );
  }
  line(i) {
    const cells = this.columns.map((column, at) => {
      const value = this.data.value(column.name, i);
      const shown = column.show ? column.show(value, i) : value === null ? "" : String(value);
      const kind = column.number ? "number" : typeof value === "string" ? "name" : null;
      const linked = at === 0 ? el("a", { href: this.open(i) }, shown) : shown;
      const long = kind === "name" && String(typeof shown === "string" ? shown : value).length > LONG ? " long" : "";
      return el("td", { class: kind && kind + long, title: kind === "name" ? value : null }, linked);
    });
    const go = (event) => { if (!event.target.closest("a")) location.hash = this.open(i); };
    return el("tr", { class: "open", onclick: go }, ...cells);
  }
}

// A comparison without a gap was not judged: its trials failed, or none of them has its seed in both arms.
const verdict = (value, row) => row.ntg === null ? el("span", { class: "sub" }, row.n_failed ? "failed" : "none") : el("span", { class: `mark ${value}` }, `${MARKS[value]} ${value}`);
const varied = (data, names) => names.filter((name) => data.distinct(name).length > 1).map((name) => ({ name, title: words(name) }));

function intervalScale(data, metric) {
  const { step } = scaleOf({ metric });
  let most = 0.1 * step;
  for (const i of data.where(data.has("metric") ? { metric } : {})) for (const name of ["ntg", "ntg_low", "ntg_high"]) most = Math.max(most, Math.abs(data.value(name, i) ?? 0));
  const end = Math.asinh(most / (0.02 * step));
  return (x) => 50 + (46 * Math.asinh(x / (0.02 * step))) / end;
}

function intervalPlot(row, at) {
  if (row.ntg === null) return "";
  const colour = `var(--${row.verdict === "inconclusive" ? "soft" : row.verdict})`;
  const scale = scaleOf(row);
  const ends = row.ntg_low === null ? "no interval" : `${gap(row.ntg_low, scale)} to ${gap(row.ntg_high, scale)} ${scale.units}`;
  const plot = svg("svg", { viewBox: "0 0 100 14", width: 120, height: 16, role: "img", "aria-label": ends }, svg("title", {}, ends));
  plot.append(svg("line", { x1: 50, x2: 50, y1: 0, y2: 14, stroke: "#c5cbd3" }));
  if (row.ntg_low !== null) plot.append(svg("line", { x1: at(row.ntg_low), x2: at(row.ntg_high), y1: 7, y2: 7, stroke: colour, "stroke-width": 1.5 }));
  plot.append(svg("circle", { cx: at(row.ntg), cy: 7, r: 2.6, fill: colour }));
  return plot;
}

async function comparisonTable(host) {
  const data = new Data(await load("comparisons-data"));
  if (!data.n) return host.replaceChildren(el("p", { class: "none" }, "There is no comparison: the list above says why."));
  const places = new Map();
  const at = (row) => {
    const metric = row.metric ?? "accuracy";
    if (!places.has(metric)) places.set(metric, intervalScale(data, metric));
    return places.get(metric);
  };
  const own = (i) => scaleOf({ metric: data.value("metric", i) });
  const majority = (v, i) => (byAccuracy({ metric: data.value("metric", i) }) ? percent(v) : "");
  const columns = [
    { name: "pair", title: "pair" },
    ...varied(data, ["suite", "backbone", "weighting", "validation", "metric"]),
    { name: "strategy", title: "strategy" },
    { name: "transfer_depth", title: "n", number: true },
    { name: "frozen_depth", title: "f", number: true },
    { name: "target_size", title: "size", number: true },
    { name: "ntg", title: "gap", number: true, show: (v, i) => el("span", { class: `mark ${data.value("verdict", i)}` }, gap(v, own(i))) },
    { name: "ntg_low", title: "95 % interval", show: (_, i) => intervalPlot(data.row(i), at(data.row(i))) },
    { name: "verdict", title: "verdict", show: (v, i) => verdict(v, data.row(i)) },
    { name: "p_holm", title: "p corr.", number: true, show: pvalue },
    { name: called(data, "scratch"), title: "scratch", number: true, show: (v, i) => reached(v, own(i)) },
    { name: called(data, "transfer"), title: "transfer", number: true, show: (v, i) => reached(v, own(i)) },
    ...(data.distinct("majority_accuracy").length && data.distinct("metric").includes("accuracy") ? [{ name: "majority_accuracy", title: "majority class", number: true, show: majority }] : []),
    { name: "n_seeds", title: "seeds", number: true },
    ...(data.distinct("n_one_class").some((n) => n > 0) ? [{ name: "n_one_class", title: "predicts one class", number: true, show: (k, i) => (k ? `${k} of ${count(data.value("n_seeds", i), "seed")}` : "") }] : []),
    ...meta.measures.filter((m) => data.distinct(m.name).length).map((m) => ({ name: m.name, title: m.title, number: true, show: (v) => short(v, 4) })),
  ];
  if (meta.level !== 95) columns.find((column) => column.name === "ntg_low").title = `${meta.level} % interval`;
  return new Table(host, data, {
    columns, label: "Comparisons", unit: "comparison", sort: { name: "ntg", down: true }, open: (i) => `#c/${i}`,
    filters: ["pair", "strategy", "target_size", "verdict", "suite", "backbone", "weighting", "metric"], searched: ["pair", "strategy", "suite", "backbone"],
  });
}

async function trialTable(host) {
  const data = new Data(await load("trials-data"));
  if (!data.n) return host.replaceChildren(el("p", { class: "none" }, "There is no trial."));
  const metrics = data.distinct("metric");
  const own = (i) => scaleOf({ metric: data.value("metric", i) });
  const status = (value) => (value === "ok" ? "ok" : el("span", { class: "mark failed" }, value || "unknown"));
  const columns = [
    { name: "key", title: "key", show: (value, i) => (value || String(i)).slice(0, 10) },
    { name: "pair", title: "pair" },
    ...varied(data, ["suite", "backbone", "weighting", "metric"]),
    { name: "strategy", title: "strategy" },
    { name: "transfer_depth", title: "n", number: true },
    { name: "frozen_depth", title: "f", number: true },
    { name: "target_size", title: "size", number: true },
    { name: "seed", title: "seed", number: true },
    { name: "status", title: "status", show: status },
    { name: called(data, "test"), title: `test ${metrics.length === 1 ? scaleOf({ metric: metrics[0] }).label : "score"}`, number: true, show: (v, i) => reached(v, own(i)) },
    { name: called(data, "val"), title: "validation", number: true, show: (v, i) => reached(v, own(i)) },
    { name: "learning_rate", title: "rate", number: true, show: (v) => short(v) },
    { name: "steps", title: "steps", number: true },
    { name: "seconds", title: "seconds", number: true, show: (v) => short(v, 2) },
  ];
  return new Table(host, data, {
    columns, label: "Trials", unit: "trial", sort: { name: "status", down: false }, open: (i) => trialLink(data, i),
    filters: ["pair", "strategy", "target_size", "seed", "status", "suite", "backbone", "weighting"], searched: ["key", "pair", "strategy", "error"],
  });
}

// By its key, which survives a new report; by its place where two suites share a trial.
function trialLink(data, i) {
  const unique = data.columns.key.d.length === data.n;
  return `#t/${unique ? data.value("key", i).slice(0, 12) : i}`;
}
