"""One word for one thing, and US spelling, in all that a person reads."""

import io
import re
import subprocess
import tokenize

import pytest

from invconv.rows.provenance import ROOT

WRITTEN = {
    r"prov(e|es|ed|en|ing)": "verify",
    r"proofs?": "verification, residual check",
    r"own algorithms?": "reference implementation, the paper's algorithm",
    r"published (algorithm|loop|code|implementation|inverse)s?": "the paper's algorithm",
    r"growth(?!:)": "error amplification, conditioning",
    r"that (is|are) none": "not finite, failed its residual check; there is no such …",
    r"anew": "again, recomputed; start over",
    r"(go|goes|going|gone|went) on from": "resume",
    r"(leave|leaves|left|leaving)( \w+)? away": "omit",
    r"stands? in(?! for)": "see, is described in, is in",
    r"or else": "otherwise",
    r"by lot": "at random",
    r"claim(s|ed|ing)?( files?)?": "lock; say",
}
"""What is not written → what is, in its place; after the first table of our guide."""
STEMS = (
    "author categor central character custom dequant diagonal discret emphas factor final "
    "general initial linear local maxim memor minim normal optim organ orthogonal parameter "
    "parametr quant random real recogn regular serial special stabil standard summar symmetr "
    "synchron util vector visual"
)
BRITISH = (
    rf"\w*({'|'.join(STEMS.split())})is(e|es|ed|er|ers|ing|ation|ations)",
    r"analys(e|es|ed|er|ing)",
    r"(neighbo|colo|behavio|favo|hono|labo)ur\w*",
    r"(centre|fibre)[sd]?",
    r"artefacts?|gr(ey|eyscale)|licences?|defences?|judgements?|programmes?|catalogues?",
    r"(mode|labe|trave|signa)ll(ed|ing)",
    r"whilst|amongst|fulfils?|learnt|spelt",
)
ASIDE = (
    "results/data/",
    "results/figures/",
    "tests/data/README.md",
    "tests/packaging/test_language.py",
)
ASIDE += ("constraints.txt", "mkdocs.yml")
"""What is made from rows, came from others, names what others name, or is this list."""
KINDS = (
    ".py",
    ".pyi",
    ".j2",
    ".md",
    ".cff",
    ".toml",
    ".yaml",
    ".yml",
    ".sh",
    ".sbatch",
    "Makefile",
)
KINDS += (".ipynb", ".html", ".css", ".js", ".cpp", ".h", ".hpp", ".cu", ".cuh", ".txt")


def files():
    """What git knows of, but for what is made from rows or came from others."""
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        name
        for name in listed.stdout.splitlines()
        if name.endswith(KINDS) and not name.startswith(ASIDE)
    ]


def read(path):
    """(line, text) of what a person reads: of Python, comments and strings with a space."""
    text = path.read_text(encoding="utf-8")
    if path.suffix not in (".py", ".pyi"):
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        words = token.type == tokenize.COMMENT or token.string.lstrip("rbfRBF").startswith(
            ('"', "'")
        )
        words |= tokenize.tok_name[token.type].startswith("FSTRING")
        if words and " " in token.string:
            yield from enumerate(token.string.splitlines(), token.start[0])


WORDS = re.compile(rf"\b({'|'.join([*WRITTEN, *BRITISH])})\b", re.IGNORECASE)


def found(text):
    """What of a text is written otherwise; names in backticks are names."""
    return [match[0] for match in WORDS.finditer(re.sub(r"`[^`]*`", "", text))]


def test_words():
    wrong = [
        f"{name}:{number}: {word!r}: {instead(word)}"
        for name in files()
        for number, line in read(ROOT / name)
        for word in found(line)
    ]
    assert not wrong, "\n".join(wrong)


def instead(word):
    """What is written for a word."""
    for pattern, other in WRITTEN.items():
        if re.fullmatch(pattern, word, re.IGNORECASE):
            return other
    return "US spelling"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The proof that an inverse is exact", ["proof"]),
        ("improve the waterproof approval of a `proof`", []),
        ("its error grows: a growth of 10", ["growth"]),
        ("max_growth and growth_rate", []),
        ("leave it away, or else start anew", ["leave it away", "or else", "anew"]),
        ("noise raised otherwise by an exercise; a precise promise", []),
        ("uninitialised Neighbours normalise", ["uninitialised", "Neighbours", "normalise"]),
        ("published algorithms and published figures", ["published algorithms"]),
        ("it stands in a file, and stands in for another", ["stands in"]),
    ],
)
def test_what_is_found(text, expected):
    assert found(text) == expected
