# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters that name the model: live, in requests that wait for a load without holding up the node."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.nodes.options import parse_backend_options
from ad_compressed_perception.serving.served_model import ModelRequest, ServedModel
from ad_compressed_perception.serving.swap import Attempt

MODEL_NAMES = frozenset(
    ("model", "variant", "backend", "backend_options", "threads")
    + ("allow_rejected", "allow_outside", "public_key", "strict_backend")
)
"""A new value of one of them means another load, except for a permission that is only given."""
LIVE_NAMES = MODEL_NAMES | {"load_timeout_s"}
SHADOW_NAMES = ("shadow_variant", "shadow_model", "shadow_backend")
_PERMISSIONS = ("allow_rejected", "allow_outside")
_PAUSE_S = 0.002


def names_of_a_load(changed: Mapping[str, Any]) -> set[str]:
    """Return the names of changed parameters that ask for a load.

    A permission that is given asks for none: it is for the next one. One that is taken away does, since the
    running model may have needed it.
    """
    return {name for name in changed.keys() & MODEL_NAMES if name not in _PERMISSIONS or not changed[name]}


def model_request(values: Mapping[str, Any]) -> ModelRequest:
    """Return which model the values of the parameters name; raises BackendError on broken options."""
    return ModelRequest(
        model=values["model"],
        variant=values["variant"],
        backend=values["backend"],
        options={"threads": values["threads"], **parse_backend_options(list(values["backend_options"]))},
        allow_rejected=values["allow_rejected"],
        allow_outside=values["allow_outside"],
        public_key=values["public_key"],
        strict_backend=values["strict_backend"],
        batch=values["camera_batch"],
    )


def values_that_run(model: ServedModel, present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the parameters that describe a model.

    The variant by its name, also where it was asked for as "accepted" or by an empty text. An empty backend
    stays empty: it means the one that model.yaml names for a variant, also for the next one.

    Args:
        model: runs.
        present: values that stay where nothing else is known of the model.
    """
    request = model.request
    if request is None:
        return {**present, "variant": model.identity.variant}
    options = dict(request.options)
    threads = options.pop("threads", present["threads"])
    given = list(present["backend_options"])
    if parse_backend_options(given) != options:
        given = [f"{key}={value}" for key, value in options.items()]
    return {
        "model": request.model,
        "variant": model.identity.variant,
        "backend": request.backend,
        "backend_options": given,
        "threads": threads,
        "public_key": request.public_key,
    }


class Waiting:
    """A request of parameters or a service that waits for an exchange; to be awaited in a callback.

    The executors of Humble and Jazzy ask a waiting coroutine again and again, whenever they have handled
    something else: so it pauses a little each time.
    """

    def __init__(
        self, attempt: Attempt | None, values: Mapping[str, Any], on_close: Callable[[Waiting], object]
    ) -> None:
        """Wait for an exchange that these values of parameters asked for; None: it was refused."""
        self.attempt, self.values, self._on_close = attempt, dict(values), on_close
        self.problem = ""
        self.is_settled = False

    def __await__(self) -> Generator[None, None, None]:
        """Return when the exchange is done."""
        while not self.is_ready:
            time.sleep(_PAUSE_S)
            yield

    @property
    def is_ready(self) -> bool:
        """Whether nothing is to be waited for: another request for the same may still wait."""
        return self.attempt is None or self.attempt.is_done

    def covers(self, values: Mapping[str, Any]) -> bool:
        """Whether these values are among those that were asked for."""
        return values.keys() <= self.values.keys() and all(self.values[key] == values[key] for key in values)

    def raise_problem(self) -> None:
        """Raise AdcpError where the exchange was refused."""
        if self.problem:
            raise AdcpError(self.problem)

    def close(self) -> None:
        """The request is answered."""
        self._on_close(self)
