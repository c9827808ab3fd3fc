"""Named settings: what was published, and what we found to work.

Sources: ``authors-trojai`` and ``authors-cifar`` are the settings of the authors' scripts ``trojan_example_r34.py`` and
``seam.py`` (github.com/TDteach/SEAM, commit 3fbf29f); ``backdoor-toolbox`` those of ``other_defenses_tool_box/
SEAM.py`` (github.com/vtu81/backdoor-toolbox). Those scripts measure their stop rules on whatever loader they are given,
sometimes the test set; here every stop rule sees the fit examples only. ``docs/presets.md`` has the measurements
behind ``default``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..registry import Registry
from .config import ForgetConfig, PhaseConfig, StopRule, UnlearnConfig
from .presets_boxes import DETECTION_PRESETS
from .presets_text import TEXT_PRESETS

DEFAULT_PRESET = "default"
PRESETS: Registry[UnlearnConfig] = Registry("preset")

# Small batches, some noise on the inputs, and a recovery that goes far up and comes down again: each matters as much
# as forgetting does, hence ``finetune`` has them too and is the baseline that forgetting must beat.
_OWN_RECOVERY = PhaseConfig(
    max_epochs=80, learning_rate=3e-3, weight_decay=1e-2, schedule="one-cycle", draws_per_epoch=64
)

PRESETS.add(
    "default",
    UnlearnConfig(
        preset="default",
        batch_size=8,
        feature_noise=0.3,
        forget=ForgetConfig(
            max_epochs=100,
            learning_rate=3e-3,
            weight_decay=1e-2,
            draws_per_epoch=64,
            stop=StopRule(chance_margin=0.2, patience=3, consecutive=True),
        ),
        recover=_OWN_RECOVERY,
    ),
)
PRESETS.add(
    "finetune",
    UnlearnConfig(
        preset="finetune",
        batch_size=8,
        feature_noise=0.3,
        forget=ForgetConfig(max_epochs=0),
        recover=_OWN_RECOVERY,
    ),
)
# For images the views matter more than the noise: crops and light, colour moods (a filter means nothing) and patches (a
# spot means nothing), every epoch 200 draws however few images there are. Recovery goes as far up as BatchNorm bears,
# which moves features that a few forgetting steps left alone, and ends without colours and patches: docs/presets.md.
_IMAGE_RECOVERY = PhaseConfig(
    max_epochs=40,
    learning_rate=3e-3,
    learning_rate_without_batch_norm=1e-3,
    schedule="one-cycle",
    plain_end=0.5,
    draws_per_epoch=200,
)
_IMAGES = UnlearnConfig(
    preset="images",
    augmentation=1.0,
    recolouring=0.5,
    patches=0.5,
    forget=ForgetConfig(
        max_epochs=60,
        learning_rate=5e-4,
        weight_decay=5e-4,
        draws_per_epoch=200,
        stop=StopRule(chance_margin=0.2),
    ),
    recover=_IMAGE_RECOVERY,
)

PRESETS.add("images", _IMAGES)
PRESETS.add("images-finetune", replace(_IMAGES, preset="images-finetune", forget=ForgetConfig(max_epochs=0)))
# One image in all: the network labels what is cut out of it, and its BatchNorm statistics stay, for pieces of one image
# are no sample of anything.
PRESETS.add(
    "images-one-example",
    UnlearnConfig(
        preset="images-one-example",
        method="seam-self-labelled",
        batch_norm="frozen-stats",
        augmentation=0.3,
        recolouring=0.5,
        patches=0.5,
        self_labelled=512,
        forget=ForgetConfig(
            max_epochs=20,
            learning_rate=1e-3,
            weight_decay=5e-4,
            draws_per_epoch=200,
            stop=StopRule(chance_margin=0.1, patience=3),
        ),
        recover=PhaseConfig(max_epochs=40, learning_rate=5e-4, schedule="one-cycle", draws_per_epoch=200),
    ),
)
for _preset in (*TEXT_PRESETS, *DETECTION_PRESETS):
    PRESETS.add(_preset.preset, _preset)
PRESETS.add(
    "no-op",
    UnlearnConfig(preset="no-op", forget=ForgetConfig(max_epochs=0), recover=PhaseConfig(max_epochs=0)),
)
PRESETS.add(
    "authors-trojai",
    UnlearnConfig(
        preset="authors-trojai",
        batch_size=32,
        forget=ForgetConfig(
            max_epochs=300,
            learning_rate=5e-4,
            weight_decay=5e-4,
            stop=StopRule(chance_multiple=2.0, patience=10),
            label_sampling="uniform",
        ),
        recover=PhaseConfig(
            max_epochs=300,
            learning_rate=5e-4,
            weight_decay=5e-5,
            beta1=0.9,
            beta2=0.5,
            stop=StopRule(accuracy=0.99, patience=10, decline_after=50),
        ),
    ),
)
PRESETS.add(
    "authors-cifar",
    UnlearnConfig(
        preset="authors-cifar",
        batch_size=32,
        forget=ForgetConfig(
            max_epochs=300,
            learning_rate=3e-5,
            weight_decay=5e-5,
            stop=StopRule(chance_multiple=2.0, patience=1),
            label_sampling="wrong-only",
        ),
        recover=PhaseConfig(
            max_epochs=300,
            learning_rate=5e-4,
            weight_decay=5e-5,
            beta1=0.5,
            beta2=0.9,
            stop=StopRule(accuracy=0.92, patience=10, decline_after=50),
        ),
    ),
)
PRESETS.add(
    "backdoor-toolbox",
    UnlearnConfig(
        preset="backdoor-toolbox",
        batch_size=32,
        forget=ForgetConfig(
            max_epochs=10,
            learning_rate=1e-3,
            stop=StopRule(chance_multiple=2.0, accuracy=0.6),
            label_sampling="wrong-only",
        ),
        recover=PhaseConfig(max_epochs=100, learning_rate=1e-3, stop=StopRule(accuracy=0.97)),
    ),
)


def resolve(preset: str = DEFAULT_PRESET, options: Mapping[str, str] | None = None) -> UnlearnConfig:
    """The config of ``preset`` with ``--set`` options applied.

    Raises:
        UsageProblem: no such preset; near names are listed.
        ConfigProblem: an option is unknown or out of range.
    """
    config = PRESETS.get(preset)
    return config.with_options(options) if options else config
