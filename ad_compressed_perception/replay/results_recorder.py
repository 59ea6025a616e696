# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Records the results of a replay while it runs: what the nodes publish, as they publish it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.image.decode import to_bgr8
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.image.video import MessageDecoder
from ad_compressed_perception.replay.frame_panels import frame_jpeg
from ad_compressed_perception.replay.frames import BagFrame, BagSlice, read_stamp_ns
from ad_compressed_perception.replay.plan import ReplayNode, ReplayPlan
from ad_compressed_perception.replay.results_bag import FOLDER, RESULT_TYPES, ResultsBag
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.workspace.temporary import scratch_folder

FILES = (f"{FOLDER}/{FOLDER}.mcap", f"{FOLDER}/metadata.yaml")

Subscribe = Callable[[str, str, Callable[[bytes], None]], object]
"""Subscribes to a topic of a task's results; the callback gets serialized messages."""


class ResultsRecorder:
    """Writes a frame's image, results, timings and agreement when all its variants are done with it.

    The nodes wait then for their next frame, so that writing takes no time of theirs. A full disk ends the
    recording and not the replay: nothing is kept of it, and the report says so.
    """

    def __init__(
        self,
        plan: ReplayPlan,
        frames: BagSlice,
        out: Path,
        hold: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Store the arguments; the file is created when the first frame is done.

        Args:
            plan: the nodes.
            frames: the recording, to decode raw images.
            out: folder of the report; the recording is made in a hidden folder there.
            hold: lets Ctrl-C wait while a frame is written; half a message would spoil a whole chunk.
        """
        self._plan, self._frames, self._out, self._hold = plan, frames, out, hold
        self._latest: dict[ReplayNode, tuple[int, bytes]] = {}
        self._written_index = -1
        self._decoder = MessageDecoder(frames.topic)
        self._pixels: NDArray[np.uint8] | None = None
        self._failure = ""
        self._scratch, self._scratch_end = Path(), ExitStack()
        self._threads = cv2.getNumThreads()
        self._bag: ResultsBag | None = None

    def __enter__(self) -> ResultsRecorder:
        """Draw with one thread from now on.

        OpenCV's other threads go on spinning for a while after a drawing, beside the node that has the next
        frame: 8.7 to 9.4 ms from frame to result of a planner on two cores, against 6.8 to 7.7 without.
        """
        self._threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        return self

    def __exit__(self, *_: object) -> None:
        """Complete the file."""
        cv2.setNumThreads(self._threads)
        try:
            with self._hold():
                if self._bag is not None:
                    self._bag.close()
        except OSError as cause:
            self._failure = self._failure or cause.strerror or str(cause)

    def subscribe(self, subscribe: Subscribe) -> None:
        """Subscribe to the results of every node."""
        for node in self._plan.nodes:
            subscribe(f"{node.node}/{RESULT_TYPES[node.task][0]}", node.task, partial(self._take, node))

    def has(self, task: str, names: set[str], stamp_ns: int) -> bool:
        """Whether the results of all those variants for a frame have arrived."""
        return all(
            self._latest.get(node, (0, b""))[0] == stamp_ns
            for node in self._plan.nodes
            if node.task == task and node.name in names
        )

    def end_task(
        self,
        task: str,
        frame: BagFrame,
        timings: Mapping[str, FrameTiming],
        compared: Mapping[str, Result],
        agreements: Mapping[str, float],
    ) -> None:
        """Write what there is of a task and a frame.

        Args:
            task: its name.
            frame: the frame; its image is written once, before the first task's results.
            timings: variant's name to timing, of the variants that finished the frame.
            compared: variant's name to result, of the variants whose results were compared.
            agreements: compared variant's name to agreement with the baseline.
        """
        if self._failure:
            return
        try:
            with self._hold():
                self._write(task, frame, timings, compared, agreements)
        except OSError as error:
            self._failure = error.strerror or str(error)

    def discard(self) -> None:
        """Leave nothing: for a replay that ended before its first frame was done."""
        self._scratch_end.close()
        if self._scratch.name:
            with suppress(OSError):  # not empty: files of others stay
                self._out.rmdir()

    def finish(self, report: Report) -> None:
        """Move the recording into the report's folder, and say in the report what it lacks."""
        if self._bag is None:
            self._failure = self._failure or "no frame was finished"
        if not self._failure:
            try:
                self._move()
                report.files = [*report.files, *FILES]
            except OSError as error:
                self._failure = error.strerror or str(error)
        self._scratch_end.close()
        if self._bag is None or self._failure:
            notes = [f"The results were not recorded: {self._failure}."]
        else:
            notes = list(self._lacks(self._bag, report))
        report.notes = [*report.notes, *notes]

    def _write(
        self,
        task: str,
        frame: BagFrame,
        timings: Mapping[str, FrameTiming],
        compared: Mapping[str, Result],
        agreements: Mapping[str, float],
    ) -> None:
        bag = self._bag = self._bag or self._create()
        self._write_image(bag, frame)
        for side, name in enumerate(self._plan.variants[task]):
            node = self._plan.node(task, name)
            stamp_ns, cdr = self._latest.get(node, (0, b""))
            if stamp_ns == frame.stamp_ns and name in timings:
                size = None if self._pixels is None else (self._pixels.shape[1], self._pixels.shape[0])
                bag.add_result(node, side, frame, cdr, size)
            if name in timings:
                bag.add_timing(node, frame, timings[name])
            if name in agreements:
                bag.add_agreement(node, frame, agreements[name])
        if self._pixels is not None and compared:
            with suppress(AdcpError):  # a mask of another size, which the comparison names
                jpeg = frame_jpeg(self._plan, task, self._pixels, compared, timings, agreements)
                bag.add_side_by_side(task, frame, jpeg)

    def _move(self) -> None:
        for name in FILES:
            (self._out / name).unlink(missing_ok=True)
        (self._out / FOLDER).mkdir(exist_ok=True)
        for name in FILES:
            os.replace(self._scratch / name, self._out / name)

    def _create(self) -> ResultsBag:
        self._out.mkdir(parents=True, exist_ok=True)
        self._scratch = self._scratch_end.enter_context(scratch_folder(self._out, ".results-"))
        return ResultsBag(self._scratch / FOLDER, self._frames.topic)

    def _lacks(self, bag: ResultsBag, report: Report) -> Iterator[str]:
        counts = bag.counts
        for node in self._plan.nodes:
            name, _ = RESULT_TYPES[node.task]
            processed = report.tasks[node.task].variants[node.name].processed
            found = counts[f"{node.topic}/{name}"]
            if found != processed:
                yield (
                    f"The recording of the results has {found} of {processed} results of "
                    f"{node.task}/{node.name}."
                )

    def _take(self, node: ReplayNode, cdr: bytes) -> None:
        try:
            self._latest[node] = (read_stamp_ns(cdr), bytes(cdr))
        except AdcpError:  # no message of the type: the monitor counts and reports it
            return

    def _write_image(self, bag: ResultsBag, frame: BagFrame) -> None:
        if frame.index == self._written_index:
            return
        self._written_index = frame.index
        self._pixels = None
        message: Any = self._frames.message(frame)
        try:
            self._pixels = to_bgr8(self._decoder.decode(message))
            jpeg = b"" if self._frames.is_compressed else encode_jpeg(self._pixels)
        except AdcpError:  # the nodes fail on it, too, and the report names it
            jpeg = b""
        if self._frames.is_compressed:
            bag.add_compressed_image(frame)
        elif jpeg:
            bag.add_jpeg(frame, str(message.header.frame_id), jpeg)
