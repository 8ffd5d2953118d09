"""What the verification of single parts leaves in a row."""

from collections.abc import Sequence
from dataclasses import dataclass

from invconv.rows import Values


@dataclass(frozen=True)
class Verified:
    """What the verification of one part has found; log_det_error is None where it was omitted."""

    error: float
    error_float64: float
    scale: float
    log_det_error: float | None


def summary(found: Sequence[Verified], log_det: bool = True) -> Values:
    """Return a row's values of the parts that were verified, as `verify_parts` describes them."""
    values: Values = {
        "perturbed_round_trip_error": max(one.error for one in found),
        "perturbed_round_trip_error_float64": max(one.error_float64 for one in found),
        "verified_scale": min(one.scale for one in found),
    }
    if log_det:
        values["log_det_error"] = max(one.log_det_error or 0.0 for one in found)
        values["perturbed_log_det_omitted"] = sum(one.log_det_error is None for one in found)
    return values
