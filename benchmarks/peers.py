"""posefield against SIFT + pycolmap on the same photos, clean and spoiled.

Every photo, of the map and of the queries, is first undistorted and brought to a short side of
240 pixels.  Every query is spoiled once, seeded, and the same pixels go to all methods in one
run.  Writes `results/peers_<date>_<device>.json`; see README.md beside this file.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
from provenance import REPOSITORY, write_results
from scenes import SCENES, SHORT_SIDE, as_u8, learn_map, load_scene, small_scene
from sift_peer import PosedPhoto, SiftPeer
from verdicts import all_hold, print_missed, verdict

from posefield.data.scene import Frame
from posefield.errors import LocalizationError
from posefield.evaluation.degradations import DEGRADATIONS, degradation
from posefield.evaluation.evaluate_map import median_depth_at
from posefield.geometry.camera import Camera
from posefield.geometry.poses import pose_errors
from posefield.learning.progress import make_progress
from posefield.relocalization.localizer import Localizer, LocalizerConfig

CLEAN = 'clean'
PEER, OURS, FIELD_ONLY = 'sift + pycolmap', 'posefield', 'posefield without sparse'
BLURRED = ('motion_blur_9', 'motion_blur_15', 'motion_blur_21', 'defocus_3')
# Recall that must be reached, whatever the peer does.
FLOORS = {'motion_blur_15': 0.95, 'defocus_3': 0.95, 'crop_40': 0.95, 'motion_blur_21': 0.8}
FIELD_FLOOR = 0.9
MEDIAN_RATIO = 1.5

Method = Callable[[np.ndarray, Camera], np.ndarray | None]


@dataclass(frozen=True)
class Answer:
    """What a method said about one query: errors relative to the depth and in degrees."""

    relative: float
    rotation_deg: float
    seconds: float


def peer_method(peer: SiftPeer) -> Method:
    """Return the peer as a method."""
    return lambda image, camera: peer.localize(as_u8(image), camera.K_33)


def our_method(localizer: Localizer) -> Method:
    """Return a localizer as a method; its pose counts whether it accepts it or not."""

    def localize(image: np.ndarray, camera: Camera) -> np.ndarray | None:
        try:
            return localizer.localize(image, camera).T_map_cam
        except LocalizationError:
            return None

    return localize


def spoiled(row: str, frame: Frame, number: int) -> tuple[np.ndarray, Camera]:
    """Return a query of a row: the same for every method, whichever rows are asked for."""
    image, camera = frame.read_image(), frame.camera
    if row == CLEAN:
        return image, camera
    generator = np.random.default_rng([sorted(DEGRADATIONS).index(row), number])
    return degradation(row)(image, camera, generator)


def answer(method: Method, image, camera, T_true: np.ndarray, depth: float) -> Answer:
    """Return how well a method does on one query; no pose is infinitely wrong."""
    begin_s = time.perf_counter()
    T_map_cam = method(image, camera)
    seconds = time.perf_counter() - begin_s
    if T_map_cam is None:
        return Answer(float('inf'), float('inf'), seconds)
    errors = pose_errors(T_map_cam, T_true)
    return Answer(errors.translation / depth, errors.rotation_deg, seconds)


def summary(answers: Sequence[Answer]) -> dict[str, float | None]:
    """Return recall at 2 %, 1 degree and the medians; None where half have no pose."""
    relative = np.array([one.relative for one in answers])
    rotation = np.array([one.rotation_deg for one in answers])
    medians = [float(np.median(values)) for values in (100.0 * relative, rotation)]
    return {
        'recall': float(np.mean((relative < 0.02) & (rotation < 1.0))),
        'median_percent': medians[0] if np.isfinite(medians[0]) else None,
        'median_deg': medians[1] if np.isfinite(medians[1]) else None,
        'median_seconds': float(np.median([one.seconds for one in answers])),
    }


def measure_scene(name: str, rows: Sequence[str], arguments) -> dict[str, Any]:
    """Return the figures of every row and method in one scene."""
    folder = arguments.work / name
    scene = small_scene(load_scene(name, arguments.data, arguments.work), folder)
    learned_s = learn_map(scene, folder / 'map', arguments.steps)
    begin_s = time.monotonic()
    peer = SiftPeer([_posed_photo(frame) for frame in scene.split('train')])
    peer_s = time.monotonic() - begin_s
    localizer = Localizer.load(folder / 'map')
    without = LocalizerConfig().without('sparse')
    methods = {
        PEER: peer_method(peer),
        OURS: our_method(localizer),
        FIELD_ONLY: our_method(Localizer(localizer.bundle, without)),
    }
    queries = spread(scene.split('test'), arguments.queries)
    depths = [median_depth_at(localizer, frame.camera, frame.T_map_cam) for frame in queries]
    progress = make_progress(False)
    progress.start(name, True)
    figures: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for done, row in enumerate(rows):
        answers: dict[str, list[Answer]] = {method: [] for method in methods}
        for number, (frame, depth) in enumerate(zip(queries, depths, strict=True)):
            image, camera = spoiled(row, frame, number)
            for method, localize in methods.items():
                answers[method].append(answer(localize, image, camera, frame.T_map_cam, depth))
        figures[row] = {method: summary(said) for method, said in answers.items()}
        details[row] = {
            method: {
                frame.name: _rounded(said)
                for frame, said in zip(queries, answers[method], strict=True)
            }
            for method in methods
        }
        progress.update(name, (done + 1) / len(rows), {}, None)
        print_row(name, row, figures[row])
    progress.close()
    return {
        'train_photos': len(scene.split('train')),
        'queries': len(queries),
        'seconds_to_learn': {OURS: round(learned_s, 1), PEER: round(peer_s, 1)},
        'peer_points': len(peer.points_N3),
        'rows': figures,
        'queries_by_row': details,
    }


def spread(frames: Sequence[Frame], count: int | None) -> list[Frame]:
    """Return at most so many frames, evenly spread."""
    rows = np.linspace(0, len(frames) - 1, min(count or len(frames), len(frames)))
    return [frames[row] for row in np.unique(rows.round().astype(int)).tolist()]


def _posed_photo(frame: Frame) -> PosedPhoto:
    return PosedPhoto(as_u8(frame.read_image()), frame.camera.K_33, frame.T_map_cam)


def _rounded(said: Answer) -> list[float | None]:
    values = (100.0 * said.relative, said.rotation_deg)
    return [round(value, 4) if np.isfinite(value) else None for value in values]


def print_row(scene: str, row: str, figures: dict[str, dict]) -> None:
    """Print recall, medians and seconds of each method."""
    cells = []
    for method, found in figures.items():
        percent, degrees = found['median_percent'], found['median_deg']
        medians = 'lost' if percent is None else f'{percent:.2f} %/{degrees:.2f}'
        cells.append(f'{method}: {found["recall"]:.2f} {medians} {found["median_seconds"]:.2f} s')
    print(f'{scene:<7} {row:<15} {" | ".join(cells)}', flush=True)


def verdicts(scenes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what must hold in every row, and whether it does."""
    rows = []
    for scene, content in scenes.items():
        for row, figures in content['rows'].items():
            ours, peer = figures[OURS], figures[PEER]
            floor = max(FLOORS.get(row, 0.0), peer['recall'])
            rows.append(verdict(f'{scene}, {row}: recall', ours['recall'], at_least=floor))
            if row in BLURRED:
                what, alone = f'{scene}, {row}: recall without sparse', figures[FIELD_ONLY]
                rows.append(verdict(what, alone['recall'], at_least=FIELD_FLOOR))
            if row == CLEAN:
                for key in ('median_percent', 'median_deg'):
                    what, bound = f'{scene}, clean: {key}', MEDIAN_RATIO * peer[key]
                    rows.append(verdict(what, ours[key], at_most=bound))
    return rows


def main() -> int:
    """Measure, print and write the results; return 1 when something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', type=Path, default=REPOSITORY.parent / 'shared' / 'data')
    parser.add_argument('--work', type=Path, default=REPOSITORY / 'out' / 'bench_peers')
    parser.add_argument('--scenes', nargs='+', choices=SCENES, default=list(SCENES))
    parser.add_argument('--rows', nargs='+', choices=[CLEAN, *DEGRADATIONS])
    parser.add_argument('--steps', type=int, default=800, help='to learn each map')
    parser.add_argument('--queries', type=int, help='in each scene at most, spread; default all')
    parser.add_argument('--no-results', action='store_true', help='only print')
    arguments = parser.parse_args()
    rows = arguments.rows or [CLEAN, *DEGRADATIONS]
    scenes = {name: measure_scene(name, rows, arguments) for name in arguments.scenes}
    required = verdicts(scenes)
    print_missed(required)
    if not arguments.no_results:
        document = {
            'steps': arguments.steps,
            'short_side': SHORT_SIDE,
            'queries': arguments.queries,
            'requirements': required,
            'scenes': scenes,
        }
        print(f'wrote {write_results("peers", document)}')
    return 0 if all_hold(required) else 1


if __name__ == '__main__':
    sys.exit(main())
