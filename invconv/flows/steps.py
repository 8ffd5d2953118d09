"""The steps of a flow around a convolution: one for all, and each paper's own."""

from collections.abc import Callable
from typing import Any

from torch import nn

from invconv.about import Options
from invconv.conv import Shape, build, layer_class
from invconv.flows.actnorm import ActNorm
from invconv.flows.common_numbers import drawn
from invconv.flows.coupling import AffineCoupling, QuadCoupling
from invconv.flows.macow_steps import macow_step
from invconv.flows.spline import SplineActivation
from invconv.layers import Glow1x1
from invconv.validation import check_choice

STEPS = ("common", "paper")


def common_step(
    conv: str, shape: Shape, width: int, options: Options, mixing: str
) -> list[nn.Module]:
    """Convolution → ActNorm → Glow 1×1 → coupling; for Glow itself ActNorm → 1×1 → coupling.

    The same for every method, so that only the convolution differs; it is FInC's own step
    (arXiv 2301.09266, section 3.4).

    Args:
        conv: the registered name of the convolution.
        shape: (C, H, W) of the step's input.
        width: hidden channels of the coupling's network.
        options: of the convolution.
        mixing: parametrization of the 1×1 that follows a convolution other than Glow's.
    """
    channels = shape[0]
    if issubclass(layer_class(conv), Glow1x1):
        return [ActNorm(channels), _mixing(shape, conv, **options), _coupling(shape, width)]
    with drawn("convolution"):
        layer = build(conv, shape, **options)
    mixing_layer = _mixing(shape, parametrization=mixing)
    return [layer, ActNorm(channels), mixing_layer, _coupling(shape, width)]


def _mixing(shape: Shape, conv: str = "glow", **options: Any) -> nn.Module:
    with drawn("1x1"):
        return build(conv, shape, **options)


def _coupling(shape: Shape, width: int, scale: str = "tanh") -> nn.Module:
    with drawn("coupling"):
        return AffineCoupling(shape[0], width, scale)


def _glow(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """Glow (arXiv 1807.03039, figure 2): ActNorm → 1×1 → coupling."""
    layer = _mixing(shape, **{"parametrization": "plain", **options})
    return [ActNorm(shape[0]), layer, _coupling(shape, width, "sigmoid")]


def _finc(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """FInC (arXiv 2301.09266, section 3.4): the common step with a plain 1×1."""
    return common_step("finc", shape, width, options, "plain")


def _emerging(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """Emerging (arXiv 1901.11137, section 4): ActNorm → 1×1 → two convolutions → coupling."""
    layer = build("emerging", shape, **{"pointwise": True, "bias": True, **options})
    return [ActNorm(shape[0]), layer, _coupling(shape, width, "sigmoid")]


def _cinc(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """CInC (arXiv 2107.01358, section 3): ActNorm → convolution → quad-coupling, no 1×1."""
    layer = build("cinc", shape, **{"bias": True, **options})
    return [ActNorm(shape[0]), layer, QuadCoupling(shape[0], width)]


def _inverse_flow(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """Inverse-Flow (AISTATS 2025): ActNorm → inverse → spline → 1×1 → coupling.

    The released scripts differ; this is `create_model` of `inf/if_glow_cifar.py` as it stands
    by default. Its runs leave out the ActNorm, and other scripts the 1×1.
    """
    layer = build("inverse_flow", shape, **options)
    mixing = _mixing(shape, parametrization="plain")
    return [ActNorm(shape[0]), layer, SplineActivation(), mixing, _coupling(shape, width)]


def _woodbury(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """Woodbury (arXiv 2002.12229, section 4): Glow's step with it in place of the 1×1."""
    layer = build("woodbury", shape, **options)
    return [ActNorm(shape[0]), layer, _coupling(shape, width, "sigmoid")]


def _me_woodbury(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    layer = build("me_woodbury", shape, **options)
    return [ActNorm(shape[0]), layer, _coupling(shape, width, "sigmoid")]


def _periodic(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """Periodic (arXiv 1901.11137, section 4): Glow's step with it in place of the 1×1."""
    layer = build("periodic", shape, **options)
    return [ActNorm(shape[0]), layer, _coupling(shape, width, "sigmoid")]


def _macow(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """MaCow (arXiv 1902.04208, section 3): two units, then ActNorm → 1×1 → coupling."""
    return macow_step(shape[0], width, **options)


def _mintnet(shape: Shape, width: int, options: Options) -> list[nn.Module]:
    """MintNet (arXiv 1907.07945, section 4): the two blocks alone."""
    return [build("mintnet", shape, **options)]


PAPER_STEPS: dict[str, Callable[[Shape, int, Options], list[nn.Module]]] = {
    "glow": _glow,
    "finc": _finc,
    "emerging": _emerging,
    "cinc": _cinc,
    "inverse_flow": _inverse_flow,
    "woodbury": _woodbury,
    "me_woodbury": _me_woodbury,
    "periodic": _periodic,
    "macow": _macow,
    "mintnet": _mintnet,
}
"""Registered name → what builds the step that the method's authors put around it."""


def build_step(
    step: str, conv: str, shape: Shape, width: int, options: Options, mixing: str
) -> list[nn.Module]:
    """The parts of one step; arguments as in `common_step`.

    Args:
        step: "common" or "paper". The papers' steps follow the released models in order and
            coupling; the coupling's network is `CouplingNetwork` for all.

    Raises:
        ValueError: for an unknown step, or a convolution whose paper's step is not known.
    """
    if check_choice(step, STEPS, "step") == "common":
        return common_step(conv, shape, width, options, mixing)
    if conv not in PAPER_STEPS:
        raise ValueError(
            f"the step of {conv!r}'s paper is not known (known: {', '.join(PAPER_STEPS)}); "
            'use step="common", or add it to invconv.flows.steps.PAPER_STEPS'
        )
    return PAPER_STEPS[conv](shape, width, options)
