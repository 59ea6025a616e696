# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp export``: a folder with what a device's tool takes, and a script for the device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_compressed_perception.cli import options as o
from ad_compressed_perception.cli.check import Rules, TargetName


def export(
    model_dir: o.ModelOrFile,
    calibration: o.Calibration,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="New folder for the device.")],
    target: TargetName = None,
    rules: Rules = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="int8, fp32 or another form of the target; its first by default."),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(metavar="VARIANT", help="Export this variant as it is, not the baseline.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="FILE|NAME", help="Its numbers of frames and terms of acceptance hold."),
    ] = None,
    frames: o.CalibrationFrames = None,
    max_bad_frames: o.MaxBadFrames = None,
    force: Annotated[bool, typer.Option(help="Export a model that the target's rules refuse, too.")] = False,
    work: o.WorkToRead = None,
    as_json: o.AsJson = False,
) -> None:
    """Write what a device's tool takes: the model in its form, calibration set, reference frames, a script.

    The model ends before operators that devices lack (NMS); sizes are fixed; Q/DQ pairs have the target's
    form. run_on_device.py in the folder runs the reference frames on the device with numpy and the runtime
    alone; adcp verdict compares the outputs that it writes with the float model's.
    """
    from ad_compressed_perception.cli.model_file import folder_of
    from ad_compressed_perception.cli.models import open_model
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.core.one_line import shorten_list
    from ad_compressed_perception.data.bad_frames import parse_limit
    from ad_compressed_perception.targets.export import ExportRequest, export_model
    from ad_compressed_perception.targets.rule_file import load_target

    chosen = load_target(target, rules)
    manifest = open_model(folder_of(model_dir, work, calibration), work, variant)
    request = ExportRequest(
        calibration,
        precision,
        variant,
        recipe,
        frames,
        None if max_bad_frames is None else parse_limit(max_bad_frames),
        force,
    )
    with ProgressBar() as bar:
        document = export_model(manifest, chosen, request, out, bar)
    if as_json:
        print(document.to_json())
        return
    for one in document.findings:
        print(f"{one.consequence.replace('_', ' ')}: {one.operator} {one.node}: {one.text}; {one.mend}")
    if document.cut_nodes:
        print(f"model.onnx ends before {', '.join(document.cut_nodes)}; the PC computes the rest (tail.onnx)")
    if document.float_operators:
        names = shorten_list(document.float_operators)
        print(f"in float for accuracy: {len(document.float_operators)} operators: {names}")
    print(
        f"{document.model} as {document.precision} for {document.target}, calibrated on "
        f"{document.calibration.frames} frames, {len(document.frames)} reference frames: {out} (README.md)"
    )
