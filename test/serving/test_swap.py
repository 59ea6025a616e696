# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The exchange of the model that serves, without ROS: real models, real threads."""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving import swap
from ad_compressed_perception.serving.candidate_check import OF_THE_GATE, Checked, check_candidate
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.recent_frames import RecentFrame, RecentFrames
from ad_compressed_perception.serving.served_model import ModelRequest, ServedModel, open_model
from ad_compressed_perception.serving.swap import Attempt, Steps, Swaps
from support.models import draw_scene, write_detector, write_planner, write_segmenter
from support.variants import GATE, add_variant

PATIENCE_S = 30.0


def serve(folder: Path, variant: str = "") -> ServedModel:
    task = yaml.safe_load((folder / "model.yaml").read_text())["task"]
    return open_model(ModelRequest(str(folder), variant), task)


def frames_of(
    model: ServedModel, count: int = 8, scene: Callable[[int], Any] = draw_scene
) -> list[RecentFrame]:
    """Return frames with the answers of a model, as a node keeps them."""
    images = [Frame(scene(number), "BGR") for number in range(count)]
    return [RecentFrame(image, 0, model.run(image)[0], model.identity) for image in images]


def check(new: ServedModel, old: ServedModel | None, frames: list[RecentFrame], least: float) -> Checked:
    settings = new.pipeline.task.settings
    return check_candidate(new, old, frames, settings=settings, before=lambda _, __: None, least=least)


def begin(swaps: Swaps, load: Callable[[], ServedModel], limit_s: float = PATIENCE_S) -> Attempt:
    return swaps.begin("swap", "it", Steps(load, lambda model: (Checked(), None)), limit_s)


def closed(model: ServedModel) -> bool:
    with pytest.raises(AdcpError, match="was closed"):
        model.run(Frame(draw_scene(0), "BGR"))
    return True


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    folder = write_detector(tmp_path / "detector")
    add_variant(folder, "same", lambda values: values * 1.0001, provenance=GATE)
    add_variant(folder, "blind", lambda values: values * 0.0 - 9.0, provenance=GATE)
    add_variant(folder, "blind_without_gate", lambda values: values * 0.0 - 9.0)
    add_variant(folder, "nan", lambda values: values * np.nan)
    return folder


def test_the_new_model_serves_and_the_one_before_the_last_is_closed(detector: Path) -> None:
    models = ModelSet()
    swaps = Swaps(models)
    first, second, third = serve(detector), serve(detector, "same"), serve(detector)
    models.exchange(first)

    for new, kept in ((second, first), (third, second)):
        attempt = begin(swaps, lambda new=new: new)
        attempt.wait()
        report = swaps.finish(attempt)
        assert report.reason == ""
        assert (report.old, report.new) == (kept.identity, new.identity)
        assert models.primary is new and models.previous is kept

    deadline = time.monotonic() + PATIENCE_S
    while any(thread.name == "adcp-closer" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert closed(first)
    assert swaps.roll_back().new is second.identity
    assert models.primary is second and models.previous is third


def test_a_closed_model_is_freed_without_a_garbage_collection(detector: Path) -> None:
    """Failed before: attempts and their loads held one another, and 0.3 MB a swap stayed for minutes."""
    models = ModelSet()
    swaps = Swaps(models)
    gc.collect()
    gc.disable()
    try:
        models.exchange(serve(detector))
        pipelines = [weakref.ref(models.primary.pipeline)]
        for variant in ("same", "", "nan", "same"):
            old = models.primary
            frames = frames_of(old, 1)
            steps = Steps(
                lambda v=variant: serve(detector, v), lambda m, o=old, f=frames: (check(m, o, f, 0.0), None)
            )
            attempt = swaps.begin("swap", "it", steps, PATIENCE_S)
            attempt.wait()
            swaps.finish(attempt)
            pipelines.append(weakref.ref(models.primary.pipeline))
            del old, frames, steps, attempt
        deadline = time.monotonic() + PATIENCE_S
        kept = {id(models.primary.pipeline), id(models.previous.pipeline)}
        while any(each() is not None and id(each()) not in kept for each in pipelines):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        gc.enable()


def test_what_refuses_a_swap_leaves_everything_as_it_is_and_closes_the_candidate(detector: Path) -> None:
    models = ModelSet()
    swaps = Swaps(models)
    first, second = serve(detector), serve(detector, "same")
    models.exchange(first)

    def refuse(model: ServedModel) -> tuple[Checked, Any]:
        raise MemoryError("no more\nmemory")

    attempt = swaps.begin("swap", "it", Steps(lambda: second, refuse), PATIENCE_S)
    attempt.wait()
    report = swaps.finish(attempt)

    assert "no more memory" in report.reason
    assert report.outcome == "refused"
    assert models.primary is first and models.previous is None
    assert closed(second)
    assert not swaps.roll_back().new.model  # nothing to go back to


def test_a_second_swap_is_refused_while_one_is_under_way_and_a_canceled_one_ends_at_once(
    detector: Path,
) -> None:
    """The runtime hangs: neither the cancellation nor the next swap waits for it."""
    models = ModelSet()
    swaps = Swaps(models)
    models.exchange(serve(detector))
    go_on, late = threading.Event(), serve(detector, "same")

    def hang() -> ServedModel:
        go_on.wait(PATIENCE_S)
        return late

    hanging = begin(swaps, hang)
    with pytest.raises(AdcpError, match="a swap to it is under way"):
        begin(swaps, hang)
    swaps.cancel("the node was deactivated")
    assert hanging.is_done
    assert swaps.finish(hanging).reason == "the node was deactivated"
    following = begin(swaps, lambda: serve(detector, "same"))
    following.wait()
    assert swaps.finish(following).outcome == "swapped"
    serving = models.primary
    go_on.set()  # the hung load ends at last: its model is closed, and serves nobody
    deadline = time.monotonic() + PATIENCE_S
    while not late._is_closing:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert models.primary is serving


def test_a_load_that_takes_too_long_is_given_up(detector: Path) -> None:
    models, go_on = ModelSet(), threading.Event()
    swaps = Swaps(models)
    models.exchange(serve(detector))

    attempt = begin(swaps, lambda: (go_on.wait(PATIENCE_S), serve(detector))[1], limit_s=0.2)
    attempt.wait()
    report = swaps.finish(attempt)
    go_on.set()

    assert "load_timeout_s is 0.2" in report.reason
    assert models.previous is None


def test_a_load_waits_for_that_of_another_node_unless_that_one_hangs(
    detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two cores, two loads at once left none for the frames; one that hangs holds nobody up for long."""
    monkeypatch.setattr(swap, "_running_loads", threading.BoundedSemaphore(1))
    release, begun = threading.Event(), threading.Event()
    nodes = []
    for _ in range(2):
        models = ModelSet()
        models.exchange(serve(detector))
        nodes.append(Swaps(models))

    def slow() -> ServedModel:
        begun.set()
        release.wait(PATIENCE_S)
        return serve(detector, "same")

    monkeypatch.setattr(swap, "OTHER_LOAD_LIMIT_S", PATIENCE_S)
    first = begin(nodes[0], slow)
    assert begun.wait(PATIENCE_S)
    order: list[str] = []
    second = begin(nodes[1], lambda: order.append("second") or serve(detector, "same"))  # type: ignore[func-returns-value]
    time.sleep(0.1)
    assert order == [], "it waits for the first"
    release.set()
    for attempt, node in zip((first, second), nodes, strict=True):
        attempt.wait()
        assert node.finish(attempt).reason == ""

    release.clear()
    begun.clear()
    monkeypatch.setattr(swap, "OTHER_LOAD_LIMIT_S", 0.05)
    hanging = begin(nodes[0], slow)
    assert begun.wait(PATIENCE_S)
    other = begin(nodes[1], lambda: serve(detector))
    other.wait()
    assert nodes[1].finish(other).reason == "" and not hanging.is_done
    release.set()
    hanging.wait()
    nodes[0].finish(hanging)


def test_a_promoted_shadow_is_the_one_that_was_checked(detector: Path) -> None:
    models = ModelSet()
    swaps = Swaps(models)
    first, shadow, other = serve(detector), serve(detector, "same"), serve(detector, "same")
    models.exchange(first)
    models.shadow = shadow

    for exchanged, outcome in ((True, "refused"), (False, "promoted")):
        steps = Steps(lambda: shadow, lambda model: (Checked(), None), owned=False)
        attempt = swaps.begin("promote", "the shadow", steps, PATIENCE_S)
        attempt.wait()
        models.shadow = other if exchanged else shadow
        assert swaps.finish(attempt).outcome == outcome
        if exchanged:
            assert models.primary is first and not shadow._is_closing

    assert models.primary is shadow and models.previous is first and models.shadow is None


def test_a_model_with_another_use_is_not_closed_by_a_swap(detector: Path) -> None:
    models = ModelSet()
    first, second, third = (serve(detector) for _ in range(3))
    models.exchange(first)
    models.standby = first

    models.exchange(second)

    assert models.exchange(third) is None


@pytest.mark.parametrize(
    ("variant", "least", "reason"),
    [
        ("same", OF_THE_GATE, ""),
        ("same", 1.0, ""),
        ("blind", OF_THE_GATE, "agrees with the running model by 0.000 on the last 8 frames"),
        ("blind", 0.0, ""),  # nothing is asked for
        ("blind_without_gate", OF_THE_GATE, ""),  # nothing is known of it
        ("blind_without_gate", 0.5, "at least 0.5 is required"),
        ("nan", 0.0, "not finite"),
    ],
)
def test_a_candidate_is_compared_on_the_frames_that_the_running_model_answered(
    detector: Path, variant: str, least: float, reason: str
) -> None:
    old, new = serve(detector), serve(detector, variant)
    frames = frames_of(old)

    if reason:
        with pytest.raises(AdcpError, match=reason):
            check(new, old, frames, least)
        return
    checked = check(new, old, frames, least)
    assert (checked.frames, checked.informative) == (8, 8)
    assert checked.agreement == (1.0 if variant == "same" else 0.0)
    assert ("no accept gate" in checked.note) == (variant == "blind_without_gate")


def test_a_candidate_is_run_after_a_frame_of_the_running_model(detector: Path) -> None:
    old, new = serve(detector), serve(detector)
    frames = frames_of(old)
    running, shown, at_begin = threading.Event(), [0], []

    def drive() -> None:
        while not running.wait(0.01):
            shown[0] += 1
            old.run(frames[0].frame)

    camera = threading.Thread(target=drive)
    camera.start()
    check_candidate(new, old, frames, settings=None, before=lambda _, __: at_begin.append(shown[0]))
    running.set()
    camera.join()

    # Side by side on one busy core both would take longer than a period.
    assert len(set(at_begin)) == 8


@pytest.mark.parametrize(("count", "reason"), [(3, ""), (6, "is required")])
def test_a_gate_refuses_only_what_few_alike_frames_can_show(
    tmp_path: Path, detector: Path, count: int, reason: str
) -> None:
    """0 of 3 informative frames is one trial, whose upper end is 0.975; of 6: two, and 0.84 < 0.9."""
    old, new = serve(detector), serve(detector, "blind")
    if reason:
        with pytest.raises(AdcpError, match=reason):
            check(new, old, frames_of(old, count), OF_THE_GATE)
    else:
        assert check(new, old, frames_of(old, count), OF_THE_GATE).agreement == 0.0


def test_frames_without_objects_show_nothing_and_are_reported_as_that(detector: Path) -> None:
    """A blind detector and a good one agree perfectly on an empty road."""
    old, new = serve(detector), serve(detector, "blind")
    dark = frames_of(old, scene=lambda _: np.zeros((96, 128, 3), np.uint8))

    checked = check(new, old, dark, OF_THE_GATE)

    assert checked.informative == 0
    assert math.isnan(checked.agreement)
    assert "nothing to compare" in checked.note


def test_without_frames_a_candidate_must_give_a_result_on_noise(detector: Path) -> None:
    old = serve(detector)
    assert "no frame" in check(serve(detector, "same"), old, [], OF_THE_GATE).note
    with pytest.raises(AdcpError, match="not finite"):
        check(serve(detector, "nan"), old, [], OF_THE_GATE)


def test_masks_of_other_labels_are_refused_and_boxes_of_other_labels_are_not(tmp_path: Path) -> None:
    """A mask is numbers of labels, a box carries its label's name."""
    for write in (write_segmenter, write_detector):
        folders = [write(tmp_path / f"{write.__name__}{number}") for number in range(2)]
        data = yaml.safe_load((folders[1] / "model.yaml").read_text())
        data["labels"] = data["labels"][::-1]
        (folders[1] / "model.yaml").write_text(yaml.safe_dump(data))
        old, new = (serve(folder) for folder in folders)
        if write is write_segmenter:
            with pytest.raises(AdcpError, match="clean up and configure"):
                check(new, old, frames_of(old), 0.0)
        else:
            assert check(new, old, frames_of(old), 0.0).agreement == 0.0  # every label is another one


def test_a_variant_of_another_baseline_has_no_agreement_to_keep(tmp_path: Path, detector: Path) -> None:
    other = write_detector(tmp_path / "other")
    data = yaml.safe_load((other / "model.yaml").read_text())
    data["name"] = "another"
    (other / "model.yaml").write_text(yaml.safe_dump(data))
    old = serve(other)

    checked = check(serve(detector, "blind"), old, frames_of(old), OF_THE_GATE)

    assert "not a variant of the same baseline" in checked.note
    assert math.isnan(checked.least)


def test_the_new_model_gets_what_was_known_at_the_frames_stamp(tmp_path: Path) -> None:
    """A planner with another speed gives another plan for the same image."""
    folder = write_planner(tmp_path / "planner")
    old, new = serve(folder), serve(folder)
    frames = [RecentFrame(each.frame, 17, each.result, each.identity) for each in frames_of(old, 1)]
    known: list[tuple[object, int]] = []

    check_candidate(
        new,
        old,
        frames,
        settings=None,
        before=lambda pipeline, stamp: known.append((pipeline, stamp)),
        least=0.0,
    )

    assert known == [(new.pipeline, 17)]


def test_only_frames_of_the_model_that_serves_are_compared(detector: Path) -> None:
    """The identity is compared as an object: a second load of the same file is another model."""
    first, second = serve(detector), serve(detector)
    recent = RecentFrames(3)
    for model in (first, first, second, second):
        recent.add(frames_of(model, 1)[0])

    assert len(recent.of(first.identity)) == 1
    assert len(recent.of(second.identity)) == 2
    recent.keep(0)
    assert recent.of(second.identity) == []


def test_own_settings_hold_until_the_nodes_settings_are_the_same(detector: Path) -> None:
    """Between the exchange and the new settings of the node a frame may come."""
    model = serve(detector)
    strict = model.pipeline.task.settings.model_copy(update={"score_threshold": 1.0})
    frame = Frame(draw_scene(0), "BGR")
    lenient = model.pipeline.task.settings

    model.own_settings = strict
    assert len(model.run(frame, lenient)[0].scores) == 0
    model.own_settings = None
    assert len(model.run(frame, lenient)[0].scores) > 0


def test_a_request_ends_its_own_exchange_only(detector: Path) -> None:
    """Failed before: a request that was overtaken by a rollback ended the exchange of the next one."""
    swaps = Swaps(ModelSet())
    first = begin(swaps, lambda: serve(detector))
    swaps.cancel("a rollback came first")
    second = begin(swaps, lambda: serve(detector))

    swaps.cancel("another parameter of the request was refused", first)

    second.wait()
    assert not swaps.finish(second).reason
    for model in swaps._models.take_all():
        model.close()
