"""Our layers with the weights of the authors' layers: the same outputs (see data/README.md)."""

from dataclasses import replace

import pytest
import torch
from cases import entries
from recorded import largest_difference, recorded

from invconv import (
    CInC,
    Emerging,
    FInC,
    TriangularConv,
    solve_triangular_conv2d,
    triangular_conv2d,
)
from invconv.solvers.problem import CORNERS

CLOSE, FAR = 1e-5, 0.1


def load(name):
    """The arrays of one file in float64."""
    return {key: value.double() for key, value in recorded(name).items()}


def load_tensorflow(name):
    """The same with images as (B, C, H, W) and kernels as (out, in, kh, kw)."""
    arrays = load(name)
    for key, value in arrays.items():
        if key in ("x", "z", "z_in", "x_out"):
            arrays[key] = value.permute(0, 3, 1, 2).contiguous()
        elif key.startswith("W"):
            arrays[key] = value.permute(3, 2, 0, 1).contiguous()
    return arrays


@torch.no_grad()
def set_weight(conv, kernel, bias=None):
    """Gives ``conv`` a kernel in top-left orientation, and takes log|.| of a learned diagonal."""
    on_diagonal = entries(conv)[1]
    diagonal = kernel[on_diagonal]
    conv.weight.copy_(kernel)
    if conv.diagonal == "learned":
        conv.weight[on_diagonal] = diagonal.abs().log()
        conv.sign.copy_(diagonal.sign())
    if bias is not None:
        conv.shift.copy_(bias)


def check(layer, arrays):
    """Forward, log_det and inverse are the authors'."""
    layer.eval()
    with torch.no_grad():
        z, log_det = layer(arrays["x"])
        assert largest_difference(z, arrays["z"]) < CLOSE
        assert largest_difference(log_det, arrays["log_det"]) < 10 * CLOSE
        assert largest_difference(layer.inverse(arrays["z_in"]), arrays["x_out"]) < CLOSE


def misses(layer, arrays):
    """Whether the forward pass is far from the authors'."""
    with torch.no_grad():
        return largest_difference(layer(arrays["x"])[0], arrays["z"]) > FAR


def emerging(arrays, **options):
    channels = arrays["x"].shape[1]
    return Emerging(channels, bias=True, dilation=int(arrays["dilation"]), **options).double()


@pytest.mark.parametrize(
    ("name", "k"), [("square_k3", 3), ("square_k5", 5), ("square_k3_dilation2", 3)]
)
def test_emerging(name, k):
    arrays = load_tensorflow(f"emerging_tf_{name}")
    half = (k + 1) // 2
    first = arrays["W1"][:, :, half - 1 :, half - 1 :].flip(2, 3)
    second = arrays["W2"][:, :, :half, :half]
    layer = emerging(arrays, kernel_size=k)
    set_weight(layer.first, first)
    set_weight(layer.second, second, arrays["b"])
    check(layer, arrays)
    check_published = emerging(arrays, kernel_size=k, inverse_method="published")
    check_published.load_state_dict(layer.state_dict())
    check(check_published, arrays)

    for wrong in (first.flip(2, 3), first.transpose(2, 3), first.transpose(0, 1)):
        set_weight(layer.first, wrong)
        assert misses(layer, arrays)
    set_weight(layer.first, first)
    for conv, corner in ((layer.first, "tl"), (layer.second, "br")):
        conv._problem = replace(conv._problem, corners=(CORNERS.index(corner),))
    assert misses(layer, arrays)


@pytest.mark.parametrize("name", ["k3_upper0", "k5_upper0", "k3_upper1", "k3_upper1_dilation2"])
def test_emerging_with_the_raster_mask(name):
    """The released raster convolution is one of the two; the other is the identity here."""
    arrays = load_tensorflow(f"emerging_tf_raster_{name}")
    k, upper = arrays["W"].shape[2], bool(arrays["is_upper"])
    layer = emerging(arrays, kernel_size=k, mask="raster")
    ours, identity = (layer.second, layer.first) if upper else (layer.first, layer.second)
    kernel = arrays["W"] if upper else arrays["W"].flip(2, 3)
    kernel = kernel[:, :, : (k + 1) // 2]
    set_weight(identity, entries(identity)[1].double())
    set_weight(ours, kernel)
    with torch.no_grad():
        layer.second.shift.copy_(arrays["b"])
    check(layer, arrays)
    for wrong in (kernel.flip(3), kernel.transpose(0, 1)):
        set_weight(ours, wrong)
        assert misses(layer, arrays)


def test_emerging_as_the_finc_authors_timed_it():
    """Another family: a 1×1, then from the top left, then from the bottom right, both lower."""
    arrays = load("emerging_port")
    channels = arrays["x"].shape[1]
    convs = []
    for corner, name in (("tl", "a"), ("br", "b")):
        conv = TriangularConv(
            channels, (2, 2), corners=corner, diagonal="learned", bias=True
        ).double()
        set_weight(conv, arrays[f"weight_{name}"], arrays[f"bias_{name}"])
        convs.append(conv)
    first, second = convs
    mixed = torch.einsum("cd,bdhw->bchw", arrays["W1x1"], arrays["x"])
    log_det = 35 * torch.linalg.slogdet(arrays["W1x1"]).logabsdet
    with torch.no_grad():
        assert largest_difference(second.convolve(first.convolve(mixed)), arrays["z"]) < CLOSE
        assert largest_difference(first.convolve(second.convolve(mixed)), arrays["z"]) > FAR
        log_det = log_det + first.log_det(mixed) + second.log_det(mixed)
        assert largest_difference(log_det, arrays["log_det"]) < 10 * CLOSE
        x = first.inverse(second.inverse(arrays["z_in"]))
        x = torch.einsum("cd,bdhw->bchw", torch.linalg.inv(arrays["W1x1"]), x)
        assert largest_difference(x, arrays["x_out"]) < CLOSE


def test_cinc():
    arrays = load_tensorflow("cinc_tf_k3")
    kernel = arrays["W"][:, :, :3, :3]
    layer = CInC(arrays["x"].shape[1], bias=True).double()
    set_weight(layer, kernel, arrays["b"])
    check(layer, arrays)
    layer.inverse_method = "published"
    check(layer, arrays)
    for wrong in (kernel.flip(2, 3), kernel.transpose(2, 3), kernel.transpose(0, 1)):
        set_weight(layer, wrong, arrays["b"])
        assert misses(layer, arrays)


@pytest.mark.parametrize("k", [3, 5])
def test_cinc_as_the_finc_authors_timed_it(k):
    """Unit diagonal, and lower triangular: the released order of channels, reversed."""
    arrays = load(f"cinc_port_k{k}")
    reverse = {key: arrays[key].flip(1) for key in ("x", "z", "z_in", "x_out")}
    kernel = arrays["weight"].flip(0, 1)
    channels = len(kernel)
    layer = CInC(channels, k, diagonal="unit", inverse_method="diagonal_channel").double()
    set_weight(layer, kernel)
    check(layer, arrays | reverse)
    set_weight(layer, arrays["weight"])
    assert misses(layer, arrays | reverse)


@pytest.mark.parametrize("k", [3, 5])
def test_finc(k):
    arrays = load(f"finc_k{k}")
    flips = {"tl": (), "tr": (3,), "bl": (2,), "br": (2, 3)}
    kernel = torch.cat([arrays[f"weight_{c}"].flip(f) for c, f in flips.items()])
    layer = FInC(8, k).double()
    set_weight(layer, kernel)
    check(layer, arrays)
    layer.inverse_method = "published"
    check(layer, arrays)
    stored = torch.cat([arrays[f"weight_{c}"] for c in flips])
    for wrong in (stored, kernel.flip(2, 3), kernel.roll(2, 0), kernel.transpose(2, 3)):
        set_weight(layer, wrong)
        assert misses(layer, arrays)


def test_inverse_flow_where_the_released_code_is_right():
    """At C = 4 it solves four groups of one channel; its gradients are not those of that map."""
    arrays = load("inverse_flow_c4_k3")
    kernel = arrays["weight"][:, :1].clone()
    kernel[:, :, -1, -1] = 1
    kernel.requires_grad_()
    x = arrays["x"].requires_grad_()
    z = solve_triangular_conv2d(x, kernel)
    assert largest_difference(z, arrays["z"]) < CLOSE
    assert largest_difference(triangular_conv2d(arrays["z_in"], kernel), arrays["x_out"]) < CLOSE
    z.backward(arrays["G"])
    for ours, theirs in (
        (x.grad, arrays["their_grad_input"]),
        (kernel.grad, arrays["their_grad_weight"][:, :1]),
    ):
        assert (theirs - ours).norm() / ours.norm() > 0.3
