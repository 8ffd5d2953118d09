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
