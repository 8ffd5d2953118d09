"""What Hydra knows of a table: its configuration, its groups and its presets."""

from collections.abc import Mapping
from dataclasses import fields

from hydra.core.config_store import ConfigStore

from invconv.about import Options
from invconv.data.sets import DATASETS, budgets
from invconv.methods import Method, methods
from invconv.sweeps.application import Application


def method_node(one: Method, options: Options | None = None) -> dict[str, object]:
    """Return what a configuration holds of a method, with ``options`` besides its own."""
    both = {**one.options, **(options or {})}
    return {"name": one.name, "conv": one.conv, "step": one.step, "options": both}


def register(table: Application) -> None:
    """Tells Hydra's `ConfigStore` the table's configuration, its groups and its presets."""
    store = ConfigStore.instance()
    assert table.config is not None

    def group(name: str, options: Mapping[str, object], package: str | None = None) -> None:
        for option, node in options.items():
            store.store(group=name, name=option, node=node, package=package, provider="invconv")

    chosen = [name for name in ("method", "dataset", *table.groups) if name in table.choices]
    sized = "dataset" in chosen and "budget" in {part.name for part in fields(table.config)}
    budget = [{"optional budget": "${preset}_${dataset}"}] if sized else []
    own = [{name: table.choices[name]} for name in chosen]
    last = [{"cluster": None}, {"override hydra/job_logging": "stdout"}]
    node = {
        "defaults": [
            f"{table.name}_schema",
            "_self_",
            {"launch": "basic"},  # a preset can override what comes before it
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
            "sweep": {"dir": "${user_path:${runs}}", "subdir": "."},
        },
    }
    store.store(name=f"{table.name}_schema", node=table.config, provider="invconv")
    store.store(name=table.name, node=node, provider="invconv")
    rows = {name: method_node(one) for name, one in methods().items()}
    data = {
        name: {"name": one.name, **options}
        for one in DATASETS.values()
        for name, (options, _) in one.named().items()
    }
    group("method", rows)
    group("dataset", data)
    if sized:
        group("budget", budgets())
    for name, options in table.groups.items():
        group(name, options, package="_global_")
    tiny = {"runs": f"runs/tiny/{table.name}", "results": "runs/tiny/results"}
    presets = {
        name: {"preset": name, **(tiny if name == "tiny" else {}), **preset.settings}
        | ({"defaults": [{"override /launch": preset.launch}]} if preset.launch else {})
        | {"hydra": {"sweeper": {"params": dict(preset.sweep)}}}
        for name, preset in table.presets.items()
    }
    group("preset", presets, package="_global_")
