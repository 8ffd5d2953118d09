// A table of the page, given as columns and their values: sorted, filtered and copied.
const absentLast = (a, b) => (a === null) - (b === null);
DataTable.ext.type.order["figure-asc"] = (a, b) => absentLast(a, b) || a - b;
DataTable.ext.type.order["figure-desc"] = (a, b) => absentLast(a, b) || b - a;

const escaped = $.fn.dataTable.render.text().display;
const titleOf = (column) => column.title ?? column.name.replace("_vs_", " ÷ ")
  .replace(/_(s|bytes)$/, "").replaceAll("_", " ");

// The interval that a cell shows behind its value: of a ratio or a difference.
const ends = (grid, i) => ["low", "high"].map((end) =>
  grid.columns.findIndex((c) => c.name === `${grid.columns[i].name}_${end}`));

function texts(grid, i, line) {
  const { numeric, scale } = grid.columns[i];
  const value = line[i];
  if (value === null) return [""];
  if (!numeric) return [String(value)];
  const [low, high] = grid.ends[i].map((end) => line[end] ?? null);
  if (low === null || high === null) return [number(value * scale)];
  return [number(value * scale, 3), `[${number(low * scale, 3)}, ${number(high * scale, 3)}]`];
}

function display(grid, i, line) {
  const [value, interval] = texts(grid, i, line).map(escaped);
  if (!interval) return value;
  const equal = grid.columns[i].name.includes("minus") ? 0 : 1; // a difference, or a ratio
  const [low, high] = grid.ends[i].map((end) => line[end]);
  const side = high < equal ? "below" : low > equal ? "above" : "";
  return `<span class="${side}">${value}</span> <small>${interval}</small>`;
}

// Draws it below `place`; `cell(i)` may render a column otherwise.
function drawGrid(place, grid, options, cell = () => null) {
  grid.ends = grid.columns.map((_, i) => ends(grid, i));
  const element = make("table", { className: "display compact" });
  place.replaceChildren(element);
  const drawn = new DataTable(element, {
    data: grid.values[0].map((_, row) => grid.values.map((values) => values[row])),
    columns: grid.columns.map((c, i) => ({
      data: i,
      name: c.name,
      visible: c.shown,
      title: `${titleOf(c)}<small>${c.unit}</small>`,
      ariaTitle: `${titleOf(c)} ${c.unit}`,
      type: c.numeric ? "figure" : "string",
      searchBuilderType: c.numeric ? "num" : "string",
      searchBuilderTitle: c.name,
      searchBuilder: { orthogonal: { search: c.numeric ? "condition" : "filter" } },
      className: c.numeric ? "figure" : c.long ? "long" : "",
      render: cell(i) ?? ((value, kind, line) => {
        if (kind === "display") return display(grid, i, line);
        // conditions are on what is shown; what was not measured meets none
        if (kind === "condition") return value === null ? NaN : value * c.scale;
        return value;
      }),
    })),
    order: [],
    autoWidth: false,
    language: { search: "Filter", emptyTable: "no rows" },
    ...options,
  });
  element.parentElement.classList.add("scroller");
  return drawn;
}

const LATEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
  "÷": "$\\div$", "×": "$\\times$", "−": "$-$" };
const latex = (text) => text.replace(/[\\~^÷×−&%$#_{}]/g, (sign) => LATEX[sign] ?? `\\${sign}`);
const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

const COPIES = {
  Markdown(grid, columns, lines) {
    const row = (cells) => `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
    const heads = columns.map((i) => headOf(grid.columns[i]));
    const rule = columns.map((i) => (grid.columns[i].numeric ? "---:" : ":---"));
    return [row(heads), row(rule), ...lines.map((line) => row(cellsOf(grid, columns, line)))];
  },
  LaTeX(grid, columns, lines) { // with the rules of booktabs
    const row = (cells) => `${cells.map(latex).join(" & ")} \\\\`;
    const align = columns.map((i) => (grid.columns[i].numeric ? "r" : "l")).join("");
    const heads = columns.map((i) => headOf(grid.columns[i]));
    return [`\\begin{tabular}{${align}}`, "\\toprule", row(heads), "\\midrule",
      ...lines.map((line) => row(cellsOf(grid, columns, line))), "\\bottomrule", "\\end{tabular}"];
  },
  CSV(grid, columns, lines) { // as measured: seconds, all digits, intervals in columns of their own
    const all = columns.flatMap((i) => [i, ...grid.ends[i].filter((end) => end >= 0)]);
    const row = (cells) => cells.map((cell) => quoted(String(cell ?? ""))).join(",");
    return [row(all.map((i) => grid.columns[i].name)), ...lines.map((line) => row(all.map((i) => line[i])))];
  },
};
const headOf = (column) => [titleOf(column), column.unit].filter(Boolean).join(", ");
const cellsOf = (grid, columns, line) => columns.map((i) => texts(grid, i, line).join(" "));

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // an old browser, or a page that may not
    const area = make("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// Buttons that copy what a table shows: its visible columns, and the rows that pass the filters.
function copyBar(grid, drawn) {
  const status = make("output");
  const buttons = Object.entries(COPIES).map(([name, form]) => make("button", { type: "button",
    textContent: name, async onclick() {
      const columns = drawn.columns(":visible").indexes().toArray();
      const lines = drawn.rows({ search: "applied", order: "applied" }).data().toArray();
      await toClipboard(`${form(grid, columns, lines).join("\n")}\n`);
      status.textContent = `${lines.length} rows copied as ${name}`;
    } }));
  return make("div", { className: "bar copy" }, make("span", { textContent: "Copy as" }), ...buttons, status);
}
