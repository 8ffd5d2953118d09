"""CelebA, aligned and cropped to 64×64."""

from typing import TYPE_CHECKING

from invconv.data.published_sets import Hub, PublishedSet
from invconv.data.sets import DataSet, register

if TYPE_CHECKING:
    from PIL.Image import Image


def crop_celeba(picture: "Image") -> "Image":
    """The 148×148 crop of an aligned 178×218 CelebA image at row 40, column 15, as 64×64.

    The crop of Dinh et al., "Density estimation using Real NVP" (2017), section 4.1, where their
    code has it; resized by Pillow's bilinear filter, which averages over what it shrinks.
    """
    if picture.size != (178, 218):
        raise ValueError(f"it is {picture.width}×{picture.height}, not CelebA's aligned 178×218")
    from PIL.Image import Resampling

    box = (15, 40, 15 + 148, 40 + 148)
    return picture.resize((64, 64), Resampling.BILINEAR, box=box)


CELEBA = register(
    DataSet(
        name="celeba",
        title="CelebA",
        options=("path", "bits"),
        shape=(3, 64, 64),
        published_sets={
            "celeba": PublishedSet(
                title="celeba",
                shape=(3, 64, 64),
                counts={"train": 162_770, "valid": 19_867, "test": 19_962},
                hub=Hub(
                    "flwrlabs/celeba",
                    "img_align+identity+attr",
                    "2d738f56e0e7f925ea36ae7c808ea925264aacec",
                ),
                prepare=crop_celeba,
            )
        },
    )
)
