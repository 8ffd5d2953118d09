// One row in full: why it failed, what was published, its pictures, configuration and fields.
let opened = null;

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
      `${figure.metric}: published ${figure.value}, measured ${number(field(name, row))}; ` +
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
    const text = c.numeric ? `${number(value * c.scale)} ${c.unit}` : value;
    return [make("dt", { textContent: c.name }), make("dd", { textContent: text })];
  });
  add("Fields", make("dl", {}, ...fields));
  byId("detail-title").textContent = field("cell", row);
  byId("detail-body").replaceChildren(...body);
  byId("detail").showModal();
  opened = row;
  save();
}
byId("detail").addEventListener("close", () => {
  if (byId("detail").open) return; // closed and opened again with another row
  opened = null;
  save();
});
