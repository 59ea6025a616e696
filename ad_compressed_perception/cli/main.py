# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ``adcp`` command: registers the subcommands and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import click
import typer

from ad_compressed_perception import __version__
from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.model_files import ALLOW_OUTSIDE
from ad_compressed_perception.core.one_line import one_line, shorten
from ad_compressed_perception.core.registry import VERBS, find, names
from ad_compressed_perception.core.renamed import RenamedWarning, warn_renamed
from ad_compressed_perception.core.signature import StaleSignatureWarning
from ad_compressed_perception.report.markdown_text import shown

_MAX_CHARACTERS = 2000
# Old names of options, accepted for one version.
_RENAMED_OPTIONS = {"--input-colour": "--input-color"}
# An option of every subcommand, which click takes only before the subcommand's name.
_ANYWHERE = "--allow-outside"

app = typer.Typer(
    name="adcp",
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


def main() -> None:
    """Run the command line; exit codes are those of ExitCode."""
    warnings.showwarning = _one_line_for_old_names(warnings.showwarning)
    try:
        status = app(_present_names(sys.argv[1:]), standalone_mode=False)
    except AdcpError as error:
        sys.exit(_fail(str(error), ExitCode.ERROR))
    except click.UsageError as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except click.ClickException as error:
        sys.exit(_fail(error.format_message(), ExitCode.ERROR))
    except (click.Abort, KeyboardInterrupt):
        status = ExitCode.INTERRUPTED
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        sys.exit(_fail(f"{error.strerror or error}{where}", ExitCode.ERROR))
    except Exception as error:
        if os.environ.get("ADCP_TRACEBACK") == "1":
            raise
        text = f"unexpected {type(error).__name__}: {one_line(error)}"
        hint = "this should have been an error with a remedy; ADCP_TRACEBACK=1 shows where it comes from"
        sys.exit(_fail(f"{text} ({hint})", ExitCode.ERROR))
    if status == ExitCode.INTERRUPTED:  # typer's status after Ctrl-C, without a message
        keeps = bool({"compress", "train"} & set(sys.argv[1:3]))
        kept = "what was finished is kept, the same command continues from there"
        sys.exit(_fail(f"interrupted; {kept if keeps else 'nothing unfinished is kept'}", status))
    sys.exit(status if isinstance(status, int) else ExitCode.OK)


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
