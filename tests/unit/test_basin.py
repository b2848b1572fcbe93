"""What becomes of starts by how far off they are."""

import json
import math

import pytest

from posefield.evaluation.basin import ABSOLUTE_EDGES, RELATIVE_EDGES, StartBin, start_bins
from posefield.evaluation.published import BASINS, CAMBRIDGE, SEVEN_SCENES, TEST_IMAGES
from posefield.geometry.poses import PoseErrors

LOST = PoseErrors(math.inf, math.inf)


def bins(pairs: list[tuple], depth: float = 1.0, relative: bool = False) -> dict[float, StartBin]:
    """Bins by their lower edge, of ((metres, degrees) before, after) pairs."""
    before, after = zip(*pairs, strict=True)
    found = start_bins(
        [PoseErrors(*errors) for errors in before],
        [PoseErrors(*errors) for errors in after],
        [depth] * len(pairs),
    )
    return {one.low: one for one in found if one.relative == relative}


def test_medians_and_improvement_are_of_the_frames_of_a_bin():
    found = bins(
        [
            ((0.06, 3.0), (0.01, 0.1)),
            ((0.07, 3.0), (0.02, 0.2)),
            ((0.09, 3.0), (0.30, 0.9)),
            ((0.30, 9.0), (0.04, 0.5)),
        ]
    )
    middle = found[0.05]
    assert (middle.frames, middle.high) == (3, 0.1)
    assert (middle.translation, middle.rotation_deg) == (0.02, 0.2)
    assert middle.improved == pytest.approx(2 / 3)
    assert found[0.2].frames == 1
    assert found[0.0] == StartBin(0.0, 0.02, False, 0, None, None, None)


def test_a_start_on_an_edge_is_in_the_bin_above_and_the_last_bin_is_open():
    found = bins([((0.05, 1.0), (0.0, 0.0)), ((1e6, 1.0), (0.0, 0.0))])
    assert found[0.02].frames == 0
    assert found[0.05].frames == found[1.0].frames == 1
    assert found[1.0].high is None


def test_an_unchanged_pose_did_not_improve():
    assert bins([((0.03, 1.0), (0.03, 1.0))])[0.02].improved == 0.0


def test_shares_are_of_the_depth_of_the_frame():
    found = bins([((0.2, 1.0), (0.1, 0.5))], depth=4.0, relative=True)
    assert found[0.05].frames == 1
    assert found[0.05].translation == pytest.approx(0.025)
    without_depth = bins([((0.2, 1.0), (0.1, 0.5))], depth=0.0, relative=True)
    assert sum(one.frames for one in without_depth.values()) == 0


def test_frames_without_a_start_are_left_out_and_lost_poses_have_no_median():
    found = start_bins([LOST, PoseErrors(0.03, 1.0)], [PoseErrors(0.1, 1.0), LOST], [1.0, 1.0])
    assert sum(one.frames for one in found if not one.relative) == 1
    lost = next(one for one in found if one.frames and not one.relative)
    assert (lost.translation, lost.rotation_deg, lost.improved) == (None, None, 0.0)


def test_bins_survive_json_and_cover_every_length_once():
    found = start_bins([PoseErrors(0.03, 1.0)], [PoseErrors(0.01, 0.5)], [2.0])
    assert len(found) == len(ABSOLUTE_EDGES) + len(RELATIVE_EDGES) - 2
    text = json.dumps([one.to_dict() for one in found], allow_nan=False)
    assert [StartBin.from_dict(content) for content in json.loads(text)] == found


@pytest.mark.parametrize('dataset', [SEVEN_SCENES, CAMBRIDGE])
def test_the_published_bins_hold_every_test_image_once(dataset):
    published = BASINS[dataset]
    images = sum(count for (known, _), count in TEST_IMAGES.items() if known == dataset)
    assert sum(one.frames for one in published) == images
    assert [one.high for one in published[:-1]] == [one.low for one in published[1:]]
    assert published[-1].high is None
