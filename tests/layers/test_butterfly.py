"""Butterfly layers: dense matrices, 2×2 blocks, the authors' numbers, parameter counts."""

import math

import numpy as np
import pytest
import torch
from recorded import largest_difference, recorded

from invconv import Butterfly, build
from invconv.layers.butterfly import Factor

OPTIONS = [
    ((2, 3, 4), {}),
    ((4, 2, 2), {"bidirectional": True}),
    ((3, 4, 2), {"levels": 2, "share": True}),
    ((1, 2, 5), {"levels": 1}),
    ((1, 1, 8), {"share": True, "bidirectional": True, "init": "rotation"}),
]


def make(shape, seed=0, **options):
    """A layer away from its start, with determinants of both signs."""
    torch.manual_seed(seed)
    layer = Butterfly(shape, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        for factor in layer.factors:
            factor.sign.copy_(torch.where(torch.rand_like(factor.sign) < 0.5, -1.0, 1.0))
    return layer


def block_of(factor, group, pair):
    """A rotation times a lower triangular matrix, as 2×2."""
    place = group, pair % factor.sign.shape[1]
    cos, sin = factor.angle[place].cos(), factor.angle[place].sin()
    first, second = factor.log_scale[:, *place].exp()
    second = factor.sign[place] * second
    rotation = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    triangular = torch.stack(
        [torch.stack([first, 0 * first]), torch.stack([factor.shear[place], second])]
    )
    return rotation @ triangular


def dense_factor(factor, level, numbers):
    """The (D, D) matrix of a factor, one 2×2 block after the other."""
    half = numbers // 2 ** (level + 1)
    matrix = torch.zeros(numbers, numbers)
    for group in range(2**level):
        for pair in range(half):
            where = torch.tensor([2 * half * group + pair, 2 * half * group + half + pair])
            matrix[where[:, None], where] = block_of(factor, group, pair)
    return matrix


def dense(layer):
    """The (D, D) matrix of a layer: levels 0, 1, …, and back if it is bidirectional."""
    numbers = math.prod(layer.shape)
    order = list(range(layer.levels))
    order += order[::-1] if layer.bidirectional else []
    matrix = torch.eye(numbers)
    for factor, level in zip(layer.factors, order, strict=True):
        matrix = dense_factor(factor, level, numbers) @ matrix
    return matrix


@pytest.mark.parametrize(("shape", "options"), OPTIONS)
def test_the_layer_is_its_dense_matrix(shape, options, float64):
    """Values, log_det, the inverse and all gradients."""
    layer = make(shape, **options)
    matrix = dense(layer)
    x = torch.randn(3, *shape, requires_grad=True)
    z, log_det = layer(x)
    truth = (x.flatten(1) @ matrix.T).view_as(x)
    torch.testing.assert_close(z, truth, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(matrix).logabsdet.repeat(3))
    torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-10)
    y = torch.linalg.solve(matrix, x.flatten(1).T).T.view_as(x)
    torch.testing.assert_close(layer.inverse(x), y, rtol=0, atol=1e-10)

    weight = torch.randn_like(x)
    leaves = x, *layer.parameters()
    ours = (weight * (z + layer.inverse(x))).sum() + log_det[0]
    theirs = (weight * (truth + y)).sum() + torch.linalg.slogdet(matrix).logabsdet
    grads = torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_levels_pair_channels_then_rows_then_columns():
    shape = 4, 2, 8
    expected = [(2, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 4), (0, 0, 2), (0, 0, 1)]
    layer = make(shape)
    assert layer.levels == layer.dependent_steps(2, 8) == len(expected)
    for factor, distance in zip(layer.factors, expected, strict=True):
        columns = factor(torch.eye(64)).reshape(64, 64)
        i, j = map(np.array, np.nonzero(np.triu(columns.detach().numpy(), 1)))
        assert sorted([*i, *j]) == list(range(64))
        apart = np.stack(np.unravel_index(j, shape)) - np.stack(np.unravel_index(i, shape))
        assert (distance == apart.T).all()


@pytest.mark.parametrize(("shape", "odd"), [((4, 2, 2), 1), ((2, 3, 4), 3)])
def test_a_whole_butterfly_mixes_all_that_2_divides(shape, odd, float64):
    entries = dense(make(shape)) != 0
    assert entries.float().mean().item() == pytest.approx(1 / odd)


def numbers_of(blocks):
    """Angle, logarithms of the diagonal, shear and sign of any invertible (…, 2, 2) blocks."""
    sign = torch.linalg.det(blocks).sign()
    angle = torch.atan2(-sign * blocks[..., 0, 1], sign * blocks[..., 1, 1])
    second = torch.hypot(blocks[..., 0, 1], blocks[..., 1, 1])
    first = torch.linalg.det(blocks).abs() / second
    shear = angle.cos() * blocks[..., 1, 0] - angle.sin() * blocks[..., 0, 0]
    return angle, torch.stack([first.log(), second.log()]), shear, sign


@torch.no_grad()
def set_blocks(factor, blocks):
    """Gives a factor its blocks, (2^l, m, output, input)."""
    for name, value in zip(
        ("angle", "log_scale", "shear", "sign"), numbers_of(blocks), strict=True
    ):
        getattr(factor, name).copy_(value)


def test_every_invertible_block_has_its_four_numbers(float64):
    factor = Factor(2 * 500, 0, False, "identity")
    blocks = torch.randn(1, 500, 2, 2)
    set_blocks(factor, blocks)
    assert 0.4 < (factor.sign < 0).double().mean() < 0.6
    torch.testing.assert_close(factor.blocks().permute(2, 3, 0, 1), blocks)
    found = factor.inverse_blocks().permute(2, 3, 0, 1)
    torch.testing.assert_close(found, torch.linalg.inv(blocks))
    truth = torch.linalg.det(blocks).abs().log().sum()
    torch.testing.assert_close(factor.log_abs_det(), truth)


@pytest.mark.parametrize("init", ["identity", "rotation"])
def test_no_direction_is_lost_where_training_starts(init, float64):
    """A rotation times a diagonal times a rotation has rank 3 where both scales are the same."""
    factor = Factor(2, 0, False, init)
    names, values = zip(*factor.named_parameters(), strict=True)

    def block(*values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(factor, state, torch.eye(2)).flatten()

    slopes = torch.autograd.functional.jacobian(block, tuple(v.detach() for v in values))
    slopes = torch.cat([part.flatten(1) for part in slopes], 1)
    assert slopes.shape == (4, 4) and torch.linalg.cond(slopes) < 3


def test_no_optimizer_makes_a_block_singular(float64):
    """Each step goes to where free entries would have crossed a determinant of 0."""
    layer = make((2, 2, 4))
    signs = [factor.sign.clone() for factor in layer.factors]
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.3, weight_decay=1.0)
    x = torch.randn(8, 2, 2, 4)
    for _ in range(20):
        optimizer.zero_grad()
        (layer(x)[0] - x.flip(1)).square().mean().backward()
        optimizer.step()
        for factor, sign in zip(layer.factors, signs, strict=True):
            assert (torch.linalg.det(factor.blocks().permute(2, 3, 0, 1)).sign() == sign).all()
        torch.testing.assert_close(layer.inverse(layer(x)[0], check=True), x)


def test_starts_as_the_identity_or_as_rotations(float64):
    x = torch.randn(2, 3, 4, 2)
    z, log_det = Butterfly((3, 4, 2))(x)
    assert torch.equal(z, x) and log_det.tolist() == [0, 0]
    layer = Butterfly((3, 4, 2), init="rotation")
    matrix = dense(layer)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(24))
    assert (matrix - torch.eye(24)).abs().max() > 0.3
    assert layer(x)[1].tolist() == [0, 0]


def test_parameter_counts():
    def count(layer):
        return sum(parameter.numel() for parameter in layer.parameters())

    # levels=1 in the 32 steps of the first level of CIFAR-10, on 3×32×32 squeezed to 12×16×16
    assert 32 * count(Butterfly((12, 16, 16), levels=1)) == 196_608
    assert count(Butterfly((3, 4, 2))) == 3 * 4 * 24 / 2
    assert count(Butterfly((3, 4, 2), levels=2, bidirectional=True)) == 4 * 4 * 24 / 2
    assert count(Butterfly((3, 4, 2), share=True)) == 4 * (1 + 2 + 4)
    # the levels of the released configuration of permuted CIFAR-10, one less after every split
    shapes = [(12, 16, 16), (24, 8, 8), (48, 4, 4)]
    assert [Butterfly(shape).levels for shape in shapes] == [10, 9, 8]
    assert Butterfly((3, 4, 2), bidirectional=True).dependent_steps(4, 2) == 6


AUTHORS = {
    "plain": {},
    "shared": {"share": True},
    "both": {"levels": 2, "bidirectional": True},
}


def from_authors(name, arrays, turned=False):
    """Their weights are (2^l, input, m, output)."""
    layer = Butterfly(tuple(arrays["x"].shape[1:]), **AUTHORS[name]).double()
    for i, factor in enumerate(layer.factors):
        blocks = arrays[f"{name}_w{i}"].double().permute(0, 2, 3, 1)
        set_blocks(factor, blocks.mT if turned else blocks)
    return layer.float()


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_numbers(name):
    arrays = recorded("butterfly")
    layer = from_authors(name, arrays)
    z, log_det = layer(arrays["x"])
    assert largest_difference(z, arrays[f"{name}_z"]) < 1e-5
    assert largest_difference(log_det, arrays[f"{name}_log_det"]) < 1e-4
    assert largest_difference(layer.inverse(arrays["z_in"]), arrays[f"{name}_x_out"]) < 1e-5
    assert min(factor.sign.min() for factor in layer.factors) == -1

    turned = from_authors(name, arrays, turned=True)
    assert largest_difference(turned(arrays["x"])[0], arrays[f"{name}_z"]) > 0.1
    x = arrays["x"].permute(0, 2, 3, 1).reshape(arrays["x"].shape)
    assert largest_difference(layer(x)[0], arrays[f"{name}_z"]) > 0.1


def test_eval_mode_computes_the_blocks_once(monkeypatch):
    layer = make((2, 2, 2)).eval()
    calls = []
    compute = Factor.inverse_blocks
    monkeypatch.setattr(Factor, "inverse_blocks", lambda self: calls.append(1) or compute(self))
    z = torch.randn(2, 2, 2, 2)
    with torch.no_grad():
        layer.inverse(z)
        layer.inverse(z)
        assert len(calls) == 3
        layer.factors[1].sign.neg_()
        truth = make((2, 2, 2))
        truth.load_state_dict(layer.state_dict())
        torch.testing.assert_close(layer.inverse(z), truth.inverse(z))
        assert len(calls) == 4 + 3


def test_bad_shapes_and_options_get_one_sentence():
    with pytest.raises(ValueError, match=r"must be even, not 75 as of \(3, 5, 5\)"):
        Butterfly((3, 5, 5))
    with pytest.raises(ValueError, match=r"levels must be at most 3, .* 24 numbers .*, not 4"):
        build("butterfly", (3, 4, 2), levels=4)
    with pytest.raises(ValueError, match="levels must be an int of at least 1, not 0"):
        Butterfly((3, 4, 2), levels=0)
    with pytest.raises(ValueError, match="known: identity, rotation"):
        Butterfly((3, 4, 2), init="orthogonal")
    with pytest.raises(TypeError, match="known: levels, share, bidirectional, init"):
        build("butterfly", (3, 4, 2), kernel_size=3)
    layer = Butterfly((3, 4, 2))
    for call in (layer, layer.inverse):
        with pytest.raises(ValueError, match=r"\(B, 3, 4, 2\).* not for 2×4"):
            call(torch.zeros(1, 3, 2, 4))
