"""Options of `local`: `--port 9000` is EO_PORT=9000. What a setting is chosen from stands in the help as it is written."""

from argparse import ArgumentParser
from collections.abc import Sequence
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_settings import CliSettingsSource

from ..contract.settings import LocalSettings

PROGRAM = "python -m embedding_serving local"


def parsed(arguments: Sequence[str]) -> LocalSettings:
    """From the arguments, and from the environment where they say nothing. Raises ValidationError, SystemExit."""
    source: CliSettingsSource[ArgumentParser] = CliSettingsSource(
        LocalSettings,
        cli_parse_args=list(arguments),
        cli_prog_name=PROGRAM,
        cli_kebab_case=True,
        add_argument_method=_add_argument,
    )
    return LocalSettings(_cli_settings_source=source)


def _add_argument(parser: ArgumentParser, *options: str, **given: Any) -> Any:
    values = _values(options[-1])
    return ArgumentParser.add_argument(
        parser, *options, **(given | {"metavar": f"{{{','.join(values)}}}"} if values else given)
    )


def _values(option: str) -> list[str]:
    """What the setting behind `--index-options.type` is chosen from; nothing where it is not an enumeration."""
    kind: Any = LocalSettings
    for name in option.lstrip("-").replace("-", "_").split("."):
        field = kind.model_fields.get(name) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        if field is None:
            return []
        kind = field.annotation
    return [str(one.value) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
