// The figure of a table: measured and published points, drawn by plotly.
const narrow = window.matchMedia("(max-width: 640px)");

function traces(figure, flipped) {
  const lines = new Map();
  for (const point of figure.points) {
    if (point.row !== null && !(chosen(point.row) && field("status", point.row) === "ok")) continue;
    const machine = point.row === null ? "" : field("machine", point.row);
    const commit = choice("commit") === ALL && point.row !== null ? field("commit", point.row) : "";
    const key = JSON.stringify([point.series, point.group, machine, commit]);
    if (!lines.has(key)) lines.set(key, []);
    lines.get(key).push(point);
  }
  const [across, up] = flipped ? ["y", "x"] : ["x", "y"];
  const named = new Set();
  return [...lines.values()].map((points) => {
    const look = figure.series[points[0].series];
    const stated = points[0].row === null;
    const again = named.has(look.name);
    named.add(look.name);
    return {
      [across]: points.map((p) => p.x),
      [up]: points.map((p) => p.y),
      customdata: points.map((p) => p.row ?? -1),
      text: points.map((p) => (stated ? p.published : [p.group, field("machine", p.row),
        `commit ${field("commit", p.row)}`].filter(Boolean).join("<br>"))),
      [`error_${up}`]: { type: "data", symmetric: false, thickness: 1, width: 3,
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
      hovertemplate: `<b>${look.name}</b><br>%{${across}}: %{${up}:.4g} ${figure.y}<br>%{text}<extra></extra>`,
    };
  });
}

// 1, 2 and 5 of each decade that the numbers span, or the decades alone where they are many.
function logarithmicTicks(numbers) {
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)].map(Math.log10);
  const steps = high - low > 2.5 ? [1] : [1, 2, 5];
  const decades = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, i) => i + Math.floor(low));
  return decades.flatMap((decade) => steps.map((step) => step * 10 ** decade));
}

// On a phone methods stand below each other, with their names to be read from the left.
function drawFigure() {
  const figure = table.figures[Number(choice("figure"))];
  if (!figure) return;
  const logarithmic = byId("logarithmic").checked, time = figure.y === "milliseconds";
  byId("logarithmic").disabled = figure.order.length > 0 && !time;
  const flipped = narrow.matches && figure.order.length > 0 && !figure.legend;
  const data = traces(figure, flipped);
  const drawn = new Set(data.flatMap((trace) => (flipped ? trace.y : trace.x)));
  const categories = figure.order.filter((name) => drawn.has(name));
  const sizes = figure.order.length
    ? { type: "category", categoryorder: "array", categoryarray: categories, dtick: 1,
        autorange: flipped ? "reversed" : true }
    : { type: logarithmic ? "log" : "linear", tickmode: "array",
        tickvals: [...new Set(figure.points.map((p) => p.x))] };
  const numbers = data.flatMap((trace) => (flipped ? trace.x : trace.y));
  const ticks = logarithmic && time && numbers.length
    ? { type: "log", tickmode: "array", tickvals: logarithmicTicks(numbers) }
    : { type: "linear", nticks: flipped ? 5 : 8 };
  const values = { ...ticks, title: { text: figure.y }, automargin: true, tickformat: "~g" };
  const places = { ...sizes, title: { text: figure.x }, automargin: true };
  const entries = new Set(data.map((trace) => trace.name)).size;
  const height = flipped ? 120 + 26 * categories.length : narrow.matches && figure.legend ? 380 + 11 * entries : 420;
  byId("plot").style.height = `${height}px`;
  Plotly.react("plot", data, {
    height,
    margin: { l: flipped ? 40 : 64, r: 12, t: 36, b: 40 },
    [flipped ? "yaxis" : "xaxis"]: places,
    [flipped ? "xaxis" : "yaxis"]: values,
    showlegend: figure.legend,
    legend: narrow.matches ? { orientation: "h", y: -0.25, yanchor: "top" } : {},
    hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13 },
  }, { responsive: true, displaylogo: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "sendChartToCloud"] });
  byId("plot").removeAllListeners?.("plotly_click");
  byId("plot").on("plotly_click", ({ points: [{ customdata: row }] }) => row >= 0 && detail(row));
}
narrow.addEventListener("change", () => table && drawFigure());
