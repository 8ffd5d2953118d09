"""The methods of all tables: every variant of every layer, in the order of display."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from invconv.about import About, Options, Step, Variant
from invconv.conv import GROUP, InvertibleConv, layer_class, registered

COLOR, MARKER = "#777777", "."
"""The look of a method that has none of its own."""


@dataclass(frozen=True)
class Method:
    """A layer with its options and the step of the flow around it.

    Attributes:
        name: of the method in rows and on the command line.
        conv: the name of the layer, as in `invconv.build`.
        options: of the layer.
        step: as in `Variant`.
        title: the name on a page.
        paper: authors, title, and arXiv number or DOI; "" where unknown.
        year: of the paper; 0 where unknown.
        color: hexadecimal.
        marker: a marker of matplotlib.
        swept: whether the default sweeps of all tables include it.
        released, agrees: as in `About`.
    """

    name: str
    conv: str
    options: Options = field(default_factory=dict)
    step: Step = "common"
    title: str = ""
    paper: str = ""
    year: int = 0
    color: str = COLOR
    marker: str = MARKER
    swept: bool = False
    released: str = ""
    agrees: str = ""

    @property
    def look(self) -> dict[str, Any]:
        """How matplotlib's ``plot`` draws it: hollow and dashed in its paper's step or net."""
        own = {"linestyle": "--", "markerfacecolor": "white"} if self.step != "common" else {}
        return {"color": self.color, "marker": self.marker, "linestyle": "-", **own}

    def with_kernel(self, k: int) -> "Method | None":
        """Return this method with a k×k kernel, None if its layer has no such kernel."""
        options = layer_class(self.conv).kernel_options(k)
        return None if options is None else replace(self, options={**self.options, **options})


def methods() -> dict[str, Method]:
    """Return every method by name, in the order of display.

    The methods of the default sweeps come first, then those inside their paper's step, then the
    other ones; within each group, layers follow the imports in `invconv.layers`. Layers that
    installed packages name in `invconv.conv.GROUP` come last and are never in a default sweep.
    They are not imported: until `layer_class` has loaded one, its method is its name alone.

    Raises:
        ValueError: if two layers have a variant of the same name.

    >>> from invconv.methods import methods
    >>> list(methods())[:4]
    ['glow', 'finc', 'emerging', 'emerging_raster']
    """
    layers = registered()
    found: dict[str, Method] = {}
    for conv, layer in layers.items():
        for variant in _variants(conv, layer):
            taken = found.setdefault(variant.name, variant)
            if layers[taken.conv] is not layer:
                raise ValueError(f"{taken.conv} and {conv} both have a variant {variant.name!r}")
    installed = _installed()
    for name in installed:
        if name not in layers:
            found.setdefault(name, Method(name, name, title=name))
    for name, one in found.items():
        if one.conv in installed:
            found[name] = replace(one, swept=False)

    def place(one: Method) -> tuple[int, str]:
        if one.conv in installed:
            return 3, one.conv
        return (1 if one.step != "common" else 0 if one.swept else 2), ""

    return {one.name: one for one in sorted(found.values(), key=place)}


def method(name: str) -> Method:
    """Return the method ``name``, loading the layer of that name if an installed package has it.

    An unknown method, and one whose package cannot be imported, has its name as its title, and
    is drawn in gray with dots.

    >>> from invconv.methods import method
    >>> method("finc_paper").title, method("finc_paper").options
    ('FInC, own step', {'kernel_size': 3})
    >>> method("mine").title
    'mine'
    """
    if name in _installed() and name not in registered():
        with suppress(ImportError):
            layer_class(name)
    return methods().get(name) or Method(name, name, title=name)


@cache
def _installed() -> frozenset[str]:
    return frozenset(entry.name for entry in entry_points(group=GROUP))


def _variants(conv: str, layer: type[InvertibleConv]) -> Iterator[Method]:
    about: About | None = vars(layer).get("about")  # not what a base class says of itself
    if about is None:
        yield Method(conv, conv, title=layer.__name__)
        return
    for name, variant in (about.variants or {conv: Variant()}).items():
        yield Method(
            name=name,
            conv=conv,
            options=variant.options,
            step=variant.step,
            title=_title(about, variant, name, conv),
            paper=about.paper,
            year=about.year,
            color=variant.color or about.color or COLOR,
            marker=variant.marker or about.marker or MARKER,
            swept=variant.swept,
            released=about.released,
            agrees=about.agrees if about.released else "",
        )


def _title(about: About, variant: Variant, name: str, conv: str) -> str:
    if variant.title or not about.title:
        return variant.title or name
    if variant.step == "paper":
        return f"{about.title}, own step"
    return about.title if name == conv else name
