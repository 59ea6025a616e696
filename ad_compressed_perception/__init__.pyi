# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
# The names of api.py, which the package reaches when one of them is used: what type checkers see.

from ad_compressed_perception.api import AdcpError as AdcpError
from ad_compressed_perception.api import Classification as Classification
from ad_compressed_perception.api import Detections as Detections
from ad_compressed_perception.api import Evaluation as Evaluation
from ad_compressed_perception.api import HeadResults as HeadResults
from ad_compressed_perception.api import LabelMask as LabelMask
from ad_compressed_perception.api import Model as Model
from ad_compressed_perception.api import RawOutputs as RawOutputs
from ad_compressed_perception.api import Result as Result
from ad_compressed_perception.api import Trajectory as Trajectory
from ad_compressed_perception.api import compare as compare
from ad_compressed_perception.api import compress as compress
from ad_compressed_perception.api import evaluate as evaluate
from ad_compressed_perception.api import load as load

__version__: str
