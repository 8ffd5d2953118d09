"""MNIST, split as in FInC Flow's code: the last 10,000 training images validate."""

from invconv.data.published_sets import Hub, PublishedSet
from invconv.data.sets import DataSet, budget, register
from invconv.flows.published import FINC, WIDTH

PAPER = budget(
    *FINC["mnist"],
    WIDTH,
    training_steps=20_000,
    batch_size=250,
    learning_rate=1e-3,
    warmup_steps=1000,
    grad_clip=1.0,
    evaluate_every=200,
    checkpoint_every=1000,
)
"""FInC Flow: Adam with 1e-3, batches of 250 to 1000. Ours: 250, the warm-up, and 100 epochs; the
paper does not say how many."""

MNIST = register(
    DataSet(
        name="mnist",
        title="MNIST",
        options=("path", "bits"),
        published=True,
        shape=(1, 28, 28),
        published_sets={
            "mnist": PublishedSet(
                title="mnist",
                shape=(1, 28, 28),
                counts={"train": 60_000, "test": 10_000},
                held_out=10_000,
                digests={
                    "train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                },
                hub=Hub("ylecun/mnist", "mnist", "77f3279092a1c1579b2250db8eafed0ad422088c"),
            )
        },
        budgets={"paper": PAPER},
    )
)
