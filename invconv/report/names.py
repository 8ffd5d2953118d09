"""What the methods are called on every page, in the order in which they are shown."""

LAYERS = {
    "glow": "Glow",
    "finc": "FInC",
    "emerging": "Emerging",
    "emerging_raster": "Emerging (raster mask)",
    "cinc": "CInC",
    "inverse_flow": "Inverse-Flow",
    "woodbury": "Woodbury",
    "me_woodbury": "ME-Woodbury",
    "periodic": "Periodic",
    "macow": "MaCow",
}
"""Row name of a convolution inside the common step → its name on the page."""

METHODS = LAYERS | {
    f"{name}_paper": f"{title}, own step"
    for name, title in LAYERS.items()
    if name != "emerging_raster"
}
"""The same, and those inside their own paper's step."""

EMBEDDED = {"digits": "digits 8×8", "patches": "patches 32×32"}
"""Data set → its name on a page, of those that come with the package."""
