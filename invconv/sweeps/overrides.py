"""What a command line chooses of Hydra's groups, before Hydra composes anything."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from hydra.errors import HydraException

from invconv.validation import check_choice, did_you_mean

OWN_FOLDERS = (
    "--config-dir",
    "-cd",
    "--config-path",
    "-cp",
    "hydra.searchpath",
    "+hydra.searchpath",
)
"""How arguments begin with which a user names folders of groups."""


def check_choices(arguments: Iterable[str], folder: Path) -> None:
    """Refuse options that a group does not have, but one of nearly the same name.

    All else is left to Hydra, and everything where the command line names folders of its own.

    Args:
        arguments: of the command line.
        folder: the one that holds groups as files.

    Raises:
        ValueError: naming the option, those that there are, and a near one.
    """
    arguments = list(arguments)
    if any(text.startswith(OWN_FOLDERS) for text in arguments):
        return
    for group, option in _chosen(arguments):
        known = [path.stem for path in sorted((folder / group).glob("*.yaml"))]
        with suppress(OSError):  # Hydra's for a group that is not there
            known += [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)]
        if did_you_mean(option, known):
            check_choice(option, known, group)


def _chosen(arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Every group that may be one, and each option that is chosen by its name."""
    parser = OverridesParser.create()
    for text in arguments:
        if text.startswith("-") or "=" not in text:
            continue
        with suppress(HydraException):
            for one in parser.parse_overrides([text]):
                value = one.value()
                values = value.list if isinstance(value, ChoiceSweep) else [value]
                for option in values:
                    name = option.text if isinstance(option, QuotedString) else option
                    if isinstance(name, str):
                        yield one.key_or_group, name
