"""CIFAR-10, split as in FInC Flow's code: the last 10,000 training images validate."""

from invconv.data.published_sets import Hub, PublishedSet
from invconv.data.sets import Budget, DataSet, budget, register
from invconv.flows.published import FINC, WIDTH


def _paper(model: str) -> Budget:
    """FInC Flow: batches of 400, flips and shifts of up to 4 %.

    Ours: Adam with 1e-3 as for the other data sets, the warm-up (without it the first step can
    end in NaN), clipping, and 500 epochs.
    """
    return budget(
        *FINC[model],
        WIDTH,
        training_steps=50_000,
        batch_size=400,
        learning_rate=1e-3,
        warmup_steps=1000,
        grad_clip=1.0,
        flip=True,
        affine=0.04,
        evaluate_every=100,
        checkpoint_every=1000,
    )


CIFAR10 = register(
    DataSet(
        name="cifar10",
        title="CIFAR-10",
        options=("path", "bits"),
        published=True,
        shape=(3, 32, 32),
        published_sets={
            "cifar10": PublishedSet(
                title="cifar10",
                shape=(3, 32, 32),
                counts={"train": 50_000, "test": 10_000},
                held_out=10_000,
                hub=Hub(
                    "uoft-cs/cifar10", "plain_text", "0b2714987fa478483af9968de7c934580d0bb9a2"
                ),
            )
        },
        budgets={
            "paper": _paper("cifar10"),
            "paper_k28": _paper("cifar10_k28"),
        },
    )
)
