"""What `python -m invconv assess` finds out about layers of other packages, good and broken."""

import json
import math
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

import invconv
from invconv import conv, files
from invconv.__main__ import main
from invconv.assessing import TargetError, assess, assessment
from invconv.assessing.target import find
from invconv.bench import Clock
from invconv.rows import Block, Part, Status
from invconv.testing import CHECKS

EXTRAS = (
    "cuda",
    "datasets",
    "pyarrow",
    "tensorboard",
    "plotly",
    "itables",
    "pytest",
    "hypothesis",
)
EXTRAS += ("zuko", "nflows", "normflows", "playwright", "build", "coverage", "mypy")
THEIRS = """
    import math

    import torch
    from torch import nn

    class Mixing(nn.Module):
        '''A lower triangular 1×1, without the base class of anybody.'''

        def __init__(self, channels, scale=1.0):
            super().__init__()
            self.scale = scale
            self.weight = nn.Parameter(0.1 * torch.randn(channels, channels))

        def matrix(self):
            eye = torch.eye(len(self.weight)).to(self.weight)
            return scale_of(self) * eye + self.weight.tril(-1)

        def forward(self, x):
            log_det = x.new_full((x.shape[0],), self.log_det()) * (x.shape[2] * x.shape[3])
            return torch.einsum("cd,bdhw->bchw", self.matrix(), x), log_det

        def log_det(self):
            return len(self.weight) * math.log(self.scale)

        def inverse(self, z):
            return torch.einsum("cd,bdhw->bchw", torch.linalg.inv(self.matrix()), z)

    class WrongSign(Mixing):
        def log_det(self):
            return 1 - super().log_det()
"""
BESIDE = "def scale_of(layer):\n    return layer.scale\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder with ``their_package`` and ``their_file.py``; what is registered is forgotten."""
    monkeypatch.setattr(conv, "_REGISTRY", dict(conv._REGISTRY))
    monkeypatch.setattr(sys, "path", [*sys.path])
    code = textwrap.dedent(THEIRS)
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "__init__.py").write_text(BESIDE + code, encoding="utf-8")
    (tmp_path / "beside.py").write_text(BESIDE, encoding="utf-8")
    code = "from beside import scale_of\n" + code
    (tmp_path / "their_file.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    files.import_file.cache_clear()
    yield tmp_path
    for name in ("their_package", "their_file", "beside"):
        sys.modules.pop(name, None)


@pytest.fixture
def few_checks(monkeypatch):
    """Two checks, those that quick skips, and a clock that looks at nothing."""
    monkeypatch.setattr(assessment, "QUICK", Clock(rounds=2, warmup=1, window=0.0))
    names = ("shapes", "log_det_dense", *assessment.SLOW)
    monkeypatch.setattr(invconv.testing, "CHECKS", {name: CHECKS[name] for name in names})


def test_a_layer_of_another_package_without_the_optional_extras(package):
    """As an installed command runs it: from their folder, with nothing but the base install."""
    code = f"import sys; sys.modules |= dict.fromkeys({EXTRAS!r}); sys.path.remove('')\n"
    code += "from invconv.__main__ import main; sys.exit(main(sys.argv[1:]))"
    words = "assess their_package:Mixing --option scale=2.0 --quick --allow-noisy --json a/b.json"
    size = "--size 8 --batch 2"
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split(), *size.split()],
        cwd=package,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines[: lines.index("LaTeX:")])) <= 100
    assert lines[0].startswith("their_package:Mixing(scale=2.0), ")
    assert lines[-1] == "their_package:Mixing keeps the contract; 2 checks skipped."
    found = json.loads((package / "a" / "b.json").read_text(encoding="utf-8"))
    assert found["options"] == {"scale": 2.0}
    checks = found["conformance"]["checks"]
    assert set(checks) == set(CHECKS)
    assert {one["status"] for one in checks.values()} == {"passed", "skipped"}
    counted = found["counted"]["values"]
    # 12 channels: entries below the diagonal reach z, and none reaches log_det
    assert (counted["stored"], counted["free"]) == (144, 66)
    # the inverse of the matrix, which takes two steps for each entry, and its product with images
    assert counted["inverse_operations"] == 12**3 + 2 * 12**2 + 12**2 * 8**2
    assert counted["dependent_steps"] is None
    why = found["counted"]["reasons"]["dependent_steps"]
    assert why.startswith("not stated; define dependent_steps(height, width)")
    assert counted["round_trip_error"] < 1e-14
    times = found["times"]
    assert (times["status"], times["shape"], times["batch"]) == ("ok", [3, 8, 8], 2)
    layer, glow = times["flows"]["layer"], times["flows"]["glow"]
    assert layer["ft_vs_glow_low"] <= layer["ft_vs_glow"] <= layer["ft_vs_glow_high"]
    assert layer["st_s"] > 0 and glow["ft_s"] > 0
    assert layer["perturbed_round_trip_error"] < 1e-3
    assert found["provenance"]["torch"] == torch.__version__
    line = lines[lines.index("LaTeX:") + 3]
    assert line.startswith("Mixing & 144 & 66 & – & ") and line.endswith(r" \\")
    assert line.count("&") == lines[lines.index("LaTeX:") + 2].count("&") == 11


def test_a_broken_layer_in_a_file_ends_with_1_and_is_not_timed(package, capsys, monkeypatch):
    monkeypatch.setattr(assessment, "time_with_glow", lambda *_: pytest.fail("it was timed"))
    words = ["assess", "their_file.py:WrongSign", "--quick", "--shapes", "4x3x2"]
    assert main([*words, "--json", "found.json"]) == 1
    printed = capsys.readouterr().out
    tried = len(CHECKS) - 2
    assert f"{tried - 1} of {tried} checks passed, 4×3×2:" in printed
    assert "failed  log_det_dense: shape (4, 3, 2), float64: log_det is 6, slogdet" in printed
    assert "No times: a layer is timed when it passes its checks, and 1 failed." in printed
    assert printed.endswith("their_file.py:WrongSign breaks the contract: log_det_dense.\n")
    found = json.loads((package / "found.json").read_text(encoding="utf-8"))
    assert found["conformance"]["checks"]["log_det_dense"]["status"] == "failed"
    assert found["times"]["flows"] == {} and "1 failed" in found["times"]["reason"]
    assert found["counted"]["values"]["stored"] == 144


@pytest.mark.usefixtures("few_checks")
def test_times_are_refused_while_others_compute(package, capsys, monkeypatch):
    monkeypatch.setattr(
        assessment, "busy_machine", lambda: "other processes use 1.0 of 2 cores: so"
    )
    words = ["assess", "finc", "--quick", "--size", "8", "--batch", "2"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "No times: other processes use 1.0 of 2 cores; stop them, or allow noisy" in printed
    assert "FInC & 324 & 300 & 15 & " in printed and " & – & – & – & – " in printed
    monkeypatch.setattr(assessment, "busy_machine", lambda: "")
    ends = ("", "_q25", "_q75")
    times = {f"{name}{end}_s": 0.25 for name in ("ft", "st") for end in ends}
    parts = {name: Part(values=times) for name in ("glow", "layer")}
    noisy = Block({"rounds": 1, "processes": 1}, parts, None, "other processes used 0.9 cores")
    monkeypatch.setattr(assessment, "time_with_glow", lambda *_: noisy)
    assert main(words) == 0
    assert "No times: other processes used 0.9 cores." in capsys.readouterr().out
    others = Block({**noisy.values, "noisy": True}, parts, None)
    monkeypatch.setattr(assessment, "time_with_glow", lambda *_: others)
    assert main([*words, "--allow-noisy"]) == 0
    printed = capsys.readouterr().out
    assert "Other processes computed meanwhile: these times are noisy." in printed
    assert "2 images of 3×8×8, 1 level of 4 steps, couplings 64 wide, 1 round in 1 pro" in printed
    failed = {**parts, "layer": Part(status=Status.INCORRECT, reason="level 0, layer 1 is wrong")}
    monkeypatch.setattr(assessment, "time_with_glow", lambda *_: Block(noisy.values, failed, None))
    assert main(words) == 0
    assert "No times: level 0, layer 1 is wrong." in capsys.readouterr().out


class Pair(nn.Module):
    """Needs an even number of channels, and an option; built from the shape."""

    def __init__(self, shape, factor):
        super().__init__()
        if shape[0] % 8:
            raise ValueError(f"channels must be divisible by 8, not {shape[0]}")
        self.given = factor
        self.factor = nn.Parameter(torch.full((), factor))

    @classmethod
    def from_shape(cls, shape, **options):
        return cls(shape, **options)

    def forward(self, x):
        if math.isnan(self.given):
            raise RuntimeError("factor must be a number")
        log_det = x[0].numel() * self.factor.abs().log()
        return x * self.factor, log_det.repeat(x.shape[0])

    def inverse(self, z):
        return z / self.factor

    def dependent_steps(self, height, width):
        return height


@pytest.mark.usefixtures("few_checks")
def test_a_class_that_is_at_hand(monkeypatch):
    monkeypatch.setattr(conv, "_REGISTRY", dict(conv._REGISTRY))
    found = assess(
        Pair,
        {"factor": 3.0},
        channels=2,
        size=8,
        batch=2,
        shapes=[(8, 2, 3)],
        quick=True,
        allow_noisy=True,
    )
    assert not found.failed
    assert (found.counted["stored"], found.counted["dependent_steps"]) == (1, 8)
    assert found.block is not None and found.untimed == ""
    assert found.block.parts["layer"].values["parameters"] > 0
    assert str(found).startswith("test_assess:Pair(factor=3.0), ")
    assert found.uncounted == {}
    glow = assess("glow", size=8, shapes=[(4, 2, 3)], quick=True)
    assert glow.counted["dependent_steps"] == 1 and glow.uncounted == {}
    broken = assess(Pair, {"factor": math.nan}, channels=2, size=8, shapes=[(8, 2, 3)], quick=True)
    assert broken.failed == ["shapes", "log_det_dense"]
    assert "RuntimeError: factor must be a number" in broken.uncounted["free"]
    assert "Pair & – & – & 8 & 512 & – & – & – & – & – & – & – " in broken.latex()


def test_the_tiny_shapes_are_those_that_the_layer_takes(monkeypatch):
    monkeypatch.setattr(conv, "_REGISTRY", dict(conv._REGISTRY))
    assert find(Pair, {"factor": 1.0}).shapes() == [(8, 8, 8)]
    assert find("finc").shapes() == [(4, 3, 2), (4, 4, 4)]
    with pytest.raises(TargetError, match=r"Pair cannot be built .*missing 1 required .*'factor'"):
        find(Pair).shapes()


def test_a_registered_layer_keeps_its_name_and_others_get_theirs(package):
    assert find(invconv.FInC).conv == find("finc").conv == "finc"
    mixing = find("their_file.py:Mixing", {"scale": 2.0})
    assert mixing.conv == "their_file.py:Mixing"
    layer = invconv.build(mixing.conv, (4, 2, 2), **mixing.options)
    z = torch.randn(2, 4, 2, 2)
    assert layer.inverse(z, check=True).shape == z.shape
    with torch.no_grad():
        layer.layer.module.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"weight of Mixing holds"):
        layer.inverse(z, check=True)
    assert find("their_file.py:Mixing").layer is mixing.layer  # the file is executed once


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing cannot be imported: ValueError: unknown layer 'nothing'; known:"),
        (["no.such:Layer"], "no.such:Layer cannot be imported: ModuleNotFoundError"),
        (["their_package:Nothing"], "their_package has no class 'Nothing'"),
        (["their_package:torch"], "their_package:torch is no class of layers"),
        (["torch.nn:ReLU"], "torch.nn:ReLU has no method inverse(z)"),
        (["none.py:Layer"], "none.py:Layer cannot be imported: FileNotFoundError"),
        (["broken.py:Layer"], "broken.py:Layer cannot be imported: ZeroDivisionError"),
        (["finc", "--option", "kernel_size"], "an option must be NAME=VALUE, such as"),
        (["finc", "--option", "size=3"], "FInC has no option 'size'"),
        (["finc", "--size", "0"], "size must be an int of at least 1, not 0"),
        (["finc", "--shapes", "4x3"], "shape must be (C, H, W)"),
        (["finc", "--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_assessed_ends_with_2(package, capsys, words, message):
    (package / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    assert main(["assess", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1 or "abacus" in message


def test_options_are_read_as_python_has_them(package, few_checks, capsys, monkeypatch):
    monkeypatch.setattr(assessment, "busy_machine", lambda: "busy")
    options = ["--option", "kernel_size=(2, 3)", "--option", "orders=AD"]
    assert main(["assess", "macow", "--quick", "--size", "8", *options]) == 0
    assert capsys.readouterr().out.startswith("macow(kernel_size=(2, 3), orders='AD'), ")


@pytest.mark.slow
def test_layers_are_timed_in_fresh_processes(package, capsys):
    """One of ours, and one in a file, which each process imports again."""
    for name in ("emerging", "their_file.py:Mixing"):
        words = ["assess", name, "--size", "8", "--batch", "2", "--allow-noisy"]
        assert main(words) == 0
        assert "in 3 processes:" in capsys.readouterr().out
