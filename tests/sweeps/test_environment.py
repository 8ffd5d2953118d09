"""What the caller's environment changes: locales, terminals, variables of other tools, folders."""

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase

import pytest
import torch
from child import GLOW, python, sweep

from invconv import cores as limits
from invconv.__main__ import main
from invconv.data import load
from invconv.files import cache_folder, user_path
from invconv.rows.columns import COMMON, column_of
from invconv.rows.provenance import (
    ROOT,
    SETTINGS,
    device_name,
    processor,
    provenance,
    revision,
    unknown_commit,
)
from invconv.sweeps import cluster
from invconv.sweeps.checks import check_cells, check_start
from invconv.sweeps.locks import slurm_job
from invconv.tables.table import results
from invconv.training.distributed import local_device, world

PROVENANCE = sys.modules["invconv.rows.provenance"]


@pytest.fixture
def fresh():
    """What is asked of the system once is asked again, in the test and after it."""
    asked = (revision, unknown_commit, processor)
    for one in asked:
        one.cache_clear()
    yield
    for one in asked:
        one.cache_clear()


def test_list_without_docstrings(tmp_path):
    assert "  finc " in python(tmp_path, "-OO", "-m", "invconv", "list")


@pytest.mark.parametrize(
    "arguments", [("-m", "invconv", "doctor"), (ROOT / "reproductions" / "table1.py", *GLOW)]
)
def test_a_reader_that_has_gone_is_no_traceback(tmp_path, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, *arguments], stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path
    )
    os.close(writing)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


def test_a_training_whose_reader_has_gone_is_no_error_row(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    script = [sys.executable, ROOT / "reproductions" / "table2.py", "preset=tiny", "part=train"]
    done = subprocess.run([*script, "method=glow"], stdout=writing, stderr=writing, cwd=tmp_path)
    os.close(writing)
    assert done.returncode == 141
    (attempts,) = tmp_path.rglob("attempts.jsonl")
    assert '"outcome": "interrupted"' in attempts.read_text(encoding="utf-8")
    assert not list(tmp_path.rglob("row.json"))


def test_a_sweep_with_chdir_is_collected(tmp_path):
    assert "1 of 1 cells ok" in sweep(tmp_path, *GLOW, "hydra.job.chdir=true")


def test_a_sweep_below_home_is_written_and_listed_there(tmp_path):
    home = {"HOME": str(tmp_path / "home")}
    places = ("runs='~/runs'", "results='~/results'")
    assert "1 of 1 cells ok" in sweep(tmp_path, *GLOW, *places, **home)
    assert not (tmp_path / "~").exists()
    assert (tmp_path / "home" / "results" / "table1.md").exists()
    assert "1 ok" in python(tmp_path, "-m", "invconv", "list", "~/runs", **home)


def test_data_below_home_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"was to be read in {tmp_path}/data"):
        load("mnist", "test", path="~/data")
    with pytest.raises(FileNotFoundError, match=f"no such folder or file: {tmp_path}/data"):
        load("folder", "test", path="~/data")
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"{tmp_path}/data/mnist is not mnist"):
        load("mnist", "test", root="~/data")
    monkeypatch.setenv("INVCONV_DATA", "~/data")
    with pytest.raises(ValueError, match=f"{tmp_path}/data/mnist is not mnist"):
        load("mnist", "test")
    with pytest.raises(ValueError, match="~nobody-of-this-name/x: no home folder is known"):
        load("folder", "test", path="~nobody-of-this-name/x")


def test_rows_below_home_are_a_data_frame(monkeypatch):
    monkeypatch.setenv("HOME", str(ROOT))
    assert len(results("table1", "~/results")) == len(results("table1", ROOT / "results")) > 0


def test_a_cache_without_a_home(monkeypatch, tmp_path):
    monkeypatch.delenv("INVCONV_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "invconv"
    monkeypatch.setattr("os.path.expanduser", lambda text: text)
    with pytest.raises(FileNotFoundError, match=r"name a folder in \$INVCONV_CACHE"):
        cache_folder()
    monkeypatch.setenv("INVCONV_CACHE", str(tmp_path / "there"))
    assert cache_folder() == user_path(tmp_path / "there")


REFUSED = [
    (("results=file/x",), {}, "the folder file/x cannot be written (Not a directory)"),
    (("results=",), {}, "results= must name a folder"),
    (("runs=a,b",), {}, "the cells of a sweep have one runs= and one results="),
    (("n=8,18446744073709551616",), {}, "n must be an integer from -2^63 to 2^63 - 1"),
    ((), {"INVCONV_MACHINE": "a: b"}, "INVCONV_MACHINE must be a name without a colon"),
    ((), {"INVCONV_ISA": "sse"}, 'INVCONV_ISA: instruction set "sse" is not available; known: '),
    ((), {"RANK": "1", "WORLD_SIZE": "2"}, "RANK=1 and WORLD_SIZE=2, which torchrun did not set"),
    (("hydra.mode=RUN",), {}, "hydra.mode=RUN collects no row"),
]


@pytest.mark.parametrize(("arguments", "variables", "reason"), REFUSED)
def test_what_would_fail_later_is_refused_before_the_first_cell(
    tmp_path, arguments, variables, reason
):
    (tmp_path / "file").touch()
    said = sweep(tmp_path, *GLOW, *arguments, code=1, **variables)
    assert f"table1: {reason}" in said.replace("the environment has ", "")
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("row.json"))


def test_doctor_where_a_variable_is_no_name(monkeypatch, capsys):
    monkeypatch.setenv("INVCONV_MACHINE", "<b>")
    assert main(["doctor"]) == 1
    assert "INVCONV_MACHINE must be a name without a colon" in capsys.readouterr().err


def test_a_sweep_whose_results_are_broken_measures_nothing(tmp_path):
    (tmp_path / "results" / "data").mkdir(parents=True)
    (tmp_path / "results" / "data" / "table1.csv").write_text("cell\nc\n", encoding="utf-8")
    assert "table1.csv holds no rows (columns are missing" in sweep(tmp_path, *GLOW, code=1)
    assert not list(tmp_path.rglob("row.json"))


def test_local_processes_below_a_folder_with_a_pattern_of_slurm(tmp_path):
    folder = tmp_path / "p%j"
    folder.mkdir()
    said = sweep(folder, *GLOW, "launch=local", code=1)
    assert "p%j/runs/table1 holds '%j', which launchers replace by numbers of jobs" in said


def test_a_seed_beyond_64_bits_stops_nothing_that_was_measured(tmp_path):
    arguments = ("preset=tiny", "part=train", "method=glow", "seed=0,18446744073709551616")
    said = sweep(tmp_path, *arguments, table="table2", code=1)
    assert (
        "table2: seed must be an integer from -2^63 to 2^63 - 1, not 18446744073709551616" in said
    )
    assert not list(tmp_path.rglob("row.json"))


def test_a_folder_of_images_that_is_not_there(configured):
    config = configured("preset=tiny", "method=glow", "dataset=folder", "dataset.path=/nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"dataset\.path=/nowhere: there is no such folder"
    ):
        check_cells([config], {}, here=True)
    check_cells([config], {}, here=False)  # on a cluster the nodes may see it


@pytest.fixture
def checkout(tmp_path, monkeypatch, fresh):
    """A repository with one commit, as if this package were imported from there."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    mine = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (("init",), (*mine, "commit", "--allow-empty", "-m", "t")):
        subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)
    monkeypatch.setattr(PROVENANCE, "ROOT", folder)
    monkeypatch.delenv("INVCONV_COMMIT", raising=False)
    return folder


def test_a_checkout_of_another_owner_has_its_commit(checkout, tmp_path, monkeypatch):
    """git itself refuses it; this git thinks so of every folder."""
    real = shutil.which("git")
    program = tmp_path / "git"
    program.write_text(f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {real} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    refused = subprocess.run([program, "-C", checkout, "status"], capture_output=True)
    assert b"dubious ownership" in refused.stderr
    assert len(revision()[0]) == 10
    assert not unknown_commit()


def test_a_commit_inside_a_hook_of_another_repository(checkout, tmp_path, monkeypatch):
    commit = revision()
    subprocess.run(["git", "init", tmp_path / "other"], check=True, capture_output=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    revision.cache_clear()
    assert revision() == commit


def test_a_new_file_counts_though_your_git_hides_it(checkout, monkeypatch):
    subprocess.run(
        ["git", "-C", checkout, "config", "status.showUntrackedFiles", "no"], check=True
    )
    (checkout / "new.py").touch()
    assert revision()[1]


def test_a_commit_that_is_unknown_is_said(checkout, tmp_path, monkeypatch, capsys):
    shutil.rmtree(checkout / ".git")
    (checkout / ".git").mkdir()
    assert revision() == ("unknown", True)
    assert re.search(r"git refuses .*not a git repository", unknown_commit())
    check_start("t", str(tmp_path / "runs"), str(tmp_path / "results"), jobs=False)
    assert "t: the commit is unknown, since git refuses" in capsys.readouterr().err
    assert main(["doctor"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "the commit is unknown, since git refuses" in printed


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("model name\t: AMD EPYC\nmodel\t: 1\n", "AMD EPYC"),
        ("vendor_id\t: X\nmodel name\t: unknown\ncpu family\t: 6\nmodel\t: 8\n", "CHIP X 6 8"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "CHIP 0x41 0xd0c"),
        ("", "CHIP"),
    ],
)
def test_a_processor_without_a_name_has_its_numbers(monkeypatch, fresh, text, name):
    monkeypatch.setattr(PROVENANCE, "_cpuinfo", lambda: text)
    monkeypatch.setattr("platform.machine", lambda: "CHIP")
    assert processor() == name


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_with_a_quota_has_so_many_cores(tmp_path, monkeypatch, version):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(limits, "GROUPS", tmp_path)
    monkeypatch.setattr(limits, "OF_PROCESS", tmp_path / "cgroup")
    assert limits.cores() == 64
    group = tmp_path / ("cpu" if version == 1 else "") / "pod"
    group.mkdir(parents=True)
    line = "4:cpu,cpuacct:/pod/mine" if version == 1 else "0::/pod/mine"
    (tmp_path / "cgroup").write_text(f"12:memory:/pod\n{line}\n", encoding="utf-8")
    if version == 1:
        (group / "cpu.cfs_quota_us").write_text("250000", encoding="utf-8")
        (group / "cpu.cfs_period_us").write_text("100000", encoding="utf-8")
    else:
        (group / "cpu.max").write_text("250000 100000\n", encoding="utf-8")
        (tmp_path / "cpu.max").write_text("max 100000\n", encoding="utf-8")
    assert limits.cores() == 2
    assert device_name(torch.device("cpu")).endswith(", 2 cores")
    threads = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(3)
        local_device("cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_variables_that_change_how_torch_computes_are_in_the_row(monkeypatch):
    for name in [name for name in os.environ if any(fnmatchcase(name, p) for p in SETTINGS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "environment" not in provenance(torch.device("cpu"))
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    said = provenance(torch.device("cpu"))["environment"]
    assert said == "ATEN_CPU_CAPABILITY=default NVIDIA_TF32_OVERRIDE=1"
    assert column_of("environment", COMMON).refusal(said) == ""


def test_a_matplotlibrc_of_ones_own_changes_no_page(tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\ntext.usetex: True\n", encoding="utf-8")
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from invconv.curves import loss_curves\nfrom invconv.pictures import _png\n"
        "loss_curves([], Path('a.svg'))\n"
        "import numpy as np\n"
        "Path('b.png').write_bytes(_png([('title', np.zeros((20, 20, 3), np.uint8))]))\n"
    )
    (tmp_path / "plain").mkdir()
    for folder in (tmp_path, tmp_path / "plain"):
        python(folder, "-c", script)
    for name in ("a.svg", "b.png"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_a_queue_that_is_filtered_by_the_users_variables(tmp_path, monkeypatch):
    program = tmp_path / "squeue"
    program.write_text('#!/bin/sh\necho "CLUSTER: a\n1|N/A|${SQUEUE_PARTITION:-all}|None"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SQUEUE_PARTITION", "gpu")
    monkeypatch.setattr("getpass.getuser", lambda: 1 / 0)  # a container may know no name
    assert cluster.queue() == {"1": "all"}


def test_a_shell_that_has_half_of_the_variables_of_a_job_array(monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert slurm_job() == "8"


@pytest.mark.parametrize("given", [{"RANK": "x"}, {"RANK": "2"}, {"WORLD_SIZE": "2"}])
def test_variables_that_torchrun_did_not_set(monkeypatch, given):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="which torchrun did not set: unset both"):
        world()


@pytest.mark.slow
def test_a_checkout_that_hides_the_installed_package(installed):
    said = installed.run("-m", "invconv", "doctor", PYTHONPATH=ROOT)
    assert f"compiled MISSING: the folder {ROOT} hides the package" in " ".join(said.split())
