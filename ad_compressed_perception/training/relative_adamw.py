# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""AdamW with steps relative to the size of each channel's weights.

Folding normalizations into convolutions leaves layers of very different size (in yolox_nano the layers'
medians lie between 0.004 and 21). Adam changes every weight by about the learning rate whatever its gradient:
a step that is negligible in one layer destroys another. Here a step is

    w <- w + r_c * (AdamW's step at the rate given)      r_c: root mean square of the channel at the start

for the output channels c of a weight; a bias has one r for all its channels. Networks with fresh weights,
whose channels may be zero, need plain AdamW.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_LEAST_OF_MEAN = 0.01
"""Lower limit of a channel's size as a share of the layer's mean, so that zero channels can still change."""
_LEAST_BIAS = 1e-2
_KEY = "size"


def channel_sizes(parameter: Tensor) -> Tensor:
    """Return the sizes r_c of a parameter, of a shape that multiplies it."""
    value = parameter.detach()
    if value.dim() < 2:
        return value.pow(2).mean().sqrt().clamp_min(_LEAST_BIAS)
    sizes = value.pow(2).mean(dim=list(range(1, value.dim())), keepdim=True).sqrt()
    return sizes.clamp_min(_LEAST_OF_MEAN * float(sizes.mean()) + 1e-12)


class RelativeAdamW(torch.optim.AdamW):
    """AdamW with relative steps; sizes are part of the optimizer's state, so a resumed run has the same."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the parameters."""
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = [p.detach().clone() for p in parameters]
        sizes = [
            self.state[p][_KEY] if _KEY in self.state.get(p, {}) else channel_sizes(p) for p in parameters
        ]
        result = super().step(closure)
        for parameter, old, size in zip(parameters, before, sizes, strict=True):
            self.state[parameter][_KEY] = size
            parameter.copy_(old + (parameter - old) * size)
        return result
