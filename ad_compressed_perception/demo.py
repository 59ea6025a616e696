# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The whole way in one command: compress the models, replay a drive, write the report.

``python -m ad_compressed_perception.demo [BAG] [--models DIR ...] [--out DIR]``
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.cli.output import find_all
from ad_compressed_perception.errors import AdcpError, DataError
from ad_compressed_perception.manifest import load_manifest
from ad_compressed_perception.replay.plan import reference_models
from ad_compressed_perception.replay.progress import ProgressBar

DRIVE = Path("bags") / "udacity_ch2_20s"
CALIBRATION = Path("data") / "udacity_ch2" / "images"
RECIPE = "int8"
RECIPES = (RECIPE, "bf16_openvino")
"""What the demo makes of every model: plain int8, which the gate often has to reject, and the same
weights in bfloat16 on another runtime, which mostly passes."""
HINT = (
    "no drive to replay: name your own with  make demo BAG=<rosbag2 folder> MODELS=<model folder>, "
    "or set AD_SHARED to the folder of the reference data"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0, or 1 after one line on what is missing."""
    from rich.console import Console

    options = _parse(arguments)
    console = Console(stderr=True)
    try:
        return _run(options, console)
    except AdcpError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    except KeyboardInterrupt:
        print("error: interrupted; what was finished is kept", file=sys.stderr)
    return int(ExitCode.ERROR)


def find_shared() -> Path | None:
    """Return the folder of the reference data: ``$AD_SHARED``, or ``shared`` beside a checkout."""
    named = os.environ.get("AD_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder.resolve() if (folder / "models").is_dir() else None


def use_shared() -> Path | None:
    """Find the reference data and let manifests and child processes find it too; None without it."""
    shared = find_shared()
    if shared is not None:
        os.environ["AD_SHARED"] = str(shared)
    return shared


def ensure_variant(
    model: Path, calibration: str, work: Path | None, bar: ProgressBar, recipe: str = RECIPE
) -> str:
    """Compress a model with a recipe unless a variant of that name exists; return its verdict.

    Args:
        model: model folder.
        calibration: BAG, BAG:TOPIC or a folder of images.
        work: work folder; None for the default one.
        bar: told how far it is.
        recipe: name of a shipped recipe.

    Raises:
        AdcpError: anything wrong with the model or the frames.
    """
    from ad_compressed_perception.compression.compress import compress_model
    from ad_compressed_perception.compression.recipe import load_recipe

    manifest = load_manifest(model)
    found = find_all(manifest, work).get(recipe)
    if found is None:

        def advance(step: str, done: int, total: int) -> None:
            bar.say(f"compressing {manifest.name}, {recipe}: {step}")
            bar.advance(done, total)

        found = compress_model(
            manifest, load_recipe(recipe), calibration, work=work, progress=advance
        ).manifest
    verdict = found.variant(recipe).verdict
    if verdict is None:
        return "not judged"
    reasons = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    return f"{verdict.status}{reasons}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ad_compressed_perception.demo",
        description="Compress models, replay a drive through baseline and compressed, write a report.",
    )
    parser.add_argument("drive", nargs="?", metavar="BAG", help="rosbag2 folder, .mcap or .db3 file")
    parser.add_argument("--bag", help="the same as BAG")
    parser.add_argument("--topic", help="image topic; the only one there is by default")
    parser.add_argument("--models", nargs="+", default=[], metavar="DIR", help="model folders, one a task")
    parser.add_argument("--work", type=Path, help="where compressed variants go; ./adcp_work by default")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/demo"), help="folder of the report")
    parser.add_argument("--limit", type=int, help="replay this many frames at most")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, console: object) -> int:
    from rich.console import Console

    from ad_compressed_perception.cli.replay import show
    from ad_compressed_perception.replay.session import ReplayOptions, run_replay

    assert isinstance(console, Console)
    shared = use_shared()
    named = options.bag or options.drive
    if named is None and (shared is None or not (shared / DRIVE).is_dir()):
        raise DataError(HINT)
    bag = Path(named) if named is not None else Path(str(shared)) / DRIVE
    models = _model_folders(options.models)
    if not models and shared is None:
        raise DataError(
            "the reference models need the reference data: set AD_SHARED to its folder, "
            "or name your own with  make demo BAG=... MODELS=<model folder>"
        )
    calibration = str(bag) if not options.topic else f"{bag}:{options.topic}"
    if named is None and (Path(str(shared)) / CALIBRATION).is_dir():
        calibration = str(Path(str(shared)) / CALIBRATION)
    with ProgressBar(console) as bar:
        recipes = _usable(RECIPES)
        verdicts = []
        for model in models or reference_models():
            for recipe in recipes:
                verdict = ensure_variant(model, calibration, options.work, bar, recipe)
                verdicts.append(verdict)
                console.print(f"{model.name}/{recipe}: {verdict}", highlight=False, soft_wrap=True)
        if any(verdict.startswith("rejected") for verdict in verdicts):
            console.print(
                "[bold]Variants that their gate REJECTED are replayed here all the same, to show what "
                "the gate saw. No node loads them on the car unless allow_rejected is set.[/bold]"
            )
        report = run_replay(
            ReplayOptions(
                bag=bag,
                out=options.out,
                topic=options.topic,
                models=tuple(models),
                work=options.work,
                variants=recipes,
                allow_rejected=True,
                limit=options.limit,
            ),
            bar,
        )
    show(report, options.out)
    return int(ExitCode.OK)


def _usable(recipes: Sequence[str]) -> tuple[str, ...]:
    """Return the recipes whose runtime is installed here."""
    from ad_compressed_perception.backends import create_backend
    from ad_compressed_perception.compression.recipe import load_recipe

    return tuple(
        name for name in recipes if create_backend(load_recipe(name).recipe.backend).status().available
    )


def _model_folders(entries: Sequence[str]) -> list[Path]:
    """Return the folders named; one entry may hold several, separated by spaces, as make passes them."""
    folders: list[Path] = []
    for entry in entries:
        folders += [Path(entry)] if Path(entry).exists() else map(Path, shlex.split(entry))
    return folders


if __name__ == "__main__":
    sys.exit(main())
