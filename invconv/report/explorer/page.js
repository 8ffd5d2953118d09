const unpack = async (id) => {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};
const byId = (id) => document.getElementById(id);
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const [rows, plotly, datatables] = await Promise.all(
  ["rows-data", "plotly-code", "datatables-code"].map(unpack),
);
const { tables } = JSON.parse(rows);
document.head.append(make("script", { textContent: plotly }));
const bundle = URL.createObjectURL(new Blob([datatables], { type: "text/javascript" }));
const { jQuery: $ } = await import(bundle);
const DataTable = $.fn.dataTable;
const first = (a, b) => (a === null) - (b === null); // what was not measured stands last
DataTable.ext.type.order["figure-asc"] = (a, b) => first(a, b) || a - b;
DataTable.ext.type.order["figure-desc"] = (a, b) => first(a, b) || b - a;

const NEWEST = "newest of each cell", ALL = "all";
const number = (value, digits = 4) => {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e4 ? `${value}` : value.toLocaleString("en");
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(digits - 1);
  return size >= 10 ** digits ? Math.round(value).toLocaleString("en") : value.toPrecision(digits);
};
const withUnit = (value, unit) => (unit === "s" && Math.abs(value) < 0.1
  ? `${number(1e3 * value)} ms` : `${number(value)}${unit ? ` ${unit}` : ""}`);

let table, shown, published;

const column = (name) => table.columns.findIndex((c) => c.name === name);
const field = (name, row) => (column(name) < 0 ? null : table.values[column(name)][row]);
const count = () => table.values[0].length;
const fill = (select, options, wanted) => {
  const made = options.map(([value, textContent]) => make("option", { value, textContent }));
  select.replaceChildren(...made);
  select.value = options.some(([value]) => value === wanted) ? wanted : options[0][0];
};
const distinct = (name) => [...new Set(table.values[column(name)])].filter((v) => v !== null).sort();
const choice = (id) => byId(id).value;

const chosen = (row) =>
  (choice("machine") === ALL || field("machine", row) === choice("machine")) &&
  (choice("commit") === ALL || (choice("commit") === NEWEST ? table.newest[row]
    : field("commit", row) === choice("commit"))) &&
  (choice("status") === ALL || (choice("status") === "not ok") === (field("status", row) !== "ok"));

function openTable() {
  table = tables[Number(choice("table"))];
  byId("title").textContent = table.title;
  const pairs = (name) => distinct(name).map((value) => [value, value]);
  fill(byId("machine"), [[ALL, "all machines"], ...pairs("machine")], choice("machine"));
  fill(byId("commit"), [[NEWEST, NEWEST], [ALL, "all commits"], ...pairs("commit")], choice("commit"));
  fill(byId("figure"), table.figures.map((figure, i) => [String(i), figure.title]).concat(
    table.figures.length ? [] : [["", "no figure"]]), "0");
  byId("figure-section").hidden = !table.figures.length;
  drawRows();
  refresh();
}

function drawRows() {
  shown?.destroy();
  const element = make("table", { className: "rows-table display compact" });
  byId("rows").replaceChildren(element);
  const names = table.columns.map((c, i) => ({
    data: i,
    name: c.name,
    visible: c.shown,
    title: `${c.name.replace(/_(s|bytes)$/, "").replaceAll("_", " ")}<small>${c.unit}</small>`,
    ariaTitle: `${c.name} ${c.unit}`,
    type: c.numeric ? "figure" : "string",
    searchBuilderType: c.numeric ? "num" : "string",
    searchBuilderTitle: c.name,
    searchBuilder: { orthogonal: { search: c.numeric ? "condition" : "filter" } },
    className: c.numeric ? "figure" : c.name === "reason" ? "long" : "",
    render: c.name === "cell" ? cellButton : c.numeric ? shownNumber : $.fn.dataTable.render.text(),
  }));
  shown = new DataTable(element, {
    data: table.values[0].map((_, row) => table.values.map((values) => values[row])),
    columns: names,
    order: [],
    pageLength: 50,
    autoWidth: false,
    lengthMenu: [25, 50, 200, 1000],
    layout: { topStart: "pageLength", topEnd: "search", top2Start: {
      buttons: [{ extend: "colvis", text: "Columns" }] }, bottomStart: "info", bottomEnd: "paging" },
    language: { search: "Filter", emptyTable: "missing: no rows yet." },
    createdRow: (line, _, row) => line.classList.toggle("failed", field("status", row) !== "ok"),
  });
  shown.search.fixed("chosen", (_, __, row) => chosen(row));
  element.parentElement.classList.add("scroller");
  const builder = new DataTable.SearchBuilder(shown, {});
  byId("conditions").replaceChildren(byId("conditions").firstElementChild, builder.getNode()[0]);
}

const shownNumber = (value, kind) => {
  if (kind === "condition") return value ?? NaN; // what was not measured meets no condition
  return kind === "display" ? (value === null ? "" : number(value)) : value;
};
const escaped = $.fn.dataTable.render.text().display;
const cellButton = (value, kind, _, where) => (kind === "display"
  ? `<button class="cell" data-row="${where.row}" title="${escaped(value)}">${escaped(value)}</button>`
  : value);

function refresh() {
  shown.draw();
  const rows = Array.from({ length: count() }, (_, row) => row).filter(chosen);
  const failed = rows.filter((row) => field("status", row) !== "ok").length;
  const units = [...new Set(table.columns.map((c) => c.unit).filter(Boolean))];
  const machine = choice("machine") === ALL ? distinct("machine").join("; ") : choice("machine");
  byId("facts").textContent = `Units: ${units.join(", ") || "counts"}. ` +
    `Machine: ${machine || "none"}. Commit: ${choice("commit")}. ` +
    `${rows.length} of ${count()} rows${failed ? `, ${failed} not ok` : ""}.`;
  drawFigure();
  drawPublished();
}

function traces(figure) {
  const lines = new Map();
  for (const point of figure.points) {
    if (point.row !== null && !(chosen(point.row) && field("status", point.row) === "ok")) continue;
    const machine = point.row === null ? "" : field("machine", point.row);
    const commit = choice("commit") === ALL && point.row !== null ? field("commit", point.row) : "";
    const key = JSON.stringify([point.series, point.group, machine, commit]);
    if (!lines.has(key)) lines.set(key, []);
    lines.get(key).push(point);
  }
  const named = new Set();
  return [...lines.values()].map((points) => {
    const look = figure.series[points[0].series];
    const stated = points[0].row === null;
    const again = named.has(look.name);
    named.add(look.name);
    return {
      x: points.map((p) => p.x),
      y: points.map((p) => p.y),
      customdata: points.map((p) => p.row ?? -1),
      text: points.map((p) => (stated ? p.published : [p.group, field("machine", p.row),
        `commit ${field("commit", p.row)}`].filter(Boolean).join("<br>"))),
      error_y: { type: "data", symmetric: false, thickness: 1, width: 3,
        visible: points.some((p) => p.high !== null),
        array: points.map((p) => (p.high === null ? null : p.high - p.y)),
        arrayminus: points.map((p) => (p.low === null ? null : p.y - p.low)) },
      name: look.name,
      legendgroup: look.name,
      showlegend: !again,
      mode: stated || !figure.x ? "markers" : "lines+markers",
      line: { color: look.color, dash: look.dash, width: 1.5 },
      marker: { color: look.color, symbol: look.symbol, size: stated ? 11 : 8,
        line: { color: look.color, width: stated ? 2 : 0 } },
      hovertemplate: `<b>${look.name}</b><br>%{x}: %{y:.4g} ${figure.y}<br>%{text}<extra></extra>`,
    };
  });
}

function drawFigure() {
  const figure = table.figures[Number(choice("figure"))];
  if (!figure) return;
  const logarithmic = byId("logarithmic").checked;
  byId("logarithmic").disabled = figure.order.length > 0 && figure.y !== "seconds";
  const narrow = window.innerWidth < 640;
  const x = figure.order.length
    ? { type: "category", categoryorder: "array", categoryarray: figure.order,
        tickangle: narrow ? 60 : "auto" }
    : { type: logarithmic ? "log" : "linear", tickmode: "array",
        tickvals: [...new Set(figure.points.map((p) => p.x))] };
  const layout = {
    margin: { l: 64, r: 12, t: 36, b: 40 },
    xaxis: { ...x, title: { text: figure.x }, automargin: true },
    yaxis: { type: logarithmic && figure.y === "seconds" ? "log" : "linear", title: { text: figure.y },
      automargin: true, exponentformat: "power", nticks: 8 },
    showlegend: figure.legend,
    legend: narrow ? { orientation: "h", y: -0.25, yanchor: "top" } : {},
    hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: narrow ? 11 : 13 },
  };
  Plotly.react("plot", traces(figure), layout, { responsive: true, displaylogo: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "sendChartToCloud"] });
  byId("plot").removeAllListeners?.("plotly_click");
  byId("plot").on("plotly_click", ({ points: [{ customdata: row }] }) => row >= 0 && detail(row));
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
      return [figure.model, figure.dataset, figure.metric, figure.value, figure.label, measured, ratio,
        ...(row === null ? ["missing", ""] : [field("cell", row), field("machine", row)]),
        figure.source, figure.note];
    });
  });
  const names = ["model", "data", "metric", "published", "label", "measured", "ratio", "cell",
    "machine", "source", "note"];
  const element = make("table", { className: "display compact" });
  byId("published").replaceChildren(element);
  published = new DataTable(element, {
    data: lines,
    columns: names.map((name, i) => ({ title: name, data: i,
      className: i > 8 ? "long" : [3, 5, 6].includes(i) ? "figure" : "",
      type: [3, 5, 6].includes(i) && lines.every((line) => typeof line[i] !== "string") ? "figure" : "string",
      render: [5, 6].includes(i) ? shownNumber : $.fn.dataTable.render.text() })),
    order: [],
    pageLength: 25,
    autoWidth: false,
    language: { search: "Filter" },
  });
  element.parentElement.classList.add("scroller");
}

function detail(row) {
  const body = [];
  const add = (name, text) => body.push(make("h3", { textContent: name }), text);
  if (field("status", row) !== "ok") {
    const textContent = `${field("status", row)}: ${field("reason", row)}`;
    body.push(make("p", { className: "reason", textContent }));
  }
  const stated = table.published.filter((entry) => entry.rows.includes(row));
  if (stated.length) {
    add("Published", make("ul", {}, ...stated.map(({ figure, field: name }) => make("li", { textContent:
      `${figure.metric}: published ${figure.value}, here ${number(field(name, row))}; ` +
      `${figure.source} [${figure.label}]${figure.note ? `; ${figure.note}` : ""}` }))));
  }
  for (const [name, data] of table.pictures[row] ?? []) {
    if (name) add(name, make("img", { src: data, alt: `${name} of ${field("cell", row)}` }));
    else add("Pictures", make("p", { textContent: `too large for this page: ${data}` }));
  }
  const config = JSON.stringify(JSON.parse(field("config", row) ?? "{}"), null, 1);
  add("Configuration", make("pre", { textContent: config }));
  const fields = table.columns.flatMap((c, i) => {
    const value = table.values[i][row];
    if (value === null || c.name === "config") return [];
    const text = c.numeric ? withUnit(value, c.unit) : value;
    return [make("dt", { textContent: c.name }), make("dd", { textContent: text })];
  });
  add("Fields", make("dl", {}, ...fields));
  byId("detail-title").textContent = field("cell", row);
  byId("detail-body").replaceChildren(...body);
  byId("detail").showModal();
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
byId("table").addEventListener("change", openTable);
for (const id of ["machine", "commit", "status"]) byId(id).addEventListener("change", refresh);
for (const id of ["figure", "logarithmic"]) byId(id).addEventListener("change", drawFigure);

fill(byId("table"), tables.map((t, i) => [String(i), `${t.name} (${t.values[0].length})`]),
  String(Math.max(0, tables.findIndex((t) => t.name === "table2" && t.values[0].length))));
fill(byId("status"), [[ALL, "any"], ["ok", "ok"], ["not ok", "not ok"]], ALL);
openTable();
document.body.dataset.ready = "yes";
