# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Places that list the names of the weather, because types and help texts have to be literal, agree."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import get_args

import pytest

from ad_road_simulation.cli.camera import camera
from ad_road_simulation.cli.drive import drive
from ad_road_simulation.nodes.road_camera_options import WeatherOption
from ad_road_simulation.world.weather import NAMES


def test_options_list_every_weather() -> None:
    assert get_args(WeatherOption) == ("any", *NAMES)


@pytest.mark.parametrize("verb", [camera, drive])
def test_help_of_the_verbs_names_every_weather(verb: Callable[..., None]) -> None:
    (option,) = inspect.signature(verb, eval_str=True).parameters["weather"].annotation.__metadata__
    assert all(name in option.help for name in NAMES)
