// What all parts of the page use: elements, numbers, and the rows themselves.
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
const fill = (select, options, wanted) => {
  const made = options.map(([value, textContent]) => make("option", { value, textContent }));
  select.replaceChildren(...made);
  select.value = options.some(([value]) => value === wanted) ? wanted : options[0][0];
};

const [rows, plotly, datatables] = await Promise.all(
  ["rows-data", "plotly-code", "datatables-code"].map(unpack),
);
const { tables, board } = JSON.parse(rows);
document.head.append(make("script", { textContent: plotly }));
const bundle = URL.createObjectURL(new Blob([datatables], { type: "text/javascript" }));
const { jQuery: $ } = await import(bundle);
const DataTable = $.fn.dataTable;

const number = (value, digits = 4) => {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e4 ? `${value}` : value.toLocaleString("en");
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(digits - 1);
  return size >= 10 ** digits ? Math.round(value).toLocaleString("en") : value.toPrecision(digits);
};
