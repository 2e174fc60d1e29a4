"""Which commands there are, and how one is run. Imports none of them: the server starts through here too."""

import argparse
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from ..settings import APP_NAME

if TYPE_CHECKING:
    from .session import Session

# What a command's exit status says. argparse itself exits 2.
DONE = 0
NOT_WELL = 1  # it ran, but not all is as it should be: something was refused, left out, or found wrong
UNUSABLE = 2  # it could not run: wrong arguments, wrong configuration, no store
INTERRUPTED = 130  # by SIGINT, as shells count it


@dataclass(frozen=True, slots=True)
class Command:
    """`module`: below this package; a CommandModule."""

    module: str
    summary: str


class CommandModule(Protocol):
    """What the module of a command defines. Importing it may be slow; nothing is imported for other commands."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace, session: "Session") -> int:
        """Do it, print what there is to say, and return the exit status.

        A ServiceError or ValueError that it raises is printed in one line, and the status is UNUSABLE.
        """
        ...


COMMANDS: Mapping[str, Command] = {
    "token": Command("token", "Make a token for a user and show what to paste, or revoke one."),
    "erase": Command("erase", "Erase all that is remembered about a user, history included."),
    "migrate": Command("migrate.command", "Take over what release 1.x remembered."),
}


def parsed(name: str, argv: Sequence[str]) -> tuple[CommandModule, argparse.Namespace]:
    """The module of command `name`, and its arguments. Prints and exits for --help and for mistakes."""
    command = COMMANDS[name]
    module = cast(CommandModule, importlib.import_module(f".{command.module}", __package__))
    parser = argparse.ArgumentParser(prog=f"{APP_NAME} {name}", description=command.summary)
    module.add_arguments(parser)
    return module, parser.parse_args(argv)


def summaries() -> str:
    """One line per command, for --help."""
    return "\n".join(f"  {name:<12}{command.summary}" for name, command in COMMANDS.items())
