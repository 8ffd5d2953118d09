"""What an author wants to know about a layer: is it right, what does it cost, how fast is it."""

from invconv.assessing.assessment import Assessment, assess
from invconv.assessing.target import TargetError

__all__ = ["Assessment", "TargetError", "assess"]
