"""Absolute pose regressors on one map: what random view synthesis is worth.

All regressors get the same photos of the simulated room, the same time and the small networks of
the preset `cpu`; DFNet also gets what the map's field renders.  Poses are the networks' own,
nothing refines them.  Writes `results/regressors_<date>_<device>.json`.
"""

import argparse
from dataclasses import replace
import os
from pathlib import Path
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
from provenance import REPOSITORY, write_results
from scenes import learn_map, load_scene, small_scene
import torch

from posefield.data.scene import Scene
from posefield.geometry.poses import pose_errors
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.progress import make_progress
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.map_budget import MapBudget
from posefield.relocalization.map_bundle import MapBundle
from posefield.relocalization.map_regressor import (
    RegressorSources,
    frame_views,
    learn_regressor,
)
from posefield.relocalization.mapping_run import MappingRun
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.presets import PRESETS, PresetOptions
from posefield.relocalization.reference_view import reference_camera, to_reference_view
from posefield.relocalization.regressors.regressor import PoseRegressor

POSENET, DFNET, DFNET_NO_VIEWS = 'posenet', 'dfnet', 'dfnet without random views'


def train(
    name: str, bundle: MapBundle, scene: Scene, seconds: float, seed: int, scratch: Path
) -> tuple[PoseRegressor, Any]:
    """Return a regressor trained for so long on the training photos, and its camera."""
    kind = name.split()[0]
    preset = PresetOptions(regressor=kind).applied(replace(PRESETS['cpu'], regressor_share=1.0))
    if name == DFNET_NO_VIEWS:
        stage = replace(preset.regressor.stage, view_weight=0.0)
        preset = replace(preset, regressor=replace(preset.regressor, stage=stage))
    run = MappingRun(
        seed,
        torch.device('cpu'),
        make_progress(False),
        threading.Event(),
        CheckpointStore(scratch / name.replace(' ', '_')),
        preset=preset,
        budget=MapBudget(preset, seconds=seconds),
    )
    frames = scene.split('train')
    camera = reference_camera([f.camera for f in frames], preset.regressor.short_side)
    poses = np.stack([frame.T_map_cam for frame in frames])
    photos = frame_views(frames, camera, bundle.transform, poses)
    sources = RegressorSources(
        camera=camera,
        photos=photos,
        validation=None,
        rendered=photos,
        synthesizer=bundle.synthesizer,
        transform=bundle.transform,
        scene_scale=bundle.scene_scale,
        others={},
        scene='room',
    )
    regressor = learn_regressor(run, sources)
    run.progress.close()
    return regressor, camera


def errors(regressor: PoseRegressor, camera, bundle: MapBundle, scene: Scene) -> np.ndarray:
    """Return errors (N, 2) on the test photos: map units and degrees."""
    found = []
    for frame in scene.split('test'):
        image = SizedImage(frame.read_image(), frame.camera)
        view = torch.from_numpy(to_reference_view(image, camera))
        T_map_cam = bundle.transform.camera_to_map(regressor.pose(view).numpy())
        error = pose_errors(T_map_cam, frame.T_map_cam)
        found.append([error.translation, error.rotation_deg])
    return np.array(found)


def main() -> int:
    """Train, measure and write the results; return 1 when random views do not help."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get('POSEFIELD_DATA', REPOSITORY.parent / 'shared' / 'data'))
    parser.add_argument('--work', type=Path, default=REPOSITORY / 'out' / 'bench_peers')
    parser.add_argument('--steps', type=int, default=800, help='to learn the map')
    parser.add_argument('--minutes', type=float, default=3.0, help='to train each regressor')
    parser.add_argument('--seeds', type=int, default=2)
    parser.add_argument('--no-results', action='store_true', help='only print')
    options = parser.parse_args()
    folder = options.work / 'room'
    scene = small_scene(load_scene('room', data, options.work), folder)
    learn_map(scene, folder / 'map', options.steps)
    bundle = Localizer.load(folder / 'map').bundle
    figures: dict[str, list[dict[str, float]]] = {}
    for name in (POSENET, DFNET, DFNET_NO_VIEWS):
        figures[name] = []
        for seed in range(options.seeds):
            begin_s = time.monotonic()
            with tempfile.TemporaryDirectory() as scratch:
                trained, camera = train(
                    name, bundle, scene, 60.0 * options.minutes, seed, Path(scratch)
                )
            median = np.median(errors(trained, camera, bundle, scene), axis=0)
            row = {
                'median_m': float(median[0]),
                'median_deg': float(median[1]),
                'seconds': round(time.monotonic() - begin_s, 1),
            }
            figures[name].append(row)
            print(f'{name}, seed {seed}: {median[0]:.3f} m, {median[1]:.2f} deg', flush=True)
    worst = max(row['median_m'] for row in figures[DFNET])
    best = min(row['median_m'] for row in figures[POSENET])
    holds = worst < best
    verdict = 'ok' if holds else 'MISSED'
    print(f'dfnet {worst:.3f} m at worst, posenet {best:.3f} m at best: {verdict}')
    if not options.no_results:
        content = {'minutes': options.minutes, 'regressors': figures, 'holds': holds}
        print(f'wrote {write_results("regressors", content)}')
    return 0 if holds else 1


if __name__ == '__main__':
    sys.exit(main())
