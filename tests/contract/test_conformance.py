"""Every registered layer keeps the contract of `InvertibleConv`."""

import pytest
import torch
from evaluated import EvaluatedSNF, evaluated

from invconv import TriangularConv, available, build
from invconv.conv import layer_class
from invconv.flows import (
    ActNorm,
    AffineCoupling,
    PlainSplit,
    QuadCoupling,
    Scale,
    Sequential,
    SplineActivation,
    Split,
)
from invconv.flows.macow_steps import GatedCoupling
from invconv.testing import CHECKS, check_invertible_conv

LAYERS = [
    ("cinc", (1, 4, 3), {"kernel_size": 2}),
    ("cinc", (3, 3, 5), {"bias": True}),
    ("cinc", (5, 4, 3), {"diagonal": "unit"}),
    ("cinc", (2, 3, 4), {"max_growth": 1.2}),
    ("emerging", (1, 3, 4), {}),
    ("emerging", (3, 4, 5), {"mask": "raster", "bias": True}),
    ("emerging", (2, 5, 3), {"kernel_size": 5, "pointwise": True}),
    ("emerging", (4, 3, 2), {"kernel_size": 5, "mask": "raster"}),
    ("emerging", (2, 5, 4), {"mask": "raster", "dilation": 2}),
    ("emerging", (5, 2, 3), {"kernel_size": 1, "dilation": 3}),
    ("emerging", (2, 4, 6), {"dilation": 2, "bias": True}),
    ("finc", (4, 3, 5), {"kernel_size": 2}),
    ("finc", (8, 4, 3), {"kernel_size": 3}),
    ("finc", (4, 2, 3), {"kernel_size": 5}),
    ("finc", (12, 2, 2), {"kernel_size": 1}),
    ("finc", (4, 3, 4), {"max_growth": 1.2}),
    ("glow", (3, 4, 3), {}),
    ("glow", (5, 2, 3), {"parametrization": "plain"}),
    ("glow", (1, 2, 2), {}),
    ("inverse_flow", (1, 4, 3), {"kernel_size": 2}),
    ("inverse_flow", (3, 3, 5), {}),
    ("inverse_flow", (5, 2, 3), {"kernel_size": 1}),
    ("woodbury", (2, 3, 5), {}),
    ("woodbury", (5, 4, 3), {"channel_rank": 1, "spatial_rank": 2}),
    ("woodbury", (1, 2, 3), {"inverse_method": "published"}),
    ("me_woodbury", (3, 4, 2), {}),
    ("me_woodbury", (5, 7, 6), {"channel_rank": 2, "height_rank": 3, "width_rank": 1}),
    ("me_woodbury", (4, 3, 5), {"inverse_method": "published"}),
    ("periodic", (2, 4, 3), {}),
    ("periodic", (5, 3, 6), {"kernel_size": 2}),
    ("periodic", (1, 4, 2), {"kernel_size": 5}),
    ("periodic", (3, 2, 5), {"kernel_size": 4, "inverse_method": "published"}),
    ("macow", (5, 3, 4), {}),
    ("macow", (1, 4, 3), {"orders": "AD", "hidden_channels": 3}),
    ("macow", (2, 2, 3), {"orders": "BC", "kernel_size": (3, 1), "inverse_method": "published"}),
    ("butterfly", (3, 4, 2), {"bidirectional": True, "init": "rotation"}),
    ("butterfly", (2, 3, 5), {}),
    ("butterfly", (1, 3, 4), {"share": True, "levels": 2}),
    ("cayley", (3, 4, 3), {}),
    ("cayley", (2, 3, 6), {"kernel_size": 2}),
    ("cayley", (1, 4, 2), {"kernel_size": 5}),
    ("cayley", (5, 3, 2), {"kernel_size": 1}),
    ("conv_exp", (2, 4, 3), {}),
    ("conv_exp", (3, 2, 5), {"kernel_size": 5, "coefficient": 3.0}),
    ("conv_exp", (4, 3, 1), {"kernel_size": 1}),
    ("skew_exp", (2, 3, 5), {}),
    ("skew_exp", (3, 4, 2), {"kernel_size": 5, "coefficient": 2.0}),
    ("snf", (3, 2, 4), {}),
    ("snf", (2, 4, 3), {"kernel_size": 5, "bias": False}),
    ("snf", (4, 2, 3), {"kernel_size": 1}),
    ("mintnet", (3, 3, 2), {"latent_multiplier": 2}),
    ("mintnet", (1, 4, 3), {"tolerance": 1e-11, "newton_lr": 1.1}),
    ("mintnet", (2, 2, 4), {"latent_multiplier": 1, "kernel_size": 5}),
]

TRIANGULAR = [
    (4, {"kernel": (3, 2), "corners": ("tr", "bl"), "upper": True, "diagonal": "learned"}),
    (3, {"kernel": (2, 3), "corners": "br", "anchor": (1, 0), "bias": True}),
    (13, {"kernel": (2, 2), "inverse_method": "wavefront"}),
]
PARTS = {
    "actnorm": lambda shape: ActNorm(shape[0]),
    "affine": lambda shape: AffineCoupling(shape[0], 5),
    "sigmoid": lambda shape: AffineCoupling(shape[0], 5, scale="sigmoid"),
    "quad": lambda shape: QuadCoupling(shape[0], 5),
    "gated": lambda shape: GatedCoupling(shape[0], 5),
    "split": lambda shape: Split(shape[0], 5),
    "plain split": lambda shape: PlainSplit(1),
    "scale": lambda shape: Scale(8),
    "sequential": lambda shape: Sequential(ActNorm(shape[0]), build("finc", shape)),
    "spline": lambda shape: SplineActivation(bins=5, bound=1.5),
}
SLOW = {
    "torch_compile": "takes seconds: test_compiled",
    "exported_with_any_batch": "takes seconds: test_exported",
}
CARE = {
    "snf": {  # to a tolerance, and in eval mode: see test_snf.py for training mode
        "perturb": 0.02,  # larger noise leaves R no inverse of W, which is refused
        "skip": {"every_parameter": "no output depends on R in eval mode"},
    }
}
"""How a layer is checked that makes an exception to the contract."""
QUICK = ("finc-(8,4,3)", "woodbury-(2,3,5)")
FIRST = list({spec[0]: spec for spec in reversed(LAYERS)}.values())


def alone(check):
    """What to skip for one check."""
    return {name: "test_contract" for name in CHECKS if name != check}


def care(name):
    """What `check` takes for a layer besides its shape."""
    known = CARE.get(name, {})
    return known | {"skip": SLOW | known.get("skip", {})}


def maker(name, options):
    """A factory whose layers have diagonals of both signs, as training cannot make them."""

    def make(shape):
        if name == "snf":
            return evaluated(EvaluatedSNF, shape, **options)
        layer = build(name, shape, **options)
        for part in layer.modules():
            if isinstance(getattr(part, "sign", None), torch.Tensor):
                part.sign[::2] *= -1
        return layer

    return make


def label(value):
    return f"{value}".replace(" ", "")


@pytest.fixture
def check(record_property):
    """`check_invertible_conv` for one shape; the checks that were made are counted."""

    def run(factory, shape, dtypes=(torch.float64, torch.float32), skip=SLOW, **options):
        check_invertible_conv(factory, [shape], dtypes, skip=skip, **options)
        record_property("cases", len(dtypes) * (len(CHECKS) - len(skip)))

    return run


def test_every_registered_layer_is_tested():
    own = {name for name in available() if layer_class(name).__module__.startswith("invconv.l")}
    assert {name for name, _, _ in LAYERS} == own


def in_both(specs):
    """In float64 and in float32: all but one of each name in `make test-full` alone."""
    for spec in specs:
        for dtype in (torch.float64, torch.float32):
            slow = spec not in FIRST
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(*spec, dtype, marks=marks, id="-".join(map(label, (*spec, dtype))))


@pytest.mark.parametrize(("name", "shape", "options", "dtype"), list(in_both(LAYERS)))
def test_contract(check, name, shape, options, dtype):
    check(maker(name, options), shape, [dtype], **care(name))


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        *FIRST[:5],
        *(
            pytest.param(*spec, marks=pytest.mark.slow)
            for spec in LAYERS
            if spec in FIRST[5:] or (spec not in FIRST and "inverse_method" in spec[2])
        ),
    ],
    ids=label,
)
def test_contract_in_half_precision(check, name, shape, options):
    check(maker(name, options), shape, [torch.bfloat16], **care(name) | {"perturb": 0.02})


@pytest.mark.parametrize(("channels", "options"), TRIANGULAR, ids=label)
def test_contract_of_a_triangular_convolution(check, channels, options):
    def make(shape):
        return TriangularConv(shape[0], **options)

    check(make, (channels, 2, 3))


@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")
@pytest.mark.parametrize("part", PARTS)
def test_a_flows_other_parts_keep_the_contract(check, part):
    check(PARTS[part], (4, 3, 2))


def compiled(specs, compiler):
    """All but two, which are quick and among the first, run in `make test-full` alone."""
    for name, shape, options in specs:
        quick = compiler == "aot_eager" and f"{name}-{label(shape)}" in QUICK
        marks = [] if quick else [pytest.mark.slow]
        yield pytest.param(
            compiler, name, shape, options, marks=marks, id=f"{compiler}-{name}-{label(options)}"
        )


@pytest.mark.parametrize(
    ("compiler", "name", "shape", "options"),
    [*compiled(LAYERS, "aot_eager"), *compiled(FIRST, "inductor")],
)
@pytest.mark.filterwarnings("ignore")  # inductor uses what torch has deprecated
def test_compiled(check, compiler, name, shape, options):
    """Traced and differentiated for every layer; turned into C++ for one of each name."""
    known = care(name) | {"skip": alone("torch_compile"), "compiler": compiler}
    check(maker(name, options), shape, [torch.float64], **known)


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [pytest.param(*s, marks=[] if s in FIRST else [pytest.mark.slow]) for s in LAYERS],
    ids=label,
)
def test_exported(check, name, shape, options):
    """One of each name, the others in `make test-full`."""
    known = care(name) | {"skip": alone("exported_with_any_batch")}
    check(maker(name, options), shape, [torch.float32], **known)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "shape", "options"), LAYERS, ids=label)
def test_contract_on_a_gpu(check, name, shape, options):
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        check(maker(name, options), shape, device="cuda", **care(name))
