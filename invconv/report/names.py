"""What the methods are called on every page, in the order in which they are shown."""

LAYERS = {
    "glow": "Glow",
    "finc": "FInC",
    "emerging": "Emerging",
    "emerging_raster": "Emerging, raster mask",
    "cinc": "CInC",
    "inverse_flow": "Inverse-Flow",
}
"""Row name of a convolution inside the common step → its name on the page."""

OWN_STEP = ("glow", "finc", "emerging", "cinc", "inverse_flow")
METHODS = LAYERS | {f"{name}_paper": f"{LAYERS[name]}, own step" for name in OWN_STEP}
"""The same, and those inside their own paper's step."""
