"""The model sizes of the papers, each stated once."""

WIDTH = 512
"""Hidden channels of every published coupling."""

FINC = {
    "mnist": (2, 16),
    "cifar10": (3, 32),
    "cifar10_k28": (3, 28),
    "imagenet32": (3, 48),
    "imagenet64": (4, 48),
    "imagenet64_k32": (3, 32),
}
"""(L, K) of FInC Flow (arXiv 2301.09266), table 2, by data set. "cifar10_k28" is the model of
table 3, "imagenet64_k32" that of the FInC thesis, table 4."""

FIGURE4 = {2: (2, 10), 3: (2, 16)}
"""Channels → (L, K) in figure 4 of FInC Flow: two-channel input, and the older run on RGB."""

FINC_K28: dict[str, object] = {
    "conv": "finc",
    "levels": FINC["cifar10_k28"][0],
    "steps": FINC["cifar10_k28"][1],
    "width": WIDTH,
    "conv_options": {"kernel_size": 3},
}
"""Arguments of `MultiScaleFlow`: FInC Flow in its table 3, 39,422,968 parameters on 3×32×32."""

_MACOW: dict[str, object] = {
    "steps": [4, [12, 12], [12, 12], 12],
    "widths": [24, WIDTH, WIDTH, WIDTH],
    "factor": 4,
    "conv_options": {"kernel_size": [2, 3]},
    "preprocessing": "scale",
}

MACOW_FG = _MACOW | {"dequantization": "uniform"}
"""Arguments of `MaCowFG`: MaCow (arXiv 1902.04208) as its released cifar10-conv.json has it,
37,197,547 parameters on 3×32×32."""

MACOW_ORG = _MACOW | {
    "dequantization": "variational_macow",
    "dequantization_options": {"steps": [4, 4], "widths": [24, 256], "context_channels": 4},
}
"""The same with the released cifar10-vdq.json, 38,403,423 parameters."""

MINTNET: dict[str, dict[str, object]] = {
    "mnist": {"layers": 20, "latent_multiplier": 45, "conv_options": {"released_lr": 3.5}},
    "cifar10": {"layers": 21, "latent_multiplier": 85, "conv_options": {"released_lr": 1.1}},
    "imagenet32": {"layers": 21, "latent_multiplier": 85, "conv_options": {"released_lr": 1.15}},
}
"""Arguments of `MintNet` (arXiv 1907.07945) as its released configurations have them, by data set:
805,272 parameters on 1×28×28, 27,460,944 on 3×32×32. They are trained behind a logit of α = 1e-6
(MNIST) and 0.05."""


def net(data: str, levels: int, steps: int, width: int) -> dict[str, object]:
    """Return the arguments of `MintNet` for a data set: as released, or of about that size.

    Args:
        data: name of the data set.
        levels, steps, width: L, K and hidden channels of the other models, for data that MintNet
            was not released for: L − 1 halvings, L·K layers.

    >>> from invconv.flows.published import net
    >>> net("digits", 2, 4, 64)
    {'layers': 8, 'latent_multiplier': 16, 'halvings': 1}
    """
    if data in MINTNET:
        return dict(MINTNET[data])
    multiplier = max(4 ** (levels - 1), width // 4)
    return {"layers": levels * steps, "latent_multiplier": multiplier, "halvings": levels - 1}
