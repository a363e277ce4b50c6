"""torchvision's classification models as backbones, each under its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.backbones.declare import backbone
from bench.backbones.vision_names import VISION_FACTS, Facts, shape_problem
from bench.errors import DataError

if TYPE_CHECKING:
    from bench.backbones.base import Backbone


def _register(name: str, facts: Facts) -> None:
    def function(shape: tuple[int, ...], *, weights: str | None = None, download: bool = False) -> Backbone:
        problem = shape_problem(name, shape)
        if problem:
            raise DataError(problem)
        from bench.backbones.vision_build import construct

        return construct(name, shape, weights, download)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""torchvision's {name}, cut into {facts.depth} blocks.

    Parameters
    ----------
    shape : tuple of int
        (C, H, W). With C other than 3, the first convolution is replaced.
    weights : str, optional
        Published weights as torchvision names them ("DEFAULT", "IMAGENET1K_V1", ...); random initial
        values without it.
    download : bool
        Whether weights that are not in torch hub's folder may be fetched.

    Raises
    ------
    DataError
        For images of a size that the network cannot take, or weights that are not there.
    """

    def refuses(shape: tuple[int, ...], **_: Any) -> str | None:
        return shape_problem(name, shape)

    backbone(name, depth=facts.depth, refuses=refuses)(function)


for _name, _facts in VISION_FACTS.items():
    _register(_name, _facts)
