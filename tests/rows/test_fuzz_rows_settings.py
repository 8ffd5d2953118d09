"""Settings that are broken, wrong or hostile."""

import traceback
from pathlib import Path

import pytest
from fuzz import JUNK, TEXTS, contents, one_sentence
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException

from invconv.data import load
from invconv.flows import build_flow
from invconv.rows import CellError, cell_id
from invconv.rows.status import Status, classify
from invconv.sweeps.application import CONF, SweepError
from invconv.sweeps.groups import register
from invconv.tables.table2 import TABLE, describe_flow


@pytest.fixture(scope="module")
def composed():
    """Composes table 2's configuration in this process."""

    def one(*overrides):
        GlobalHydra.instance().clear()
        register(TABLE)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("table2", list(overrides))

    yield one
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
def test_any_override_is_refused_or_builds(composed, key, value):
    """By Hydra, as a cell's name, or when the flow is built: always with a reason."""
    value = value if set(value) <= set("${}.:") | set(map(chr, range(48, 123))) else repr(value)
    try:
        chosen = composed(f"{key}={value}")
    except (HydraException, OmegaConfBaseException, ValueError, OverflowError) as error:
        assert str(error)
        return
    except TypeError as error:  # Hydra's own, of a group that is a list of lists
        assert "hydra" in traceback.extract_tb(error.__traceback__)[-1].filename
        return
    try:
        config = TABLE.typed(chosen)
        cell = TABLE.cell_of(config)
    except (CellError, OmegaConfBaseException, SweepError, ValueError) as error:
        assert str(error)
        return
    assert Path(cell).name == cell
    assume(config.budget.width < 10**4 or config.budget.width >= 10**12)
    try:
        build_flow(describe_flow(config, load("digits", "test")))
    except (TypeError, ValueError, OverflowError) as error:
        assert one_sentence(error)
    except RuntimeError as error:
        assert classify(error) == Status.OOM or "overflow" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "+method.options={_target_:os.system,command:touch trace}",
        "method.conv=${oc.create:{_target_:os.system}}",
    ],
)
def test_a_hostile_setting_runs_nothing(composed, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r".") as caught:
        config = TABLE.typed(composed(text))
        build_flow(describe_flow(config, load("digits", "test")))
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
    assert done.returncode == 1
    assert done.stderr.startswith("table2: a cell's name is that of a folder")
    assert "Traceback" not in done.stderr
    assert {path.name for path in contents(tmp_path)} <= {"multirun.yaml"}  # Hydra's own
