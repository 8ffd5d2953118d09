"""What Hydra knows of a table: its configuration, its groups and its presets."""

from collections.abc import Mapping

from hydra.core.config_store import ConfigStore

from invconv.data.sets import DATASETS, budgets
from invconv.methods import methods
from invconv.sweeps.application import Application


def register(table: Application) -> None:
    """Tells Hydra's `ConfigStore` the table's configuration, its groups and its presets."""
    store = ConfigStore.instance()

    def group(name: str, options: Mapping[str, object], package: str | None = None) -> None:
        for option, node in options.items():
            store.store(group=name, name=option, node=node, package=package, provider="invconv")

    chosen = [name for name in ("method", "dataset", *table.groups) if name in table.choices]
    budget = [{"optional budget": "${preset}_${dataset}"}] if "dataset" in chosen else []
    own = [{name: table.choices[name]} for name in chosen]
    last = [{"launch": "basic"}, {"cluster": None}, {"override hydra/job_logging": "stdout"}]
    node = {
        "defaults": [
            f"{table.name}_schema",
            "_self_",
            *own,
            {"preset": "default"},
            *budget,
            *last,
        ],
        "runs": f"runs/{table.name}",
        "results": "results",
        "hydra": {
            "mode": "MULTIRUN",
            "job": {"name": table.name},
            "output_subdir": None,
            "sweep": {"dir": "${runs}", "subdir": "."},
        },
    }
    store.store(name=f"{table.name}_schema", node=table.config, provider="invconv")
    store.store(name=table.name, node=node, provider="invconv")
    rows = {
        name: {"name": name, "conv": one.conv, "step": one.step, "options": dict(one.options)}
        for name, one in methods().items()
    }
    data = {name: {"name": name, **one.defaults} for name, one in DATASETS.items()}
    group("method", rows)
    group("dataset", data)
    group("budget", budgets())
    for name, options in table.groups.items():
        group(name, options)
    tiny = {"runs": f"runs/tiny/{table.name}", "results": "runs/tiny/results"}
    presets = {
        name: {"preset": name, **(tiny if name == "tiny" else {}), **preset.settings}
        | {"hydra": {"sweeper": {"params": dict(preset.sweep)}}}
        for name, preset in table.presets.items()
    }
    group("preset", presets, package="_global_")
