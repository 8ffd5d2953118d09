"""The explorer in a real browser: 5,000 rows sorted, filtered, switched, hovered, by keyboard."""

import io
import json
import re
import sys
from itertools import pairwise

import pandas as pd
import pytest
from chromium import browser, open_page
from explorer_rows import METHODS, many, read
from test_map import rows_of

from invconv.__main__ import main
from invconv.methods import method
from invconv.report.explorer import write_explorer
from invconv.report.explorer.samples import find_pictures
from invconv.report.explorer.tables import table_data
from invconv.report.findings import latest
from invconv.report.naming import data_title
from invconv.rows import block_of, read_table
from invconv.rows.columns import Bits, Number, Seconds
from invconv.rows.provenance import ROOT
from invconv.tables import figure4, scaling, table2
from invconv.tables.leaderboard import leaderboard
from invconv.tables.table import Table, tables
from invconv.tables.table2_page import TITLES, shown

EVERY = "#table=table2&machine=all&preset=all&commit=all"
MOST_BYTES = 6_000_000
MOST_MS = 200
FIELDS = {"bits per dimension": "bpd"} | {title: field for field, title in TITLES.items()}
SORT = """(header) => new Promise((done) => {
  const start = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    document.body.offsetHeight;
    done(performance.now() - start);
  }).observe(header.closest("table").tBodies[0], { childList: true });
  header.click();
})"""
PLACE = """([name, row]) => {
  const plot = document.getElementById("plot");
  const { xaxis, yaxis } = plot._fullLayout;
  for (const trace of plot._fullData) {
    const i = trace.customdata.indexOf(row);
    if (i < 0 || trace.name !== name) continue;
    plot.scrollIntoView({ block: "center" });
    const { left, top } = plot.getBoundingClientRect();
    return [left + xaxis._offset + xaxis.c2p(xaxis.d2c(trace.x[i])),
            top + yaxis._offset + yaxis.d2p(trace.y[i])];
  }
}"""


@pytest.fixture(scope="module")
def rows():
    return many(600)


@pytest.fixture(scope="module")
def path(rows, tmp_path_factory):
    """A page with two tables."""
    folder = tmp_path_factory.mktemp("explorer")
    few = pd.DataFrame([_scaling(n, k) for n, k in ((16, 3), (32, 3), (64, 3), (32, 5))])
    shown = (table2.TABLE, scaling.TABLE)
    return write_explorer(shown, {"table2": rows, "scaling": few}, folder / "page.html", folder)


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def tab(chromium, path):
    opened, wrong = open_page(chromium, path)
    yield opened
    assert wrong == []


@pytest.fixture(autouse=True)
def _fresh(request):
    if "tab" in request.fixturenames:
        tab = request.getfixturevalue("tab")
        tab.evaluate("location.hash = ''")
        tab.wait_for_selector("#home:not([hidden])", state="attached")
        tab.evaluate("hash => { location.hash = hash; }", EVERY)
        tab.wait_for_selector("#home[hidden]", state="attached")


def _scaling(n, k):
    time = 1e-6 * n**2 * k
    return {
        "cell": f"n{n}-k{k}",
        "table": "scaling",
        "status": "ok",
        "reason": None,
        "channels": 12,
        "batch": 100,
        "n": n,
        "k": k,
        **{f"inverse{q}_s": time * f for q, f in (("", 1), ("_q25", 0.9), ("_q75", 1.2))},
        "torch_forward_s": 2 * time,
        "machine": "machine 0",
        "commit": "1234567890",
        "date": "2026-01-01",
        "config": "{}",
    }


def header(tab, name):
    return tab.locator("#rows thead th", has_text=re.compile(f"^{name}(ms|bytes|bits/dim)?$"))


def column(tab, name):
    i = header(tab, name).evaluate("(cell) => cell.cellIndex")
    return tab.locator(f"#rows tbody td:nth-child({i + 1})").all_inner_texts()


def found(tab):
    tab.wait_for_timeout(600)  # DataTables waits for the end of the typing
    text = tab.locator("#rows .dt-info").inner_text()
    return int(re.search(r"of ([\d,]+) entr", text)[1].replace(",", ""))


@pytest.mark.slow
def test_five_thousand_rows_sort_in_a_fifth_of_a_second_and_stay_below_six_megabytes(
    chromium, tmp_path
):
    rows = many(5000)
    path = write_explorer([table2.TABLE], {"table2": rows}, tmp_path / "page.html", tmp_path)
    assert path.stat().st_size < MOST_BYTES
    tab, wrong = open_page(chromium, path, address=EVERY)
    times = [header(tab, "bpd").evaluate(SORT) for _ in range(4)]  # up, down, unsorted, up
    times += [header(tab, name).evaluate(SORT) for name in ("cell", "method", "bpd")]
    print("milliseconds per sort:", times)
    assert sorted(times)[3] < MOST_MS, times
    assert header(tab, "bpd").get_attribute("aria-sort") == "ascending"
    smallest = rows["bpd"].sort_values()[:50]
    assert [float(text) for text in column(tab, "bpd")] == pytest.approx(smallest, abs=1e-3)
    header(tab, "bpd").click()
    assert float(column(tab, "bpd")[0]) == pytest.approx(rows["bpd"].max(), abs=1e-3)
    tab.close()
    assert wrong == []


def test_filters_and_conditions(tab, rows):
    tab.fill("#rows .dt-search input", "woodbury photographs")
    wanted = (rows["method"] == "woodbury") & (rows["dataset"] == "photographs")
    assert found(tab) == wanted.sum()
    tab.fill("#rows .dt-search input", "")
    assert found(tab) == len(rows)
    tab.click("#conditions summary")
    tab.click("#conditions button:has-text('Add Condition')")
    tab.select_option("#conditions .dtsb-data", label="bpd")
    tab.select_option("#conditions .dtsb-condition", label="Less Than")
    tab.fill("#conditions .dtsb-value", "2.5")
    assert found(tab) == (rows["bpd"] < 2.5).sum()
    tab.click("#conditions .dtsb-delete")
    assert found(tab) == len(rows)


def test_machine_and_commit_are_switched(tab, rows):
    tab.select_option("#machine", "machine 1")
    here = rows[rows["machine"] == "machine 1"]
    assert found(tab) == len(here)
    assert "Machine: machine 1." in tab.inner_text("#facts")
    tab.select_option("#commit", "2abcdef012")
    assert found(tab) == (here["commit"] == "2abcdef012").sum()
    assert "Commit: 2abcdef012." in tab.inner_text("#facts")
    shown = tab.evaluate("plot.data.flatMap((t) => t.customdata).filter((row) => row >= 0)")
    kept = here[(here["commit"] == "2abcdef012") & (here["status"] == "ok")]
    assert set(shown) == set(kept.index[kept["dataset"] == "digits"])
    tab.select_option("#commit", "newest of each cell")
    assert found(tab) == here["cell"].nunique()


def test_a_table_opens_with_one_machine_and_one_preset(tab, rows):
    tab.evaluate("location.hash = '#table=table2'")
    tab.wait_for_function("document.getElementById('preset').value === 'paper'")
    machine = tab.input_value("#machine")
    assert found(tab) == rows.loc[rows["machine"] == machine, "cell"].nunique()
    drawn = tab.evaluate("plot.data.flatMap((t) => t.customdata).filter((row) => row >= 0)")
    assert drawn and set(rows["machine"][drawn]) == {machine}
    assert "preset paper; timed images 100; machine" in tab.inner_text("#same")
    titles = tab.locator("#rows thead th").all_inner_texts()
    assert not [title for title in titles if title.startswith(("preset", "reason", "device"))]
    assert tab.inner_text("#finding").startswith("Relative to Glow") == bool(
        table2.TABLE.finding(latest(rows))
    )


def test_a_linked_view_is_restored(chromium, tab, path):
    tab.select_option("#machine", "machine 1")
    tab.select_option("#figure", label="bits per dimension, cifar10")
    tab.fill("#rows .dt-search input", "woodbury")
    assert found(tab)
    header(tab, "bpd").click()
    tab.click("#conditions summary")
    tab.click("#conditions button:has-text('Add Condition')")
    tab.select_option("#conditions .dtsb-data", label="bpd")
    tab.select_option("#conditions .dtsb-condition", label="Less Than")
    tab.fill("#conditions .dtsb-value", "4.5")
    expected = found(tab)
    tab.locator("button.cell").nth(1).click()
    address = tab.evaluate("location.hash")
    again, wrong = open_page(chromium, path, address=address)
    assert again.evaluate("location.hash") == address
    assert found(again) == expected
    for name in ("#machine", "#preset", "#commit", "#status", "#figure"):
        assert again.input_value(name) == tab.input_value(name)
    assert again.inner_text("#detail-title") == tab.inner_text("#detail-title")
    for one in (tab, again):
        one.keyboard.press("Escape")
    assert column(again, "bpd") == column(tab, "bpd")
    again.wait_for_function("!location.hash.includes('row=')")
    again.select_option("#table", "scaling")
    again.go_back()
    again.wait_for_function("document.getElementById('table').value === 'table2'")
    assert found(again) == expected
    again.close()
    tab.click("#conditions .dtsb-delete")
    assert wrong == []


def test_a_damaged_link_shows_what_it_can(tab):
    for address in (
        "#table=nowhere&row=1",
        "#table=table2&machine=none&sort=none:asc&columns=none&figure=none&page=99&row=none",
        "#table=table2&where=%7B&preset=",
        "#data=none&sort=:",
    ):
        tab.evaluate("hash => { location.hash = hash; }", address)
        place = "#view" if "table2" in address else "#home"
        tab.wait_for_selector(f"{place}:not([hidden])", state="attached")
        assert tab.locator(place).inner_text()


def test_rows_are_copied_as_they_are_shown(tab, rows):
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.fill("#rows .dt-search input", "glow digits")
    wanted = found(tab)
    copied = {}
    for name in ("Markdown", "LaTeX", "CSV"):
        tab.click(f"#rows .copy button:has-text('{name}')")
        tab.locator("#rows output", has_text=f"{wanted} rows copied as {name}").wait_for()
        copied[name] = tab.evaluate("navigator.clipboard.readText()").splitlines()
    head, rule, *lines = copied["Markdown"]
    assert len(lines) == wanted
    titles = [title.strip() for title in head.strip("|").split("|")]
    shown = {"cell", "method", "bpd, bits/dim", "st, ms"}
    assert shown <= set(titles)
    assert rule.count("---:") == tab.locator("#rows thead th.figure").count()
    assert copied["LaTeX"][1] == r"\toprule" and len(copied["LaTeX"]) == wanted + 6
    assert r"bpd, bits/dim" in copied["LaTeX"][2]
    frame = pd.read_csv(io.StringIO("\n".join(copied["CSV"])))
    kept = rows[(rows["method"] == "glow") & (rows["dataset"] == "digits")]
    assert frame["st_s"].to_numpy() == pytest.approx(kept["st_s"].to_numpy(), nan_ok=True)


def test_the_findings_of_all_tables_and_the_leaderboard(chromium, tmp_path):
    frames = {name: read_table(ROOT / f"results/data/{name}.csv") for name in tables()}
    board = leaderboard(frames)
    path = write_explorer(tables().values(), frames, tmp_path / "page.html", tmp_path, board)
    tab, wrong = open_page(chromium, path)
    cards = {card.split("\n")[0]: card for card in tab.locator(".card").all_inner_texts()}
    assert len(cards) == len(tables())
    for name, table in tables().items():
        kept = latest(frames[name], table.study)
        assert (table.finding(kept) if len(kept) else table.command) in cards[table.title]
    times = latest(frames["table2"])
    of_digits = times[(times["dataset"] == "digits") & times["st_s"].notna()].sort_values("date")
    last = block_of(of_digits["cell"]).iloc[-1]  # blocks of fewer methods came before
    times = of_digits[block_of(of_digits["cell"]) == last]
    tab.select_option("#data", label=data_title("digits"))
    lines = [line.split("\t") for line in tab.locator("#board tbody tr").all_inner_texts()]
    fastest_first = times.sort_values("st_s")["method"]
    assert [line[0] for line in lines] == [method(name).title for name in fastest_first]
    finc = times[times["method"] == "finc"]
    ratio = "{st_vs_glow:#.3g} [{st_vs_glow_low:#.3g}, {st_vs_glow_high:#.3g}]"
    text = " ".join(next(line for line in lines if line[0] == "FInC"))
    assert ratio.format_map(finc.dropna(subset=["st_vs_glow"]).iloc[0]) in text
    tab.locator(".card", has_text=table2.TABLE.title).click()
    tab.locator("#finding", has_text="Relative to Glow").wait_for()
    assert tab.evaluate("location.hash") == "#table=table2"
    tab.close()
    assert wrong == []


def test_failed_cells_show_their_reason(tab, rows):
    tab.select_option("#status", "not ok")
    assert found(tab) == (rows["status"] != "ok").sum()
    assert "reason OutOfMemoryError: tried to allocate 20 GiB" in tab.inner_text("#same")
    tab.locator("button.cell").first.click()
    assert "oom: OutOfMemoryError: tried" in tab.inner_text("#detail .reason")
    tab.keyboard.press("Escape")


def test_hovering_shows_the_rows_value_and_a_click_opens_it(tab, rows):
    good = rows[rows["status"] == "ok"]
    row = good[(good["method"] == "woodbury") & (good["dataset"] == "digits")].iloc[3]
    tab.select_option("#machine", row["machine"])
    tab.select_option("#commit", row["commit"])
    tab.select_option("#figure", label="bits per dimension, digits")
    tab.wait_for_timeout(200)
    x, y = tab.evaluate(PLACE, ["Woodbury", int(row.name)])
    tab.mouse.move(x, y)
    label = tab.locator("#plot .hovertext")
    label.wait_for()
    texts = label.text_content()
    assert f"{row['bpd']:.4g}" in texts
    assert row["machine"] in texts
    assert row["commit"] in texts
    tab.mouse.click(x, y)
    tab.locator("#detail[open]").wait_for()
    assert tab.inner_text("#detail-title") == row["cell"]
    assert '"learning_rate": 0.002' in tab.inner_text("#detail pre")
    tab.keyboard.press("Escape")


def test_published_points_stand_beside_the_measured(tab, rows):
    tab.select_option("#figure", label="bits per dimension, cifar10")
    tab.select_option("#status", "not ok")  # leaves the published points alone in the figure
    x, y = tab.evaluate(PLACE, ["FInC, published", -1])
    tab.mouse.move(x, y)
    text = tab.locator("#plot .hovertext", has_text="3.39")
    text.wait_for()
    assert "arXiv 2301.09266" in text.text_content()
    tab.select_option("#status", "all")
    measured = rows[(rows["method"] == "finc") & (rows["dataset"] == "cifar10")]
    measured = measured[measured["status"] == "ok"].iloc[0]
    tab.fill("#published .dt-search input", f"bpd {measured['cell']}")
    tab.wait_for_timeout(600)
    first = tab.locator("#published tbody tr").first.locator("td").all_inner_texts()
    assert first[:4] == ["FInC", "cifar10", "bpd", "3.390"]
    assert float(first[5]) == pytest.approx(float(first[4]) / 3.39, rel=1e-3)


def test_lines_against_n_and_k(tab):
    tab.select_option("#table", "scaling")
    assert scaling.TABLE.title in tab.inner_text("#title")
    title = "time against kernel size k, n = 32, 12 channels, batch 100"
    tab.select_option("#figure", label=title)
    line = tab.evaluate("plot.data.find((trace) => trace.name === 'our inverse, output reused')")
    assert line["x"] == [3, 5]
    assert line["y"] == pytest.approx([1e-3 * 32**2 * k for k in (3, 5)])
    assert tab.evaluate("plot.layout.yaxis.title.text") == "milliseconds"
    assert line["error_y"]["array"] == pytest.approx([0.2 * y for y in line["y"]])
    assert line["line"]["color"] == "#E69F00"
    assert line["marker"]["symbol"] == "diamond"
    buttons = tab.locator("#plot .modebar-btn")
    titles = buttons.evaluate_all("(all) => all.map((button) => button.dataset.title)")
    assert "Zoom in" in titles
    assert not [title for title in titles if "hare" in title]  # would leave the machine


def test_the_keyboard_suffices(tab):
    header(tab, "seed").locator("[tabindex='0']").focus()
    for key, order in (("Enter", "ascending"), ("Space", "descending")):
        tab.keyboard.press(key)
        tab.locator(f"#rows th[aria-sort={order}]", has_text="seed").wait_for()
    tab.locator("#rows .dt-search input").focus()
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.matches('button.cell')"):
            break
    name = tab.evaluate("document.activeElement.textContent")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#detail-title") == name
    tab.keyboard.press("Escape")
    assert tab.locator("#detail[open]").count() == 0
    assert tab.evaluate("document.activeElement.textContent") == name
    tab.select_option("#machine", "all")
    tab.locator("#machine").focus()
    tab.keyboard.press("ArrowDown")
    assert "Machine: machine 0." in tab.inner_text("#facts")


def test_at_phone_width_everything_fits_and_every_method_is_read(chromium, path):
    tab, wrong = open_page(chromium, path, 390, 844, EVERY)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert "Machine: machine 0; machine 1." in tab.inner_text("#facts")
    tab.wait_for_timeout(200)
    names = tab.locator("#plot .ytick text")
    titles = {method(name).title for name in METHODS if name in shown()}
    assert set(names.all_text_contents()) >= titles
    boxes = [names.nth(i).bounding_box() for i in range(names.count())]
    assert all(box["x"] >= 0 for box in boxes)
    tops = sorted(box["y"] for box in boxes)
    heights = [box["height"] for box in boxes]
    assert all(b - a >= max(heights) for a, b in pairwise(tops))
    tab.locator("button.cell").first.click()
    box = tab.locator("#detail").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    tab.close()
    assert wrong == []


def test_pictures_of_a_cell(chromium, rows, tmp_path):
    folder = tmp_path / "runs" / "cell"
    folder.mkdir(parents=True)
    row = rows.iloc[0]
    names = ("machine", "commit", "date")
    written = {"cell": row["cell"], "table": "table2", "status": "ok"}
    source = {name: row[name] for name in names}
    (folder / "row.json").write_text(json.dumps(written | {"provenance": source}))
    (folder / "samples.png").write_bytes(PNG)
    shown = {"table2": rows[:3]}
    path = write_explorer([table2.TABLE], shown, tmp_path / "page.html", tmp_path / "runs")
    tab, wrong = open_page(chromium, path, address=EVERY)
    tab.locator("button.cell").first.click()
    picture = tab.locator("#detail img")
    assert picture.get_attribute("alt") == f"samples of {row['cell']}"
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 2
    tab.keyboard.press("Escape")
    tab.locator("button.cell").nth(1).click()
    assert picture.count() == 0
    tab.close()
    assert wrong == []


def test_what_does_not_fit_is_named(tmp_path):
    for i in range(3):
        folder = tmp_path / f"cell{i}"
        folder.mkdir()
        source = {"machine": "m", "commit": "c", "date": "2026-01-01"}
        written = {"cell": f"cell{i}", "table": "table2", "status": "ok", "provenance": source}
        (folder / "row.json").write_text(json.dumps(written))
        for name in ("samples", "reconstructions"):
            (folder / f"{name}.png").write_bytes(bytes(300))
    found = find_pictures(tmp_path, most=4 * 400)
    names = [[name for name, _ in pictures] for pictures in found.values()]
    assert names == [["samples", "reconstructions"], ["samples", ""], ["samples", ""]]
    path = str(tmp_path / "cell1" / "reconstructions.png")
    assert found["cell1", "m", "c"][1] == ("", path)


def test_every_point_is_a_field_of_its_row(rows):
    data = table_data(table2.TABLE, rows)
    assert len(data["figures"]) == 3 * 5
    for figure in data["figures"]:
        field = FIELDS[figure["title"].rpartition(",")[0]]
        points = [point for point in figure["points"] if point["row"] is not None]
        here = (rows["dataset"] == figure["title"].split()[-1]) & (rows["status"] == "ok")
        assert {point["row"] for point in points} == set(rows.index[here])
        for point in points:
            assert point["y"] == rows[field][point["row"]] * (1e3 if field.endswith("_s") else 1)
    values = dict(zip((c["name"] for c in data["columns"]), data["values"], strict=True))
    good = rows.index[rows["status"] == "ok"]
    assert [values["st_s"][i] for i in good] == pytest.approx(rows["st_s"][good].tolist())
    assert {values["st_s"][i] for i in rows.index.difference(good)} == {None}
    kept = [row for row, new in zip(rows.itertuples(), data["newest"], strict=True) if new]
    assert len(kept) == len(rows.drop_duplicates(["cell", "machine"]))
    assert all(row.commit.startswith("2") or row.status == "ok" for row in kept)


@pytest.mark.parametrize("table", tables().values(), ids=list(tables()))
def test_a_table_without_rows(table, tmp_path):
    empty = table_data(table, read_table(tmp_path / "nowhere.csv"))
    assert (empty["name"], empty["title"]) == (table.name, table.title)
    assert empty["newest"] == empty["figures"] == []
    assert all(entry.rows == [] for entry in empty["published"])


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table4", "figure4"])
def test_every_published_figure_has_a_column_and_labels_of_its_table(table):
    shown, rows = tables()[table], pd.DataFrame(rows_of(table))
    data = table_data(shown, rows)
    assert data["published"]
    for entry in data["published"]:
        field, labels = shown.match(entry.figure)
        assert field == entry.field
        assert set(labels) <= {*shown.labels, shown.parts}
        for i in entry.rows:
            assert rows["status"][i] == "ok"
            assert all(rows[name][i] in wanted for name, wanted in labels.items())
        assert set(entry.full) <= set(entry.rows)
    assert any(entry.rows for entry in data["published"])


def test_a_table_that_says_nothing_of_figures_has_one_for_each_time_and_its_units():
    columns = (Seconds("inverse"), Bits("loss"), Number("weights"))
    toy = Table(name="toy", title="A toy", page=lambda _: None, columns=columns)
    row = {
        "cell": "a",
        "machine": "m",
        "commit": "c",
        "date": "2026-01-01",
        "reason": "",
        "weights": 3,
    }
    row |= {"inverse_bytes_per_s": 1e9, "inverse_flop_per_s": 1e9, "peak_bytes": 7}
    row |= {"inverse_s": 0.5, "inverse_q25_s": 0.4, "inverse_q75_s": 0.7, "loss": 2.0}
    rows = pd.DataFrame([{**row, "status": s, "method": "finc"} for s in ("ok", "oom")])
    data = table_data(toy, rows)
    assert [figure["title"] for figure in data["figures"]] == ["inverse_s", "loss"]
    (point,) = data["figures"][0]["points"]
    assert [point[name] for name in ("x", "y", "low", "high", "row")] == ["FInC", 500, 400, 700, 0]
    units = {column["name"]: column["unit"] for column in data["columns"]}
    assert (units["inverse_q25_s"], units["loss"], units["weights"]) == ("ms", "bits/dim", "")
    assert (units["inverse_bytes_per_s"], units["inverse_flop_per_s"]) == ("bytes/s", "FLOP/s")
    assert units["peak_bytes"] == "bytes"
    assert data["published"] == []
    assert table_data(toy, rows.drop(columns="method"))["figures"] == []


def test_the_command_writes_the_page_or_says_what_is_missing(tmp_path, capsys, monkeypatch):
    out = tmp_path / "page.html"
    command = ["report", "--html", "--out", str(out), "--runs", str(tmp_path)]
    assert main(command) == 0
    assert re.search(r"page.html: \d+ rows, 2\.\d MB", capsys.readouterr().out)
    assert [table["name"] for table in read(out)["tables"]] == list(tables())
    text = out.read_text()
    assert "https://" not in text[text.index("</style>") :].replace("https://github", "")
    monkeypatch.setitem(sys.modules, "itables", None)
    assert main([*command[:-1], "nowhere"]) == 1
    error = capsys.readouterr().err
    assert "pip install 'invconv[explorer]'" in error
    assert error.count("\n") == 1


def _png():
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "png")
    return buffer.getvalue()


PNG = _png()


def test_a_line_goes_from_one_size_to_the_next():
    sizes = list(reversed(figure4.SIZES))
    shuffled = [*sizes[3:], *sizes[:3]]
    here = {"status": "ok", "width": 16, "st_1_s": 1.0}
    rows = pd.DataFrame(
        [here | {"method": m, "size": s} for s in shuffled for m in ("macow", "glow", "finc")]
    )
    figures = figure4.TABLE.plots[0].figures(rows, [])
    drawn = next(f for f in figures if f["title"].endswith("batch 1"))
    for number, look in enumerate(drawn["series"]):
        places = [p["x"] for p in drawn["points"] if p["series"] == number]
        assert "published" in look["name"] or places == list(figure4.SIZES)
