"""What a data set says of itself, and the registry of all data sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from invconv.data.images import ImageSet
from invconv.data.published_sets import PUBLISHED_SETS, PublishedSet
from invconv.validation import check_choice, check_shape, whole

Budget = Mapping[str, object]
"""``levels``, ``steps`` and ``width`` of a flow, and the options of its ``training``."""

SMALL = 32
"""Images with a smaller side get a flow of two levels by default, other ones three."""


def budget(
    levels: int, steps: int, width: int, training_steps: int, batch_size: int, **training: object
) -> Budget:
    """Return a model's size and its training; the keywords are `TrainingOptions`.

    Args:
        levels: L.
        steps: K, per level.
        width: hidden channels of the couplings.
        training_steps: of the optimizer.
        batch_size: images per step.
    """
    options = {"steps": training_steps, "batch_size": batch_size, **training}
    return {"levels": levels, "steps": steps, "width": width, "training": options}


def ranked(training_steps: int) -> Budget:
    """Return a budget that several seeds of every method can have on two CPU cores.

    Narrow couplings and few steps, L = 2, K = 4 and 32 channels, so that the convolutions matter;
    a cell takes at most eight minutes on one core, but for MaCow.
    """
    return budget(
        2,
        4,
        32,
        training_steps,
        batch_size=64,
        learning_rate=2e-3,
        warmup_steps=100,
        schedule="cosine",
        evaluate_every=500,
        checkpoint_every=500,
    )


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        name: of the data set in `load`, in rows and on the command line.
        title: its name on a page.
        options: of `load`, beside ``split`` and ``root``.
        defaults: options that the command line presets.
        published: whether the papers report figures for it.
        shape: (C, H, W); None where only the files tell.
        levels: how many values a pixel can take; None where only the files tell.
        load: split and options → images, for a data set that needs no files.
        published_sets: what its files hold, by the name of their folder below the root. A data set
            without ``load`` and published_sets is read from the ``path`` that the user gives.
        budgets: preset → model size and training. "default", "full" and "tiny" are always there:
            where they are not given, they follow from the shape.
        sides: of its images, other than its own, that the command line knows by a name:
            ``photographs16`` is ``photographs`` with the option size=16.

    Raises:
        ValueError: for a shape that is not (C, H, W), or levels that are not 2 to 256.

    >>> from invconv.data import DataSet
    >>> data = DataSet("black", "black images", shape=(1, 8, 8), levels=2)
    >>> data.budgets["default"]["levels"]
    2
    """

    name: str
    title: str
    options: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict)
    published: bool = False
    shape: tuple[int, int, int] | None = None
    levels: int | None = 256
    load: Callable[..., ImageSet] | None = None
    published_sets: Mapping[str, PublishedSet] = field(default_factory=dict)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    sides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.shape is not None:
            check_shape(self.shape)
        if self.levels is not None and not 2 <= (whole(self.levels) or 0) <= 256:
            raise ValueError(f"levels must be 2 to 256, or None, not {self.levels!r}")
        object.__setattr__(self, "budgets", _generic(self.shape) | dict(self.budgets))

    @property
    def embedded(self) -> bool:
        """Whether it needs no files."""
        return self.load is not None

    def named(self) -> dict[str, tuple[Mapping[str, object], Mapping[str, Budget]]]:
        """Return name on the command line → options and budgets, of each of its sizes."""
        channels = 3 if self.shape is None else self.shape[0]
        return {self.name: (self.defaults, self.budgets)} | {
            f"{self.name}{side}": ({"size": side}, _generic((channels, side, side)))
            for side in self.sides
        }


def _generic(shape: tuple[int, int, int] | None) -> dict[str, Budget]:
    """Budgets for two CPU cores: "default" takes half a minute, "full" minutes, "tiny" seconds."""
    small = shape is not None and min(shape[1:]) < SMALL
    levels = 2 if small else 3
    brief, full = (
        budget(
            levels,
            4,
            64,
            training_steps=steps,
            batch_size=64,
            learning_rate=2e-3,
            warmup_steps=20,
            schedule="cosine",
            evaluate_every=100,
            checkpoint_every=100,
        )
        for steps in (150, 600 if small else 200)
    )
    return {
        "default": brief,
        "full": full,
        "tiny": budget(
            levels,
            1,
            4,
            training_steps=3,
            batch_size=16,
            learning_rate=1e-3,
            warmup_steps=1,
            schedule="cosine",
            evaluate_every=3,
            checkpoint_every=3,
        ),
    }


DATASETS: dict[str, DataSet] = {}
"""All data sets by name, in the order in which pages show them."""


def register(data: DataSet) -> DataSet:
    """Make a data set known to `load` and to the command line, and return it.

    Raises:
        ValueError: if another data set has its name.
    """
    if DATASETS.get(data.name, data) != data:
        raise ValueError(f"the name {data.name!r} is taken by another data set")
    DATASETS[data.name] = data
    PUBLISHED_SETS.update(data.published_sets)
    return data


def data_set(name: str) -> DataSet:
    """Return a data set.

    Raises:
        ValueError: for an unknown name.
    """
    return DATASETS[check_choice(name, DATASETS, "data set")]


def budgets() -> dict[str, Budget]:
    """Return the budgets of all data sets by their names on the command line.

    A data set's budget "tiny" is called ``tiny_NAME``. A second model of the same paper, such as
    "paper_k28", is called ``paper_NAME_k28``.

    >>> from invconv.data.sets import budgets
    >>> [name for name in budgets() if name.endswith("_mnist") and "fashion" not in name]
    ['default_mnist', 'full_mnist', 'tiny_mnist', 'paper_mnist']
    """
    return {
        budget_name(key, name): each
        for data in DATASETS.values()
        for name, (_, found) in data.named().items()
        for key, each in found.items()
    }


def budget_name(key: str, name: str) -> str:
    """Return what the budget ``key`` of the data set ``name`` is called on the command line."""
    preset, _, size = key.rpartition("_")
    if preset and size.startswith("k") and size[1:].isdecimal():
        return f"{preset}_{name}_{size}"
    return f"{key}_{name}"
