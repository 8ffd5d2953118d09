"""What an installed package has to do without a network; prints where it was found."""

import socket


def _no_network(*_, **__):
    raise OSError("there is no network")


def main():
    """The network goes before anything is imported."""
    socket.socket.connect = socket.getaddrinfo = _no_network
    import torch

    import invconv

    layer = invconv.FInC(8).double().eval()
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    z, log_det = layer(x)
    assert log_det.shape == (2,)
    assert (layer.inverse(z) - x).abs().max() < 1e-9
    flow = invconv.flows.MultiScaleFlow("emerging", (1, 8, 8), 1, 2, 4).eval()
    assert flow.sample(3).shape == (3, 1, 8, 8)
    print(invconv.__file__)


if __name__ == "__main__":  # pytest imports every file of this folder
    main()
