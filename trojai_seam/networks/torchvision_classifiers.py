"""Image classifiers of torchvision: rounds 1-4, 11 and the mitigation round, and a few more of the same families.

One family is one class path; which member a file holds is read from its tensors: how many blocks each stage has, and
the shape of one or two telling tensors. **A new architecture is one row** ``Variant(name, factory, blocks, shapes)``.
Names are those of the rounds' configs. Class counts are the rows of the head; channels of the image are those of the
first convolution, which need not be the usual three (grey images, network traffic).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import StateMismatch, UnsupportedModel, shown
from .registry import (
    Hints,
    NetworkFacts,
    class_count_notes,
    count_numbered,
    dimensions,
    hint,
    plain_name,
    register_network,
    shape_of,
)

if TYPE_CHECKING:
    from torch import nn

    from ..loading import SavedModel

Shape = tuple[int, ...]
RGB, MOST_CHANNELS = 3, 1024


@dataclass(frozen=True)
class Variant:
    """One architecture: the rounds' name, torchvision's function, blocks per stage, shapes of the telling tensors."""

    name: str
    factory: str
    blocks: Shape = ()
    shapes: tuple[Shape | None, ...] = ()


@dataclass(frozen=True)
class Family:
    """The architectures that share a class.

    ``stages`` are name patterns (``#`` counts blocks), ``telling`` tensor names (None in a variant: absent), ``head``
    the tensor whose first dimension is the class count, ``stem`` the weight of the first convolution, ``auxiliary`` the
    prefix of inception's second head, ``own_size`` a tensor and its last dimensions, by which a bare
    state dict is told from networks for small images.
    """

    name: str
    class_paths: tuple[str, ...]
    head: str
    stem: str
    stages: tuple[str, ...]
    telling: tuple[str, ...]
    variants: tuple[Variant, ...]
    head_dims: int = 2
    auxiliary: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    own_size: tuple[str, Shape] | None = None

    def signature(self, saved: SavedModel) -> tuple[Shape, tuple[Shape | None, ...]]:
        """What :class:`Variant` lists, as found in a file."""
        blocks = tuple(count_numbered(saved, pattern) for pattern in self.stages)
        shapes = (saved.shape(name) if name in saved.tensors else None for name in self.telling)
        found = zip(self.telling, shapes, strict=True)
        return blocks, tuple(
            (shape[0], RGB, *shape[2:]) if name == self.stem and shape and len(shape) == 4 else shape
            for name, shape in found
        )

    def match(self, saved: SavedModel) -> Variant | None:
        signature = self.signature(saved)
        return next((v for v in self.variants if (v.blocks, v.shapes) == signature), None)

    def fits(self, saved: SavedModel) -> bool:
        """For a bare state dict: the telling tensors are there and agree."""
        if self.own_size is not None:
            name, shape = self.own_size
            if name not in saved.tensors or saved.shape(name)[-len(shape) :] != shape:
                return False
        return self.head in saved.tensors and self.match(saved) is not None

    def variant(self, saved: SavedModel) -> Variant:
        """The architecture that the tensors call for.

        Raises:
            StateMismatch: none of ours; the message says how the nearest differs.
        """
        if found := self.match(saved):
            return found
        blocks, shapes = self.signature(saved)

        def differences(variant: Variant) -> list[str]:
            stages = zip(self.stages, blocks, variant.blocks, strict=True)
            telling = zip(self.telling, shapes, variant.shapes, strict=True)
            return [f"{p} counts {a} instead of {b}" for p, a, b in stages if a != b] + [
                f"{name} is {_shape(a)} instead of {_shape(b)}" for name, a, b in telling if a != b
            ]

        nearest = min(self.variants, key=lambda variant: len(differences(variant)))
        raise StateMismatch(
            f"{saved.path}: no {self.name} that we know has these tensors; nearest {nearest.name}, but "
            f"{', '.join(differences(nearest))}"
        )

    def facts(self, saved: SavedModel, hints: Hints) -> NetworkFacts:
        variant = self.variant(saved)
        classes = shape_of(saved, self.head, self.head_dims)[0]
        if self.auxiliary is not None:
            _flag(saved, "transform_input", self.auxiliary), _flag(saved, "aux_logits", self.auxiliary)
        notes = class_count_notes(hints, classes, self.head)
        claimed = hint(hints, "model_architecture")
        if claimed is not None and plain_name(claimed) not in (plain_name(variant.name), plain_name(variant.factory)):
            notes += (f"config says {shown(claimed, 60)}, the tensors are a {variant.name}",)
        return NetworkFacts(self.name, variant.name, classes, None, notes, also=(variant.factory,))

    def build(self, saved: SavedModel, hints: Hints) -> nn.Module:
        from torchvision import models

        options: dict[str, Any] = dict(self.options)
        if self.auxiliary is not None:
            options["aux_logits"] = any(name.startswith(self.auxiliary) for name in saved.tensors)
            options["transform_input"] = _flag(saved, "transform_input", self.auxiliary)
        classes = shape_of(saved, self.head, self.head_dims)[0]
        network: Any = getattr(models, self.variant(saved).factory)(num_classes=classes, **options)
        if self.auxiliary is not None and not _flag(saved, "aux_logits", self.auxiliary):
            network.aux_logits = False  # old files may keep the second head but not use it
        built: nn.Module = network
        self._fit_stem(built, saved)
        return built

    def _fit_stem(self, network: nn.Module, saved: SavedModel) -> None:
        """A first convolution of as many channels as the file's, if that is not the usual one."""
        from torch import nn

        path, _, _ = self.stem.rpartition(".")
        usual = network.get_submodule(path)
        channels = shape_of(saved, self.stem, 4)[1]
        if not isinstance(usual, nn.Conv2d) or channels == usual.in_channels:
            return
        if channels > MOST_CHANNELS:
            raise StateMismatch(f"{saved.path}: {self.stem} takes {channels} channels, at most {MOST_CHANNELS}")
        parent, _, name = path.rpartition(".")
        sizes: dict[str, Any] = {
            key: getattr(usual, key) for key in ("out_channels", "kernel_size", "stride", "padding", "dilation")
        }
        stem = nn.Conv2d(channels, bias=usual.bias is not None, **sizes)
        network.get_submodule(parent).register_module(name, stem)


def _flag(saved: SavedModel, name: str, auxiliary: str) -> bool:
    """Of the file; a bare state dict, which only comes here by name, is taken for what the library makes today."""
    if saved.root is None:
        return name == "aux_logits" and any(tensor.startswith(auxiliary) for tensor in saved.tensors)
    value = saved.root.get(name)
    if not isinstance(value, bool):
        raise UnsupportedModel(f"{saved.path}: {shown(saved.class_path)} does not say whether {name} is on")
    return value


def _plain(name: object) -> str:
    """``classification:mobilenet_v2`` and ``mobilenetv2`` are one architecture."""
    return shown(name, 80).rpartition(":")[2].lower().replace("_", "").replace("-", "")


def usual_name(name: str) -> str:
    """The rounds' spelling of an architecture of torchvision, whichever of its names is given; others as they are."""
    variants = (variant for family in FAMILIES for variant in family.variants)
    return next((v.name for v in variants if _plain(name) in (_plain(v.name), _plain(v.factory))), name)


def _shape(shape: Shape | None) -> str:
    return "absent" if shape is None else dimensions(shape)


def _paths(*names: str) -> tuple[str, ...]:
    return tuple(f"torchvision.models.{name}" for name in names)


_BASIC, _BOTTLENECK = ((64, 64, 3, 3), None), ((64, 64, 3, 3), (256, 64, 1, 1))
_WIDE = ((128, 128, 3, 3), (256, 128, 1, 1))
_STEM_7, _STEM_3 = ((64, 3, 7, 7),), ((64, 3, 3, 3),)
_PLAIN, _NORMED = (None,), ((64,),)

FAMILIES = (
    Family(
        "ResNet",
        _paths("resnet.ResNet"),
        "fc.weight",
        "conv1.weight",
        ("layer1.#.", "layer2.#.", "layer3.#.", "layer4.#."),
        ("layer1.0.conv2.weight", "layer1.0.conv3.weight"),
        (
            Variant("resnet18", "resnet18", (2, 2, 2, 2), _BASIC),
            Variant("resnet34", "resnet34", (3, 4, 6, 3), _BASIC),
            Variant("resnet50", "resnet50", (3, 4, 6, 3), _BOTTLENECK),
            Variant("resnet101", "resnet101", (3, 4, 23, 3), _BOTTLENECK),
            Variant("resnet152", "resnet152", (3, 8, 36, 3), _BOTTLENECK),
            Variant("wideresnet50", "wide_resnet50_2", (3, 4, 6, 3), _WIDE),
            Variant("wideresnet101", "wide_resnet101_2", (3, 4, 23, 3), _WIDE),
            Variant("resnext50_32x4d", "resnext50_32x4d", (3, 4, 6, 3), ((128, 4, 3, 3), (256, 128, 1, 1))),
            Variant("resnext101_32x8d", "resnext101_32x8d", (3, 4, 23, 3), ((256, 8, 3, 3), (256, 256, 1, 1))),
            Variant("resnext101_64x4d", "resnext101_64x4d", (3, 4, 23, 3), ((256, 4, 3, 3), (256, 256, 1, 1))),
        ),
        own_size=("conv1.weight", (7, 7)),
    ),
    Family(
        "DenseNet",
        _paths("densenet.DenseNet"),
        "classifier.weight",
        "features.conv0.weight",
        tuple(f"features.denseblock{k}.denselayer#." for k in (1, 2, 3, 4)),
        ("features.conv0.weight",),
        (
            Variant("densenet121", "densenet121", (6, 12, 24, 16), _STEM_7),
            Variant("densenet161", "densenet161", (6, 12, 36, 24), ((96, 3, 7, 7),)),
            Variant("densenet169", "densenet169", (6, 12, 32, 32), _STEM_7),
            Variant("densenet201", "densenet201", (6, 12, 48, 32), _STEM_7),
        ),
    ),
    Family(
        "GoogLeNet",
        _paths("googlenet.GoogLeNet"),
        "fc.weight",
        "conv1.conv.weight",
        (),
        (),
        (Variant("googlenet", "googlenet"),),
        auxiliary="aux",
        options={"init_weights": False},
    ),
    Family(
        "Inception3",
        _paths("inception.Inception3"),
        "fc.weight",
        "Conv2d_1a_3x3.conv.weight",
        (),
        (),
        (Variant("inceptionv3", "inception_v3"),),
        auxiliary="AuxLogits.",
        options={"init_weights": False},
    ),
    Family(
        "SqueezeNet",
        _paths("squeezenet.SqueezeNet"),
        "classifier.1.weight",
        "features.0.weight",
        ("features.#.",),
        ("features.0.weight",),
        (
            Variant("squeezenetv1_0", "squeezenet1_0", (9,), ((96, 3, 7, 7),)),
            Variant("squeezenetv1_1", "squeezenet1_1", (9,), _STEM_3),
        ),
        head_dims=4,
    ),
    Family(
        "MobileNetV2",
        _paths("mobilenet.MobileNetV2", "mobilenetv2.MobileNetV2"),  # the first until torchvision 0.8
        "classifier.1.weight",
        "features.0.0.weight",
        ("features.#.",),
        ("features.18.0.weight",),
        (Variant("mobilenetv2", "mobilenet_v2", (19,), ((1280, 320, 1, 1),)),),
    ),
    Family(
        "MobileNetV3",
        _paths("mobilenetv3.MobileNetV3"),
        "classifier.3.weight",
        "features.0.0.weight",
        ("features.#.",),
        ("classifier.0.weight",),
        (
            Variant("mobilenetv3_small", "mobilenet_v3_small", (13,), ((1024, 576),)),
            Variant("mobilenetv3_large", "mobilenet_v3_large", (17,), ((1280, 960),)),
        ),
    ),
    Family(
        "ShuffleNetV2",
        _paths("shufflenetv2.ShuffleNetV2"),
        "fc.weight",
        "conv1.0.weight",
        ("stage2.#.", "stage3.#.", "stage4.#."),
        ("conv5.0.weight",),
        (
            Variant("shufflenet0_5", "shufflenet_v2_x0_5", (4, 8, 4), ((1024, 192, 1, 1),)),
            Variant("shufflenet1_0", "shufflenet_v2_x1_0", (4, 8, 4), ((1024, 464, 1, 1),)),
            Variant("shufflenet1_5", "shufflenet_v2_x1_5", (4, 8, 4), ((1024, 704, 1, 1),)),
            Variant("shufflenet2_0", "shufflenet_v2_x2_0", (4, 8, 4), ((2048, 976, 1, 1),)),
        ),
    ),
    Family(
        "VGG",
        _paths("vgg.VGG"),
        "classifier.6.weight",
        "features.0.weight",
        ("features.#.",),
        ("features.1.running_mean",),
        (
            Variant("vgg11bn", "vgg11_bn", (16,), _NORMED),
            Variant("vgg13bn", "vgg13_bn", (20,), _NORMED),
            Variant("vgg16bn", "vgg16_bn", (26,), _NORMED),
            Variant("vgg19bn", "vgg19_bn", (32,), _NORMED),
            Variant("vgg11", "vgg11", (8,), _PLAIN),
            Variant("vgg13", "vgg13", (10,), _PLAIN),
            Variant("vgg16", "vgg16", (13,), _PLAIN),
            Variant("vgg19", "vgg19", (16,), _PLAIN),
        ),
        options={"init_weights": False},
        own_size=("classifier.0.weight", (512 * 7 * 7,)),
    ),
    Family(
        "AlexNet",
        _paths("alexnet.AlexNet"),
        "classifier.6.weight",
        "features.0.weight",
        ("features.#.",),
        ("features.0.weight",),
        (Variant("alexnet", "alexnet", (5,), ((64, 3, 11, 11),)),),
    ),
    Family(
        "MNASNet",
        _paths("mnasnet.MNASNet"),
        "classifier.1.weight",
        "layers.0.weight",
        ("layers.#.",),
        ("layers.0.weight",),
        (
            Variant("mnasnet0_5", "mnasnet0_5", (14,), ((16, 3, 3, 3),)),
            Variant("mnasnet0_75", "mnasnet0_75", (14,), ((24, 3, 3, 3),)),
            Variant("mnasnet1_0", "mnasnet1_0", (14,), ((32, 3, 3, 3),)),
            Variant("mnasnet1_3", "mnasnet1_3", (14,), ((40, 3, 3, 3),)),
        ),
    ),
    Family(
        "EfficientNet",
        _paths("efficientnet.EfficientNet"),
        "classifier.1.weight",
        "features.0.0.weight",
        tuple(f"features.{k}.#." for k in range(1, 8)),
        ("features.8.0.weight",),
        (
            Variant("efficientnet_b0", "efficientnet_b0", (1, 2, 2, 3, 3, 4, 1), ((1280, 320, 1, 1),)),
            Variant("efficientnet_b1", "efficientnet_b1", (2, 3, 3, 4, 4, 5, 2), ((1280, 320, 1, 1),)),
            Variant("efficientnet_b2", "efficientnet_b2", (2, 3, 3, 4, 4, 5, 2), ((1408, 352, 1, 1),)),
            Variant("efficientnet_b3", "efficientnet_b3", (2, 3, 3, 5, 5, 6, 2), ((1536, 384, 1, 1),)),
            Variant("efficientnet_b4", "efficientnet_b4", (2, 4, 4, 6, 6, 8, 2), ((1792, 448, 1, 1),)),
        ),
    ),
)

for _family in FAMILIES:
    # GoogLeNet and Inception come from a bare state dict only by name: transform_input leaves no trace in the tensors.
    _bare = _family.auxiliary is None
    register_network(
        f"torchvision-{_family.name}",
        _family.class_paths,
        tuple({name: None for v in _family.variants for name in (v.name, v.factory)}),
        facts=_family.facts,
        fits=_family.fits if _bare else None,
    )(_family.build)
