# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp train``: trains the default models, or others of their kind, on synthetic and real images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    configs: Annotated[
        list[Path], typer.Argument(metavar="TRAINING.yaml...", help="Configurations; see config/training.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Model folders are written to DIR/NAME.")] = Path(
        "adcp_work/models"
    ),
    work: Annotated[
        Path, typer.Option(metavar="DIR", help="Images and checkpoints; the same command resumes from them.")
    ] = Path("adcp_work/training"),
    device: Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")] = "auto",
    jobs: Annotated[int, typer.Option(min=0, help="Rendering processes; 0: one per processor.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of batches, instead of the file's.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=0, help="Number of synthetic images, instead of the file's; 0: real images alone."),
    ] = None,
    without_real: Annotated[
        bool, typer.Option("--without-real", help="Train without real images and teachers.")
    ] = False,
    only_render: Annotated[
        bool, typer.Option("--only-render", help="Render the road camera's images only.")
    ] = False,
) -> None:
    """Train models on the built-in road camera and on real images. Needs torch (make setup-train).

    Trainings named together share their rendered images. After Ctrl-C the same command resumes from the last
    checkpoint.
    """
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.training.default_models.config import load_training

    loaded = [load_training(path) for path in configs]
    for config in loaded:
        if steps is not None:
            config.schedule.steps = steps
        if frames is not None:
            config.synthetic.frames = frames
        if without_real:
            config.real = type(config.real)()
    from ad_compressed_perception.training.default_models.train import choose_device, prepare_dataset
    from ad_compressed_perception.training.default_models.train import train as run_training

    chosen = choose_device(device)
    with ProgressBar() as bar:
        dataset = prepare_dataset(loaded, work, bar, jobs)
        if only_render:
            return
        for config in loaded:
            run_training(config, dataset, out, work, chosen, bar)
            bar.console.print(f"{config.name}: {out / config.name}", highlight=False, soft_wrap=True)
