"""Signs and street scenes: the same from the same seed, different for different classes, and a sign is really there."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from trojai_seam.synthesis.backgrounds import add_weather, blur, draw_backgrounds
from trojai_seam.synthesis.scenes import SceneRenderer, SceneSettings
from trojai_seam.synthesis.signs import MOST_CLASSES, PLATES, SYMBOLS, Sign, choose_signs, draw_sign


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def everything() -> list[Sign]:
    return list(choose_signs(MOST_CLASSES, generator()))


def test_every_two_signs_differ_even_when_small():
    drawn = {sign: draw_sign(sign, 24).astype(int) for sign in everything()}
    assert len(drawn) == len(PLATES) * len(SYMBOLS) == 144
    nearest = min((np.abs(a - b).max(axis=2) > 60).sum() for a, b in combinations(drawn.values(), 2))
    assert nearest >= 8


def test_a_sign_is_the_same_every_time_and_fills_its_square():
    for sign in everything()[::13]:
        first = draw_sign(sign, 64)
        assert first.dtype == np.uint8
        assert first.shape == (64, 64, 4)
        assert (first == draw_sign(sign, 64)).all()
        rows, columns = np.nonzero(first[..., 3] > 127)
        assert max(np.ptp(rows), np.ptp(columns)) >= 60
        assert first[0, 0, 3] == 0 or PLATES[sign.shape - 1].sides == 4


def test_class_numbers_follow_the_sorted_file_names():
    signs = choose_signs(40, generator(3))
    names = [sign.file_name for sign in signs]
    assert names == sorted(names)  # "10-3.png" before "2-1.png"
    assert len(set(names)) == 40
    assert names == [sign.file_name for sign in choose_signs(40, generator(3))]
    assert names != [sign.file_name for sign in choose_signs(40, generator(4))]


@pytest.fixture(scope="module")
def renderer() -> SceneRenderer:
    return SceneRenderer(choose_signs(6, generator(1)), SceneSettings(48, number_backgrounds=20), generator(2))


def test_scenes_repeat_with_their_seed_and_differ_otherwise(renderer):
    labels = np.arange(6)
    first = renderer.render(labels, generator(5))
    assert first.shape == (6, 48, 48, 3)
    assert first.dtype == np.uint8
    assert (first == renderer.render(labels, generator(5))).all()
    assert (first != renderer.render(labels, generator(6))).mean() > 0.9


def test_only_the_sign_differs_between_classes_of_one_scene(renderer):
    one, other = (renderer.render(np.full(20, label), generator(7)).astype(int) for label in (0, 5))
    changed = (np.abs(one - other).max(axis=3) > 25).mean(axis=(1, 2))
    assert (changed > 0.04).all()
    assert (changed < 0.5).all()


def test_signs_cover_the_share_of_the_image_that_is_asked_for():
    signs = [Sign(6, 3)] * 2  # squares
    small, large = (
        SceneRenderer(signs, SceneSettings(64, share, share, 1, 0, 0, 4), generator()) for share in (0.1, 0.4)
    )
    with_small, with_large = (r.render(np.zeros(8, np.int64), generator(3)).astype(int) for r in (small, large))
    blue = [((x[..., 2] - x[..., 0]) > 50).mean() for x in (with_small, with_large)]
    assert 2.5 < blue[1] / blue[0] < 6


def test_no_images_are_no_images(renderer):
    assert renderer.render(np.array([], np.int64), generator()).shape == (0, 48, 48, 3)


def test_backgrounds_differ_and_stay_in_range():
    scenes = draw_backgrounds(6, 40, generator())
    assert scenes.shape == (6, 3, 40, 40)
    assert scenes.min() >= 0
    assert scenes.max() <= 1
    assert min(np.abs(a - b).mean() for a, b in combinations(scenes, 2)) > 0.02


def test_weather_comes_with_its_probability():
    scenes = np.full((30, 3, 40, 40), 0.4, np.float32)
    assert (add_weather(scenes, 0, 0, generator()) == scenes).all()
    assert (add_weather(scenes, 1, 0, generator()) != scenes).any(axis=(1, 2, 3)).all()
    some = (add_weather(scenes, 0, 0.5, generator()) != scenes).any(axis=(1, 2, 3)).mean()
    assert 0.2 < some < 0.8
    assert scenes.min() == scenes.max()  # the argument is left alone


def test_blur_smooths_and_keeps_brightness():
    noise = generator().random((40, 3, 32, 32)).astype(np.float32)
    blurred = blur(noise, 5, generator(1))
    assert blurred.std() < noise.std()
    assert blurred.mean() == pytest.approx(noise.mean(), abs=1e-3)
    assert (blur(noise, 1, generator(1)) == noise).all()
