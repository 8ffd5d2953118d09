"""The clock: what is timed, verified before, and compared."""

from invconv.bench.flow_timing import time_flow
from invconv.bench.timing import Timing, spread, time_interleaved

__all__ = ["Timing", "spread", "time_flow", "time_interleaved"]
