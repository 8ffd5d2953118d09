"""The ranking: a small sweep, its bits of each image, its page, and cells measured elsewhere."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from invconv.data import load
from invconv.flows import load as load_flow
from invconv.report.naming import data_title
from invconv.rows import RowsError, read_table
from invconv.rows.bits import BITS, bits_path, read_bits, write_bits
from invconv.tables.importing import check_rows
from invconv.tables.ranking import TABLE
from invconv.tables.table import tables
from invconv.training import bits_per_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranking")


@pytest.fixture
def sweep(reproduce):
    return lambda *more: reproduce("ranking.py", "preset=tiny", "progress=false", *more)


@pytest.fixture
def done(sweep, tmp_path):
    first = sweep()
    assert first.returncode == 0, first.stderr
    return tmp_path / "runs" / "tiny"


def test_a_small_sweep(done, sweep):
    rows = pd.read_csv(done / "results" / "data" / "ranking.csv")
    check_rows(read_table(done / "results" / "data" / "ranking.csv"), tables())
    assert len(rows) == 4
    assert (rows["noise_draws"] == 2).all() and (rows["bpd_draws_sd"] > 0).all()
    assert (rows["histogram_all_bpd"] > rows["histogram_bpd"]).all()
    bits = read_bits(bits_path(done / "results" / "data" / "ranking.csv"))
    assert set(bits) == set(rows["cell"])
    for _, row in rows.iterrows():
        assert bits[row["cell"]].shape == (250,)
        assert bits[row["cell"]].mean() == pytest.approx(row["bpd"], abs=1e-4)
        dear = bits[row["cell"]] > np.log2(load("digits", "test").levels)
        assert row["above_uniform"] == pytest.approx(dear.mean())
        flow = load_flow(done / "ranking" / row["cell"] / "best.pt")
        again = bits_per_image(flow, load("digits", "test"), draws=2).mean().item()
        assert again == row["bpd"]  # to the last digit
    assert "Not yet measured: " in (done / "results" / "ranking.md").read_text()

    for row in (done / "ranking").glob("*/row.json"):
        row.unlink()
    elsewhere = sweep("skip_collected=true")
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert elsewhere.stdout.count("skipped, its row is in runs/tiny/results") == 4
    assert "4 of 4 cells ok" in elsewhere.stdout
    aside = sweep("skip_collected=true", "launch=local")
    assert aside.returncode == 0, aside.stderr
    assert "4 of 4 cells are skipped, their rows are in runs/tiny/results" in aside.stdout


def make_rows(preset="ranked", seeds=5, dataset="fashion_mnist", **shift):
    draw = np.random.default_rng(0)
    budget = {"levels": 2, "steps": 4, "width": 32, "training": {"steps": 9, "batch_size": 64}}
    config = json.dumps({"budget": budget, "preset": preset})
    common = {"status": "ok", "reason": "", "device": "m", "machine": "m", "threads": 1}
    common |= {"torch": "2", "python": "3", "commit": "abc", "dirty": False, "date": "2026"}
    common |= {"noise_draws": 16.0, "bpd_draws_sd": 1e-4, "epochs": 5.1, "duration_s": 60.0}
    common |= {"histogram_bpd": 4.588, "histogram_all_bpd": 4.917, "config": config}
    return [
        {
            **common,
            "cell": f"{preset}-{dataset}-{method}-s{seed}",
            "preset": preset,
            "dataset": dataset,
            "method": method,
            "seed": seed,
            "parameters": 5.0,
            "bpd": 3 + by + 0.1 * seed + 0.001 * draw.standard_normal(),
        }
        for method, by in {"glow": 0.0, **shift}.items()
        for seed in range(seeds)
    ]


def test_the_page_says_what_is_resolved():
    document = TABLE.page(pd.DataFrame(make_rows(finc=-0.1, cinc=0.05, emerging=0.0)))
    text = document.markdown()
    assert "fewer bits than Glow: FInC (-0.1" in text
    assert "More: CInC (+0.0" in text
    assert "| Emerging | 3." in text and ": equivalent" in text
    assert "That is enough seeds to see 0.015" in text
    assert "Three test photographs" not in text
    assert list(document.pictures) == ["ranking-fashion_mnist"]
    assert document.pictures["ranking-fashion_mnist"]().axes


def test_quick_runs_are_not_comparable():
    text = TABLE.page(pd.DataFrame(make_rows("default", 2, finc=-0.1))).markdown()
    assert "**These bits per dimension are not comparable**" in text
    assert "fewer bits than Glow" not in text


def test_photographs_claim_nothing_beyond():
    text = TABLE.page(pd.DataFrame(make_rows(dataset="photographs", finc=-0.1))).markdown()
    assert "Three test photographs" in text


def test_longer_trainings_stand_beside_the_others():
    rows = make_rows(finc=-0.1) + make_rows("long", 1, finc=0.2)
    found = TABLE.page(pd.DataFrame(rows)).context["long"]
    (line,) = found[0]["grid"].frame.to_dict("records")
    assert str(line["minus Glow"]).startswith("-0.1") or str(line["minus Glow"]).startswith("-0.0")
    assert str(line["minus Glow, longer"]).startswith("+0.")


def test_intervals_over_images_come_from_the_bits_beside_the_rows(tmp_path):
    rows = pd.DataFrame(make_rows(finc=-0.1, seeds=2))
    path = tmp_path / "data" / "ranking.csv"
    path.parent.mkdir()
    values = np.arange(100) % 7
    pairs = zip(rows["cell"], rows["method"], strict=True)
    bits = {cell: values * (method == "finc") for cell, method in pairs}
    bits_path(path).parent.mkdir()
    np.savez_compressed(bits_path(path), **{name: x.astype("f4") for name, x in bits.items()})
    rows.attrs["path"] = str(path)
    expected = 1.96 * np.std(values, ddof=1) / 10
    assert f"{expected:.4f}" in TABLE.page(rows).markdown()


def test_bits_are_rounded_and_broken_files_are_told(tmp_path):
    write_bits(torch.tensor([3.000004, 2.5], dtype=torch.float64), tmp_path)
    found = read_bits(tmp_path / BITS)["bits"]
    assert found.dtype == np.float32
    assert found.tolist() == [3.0, 2.5]
    assert read_bits(tmp_path / "nowhere.npz") == {}
    (tmp_path / BITS).write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(RowsError, match=r"holds no bits per dimension .*: delete it"):
        read_bits(tmp_path / BITS)


def test_titles_of_other_sizes():
    assert data_title("photographs_16x16") == "photographs 16×16"
    assert data_title("photographs") == "photographs"
    assert data_title("folder_cats") == "folder_cats"
    assert data_title("fashion_mnist_permuted") == "Fashion-MNIST, permuted"
