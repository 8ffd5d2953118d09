"""What surrounds a Hydra sweep: which cells it wants, and how it ends."""

from collections.abc import Callable
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

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


def run_sweep(main: Callable[[], None], finish: Callable[[list[DictConfig]], int]) -> int:
    """Runs a `hydra.main` function and, whatever became of it, ``finish``.

    Args:
        main: decorated with `hydra.main`; its configuration names the callback `RecordGrid`.
        finish: takes the configurations of the jobs that were wanted, returns the exit code.

    Returns:
        The exit code; 0 where no sweep was started (``--help``, ``--cfg job``).
    """
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    return max(code, finish(list(_wanted))) if _wanted else code
