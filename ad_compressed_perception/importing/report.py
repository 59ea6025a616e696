# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The folder ``import.report`` of a model: results drawn on four frames, and all figures of the guess."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.image.decode import Frame, to_bgr8
from ad_compressed_perception.importing.choices import Choice, Guess, Row
from ad_compressed_perception.importing.judge import Judge
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.overlay import draw_result
from ad_compressed_perception.report.schemas.importing import (
    ImportCandidate,
    ImportChoice,
    ImportFigures,
    ImportGuess,
)

if TYPE_CHECKING:
    from ad_compressed_perception.importing.guesser import Guesser

REPORT = "import.report"
IMAGES = 4


def drawn_frames(spec: InputSpec) -> list[Frame]:
    """Return black, gray and white, a ramp, and noise of pixels and of large blocks."""
    rng = np.random.default_rng(0)
    shape = (spec.height, spec.width, 3)
    images = [np.full(shape, value, np.uint8) for value in (0, 114, 255)]
    images.append(np.broadcast_to(np.linspace(0, 255, spec.width).astype(np.uint8)[:, None], shape).copy())
    images += [rng.integers(0, 256, shape, dtype=np.uint8)]
    blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    images.append(np.asarray(cv2.resize(blocks, (spec.width, spec.height))))
    return [Frame(image, "BGR") for image in images]


def guess_section(guess: Guess) -> ImportGuess:
    """Return a guess as a document has it."""
    return ImportGuess(
        frames=guess.frames,
        inferences=guess.inferences,
        choices=[_choice(one) for one in guess.choices],
        unsure=[one.what for one in guess.unsure],
        candidates=[_candidate(row) for row in guess.rows],
        notes=list(guess.notes),
    )


def _choice(one: Choice) -> ImportChoice:
    return copied(ImportChoice, one, certain=one.is_certain, fix=one.fix or None)


def _candidate(row: Row) -> ImportCandidate:
    found = row.judgment
    return copied(
        ImportCandidate,
        row.candidate,
        prior=round(row.candidate.prior, 3),
        preparation=row.preparation,
        mirror_agreement=None if found is None else round(found.same, 4),
        other_frame_agreement=None if found is None else round(found.other, 4),
        skill=None if found is None else round(found.skill, 4),
        found=None if found is None else found.found,
        failed=None if found is None else found.failed or None,
        accuracy=row.accuracy,
        chosen=row.is_chosen,
    )


def write_report(guesser: Guesser, guess: Guess, frames: Sequence[Frame], folder: Path) -> None:
    """Write the figures, and images where the results of a task can be drawn."""
    folder.mkdir()
    copied(ImportFigures, guess_section(guess)).write(folder / "import.json")
    if guess.candidate is None:
        return
    judge = Judge(guesser.session, frames, guesser.manifest)
    results = judge.results(guess.candidate, guess.spec, IMAGES)
    for number, (frame, result) in enumerate(results, start=1):
        image = np.ascontiguousarray(to_bgr8(frame))
        image = draw_result(image, result)
        _, encoded = cv2.imencode(".jpg", image)
        (folder / f"frame_{number}.jpg").write_bytes(encoded.tobytes())  # imwrite ignores a full disk


def move_report(scratch: Path, folder: Path) -> list[Path]:
    """Move a report to its place, over an earlier one's files; return its images."""
    if not scratch.is_dir():
        return []
    folder.mkdir(exist_ok=True)
    for file in sorted(scratch.iterdir()):
        os.replace(file, folder / file.name)
    return sorted(folder.glob("frame_*.jpg"))
