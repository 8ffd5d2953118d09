"""The machine code of the solve, read back by nvdisasm, which needs no GPU."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from invconv.solvers.cuda import nvrtc
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import H100, Forced, SizedProblem

if sys.platform != "linux":
    pytest.skip("NVRTC's wheels are for Linux", allow_module_level=True)

LABEL = re.compile(r"\s*(\.L_\w+):")
INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]+\*/\s+(.*?);")
BRANCH = re.compile(r"BRA.*`\((\.L_\w+)\)")
CORNER = {"FInC 12": (4, 3, 2), "FInC 24": (4, 6, 2), "FInC 48": (4, 12, 2), "raster": (1, 12, 1)}
"""Groups, channels of one, anchor."""


def disassembled(source, options, folder):
    """The innermost loop of `solve` for sm_90 that has a barrier: one step, or some of them."""
    given = nvrtc.flags("sm_90", options)
    code, log = nvrtc.compile_text(nvrtc.source(source), given, binary=True)
    assert code is not None, log
    path = folder / "code.cubin"
    path.write_bytes(code)
    import nvidia.cu13

    program = Path(next(iter(nvidia.cu13.__path__))) / "bin" / "nvdisasm"
    said = subprocess.run(
        [program, "-c", path], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    lines = said.split(".text.solve:")[1].split(".section")[0].splitlines()
    found, labels, loops = [], {}, []
    for line in lines:
        if label := LABEL.match(line):
            labels[label[1]] = len(found)
        if instruction := INSTRUCTION.match(line):
            found.append(instruction[1])
            branch = BRANCH.search(instruction[1])
            if branch and labels.get(branch[1], len(found)) < len(found):
                loops.append(found[labels[branch[1]] :])
    steps = [loop for loop in loops if any("BAR.SYNC" in one for one in loop)]
    return min(steps, key=len)


def count(instructions, *names):
    words = [re.sub(r"^@!?U?P\w+ ", "", one).split()[0].split(".")[0] for one in instructions]
    return sum(word in names for word in words)


@pytest.mark.parametrize("streamed", [False, True], ids=["tiles", "streams"])
@pytest.mark.parametrize("shape", CORNER)
def test_a_step_is_what_the_model_takes_it_for(shape, streamed, tmp_path):
    groups, channels, anchor = CORNER[shape]
    g = SizedProblem(1, groups, channels, 32, 32, (3, 3), (anchor, anchor), 0, False)
    plan = plan_solve(g, H100, Forced(streamed=streamed, rows=1, outputs=1, taps_in=0))
    options = dict(plan.options)
    assert (options["OUTPUTS"], options["ROWS"]) == (1, 1)
    step = disassembled(plan.source, plan.options, tmp_path)
    steps = options["RING"] if streamed else 1
    assert count(step, "BAR") == steps
    # a product for each tap and channel, and for the anchor where rows are streamed
    products = (g.taps + streamed) * channels
    assert count(step, "FFMA", "FMUL") == pytest.approx(steps * products, abs=steps)
    # a vector of channels for each row of the kernel; of streams the queue, and three columns
    vectors = (anchor + 1) * g.vectors
    most = vectors + (g.vectors + 3 if streamed else 0)
    assert vectors * steps <= count(step, "LDS") <= (most + 1) * steps
    assert not count(step, "LDL", "STL"), "local memory: registers spill"
    others = len(step) / steps - products - vectors
    assert others <= (110 if streamed else 40)
