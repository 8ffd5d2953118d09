// The view as the part of the address behind #, so that it can be linked and restored.
const CONTROLS = ["machine", "preset", "commit", "status"];
const KEYS = ["cell", "machine", "commit"];
let saved = location.hash, restoring = false;

const keyOf = (row) => JSON.stringify(KEYS.map((name) => field(name, row)));
const orderOf = (grid, drawn) => drawn.order().map(([i, way]) => `${grid.columns[i].name}:${way}`).join(",");
const orderIn = (grid, text) => text.split(",").filter(Boolean).flatMap((part) => {
  const [name, way] = part.split(/:(?=[^:]*$)/);
  const i = grid.columns.findIndex((c) => c.name === name);
  return i < 0 ? [] : [[i, way]];
});

// What differs from how a table is shown at first.
function address() {
  const parameters = new URLSearchParams();
  const note = (name, value, usual) => value !== usual && parameters.set(name, value);
  if (!table) {
    note("data", choice("data"), byId("data").options[0]?.value ?? "");
    note("sort", standings ? orderOf(ranked, standings) : "st_s:asc", "st_s:asc");
    return parameters.toString();
  }
  parameters.set("table", table.name);
  for (const id of CONTROLS) note(id, choice(id), usual(id));
  const titles = table.figures.map((figure) => figure.title);
  note("figure", titles[choice("figure")], titles[0]);
  note("axis", byId("logarithmic").checked ? "logarithmic" : "linear", "logarithmic");
  note("filter", shown.search(), "");
  note("sort", orderOf(table, shown), "");
  note("columns", picked ? table.columns.filter((_, i) => shown.column(i).visible())
    .map((c) => c.name).join(",") : "", "");
  const conditions = builder.getDetails();
  note("where", conditions.criteria?.length ? JSON.stringify(conditions) : "", "");
  note("page", String(shown.page() + 1), "1");
  note("row", opened === null ? "" : keyOf(opened), "");
  return parameters.toString();
}

// Another table is a step back in the browser; what is changed of a view is none.
function save(step = false) {
  if (restoring) return;
  const hash = `#${address()}`;
  if (hash === saved || (hash === "#" && !saved)) return;
  history[step ? "pushState" : "replaceState"](null, "", hash);
  saved = hash;
}

// The conditions of a link; none where somebody cut it.
function conditionsIn(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// Shows a table, or the findings, as `asked`; nothing of it is saved meanwhile.
function show(name, asked) {
  restoring = true;
  byId("detail").close();
  try {
    open(tables.find((one) => one.name === name), asked);
  } finally {
    restoring = false;
  }
}

function restore() {
  const asked = new URLSearchParams(location.hash.slice(1));
  show(asked.get("table"), asked);
  saved = location.hash;
}
