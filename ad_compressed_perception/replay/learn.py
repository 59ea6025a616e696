# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp replay --learn``: drift references of the variants that were replayed.

The same variants run once more on every frame of the replayed part, in this process and without nodes: a node
computes its statistics on the result as the model gives it, and a message holds less (rounded, thinned out).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ad_compressed_perception.analysis.drift_learner import DriftLearner
from ad_compressed_perception.core.errors import DataError, ImageError, ManifestError
from ad_compressed_perception.core.manifest import MANIFEST_NAME
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.core.task_names import MULTI_TASK
from ad_compressed_perception.data.video_reader import open_recording
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.image.video import MessageDecoder
from ad_compressed_perception.replay.frames import BagSlice
from ad_compressed_perception.replay.plan import ReplayNode, ReplayPlan
from ad_compressed_perception.replay.session import ReplayOptions, plan_of
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.store import model_folder
from ad_compressed_perception.workspace.store_references import store_references


@dataclass
class Learned:
    """What became of it.

    Attributes:
        lines: a sentence for every reference that was stored.
        problems: a sentence for every variant without one.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def learn_references(options: ReplayOptions, progress: Progress) -> Learned:
    """Learn a reference for every variant of a replay, and enter it into the manifests that have the variant.

    These are the folder given by ``models`` and that of the model in the work folder. Frames that cannot be
    decoded are left out; ``rate`` leaves out none.

    Raises:
        AdcpError: see run_replay; a runtime fails; a manifest cannot be written.
    """
    with open_recording(options.bag) as bag, ExitStack() as stack:
        topic = bag.resolve_image_topic(options.topic)
        frames = BagSlice(bag, topic, options.start_s, options.duration_s, options.limit)
        plan = plan_of(options)
        if MULTI_TASK in plan.variants:
            raise DataError("there is no drift reference yet for models with several heads")
        camera = f"{options.bag.resolve().name}:{topic}"
        learners = {}
        for node in plan.nodes:
            progress(f"loading {node.task}/{node.name}", 0, 0)
            pipeline = open_pipeline(
                node.manifest,
                node.variant,
                task=node.task,
                options={"threads": options.threads},
                allow_rejected=options.allow_rejected,
            )
            stack.callback(pipeline.close)
            learners[node] = DriftLearner(pipeline, node.manifest.variant(node.variant).sha256, camera)
        decoder, total = MessageDecoder(topic), frames.estimated_count()
        for number, bag_frame in enumerate(frames, 1):
            try:
                frame = decoder.decode(frames.message(bag_frame))
            except ImageError:
                continue
            for learner in learners.values():
                learner.add(frame)
            progress("learning", number, max(total, number))
    learned = Learned()
    found: dict[ReplayNode, DriftReference] = {}
    for node, learner in learners.items():
        try:
            found[node] = learner.build()
        except DataError as error:
            learned.problems.append(f"no drift reference for {node.task}/{node.name}: {error}")
    _store(plan, found, options, learned)
    return learned


def _store(
    plan: ReplayPlan, found: dict[ReplayNode, DriftReference], options: ReplayOptions, learned: Learned
) -> None:
    for task in plan.variants:
        references = {node.variant: one for node, one in found.items() if node.task == task}
        stored: dict[str, list[Path]] = {name: [] for name in references}
        failed = False
        for folder in _folders(plan, task, options):
            try:
                names = store_references(folder, references)
            except ManifestError as error:  # the other folders get theirs, and the output says which
                learned.problems.append(f"no drift reference of {task} in {folder}: {error}")
                failed = True
                continue
            for name in names:
                stored[name].append(folder / MANIFEST_NAME)
        for name, places in stored.items():
            if places:
                one, where = references[name], ", ".join(map(str, places))
                what = f"drift reference of {task}/{name}: {one.frames} frames, {one.duration_s:.0f} s"
                learned.lines.append(f"{what}, in {where}")
            elif not failed:
                learned.problems.append(
                    f"the drift reference of {task}/{name} was not stored: the model is one that ships with "
                    "the package; name a folder of your own"
                )


def _folders(plan: ReplayPlan, task: str, options: ReplayOptions) -> list[Path]:
    """Return the folders of a task's model that are the user's: given ones, and those in the work folder."""
    manifests = [node.manifest for node in plan.nodes if node.task == task]
    in_work = model_folder(manifests[0], options.work)
    given = [manifest.folder for manifest in manifests if options.models]
    return [folder for folder in dict.fromkeys([*given, in_work]) if (folder / MANIFEST_NAME).is_file()]
