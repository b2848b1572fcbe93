"""The HTML report on two sets of poses of the same images."""

from pathlib import Path

from posefield.data.scene import Scene
from posefield.evaluation import plots, report_page, trajectory_plots
from posefield.evaluation.compare_scenes import Differences, SceneComparison
from posefield.evaluation.relocalization_report import angle, length
from posefield.storage import atomic_write_text

STAGES = {
    'raw': 'as they are',
    'se3': 'after SE(3) alignment of the centres',
    'sim3': 'after Sim(3) alignment of the centres',
}


def write_comparison_report(
    path: Path, comparison: SceneComparison, first: Scene, second: Scene
) -> None:
    """Write the page; it refers to no other file."""
    labels = scene_labels(first, second)
    body = [
        report_page.tiles(_tiles(comparison, first.units)),
        _figures_section(comparison, first.units),
        _trajectory_section(comparison, first, labels),
        _frames_section(comparison, first.units),
        report_page.section('Scenes', report_page.definitions(_facts(comparison, first, second))),
    ]
    title = f'{labels[0]} against {labels[1]}'
    lead = (
        f'Two sets of poses of the same {len(comparison.names)} images. Differences are '
        f'distances between camera centres and angles between rotations, in the frame and '
        f'units of {labels[0]}.'
    )
    atomic_write_text(Path(path), report_page.page(title, lead, body))


def scene_labels(first: Scene, second: Scene) -> tuple[str, str]:
    """Return names that tell the scenes apart: those of the folders, or whole paths."""
    names = tuple(scene.root.resolve().name for scene in (first, second))
    if names[0] != names[1]:
        return names
    return str(first.root), str(second.root)


def _tiles(comparison: SceneComparison, units: str) -> list[tuple[str, str]]:
    figures = comparison.best.figures()
    stage = 'as they are' if comparison.rigid is None else 'after SE(3)'
    tiles = [
        (length(figures['translation']['median'], units), f'median distance {stage}'),
        (angle(figures['rotation_deg']['median']), f'median angle {stage}'),
        (str(len(comparison.names)), 'images with both poses'),
    ]
    if comparison.similar is not None:
        tiles.append((f'{comparison.similar.alignment.scale:.4f}', 'scale of Sim(3)'))
    return tiles


def _figures_section(comparison: SceneComparison, units: str) -> str:
    header = ('differences', 'median', 'mean', 'rmse', 'largest', 'scale')
    distances, angles = [], []
    for name, found in comparison.stages:
        figures = found.figures()
        scale = f'{found.alignment.scale:.5f}' if found.alignment else '1'
        keys = ('median', 'mean', 'rmse', 'max')
        distances.append(
            (STAGES[name], *(length(figures['translation'][key], units) for key in keys), scale)
        )
        angles.append((STAGES[name], *(angle(figures['rotation_deg'][key]) for key in keys)))
    note = comparison.failure or (
        'SE(3) is the rotation and translation, Sim(3) also the scale, that brings the camera '
        'centres of the second set closest to those of the first, in the least-squares sense; '
        'rotations have no say in it.'
    )
    return report_page.section(
        'Differences',
        report_page.heading('Between camera centres'),
        report_page.table(header, distances),
        report_page.heading('Between rotations'),
        report_page.table(header[:-1], angles),
        note=note,
    )


def _trajectory_section(comparison: SceneComparison, first: Scene, labels: tuple[str, str]) -> str:
    unit = 'm' if first.units == 'metres' else 'map units'
    names = trajectory_plots.Names(labels[0], labels[1], 'angle between rotations (deg)')
    pictures = []
    for name, found in comparison.stages:
        pair = trajectory_plots.CameraPair(
            comparison.first_N44, found.poses_N44, found.rotations_deg_N
        )
        if name == 'sim3' or not len(pair.drawable().estimates_N44):
            continue
        pictures.append(report_page.heading(f'The sets {STAGES[name]}'))
        pictures.append(
            report_page.picture(
                trajectory_plots.trajectory(pair, unit, names), f'Both sets {STAGES[name]}'
            )
        )
    return report_page.section(
        'Cameras',
        *pictures,
        note=f'Grey: {labels[0]}. Coloured by the angle between rotations: {labels[1]}.',
    )


def _frames_section(comparison: SceneComparison, units: str) -> str:
    found: Differences = comparison.best
    metric = units == 'metres'
    distances = found.translations_N * (100 if metric else 1)
    picture = plots.over_frames(
        [
            (distances, f'distance ({"cm" if metric else "map units"})'),
            (found.rotations_deg_N, 'angle (deg)'),
        ]
    )
    stage = STAGES['raw' if comparison.rigid is None else 'se3']
    return report_page.section(
        'Image by image',
        report_page.picture(picture, 'Distance and angle over the images'),
        note=f'Differences {stage}, images sorted by name.',
    )


def _facts(comparison: SceneComparison, first: Scene, second: Scene) -> list[tuple[str, str]]:
    facts = []
    for place, scene in (('first', first), ('second', second)):
        about = ', '.join(f'{key} {value}' for key, value in scene.provenance.items() if value)
        facts.append((place, f'{scene.root} ({scene.units}; {about or "unknown origin"})'))
    for place, names in (
        ('only in the first', comparison.only_first),
        ('only in the second', comparison.only_second),
    ):
        facts.append((place, f'{len(names)} images' + (f', such as {names[0]}' if names else '')))
    return facts
