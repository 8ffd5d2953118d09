"""On PYTHONPATH: every optimiser step takes STEP_SECONDS longer, and nothing else changes.

So a training cell lasts as long as a test wants, without keeping the machine busy, and its result
is that of the same cell at full speed.
"""

import os
import sys
import time

program = os.environ.get("STEP_PROGRAM", "submitit.core._submit")
if float(os.environ.get("STEP_SECONDS", "0")) and program in " ".join(sys.orig_argv):
    from torch.optim.optimizer import register_optimizer_step_post_hook

    seconds = float(os.environ["STEP_SECONDS"])
    register_optimizer_step_post_hook(lambda *_: time.sleep(seconds))
