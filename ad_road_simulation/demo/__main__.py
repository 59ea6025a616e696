# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m ad_road_simulation.demo``: adcp demo, also where the package is not installed."""

import sys


def main(arguments: list[str]) -> int:
    """Run the demo; return its exit code, after one line where that is not 0."""
    # Imported here: it takes a second, and Ctrl-C during it must not print a traceback.
    try:
        import typer

        from ad_compressed_perception.cli.main import run
        from ad_road_simulation.demo.command import demo, repeated_option

        app = typer.Typer()
        app.command()(demo)
        return run(app, repeated_option(arguments))
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
