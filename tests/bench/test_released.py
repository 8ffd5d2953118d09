"""Code of others beside ours: what is refused, what is timed, and its page."""

import textwrap

import pandas as pd
import pytest
import torch

from invconv.__main__ import main
from invconv.bench import limited
from invconv.bench.released import Released, ReleasedError, listed, pair, verify
from invconv.rows import Incorrect, Status, read_table
from invconv.tables.importing import check_rows
from invconv.tables.released import TABLE
from invconv.tables.table import tables

POINT = (4, 5, 3)
BEGIN = """
import torch
from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.bench import Released

CORNERS = ("tl", "tr", "bl", "br")

def theirs(ours, shape):
    "FInC's four corners once more, through the functions."
    weight = ours.triangular_weight().detach().clone()
    def forward(x):
        z = triangular_conv2d(x, weight, corners=CORNERS)
        return z, torch.zeros(len(x))
    def inverse(z):
        return solve_triangular_conv2d(z, weight, corners=CORNERS, method="wavefront")
    return forward, inverse

def released(name, build, **more):
    more = {"points": [(4, 5, 3)], **more}
    return Released(name, "finc", build, "example.org/code", "abc123", "nothing replaced", **more)

def wrong(forward=None, inverse=None):
    def build(ours, shape):
        right = theirs(ours, shape)
        return forward or right[0], inverse or right[1]
    return build
"""


@pytest.fixture
def file(tmp_path):
    """Writes a file that names released code."""

    def write(text):
        path = tmp_path / "their_code.py"
        path.write_text(BEGIN + textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def here(build, **more):
    """A layer of this process."""
    return Released("here", "finc", build, "", "", points=[POINT], **more)


def right(ours, shape):
    """Ours, as a pair of plain functions."""
    return ours.forward, ours.inverse


def test_what_is_right_passes():
    with torch.no_grad():
        values = verify(here(right), POINT)
    assert values["forward_difference"] == values["log_det_difference"] == 0
    assert 0 < values["round_trip_error"] < 1e-5
    values = verify(here(right, same=False), POINT)
    assert "forward_difference" not in values


@pytest.mark.parametrize(
    ("forward", "inverse", "says"),
    [
        (lambda x: x, lambda z: z, "its forward leaves its input as it is"),
        (None, lambda z: z, "its round trip is off by"),
        (None, lambda z: z[:, :1], r"its inverse returns shape \(2, 1, 5, 5\) of images of"),
        (None, lambda z: None, "its inverse returns None of images of"),
        (lambda x: 2 * x, lambda z: z / 2, "its forward differs from ours, which is off by"),
        (lambda x: x.mul_(2), None, "its forward changes its input: let build clone it first"),
    ],
)
def test_what_is_wrong_is_refused(forward, inverse, says):
    def build(ours, shape):
        return forward or ours.forward, inverse or ours.inverse

    with pytest.raises(Incorrect, match=says):
        verify(here(build), POINT)


def test_a_wrong_log_det_is_refused():
    def build(ours, shape):
        return lambda x: (ours(x)[0], ours(x)[1] + 1e-2), ours.inverse

    with pytest.raises(Incorrect, match="its log_det differs, which is off by"):
        verify(here(build), POINT)


def test_ours_has_the_weights_that_a_paper_begins_with():
    ours, theirs = pair(here(right), POINT)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(theirs.inverse(theirs.forward(x)[0]), x)
    assert not ours.training


def test_a_file_is_listed_without_running_here(file):
    path = file("RELEASED = [released('one', theirs), released('two', theirs, same=False)]")
    one, two = listed(path)
    assert (one.name, one.method, one.points) == ("one", "finc", [POINT])
    assert one.same and not two.same
    with pytest.raises(RuntimeError, match="runs in a child alone"):
        one.build(None, POINT)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no list RELEASED of invconv.bench.Released"),
        ("RELEASED = [3]", "has no list RELEASED of invconv.bench.Released"),
        ("RELEASED = 2 * [released('one', theirs)]", "names one more than once"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("exit(3)", "it raised SystemExit"),
    ],
)
def test_files_that_name_nothing(file, text, says):
    with pytest.raises(ReleasedError, match=says):
        listed(file(text))


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["bench", "--against", str(tmp_path / "no.py")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["bench"]) == 2
    assert "bench --against FILE.py" in capsys.readouterr().err


BAD = """
import ctypes, os, sys, time

def prints(x):
    while True:
        os.write(1, bytes(1 << 20))

def raises(x):
    raise ValueError("their kernel is missing")

def ends(x):
    while True:
        time.sleep(1)

def crashes(x):
    ctypes.string_at(0)

def leaves(x):
    os._exit(7)

def hoards(x):
    return torch.zeros(8 << 30, dtype=torch.uint8)

WRONG = [prints, raises, ends, crashes, leaves, hoards]
RELEASED = [released(call.__name__, wrong(inverse=call)) for call in WRONG]
RELEASED += [released("off", wrong(inverse=lambda z: 1.01 * z)), released("good", theirs)]
"""


@pytest.mark.slow
def test_what_goes_wrong_is_one_sentence_and_the_others_are_timed(
    file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(limited.Limits, "__init__", _few_seconds(limited.Limits.__init__))
    runs, results = str(tmp_path / "runs"), tmp_path / "results"
    command = ["bench", "--against", str(file(BAD)), "--rounds", "6", "--runs", runs]
    command += ["--allow-noisy"]
    assert main([*command, "--results", str(results)]) == 1
    printed = capsys.readouterr().out
    rows = read_table(results / "data" / "released.csv")
    check_rows(rows, tables())
    found = rows.set_index("released")
    reasons = {
        "prints": (Status.ERROR, "it printed more than 17 MB"),
        "raises": (Status.ERROR, "ValueError: their kernel is missing"),
        "ends": (Status.TIMEOUT, "it did not end within 12 s"),
        "crashes": (Status.ERROR, "it ended its process by SIGSEGV"),
        "leaves": (Status.ERROR, "it ended its process with exit code 7"),
        "hoards": (Status.OOM, "it needs more than 4 GB of memory"),
        "off": (Status.INCORRECT, "its round trip is off by"),
    }
    for name, (status, reason) in reasons.items():
        assert found["status"][name] == status
        assert reason in found["reason"][name]
        assert f"{name}-c4-n5-b3: {status} " in printed
    good = found.loc["good"]
    assert good["status"] == "ok"
    assert good["released_inverse_vs_ours"] > 0 < good["released_forward_vs_ours"]
    assert good["revision"] == "abc123" and good["what"] == "nothing replaced"
    page = (results / "released.md").read_text(encoding="utf-8")
    assert "example.org/code at `abc123`. nothing replaced" in page
    assert "their kernel is missing" in page
    assert main([*command, "--results", str(results), "--only", "good"]) == 0
    assert "good-c4-n5-b3: ok" in capsys.readouterr().out
    assert main([*command, "--only", "nobody"]) == 2


def _few_seconds(before):
    def init(self, seconds=12, memory=4 << 30, printed=16 << 20):
        before(self, seconds, memory, printed)

    return init


def test_the_page_opens_with_the_answer_the_picture_and_one_table():
    times = ("forward", "inverse", "released_forward", "released_inverse")
    facts = {f"{name}{end}_s": 1e-3 for name in times for end in ("", "_q25", "_q75")}
    facts |= {"round_trip_error": 1e-6, "forward_difference": 1e-7, "rounds": 20, "processes": 1}
    facts |= {"repository": "example.org/code", "revision": "abc123", "what": "as released"}
    facts |= {"device": "cpu", "machine": "m", "threads": 2, "torch": "2", "dirty": False}
    facts |= {"status": "ok", "commit": "abc", "date": "2026-12-01T00:00:00Z", "config": "{}"}
    rows = []
    for name, ratio in (("finc-unit", 50.0), ("glow-port", 0.9)):
        for n in (16, 32):
            place = {"released": name, "method": "finc", "channels": 12, "n": n, "batch": 100}
            row = {"cell": f"{name}-{n}", "table": "released", **place, **facts}
            for what in ("released_forward_vs_ours", "released_inverse_vs_ours"):
                row |= {what: ratio, f"{what}_low": 0.98 * ratio, f"{what}_high": 1.02 * ratio}
            rows.append(row)
    document = TABLE.page(pd.DataFrame(rows))
    lines = [line for line in document.markdown().splitlines() if line]
    assert lines[0] == "# How fast is the authors' own code beside ours?"
    assert "the inverse takes 0.90 to 50 times as long as ours" in lines[1]
    assert "is slower in 2 of 4 cells" in lines[1]
    assert lines[2].startswith("![released code relative to ours](figures/released.svg)")
    assert lines[4].startswith("| released ")
    assert document.pictures["released"]().axes
