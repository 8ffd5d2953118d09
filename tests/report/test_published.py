"""Every published figure: its printed digits, its label, its source, and where it is shown."""

import re
from shutil import copy

import pytest

from invconv.__main__ import main
from invconv.report import entries as en
from invconv.report.blocks import published_entry
from invconv.report.document import MAP
from invconv.report.published import LABELS, published
from invconv.rows.provenance import ROOT
from invconv.tables import others

METRICS = ("operations", "parameters", "log_det", "inverse")
TABLE1 = """
FInC      (2n−1)k²  k²−1        1              exact
Woodbury  cn²       k²          O(d²(c+n)+d³)  exact
MaCow     4nk²      k(⌈k/2⌉−1)  O(n³)          exact
Emerging  2n²k²     k(⌈k/2⌉−1)  O(n)           exact
CInC      n²k²      k²−1        1              exact
MintNet   3n        k²/3        O(n)           approx
SNF       k²        k²          approx         approx
"""
SETS = ("mnist", "cifar10", "imagenet32", "imagenet64")
TIMED = [(data, metric) for data in SETS for metric in ("bpd", "ft_s", "st_s")]
TABLE2 = """
Emerging  – 0.16 0.62      3.34 0.49 17.19   4.09 0.73 25.79   3.81 1.71 137.04
MaCow     – – –            3.16 1.49 3.23    – – –             3.69 2.91 8.05
CInC      – – –            3.35 0.42 7.91    4.03 0.62 11.97   3.85 1.57 55.71
MintNet   0.98 0.16 17.29  3.32 2.09 230.17  4.06 2.08 230.44  – – –
FInC      1.05 0.14 0.09   3.39 0.37 0.41    4.13 0.48 0.52    3.88 1.43 2.11
Glow      – – –            3.35(S) – –       4.09(S) – –       3.81(S) – –
Woodbury  – – –            3.42 – –          4.09 – –          – – –
"""
COUNTS = ("parameters", "ft_s", "st_s", "parameters_exact")
TABLE3 = """
MaCow-FG   37190000  0.88  2.64  37197547
MaCow-org  38400000  1.48  3.23  –
FInC       39460000  0.37  0.41  39422968
"""
TABLE4 = """
mnist       10000000  10044232  0.09 0.12  0.07 0.09
cifar10     45000000  44944072  0.73 0.92  0.30 0.47
imagenet32  67000000  67028488  1.01 1.38  0.44 0.73
imagenet64  45000000  44944072  1.42 2.31  0.50 1.42
"""
LARGEST = ("st_1_s", "st_128_s")
FIGURE4 = """
FInC      0.12  2.0
Emerging  0.33  38.5
CInC      0.17  17
MaCow     2.6   3.5
"""
SIZES = ("8x8", "8x16", "16x16", "16x32", "32x32", "32x64", "64x64")
RGB = """
FInC      0.0573 0.0661 0.0822 0.1149 0.1722 0.2921 0.5724  12790000
MaCow     0.4717 0.6066 0.7501 1.0343 1.3358 1.9560 2.6228  12350000
Emerging  0.3799 0.7335 1.4667 2.9300 5.9211 11.985 24.072  12860000
CInC      0.1235 0.5274 1.0857 1.7050 2.9588 5.6427 11.035  –
"""
BITS = """
Glow                                –     3.35(S)     4.09(S)     3.81(S)
Glow (depth 8)                      –     3.46±0.005  4.18±0.003  –
Glow (depth 4)                      –     3.56±0.008  4.28±0.008  –
Glow (retrained by others)          –     3.36±0.002  –           –
Emerging                            –     3.34(S)     4.09(S)     3.81(S)
Emerging (depth 8)                  –     3.43±0.004  4.16±0.004  –
Emerging (depth 4)                  –     3.51±0.001  4.25±0.002  –
Emerging (retrained by others)      –     3.34±0.002  –           –
CInC                                –     3.3498      4.0140      3.8946
CInC (quad-coupling)                –     3.347       4.0377      3.8514
CInC (depth 8)                      –     3.46        –           –
CInC (depth 4)                      –     3.49        –           –
MaCow (variational dequantization)  –     3.16(S)     –           3.69(S)
MaCow (uniform dequantization)      –     –           –           3.75(S)
MintNet                             0.98  3.32        4.06        –
Woodbury (retrained by others)      –     3.42±0.002  4.09        –
Butterfly (retrained by others)     –     3.33±0.003  4.09        –
Residual Flow                       –     3.28(S)     –           –
CDFlow                              –     3.31        –           –
"""
SNF = """
exact convolution (9 layers)        372.2  241.6  637.4±0.2  1.173
Emerging (9 layers)                 305.0  71.7   645.7±3.6  1.188
convolution exponential (9 layers)  304.4  84.2   638.1±1.0  1.174
SNF (9 layers)                      212.5  29.9   638.6±0.9  1.175
Glow (32 layers, 1×1)               583.4  163.1  575.7±0.8  1.0594
SNF Glow (32 layers, 1×1)           476.4  30.6   575.4±1.4  1.0588
"""
INVERSE_FLOW = """
SNF (K16 L2)           16.8         609   3.52
MintNet (K16 L2)       25000        2458  3.51
Woodbury (K16 L2)      7654.4±13.5  119   3.48
MaCow (K16 L2)         790.8        1080  3.40
CInC (K16 L2)          1710         615   3.46
Butterfly (K16 L2)     311.8        1325  3.39
FInC (K16 L2)          194.8        548   3.59
Inverse-Flow (K16 L2)  91.6         722   3.57
"""
FREE = """
exact convolution        637.4 1.173
convolution exponential  638.1 –
SNF                      638.6 –
Emerging                 645.7 1.188
"""
FASHION = {"RealNVP, 2.99M parameters": "2.944", "RealNVP, 5.94M parameters": "2.946"}
FASHION |= {"LGF-RealNVP": "2.823"}
CPU = {"Emerging": "18.4", "CInC": "9.3"}
LAUNCHES = {"launch_us": ("15", "22"), "launch_share_percent": ("45", "77")}


def lines(text, columns):
    """(first column, key, value) of every value of a block, "–" being none."""
    for line in text.strip().splitlines():
        name, *values = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        values = values[0].split()
        assert len(values) == len(columns), line
        for column, value in zip(columns, values, strict=True):
            if value != "–":
                yield name, column, value


def stated(text):
    """(value, label) of "3.35" or "3.35(S)"."""
    return text.removesuffix("(S)"), "S" if text.endswith("(S)") else "V"


def with_error(metric, text):
    """(metric, (value, label)) of "3.35", and of its ± in "3.35±0.01"."""
    return zip((metric, f"{metric}_error"), map(stated, text.split("±")), strict=False)


def figures():
    """(table, model, dataset, metric) → (value, label) of all that was published."""
    found = {("table1", m, "", metric): (v, "V") for m, metric, v in lines(TABLE1, METRICS)}
    found |= {("table2", m, *column): stated(v) for m, column, v in lines(TABLE2, TIMED)}
    for model, metric, value in lines(TABLE3, COUNTS):
        found["table3", model, "cifar10", metric] = (value, label(metric))
    columns = [("FInC", "parameters"), ("FInC", "parameters_exact")]
    columns += [(f"algorithm {i}", f"st_{n}_s") for i in (1, 2) for n in (1, 100)]
    for data, (model, metric), value in lines(TABLE4, columns):
        found["table4", model, data, metric] = (value, label(metric))
    found |= {("figure4", m, "128x128", n): (v, "R") for m, n, v in lines(FIGURE4, LARGEST)}
    columns = [*((f"rgb-{size}", "st_s") for size in SIZES), ("rgb", "parameters")]
    found |= {("figure4", m, *column): (v, "V") for m, column, v in lines(RGB, columns)}
    for model, data, value in lines(BITS, SETS):
        for metric, figure in with_error("bpd", value):
            found["neighbors", model, data, metric] = figure
    columns = ("train_ms", "sample_ms", "nats", "nats_bpd")
    tables = [("mnist", lines(SNF, columns))]
    tables += [("cifar10", lines(INVERSE_FLOW, ("st_ms", "ft_ms", "bpd")))]
    for data, model, column, value in ((data, *line) for data, table in tables for line in table):
        for metric, (part, mark) in with_error(column, value):
            found["neighbors", model, data, metric] = (part, label(metric, mark))
    for model, metric, value in lines(FREE, ("nats", "bpd")):
        mark = "I" if metric == "bpd" else "V"
        found["coupling_free", model, "mnist", metric] = (value, mark)
    for model, value in FASHION.items():
        found["ranking", model, "fashion_mnist", "bpd"] = (value, "V")
    for model, seconds in CPU.items():
        found["neighbors", model, "", "st_cpu_s"] = (seconds, "V")
    for metric, values in LAUNCHES.items():
        for end, value in zip(("low", "high"), values, strict=True):
            found["neighbors", "FInC", "", f"{metric}_{end}"] = (value, "I")
    return found


def label(metric, other="V"):
    return "I" if metric in ("parameters_exact", "nats_bpd") else other


TABLES = sorted({table for table, *_ in figures()})
FILES = ROOT / "invconv" / "report" / "figures_published"


def test_every_file_of_figures_is_listed_here():
    assert sorted(path.stem for path in FILES.glob("*.csv")) == TABLES


@pytest.mark.parametrize("table", TABLES)
def test_the_figures_are_those_that_were_published_and_no_others(table):
    found = published(table)
    keys = ["table", "model", "dataset", "metric"]
    assert not found.duplicated(keys).any()
    assert {tuple(row[keys]): (row["value"], row["label"]) for _, row in found.iterrows()} == {
        key: value for key, value in figures().items() if key[0] == table
    }
    assert set(found["label"]) <= set(LABELS)
    assert "M" not in LABELS
    assert found["source"].str.len().min() > 10


def test_figures_that_stand_in_two_tables_agree():
    theirs = published("table2").set_index(["model", "dataset", "metric"])["value"].astype(float)
    ours = published("neighbors")
    pattern = r"(?<=Woodbury) \(retrained.*|(?<=MaCow) \(variational.*"
    ours = ours.assign(model=ours["model"].str.replace(pattern, "", regex=True))
    # the FInC paper has CInC's figures with quad-coupling there
    ours = ours[(ours["model"] != "CInC") | ~ours["dataset"].str.startswith("imagenet")]
    both = [
        row
        for _, row in ours.iterrows()
        if (row["model"], row["dataset"], row["metric"]) in theirs
    ]
    assert len(both) == 14
    for row in both:
        rounded = round(float(row["value"]), 2)
        assert rounded == theirs[row["model"], row["dataset"], row["metric"]], row["model"]


def lines_of_the_page():
    return [line for grid in others.page().grids() for line in grid.frame.to_dict("records")]


def test_every_number_of_the_page_has_a_source():
    numbers = [
        entry
        for line in lines_of_the_page()
        for column, entry in line.items()
        if re.search(r"\d", entry.text) and column not in ("model", "setting", "what")
    ]
    assert len(numbers) == 103
    for entry in numbers:
        for source in entry.sources:
            assert re.search(r" \[[VIS]\]$", source.published)
        assert entry.sources, entry


def test_every_figure_is_shown_with_its_digits():
    shown = [
        part
        for line in lines_of_the_page()
        for entry in line.values()
        for part in re.split(r" ± |–| \(S\)", entry.text)
    ]
    for (table, _, _, metric), (value, _) in figures().items():
        if table == "neighbors":
            assert value in shown
        elif metric == "parameters_exact" or (table, metric) == ("figure4", "parameters"):
            assert f"{int(value):,}" in shown


def test_figures_that_need_a_footnote_have_it():
    noted = published("neighbors").set_index(["model", "metric"])["note"]
    assert all("nll and bpd disagree" in note for (m, _), note in noted.items() if "K16" in m)
    assert "flat from n = 16 to n = 256" in noted["FInC (K16 L2)", "st_ms"]
    assert "125.9M" in noted["MintNet (K16 L2)", "st_ms"]
    assert "1×1 kernels" in noted["SNF Glow (32 layers, 1×1)", "sample_ms"]
    assert "first level alone" in noted["Butterfly (retrained by others)", "bpd"].iloc[0]
    page = others.page().markdown()
    for note in noted.unique():
        assert f": {note}.\n" in page or not note
    assert "Nothing here was measured" in page


def test_published_cells_keep_their_digits_and_the_marks_r_and_s():
    table4, figure4 = published("table4"), published("figure4")
    place = {"model": "algorithm 2", "dataset": "cifar10", "metric": "st_1_s"}
    assert published_entry(table4, **place).text == "0.30"
    assert published_entry(table4, "{:.3f}".format, **place).text == "0.300"
    assert published_entry(table4, model="nobody").text == en.ABSENT
    place = {"model": "Emerging", "dataset": "rgb-16x32", "metric": "st_s"}
    assert published_entry(figure4, **place).text == "2.9300"
    read_off = {"model": "FInC", "dataset": "128x128", "metric": "st_128_s"}
    assert published_entry(figure4, **read_off).text == "2.0 (R)"
    secondary = published_entry(published("table2"), model="Glow", dataset="cifar10")
    assert secondary.text == "3.35 (S)"


def test_the_map_of_the_page_names_publications_alone():
    found = others.page().map()
    assert list(found.columns) == MAP
    assert (found["published"] != "").all()
    assert (found[["cell", "machine", "commit", "field"]] == "").all(axis=None)
    shown = set(found["text"])
    assert {"3.46 ± 0.005", "305.0", "3.40", "37,197,547", "15–22"} <= shown


def test_report_writes_the_page(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    copy(ROOT / "results" / "data" / "table1.csv", tmp_path / "data")
    assert main(["report", "--results", str(tmp_path)]) == 0
    assert str(tmp_path / "published.md") in capsys.readouterr().out
    assert (tmp_path / "published.md").read_text() == others.page().markdown()


def test_the_page_of_the_repository_is_this_one():
    assert (ROOT / "results" / "published.md").read_text() == others.page().markdown()
