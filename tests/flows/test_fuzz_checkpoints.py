"""Checkpoints that are broken, wrong or hostile."""

import copy
import pickle
import resource
import time
import zipfile

import pytest
import torch
from fuzz import JUNK, Evil, contents, damaged, one_sentence, untouched
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_evaluation import FLOW, trained

from invconv.__main__ import main
from invconv.data import load
from invconv.flows import build_flow
from invconv.flows import load as load_flow
from invconv.flows.files import read_checkpoint
from invconv.training import CheckpointError, TrainingOptions, train
from invconv.training.log import TrainingLog

DATA = [load("digits", split) for split in ("train", "valid")]
ENTRIES = ("flow", "optimizer", "average", "random", "state", "settings", "recipe", "best")


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    trained(folder)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that examples share, and one beside it that no example may touch."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "cell").mkdir()
    (folder / "outside").mkdir()
    (folder / "outside" / "precious.txt").write_text("step\n")
    return folder


@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_or_whole(cell, place, data):
    """Whatever is loaded is what was saved: no bit of a weight changes in silence."""
    path = place / "cell" / "best.pt"
    path.write_bytes(data.draw(damaged((cell / "best.pt").read_bytes())))
    with untouched(place):
        try:
            flow = load_flow(path)
        except CheckpointError as error:
            assert one_sentence(error)
            assert str(path) in str(error)
            return
    truth = load_flow(cell / "best.pt").state_dict()
    assert all(torch.equal(value, truth[name]) for name, value in flow.state_dict().items())


def go_on(folder, seed=0):
    """Goes on with the finished training of ``trained``: no step is left."""
    torch.manual_seed(seed)
    recipe = {"flow": FLOW, "data": {"name": "digits"}, "method": "finc", "seed": seed}
    flow = build_flow(FLOW)
    train(flow, *DATA, TrainingOptions(3, 16), seed, folder, progress=False, recipe=recipe)
    return flow


@settings(phases=[Phase.generate])
@given(entry=st.sampled_from(ENTRIES), junk=st.sampled_from(JUNK), removed=st.booleans())
def test_a_wrong_schema_is_refused(cell, place, entry, junk, removed):
    saved = torch.load(cell / "last.pt", weights_only=True)
    saved[entry] = junk
    if removed:
        del saved[entry]
    torch.save(saved, place / "cell" / "last.pt")
    with untouched(place):
        if (entry, junk) == ("average", None) and not removed:
            read_checkpoint(place / "cell" / "last.pt")
            return
        with pytest.raises(CheckpointError) as caught:
            go_on(place / "cell")
        assert one_sentence(caught.value)
        if entry in ("flow", "recipe", "best"):
            try:
                load_flow(place / "cell" / "last.pt")
            except CheckpointError as error:
                assert one_sentence(error)
            else:
                assert entry in ("flow", "best")


@settings(max_examples=15, phases=[Phase.generate])
@given(name=st.integers(0, 10**6), junk=st.sampled_from([*JUNK, torch.zeros(1, 4, 8, 8)]))
def test_wrong_weights_and_optimiser_states_are_refused(cell, place, name, junk):
    saved = torch.load(cell / "last.pt", weights_only=True)
    for part in ("flow", "best", "optimizer"):
        changed = copy.deepcopy(saved)
        if part == "optimizer":
            states = changed["optimizer"]["state"]
            states[list(states)[name % len(states)]]["exp_avg"] = junk
        else:
            changed[part][list(changed[part])[name % len(changed[part])]] = junk
        torch.save(changed, place / "cell" / "last.pt")
        with untouched(place), pytest.raises(CheckpointError) as caught:
            go_on(place / "cell")
        assert one_sentence(caught.value)


@pytest.mark.parametrize(
    "huge",
    [
        {"width": 10**12},
        {"width": 2**62},
        {"steps": 10**9},
        {"levels": 10**9},
        {"levels": 10**40},
        {"bins": 10**30},
        {"shape": (1, 2**40, 2**40), "conv": "woodbury"},
        {"conv_options": {"kernel_size": 10**6}},
        {"dequantization": "variational", "dequantization_options": {"steps": 10**9}},
        {"kind": "macow_fg", "steps": [4, [10**9], 4]},
        {"conv": "os.system"},
        {"conv_options": {"__class__": "x"}},
        {"shape": "8"},
    ],
    ids=str,
)
def test_what_a_file_says_is_not_built_before_it_fits(cell, place, huge):
    saved = torch.load(cell / "best.pt", weights_only=True)
    saved["recipe"]["flow"] = FLOW | huge
    path = place / "cell" / "huge.pt"
    torch.save(saved, path)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with untouched(place), pytest.raises(CheckpointError) as caught:
        load_flow(path)
    assert one_sentence(caught.value)
    assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


@pytest.mark.parametrize("data", [{"name": "x"}, {}, {"name": "digits", "root": "/"}, {"path": 3}])
def test_recipes_with_wrong_data(cell, place, data, capsys):
    saved = torch.load(cell / "best.pt", weights_only=True)
    saved["recipe"]["data"] = data
    path = place / "cell" / "data.pt"
    torch.save(saved, path)
    with untouched(place):
        assert main(["evaluate", str(path)]) == 1
    assert capsys.readouterr().err.startswith(str(path))


def test_a_hostile_pickle_is_not_run(cell, place):
    path, trace = place / "cell" / "evil.pt", place / "outside" / "trace"
    saved = torch.load(cell / "last.pt", weights_only=True)
    inside = [{**saved, entry: Evil(trace)} for entry in ENTRIES]
    inside += [{**saved, "more": Evil(trace)}, Evil(trace)]
    for value in inside:
        torch.save(value, path)
        with untouched(place), pytest.raises(CheckpointError, match="not a whole checkpoint"):
            load_flow(path)
    for content in (pickle.dumps(Evil(trace)), pickle.dumps(inside[0]["recipe"])):
        path.write_bytes(content)
        with untouched(place), pytest.raises(CheckpointError, match="not a whole checkpoint"):
            load_flow(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside/trace", b"x")
        archive.writestr("evil/data.pkl", pickle.dumps(Evil(trace)))
        archive.writestr("evil/version", b"3")
    with untouched(place), pytest.raises(CheckpointError, match="not a whole checkpoint"):
        load_flow(path)
    assert not trace.exists()


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    (tmp_path / "endless.pt").symlink_to("/dev/zero")
    for name in ("folder", "loop", "endless", "absent"):
        with pytest.raises(CheckpointError, match="there is no checkpoint"):
            load_flow(tmp_path / f"{name}.pt")


def test_training_writes_through_no_link(cell, tmp_path):
    """Checkpoints and log of a cell replace links; what these point to stays."""
    outside, folder = tmp_path / "outside", tmp_path / "cell"
    outside.mkdir()
    folder.mkdir()
    for name in ("last.pt", "best.pt", "log.csv"):
        (outside / name).write_bytes((cell / name).read_bytes())
        (folder / name).symlink_to(outside / name)
    with untouched(outside):
        go_on(folder)
        log = TrainingLog(folder, 3, tensorboard=False)
        log.count(1.0, 1.0, 1, 1.0)
        log.write(4, 1e-3, None)
    assert not (folder / "log.csv").is_symlink()
    assert contents(folder)[folder / "log.csv"].startswith((outside / "log.csv").read_bytes())


@given(data=st.data())
def test_a_damaged_log_is_refused_or_read(cell, place, data):
    path = place / "cell" / "log.csv"
    path.write_bytes(data.draw(damaged((cell / "log.csv").read_bytes())))
    with untouched(place / "outside"):
        try:
            TrainingLog(place / "cell", 3, tensorboard=False)
        except ValueError as error:
            assert "is not the log of a training" in str(error)
            assert one_sentence(error)
        finally:
            path.unlink()


def test_a_log_that_is_something_else_stays(place):
    link = place / "cell" / "log.csv"
    link.symlink_to(place / "outside" / "precious.txt")
    with untouched(place / "outside"):
        TrainingLog(place / "cell", 3, tensorboard=False)
    link.unlink()
