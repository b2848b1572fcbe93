"""The published figures: complete, consistent with the published averages."""

import pytest

from posefield.evaluation.published import (
    AVERAGES,
    CAMBRIDGE,
    DFNET,
    NEFES_RUNTIME,
    POSENET,
    SEVEN_SCENES,
    SFM,
    TEST_IMAGES,
    average,
    benchmark_scene,
    published_on,
)


def scenes_of(dataset: str) -> list[str]:
    return [scene for known, scene in TEST_IMAGES if known == dataset]


@pytest.mark.parametrize(
    ('dataset', 'translation', 'rotation_deg'),
    [(SEVEN_SCENES, 0.023, 0.79), (CAMBRIDGE, 0.352, 0.772)],
)
def test_the_mean_of_the_medians_per_scene_is_the_published_average(
    dataset, translation, rotation_deg
):
    per_scene = published_on(dataset, scenes_of(dataset))[DFNET]
    found = average([result.refined for result in per_scene.values()])
    assert found[0] == pytest.approx(translation, abs=6e-4)
    assert found[1] == pytest.approx(rotation_deg, abs=2e-3)


@pytest.mark.parametrize(
    'published',
    [average for average in AVERAGES if average.ground_truth == SFM],
    ids=lambda published: f'{published.dataset}, {published.method}',
)
def test_every_published_average_follows_from_the_scenes_up_to_their_rounding(published):
    per_scene = published_on(published.dataset, scenes_of(published.dataset))[published.method]
    assert len(per_scene) == len(scenes_of(published.dataset))
    for stage in ('initial', 'refined'):
        found = average([getattr(result, stage) for result in per_scene.values()])
        stated = getattr(published, stage)
        assert found[0] == pytest.approx(stated[0], abs=0.0075)
        assert found[1] == pytest.approx(stated[1], abs=0.02)


def test_refinement_helped_every_median_but_one():
    worse = [
        (method, scene)
        for dataset in (SEVEN_SCENES, CAMBRIDGE)
        for method, results in published_on(dataset, scenes_of(dataset)).items()
        for scene, result in results.items()
        if result.refined[0] >= result.initial[0] or result.refined[1] >= result.initial[1]
    ]
    assert worse == [('MS-Transformer → NeFeS-50', 'stairs')]


def test_only_known_scenes_of_the_right_data_set_are_found():
    assert benchmark_scene(SEVEN_SCENES, 'redkitchen') == 'redkitchen'
    assert benchmark_scene(SEVEN_SCENES, 'Kitchen') == 'redkitchen'
    assert benchmark_scene(CAMBRIDGE, 'shopfacade') == 'ShopFacade'
    assert benchmark_scene(CAMBRIDGE, 'GreatCourt') is None
    assert benchmark_scene(CAMBRIDGE, 'chess') is None
    assert benchmark_scene('', 'chess') is None


def test_published_results_can_be_asked_for_part_of_a_data_set():
    found = published_on(SEVEN_SCENES, ['heads', 'stairs'])
    assert set(found[POSENET]) == {'heads', 'stairs'}
    assert published_on(SEVEN_SCENES, []) == {}


def test_an_image_took_nefes_seven_seconds():
    assert NEFES_RUNTIME.seconds_per_image == pytest.approx(7.2, abs=0.05)
