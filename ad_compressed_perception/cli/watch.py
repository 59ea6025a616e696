# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp watch``: a running comparison in the terminal, live."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.core.errors import AdcpError

if TYPE_CHECKING:
    from ad_compressed_perception.watch.listener import SummaryListener
    from ad_compressed_perception.watch.view import View

_SETTLE_S = 1.0
_REFRESH_S = 0.5


def watch(
    namespace: Annotated[
        str | None,
        typer.Option(
            metavar="NS",
            help="Only monitors in this namespace, or the one of this full name; all by default.",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print one table and exit; see the exit codes.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document a summary on standard output, a line each.")
    ] = False,
    wait_s: Annotated[
        float,
        typer.Option(min=0.1, max=3600.0, metavar="S", help="How long to wait for the first summary."),
    ] = 10.0,
    stale_s: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=3600.0,
            metavar="S",
            help="Age from which a summary is not of now; above the monitor's publish_period_s.",
        ),
    ] = 5.0,
) -> None:
    """Show the comparison that a running latency monitor publishes: rates, latencies, agreement, alarms.

    Reads only the monitor's ~/summary. Figures are those of the last 10 s, drawings those of the last two
    minutes, the worst of each span. Ctrl-C ends it. Where standard output is no terminal, each summary is
    printed below the last one.

    Exit codes of --once: 0: everything is OK or has a WARN; 6: an alarm of level ERROR is on, a node is
    missing or has given no result yet, or no new summary came; 1: no monitor answers, or several do.
    Without --once: 0 after Ctrl-C.
    """
    try:
        from ad_compressed_perception.watch.listener import SummaryListener
    except ImportError as error:
        raise AdcpError(f"adcp watch needs ROS 2 ({error}): source its setup file first") from error

    listener = SummaryListener(namespace or "", stale_after_s=stale_s)
    try:
        monitor = _find(listener, namespace, wait_s)
        if once:
            raise typer.Exit(_show_once(listener, monitor, wait_s, as_json=as_json))
        _follow(listener, monitor, stale_s, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.OK) from None
    finally:
        listener.close()


def _find(listener: SummaryListener, namespace: str | None, wait_s: float) -> str:
    """Return the one monitor that answers; raise AdcpError where none or several do."""
    listener.spin(wait_s, lambda: bool(listener.monitors))
    if not listener.monitors:
        where = f" in {namespace}" if namespace else ""
        reasons = "; ".join(listener.unreadable.values())
        raise AdcpError(
            f"no latency monitor{where} answered within {wait_s:g} s"
            + (f" ({reasons})" if reasons else "")
            + ": start compare.launch.py, or check ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE"
        )
    listener.spin(_SETTLE_S)
    names = sorted(listener.monitors)
    if len(names) > 1:
        raise AdcpError(f"{len(names)} monitors run: {', '.join(names)}; choose one with --namespace NAME")
    return names[0]


def _view(listener: SummaryListener, monitor: str) -> View:
    now_s = time.monotonic()
    alarms = [*listener.drift.alarms(now_s), *listener.availability.alarms(now_s)]
    return listener.monitors[monitor].view(now_s, listener.notes(monitor), alarms)


def _show_once(listener: SummaryListener, monitor: str, wait_s: float, *, as_json: bool) -> ExitCode:
    from ad_compressed_perception.watch.view import NO_DATA, NO_RESULT

    # The summary that a monitor left behind may be old: then a new one must come. One that has just started
    # knows nothing yet. What a node says of itself may come later than the monitor's summary.
    listener.spin(
        wait_s,
        lambda: not listener.is_awaiting and _view(listener, monitor).state not in (NO_DATA, NO_RESULT),
    )
    view = _view(listener, monitor)
    _print(view, as_json=as_json)
    return ExitCode.ALARM if view.state in ("ERROR", NO_RESULT, NO_DATA) else ExitCode.OK


def _print(view: View, *, as_json: bool) -> None:
    if as_json:
        print(view.to_json(indent=None), flush=True)
        return
    from ad_compressed_perception.cli.output import table_console
    from ad_compressed_perception.watch.table import draw

    console = table_console()
    console.print(draw(view, console, clock=time.strftime("%H:%M:%S")))


def _follow(listener: SummaryListener, monitor: str, stale_s: float, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from ad_compressed_perception.watch.table import draw

    console = Console()
    if as_json or not console.is_terminal:
        while True:
            # Silence is printed, too: the last figures, marked as not of now.
            _next(listener, monitor, stale_s)
            _print(_view(listener, monitor), as_json=as_json)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            clock = time.strftime("%H:%M:%S")
            live.update(draw(_view(listener, monitor), console, clock=clock), refresh=True)
            listener.spin(_REFRESH_S)


def _next(listener: SummaryListener, monitor: str, limit_s: float) -> None:
    """Wait for the next summary, at most a time."""
    came = listener.came[monitor]
    listener.spin(limit_s, lambda: listener.came[monitor] > came)
