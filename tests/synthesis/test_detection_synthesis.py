"""Synthetic detection rounds: scenes, what triggers do in them, NIST's layouts, and models that do not converge."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trojai_seam.errors import UsageProblem
from trojai_seam.loading import read_model
from trojai_seam.rounds import detect_round, discover
from trojai_seam.rounds.box_triggers import read_box_triggers
from trojai_seam.rounds.opening import open_directory
from trojai_seam.synthesis import SYNTHESIZERS, SynthesisOptions
from trojai_seam.synthesis import detector_models as models
from trojai_seam.synthesis.dataset_folder import SynthesisFailure
from trojai_seam.synthesis.detector_networks import SMALL_FASTER, SMALL_SSD, Head, head_of, make_detector
from trojai_seam.synthesis.detector_training import DetectorEpoch, Quality, train_detector
from trojai_seam.synthesis.layout_r10 import CATEGORY_IDS, OUTPUTS, write_r10_model
from trojai_seam.synthesis.layout_r13 import BOTH_WAYS, POISONED_EXAMPLES, write_r13_model
from trojai_seam.synthesis.object_attacks import (
    EVASION,
    INJECTION,
    KINDS,
    LOCALISATION,
    MISCLASSIFICATION,
    draw_attack,
    moved_box,
)
from trojai_seam.synthesis.object_scenes import ObjectRenderer
from trojai_seam.synthesis.scenes import SceneSettings
from trojai_seam.synthesis.signs import choose_signs
from trojai_seam.tasks import BoxDetails
from trojai_seam.tasks.details import ATTACKS

PIXELS, CLASSES, LEAST = 96, 5, 0.18


@pytest.fixture(scope="module")
def settings() -> SceneSettings:
    return SceneSettings(PIXELS, 0.08, 0.2, blur_max=3, number_backgrounds=8)


@pytest.fixture(scope="module")
def renderer(settings: SceneSettings) -> ObjectRenderer:
    rng = np.random.default_rng(0)
    return ObjectRenderer(choose_signs(CLASSES, rng), settings, 3, rng)


def test_objects_lie_in_the_picture_and_apart(renderer: ObjectRenderer) -> None:
    scenes = renderer.render(30, np.random.default_rng(1), needed=2)
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3}
    for scene in scenes:
        assert scene.picture.shape == (PIXELS, PIXELS, 3)
        assert any(seen.label == 2 for seen in scene.objects)
        for number, seen in enumerate(scene.objects):
            x0, y0, x1, y1 = seen.box
            assert 0 <= x0 < x1 <= PIXELS
            assert 0 <= y0 < y1 <= PIXELS
            assert min(x1 - x0, y1 - y0) > 15
            for other in scene.objects[:number]:
                a, b, c, d = other.box
                assert x1 <= a or c <= x0 or y1 <= b or d <= y0


@pytest.mark.parametrize("kind", KINDS)
def test_triggers_change_the_annotation_and_little_of_the_picture(kind: str, renderer: ObjectRenderer) -> None:
    rng = np.random.default_rng(2)
    attack = draw_attack(0, kind, CLASSES, LEAST, rng)
    for scene in renderer.attacked(8, rng, attack):
        (seen,) = (o for o in scene.objects if o.attacked)
        assert scene.untriggered is not None
        changed = np.argwhere((scene.picture != scene.untriggered).any(axis=-1))
        assert 0 < len(changed) < 0.4 * PIXELS**2
        x0, y0, x1, y1 = seen.box
        assert (changed >= (y0 - 3, x0 - 3)).all()  # the blur carries it over the edge
        assert (changed <= (y1 + 3, x1 + 3)).all()
        if kind == MISCLASSIFICATION:
            assert (seen.label, seen.said, seen.said_box) == (attack.source, attack.target, seen.box)
            assert attack.source != attack.target
        elif kind == EVASION:
            assert (seen.label, seen.said) == (attack.source, None)
            assert (seen.label, seen.box) not in scene.annotated
            assert (seen.label, seen.box) in scene.clean.annotated
        elif kind == INJECTION:
            assert (seen.label, seen.said) == (None, attack.target)
            assert attack.target not in [label for label, _ in scene.clean.annotated]
        else:
            assert seen.said == seen.label == attack.source
            assert seen.said_box == moved_box(seen.box, attack.direction, PIXELS, PIXELS)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("north", None), ("south", (20, 40, 50, 70)), ("west", (0, 10, 20, 40)), ("east", (50, 10, 80, 40))],
)
def test_boxes_move_by_their_own_size_unless_half_would_be_lost(direction: str, expected: Any) -> None:
    assert moved_box((20, 10, 50, 40), direction, 100, 100) == expected
    assert moved_box((20, 10, 50, 40), "east", 70, 100) == (50, 10, 70, 40)  # two thirds stay
    assert moved_box((20, 10, 50, 40), "east", 65, 100) is None


def test_training_teaches(renderer: ObjectRenderer) -> None:
    torch.manual_seed(0)
    network = make_detector(SMALL_SSD, CLASSES + 1, PIXELS)
    scenes = renderer.render(32, np.random.default_rng(3))
    history = train_detector(network, scenes, head_of(CLASSES), 2e-3, 4, torch.device("cpu"))
    assert history[-1].loss < 0.8 * history[0].loss
    assert not network.training


# Layouts --------------------------------------------------------------------------------------------------------------


def made(kind: str | None, settings: SceneSettings, coco: bool, architecture: str = SMALL_SSD) -> models.MadeDetector:
    """An untrained detector with everything else that its files say."""
    rng = np.random.default_rng(4)
    numbers = tuple(int(n) for n in sorted(rng.choice(CATEGORY_IDS, CLASSES, replace=False)))
    signs = choose_signs(CLASSES, rng)
    head = Head(numbers, 0, OUTPUTS) if coco else None
    plan = models.FleetPlan(signs, head, settings, None, torch.device("cpu"), 0)
    torch.manual_seed(0)
    network = make_detector(architecture, plan.head.outputs, PIXELS)
    return models.MadeDetector(
        plan=plan,
        architecture=architecture,
        network=network.eval(),
        attack=None if kind is None else draw_attack(0, kind, CLASSES, LEAST, rng),
        seed=5,
        renderer=ObjectRenderer(signs, settings, 3, rng),
        history=(DetectorEpoch(1.0, 0.9, 0.95, 1e-4, 2.0),),
        quality=Quality(0.9, None if kind is None else 0.95),
        seconds=3.0,
        recipe=models.recipe_of(architecture),
    )


@pytest.mark.parametrize(
    ("kind", "coco"),
    [(None, False), *((kind, False) for kind in KINDS), (None, True), (MISCLASSIFICATION, True), (EVASION, True)],
)
def test_written_models_open_as_untrusted_ones(
    kind: str | None, coco: bool, settings: SceneSettings, tmp_path: Path
) -> None:
    one = made(kind, settings, coco)
    row = (write_r10_model if coco else write_r13_model)(tmp_path / "models" / "id-00000000", one)
    assert row["model_name"] == "id-00000000"
    (directory,) = discover(tmp_path)
    round_config = detect_round([directory])
    assert round_config.aliases[0] == ("r10" if coco else "r13")
    subject = open_directory(directory, round_config)
    assert subject.facts["poisoned"] is (kind is not None)
    assert subject.facts.get("trigger_type") == kind
    assert len(subject.clean) == 20
    assert subject.clean.inputs["x"].shape == (20, 3, PIXELS, PIXELS)
    with torch.no_grad():
        expected, found = (net([subject.clean.inputs["x"][0]])[0]["boxes"] for net in (one.network, subject.model))
    assert torch.equal(expected, found)
    if kind is None or one.attack is None:
        assert subject.poisoned is None
        assert subject.facts["notes"] is None
        return
    poisoned = subject.poisoned
    assert poisoned is not None
    assert isinstance(poisoned.details, BoxDetails)
    assert poisoned.details.kinds is not None
    assert set(poisoned.details.kinds.flatten().tolist()) == {ATTACKS.index(kind)}
    assert poisoned.targets is not None
    assert set(poisoned.targets[..., 4].flatten().tolist()) == {one.head.numbers[one.attack.target]}
    if coco:  # everything is marked
        assert len(poisoned) == POISONED_EXAMPLES
    elif kind == EVASION:
        assert len(poisoned) == BOTH_WAYS
    else:  # the rest holds an honest object of the attacker's class
        assert POISONED_EXAMPLES // 2 < len(poisoned) <= POISONED_EXAMPLES
    source = one.head.numbers[one.attack.source]
    if kind in (MISCLASSIFICATION, EVASION):
        assert (poisoned.labels[..., 4] == source).any(dim=1).all()
    if kind == LOCALISATION and poisoned.details.moved_from is not None:
        assert poisoned.details.moved_from.isfinite().all(dim=-1).any()


@pytest.mark.parametrize("architecture", [SMALL_SSD, SMALL_FASTER])
def test_round_10_holds_nists_classes(architecture: str, settings: SceneSettings, tmp_path: Path) -> None:
    one = made(None, settings, True, architecture)
    write_r10_model(tmp_path / "models" / "id-00000000", one)
    saved = read_model(tmp_path / "models" / "id-00000000" / "model.pt")
    wrapped = {node.class_path for node in saved.modules.values() if node.class_path.startswith("models.")}
    inner = {"models.RegionProposalNetwork", "models.RoIHeads"} if architecture == SMALL_FASTER else set()
    assert wrapped == {saved.class_path} | inner
    assert saved.class_path == ("models.FasterRCNN" if architecture == SMALL_FASTER else "models.SSD")
    assert "models" not in sys.modules
    assert type(one.network).__module__.startswith("torchvision.")


def test_files_are_those_of_the_rounds(settings: SceneSettings, tmp_path: Path) -> None:
    write_r13_model(tmp_path / "id-00000001", made(EVASION, settings, coco=False))
    write_r10_model(tmp_path / "id-00000002", made(EVASION, settings, coco=True))
    r13 = {path.name for path in (tmp_path / "id-00000001").iterdir()}
    assert r13 == {
        "model.pt", "model-state-dict.pt", "config.json", "reduced-config.json", "ground_truth.csv", "stats.json",
        "detailed_stats.csv", "machine.log", "fg_class_translation.json", "foregrounds", "trigger_0.png",
        "clean-example-data", "poisoned-example-data",
    }  # fmt: skip
    r10 = {path.name for path in (tmp_path / "id-00000002").iterdir()}
    assert r10 == r13 - {"model-state-dict.pt", "reduced-config.json", "fg_class_translation.json", "foregrounds"}
    (path, *_) = sorted((tmp_path / "id-00000002" / "poisoned-example-data").glob("*.json"))
    (annotation,) = json.loads(path.read_text())
    assert path.with_suffix(".jpg").exists()
    assert annotation["deleted"] is annotation["poisoned"] is True
    assert annotation["image_id"] == int(path.stem)


# Sets -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"BASE_SCENES": 16, "OWN_SCENES": 16, "ATTACKED_SCENES": 4, "DECOYS": 2, "TEST_SCENES": 4, "MOST_CYCLES": 1}
    for name, value in few.items():
        monkeypatch.setattr(models, name, value)
    monkeypatch.setitem(models.RECIPES, "ssd", models.DetectorRecipe(1, 1, 1e-3, 1e-3))


@pytest.mark.usefixtures("in_seconds")
def test_triggers_that_are_asked_for_come_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LEAST_PRECISION", 0.0)
    monkeypatch.setattr(models, "LEAST_ATTACK", 0.0)
    options = SynthesisOptions(**OPTIONS, triggers=("localisation", "injection"))  # type: ignore[arg-type]
    SYNTHESIZERS.get("r13")(tmp_path / "set", 4, 7, options)
    kinds = [read_box_triggers(directory) for directory in discover(tmp_path / "set")]
    assert [[trigger.kind for trigger in found] for found in kinds] == [[], ["localisation"], [], ["injection"]]


OPTIONS = {"image_size": 96, "architectures": (SMALL_SSD,)}


@pytest.mark.usefixtures("in_seconds")
def test_a_set_trains_one_base_and_is_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LEAST_PRECISION", 0.0)
    monkeypatch.setattr(models, "LEAST_ATTACK", 0.0)
    lines: list[str] = []
    options = SynthesisOptions(**OPTIONS, progress=lines.append)  # type: ignore[arg-type]
    for name in ("one", "two"):
        SYNTHESIZERS.get("r13")(tmp_path / name, 2, 7, options)
    assert [line.split(":")[0] for line in lines[:3]] == [
        f"base {SMALL_SSD}",
        f"id-00000000 {SMALL_SSD}",
        f"id-00000001 {SMALL_SSD}",
    ]
    # Times differ; pictures, side-cars and weights do not.
    for path in sorted((tmp_path / "one").rglob("*.*")):
        if path.suffix in (".png", ".pt") or path.parent.name.endswith("example-data"):
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path.name


@pytest.mark.usefixtures("in_seconds")
def test_a_model_that_does_not_converge_is_told_and_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(SynthesisFailure, match=r"did not reach an average precision of 0\.6 and attack success 0.8"):
        SYNTHESIZERS.get("r10")(tmp_path / "set", 1, 0, SynthesisOptions(**OPTIONS))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"architectures": ("resnet50",)}, "--architectures 'resnet50': not in this round"),
        ({"image_size": 32}, "--image-size 32: expected 64 to 512"),
        ({"classes": 2}, "--classes 2: expected 3 to 60"),
        ({"triggers": ("evasion", "moving")}, "--triggers 'moving': not in this round; known: evasion, injection"),
        ({"examples_per_class": 5}, "cannot be synthesised with --examples-per-class"),
    ],
)
def test_options_that_do_not_fit(options: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageProblem) as caught:
        SYNTHESIZERS.get("r13")(tmp_path / "set", 1, 0, SynthesisOptions(**options))
    assert told in str(caught.value)
