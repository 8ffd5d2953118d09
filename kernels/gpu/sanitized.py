"""Small odd shapes through every path of the kernels, for compute-sanitizer."""

import torch

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.solvers.cuda import calls
from invconv.solvers.cuda.plan import Forced

for channels, n, anchor, forced in (
    (3, (7, 5), None, Forced()),
    (3, (7, 5), None, Forced(tile=4)),
    (5, (6, 7), "center", Forced(tile=4, rows=2)),
    (18, (5, 6), None, Forced()),
    (3, (5, 6), None, Forced(window_in_shared=False, taps_in=2)),
):
    calls.forced = forced
    weight = 0.1 * torch.randn(2 * channels, channels, 3, 3, device="cuda")
    weight += torch.eye(channels, device="cuda").repeat(2, 1)[..., None, None]
    z = torch.randn(3, 2 * channels, *n, device="cuda")
    geometry = {"anchor": anchor, "corners": ("br", "tr"), "method": "compiled"}
    solve_triangular_conv2d(z, weight, **geometry)
    triangular_conv2d(z, weight, **geometry)
torch.cuda.synchronize()
