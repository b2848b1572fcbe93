"""Painting meshes, and the SMPL baseline on a made-up body: balls that are meshes."""

import numpy as np
import pytest
import trimesh

from posefield.errors import DataError
from posefield.evaluation.mesh_painting import paint_mesh
from posefield.evaluation.photo_comparison import choose_photos
from posefield.evaluation.smpl_baseline import (
    SmplMeshes,
    kundu_figures,
    mean_colours,
    read_smpl,
)
from posefield.geometry.camera import Camera
from support import sphere_arm

CAMERA = Camera(40, 30, 40, 40, 19.5, 14.5)
SQUARE = np.array([[-1.0, -1, 4], [1, -1, 4], [1, 1, 4], [-1, 1, 4]])
TWO_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])


def test_a_square_covers_its_pixels_without_holes():
    red = np.tile([1.0, 0.0, 0.0], (4, 1))
    render = paint_mesh(CAMERA, np.eye(4), SQUARE, TWO_TRIANGLES, red, 1.0)
    expected = np.zeros((30, 40))
    expected[5:25, 10:30] = 1.0
    assert np.abs(render.opacities_HW - expected).sum() <= 40
    assert (render.opacities_HW[6:24, 11:29] == 1.0).all()
    np.testing.assert_allclose(render.colours_HW3[15, 20], [1, 0, 0])
    np.testing.assert_allclose(render.colours_HW3[0, 0], [1, 1, 1])
    assert render.depths_HW[15, 20] == pytest.approx(4.0)
    assert (render.parts_HW == -1).all()


def test_the_nearer_face_is_on_top_and_nothing_is_seen_behind():
    both = np.concatenate([SQUARE, SQUARE * [0.5, 0.5, 0.5]])
    faces = np.concatenate([TWO_TRIANGLES + 4, TWO_TRIANGLES])
    colours = np.repeat(np.eye(3)[:2], 4, axis=0)
    render = paint_mesh(CAMERA, np.eye(4), both, faces, colours, 1.0)
    np.testing.assert_allclose(render.colours_HW3[15, 20], [0, 1, 0])
    turned = np.diag([-1.0, 1.0, -1.0, 1.0])
    assert paint_mesh(CAMERA, turned, both, faces, colours, 1.0).opacities_HW.max() == 0.0


def body() -> SmplMeshes:
    """The balls of the arm as one mesh, in every frame."""
    ball = trimesh.creation.icosphere(2, sphere_arm.BALL)
    centres = sphere_arm.motion().T_world_part_FP44[:, :, None, :3, 3]
    count = len(ball.vertices)
    faces = np.concatenate([ball.faces + count * index for index in range(6)])
    vertices = (centres + ball.vertices).reshape(len(centres), -1, 3)
    return SmplMeshes(vertices, faces)


def test_a_body_that_fits_is_coloured_and_shown_as_it_is(tmp_path):
    recording, meshes = sphere_arm.record(tmp_path / 'data'), body()
    colours = mean_colours(recording, meshes).reshape(6, -1, 3)
    # The balls of one link touch, and the rim of a ball is a little another's.
    np.testing.assert_allclose(np.median(colours, axis=1), sphere_arm.COLOURS, atol=0.05)
    figures = kundu_figures(recording, meshes, choose_photos(recording, range(18), 3))
    assert figures['held_out_views']['mask_iou'] > 0.85
    assert figures['held_out_poses']['mask_iou'] > 0.85
    assert figures['held_out_views']['psnr'] > 20
    assert figures['joint_error'] is None


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_meshes_are_read(tmp_path):
    meshes = body()
    path = write(
        tmp_path / 'smpl.npz',
        vertices=meshes.vertices_TV3,
        faces=meshes.faces_M3,
        joints=np.zeros((24, 23, 3)),
    )
    read = read_smpl(path, 24)
    np.testing.assert_array_equal(read.faces_M3, meshes.faces_M3)
    assert read.joints_TJ3.shape == (24, 23, 3)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'vertices': np.zeros((23, 4, 3))}, r'must have shape \(24, N, 3\), found \(23, 4, 3\)'),
        ({'vertices': np.full((24, 4, 3), np.nan)}, 'finite'),
        ({'faces': np.array([[0, 1, 4]])}, 'name the vertex 4 of 4'),
        ({'faces': np.array([[0.0, 1, 2]])}, 'whole numbers'),
        ({'joints': np.zeros((24, 5))}, 'joints'),
        ({'faces': None}, 'no array faces, found vertices'),
        ({'vertices': np.array([{}])}, 'does not open'),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, message):
    arrays = {'vertices': np.zeros((24, 4, 3)), 'faces': np.array([[0, 1, 2]]), **changes}
    arrays = {key: array for key, array in arrays.items() if array is not None}
    with pytest.raises(DataError, match=message):
        read_smpl(write(tmp_path / 'smpl.npz', **arrays), 24)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / 'smpl.npz').write_bytes(b'nothing')
    with pytest.raises(DataError, match='does not open'):
        read_smpl(tmp_path / 'smpl.npz', 24)
    with pytest.raises(DataError, match='does not open'):
        read_smpl(tmp_path / 'gone.npz', 24)
