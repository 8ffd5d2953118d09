"""Fashion-MNIST; the last 10,000 training images validate, as for MNIST."""

from invconv.data.published_sets import Debian, Hub, PublishedSet
from invconv.data.sets import DataSet, ranked, register

STEPS = 4000

FASHION_MNIST = register(
    DataSet(
        name="fashion_mnist",
        title="Fashion-MNIST",
        options=("path", "bits"),
        shape=(1, 28, 28),
        published_sets={
            "fashion_mnist": PublishedSet(
                title="fashion_mnist",
                shape=(1, 28, 28),
                counts={"train": 60_000, "test": 10_000},
                held_out=10_000,
                digests={
                    "train": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    "test": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                },
                debian=Debian("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
                hub=Hub(
                    "zalando-datasets/fashion_mnist",
                    "fashion_mnist",
                    "531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2",
                ),
            )
        },
        budgets={"ranked": ranked(STEPS), "long": ranked(4 * STEPS)},
    )
)
