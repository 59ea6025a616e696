# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp join``: two models with one encoder become one model with two heads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_compressed_perception.cli import options as o


def join(
    first: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder with model.yaml.")],
    second: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder with model.yaml.")],
    folder: Annotated[Path, typer.Argument(metavar="NEW_DIR", help="Folder to create.")],
    heads: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names of the two heads; the models' tasks by default."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The new model's name; both names with _and_ between by default.")
    ] = None,
    min_share: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Least common share of the smaller model's multiply-accumulates."
        ),
    ] = 0.1,
) -> None:
    """Join two models whose first layers are equal: one ONNX file that runs them once, with both results.

    Layers are equal where operators, attributes and weights are, bit by bit, and images are prepared in the
    same way. The outputs of NEW_DIR are compared with those of both files before it is written. It is a model
    with several heads: multi_task_node runs it, and adcp compress gives each head a verdict.
    """
    from ad_compressed_perception.core.manifest import load_manifest
    from ad_compressed_perception.importing.join_encoders import join_encoders

    models = (load_manifest(first), load_manifest(second))
    names = o.names_in(heads, "--heads")
    found = join_encoders(models, folder, name=name, heads=names, min_share=min_share)
    print(
        f"common: {found.nodes} operators of {found.nodes_of[0]} and {found.nodes_of[1]}, "
        f"{found.macs / 1e6:.1f} of {found.macs_of[0] / 1e6:.1f} and {found.macs_of[1] / 1e6:.1f} million "
        f"multiply-accumulates"
    )
    print(f"largest difference from the original outputs: {found.largest_difference:.3g}")
    print(f"written: {found.manifest.folder}, heads {', '.join(found.manifest.outputs or ())}")
