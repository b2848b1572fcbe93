"""The command line: what it prints, writes and returns."""

from dataclasses import replace
import json
from pathlib import Path
import sys

import cv2
import numpy as np
import pytest

from posefield.cli.app import main
from posefield.cli.maps import BackboneName, FeaturesName, FieldName, Preset, RegressorName
from posefield.data.scene import Frame, Scene
from posefield.errors import LearningInterrupted
from posefield.evaluation.metrics import recall
from posefield.features.extractors import EXTRACTORS
from posefield.geometry.camera import Camera
from posefield.relocalization.map_bundle import camera_to_dict
from posefield.relocalization.presets import FIELDS, PRESETS, PresetOptions
from posefield.relocalization.regressors.backbones import BACKBONES
from posefield.relocalization.regressors.registry import REGRESSORS
from support.fake_localizer import FakeLocalizer, localization

CAMERA = Camera(40, 30, 40.0, 40.0, 19.5, 14.5)
METRES_PER_LEVEL = 0.02


def pose_in_image(image: np.ndarray) -> np.ndarray:
    """The camera pose that the colour of a test image stands for."""
    levels = image[0, 0].astype(np.float64) * (1 if image.dtype == np.uint8 else 255)
    T = np.eye(4)
    angle = 0.1 * round(levels[0]) / 10
    T[:3, :3] = cv2.Rodrigues(np.array([0.0, angle, 0.0]))[0]
    T[:3, 3] = METRES_PER_LEVEL * np.round(levels)
    return T


class ScriptedLocalizer(FakeLocalizer):
    """Reads the pose off the image, 1 cm wrong in x; rejects images without green."""

    def __init__(self):
        super().__init__(answer=self._answer)
        self.info = {
            'units': 'metres',
            'field_short_side': 12,
            'camera': camera_to_dict(CAMERA),
        }
        self.starts = []

    def _answer(self, image, camera, prior):
        T = pose_in_image(image)
        T[0, 3] += 0.01
        found = localization(T, accepted=bool(image[0, 0, 1] > 0))
        return replace(found, hypothesis='sparse' if prior is None else 'prior')

    def refine(self, image, camera, T_map_cam_start):
        self.starts.append((pose_in_image(image), T_map_cam_start))
        return localization(T_map_cam_start)


@pytest.fixture
def scene(tmp_path) -> Path:
    frames = []
    for index in range(8):
        path = tmp_path / 'source' / f'{index}.png'
        path.parent.mkdir(exist_ok=True)
        image = np.zeros((30, 40, 3), np.uint8)
        image[:] = [10 * index, 0 if index == 3 else 5, 100]
        cv2.imwrite(str(path), image[..., ::-1])
        frames.append(Frame(path.name, path, CAMERA, pose_in_image(image)))
    names = tuple(frame.name for frame in frames)
    splits = {'train': names[5:], 'test': names[:5]}
    Scene(tmp_path / 'source', tuple(frames), splits, 'metres').save(tmp_path / 'scene')
    return tmp_path / 'scene'


@pytest.fixture
def localizer(monkeypatch) -> ScriptedLocalizer:
    fake = ScriptedLocalizer()
    monkeypatch.setattr(
        'posefield.relocalization.localizer.Localizer.load', lambda *args, **kwargs: fake
    )
    return fake


def evaluate(scene: Path, tmp_path: Path, *options: str) -> dict:
    path = tmp_path / 'metrics.json'
    arguments = ['map', 'evaluate', 'a_map', str(scene), '--quiet', '--json', str(path)]
    assert main([*arguments, *options]) == 0
    return json.loads(path.read_text())


def test_evaluate_writes_the_figures_and_prints_them(scene, tmp_path, localizer, capsys):
    metrics = evaluate(scene, tmp_path)
    assert metrics['frames'] == 5
    assert metrics['median_translation_error'] == pytest.approx(0.01)
    assert metrics['accepted_share'] == pytest.approx(0.8)
    assert recall(metrics, 0.02, 2.0, relative=False) == 1.0
    assert metrics['options']['split'] == 'test'
    assert 'median error' in capsys.readouterr().out
    assert all(prior is None for _, _, prior in localizer.calls)


def test_evaluate_writes_a_report_folder(scene, tmp_path, localizer, capsys):
    evaluate(scene, tmp_path, '--report', str(tmp_path / 'report'))
    assert {path.name for path in (tmp_path / 'report').iterdir()} == {
        'metrics.json', 'poses.tum', 'report.html',
    }  # fmt: skip
    assert capsys.readouterr().out.strip().endswith('report.html')


def test_a_sequence_hands_the_last_accepted_pose_on_and_trusts_it_less_with_time(
    scene, tmp_path, localizer
):
    evaluate(scene, tmp_path, '--sequence')
    priors = [prior for _, _, prior in localizer.calls]
    assert priors[0] is None
    np.testing.assert_allclose(priors[1].T_map_cam[0, 3], 0.01)
    # The fourth image is rejected, so the fifth still gets the pose of the third.
    np.testing.assert_array_equal(priors[4].T_map_cam, priors[3].T_map_cam)
    assert priors[4].covariance[0, 0] > priors[3].covariance[0, 0]


def test_perturbed_starts_are_exactly_that_far_from_the_truth(scene, tmp_path, localizer):
    from posefield.fields.scene_transform import scene_scale
    from posefield.geometry.poses import pose_errors

    metrics = evaluate(
        scene, tmp_path, '--init', 'perturb', '--perturb', '0.1,6', '--starts', '3',
        '--refiner', 'field',
    )  # fmt: skip
    scale = scene_scale(np.stack([frame.T_map_cam for frame in Scene.load(scene).split('train')]))
    assert metrics['frames'] == 15 and len(localizer.starts) == 15
    assert localizer.calls == []
    for truth, start in localizer.starts:
        errors = pose_errors(start, truth)
        assert errors.translation == pytest.approx(0.1 * scale)
        assert errors.rotation_deg == pytest.approx(6.0)
    assert len({tuple(start[:3, 3]) for _, start in localizer.starts}) == 15


def test_degraded_queries_are_what_the_localizer_gets(scene, tmp_path, localizer):
    evaluate(scene, tmp_path, '--degrade', 'crop_40')
    image, camera, _ = localizer.calls[0]
    assert image.shape[:2] == (12, 16) == (camera.height, camera.width)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--degrade', 'fog'], 'Unknown degradation'),
        (['--split', 'val'], "no split 'val'"),
    ],
)
def test_errors_are_one_line_and_code_1(scene, localizer, capsys, options, message):
    assert main(['map', 'evaluate', 'a_map', str(scene), '--quiet', *options]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('error: ') and message in lines[0]


@pytest.mark.parametrize(
    'arguments',
    [
        ['map', 'evaluate', 'm', 's', '--perturb', 'far', '--init', 'perturb'],
        ['map', 'evaluate', 'm', 's', '--without', 'everything'],
        ['map', 'train', 's'],
        ['map', 'train', 's', '--out', 'm', '--steps', '0'],
        ['map', 'train', 's', '--out', 'm', '--regressor', 'crystal'],
        ['map', 'train', 's', '--out', 'm', '--backbone', 'alexnet'],
        ['map', 'train', 's', '--out', 'm', '--field', 'potato'],
        ['scene', 'import', 's', '--out', 'o', '--format', 'fax'],
        ['demo', 'flying'],
        ['nonsense'],
    ],
)
def test_wrong_usage_is_code_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_an_interrupted_training_is_code_130_and_says_how_to_go_on(
    scene, tmp_path, monkeypatch, capsys
):
    def build_map(*arguments, **options):
        raise LearningInterrupted('Stopped at 40 %, the checkpoint is saved.')

    monkeypatch.setattr('posefield.relocalization.mapping.build_map', build_map)
    assert main(['map', 'train', str(scene), '--out', str(tmp_path / 'map'), '--quiet']) == 130
    error = capsys.readouterr().err
    assert 'checkpoint is saved' in error
    assert '--resume' in error


def test_training_hands_its_options_on(scene, tmp_path, monkeypatch):
    seen = {}

    def build_map(loaded, preset, out, **options):
        seen.update(options, preset=preset, out=out, frames=len(loaded.frames))

    monkeypatch.setattr('posefield.relocalization.mapping.build_map', build_map)
    arguments = ['map', 'train', str(scene), '--out', 'm', '--preset', 'cpu', '--minutes', '2.5']
    assert main([*arguments, '--seed', '3', '--resume', '--quiet']) == 0
    assert (seen['preset'], seen['minutes'], seen['seed']) == ('cpu', 2.5, 3)
    assert seen['resume'] is True and seen['frames'] == 8 and seen['out'] == Path('m')
    assert seen['steps'] is None
    assert main([*arguments[:-2], '--steps', '40', '--quiet']) == 0
    assert (seen['steps'], seen['minutes']) == (40, None)


def test_training_hands_the_parts_of_a_map_on(scene, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        'posefield.relocalization.mapping.build_map', lambda *args, **kwargs: seen.update(kwargs)
    )
    others = []
    for name in ('kitchen', 'office'):
        Scene.load(scene).save(tmp_path / name)
        others += ['--also', str(tmp_path / name)]
    arguments = ['map', 'train', str(scene), '--out', 'm', '--preset', 'paper-small', '--quiet']
    assert main([*arguments, '--steps', '3']) == 0
    assert seen['options'] == PresetOptions() and seen['also'] == []
    assert main(
        [
            *arguments, '--field', 'grid', '--features', 'compact',
            '--regressor', 'ms-transformer', '--backbone', 'efficientnet_b0', '--learn-poses',
            '--paper-scene', 'chess', *others,
        ]
    ) == 0  # fmt: skip
    assert seen['options'] == PresetOptions(
        field='grid',
        features='compact',
        regressor='ms-transformer',
        backbone='efficientnet_b0',
        learn_poses=True,
        paper_scene='chess',
    )
    assert [other.root.name for other in seen['also']] == ['kitchen', 'office']


@pytest.mark.parametrize(
    ('choices', 'known'),
    [
        (Preset, {'auto', *PRESETS}),
        (FieldName, FIELDS),
        (RegressorName, REGRESSORS),
        (BackboneName, BACKBONES),
        (FeaturesName, {*EXTRACTORS, 'dfnet'}),
    ],
)
def test_the_command_line_knows_all_parts_of_maps(choices, known):
    assert {choice.value for choice in choices} == set(known)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--steps', '2', '--minutes', '1'], '1.0 minutes and 2 steps'),
        (['--features', 'dfnet'], 'come with the regressor dfnet'),
        (['--backbone', 'resnet34'], 'regressor that has its own'),
        (['--learn-poses'], 'Poses are learned in the stages of NeFeS'),
        (['--paper-scene', 'attic'], "no scene 'attic'"),
        (['--also', 'SCENE'], 'only the regressor ms-transformer'),
        (['--also', 'SCENE', '--regressor', 'ms-transformer'], '2 scenes are named scene'),
    ],
)
def test_parts_that_do_not_go_together_are_refused_at_once(
    scene, tmp_path, capsys, options, message
):
    options = [str(scene) if option == 'SCENE' else option for option in options]
    arguments = ['map', 'train', str(scene), '--out', str(tmp_path / 'map'), '--quiet']
    assert main([*arguments, '--preset', 'cpu', '--device', 'cpu', *options]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: ') and message in lines[0]
    assert not list(tmp_path.glob('map*'))


@pytest.mark.parametrize(
    ('arguments', 'complaint'),
    [
        (['--map', 'm'], 'scene'),
        (['--map', 'm', '--scene', 's', '--minutes', '1'], 'learning a map'),
    ],
)
def test_a_demo_with_a_map_learns_none(arguments, complaint, capsys):
    assert main(['demo', 'relocalization', *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_localize_prints_tum_lines_and_no_pose_that_was_not_accepted(scene, localizer, capsys):
    images = [str(scene / 'images' / f'{index}.png') for index in (2, 3)]
    assert main(['localize', 'a_map', *images]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    poses = [line for line in lines if not line.startswith('#')]
    assert len(poses) == 1
    number, x, *_ = map(float, poses[0].split())
    assert number == 0 and x == pytest.approx(0.41)
    assert '3.png not accepted' in lines[-1]


def test_localize_as_json_with_a_ros_calibration(scene, localizer, tmp_path, capsys):
    calibration = tmp_path / 'camera.yaml'
    calibration.write_text(
        'image_width: 80\nimage_height: 60\ncamera_name: front\n'
        'camera_matrix: {rows: 3, cols: 3, data: [80, 0, 39.5, 0, 80, 29.5, 0, 0, 1]}\n'
        'distortion_model: plumb_bob\n'
        'distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n'
    )
    image = str(scene / 'images' / '2.png')
    assert main(['localize', 'm', image, '--camera', str(calibration), '--format', 'json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['image'] == image and found['accepted'] is True
    camera = localizer.calls[0][1]
    assert (camera.width, camera.fx, camera.cx) == (40, 40.0, 19.5)
    assert camera.distortion == (0.1, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[1, 2]', 'named values'),
        ('image_width: 4\ncamera_matrix: {data: [1, 0, 1]}', 'lacks or garbles'),
        ('a: b', 'neither camera_matrix'),
        ('a: [', 'cannot be read'),
    ],
)
def test_a_bad_camera_file_is_named(scene, localizer, tmp_path, capsys, text, message):
    path = tmp_path / 'camera.yaml'
    path.write_text(text)
    image = str(scene / 'images' / '2.png')
    assert main(['localize', 'm', image, '--camera', str(path)]) == 1
    error = capsys.readouterr().err
    assert message in error and 'camera.yaml' in error
    assert len(error.strip().splitlines()) == 1


def test_localize_refuses_an_image_of_another_shape(scene, localizer, tmp_path, capsys):
    path = tmp_path / 'tall.png'
    cv2.imwrite(str(path), np.zeros((40, 30, 3), np.uint8))
    assert main(['localize', 'm', str(path)]) == 1
    assert '30x40' in capsys.readouterr().err


def test_scene_info_describes_and_checks(scene, capsys):
    assert main(['scene', 'info', str(scene), '--check']) == 0
    out = capsys.readouterr().out
    assert '8 images (3 train, 5 test)' in out
    assert '40x30 pinhole' in out
    (scene / 'images' / '4.png').write_bytes(b'no image')
    assert main(['scene', 'info', str(scene), '--check']) == 1
    assert '4.png' in capsys.readouterr().err


def test_scene_import_finds_the_format_by_itself(scene, tmp_path, capsys):
    transforms = json.loads((scene / 'transforms.json').read_text())
    transforms['frames'].append(dict(transforms['frames'][0], file_path='images/gone.png'))
    (scene / 'transforms.json').write_text(json.dumps(transforms))
    assert main(['scene', 'import', str(scene), '--out', str(tmp_path / 'new')]) == 0
    captured = capsys.readouterr()
    assert '1 images were skipped' in captured.err and 'gone.png' in captured.err
    assert len(Scene.load(tmp_path / 'new').frames) == 8


def test_scene_import_of_nothing_known_lists_what_is(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert main(['scene', 'import', str(tmp_path / 'empty'), '--out', str(tmp_path / 'o')]) == 1
    assert 'transforms.json' in capsys.readouterr().err


def test_bundle_info_adds_up_the_files(scene, capsys):
    assert main(['bundle', 'info', str(scene), '--json']) == 0
    content = json.loads(capsys.readouterr().out)
    assert content['kind'] == 'scene'
    assert content['bytes'] == sum(p.stat().st_size for p in scene.rglob('*') if p.is_file())
    assert set(content['files']) == {'images', 'scene.json', 'transforms.json'}
    assert main(['bundle', 'info', str(scene / 'images')]) == 1


def test_the_command_starts_without_loading_torch():
    import subprocess

    code = 'import sys, posefield.cli.app; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
