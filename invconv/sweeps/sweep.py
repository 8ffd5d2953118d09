"""A sweep: which cells Hydra's configuration wants, each of them run, and how it ends."""

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from invconv.rows.row import CellError, cell_id
from invconv.sweeps import cluster, jobs, states

NOT_IDENTITY = (
    "runs",
    "results",
    "force",
    "force_changed",
    "launch",
    "progress",
    "pictures",
    "dataset.root",
    "budget.training.log_every",
    "budget.training.tensorboard",
)
"""What a configuration may hold that cannot change a result; dots lead inwards."""

NEUTRAL: dict[str, Any] = {
    "trained": True,
    "method.step": "common",
    "likelihood": {"dequantization": "uniform", "preprocessing": "logit", "options": {}},
    "dataset.path": None,
    "dataset.version": None,
    "dataset.size": None,
    "dataset.bits": None,
    "dataset.levels": None,
    "budget.training.optimizer": "adam",
    "budget.training.decay": 0.1,
    "budget.training.decay_every": 1000,
    "budget.training.accumulate": 1,
    "budget.training.ema": 0.0,
    "budget.training.flip": False,
    "budget.training.affine": 0.0,
    "budget.training.precision": "float32",
    "budget.training.compile": False,
}
"""Settings that came later, with the value at which a cell is the one that it was before."""


@dataclass
class Launch:
    """How cells are started; `hydra.launcher` is what starts them.

    Attributes:
        detach: submit to SLURM and return; ``python -m invconv list`` and ``collect`` do the rest.
        exclusive: whether a SLURM job has its node for itself; None: if it times on a CPU.
        side_by_side: cells at a time, with ``launch=local``.
    """

    detach: bool = False
    exclusive: bool | None = None
    side_by_side: int = 2


@dataclass(frozen=True)
class Application:
    """One table's Hydra application.

    Attributes:
        table: its name.
        main: decorated with `hydra.main`; its configuration has ``runs``, ``results``, ``force``,
            ``force_changed`` and ``launch``, and names the callback `RecordGrid`.
        label: the readable part of a cell's name.
        write_page: from `invconv.report`.
        times: whether a cell times something, so that it should be alone.
    """

    table: str
    main: Callable[..., None]
    label: Callable[[DictConfig], str]
    write_page: Callable[[pd.DataFrame, Path], Path]
    times: Callable[[DictConfig], bool]


@dataclass
class _Composed:
    """What Hydra composed last: the sweep's own configuration and that of every cell.

    Attributes:
        refusal: why the sweep was not started; Hydra would only warn of it, and go on.
    """

    application: Application | None = None
    config: DictConfig | None = None
    cells: dict[str, DictConfig] = field(default_factory=dict)
    only_list: bool = False
    refusal: Exception | None = None


sweep = _Composed()


class RecordGrid(Callback):
    """A Hydra callback that notes, before a sweep starts, the configuration of every cell.

    Hydra delivers neither return values nor an end-of-sweep event when a job dies, so that what
    is missing can only be known from what was wanted. Where submitit is to launch, where nothing
    is, and where anything goes wrong, Hydra's own part ends here.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Composes every job of the sweep.

        Raises:
            SystemExit: if Hydra shall not go on, with `sweep.refusal` where that has a reason.
        """
        if sweep.application is None:
            return
        try:
            try:
                composed = compose_cells(config)
            except (HydraException, OmegaConfBaseException):
                return  # Hydra composes again and says what is wrong
            goes_on = _begin(sweep.application, config, composed)
        except Exception as error:
            sweep.refusal = error
            raise SystemExit(2) from None
        if not goes_on:
            raise SystemExit(0)


def compose_cells(config: DictConfig) -> list[DictConfig]:
    """The configuration of every cell of a sweep, in Hydra's order.

    Raises:
        HydraException, OmegaConfBaseException: if one cannot be composed.
    """
    loader = GlobalHydra.instance().config_loader()
    swept = config.hydra.sweeper.get("params") or {}
    arguments = [f"{key}={value}" for key, value in swept.items()]
    asked = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    arguments += asked if isinstance(asked, list) else []
    parsed = OverridesParser.create(loader).parse_overrides(arguments)
    found = []
    for overrides in BasicSweeper.split_arguments(parsed, None)[0]:
        job = loader.load_sweep_config(config, list(overrides))
        OmegaConf.set_struct(job, False)
        job.pop("hydra")
        found.append(job)
    return found


def _begin(application: Application, config: DictConfig, composed: list[DictConfig]) -> bool:
    """Notes what is wanted; whether Hydra is to run it."""
    cells = {identify(job, application.label(job))[0]: job for job in composed}
    sweep.config, sweep.cells = config, cells
    if sweep.only_list:
        return False
    runs = Path(config.runs)
    cluster.check_writable(runs)
    states.record(application.table, runs, list(cells))
    return not jobs.submits(config)


def identify(config: DictConfig, label: str) -> tuple[str, dict[str, Any]]:
    """A cell's name, and the part of its configuration that can change its result.

    Raises:
        CellError: if a setting has no value.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise CellError(
            f"{label}: there is no value for {', '.join(missing)}: choose a preset and data set "
            "that go together (reproductions/conf/budget), or set these"
        )
    kept: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    for path in NOT_IDENTITY:
        _drop(kept, path)
    for path, value in NEUTRAL.items():
        _drop(kept, path, value)
    return cell_id(label, kept), kept


def _drop(config: dict[str, Any], path: str, *values: Any) -> None:
    """Removes the setting at ``path``, if it is there and has one of ``values``, if any."""
    *groups, name = path.split(".")
    for group in groups:
        config = config.get(group, {})
    if name in config and (not values or config[name] in values):
        del config[name]


def pick_device(name: str) -> torch.device:
    """The named device, "auto" being the GPU if there is one; TF32 is switched off."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def compose(script: Path, overrides: list[str]) -> dict[str, DictConfig]:
    """The cells, by name, that the command line of a reproduction would want; starts nothing.

    Raises:
        SystemExit: if Hydra refuses the overrides, after its message on stderr.
    """
    before = sys.argv
    sys.argv = [str(script), "-m", *overrides]
    sweep.only_list = True
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if not sweep.cells:
            raise SystemExit(end.code or 1) from None
    finally:
        sys.argv = before
        sweep.only_list = False
    return sweep.cells
