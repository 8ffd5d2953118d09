from .blocks import Measured as Measured
from .blocks import Process as Process
from .blocks import time_block as time_block
from .clock import Clock as Clock
from .clock import Timed as Timed
from .clock import medians as medians
from .clock import time_calls as time_calls
from .ratios import Ratio as Ratio
