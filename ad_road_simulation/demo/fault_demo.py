# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A fault in each compressed model of the demo, and who answers the frames: counted on the recorded drive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.data.frames import list_images, read_image_file
from ad_compressed_perception.serving.ladder import LadderSettings
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_road_simulation.demo.demo_models import DemoModel
from ad_road_simulation.faults.guarded import GuardedModel
from ad_road_simulation.faults.kinds import KINDS
from ad_road_simulation.faults.options import FaultOptions

KIND, SEED = "nan", 5
PROBABILITY = 0.1
FIRST = 2
"""A run that has the fault in any case: a drive may be short."""
MOST_FRAMES = 80
_PERIOD_S = 0.1
_CHARACTERS = {"primary": ".", "standby": "B", "hold": "h", "none": "x"}
_IN_WORDS = "returns a NaN in every output"
_LADDER = LadderSettings(hysteresis_s=1.0, probation_frames=5)


@dataclass(frozen=True)
class FaultDemo:
    """What became of one model's frames.

    Attributes:
        task: of the model.
        variant: which had the faults.
        frames: that were given to it.
        faults: that were injected.
        answers: of each frame who answered it: primary (the variant), standby (the baseline), hold or none.
    """

    task: str
    variant: str
    frames: int
    faults: int
    answers: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The counts in words."""
        if not self.faults:
            return f"no fault was injected into `{self.variant}`, which shows nothing."
        answered = Counter(self.answers)
        lost = answered["none"]
        result = "every frame has a result" if not lost else f"{lost} frames have no result"
        return (
            f"{self.faults} faults ({KINDS[KIND]}) in {self.frames} frames of `{self.variant}`: {result}, "
            f"{answered['standby']} by the baseline."
        )

    @property
    def strip(self) -> str:
        """The frames in their order, a character each."""
        return "".join(_CHARACTERS[answer] for answer in self.answers)


def run_fault_demo(model: DemoModel, images: Path, progress: Progress) -> FaultDemo | None:
    """Give a drive's images to a guarded variant with faults; None for a model without a compressed one.

    Raises:
        AdcpError: a model that cannot be loaded.
    """
    if model.compressed == model.manifest.baseline:
        return None
    now_s = 0.0
    faults = FaultOptions(kind=[KIND], probability=PROBABILITY, seed=SEED, frames=[FIRST])
    guarded = GuardedModel(model.manifest, model.compressed, faults, _LADDER, lambda: now_s)
    answers = []
    try:
        files = list_images(images)[:MOST_FRAMES]
        for done, file in enumerate(files, 1):
            now_s += _PERIOD_S
            try:
                answer = guarded.answer(read_image_file(file), round(now_s * 1e9), _nothing)
                answers.append(str(answer.level))
            except AdcpError:
                answers.append("none")
            progress(f"faults in {model.task}", done, len(files))
    finally:
        guarded.close()
    return FaultDemo(model.task, model.compressed, len(answers), guarded.injected, tuple(answers))


def fault_sections(faults: Sequence[FaultDemo]) -> Iterator[str]:
    """Yield the report's blocks about faults."""
    yield "## A fault and its fallback"
    if not faults:
        yield "No model has a compressed variant: there is nothing for a baseline to stand in for."
        return
    yield (
        f"In {PROBABILITY:.0%} of its runs each compressed variant {_IN_WORDS}. Guarded as in a node with "
        "`fallback_variant:=baseline`, the loaded baseline answers the same frame, and goes on until the "
        "variant has passed a probation beside it."
    )
    for one in faults:
        yield f"{one.task.capitalize()}: {one.sentence}"
    width = max(len(one.task) for one in faults)
    lines = [f"{one.task:{width}}  {one.strip}" for one in faults]
    yield "\n".join(["```", *lines, "```"])
    yield (
        "A character for each frame: `.` answered by the variant, `B` by the baseline, `h` an earlier "
        "result, `x` none. Live: `ros2 launch ad_compressed_perception demo.launch.py fault:=nan:0.05`, and "
        "`adcp watch` beside it."
    )


def _nothing(pipeline: Pipeline) -> None:
    """Give the task nothing: no speed is known."""
