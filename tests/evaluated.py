"""Layers whose training mode computes something else by design, for the contract in eval mode."""

from invconv import ConvExponential, SelfNormalizingConv


class _Evaluated:
    """Never in training mode."""

    def train(self, mode=True):
        return super().train(False)


class EvaluatedExponential(_Evaluated, ConvExponential):
    """Its released variant sums 13 terms, not 6."""


class EvaluatedSNF(_Evaluated, SelfNormalizingConv):
    """log_det and all gradients are exact."""


def evaluated(kind, shape, **options):
    """A layer of that kind for images of ``shape`` in eval mode, where it stays."""
    return kind.from_shape(shape, **options).eval()
