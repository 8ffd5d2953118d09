// The page: the findings of all tables, or one table with its figure, rows and published figures.
const NEWEST = "newest of each cell", ALL = "all";
let table = null, shown = null, published = null, builder = null, picked = false;
let ranked = null, standings = null;

const column = (name) => table.columns.findIndex((c) => c.name === name);
const field = (name, row) => (column(name) < 0 ? null : table.values[column(name)][row]);
const count = () => table.values[0].length;
const distinct = (name) => (column(name) < 0 ? []
  : [...new Set(table.values[column(name)])].filter((v) => v !== null).sort());
const choice = (id) => byId(id).value;
const usual = (id) => ({ commit: NEWEST, status: ALL })[id] ?? table.start[id] ?? ALL;

const chosen = (row) =>
  (choice("machine") === ALL || field("machine", row) === choice("machine")) &&
  (choice("preset") === ALL || field("preset", row) === choice("preset")) &&
  (choice("commit") === ALL || (choice("commit") === NEWEST ? table.newest[row]
    : field("commit", row) === choice("commit"))) &&
  (choice("status") === ALL || (choice("status") === "not ok") === (field("status", row) !== "ok"));

function open(wanted, asked = new URLSearchParams()) {
  table = wanted ?? null;
  byId("table").value = table?.name ?? "";
  byId("home").hidden = table !== null;
  byId("view").hidden = byId("controls").hidden = table === null;
  byId("title").textContent = table?.title ?? "what was found";
  document.title = `invconv: ${byId("title").textContent}`;
  if (table) openTable(asked);
  else openHome(asked);
}

function openHome(asked) {
  byId("facts").textContent = `${tables.filter((t) => t.values[0].length).length} tables, ` +
    `${tables.reduce((sum, t) => sum + t.values[0].length, 0).toLocaleString("en")} rows.`;
  const measured = [...tables].sort((a, b) => (b.count > 0) - (a.count > 0));
  byId("cards").replaceChildren(...measured.map((t) => make("a", { className: "card", href: `#table=${t.name}` },
    make("h3", { textContent: t.title }),
    make("p", { textContent: t.finding || (t.count ? `${t.count} rows.` : "No rows yet.") }),
    make("small", { textContent: t.count
      ? [t.start.preset && `preset ${t.start.preset}`, t.start.machine, t.measured].filter(Boolean).join(", ")
      : t.command }))));
  const data = Object.keys(board.notes);
  byId("standings").hidden = !data.length;
  if (!data.length) return;
  fill(byId("data"), data.map((name) => [name, name]), asked.get("data"));
  drawBoard(asked.get("sort"));
}

// The methods on one data set, the fastest to sample first; columns without a number are hidden.
function drawBoard(sort) {
  const own = board.values[0].flatMap((name, i) => (name === choice("data") ? [i] : []));
  const values = board.values.map((all) => own.map((i) => all[i]));
  ranked = { values, columns: board.columns.map((c, i) => ({ ...c,
    shown: c.shown && c.name !== "data" && values[i].some((v) => v !== null) })) };
  standings = drawGrid(byId("board"), ranked, { paging: false,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
    order: orderIn(ranked, sort ?? "st_s:asc") });
  standings.on("draw", () => save());
  byId("board").append(copyBar(ranked, standings));
  byId("board-note").textContent = board.notes[choice("data")];
  save();
}

function openTable(asked) {
  for (const id of ["machine", "preset"]) {
    const options = distinct(id).map((value) => [value, value]);
    fill(byId(id), [[ALL, `all ${id}s`], ...options], asked.get(id) ?? usual(id));
    byId(id).parentElement.hidden = !options.length;
  }
  const commits = distinct("commit").map((value) => [value, value]);
  fill(byId("commit"), [[NEWEST, NEWEST], [ALL, "all commits"], ...commits], asked.get("commit") ?? NEWEST);
  byId("status").value = asked.get("status") ?? ALL;
  const figures = table.figures.map((figure) => figure.title);
  fill(byId("figure"), [...figures.map((title, i) => [String(i), title]),
    ...(figures.length ? [] : [["", "no figure"]])], String(Math.max(0, figures.indexOf(asked.get("figure")))));
  byId("logarithmic").checked = asked.get("axis") !== "linear";
  byId("figure-section").hidden = !figures.length;
  drawRows(asked);
  refresh();
  if (asked.has("page")) shown.page(Number(asked.get("page")) - 1).draw("page");
  const row = asked.has("row") ? table.values[0].findIndex((_, i) => keyOf(i) === asked.get("row")) : -1;
  if (row >= 0) detail(row);
}

function drawRows(asked) {
  shown?.destroy();
  const wanted = (asked.get("columns") ?? "").split(",");
  picked = table.columns.some((c) => wanted.includes(c.name));
  shown = drawGrid(byId("rows"), table, {
    pageLength: 50,
    lengthMenu: [25, 50, 200, 1000],
    layout: { topStart: "pageLength", topEnd: "search", top2Start: {
      buttons: [{ extend: "colvis", text: "Columns" }] }, bottomStart: "info", bottomEnd: "paging" },
    language: { search: "Filter", emptyTable: `no rows yet: ${table.command}` },
    search: { search: asked.get("filter") ?? "" },
    order: orderIn(table, asked.get("sort") ?? ""),
    createdRow: (line, _, row) => line.classList.toggle("failed", field("status", row) !== "ok"),
  }, (i) => (table.columns[i].name === "cell" ? cellButton : null));
  byId("rows").append(copyBar(table, shown));
  shown.search.fixed("chosen", (_, __, row) => chosen(row));
  if (picked) setVisible(table.columns.map((c) => wanted.includes(c.name)));
  builder = new DataTable.SearchBuilder(shown, {});
  byId("conditions").replaceChildren(byId("conditions").firstElementChild, builder.getNode()[0]);
  const conditions = conditionsIn(asked.get("where"));
  if (conditions) builder.rebuild(conditions);
  byId("conditions").open = conditions !== null;
  shown.on("draw", () => save());
  shown.on("column-visibility", (_, __, ___, ____, recalculate) => {
    if (recalculate === false) return; // not by the reader
    picked = true;
    save();
  });
}

const cellButton = (value, kind, _, where) => (kind === "display"
  ? `<button class="cell" data-row="${where.row}" title="${escaped(value)}">${escaped(value)}</button>`
  : value);

function setVisible(visible) {
  const split = (wanted) => visible.flatMap((one, i) => (one === wanted ? [i] : []));
  shown.columns(split(true)).visible(true, false);
  shown.columns(split(false)).visible(false, false);
}

// Which columns tell the chosen rows apart, and what those that do not have in common.
function arrange(rows) {
  const same = [];
  const visible = table.columns.map((c, i) => {
    if (!c.shown) return false;
    const values = new Set(rows.map((row) => table.values[i][row]));
    if (values.size !== 1 || c.name === "cell") return values.size > 0;
    const [value] = values;
    if (value === null) return false;
    if (rows.length > 1) same.push(`${titleOf(c)} ${texts(table, i, table.values.map((v) => v[rows[0]])).join(" ")}` +
      (c.unit ? ` ${c.unit}` : ""));
    return rows.length === 1;
  });
  byId("same").textContent = same.length ? `The same in all rows: ${same.join("; ")}.` : "";
  if (!picked) setVisible(visible);
}

function refresh() {
  const rows = Array.from({ length: count() }, (_, row) => row).filter(chosen);
  arrange(rows);
  shown.draw();
  const usually = CONTROLS.every((id) => choice(id) === usual(id));
  byId("finding").textContent = table.finding;
  byId("finding").hidden = !usually || !table.finding;
  const failed = rows.filter((row) => field("status", row) !== "ok").length;
  const machine = choice("machine") === ALL ? distinct("machine").join("; ") : choice("machine");
  byId("facts").textContent = `Machine: ${machine || "none"}. ` +
    (column("preset") < 0 ? "" : `Preset: ${choice("preset")}. `) + `Commit: ${choice("commit")}. ` +
    `${rows.length} of ${count()} rows${failed ? `, ${failed} not ok` : ""}.`;
  drawFigure();
  drawPublished();
}

function drawPublished() {
  published?.destroy();
  published = null;
  byId("published-section").hidden = !table.published.length;
  if (!table.published.length) return;
  const lines = table.published.flatMap((entry) => {
    const { figure } = entry;
    const rows = entry.rows.filter(chosen);
    return (rows.length ? rows : [null]).map((row) => {
      const measured = row === null ? null : field(entry.field, row);
      const same = entry.full.includes(row) && typeof figure.value === "number";
      const ratio = same ? measured / figure.value : null;
      return [figure.model, figure.dataset, figure.metric, figure.value, measured, ratio,
        ...(row === null ? ["missing", null] : [field("cell", row), field("machine", row)]),
        figure.label, figure.source, figure.note || null];
    });
  });
  const names = ["model", "data", "metric", "published", "measured", "ratio", "cell", "machine",
    "label", "source", "note"];
  const values = names.map((_, i) => lines.map((line) => line[i]));
  const columns = names.map((name, i) => ({ name, unit: "", scale: 1, long: i > 8,
    shown: values[i].some((v) => v !== null && v !== ""),
    numeric: [3, 4, 5].includes(i) && values[i].every((v) => typeof v !== "string") }));
  const grid = { columns, values };
  published = drawGrid(byId("published"), grid, { pageLength: 25 });
  byId("published").append(copyBar(grid, published));
}

byId("rows").addEventListener("click", (event) => {
  const button = event.target.closest("button.cell");
  if (button) detail(Number(button.dataset.row));
});
document.addEventListener("keydown", (event) => { // DataTables' buttons know Enter alone
  if (event.key !== " " || !event.target.matches("[role=button]:not(button)")) return;
  event.preventDefault();
  event.target.click();
});
byId("table").addEventListener("change", () => {
  show(choice("table"));
  save(true);
});
byId("data").addEventListener("change", () => drawBoard());
for (const id of CONTROLS) byId(id).addEventListener("change", () => {
  refresh();
  save();
});
for (const id of ["figure", "logarithmic"]) byId(id).addEventListener("change", () => {
  drawFigure();
  save();
});
addEventListener("hashchange", restore);

const sizes = (t) => `${t.name} (${t.values[0].length})`;
fill(byId("table"), [["", "all findings"], ...tables.map((t) => [t.name, sizes(t)])], "");
fill(byId("status"), [[ALL, "any"], ["ok", "ok"], ["not ok", "not ok"]], ALL);
restore();
document.body.dataset.ready = "yes";
