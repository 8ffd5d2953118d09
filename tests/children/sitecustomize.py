"""What every Python that a test starts does first: it is on their PYTHONPATH.

A file that invconv opens without an encoding is an error. With STEP_SECONDS every optimizer step
takes that much longer, so that a training cell lasts as long as a test wants, without keeping the
machine busy, and its result is that of the same cell at full speed.
"""

import os
import sys
import time
import warnings

warnings.filterwarnings("error", category=EncodingWarning, module="invconv")
program = os.environ.get("STEP_PROGRAM", "submitit.core._submit")
if float(os.environ.get("STEP_SECONDS", "0")) and program in " ".join(sys.orig_argv):
    from torch.optim.optimizer import register_optimizer_step_post_hook

    seconds = float(os.environ["STEP_SECONDS"])
    register_optimizer_step_post_hook(lambda *_: time.sleep(seconds))
