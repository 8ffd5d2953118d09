"""ImageNet at 32×32 and 64×64, in two versions.

2016: van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel recurrent neural networks", the version of
the published figures. 2021: what image-net.org offers now; Chrabaszcz, Loshchilov and Hutter, "A
downsampled variant of ImageNet" (arXiv 1707.08819). The two differ in their filter, and so in what
their bits per dimension mean. 20,000 training images, drawn at random, validate: FInC Flow's code
draws as many.
"""

from invconv.data.published_sets import Hub, PublishedSet
from invconv.data.sets import Budget, DataSet, budget, register
from invconv.flows.published import FINC, WIDTH


def _imagenet(size: int, version: int, hub: Hub | None = None) -> PublishedSet:
    if version == 2016:
        counts = {"train": 1_281_149, "valid": 49_999}
        elsewhere = (
            f"unpack train_{size}x{size}.tar and valid_{size}x{size}.tar of van den Oord et al. "
            "(2016), which image-net.org no longer offers,"
        )
    else:
        counts = {"train": 1_281_167, "valid": 50_000}
        elsewhere = (
            f"log in at image-net.org/download-images, get the downsampled images {size}x{size} "
            f"(train and val, npz; Chrabaszcz et al., resized by averaging), and unpack them"
        )
    return PublishedSet(
        title=f"the {version} version of imagenet{size}",
        shape=(3, size, size),
        counts=counts,
        test="valid",
        held_out=20_000,
        drawn=True,
        hub=hub,
        elsewhere="" if hub else elsewhere,
    )


PAPER_32 = budget(
    *FINC["imagenet32"],
    WIDTH,
    training_steps=210_000,
    batch_size=300,
    learning_rate=1e-3,
    warmup_steps=1000,
    schedule="step",
    decay=0.1,
    decay_every=105_000,
    grad_clip=1.0,
    evaluate_every=4200,
    checkpoint_every=1000,
)
"""FInC Flow: Adam with 1e-3, a tenth every 25 epochs (of some 4,200 steps), batches of 300,
clipping at 1. Ours: the warm-up and 50 epochs."""


def _paper_64(model: str) -> Budget:
    """FInC Flow: Adam with 1e-3, batches of 10, clipping at 1.

    Ours: the warm-up and 10 epochs (of some 126,000 steps).
    """
    return budget(
        *FINC[model],
        WIDTH,
        training_steps=1_260_000,
        batch_size=10,
        learning_rate=1e-3,
        warmup_steps=1000,
        grad_clip=1.0,
        evaluate_every=63_000,
        checkpoint_every=5000,
    )


IMAGENET32 = register(
    DataSet(
        name="imagenet32",
        title="ImageNet-32",
        options=("path", "version", "bits"),
        defaults={"version": 2016},
        published=True,
        shape=(3, 32, 32),
        published_sets={"imagenet32": _imagenet(32, 2016), "imagenet32_2021": _imagenet(32, 2021)},
        budgets={"paper": PAPER_32},
    )
)
IMAGENET64 = register(
    DataSet(
        name="imagenet64",
        title="ImageNet-64",
        options=("path", "version", "bits"),
        defaults={"version": 2016},
        published=True,
        shape=(3, 64, 64),
        published_sets={
            "imagenet64": _imagenet(64, 2016),
            "imagenet64_2021": _imagenet(
                64,
                2021,
                Hub(
                    "sradc/imagenet_resized_64x64",
                    "data",
                    "0340ac5c2d913684cbce7da9eaad5e39479f349a",
                ),
            ),
        },
        budgets={
            "paper": _paper_64("imagenet64"),
            "paper_k32": _paper_64("imagenet64_k32"),
        },
    )
)
