"""The whole path: a sweep from the command line to the page."""

import json
import os
import subprocess
import sys
from functools import partial

import forked
import pandas as pd
import pytest
from omegaconf import OmegaConf

from invconv.methods import method
from invconv.rows import read_table, samples_path
from invconv.rows.provenance import ROOT
from invconv.rows.samples import read_samples
from invconv.sweeps.config import identity
from invconv.tables.importing import check_rows
from invconv.tables.table import tables
from invconv.tables.table2 import TABLE, of_sweep
from invconv.tables.trained import describe_flow

SMALL = ["preset=tiny", "progress=false", "dataset=digits", "method=glow,finc"]


@pytest.fixture
def sweep(reproduce):
    return partial(reproduce, "table2.py", *SMALL)


def rows(tmp_path):
    return pd.read_csv(tmp_path / "runs" / "tiny" / "results" / "data" / "table2.csv")


def test_one_failing_cell_does_not_stop_the_others_and_a_second_run_resumes(sweep, tmp_path):
    first = sweep("budget.levels=9,2")
    assert first.returncode == 1, first.stderr
    assert "3 of 6 cells ok" in first.stdout
    found = rows(tmp_path)
    timed = found["cell"].str.contains("/")
    trained = found[~timed]
    assert trained["status"].tolist() == found[timed]["status"].tolist() == ["ok", "ok"]
    assert "and 1 more: refused: 9 levels halve the image 9 times" in first.stderr
    labels = ["cell", "method", "dataset", "status", "reason", "device", "commit"]
    assert {*labels, "bpd", "ft_s", "st_s", "st_vs_glow"} <= set(found.columns)
    page = (tmp_path / "runs" / "tiny" / "results" / "table2.md").read_text()
    assert "9 levels" not in page

    row = next((tmp_path / "runs" / "tiny" / "table2").glob("tiny-digits-finc-*/row.json"))
    row.unlink()
    second = sweep()
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("skipped, done before") == 2
    assert "3 of 3 cells ok" in second.stdout
    again = rows(tmp_path)
    ok, again_ok = (frame[frame["status"] == "ok"].set_index("cell") for frame in (found, again))
    assert again_ok["bpd"].to_dict() == pytest.approx(ok["bpd"].to_dict(), nan_ok=True)
    assert again_ok["st_s"].dropna().to_dict() == ok["st_s"].dropna().to_dict()
    assert len(again) == len(found) == 4


def test_all_methods_of_a_data_set_are_timed_in_one_block(sweep, tmp_path):
    done = sweep("part=time", "method=finc,glow")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 cells ok" in done.stdout
    found = rows(tmp_path)
    check_rows(found, tables())
    assert found["cell"].str.partition("/")[0].nunique() == 1
    assert found["cell"].str.startswith("tiny-digits-times-s0-").all()
    assert found["cell"].str.endswith(found["method"].iloc[0]).sum() == 1
    one = found.set_index("method")
    assert set(one.index) == {"glow", "finc"}
    wanted = ["ft_s", "ft_cold_s", "st_s", "train_step_s", "round_trip_error"]
    assert (one[wanted] > 0).all(axis=None)
    assert (one["timed_images"] == 10).all() and (one["samples_not_finite"] == 0).all()
    assert one.loc["finc", "st_vs_glow"] > 0 and pd.isna(one.loc["glow", "st_vs_glow"])
    assert one.loc["glow", "aa_st"] > 0 and one.loc["finc", "st_published_vs_st"] > 0
    data = tmp_path / "runs" / "tiny" / "results" / "data" / "table2.csv"
    times = read_samples(samples_path(data)).groupby("call")["seconds"]
    assert times.median()["finc/st"] == pytest.approx(one.loc["finc", "st_s"], rel=1e-4)
    assert times.size()["finc/st"] == 2  # rounds of the tiny preset
    page = (data.parents[1] / "table2.md").read_text()
    assert "<summary>digits 8×8, 10 images" in page and "in one process" in page


def of(text):
    return [job.split() for job in text.split("; ")]


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ("part=time method=finc; part=time method=glow", ["methods=[glow,finc]"]),
        ("method=finc seed=0; method=finc seed=1", ["methods=[finc]"]),
        ("method=finc methods=[glow]; method=glow methods=[glow]", []),
        ("method=odd; method=finc; method=also", ["methods=[finc,also,odd]"]),
        ("seed=0; seed=1", []),
    ],
)
def test_a_timing_cell_is_told_the_methods_of_the_whole_sweep(jobs, told):
    assert of_sweep(of(jobs)) == told


def test_a_cell_that_times_is_the_same_whichever_method_and_seed_ask_for_it(configured):
    both = "methods=[glow,finc]"
    cells = {
        TABLE.cell_of(configured("part=time", "dataset=digits", f"method={m}", f"seed={s}", both))
        for m in ("glow", "finc")
        for s in (0, 1)
    }
    (name,) = cells
    assert name.startswith("default-digits-times-s0-")
    others = ("methods=[glow,cinc]", "images=7", "clock.rounds=9", "budget.steps=1")
    for other in others:
        changed = configured("part=time", "dataset=digits", "method=glow", both, other)
        assert TABLE.cell_of(changed) != name, other
    steps = configured("part=time", "dataset=digits", both, "budget.training.steps=9")
    assert TABLE.cell_of(steps) == name  # what is not trained has no number of steps
    alone = configured("part=time", "method=finc")
    assert alone.methods == ["finc"]
    assert TABLE.times(alone) and not TABLE.times(configured("method=finc"))
    trained = {TABLE.cell_of(configured("method=finc", x)) for x in ("clock.rounds=9", both)}
    assert trained == {TABLE.cell_of(configured("method=finc"))}


def test_the_list_has_one_timing_cell_of_all_methods(reproduce, tmp_path):
    done = reproduce("table2.py", "launch=list", "preset=tiny", "method=glow,finc,cinc")
    assert done.returncode == 1
    assert "8 cells: 8 missing" in done.stdout  # of each data set three trainings and the times
    assert done.stdout.count("-times-s0-") == 2
    assert not list(tmp_path.rglob("*.json*"))


def test_methods_with_other_options_are_not_timed(sweep, tmp_path):
    done = sweep("part=time", "method=finc", "method.options.kernel_size=5")
    assert done.returncode == 1
    assert "part=time takes the methods as they are registered, without other opt" in done.stderr
    assert "unknown part 'both'; known: train, time" in sweep("part=both").stderr
    assert list(tmp_path.rglob("row.json")) == []


@pytest.mark.parametrize("full_error", ["0", "1"])
def test_bad_overrides_are_refused_before_anything_runs(sweep, tmp_path, monkeypatch, full_error):
    monkeypatch.setenv("HYDRA_FULL_ERROR", full_error)
    wrong = sweep("seed=oops")
    assert wrong.returncode == 1
    assert "seed" in wrong.stderr
    assert "Integer" in wrong.stderr
    wrong = sweep("method=nonsense")
    assert wrong.returncode == 1
    assert "glow" in wrong.stderr
    if full_error == "1":
        assert "Traceback" in wrong.stderr
    assert not (tmp_path / "runs" / "tiny" / "results").exists()


def test_showing_the_configuration_runs_nothing(tmp_path):
    shown = forked.run(ROOT / "reproductions" / "table2.py", "--cfg", "job", cwd=tmp_path)
    assert shown.returncode == 0
    assert "preset: default" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_cell_stays_the_one_that_was_measured(configured):
    """A setting that comes later may not give every cell a new name: its row would be lost."""
    config = configured("preset=full", "dataset=digits", "method=cinc")
    assert TABLE.cell_of(config) == "full-digits-cinc-s0-e3cd61cd"
    kept = {"budget", "dataset", "device", "method", "preset", "seed"}
    assert set(identity(config)) == kept  # and nothing of how cells are timed
    assert "step" not in identity(config)["method"]
    config.method.step = "paper"
    assert identity(config)["method"]["step"] == "paper"


@pytest.mark.parametrize("name", [name for name, table in tables().items() if table.config])
def test_every_committed_row_has_the_name_of_its_configuration(name):
    table = tables()[name]
    rows = read_table(ROOT / "results" / "data" / f"{name}.csv")
    aside = {"runs": "runs", "results": "results"}
    if rows.empty:
        pytest.skip("not measured yet")
    for cell, config in zip(rows["cell"], map(json.loads, rows["config"]), strict=True):
        merged = OmegaConf.merge(OmegaConf.structured(table.config), config, aside)
        assert table.cell_of(OmegaConf.to_object(merged)) == cell.partition("/")[0]


def test_a_cell_that_is_not_timed_its_dequantisation_and_pictures(sweep, tmp_path):
    done = sweep(
        "part=train", "method=finc", "likelihood.dequantization=variational", "pictures=true"
    )
    assert done.returncode == 0, done.stderr
    row = rows(tmp_path).iloc[0]
    assert row["bpd"] > 0
    assert row["round_trip_error"] < 1e-3
    assert "ft_s" not in row
    assert row["dequantization"] == "variational"
    pictures = {path.name for path in tmp_path.glob("runs/tiny/table2/*/*.png")}
    assert pictures == {"samples.png", "reconstructions.png", "interpolations.png"}
    assert (tmp_path / "runs" / "tiny" / "table2" / "loss-tiny.svg").exists()
    page = tmp_path / "runs" / "tiny" / "results" / "table2.md"
    assert "| FInC, variational " in page.read_text()


@pytest.mark.slow
def test_two_processes_make_one_row(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(ROOT / "reproductions" / "table2.py"), *SMALL]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*arguments):
        return subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    done = run("method=finc", "part=train")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": bpd ") == done.stdout.count("1 of 1 cells ok") == 1
    assert len(list(tmp_path.glob("runs/tiny/table2/*/row.json"))) == 1
    again = run("method=finc", "part=train")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("skipped, done before") == 1


def test_inverses_to_a_tolerance_say_what_they_take_while_they_are_trained(sweep, tmp_path):
    done = sweep("part=train", "method=glow,snf,mintnet")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path).set_index("method")
    check_rows(found.reset_index(), tables())
    moments = [f"inverse_steps_{when}" for when in ("start", "middle", "end")]
    assert (found.loc[["snf", "mintnet"], moments] >= 1).all(axis=None)
    assert found.loc["glow", moments].isna().all()
    assert 0 < found.loc["snf", "contraction_start"] != found.loc["snf", "contraction_end"] < 1
    assert pd.isna(found.loc["mintnet", "contraction_end"])
    page = (tmp_path / "runs" / "tiny" / "results" / "table2.md").read_text()
    shown = " → ".join(f"{found.loc['snf', name]:.0f}" for name in moments)
    assert "Inverses to a tolerance" in page and shown in page


def test_mintnets_own_net_is_trained_and_timed_beside_the_others(sweep, tmp_path, configured):
    done = sweep("method=glow,mintnet_net", "images=2")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path)
    check_rows(found, tables())
    own = found[found["method"] == "mintnet_net"]
    assert own["bpd"].notna().sum() == own["st_vs_glow"].notna().sum() == 1
    assert own["parameters"].nunique() == 1
    assert own["st_published_s"].max() > own["st_s"].max()
    page = (tmp_path / "runs" / "tiny" / "results" / "table2.md").read_text()
    assert "| MintNet, own net |" in page
    config = configured("preset=paper", "dataset=mnist", "method=mintnet_net")
    described = describe_flow(config, method("mintnet_net"), (1, 28, 28), 256)
    assert (described["kind"], described["layers"]) == ("mintnet", 20)
    assert {"conv", "step"}.isdisjoint(described)


def test_a_papers_own_net_is_beside_its_published_figures():
    labels = {"preset": "paper", "dataset": "cifar10", "method": "mintnet_net", "seed": 0}
    config = {"budget": {"levels": 3, "steps": 32, "width": 512, "training": {"steps": 1}}}
    values = {"ft_s": 2.5, "st_s": 9.0, "timed_images": 4.0, "config": json.dumps(config)}
    told = {"cell": "paper-cifar10-times-s0/mintnet_net", "status": "ok", "machine": "m"}
    told |= {
        "dirty": False,
        "python": "3",
        "device": "cpu",
        "commit": "1",
        "date": "2026",
        "torch": "2",
        "threads": 2,
    }
    page = TABLE.page(pd.DataFrame([labels | values | told])).markdown()
    line = next(line for line in page.splitlines() if "| MintNet, own net" in line)
    assert "230.17" in line and " 2.5" in line and " 4 |" in line
