"""What a training step minimizes."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from invconv.bijection import Bijection
from invconv.flows import LevelFlow


class Objective(nn.Module):
    """What is compiled and distributed: the mean negative log-likelihood in nats per image.

    Plus the `Bijection.extra_loss` of every part that has one of its own.
    """

    def __init__(self, flow: LevelFlow, memory: str = "ordinary") -> None:
        super().__init__()
        self.flow, self.memory = flow, memory
        self.penalized = [
            one
            for _, part in flow.parts()
            for one in part.chained()
            if type(one).extra_loss is not Bijection.extra_loss
        ]

    def forward(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Nats per image, a scalar.

        Args:
            images: (B, C, H, W), integers.
            noise: of the dequantization.
        """
        if not self.penalized:
            return -self.flow.log_prob(images, noise, self.memory).mean()
        terms: list[Tensor] = []

        def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            terms.append(cast(Bijection, layer).extra_loss(inputs[0], output[0]).mean())

        hooks = [layer.register_forward_hook(keep) for layer in self.penalized]
        try:
            terms.append(-self.flow.log_prob(images, noise, self.memory).mean())
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(terms).sum()
