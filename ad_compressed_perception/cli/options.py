# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs have, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice
    from ad_compressed_perception.data.bad_frames import BadFrameLimit

ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder with model.yaml.")]
ModelOrFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL_DIR|FILE",
        help="Folder with model.yaml, or a model file: imported into the work folder.",
    ),
]
Calibration = Annotated[
    str,
    typer.Option(metavar="BAG:TOPIC|FOLDER", help="Frames to calibrate on, and other frames to verify on."),
]
CalibrationFrames = Annotated[
    int | None, typer.Option(min=1, help="Frames to calibrate on; the recipe's number by default.")
]
VariantName = Annotated[
    str | None, typer.Option(metavar="VARIANT", help="Name of the variant; the recipe's by default.")
]
WorkToWrite = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where variants go: DIR/<model>/; $ADCP_WORK or ./adcp_work by default."
    ),
]
WorkToRead = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where compressed variants are; $ADCP_WORK or ./adcp_work by default."),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Write into MODEL_DIR instead of the work folder.")]
OtherBackend = Annotated[
    str | None, typer.Option(help="Run all variants on this backend instead of their own.")
]
Threads = Annotated[
    int | None, typer.Option(min=0, help="Threads inside one inference; 0: the runtime's choice.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
MaxBadFrames = Annotated[
    str | None,
    typer.Option(
        metavar="N|N%",
        help="Most frames that may be left out because they cannot be read: a number, or a share of those "
        "asked for; 10% by default.",
    ),
]

# Labeled data. SPEC itself is an option of its verb: adcp evaluate needs it.
OptionalData = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="Labeled data to measure accuracy on: as adcp evaluate --data; of heads HEAD=SPEC[,HEAD=SPEC].",
    ),
]
LabelMap = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|NAME",
        help="YAML map from the data's names to the model's labels, or a shipped one: camvid_road.",
    ),
]
FromShare = Annotated[
    float,
    typer.Option(
        "--from", min=0.0, max=1.0, help="Share of the labeled data to begin at: 0.75 is its last quarter."
    ),
]
ToShare = Annotated[
    float, typer.Option("--to", min=0.0, max=1.0, help="Share of the labeled data to end at.")
]
LabeledLimit = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most so many labeled frames, at even steps.")
]
Tolerance = Annotated[
    float,
    typer.Option("--tolerance-ms", min=0.0, help="Planning: farthest label taken for a frame, milliseconds."),
]
TOLERANCE_MS = 50.0


def labeled_choice(
    data: str | None,
    label_map: str | None,
    shares: tuple[float, float],
    limit: int | None,
    tolerance_ms: float,
    max_bad: BadFrameLimit | None,
) -> LabeledChoice | None:
    """Return the labeled data that a verb was given; None without --data.

    Raises:
        typer.BadParameter: options of labeled data without --data.
    """
    from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice

    if data is not None:
        return LabeledChoice(data, label_map, *shares, limit, tolerance_ms, max_bad)
    if label_map is not None or limit is not None or shares != (0.0, 1.0):
        raise typer.BadParameter("--label-map, --from, --to and --limit belong to --data")
    return None


def names_in(text: str | None, option: str) -> tuple[str, ...] | None:
    """Return the different names of a list with commas; None where there is none.

    Raises:
        typer.BadParameter: the list is empty.
    """
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise typer.BadParameter(f"{option} names nothing")
    return names
