"""What surrounds a Hydra sweep: which cells it wants, and how it ends."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from invconv.bench.rows import cell_id, read_row
from invconv.bench.store import collect
from invconv.training.distributed import world

NOT_IDENTITY = (
    "runs",
    "results",
    "force",
    "progress",
    "pictures",
    "dataset.root",
    "budget.training.log_every",
    "budget.training.tensorboard",
)
"""What a configuration may hold that cannot change a result; dots lead inwards."""

NEUTRAL: dict[str, Any] = {
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

_wanted: list[DictConfig] = []


class RecordGrid(Callback):
    """A Hydra callback that notes, before a sweep starts, the configuration of every job.

    Hydra delivers neither return values nor an end-of-sweep event when a job dies, so that what
    is missing can only be known from what was wanted.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Composes every job of the sweep."""
        loader = GlobalHydra.instance().config_loader()
        swept = config.hydra.sweeper.get("params") or {}
        arguments = [f"{key}={value}" for key, value in swept.items()]
        arguments += [str(override) for override in config.hydra.overrides.task]
        parsed = OverridesParser.create(loader).parse_overrides(arguments)
        _wanted.clear()
        for overrides in BasicSweeper.split_arguments(parsed, None)[0]:
            job = loader.load_sweep_config(config, list(overrides))
            OmegaConf.set_struct(job, False)
            job.pop("hydra")
            _wanted.append(job)


def identify(config: DictConfig, label: str) -> tuple[str, dict[str, Any]]:
    """A cell's name, and the part of its configuration that can change its result."""
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


def run_sweep(
    main: Callable[[], None],
    table: str,
    label: Callable[[DictConfig], str],
    write_page: Callable[[pd.DataFrame, Path], Path],
) -> int:
    """Runs a sweep and, whatever became of it, collects its rows and writes the page.

    Args:
        main: decorated with `hydra.main`; its configuration has ``runs`` and ``results`` and
            names the callback `RecordGrid`.
        table: the table's name.
        label: the readable part of a cell's name.
        write_page: from `invconv.report`.

    Returns:
        The exit code: 0 if every wanted cell is "ok", and where no sweep was started
        (``--help``, ``--cfg job``).
    """
    code = 0
    try:
        main()
    except KeyboardInterrupt:
        code = 130
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    if world().rank or not _wanted:
        return code
    return max(code, _finish(table, label, write_page))


def _finish(
    table: str,
    label: Callable[[DictConfig], str],
    write_page: Callable[[pd.DataFrame, Path], Path],
) -> int:
    runs, results = Path(_wanted[0].runs), Path(_wanted[0].results)
    page = write_page(collect(runs, results / "data" / f"{table}.csv"), results)
    bad = []
    for config in _wanted:
        cell, _ = identify(config, label(config))
        row = read_row(runs / cell / "row.json")
        if row is None or row.status != "ok":
            bad.append(f"{cell}: {'missing' if row is None else f'{row.status}: {row.reason}'}")
    print(f"{len(_wanted) - len(bad)} of {len(_wanted)} cells ok; the table is in {page}")
    for line in bad:
        print(f"  {line}", file=sys.stderr)
    return 1 if bad else 0
