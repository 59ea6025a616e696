# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node whose transitions raise nothing: each error is one line, and answers are right."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State, Transition
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.nodes.callback_guard import note_failure

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
_GOALS = {
    Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
    Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
}
_BETWEEN_STATES = range(State.TRANSITION_STATE_CONFIGURING, State.TRANSITION_STATE_ERRORPROCESSING + 1)


class GuardedLifecycleNode(LifecycleNode):
    """Calls configure(), activate(), deactivate() and cleanup() of a subclass; they may raise anything.

    What configure() and activate() raise refuses the transition, and what they had begun is undone. An error
    of the other two brings the node to unconfigured (on_error).
    """

    _step_erred = False
    """Whether a transition's own step ended in an error, which rclpy then processed."""

    @abstractmethod
    def configure(self) -> None:
        """Load."""

    @abstractmethod
    def activate(self) -> None:
        """Begin to work."""

    @abstractmethod
    def deactivate(self) -> None:
        """Stop working; may be called in any state."""

    @abstractmethod
    def cleanup(self) -> None:
        """Release what configure() made; may be called in any state."""

    @abstractmethod
    def note_refusal(self, line: str) -> None:
        """Report a transition's error; an empty line: a transition begins, the previous error is past."""

    def release(self) -> None:
        """Stop and release everything, in any state."""
        self.deactivate()
        self.cleanup()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load; refuse with one line on any error."""
        return self._run("configure", self.configure, FAILURE, self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to work."""
        return self._run("activate", self.activate, FAILURE, self.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working."""
        return self._run("deactivate", self.deactivate, ERROR)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        return self._run("cleanup", self.cleanup, ERROR)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state."""
        return self._run("shutdown", self.release, ERROR)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after an error in a transition; its line is kept."""
        for step in (self.deactivate, self.cleanup):
            try:
                step()
            except Exception as error:
                note_failure(self, "release after an error", error)
        return SUCCESS

    def _run(
        self, name: str, step: Callable[[], None], otherwise: Any, undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        self.note_refusal("")
        self._step_erred = False
        try:
            step()
            return SUCCESS
        except BaseException as error:  # a runtime may raise SystemExit
            if self.context.ok():
                line = describe_error(error)
                self.get_logger().error(f"{name} refused: {line}")
                self.note_refusal(line)
            try:
                if undo is not None:
                    undo()
            except Exception as second:
                note_failure(self, f"undoing a refused {name}", second)
            self._step_erred = otherwise == ERROR
            return otherwise

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:  # noqa: N802
        """Answer every request.

        On an impossible one and where it breaks off half-way, rclpy's method of this name raises, without an
        answer, or returns ERROR (Kilted and newer).
        """
        before = self._state_machine.current_state[0]
        self._step_erred = False
        try:
            answer = super()._LifecycleNodeMixin__change_state(transition_id)  # type: ignore[misc]
            if answer != ERROR or self._step_erred:
                return answer
            raise RuntimeError(f"transition {transition_id} is impossible here, or broke off")  # noqa: TRY301
        except Exception as error:  # the class of this error is private
            if not self.context.ok():
                return FAILURE
            note_failure(self, "transition refused", error)
        now = self._state_machine.current_state[0]
        if now in _BETWEEN_STATES:  # rclpy broke off half-way, and no request would be possible any more
            self._leave(now)
        reached = now != before and now == _GOALS.get(transition_id)
        return SUCCESS if reached else FAILURE

    def _leave(self, state_id: int) -> None:
        self.on_error(LifecycleState("", state_id))
        labels = [ERROR.to_label(), SUCCESS.to_label()]
        if state_id == State.TRANSITION_STATE_ERRORPROCESSING:
            labels.pop(0)
        try:
            for label in labels:
                self._state_machine.trigger_transition_by_label(label, True)
        except Exception as error:
            note_failure(self, "return to unconfigured", error)
