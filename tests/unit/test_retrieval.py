"""Which reference view looks most like a query."""

import numpy as np
import pytest
import torch

from posefield.geometry.poses import perturbed
from posefield.relocalization.retrieval import GlobalDescriptor, nearest_views
from support.textured_room import TexturedRoom, look_at, pinhole

CAMERA = pinhole(44, 32, 36.0)
ROOM = TexturedRoom(seed=4)


def poses_around(count: int) -> np.ndarray:
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    centres = 0.5 * np.stack([np.cos(angles), np.sin(angles), 0.0 * angles], axis=1)
    return np.stack([look_at(centre, 3.0 * centre) for centre in centres])


def images_at(poses: np.ndarray) -> np.ndarray:
    return np.stack([ROOM.view(CAMERA, pose)[0] for pose in poses])


@pytest.fixture(scope='module')
def poses() -> np.ndarray:
    return poses_around(16)


@pytest.fixture(scope='module')
def references(poses) -> torch.Tensor:
    return GlobalDescriptor()(images_at(poses))


def test_descriptors_have_unit_length_and_find_themselves(poses, references):
    assert references.shape == (16, GlobalDescriptor().length(44, 32))
    torch.testing.assert_close(references.norm(dim=1), torch.ones(16))
    assert torch.equal((references @ references.T).argmax(dim=1), torch.arange(16))
    one = GlobalDescriptor()(images_at(poses[3:4]))
    torch.testing.assert_close(one[0], references[3], atol=1e-5, rtol=0.0)


def test_a_view_nearby_in_other_light_is_recognised(poses, references):
    generator = np.random.default_rng(0)
    moved = np.stack([perturbed(pose, 0.05, 3.0, generator) for pose in poses])
    dimmed = 0.5 * images_at(moved) + 0.1
    similar = GlobalDescriptor()(dimmed) @ references.T
    assert (similar.argmax(dim=1) == torch.arange(16)).float().mean() >= 0.9


def test_the_most_similar_views_come_first():
    references = torch.nn.functional.normalize(torch.eye(4) + 0.1, dim=1)
    poses = poses_around(4)
    query = 0.2 * references[0] + 0.9 * references[2] + 0.5 * references[1]
    assert nearest_views(query, references, poses, 3, 0.01) == [2, 1, 0]
    assert nearest_views(query, references, poses, 1, 0.01) == [2]
    assert nearest_views(query, references, poses, 9, 0.01) == [2, 1, 0, 3]


def test_views_of_nearly_the_same_pose_count_once():
    references = torch.nn.functional.normalize(torch.rand(6, 5), dim=1)
    poses = np.repeat(poses_around(2), 3, axis=0)
    poses[:, 0, 3] += 0.001 * np.arange(6)
    found = nearest_views(references[0], references, poses, 6, 0.1)
    assert len(found) == 2
    assert {index // 3 for index in found} == {0, 1}
    assert found[0] == 0


def test_a_turned_view_from_the_same_place_is_another_one():
    references = torch.eye(3)
    targets = np.array([[1.0, 0.0, 0.0], [1.0, 0.02, 0.0], [0.0, 1.0, 0.0]])
    poses = np.stack([look_at(np.zeros(3), target) for target in targets])
    query = torch.tensor([0.9, 0.8, 0.7])
    assert nearest_views(query, references, poses, 3, 0.1) == [0, 2]


def test_no_references_give_no_views():
    assert nearest_views(torch.ones(4), torch.zeros(0, 4), np.zeros((0, 4, 4)), 3, 0.1) == []
