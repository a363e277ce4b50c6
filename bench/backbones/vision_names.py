"""What is known of torchvision's classification models without importing torch.

One row a model: the family, which decides how the model is cut into blocks, the number of blocks L,
and which image sizes it takes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a plan must know of a model.

    Attributes
    ----------
    family : str
        Key of :data:`bench.backbones.vision_blocks.FAMILIES`.
    depth : int
        Number of blocks, L.
    minimum : int
        Smallest height and width in pixels.
    step : int
        Height and width must be multiples of this.
    square : bool
        Whether height and width must be equal.
    """

    family: str
    depth: int
    minimum: int = 1
    step: int = 1
    square: bool = False


def _each(names: str, *facts: object, **limits: object) -> dict[str, Facts]:
    return dict.fromkeys(names.split(), Facts(*facts, **limits))


VISION_FACTS: dict[str, Facts] = {
    **_each("alexnet", "alexnet", 7, minimum=63),
    **_each("vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn", "vgg", 7, minimum=32),
    **_each("resnet18 resnet34 resnet50 resnet101 resnet152", "resnet", 5),
    **_each("resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2", "resnet", 5),
    **_each("squeezenet1_0", "squeezenet", 9, minimum=21),
    **_each("squeezenet1_1", "squeezenet", 9, minimum=17),
    **_each("densenet121 densenet161 densenet169 densenet201", "densenet", 5, minimum=29),
    **_each("googlenet", "googlenet", 10, minimum=15),
    **_each("inception_v3", "inception", 12, minimum=75),
    **_each("mobilenet_v2", "mobilenet_v2", 9),
    **_each("mobilenet_v3_small", "mobilenet_v3", 8),
    **_each("mobilenet_v3_large", "mobilenet_v3", 9),
    **_each("mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3", "mnasnet", 8),
    **_each("shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0", "shufflenet", 5),
    **_each("efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3", "efficientnet", 9),
    **_each("efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7", "efficientnet", 9),
    **_each("efficientnet_v2_s", "efficientnet", 8),
    **_each("efficientnet_v2_m efficientnet_v2_l", "efficientnet", 9),
    **_each("regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf", "regnet", 5),
    **_each("regnet_x_16gf regnet_x_32gf", "regnet", 5),
    **_each("regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf", "regnet", 5),
    **_each("regnet_y_16gf regnet_y_32gf regnet_y_128gf", "regnet", 5),
    **_each("convnext_tiny convnext_small convnext_base convnext_large", "convnext", 5, minimum=32),
    **_each("vit_b_16", "vit", 13, minimum=16, step=16, square=True),
    **_each("vit_b_32", "vit", 13, minimum=32, step=32, square=True),
    **_each("vit_l_16", "vit", 25, minimum=16, step=16, square=True),
    **_each("vit_l_32", "vit", 25, minimum=32, step=32, square=True),
    **_each("vit_h_14", "vit", 33, minimum=14, step=14, square=True),
    **_each("swin_t swin_s swin_b swin_v2_t swin_v2_s swin_v2_b", "swin", 5, minimum=4),
    # Its attention windows are 7 x 7 after 32-fold reduction.
    **_each("maxvit_t", "maxvit", 6, minimum=224, step=224, square=True),
}

VISION_NAMES: tuple[str, ...] = tuple(VISION_FACTS)


def shape_problem(name: str, shape: tuple[int, ...]) -> str | None:
    """Say why the model called `name` cannot take inputs of `shape`, or None if it can.

    Parameters
    ----------
    name : str
        One of :data:`VISION_NAMES`.
    shape : tuple of int
        Shape of one input.
    """
    facts, where = VISION_FACTS[name], f'backbone "{name}"'
    if len(shape) != 3:
        return f"{where} needs images (C, H, W), got inputs of shape {tuple(shape)}"
    _, height, width = shape
    got = f"got {height} x {width}"
    if min(height, width) < facts.minimum:
        return f"{where} needs images of at least {facts.minimum} x {facts.minimum} pixels, {got}"
    if facts.square and height != width:
        return f"{where} needs square images, {got}"
    if height % facts.step or width % facts.step:
        return f"{where} needs images whose side is a multiple of {facts.step} pixels, {got}"
    return None
