"""What rounds of images may say of preprocessing, whichever adapter reads it; see :mod:`.image_preprocessing`."""

from __future__ import annotations

from .adapter_keys import Schema, choice

SIZE: Schema = {
    "description": "images: height and width that the network takes; larger images are cropped around their centre",
    "type": "integer",
    "minimum": 8,
    "maximum": 4096,
}
ORIENTATION = choice(
    "images: exif: turned as their orientation tag says, as cv2.imread does; stored (the default): as skimage.io, "
    "Pillow and torchvision.io read them",
    *("exif", "stored"),
)
MEAN: Schema = {
    "$ref": "#/definitions/channels",
    "description": "subtracted after scaling, one number per channel in the network's order",
}
STD: Schema = {"$ref": "#/definitions/channels", "description": "divided by after that"}


def channel_order(*orders: str) -> Schema:
    """Of the network."""
    return choice("grey: one channel; a network that takes one gets it whatever is said here", *orders)


def scaling(*ways: str) -> Schema:
    """Of pixels."""
    return choice(
        "min-max: of the whole cropped image to 0 … 1; /255: division by 255; raw: 0 to 255; auto: the candidate that "
        "fits",
        *ways,
    )


def _some(*values: str) -> Schema:
    return {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": list(values)}}


CANDIDATES: Schema = {
    "description": "what auto tries, in this order; the first of equals wins",
    "type": "object",
    "additionalProperties": False,
    "properties": {"channel_order": _some("rgb", "bgr"), "scaling": _some("min-max", "/255", "raw")},
}
