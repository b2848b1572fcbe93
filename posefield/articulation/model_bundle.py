"""An articulated model on disk.

`model.json` says what it is, `structure.json` has links and joints (world units),
`weights.safetensors` the tensors, and `robot.urdf` with `meshes/` is for other programs.
"""

from collections.abc import Mapping
from dataclasses import asdict
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posefield import __version__
from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.kinematics import Skeleton
from posefield.articulation.merging import MergeLevel
from posefield.articulation.parts import PartMotion
from posefield.articulation.structure import JointReport, Structure, StructureReport
from posefield.articulation.surface import Surface
from posefield.articulation.urdf import write_urdf_files
from posefield.data.multiview import BACKGROUND_LEVELS
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import BundleError, PosefieldError
from posefield.geometry.poses import as_rigid
from posefield.learning.devices import select_device
from posefield.storage import atomic_folder, load_tensors, read_json, save_tensors, write_json

MODEL_SCHEMA = 1
MODEL_KIND = 'model'
STRUCTURE_KIND = 'structure'


def save_model(model: ArticulatedModel, folder: str | Path) -> None:
    """Write a model; a crash at any moment leaves the old one or the new one, whole.

    Raises:
        BundleError: when it cannot be written.
    """
    with atomic_folder(folder) as part:
        index = {
            'schema': MODEL_SCHEMA,
            'kind': MODEL_KIND,
            'posefield_version': __version__,
            **model.info,
            'normalisation': model.normalisation.to_dict(),
            'background': model.background,
            'surface': model.surface.to_config(),
        }
        write_json(part / 'model.json', index)
        write_json(part / 'structure.json', _structure_index(model))
        save_tensors(part / 'weights.safetensors', _tensors(model))
        write_urdf_files(model.structure, model.geometries(), part, name=Path(folder).name)


def load_model(folder: str | Path, device: str | torch.device = 'cpu') -> ArticulatedModel:
    """Read a model; its URDF and meshes are not needed.

    Args:
        folder: of the model.
        device: where it renders: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        BundleError: when it is damaged, unsafe, or of a newer version.
        LearningError: when there is no such device.
    """
    folder = Path(folder)
    index = read_json(folder / 'model.json', schema=MODEL_SCHEMA, kind=MODEL_KIND)
    structure = read_json(folder / 'structure.json', schema=MODEL_SCHEMA, kind=STRUCTURE_KIND)
    tensors = load_tensors(folder / 'weights.safetensors')
    try:
        model = _loaded(index, structure, tensors)
        model.surface.to(select_device(str(device)))
    except (PosefieldError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f'The model {folder} is damaged or of another version: {error}'
        ) from error
    return model


def _loaded(index: dict, structure: dict, tensors: Mapping[str, torch.Tensor]) -> ArticulatedModel:
    motion = PartMotion.from_tensors(_below(tensors, 'motion.'))
    normalisation = SceneNormalisation.from_dict(index['normalisation'])
    surface = Surface.from_config(index['surface'], _below(tensors, 'surface.'))
    if len(surface.raw_radii_P3) != motion.parts:
        raise BundleError(
            f'the surface has {len(surface.raw_radii_P3)} parts, expected {motion.parts}'
        )
    if index['background'] not in BACKGROUND_LEVELS:
        raise BundleError(f'the background is {index["background"]!r}, expected white or black')
    return ArticulatedModel(
        info=index,
        normalisation=normalisation,
        motion=motion,
        found=_loaded_structure(structure, _below(tensors, 'structure.'), motion),
        surface=surface.eval().requires_grad_(False),
        background=index['background'],
    )


def _structure_index(model: ArticulatedModel) -> dict[str, Any]:
    report = model.found.report
    joints = [{**asdict(joint), 'evidence': _finite(joint.evidence)} for joint in report.joints]
    levels = [{**asdict(level), 'motion': _finite(level.motion)} for level in report.levels]
    return {
        'schema': MODEL_SCHEMA,
        'kind': STRUCTURE_KIND,
        'skeleton': model.structure.to_dict(),
        'report': {'noise': report.noise, 'levels': levels, 'joints': joints},
    }


def _finite(value: float) -> float | None:
    """Return what JSON can hold; None stands for infinity."""
    return value if math.isfinite(value) else None


def _loaded_structure(
    index: dict, tensors: Mapping[str, torch.Tensor], motion: PartMotion
) -> Structure:
    skeleton = Skeleton.from_dict(index['skeleton'])
    parts = sorted(part for link in skeleton.links for part in link.parts)
    if parts != list(range(motion.parts)):
        raise BundleError(f'the links have the parts {parts}, expected 0 to {motion.parts - 1}')
    frames = len(motion.frames_F)
    expected = {
        'link_part': (motion.parts, 4, 4),
        'positions': (frames, len(skeleton.movable)),
        'root': (frames, 4, 4),
    }
    arrays = {name: tensors[name].double().numpy() for name in expected}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise BundleError(
                f'structure.{name} has the shape {arrays[name].shape}, expected {shape}'
            )
        if not np.isfinite(arrays[name]).all():
            raise BundleError(f'structure.{name} has numbers that are not finite')
    for name in ('link_part', 'root'):
        for T in arrays[name]:
            as_rigid(T, f'structure.{name}')
    return Structure(
        skeleton,
        arrays['link_part'],
        arrays['positions'],
        arrays['root'],
        _loaded_report(index['report']),
    )


def _loaded_report(values: Mapping[str, Any]) -> StructureReport:
    levels = tuple(
        MergeLevel(
            int(level['bodies']),
            tuple(tuple(int(part) for part in group) for group in level['members']),
            math.inf if level['motion'] is None else float(level['motion']),
        )
        for level in values['levels']
    )
    joints = tuple(
        JointReport(
            **{
                **joint,
                'evidence': math.inf if joint['evidence'] is None else joint['evidence'],
            }
        )
        for joint in values['joints']
    )
    return StructureReport(float(values['noise']), levels, joints)


def _tensors(model: ArticulatedModel) -> dict[str, torch.Tensor]:
    structure = model.found
    tensors = {f'motion.{name}': t for name, t in model.motion.to_tensors().items()}
    tensors |= {f'surface.{name}': t for name, t in model.surface.state_dict().items()}
    tensors['structure.link_part'] = torch.from_numpy(structure.T_link_part_P44)
    tensors['structure.positions'] = torch.from_numpy(structure.positions_FD)
    tensors['structure.root'] = torch.from_numpy(structure.T_scene_root_F44)
    return tensors


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n[len(prefix) :]: tensor for n, tensor in tensors.items() if n.startswith(prefix)}
