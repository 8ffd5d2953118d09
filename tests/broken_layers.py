"""One small invertible layer, and copies of it that are each broken in one way.

`BROKEN` maps each to the checks of `invconv.testing` that have to catch it.
"""

import torch
import torch.nn.functional as F
from torch import nn

from invconv import NumericalError
from invconv.validation import check_finite


class Honest(nn.Module):
    """z[:, :, :, w] = L·x[:, :, :, w] + M·x[:, :, :, w − 1], L lower triangular; no base class."""

    def __init__(self, shape):
        super().__init__()
        channels = shape[0]
        self.mixing = nn.Parameter(torch.zeros(channels, channels))
        self.left = nn.Parameter(0.1 * torch.randn(channels, channels))

    def triangle(self):
        return self.mixing.tril(-1) + self.mixing.diagonal().exp().diag()

    def forward(self, x):
        return self.convolve(x), self.log_det(x)

    def convolve(self, x):
        kernel = torch.stack([self.left, self.triangle()], -1)[:, :, None]
        return F.conv2d(F.pad(x, (1, 0)), kernel)

    def log_det(self, x):
        pixels = x.shape[2] * x.shape[3]
        return (pixels * self.mixing.diagonal().sum()).to(x.dtype).repeat(x.shape[0])

    def inverse_triangle(self):
        return torch.linalg.inv(self.triangle())

    def inverse(self, z):
        inverse = self.inverse_triangle()
        columns = [torch.zeros_like(z[..., 0])]
        for column in z.unbind(-1):
            rest = column - torch.einsum("cd,bdh->bch", self.left, columns[-1])
            columns.append(torch.einsum("cd,bdh->bch", inverse, rest))
        return torch.stack(columns[1:], -1)


class WrongSign(Honest):
    def log_det(self, x):
        return -super().log_det(x)


class ScalarLogDet(Honest):
    def log_det(self, x):
        return super().log_det(x)[0]


class MutatedInput(Honest):
    def convolve(self, x):
        z = super().convolve(x)
        return z if torch.is_grad_enabled() else x.copy_(z)


class StaleCache(Honest):
    """What `triangle` gave in eval mode is kept until train() is called, as nflows does."""

    kept = None

    def train(self, mode=True):
        self.kept = None if mode else self.kept
        return super().train(mode)

    def triangle(self):
        if self.training or torch.is_grad_enabled():
            return super().triangle()
        if self.kept is None:
            self.kept = super().triangle()
        return self.kept


class CountsImages(Honest):
    """The number of images is a Python number, which a trace keeps."""

    def log_det(self, x):
        return super().log_det(x)[:1].repeat(len(x))


class ForgetsItsMask(Honest):
    """The mask is no part of the state_dict, and is made on the device of the day."""

    def __init__(self, shape):
        super().__init__(shape)
        mask = torch.ones(shape[0], shape[0]).tril(-1)
        self.register_buffer("mask", mask, persistent=False)

    def triangle(self):
        return self.mask * self.mixing + self.mixing.diagonal().exp().diag()


class EternalCache(Honest):
    """What `inverse_triangle` gave in eval mode is kept for ever, and used under gradients."""

    kept = None

    def inverse_triangle(self):
        if self.training:
            return super().inverse_triangle()
        if self.kept is None:
            self.kept = super().inverse_triangle()
        return self.kept


class MissesAFusedStep(Honest):
    """What `triangle` gave without gradients is kept while versions and memory are the same."""

    kept = None

    def triangle(self):
        key = self.mixing._version, self.mixing.data_ptr(), self.mixing.dtype
        if torch.is_grad_enabled():
            return super().triangle()
        if self.kept is None or self.kept[0] != key:
            self.kept = key, super().triangle()
        return self.kept[1]


class OffByOnePadding(Honest):
    """The inverse's padding is cut off at the other end: all is one pixel to the right."""

    def inverse(self, z):
        return F.pad(super().inverse(z), (1, -1))


class LogOfASignedDeterminant(nn.Module):
    """NaN where it is negative, which that of a QR of three channels never is."""

    def __init__(self, shape):
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(shape[0], shape[0]))[0]
        self.matrix = nn.Parameter(rotation.contiguous())

    def forward(self, x):
        log_det = x.shape[2] * x.shape[3] * torch.logdet(self.matrix)
        return torch.einsum("cd,bdhw->bchw", self.matrix, x), log_det.repeat(len(x))

    def inverse(self, z):
        return torch.einsum("cd,bdhw->bchw", torch.linalg.inv(self.matrix), z)


class ForgottenMask(Honest):
    """The identity when it is new, like `Honest`."""

    def triangle(self):
        diagonal = self.mixing.diagonal()
        return self.mixing + (diagonal.exp() - diagonal).diag()

    def inverse_triangle(self):
        return torch.linalg.inv(self.triangle().tril())


class InPlaceOnAView(Honest):
    """Works without gradients."""

    def convolve(self, x):
        z = super().convolve(x)
        for channel in z.unbind(1):
            channel.mul_(1.0)
        return z


class Float64Lost(Honest):
    def convolve(self, x):
        return super().convolve(x.float().to(x.dtype))


class MixedBatch(Honest):
    """A batch of one is right."""

    def convolve(self, x):
        return super().convolve(x) + 1e-4 * (x - x[:1].detach())


class ReversedBatch(Honest):
    """Each image gets what is another's; the round trip is right."""

    def convolve(self, x):
        return super().convolve(x).flip(0)

    def inverse(self, z):
        return super().inverse(z.flip(0))


class EightImagesAtMost(Honest):
    def inverse(self, z):
        x = super().inverse(z)
        return torch.cat([x[:8], 0 * x[8:]])


class EightGradientsAtMost(Honest):
    def inverse(self, z):
        x = super().inverse(z)
        return torch.cat([x[:8], x[8:].detach()])


class DroppedGradient(Honest):
    def log_det(self, x):
        return super().log_det(x).detach()


class DetachedInverse(Honest):
    def inverse(self, z):
        return super().inverse(z).detach()


class InexactAndDetached(DetachedInverse):
    exact = False


class InexactAndDoubled(Honest):
    """Twice the gradient of an inverse that calls itself approximate."""

    exact = False

    def inverse(self, z):
        x = super().inverse(z)
        return 2 * x - x.detach()


class MissesItsTolerance(Honest):
    """An approximate inverse that is further off than it says."""

    exact, tolerance = False, 1e-9

    def inverse(self, z):
        return super().inverse(z) * (1 + 1e-3)


class DroppedGradientInFloat32(Honest):
    def log_det(self, x):
        log_det = super().log_det(x)
        return log_det.detach() if x.dtype == torch.float32 else log_det


class DroppedGradientUnderAutocast(Honest):
    def convolve(self, x):
        z = super().convolve(x)
        return z.detach() if torch.is_autocast_enabled("cpu") else z


class ConstantForwardInEvalMode(Honest):
    def triangle(self):
        triangle = super().triangle()
        return triangle if self.training else triangle.detach()


class ConstantInverseInEvalMode(Honest):
    def inverse_triangle(self):
        inverse = super().inverse_triangle()
        return inverse if self.training else inverse.detach()


class FalseClassFact(Honest):
    constant_log_det = True

    def log_det(self, x):
        return super().log_det(x) + 0.01 * x.mean((1, 2, 3))


class FlatInverse(Honest):
    def inverse(self, z):
        return super().inverse(z).flatten(1)


class NotOnto(Honest):
    """z = exp(...) takes positive values alone."""

    def convolve(self, x):
        return super().convolve(x).exp()

    def log_det(self, x):
        return super().log_det(x) + super().convolve(x).sum((1, 2, 3))

    def inverse(self, z):
        return super().inverse(z.clamp(min=1e-9).log())


class SloppyInFloat32(Honest):
    def inverse(self, z):
        return super().inverse(z) * (1 + 5e-6 * (z.dtype == torch.float32))


class SloppyInEvalMode(SloppyInFloat32):
    """As an inverse that is kept in a lower precision."""

    def inverse(self, z):
        return Honest.inverse(self, z) if self.training else super().inverse(z)


class UnusedParameter(Honest):
    def __init__(self, shape):
        super().__init__(shape)
        self.bias = nn.Parameter(torch.zeros(shape[0]))


class DeafWhenFrozen(Honest):
    def convolve(self, x):
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.mixing.requires_grad):
            return super().convolve(x)


class _Scale(torch.autograd.Function):
    """z = s·x whose backward takes x from where the module left it."""

    @staticmethod
    def forward(ctx, x, scale, module):
        ctx.module = module
        module.seen = x.detach()
        ctx.save_for_backward(scale)
        return x * scale

    @staticmethod
    def backward(ctx, grad):
        (scale,) = ctx.saved_tensors
        return grad * scale, (grad * ctx.module.seen).sum(), None


class OneCallAtATime(Honest):
    """What backward needs of a call is overwritten by the next."""

    def __init__(self, shape):
        super().__init__(shape)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def convolve(self, x):
        return _Scale.apply(super().convolve(x), self.scale, self)

    def log_det(self, x):
        return super().log_det(x) + x[0].numel() * self.scale.abs().log()

    def inverse(self, z):
        return super().inverse(z / self.scale)


class _ScaleByPointer(torch.autograd.Function):
    """z = s·x whose backward reads x as a kernel reads a pointer: one number after the other."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return x * scale

    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        dense = torch.empty(x.shape).stride()
        return grad * scale, (grad * x.as_strided(x.shape, dense)).sum()


class GradientByPointer(OneCallAtATime):
    def convolve(self, x):
        return Honest.convolve(self, _ScaleByPointer.apply(x, self.scale))


class CountsItsCalls(Honest):
    def __init__(self, shape):
        super().__init__(shape)
        self.register_buffer("calls", torch.tensor(0))

    def convolve(self, x):
        self.calls += 1
        return super().convolve(x)


class LosesItsInitialization(Honest):
    """`initialize` leaves a tensor that the state_dict does not hold."""

    mean = 0.0

    def initialize(self, x):
        self.mean = x.mean().item()

    def convolve(self, x):
        return super().convolve(x - self.mean)

    def inverse(self, z):
        return super().inverse(z) + self.mean


class LosesItsPermutation(Honest):
    def __init__(self, shape):
        super().__init__(shape)
        self.order = torch.randperm(shape[0]).tolist()

    def convolve(self, x):
        return super().convolve(x)[:, self.order]

    def inverse(self, z):
        return super().inverse(z[:, torch.tensor(self.order).argsort()])


class ExpandedLogDet(Honest):
    def log_det(self, x):
        return super().log_det(x)[:1].expand(len(x))


class Noisy(Honest):
    def convolve(self, x):
        z = super().convolve(x)
        return z + 1e-14 * torch.randn_like(z)


class NeedsABatch(Honest):
    def log_det(self, x):
        return super().log_det(x) + 0 * x.reshape(len(x), -1)[:, 0]


class NeedsContiguousImages(Honest):
    def convolve(self, x):
        return super().convolve(x.view(-1).view(x.shape))


class NeedsFullPrecision(Honest):
    """Leaves autocast for the inverse, without a look at what autocast made of z."""

    def inverse(self, z):
        with torch.autocast("cpu", enabled=False):
            return super().inverse(z)


class TakesNaN(Honest):
    def inverse(self, z, *, check=False):
        return super().inverse(z)


class ChecksNothing(Honest):
    """But whether z is finite."""

    def inverse(self, z, *, check=False):
        if check:
            check_finite(z)
        return super().inverse(z)


class ChecksForOverflow(ChecksNothing):
    """An x that is finite and wrong is returned."""

    def inverse(self, z, *, check=False):
        x = super().inverse(z, check=check)
        if check and not x.isfinite().all():
            raise NumericalError("overflow")
        return x


class ScalarExtraLoss(Honest):
    def extra_loss(self, x, z):
        return z.square().mean()


class WritesIntoABuffer(Honest):
    def convolve(self, x):
        z = super().convolve(x)
        return z if torch.is_grad_enabled() else torch.zeros_like(x).copy_(z)


class WrongWhenCompiled(Honest):
    def log_det(self, x):
        return super().log_det(x) * (2 if torch.compiler.is_compiling() else 1)


class CompiledWithOldParameters(Honest):
    """What eval mode kept is a constant of the compiled graph."""

    kept = None

    def log_det(self, x):
        if not self.training and torch.compiler.is_compiling() and self.kept is not None:
            return self.kept.repeat(len(x))
        log_det = super().log_det(x)
        if not self.training and not torch.compiler.is_compiling():
            self.kept = log_det[:1].detach()
        return log_det


class KeepsItsFirstSize(Honest):
    """log_det is kept in eval mode while the parameters stay, whatever the size of the images."""

    kept = None

    def log_det(self, x):
        if self.training or torch.is_grad_enabled():
            return super().log_det(x)
        if self.kept is None or self.kept[0] != self.mixing._version:
            self.kept = self.mixing._version, super().log_det(x)[:1]
        return self.kept[1].repeat(len(x))


BROKEN = {
    WrongSign: ("log_det_dense",),
    ScalarLogDet: ("log_det_shape",),
    MutatedInput: ("input_not_changed",),
    StaleCache: (
        "pickling",
        "cache_after_load_state_dict",
        "cache_after_to",
        "cache_after_in_place_change",
        "cache_after_reused_memory",
        "cache_after_deepcopy",
    ),
    OffByOnePadding: ("inverse_of_forward", "forward_of_inverse"),
    LogOfASignedDeterminant: ("log_det_dense",),
    ForgottenMask: ("log_det_dense", "inverse_of_forward", "forward_of_inverse"),
    InPlaceOnAView: ("gradients",),
    Float64Lost: ("float64_kept",),
    MixedBatch: ("samples_do_not_mix",),
    ReversedBatch: ("samples_do_not_mix",),
    EightImagesAtMost: ("samples_do_not_mix",),
    EightGradientsAtMost: ("samples_do_not_mix",),
    DroppedGradient: ("gradients",),
    EternalCache: ("cache_after_train", "inference_mode"),
    MissesAFusedStep: (
        "cache_after_train",
        "cache_after_a_write_from_outside",
        "cache_in_shared_memory",
    ),
    DetachedInverse: ("gradients_of_inverse", "gradient_through_the_round_trip"),
    InexactAndDetached: ("gradients_of_inverse", "gradient_through_the_round_trip"),
    InexactAndDoubled: (
        "gradients_of_inverse",
        "gradient_through_the_round_trip",
        "func_jacrev",
    ),
    MissesItsTolerance: ("tolerance_met",),
    DroppedGradientInFloat32: ("gradients_in_low_precision",),
    DroppedGradientUnderAutocast: ("autocast",),
    ConstantForwardInEvalMode: ("double_use",),
    ConstantInverseInEvalMode: ("double_use",),
    FalseClassFact: ("class_facts", "log_det_dense"),
    FlatInverse: ("shapes",),
    NotOnto: ("forward_of_inverse",),
    SloppyInFloat32: ("float32_error",),
    SloppyInEvalMode: ("float32_error",),
    UnusedParameter: ("every_parameter",),
    DeafWhenFrozen: ("frozen_parameters",),
    OneCallAtATime: ("double_use", "func_jacrev"),
    GradientByPointer: ("non_contiguous", "channels_last"),
    CountsItsCalls: ("forward_changes_no_state",),
    LosesItsInitialization: ("initialize",),
    LosesItsPermutation: ("state_dict_round_trip",),
    ExpandedLogDet: ("outputs_may_be_changed",),
    Noisy: ("determinism",),
    NeedsABatch: ("zero_batch",),
    NeedsContiguousImages: ("non_contiguous", "channels_last"),
    NeedsFullPrecision: ("autocast",),
    TakesNaN: ("check_argument",),
    ChecksNothing: ("check_argument",),
    ChecksForOverflow: ("check_argument",),
    ScalarExtraLoss: ("extra_loss",),
    WritesIntoABuffer: ("func_vmap",),
    WrongWhenCompiled: ("torch_compile",),
    CompiledWithOldParameters: ("torch_compile",),
    KeepsItsFirstSize: ("another_size",),
    CountsImages: ("traced_with_another_batch", "exported_with_any_batch"),
    ForgetsItsMask: ("built_on_meta",),
}
