"""README and docs: links lead somewhere, code runs, commands exist, every public name is there."""

import importlib
import re
import shlex
import sys
import tomllib
import warnings
from contextlib import ExitStack, nullcontext
from unittest import mock
from urllib.parse import unquote

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from pages import PAGES, anchors, code_blocks, links, titled
from PIL import Image

from invconv import __main__ as command_line
from invconv import conv
from invconv.data import DATASETS
from invconv.data.published_sets import PUBLISHED_SETS
from invconv.rows.provenance import ROOT
from invconv.solvers import METHODS
from invconv.sweeps.application import CONF
from invconv.sweeps.groups import register
from invconv.tables.table import tables

WRITTEN = [page for page in PAGES if page.parent.name != "results"]
"""Those that are not made from rows."""
PUBLIC = ("", ".flows", ".data", ".training", ".testing", ".integrations", ".solvers")
LONGEST = 130
"""Lines of the README."""


def name(page):
    """A page's path from the root."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), f"{link}, of {sorted(anchors(target))}"


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Größe n × n, `x`\n[a](b.md#c) ![d](e.svg) `[f](g)` [h](https://i)\n# Two\n")
    assert links(page) == ["b.md#c", "e.svg"]
    assert anchors(page) == {"größe-n--n-x", "two"}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST


def runs(page):
    """The Python blocks of a page, each on its own line, without those that are files."""
    lines = []
    for code in code_blocks(page):
        if code.language == "python" and not code.title:
            lines += [""] * (code.line - 1 - len(lines)) + code.text.splitlines()
    return "\n".join(lines)


@pytest.mark.filterwarnings("ignore:torch.(triangular_solve|lu) is deprecated:UserWarning")
@pytest.mark.parametrize("page", [page for page in WRITTEN if runs(page)], ids=name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    """In one module, in a folder with results/, tests/ and pictures of one's own."""
    for folder in ("results", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "pictures").mkdir()
    for shade in range(20):
        image = Image.new("RGB", (40, 36), (12 * shade, 99, 99))
        image.save(tmp_path / "pictures" / f"{shade}.png")
    module = "page_" + re.sub(r"\W", "_", page.stem)
    (tmp_path / f"{module}.py").write_text(runs(page), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with ExitStack() as unchanged:
        for registry in (conv._REGISTRY, DATASETS, PUBLISHED_SETS, METHODS):
            unchanged.enter_context(mock.patch.dict(registry))
        unchanged.callback(sys.modules.pop, module, None)
        importlib.import_module(module)


COMMANDS = [
    (name(page), code.line + number, line)
    for page in WRITTEN
    for code in code_blocks(page)
    if code.language == "sh"
    for number, line in enumerate(code.text.replace("\\\n", "").splitlines())
]
COMMANDS += [
    (name(page), 0, command)
    for page in WRITTEN
    for command in re.findall(r"`((?:python|make|pytest) [^`]*)`", page.read_text("utf-8"))
]


@pytest.mark.parametrize(("page", "line", "command"), COMMANDS)
def test_a_command_exists(page, line, command):
    """Scripts, options of ours, targets of make; what other programs do is theirs."""
    for part in split(shlex.split(command, comments=True), "&&"):
        check_command(part)


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "python -m invconv list --nothing",
        "python -m invconv nothing",
        "python reproductions/table2.py -m preset=nothing",
        "python reproductions/table2.py -m budget.nothing=1",
        "... nothing=1",
        "pytest tests/nothing.py",
    ],
)
def test_a_command_that_does_not_exist_is_found(command):
    with pytest.raises((AssertionError, SystemExit, KeyError, HydraException)):
        check_command(command.split())


def split(words, between):
    """The lists of words between those that are ``between``."""
    parts = [[]]
    for word in words:
        parts.append([]) if word == between else parts[-1].append(word)
    return parts


def check_command(words):
    """Fails unless a command of this repository exists and takes its options."""
    if words[:1] == ["..."]:
        words = ["python", "reproductions/table2.py", "-m", *words[1:]]
    if words[:1] == ["make"]:
        targets = re.findall(r"^([\w/.-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[:3] == ["python", "-m", "invconv"]:
        with nullcontext() if words[4:] else pytest.raises(SystemExit, match="0"):
            command_line._parser().parse_args(words[3:] if words[4:] else [*words[3:], "--help"])
    elif script := next((word for word in words if re.match(r"reproductions/\w+\.py$", word)), ""):
        if "yours" not in " ".join(words) and "toy" not in script:
            table = tables()[script.split("/")[1].removesuffix(".py")]
            after = words[words.index(script) + 1 :]
            check_overrides(table, [word for word in after if word != "-m"])
    else:
        for word in words:
            if re.match(r"(tests|slurm|docs|reproductions)/[\w/]+\.\w+(::|$)", word):
                assert (ROOT / word.partition("::")[0]).exists(), word


NEW = {"method=glow,scale", "method=scale", "method=my_layer", "cluster=mine"}
"""Options that a page says how to make."""


def check_overrides(table, words):
    """Composes what Hydra would: of several values of an option the first."""
    words = [word for word in words if word not in NEW and not word.startswith("hydra.")]
    simple = [re.sub(r"=glob\(.*\)", "=finc_paper", word) for word in words]
    given = dict(word.lstrip("+").partition("=")[::2] for word in simple)
    preset = table.presets[given.get("preset", "default")]
    simple += [f"{key}={values}" for key, values in preset.sweep.items() if key not in given]
    simple = [word if "[" in word else word.partition(",")[0] for word in simple]
    register(table)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        table.typed(compose(table.name, simple))


def test_what_is_to_be_a_file_is_one_in_the_newcomers_test():
    """See test_newcomers.py, which adds these files to a copy of the package."""
    import test_newcomers

    shown = {title for page in WRITTEN for title in titled(page)}
    assert shown - {"invconv/layers/__init__.py"} == set(test_newcomers.FILES)


def test_the_api_reference_has_every_public_name():
    text = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)", text, re.MULTILINE))
    rooms = {part.removeprefix(".") for part in PUBLIC} | {"layers"}
    for part in PUBLIC:
        module = importlib.import_module(f"invconv{part}")
        names = {one for one in module.__all__ if one not in rooms}
        missing = {one for one in names if not {f"invconv.{one}", f"invconv{part}.{one}"} & shown}
        assert not missing, (module, missing)


def test_the_readme_names_released_code_that_was_recorded():
    """The authors' code that a layer says it agrees with is that of tests/data."""
    recorded = (ROOT / "tests" / "data" / "README.md").read_text("utf-8")
    found = {layer.about.released for layer in conv.registered().values() if layer.about}
    for released in found - {""}:
        place, commit = released.split("@")
        assert re.search(rf"{re.escape(place)} at\s+{commit}", recorded), released
    assert len(found) == 12  # eleven repositories, and "" for Glow, Periodic and SkewExponential


def test_citation_and_package_agree():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == package["version"]
    (bibtex,) = [c.text for c in code_blocks(ROOT / "docs" / "index.md") if c.language == "bibtex"]
    for name in ("title", "version", "date-released"):
        assert f"{{{citation[name]}}}" in " ".join(bibtex.split()), name
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## {citation['version']} – {citation['date-released']}" in changes


def test_the_site_is_built_without_a_warning(tmp_path, monkeypatch):
    """And whatever a page of it asks for is there."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    site = tmp_path / "site"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of MkDocs' own packages
        build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(site)))
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > len(PAGES) - 5
    for page in pages:
        for wanted in re.findall(r'(?:href|src)="?([^">\s#?]+)', page.read_text("utf-8")):
            if not re.match(r"\w+:", wanted):
                assert (page.parent / unquote(wanted)).exists(), (page, wanted)
    text = (site / "docs" / "api" / "layers" / "index.html").read_text("utf-8")
    assert "a multiple of 4" in text and "arXiv 2301.09266" in text  # of FInC's docstring
