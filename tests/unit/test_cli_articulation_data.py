"""posefield articulation import and info."""

import json

import cv2
import pytest

from posefield.cli.app import main
from posefield.data.multiview import Multiview
from support.multiviews import overwrite_masks, write_ball


@pytest.fixture
def recording(tmp_path):
    return write_ball(tmp_path / 'ball', cameras=4, held_out=1, frames=5)


def test_info(recording, capsys):
    assert main(['articulation', 'info', str(recording.root), '--check']) == 0
    printed = capsys.readouterr().out
    assert '5 frames (0 held out) by 5 cameras (1 held out)' in printed
    assert 'cam4: 48x48' in printed and 'held out' in printed
    centre = next(line for line in printed.splitlines() if line.startswith('object centre'))
    assert all(abs(float(number)) < 0.06 for number in centre.split()[2:])


def test_info_of_empty_masks(recording, capsys):
    for view in range(5):
        overwrite_masks(recording, view, 0)
    assert main(['articulation', 'info', str(recording.root)]) == 1
    assert 'All masks of' in capsys.readouterr().err


def test_a_part_of_a_recording(recording, tmp_path):
    out = tmp_path / 'part'
    command = ['articulation', 'import', str(recording.root), '--format', 'multiview']
    command += ['--out', str(out), '--cameras', 'cam0, cam1', '--held-out-cameras', 'cam3']
    command += ['--frames', '4', '--held-out-frames', '0.25', '--size', '24']
    assert main([*command, '--background', 'white', '--quiet']) == 0
    part = Multiview.load(out)
    assert [rig.name for rig in part.cameras] == ['cam0', 'cam1', 'cam3']
    assert part.held_out_views == (2,)
    assert (part.num_frames, part.held_out_frames) == (4, {3})
    assert part.cameras[0].camera == recording.cameras[0].camera.resized(24, 24)
    assert part.background == 'white'
    assert part.provenance['source'] == 'ball'


def test_one_camera(recording, tmp_path, capsys):
    command = ['articulation', 'import', str(recording.root), '--format', 'multiview']
    assert main([*command, '--out', str(tmp_path / 'one'), '--cameras', 'cam0']) == 1
    assert 'At least 2 cameras are needed' in capsys.readouterr().err
    assert not (tmp_path / 'one').exists()


@pytest.mark.parametrize(
    ('recording_format', 'message'),
    [
        ('wim-robots', 'has no pictures of a robot'),
        ('wim-pickle', 'cannot be read'),
        ('videos', 'has no video'),
        ('bag', 'cannot be read'),
        ('multiview', 'is no multi-view recording'),
    ],
)
def test_sources_of_another_kind(tmp_path, capsys, recording_format, message):
    source = tmp_path / 'source'
    source.mkdir()
    (source / 'notes.txt').write_text('nothing')
    command = ['articulation', 'import', str(source), '--format', recording_format]
    assert main([*command, '--out', str(tmp_path / 'out')]) == 1
    assert message in capsys.readouterr().err


def test_source_that_does_not_exist(tmp_path, capsys):
    command = [
        'articulation',
        'import',
        'nowhere',
        '--format',
        'bag',
        '--out',
        str(tmp_path / 'a'),
    ]
    assert main(command) == 1
    assert 'nowhere does not exist' in capsys.readouterr().err


def test_folders_of_others_are_not_replaced(recording, tmp_path, capsys):
    precious = tmp_path / 'precious'
    precious.mkdir()
    (precious / 'map.json').write_text(json.dumps({'schema': 1, 'kind': 'map'}))
    command = ['articulation', 'import', str(recording.root), '--format', 'multiview']
    assert main([*command, '--out', str(precious)]) == 1
    assert 'holds a map' in capsys.readouterr().err


def test_image_of_another_size_is_found_by_check(recording, capsys):
    image = cv2.imread(str(recording.image_path(1, 3)))
    cv2.imwrite(str(recording.image_path(1, 3)), image[:40])
    assert main(['articulation', 'info', str(recording.root), '--check']) == 1
    assert '48x40 but its camera is 48x48' in capsys.readouterr().err
