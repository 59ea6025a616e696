# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A transition's answer says whether its goal was reached, and no error leaves a node between two states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState

from ad_compressed_perception.nodes.callback_guard import new_failures, not_published, note_failure
from ad_compressed_perception.nodes.guarded_lifecycle import ERROR, FAILURE, SUCCESS, GuardedLifecycleNode

pytestmark = pytest.mark.ros


class Node(GuardedLifecycleNode):
    """Its steps do what a test gives it to do; it remembers them and the refusals."""

    def __init__(self, context: Any) -> None:
        self.steps: list[str] = []
        self.refusals: list[str] = []
        self.raises: dict[str, BaseException] = {}
        super().__init__("guarded", context=context)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.raises:
            raise self.raises[name]

    def configure(self) -> None:
        self._step("configure")

    def activate(self) -> None:
        self._step("activate")

    def deactivate(self) -> None:
        self._step("deactivate")

    def cleanup(self) -> None:
        self._step("cleanup")

    def note_refusal(self, line: str) -> None:
        self.refusals.append(line)

    @property
    def state(self) -> str:
        return str(self._state_machine.current_state[1])


CHANGE_STATE = "_LifecycleNodeMixin__change_state"


def answer_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rclpy answer ERROR where that of Humble and Jazzy raises, as Kilted 9.1.2 and newer do."""
    raising = getattr(LifecycleNodeMixin, CHANGE_STATE)

    def answer(self: Any, transition_id: int) -> Any:
        try:
            return raising(self, transition_id)
        except Exception:
            return ERROR

    monkeypatch.setattr(LifecycleNodeMixin, CHANGE_STATE, answer)


@pytest.fixture(params=["raises", "answers"])
def node(request: pytest.FixtureRequest, ros_context: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    if request.param == "answers":
        answer_errors(monkeypatch)
    made = Node(ros_context)
    yield made
    made.destroy_node()


@pytest.mark.parametrize("error", [KeyError("scale"), SystemExit(3), RuntimeError("two\nlines")])
def test_a_refused_step_is_undone_and_named(node: Node, error: BaseException) -> None:
    node.raises["configure"] = error
    assert node.trigger_configure() == FAILURE
    assert node.state == "unconfigured"
    assert node.steps == ["configure", "cleanup"]
    assert node.refusals[-1].startswith(type(error).__name__)
    assert "\n" not in node.refusals[-1]
    node.raises.clear()
    assert node.trigger_configure() == SUCCESS
    assert node.refusals[-1] == ""  # the previous reason is past
    node.raises["activate"] = error
    assert node.trigger_activate() == FAILURE
    assert (node.state, node.steps[-1]) == ("inactive", "deactivate")


def test_an_error_while_stopping_brings_the_node_to_unconfigured(node: Node) -> None:
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    node.raises["deactivate"] = RuntimeError("the publisher is gone")
    assert node.trigger_deactivate() != SUCCESS
    assert node.state == "unconfigured"
    assert node.steps[-1] == "cleanup"


def test_an_impossible_request_is_a_failure_and_changes_nothing(node: Node) -> None:
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_configure() == FAILURE  # it is inactive, but not by this request
    assert node.state == "inactive"


def test_an_answer_is_success_where_the_goal_was_reached_in_spite_of_an_error(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed before: FAILURE although the node was inactive, and its manager configured it again, in vain."""

    def reach_and_return(state: LifecycleState) -> Any:
        node._state_machine.trigger_transition_by_label(SUCCESS.to_label(), True)
        return SUCCESS  # rclpy now triggers the transition a second time, and that raises

    node._callbacks[10] = reach_and_return  # 10: configuring
    assert node.trigger_configure() == SUCCESS
    assert node.state == "inactive"


def test_no_error_leaves_a_node_between_two_states(node: Node) -> None:
    """Failed before: the node stayed "configuring" forever, and no request was possible any more."""
    node._callbacks[10] = lambda state: None  # not a return code: rclpy raises half-way
    assert node.trigger_configure() == FAILURE
    assert node.state == "unconfigured"
    del node._callbacks[10]
    assert node.trigger_configure() == SUCCESS


def test_failures_whose_status_was_not_published_are_in_the_next_one(node: Node) -> None:
    """Failed before: a status that could not be published took its counts with it."""
    note_failure(node, "callback", ValueError("on purpose"))
    assert "1 x callback" in new_failures(node)
    not_published(node)
    note_failure(node, "callback", ValueError("on purpose"))
    assert "2 x callback" in new_failures(node)
    assert new_failures(node) == ""
    not_published(node)
    assert new_failures(node) == ""
