// --- one comparison -----------------------------------------------------------------------------------

const list = (entries) => el("dl", { class: "pairs" }, ...entries.filter(([, value]) => value !== null && value !== "" && value !== undefined)
  .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
const point = (row) => (row.transfer_depth === null ? "" : ` (n = ${row.transfer_depth}, f = ${row.frozen_depth ?? "?"})`);

async function comparisonPage(host, index) {
  const data = new Data(await load("comparisons-data"));
  const trials = new Data(await load("trials-data"));
  if (!(index >= 0 && index < data.n)) return missing(host, "There is no such comparison.");
  const row = data.row(index);
  const scale = scaleOf(row);
  const seeds = pairedTrials(row, trials);
  host.replaceChildren(
    el("a", { class: "back", href: "#comparisons" }, "\u2190 all comparisons"),
    el("h2", {}, `${row.pair}: ${row.strategy}${point(row)}, ${count(row.target_size, "target example")}`),
    el("p", {}, "Gap ", el("b", {}, gap(row.ntg, scale) || "unknown"), row.ntg === null ? "" : ` ${scale.units}`, row.ntg_low === null ? "" : ` [${gap(row.ntg_low, scale)}, ${gap(row.ntg_high, scale)}]`, ": ", verdict(row.verdict, row)),
    list([
      [`${scale.label} from scratch`, reached(row.scratch_score, scale)], [`${scale.label} after transfer`, reached(row.transfer_score, scale)],
      ["accuracy of always the majority class", byAccuracy(row) ? percent(row.majority_accuracy ?? null) : null],
      ["seeds where the transfer predicts one class", row.n_one_class || null], ["seeds where scratch predicts one class", row.n_scratch_one_class || null],
      ["gap to the best-tuned scratch", row.ntg_tuned === null ? null : `${gap(row.ntg_tuned, scale)} ${scale.units}`],
      ["p, not corrected", pvalue(row.p_value)], ["p, corrected", pvalue(row.p_holm)],
      ["test", row.test], ["contrast named in advance", row.contrast],
      ["interval by bootstrap", (row.ntg_boot_low ?? null) === null ? null : `${gap(row.ntg_boot_low, scale)} to ${gap(row.ntg_boot_high, scale)} ${scale.units}`], ["resampled", row.resampled],
      ["p of equivalence, corrected", pvalue(row.p_equivalence_holm)], ["correction", row.correction],
      ["seeds with both results", row.n_seeds], ["seeds lost to failures", row.n_failed], ["source model's own accuracy", percent(row.source_accuracy)],
      ["backbone", row.backbone], ["weighting", row.weighting], ["validation", row.validation], ["suite", row.suite],
      ...similarity(row),
    ]),
    el("h3", {}, "Seed by seed"),
    seedChart(seeds, trials, scale),
    seedTable(seeds, trials, scale),
  );
  return row.pair;
}

function pairedTrials(row, trials) {
  const place = { suite: row.suite, target: row.target, backbone: row.backbone, ...(trials.has("metric") ? { metric: row.metric } : {}) };
  const how = { ...place, source: row.source, weighting: row.weighting, strategy: row.strategy };
  if (row.transfer_depth !== null) Object.assign(how, { transfer_depth: row.transfer_depth, frozen_depth: row.frozen_depth });
  const bySeed = new Map();
  const put = (name, found) => {
    for (const i of found) {
      const seed = trials.value("seed", i);
      if (!bySeed.has(seed)) bySeed.set(seed, {});
      bySeed.get(seed)[name] = i;
    }
  };
  // What uses no target label stands at size 0 and is compared at every size.
  put("transfer", trials.where(how).filter((i) => [row.target_size, 0].includes(trials.value("target_size", i))));
  put("scratch", trials.where({ ...place, source: null, strategy: "scratch", target_size: row.target_size }));
  return [...bySeed.entries()].filter(([, pair]) => pair.transfer !== undefined).sort((a, b) => a[0] - b[0]);
}

function seedChart(seeds, trials, scale) {
  const both = seeds.map(([seed, pair]) => ({ seed, a: score(trials, pair.scratch), b: score(trials, pair.transfer) })).filter((s) => s.a !== null && s.b !== null).slice(0, 60);
  if (!both.length) return el("p", { class: "none" }, "No seed has both results.");
  const values = both.flatMap((s) => [s.a, s.b]);
  const [low, high] = padded(Math.min(...values), Math.max(...values));
  const height = 18 * both.length + 34;
  const x = (v) => 60 + (520 * (v - low)) / (high - low);
  const plot = svg("svg", { viewBox: `0 0 600 ${height}`, class: "chart", style: "max-width:600px", role: "img", "aria-label": `${capital(scale.label)} of scratch and transfer for every seed` });
  for (const tick of ticks(low, high, 5)) plot.append(svg("line", { x1: x(tick), x2: x(tick), y1: 4, y2: height - 28, stroke: "#e6e9ed" }), label(x(tick), height - 14, scale.bounded ? percent(tick) : short(tick, 6), "middle"));
  both.forEach((s, k) => {
    const y = 14 + 18 * k;
    const colour = s.a > s.b ? "var(--negative)" : s.b > s.a ? "var(--positive)" : "var(--soft)";
    plot.append(label(52, y + 4, `seed ${s.seed}`, "end"), svg("line", { x1: x(s.a), x2: x(s.b), y1: y, y2: y, stroke: colour, "stroke-width": 2 }),
      svg("circle", { cx: x(s.a), cy: y, r: 4, fill: "#fff", stroke: "#1a1d21", "stroke-width": 1.5 }), svg("circle", { cx: x(s.b), cy: y, r: 4, fill: colour }));
  });
  return el("div", {}, el("p", { class: "sub" }, "Open circle: from scratch. Filled: after transfer, red where it is worse."), plot);
}
const score = (trials, i) => (i === undefined ? null : trials.value("test_score", i));
const capital = (text) => text[0].toUpperCase() + text.slice(1);

function seedTable(seeds, trials, scale) {
  const cell = (i) => (i === undefined ? "no trial" : el("a", { href: trialLink(trials, i) }, trials.value("status", i) === "ok" ? reached(trials.value("test_score", i), scale) : "failed"));
  const lines = seeds.map(([seed, pair]) => {
    const [a, b] = [score(trials, pair.scratch), score(trials, pair.transfer)];
    const behind = a === null || b === null ? "" : gap(a - b, scale);
    return el("tr", {}, el("td", {}, String(seed)), el("td", { class: "number" }, cell(pair.scratch)), el("td", { class: "number" }, cell(pair.transfer)), el("td", { class: "number" }, behind));
  });
  const head = ["seed", "scratch", "transfer", "gap"].map((name, i) => el("th", { class: i ? "number" : null }, name));
  return el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...lines)));
}

// --- one trial ----------------------------------------------------------------------------------------

async function trialPage(host, which) {
  const data = new Data(await load("trials-data"));
  const keys = data.columns.key;
  const index = /^\d{1,9}$/.test(which) && Number(which) < data.n ? Number(which) : keys.c.findIndex((code) => code >= 0 && keys.d[code].startsWith(which));
  if (!(index >= 0)) return missing(host, "There is no such trial.");
  const row = data.row(index);
  const suite = meta.suites.find((s) => s.name === row.suite) || {};
  const ok = row.status === "ok";
  const scale = scaleOf(row);
  host.replaceChildren(
    el("a", { class: "back", href: "#trials" }, "\u2190 all trials"),
    el("h2", {}, `${row.pair}: ${row.strategy}${point(row)}, size ${row.target_size}, seed ${row.seed}`),
    el("p", {}, ok ? el("span", {}, `Test ${scale.label} `, el("b", {}, reached(row.test_score, scale)), row.n_test ? ` ${byAccuracy(row) ? "of" : "on"} ${count(row.n_test, "example")}` : "", !byAccuracy(row) || (row.majority_accuracy ?? null) === null ? "" : `; always the majority class ${percent(row.majority_accuracy)}`, row.classes_predicted === 1 ? ". It predicts one class for every test example." : "") : el("b", { class: "mark failed" }, "This trial failed.")),
    ...(ok ? [] : await failure(row)),
    list([
      ["test loss", short(row.test_loss, 4)], [`validation ${scale.label}`, reached(row.val_score, scale)], ["validation loss", short(row.val_loss, 4)],
      ["seconds", short(row.seconds, 3)], ["parameters trained", row.trainable_parameters === null ? null : row.trainable_parameters.toLocaleString("en")],
      ...similarity(row), ...others(row),
    ]),
    ...(await classTable(row, index)),
    el("h3", {}, "Learning curve"), await curves(row, index, ok),
    el("h3", {}, "Recipe"), ...recipe(row, suite),
    el("h3", {}, "Run exactly this again"), ...again(row, suite),
    el("h3", {}, "Where it comes from"), origin(row, suite),
  );
  return `${row.strategy}, ${row.pair}`;
}

function similarity(row) {
  return meta.measures.map((m) => {
    const [value, low, high] = ["", "_low", "_high"].map((end) => short(row[m.name + end] ?? null, 4));
    return [`${m.title} (${m.near} is near)`, low ? `${value} [${low}, ${high}]` : value];
  });
}

// Columns that have no place of their own on the page: whatever a later version or a plug-in adds.
const PLACED = new Set("metric metric_unit test_score val_score pair suite source target backbone strategy transfer_depth frozen_depth weighting target_size seed source_seed status test_accuracy test_loss val_accuracy val_loss learning_rate head_strength steps best_step cut seconds trainable_parameters source_accuracy standardised_by validation n_test majority_accuracy context error traceback key".split(" "));
function others(row) {
  const measured = new Set(meta.measures.flatMap((m) => [m.name, `${m.name}_low`, `${m.name}_high`]));
  return Object.entries(row).filter(([name]) => !PLACED.has(name) && !measured.has(name)).map(([name, value]) => [words(name), typeof value === "number" ? short(value) : value]);
}

async function failure(row) {
  const parts = [el("pre", {}, row.error || "no message")];
  const trace = meta.tracebacks ? (await load("tracebacks-data"))[row.key] : null;
  if (trace) parts.push(el("details", { open: true }, el("summary", {}, "Traceback"), el("pre", {}, trace)));
  return parts;
}

async function classTable(row, index) {
  const kept = meta.chunk && (await load(`classes-data-${Math.floor(index / meta.chunk)}`))[index % meta.chunk];
  if (!kept) return [];
  const found = Object.entries(kept);
  const names = meta.tasks[row.target]?.classes ?? [];
  const head = ["class", ...found.map(([name]) => name.replaceAll("-", " "))].map((name, i) => el("th", { class: i ? "number" : null }, name));
  const lines = found[0][1].map((_, k) => el("tr", {}, el("td", {}, String(names[k] ?? k)), ...found.map(([, values]) => el("td", { class: "number" }, short(values[k], 4)))));
  return [el("h3", {}, "Class by class"), el("div", { class: "wide" }, el("table", { "aria-label": "Class by class" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...lines)))];
}

async function curves(row, index, ok) {
  if (!meta.chunk) return el("p", { class: "none" }, "These are committed rows, which hold no curves; the run folder's ledger has them.");
  const points_ = (await load(`curves-data-${Math.floor(index / meta.chunk)}`))[index % meta.chunk];
  if (!points_ || !points_.length) return el("p", { class: "none" }, ok ? "Nothing was trained, so there is no curve." : "It failed before there was a curve.");
  const rates = [...new Set(points_.map((p) => p[0]))];
  // A head that was solved has a point a strength, over the evaluations that it took; to the four digits of a curve.
  const solved = row.learning_rate === null && row.head_strength !== null && row.head_strength !== undefined;
  const isChosen = (rate) => (solved ? Math.abs(rate / row.head_strength - 1) < 1e-3 : rate === row.learning_rate);
  const lines = (column) => rates.map((rate) => ({ name: `${solved ? "strength" : "rate"} ${short(rate)}${isChosen(rate) ? " (chosen)" : ""}`, chosen: isChosen(rate), points: points_.filter((p) => p[0] === rate && p[column] !== null).map((p) => [p[1], p[column]]) }));
  const scale = scaleOf(row);
  return el("div", { class: "charts" }, lineChart(`validation ${scale.label}`, lines(4), (v) => (scale.bounded ? `${Math.round(1000 * v) / 10} %` : short(v, 6))), lineChart("validation loss", lines(3), (v) => short(v)), lineChart("training loss", lines(2), (v) => short(v)));
}

function lineChart(title, lines, format) {
  const every = lines.flatMap((line) => line.points);
  if (!every.length) return el("p", { class: "none" }, `no ${title}`);
  const steps = every.map((p) => p[0]);
  const right = Math.max(...steps);
  const values = every.map((p) => p[1]);
  const [low, high] = padded(Math.min(...values), Math.max(...values));
  const x = (v) => 62 + (320 * v) / right;
  const y = (v) => 168 - (150 * (v - low)) / (high - low);
  const plot = svg("svg", { viewBox: "0 0 400 205", class: "chart", style: "max-width:440px", role: "img", "aria-label": `${title} by step` });
  for (const tick of ticks(low, high, 6)) plot.append(svg("line", { x1: 62, x2: 382, y1: y(tick), y2: y(tick), stroke: "#e6e9ed" }), label(56, y(tick) + 4, format(tick), "end"));
  for (const tick of ticks(0, right, 4)) plot.append(label(x(tick), 184, String(tick), "middle"));
  plot.append(label(222, 200, "step", "middle"));
  lines.forEach((line, k) => {
    const colour = COLOURS[k % COLOURS.length];
    plot.append(svg("polyline", { points: line.points.map(([s, v]) => `${x(s)},${y(v)}`).join(" "), fill: "none", stroke: colour, "stroke-width": line.chosen ? 2.5 : 1.2, "stroke-dasharray": line.chosen ? null : "4 3" }));
    for (const [s, v] of line.points) plot.append(svg("circle", { cx: x(s), cy: y(v), r: line.chosen ? 3 : 2, fill: colour }));
  });
  const key = el("ul", { class: "key" }, ...lines.map((line, k) => el("li", {}, el("i", { style: `background:${COLOURS[k % COLOURS.length]}` }), line.name)));
  return el("div", {}, el("b", {}, title), plot, key);
}
const label = (x, y, text, anchor) => svg("text", { x, y, "text-anchor": anchor, "font-size": 11, fill: "#5b6470" }, text);
const padded = (low, high) => { const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 0.01; return [low - room, high + room]; };
function ticks(low, high, most) {
  const raw = (high - low) / most;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-12; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

function recipe(row, suite) {
  const said = [
    ["strategy", row.strategy], ["blocks transferred (n)", row.transfer_depth], ["blocks frozen at the end (f)", row.frozen_depth], ["weighting", row.weighting],
    ["learning rate chosen", short(row.learning_rate)], ["L2 strength of the solved head", short(row.head_strength)], ["steps taken", row.steps], ["step kept", row.best_step], ["validation data", row.validation], ["tables standardised by", row.standardised_by], ["cut", row.cut],
  ];
  const table = (values) => list(Object.entries(values).map(([name, value]) => [words(name), Array.isArray(value) ? value.map(String).join(", ") || "none" : String(value ?? "none")]));
  if (!suite.recipe) return [list(said), el("p", { class: "none" }, `The rest of the recipe is in the suite file (${suite.file || "unknown"}); these results hold no copy of it.`)];
  const parts = [list(said), el("details", {}, el("summary", {}, "Training on the target, the same for every strategy"), table(suite.recipe))];
  if (row.source !== null) parts.push(el("details", {}, el("summary", {}, "Training of the source model"), table(suite.source_recipe)));
  return parts;
}

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

function again(row, suite) {
  const where = [];
  if (row.source !== null) where.push(`pair=${row.source}->${row.target}`, `weighting=${row.weighting}`);
  else where.push(`target=${row.target}`);
  where.push(`strategy=${row.strategy}`, `backbone=${row.backbone}`);
  if (row.source !== null && row.transfer_depth !== null) where.push(`n=${row.transfer_depth}`, `f=${row.frozen_depth}`);
  if (row.target_size > 0) where.push(`size=${(suite.sizes?.[row.target] || {})[row.target_size] ?? row.target_size}`);
  const file = suite.file || `${row.suite}.toml`;
  const command = ["ntbench", "run", file, "--out", "runs/again", "--seeds", row.seed, "--where", ...where].map((part) => quoted(String(part))).join(" ");
  const copy = el("button", { type: "button", class: "copy", onclick: () => navigator.clipboard?.writeText(command).then(() => { copy.textContent = "Copied"; }) }, "Copy");
  const key = row.key ? `ntbench export runs/again has it under the key ${row.key}.` : "";
  const beside = row.source === null ? "" : "It runs with its scratch trial. ";
  return [el("pre", { id: "again" }, command), copy, el("p", { class: "sub" }, beside + key)];
}

function origin(row, suite) {
  const print = (name) => { const task = meta.tasks[name]; return task ? `${task.fingerprint} (version ${task.version})` : null; };
  const model = (meta.models[[row.source, row.backbone, row.weighting, row.source_seed].join("\u001f")]) || {};
  return list([
    ["key", row.key], ["context", row.context], ["suite", row.suite], ["suite file", suite.file], ["target's data", print(row.target)], ["source's data", row.source === null ? null : print(row.source)],
    ["seed of subsample, head and batches", row.seed], ["seed of the source model", row.source_seed], ["source model's accuracy", percent(row.source_accuracy)],
    ["source model", model.key], ["source model's steps", model.steps], ["versions", suite.versions], ["commit", suite.commit], ["machine", suite.machine], ["last run", suite.started],
  ]);
}

function missing(host, why) {
  host.replaceChildren(el("a", { class: "back", href: "#overview" }, "\u2190 report"), el("p", { class: "none" }, why));
  return "not found";
}

// --- which page is shown ---------------------------------------------------------------------------------

const title = document.title;
const tables = {};
const host = (id) => document.getElementById(id);

async function show() {
  let hash = "overview";
  try { hash = decodeURIComponent(location.hash.slice(1)) || hash; } catch { /* a damaged address shows the first page */ }
  const [kind, rest] = [hash.split("/")[0], hash.split("/").slice(1).join("/")];
  const page = kind === "c" || kind === "t" ? "detail" : kind === "trials" ? "trials" : "overview";
  for (const section of document.querySelectorAll("section[data-page]")) section.hidden = section.dataset.page !== page;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${hash}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  let name = "";
  try {
    if (kind === "c") name = await comparisonPage(host("detail"), Number(rest));
    else if (kind === "t") name = await trialPage(host("detail"), rest);
    else if (kind === "trials") await (tables.trials ??= trialTable(host("trial-table")));
    else await (tables.comparisons ??= comparisonTable(host("comparison-table")));
  } catch (error) {
    const place = page === "detail" ? "detail" : page === "trials" ? "trial-table" : "comparison-table";
    host(place).replaceChildren(el("p", { class: "none" }, `This cannot be shown: ${error.message}`));
    throw error;
  }
  document.title = name ? `${name} \u00b7 ${title}` : title;
  if (page === "overview" && hash !== "overview" && host(hash)) host(hash).scrollIntoView();
  else window.scrollTo(0, 0);
  document.documentElement.dataset.ready = hash;
}
window.addEventListener("hashchange", show);
show();
