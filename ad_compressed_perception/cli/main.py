# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ``adcp`` command: registers the subcommands and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import click
import typer
from typer.core import TyperGroup

from ad_compressed_perception import __version__
from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.model_files import ALLOW_OUTSIDE
from ad_compressed_perception.core.one_line import one_line, shorten
from ad_compressed_perception.core.registry import VERBS, find, names
from ad_compressed_perception.core.renamed import RenamedWarning, warn_renamed
from ad_compressed_perception.core.signature import StaleSignatureWarning
from ad_compressed_perception.report.kit.text import shown

_MAX_CHARACTERS = 2000
# Old names of options, accepted for one version.
_RENAMED_OPTIONS = {"--input-colour": "--input-color"}
# An option of every subcommand, which click takes only before the subcommand's name.
_ANYWHERE = "--allow-outside"


class _Verbs(TyperGroup):
    """The subcommands; ``compress --recipe auto`` is an alias of ``search``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return a subcommand's name, the subcommand, and the words that are its own."""
        name, command, words = super().resolve_command(ctx, args)
        searching = search_words(words) if name == "compress" else None
        if searching is None:
            return name, command, words
        return "search", self.get_command(ctx, "search"), searching


app = typer.Typer(
    name="adcp",
    cls=_Verbs,
    help="Compress camera perception models, verify their accuracy, and compare them live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"adcp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside",
            help="Let a model.yaml that you trust name files outside of its folder; also after the command.",
        ),
    ] = False,
) -> None:
    """Options of every subcommand."""
    if allow_outside:  # by the environment, which the processes of adcp replay inherit
        os.environ[ALLOW_OUTSIDE] = "1"


for verb in names(VERBS):
    try:
        app.command(verb)(find(VERBS, verb, AdcpError))
    except AdcpError as error:  # another package's verb must not take the others away
        print(f"warning: {error}", file=sys.stderr)


def search_words(words: list[str]) -> list[str] | None:
    """Return the words of ``search`` for those of ``compress --recipe auto``; None for other recipes."""
    recipes, others = [], []
    remaining = iter(words)
    for word in remaining:
        option, equals, value = word.partition("=")
        if option == "--recipe":
            recipes.append(value if equals else next(remaining, ""))
        else:
            others.append(word)
    return others if recipes[-1:] == ["auto"] and not Path("auto").is_file() else None


def main() -> None:
    """Run the command line; exit codes are those of ExitCode."""
    end(run(app, sys.argv[1:]))


def end(status: int) -> NoReturn:
    """Exit; a second Ctrl-C while the process ends must not print a traceback."""
    if status == ExitCode.INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def run(command: typer.Typer, words: list[str]) -> int:
    """Run a command, and return its exit code after one line where that is an error."""
    warnings.showwarning = _one_line_for_old_names(warnings.showwarning)
    try:
        status = command(_present_names(words), standalone_mode=False)
    except AdcpError as error:
        return _fail(str(error), ExitCode.ERROR)
    except click.UsageError as error:
        error.show()
        return int(ExitCode.USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), ExitCode.ERROR)
    except (click.Abort, KeyboardInterrupt):
        status = ExitCode.INTERRUPTED
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", ExitCode.ERROR)
    except Exception as error:
        if os.environ.get("ADCP_TRACEBACK") == "1":
            raise
        text = f"unexpected {type(error).__name__}: {one_line(error)}"
        hint = "this should have been an error with a remedy; ADCP_TRACEBACK=1 shows where it comes from"
        return _fail(f"{text} ({hint})", ExitCode.ERROR)
    if status == ExitCode.INTERRUPTED:  # typer's status after Ctrl-C, without a message
        keeps = bool({"compress", "search", "train"} & set(words[:2]))
        kept = "what was finished is kept, the same command continues from there"
        return _fail(f"interrupted; {kept if keeps else 'nothing unfinished is kept'}", status)
    return int(status) if isinstance(status, int) else int(ExitCode.OK)


def _present_names(arguments: list[str]) -> list[str]:
    """Return the arguments with old option names replaced and options of every subcommand in front.

    Raises:
        click.UsageError: an option is given under both its names.
    """
    options = [argument for argument in arguments if argument == _ANYWHERE]
    present = options[:1]
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option == _ANYWHERE:
            continue
        if option in _RENAMED_OPTIONS:
            new = _RENAMED_OPTIONS[option]
            if any(other.partition("=")[0] == new for other in arguments):
                raise click.UsageError(f"both {new} and its old name {option} are given: keep {new}")
            warn_renamed("option", option, new)
            argument = f"{new}{equals}{value}"
        present.append(argument)
    return present


def _one_line_for_old_names(show: Callable[..., None]) -> Callable[..., None]:
    """Return a ``warnings.showwarning`` that prints this package's as one line; ``show`` gets others."""

    def show_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, (RenamedWarning, StaleSignatureWarning)):
            print(f"warning: {message}", file=sys.stderr)
        else:
            show(message, category, *place, **options)

    return show_warning


def _fail(message: str, code: int) -> int:
    # Messages quote names and texts of others: their control characters are not for this terminal.
    print(f"error: {shorten(shown(message), _MAX_CHARACTERS)}", file=sys.stderr)
    return int(code)


if __name__ == "__main__":
    main()
