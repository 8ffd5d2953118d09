"""Settings and configuration files that are broken, wrong or hostile."""

import importlib.util
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import yaml
from fuzz import JUNK, TEXTS, contents, damaged, one_sentence, untouched
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException

from invconv.data import load
from invconv.rows.provenance import ROOT
from invconv.rows.row import CellError, cell_id
from invconv.rows.status import classify
from invconv.sweeps.running import ConfigurationError, check_files
from invconv.sweeps.sweep import identify
from invconv.training import TrainingOptions, build_flow

CONF = ROOT / "reproductions" / "conf"
FILES = [
    "table2.yaml",
    "method/finc.yaml",
    "dataset/digits.yaml",
    "budget/smoke_digits.yaml",
    "table2/smoke.yaml",
    "preset/smoke.yaml",
    "launch/basic.yaml",
]
"""Those that `table2.py -m method=finc` reads."""


def copied(folder):
    """The configuration files in a folder of their own."""
    return Path(shutil.copytree(CONF, folder / "conf"))


@pytest.fixture(scope="module")
def configurations():
    """Composes table 2's configuration in this process."""
    spec = importlib.util.spec_from_file_location("table2", ROOT / "reproductions" / "table2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def composed(overrides, folder=CONF):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(folder), version_base="1.3"):
            return compose("table2", overrides), module

    yield composed
    GlobalHydra.instance().clear()


KEYS = [
    "method.name",
    "method.conv",
    "method.step",
    "+method.options.kernel_size",
    "+method.options.max_growth",
    "+method.options.inverse_method",
    "dataset.name",
    "dataset.bits",
    "budget.levels",
    "budget.width",
    "budget.training.steps",
    "budget.training.batch_size",
    "budget.training.optimizer",
    "budget.training.ema",
    "likelihood.dequantization",
    "likelihood.preprocessing",
    "seed",
    "method",
    "dataset",
    "preset",
    "nonsense",
]
VALUES = [
    *TEXTS[:-2],
    TEXTS[-1],
    *(str(junk) for junk in JUNK),
    "0",
    "1e3",
    "10000000000000",
    "{a:1}",
    "${seed}",
]


@example(key="dataset", value="[[1]]")
@settings(
    max_examples=20, phases=[Phase.explicit, Phase.generate]
)  # composing takes a tenth of a second
@given(key=st.sampled_from(KEYS), value=st.sampled_from(VALUES))
def test_any_override_is_refused_or_builds(configurations, key, value):
    """By Hydra, as a cell's name, or when the flow is built: always with a reason."""
    value = value if set(value) <= set("${}.:") | set(map(chr, range(48, 123))) else repr(value)
    with untouched(CONF):
        try:
            config, table2 = configurations([f"{key}={value}"])
        except (HydraException, OmegaConfBaseException, ValueError, OverflowError) as error:
            assert str(error)
            return
        except TypeError as error:  # Hydra's own, of a group that is a list of lists
            assert "hydra" in traceback.extract_tb(error.__traceback__)[-1].filename
            return
        try:
            cell, _ = identify(config, table2.label(config))
        except (CellError, OmegaConfBaseException, HydraException) as error:
            assert str(error)
            return
        assert Path(cell).name == cell
        assume(config.budget.width < 10**4 or config.budget.width >= 10**12)
        try:
            TrainingOptions(**config.budget.training)
            build_flow(table2.describe_flow(config, load("digits", "test")))
        except (TypeError, ValueError, OverflowError) as error:
            assert one_sentence(error)
        except RuntimeError as error:
            assert classify(error) == "oom" or "overflow" in str(error)


@pytest.mark.filterwarnings("ignore:.*Defaults list is missing")  # of a part of table2.yaml
@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
@given(data=st.data(), name=st.sampled_from(FILES))
def test_damaged_configuration_files(configurations, tmp_path_factory, data, name):
    """Each is refused by its name before Hydra sees it, or by Hydra, or is one."""
    folder = copied(tmp_path_factory.mktemp("conf"))
    (folder / name).write_bytes(data.draw(damaged((folder / name).read_bytes())))
    with untouched(folder):
        try:
            check_files(folder)
        except ConfigurationError as error:
            assert one_sentence(error)
            assert str(error).startswith(str(folder / name))
            return
        assert_refused_or_builds(configurations, folder)


def assert_refused_or_builds(configurations, folder):
    try:
        config, table2 = configurations(["method=finc"], folder)
        identify(config, table2.label(config))
    except (HydraException, OmegaConfBaseException, CellError) as error:
        assert str(error)


SCHEMAS = [
    *(("method/finc.yaml", {"name": value}) for value in (["a"], {"a": 1}, None, 3)),
    *(("method/finc.yaml", {"options": value}) for value in (3, ["a"], "x", None)),
    ("method/finc.yaml", {"nonsense": 3}),
    *(("budget/smoke_digits.yaml", {"levels": value}) for value in ("x", 1.5, [1], 2**62)),
    *(("budget/smoke_digits.yaml", {"training": value}) for value in (3, ["steps"], {"stepz": 1})),
    ("budget/smoke_digits.yaml", {"training": {"steps": float("inf")}}),
    ("budget/smoke_digits.yaml", {"training": {"learning_rate": 1e308}}),
    *(("dataset/digits.yaml", {"name": value}) for value in ("../../x", ["a"])),
    *(("dataset/digits.yaml", {"bits": value}) for value in ("x", [1], -(2**62))),
    *(("table2.yaml", {"defaults": value}) for value in (["_self_", "x"], ["_self_", {"x": "y"}])),
    *(("table2.yaml", {"seed": value}) for value in ("x", [1], 2**62, float("nan"))),
    ("table2.yaml", {"launch": 3}),
    ("launch/basic.yaml", {"launch": {"detach": 3}}),
]
"""A file, and settings of a wrong kind, of no kind, or huge, which Hydra refuses."""


@pytest.mark.parametrize(("name", "wrong"), SCHEMAS)
def test_configuration_files_of_a_wrong_schema(configurations, tmp_path, name, wrong):
    folder = copied(tmp_path)
    text = (folder / name).read_text()
    header = "# @package _global_\n" if text.startswith("# @package") else ""
    settings = {**(yaml.safe_load(text) or {}), **wrong}
    (folder / name).write_text(header + yaml.safe_dump(settings))
    check_files(folder)
    assert_refused_or_builds(configurations, folder)


BROKEN = {
    "name: \x00": "unacceptable character #x0000: special characters are not allowed",
    "name: [1": "line 1: expected ',' or ']', but got '<stream end>'",
    "name: a\nname: b": "line 2: found duplicate key name",
    "name: a: b": "line 1: mapping values are not allowed here",
    "name: !!timestamp x": "'NoneType' object has no attribute 'groupdict'",
    "name: " + "[" * 5000: "it is nested too deeply",
    "name: " + "9" * 5000: "Exceeds the limit (4300 digits) for integer string conversion",
    "name: ${": "no viable alternative at input '${'",
    "[1, 2]": "it holds a list, not settings with names",
    "# @package": "Expected header format: KEY VALUE, got '@package'",
    "# @package a b": "Too many components in '@package a b'",
    "hydra:": "hydra must be settings with names, not None",
    "defaults:": "defaults must be a list of names and of group: name, not None",
    "3": "Invalid loaded object type: int",
    "name: " + "9" * 400: "it holds a whole number of more than 64 bits",
    "a: [{b: " + "9" * 400 + "}]": "it holds a whole number of more than 64 bits",
    "defaults: x": "defaults must be a list of names and of group: name, not 'x'",
    "defaults: [3]": "defaults must be a list of names and of group: name, not [3]",
    "defaults: [[a]]": "defaults must be a list of names and of group: name, not [['a']]",
    "defaults: [{a: 3}]": "defaults must be a list of names and of group: name, not [{'a': 3}]",
    "defaults: [{a: [[b]]}]": "defaults must be a list of names and of group: name, not [{'a': [[",
    "defaults: [{}]": "defaults must be a list of names and of group: name, not [{}]",
    "defaults: [{a: b, c: d}]": "defaults must be a list of names and of group: name, not [{'a': ",
}
"""What is no file of settings, and what is said of it."""


@pytest.mark.parametrize("name", ["method/finc.yaml", "table2.yaml", "budget/smoke_digits.yaml"])
@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_files_that_hold_no_settings_are_named(tmp_path, name, text):
    path = copied(tmp_path) / name
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        check_files(tmp_path / "conf")
    assert one_sentence(caught.value)
    assert str(caught.value).startswith(str(path))
    assert BROKEN[text] in str(caught.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        check_files(tmp_path / "conf")


def test_a_sweep_of_a_broken_file_ends_in_one_line(tmp_path):
    """The data set's, which is read for one cell of many alone."""
    folder = copied(tmp_path)
    script = tmp_path / "table2.py"
    script.write_bytes((ROOT / "reproductions" / "table2.py").read_bytes())
    (folder / "dataset" / "patches.yaml").write_text("name: \x00")
    with untouched(tmp_path):
        done = subprocess.run(
            [sys.executable, "-B", str(script), "-m", "method=finc"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
        )
    path = folder / "dataset" / "patches.yaml"
    said = f"{path}: unacceptable character #x0000: special characters are not allowed\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch trace']",
        "name: !!python/name:os.system",
        "options: {_target_: os.system, command: touch trace}",
        "conv: ${oc.create:{_target_:os.system}}",
    ],
)
def test_a_hostile_configuration_runs_nothing(configurations, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    folder = copied(tmp_path)
    (folder / "method" / "finc.yaml").write_text(f"name: finc\nconv: finc\n{text}\n")
    with untouched(tmp_path), pytest.raises(Exception, match=r".") as caught:
        config, table2 = configurations(["method=finc"], folder)
        identify(config, table2.label(config))
        build_flow(table2.describe_flow(config, load("digits", "test")))
    assert not isinstance(caught.value, AssertionError)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("label", ["", "../../evil", "a/b", "a\\b", "a\nb", "a\x00b", "x" * 201])
def test_names_of_cells(label):
    with pytest.raises(CellError, match="a cell's name is that of a folder") as caught:
        cell_id(label, {})
    assert one_sentence(caught.value)


@pytest.mark.slow
def test_a_sweep_does_not_leave_its_folder(reproduce, tmp_path):
    done = reproduce("table2.py", "dataset=digits", "method=glow", "method.name=../../x")
    assert done.returncode == 2
    assert done.stderr.startswith("table2: a cell's name is that of a folder")
    assert "Traceback" not in done.stderr
    assert not contents(tmp_path)
