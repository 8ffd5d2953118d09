"""What the 1×1 convolutions of other libraries need of torch."""

import torch


def check_default_dtype(library: str) -> None:
    """Raise TypeError where torch's default dtype is one in which ``library`` has no layers."""
    dtype = torch.get_default_dtype()
    if torch.finfo(dtype).bits < 32:
        raise TypeError(
            f"{library} makes its 1×1 convolution in torch's default dtype, which must be float32 "
            f"or float64, not {dtype}"
        )
