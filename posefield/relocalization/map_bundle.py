"""A map on disk and in memory."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posefield import __version__
from posefield.errors import BundleError, CameraError
from posefield.features.extractors import DenseExtractor, extractor_tensors, load_extractor
from posefield.fields.act import BINS
from posefield.fields.exposed_field import field_of
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.radiance import RadianceField
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera
from posefield.relocalization.acceptance import AcceptanceModel
from posefield.relocalization.keyframes import Keyframe
from posefield.relocalization.photos import WorkingSizes
from posefield.relocalization.regressors.registry import load_regressor
from posefield.relocalization.regressors.regressor import PoseRegressor
from posefield.relocalization.retrieval import GlobalDescriptor
from posefield.relocalization.sparse_pose import SparseIndex
from posefield.storage import atomic_folder, load_tensors, read_json, save_tensors, write_json

# Schema 1 had a GridField and a compact regressor, and did not say so.
MAP_SCHEMA = 2
MAP_KIND = 'map'
# Descriptor entries are at most 1; the square root puts them well below 0.5.
DESCRIPTOR_SCALE = 400.0
# Further from the photos the growth of errors is not extrapolated.
MAX_CALIBRATED_DISTANCE = 1.5


@dataclass(frozen=True)
class Calibration:
    """What validation says about covariances and scores.

    Attributes:
        kappas: (a, b) by kind of pose, `sparse`, `field`, `keyframe` or `fused`: the factor on
            its covariance is a + b d^2 at a distance d from the map's photos.
        coarse_translation: rms error of regressed centres, field units per axis.
        coarse_rotation: rms error of regressed rotations, radians per axis.
        acceptance: scores poses.
    """

    kappas: Mapping[str, tuple[float, float]]
    coarse_translation: float
    coarse_rotation: float
    acceptance: AcceptanceModel

    def kappa(self, kind: str, distance: float) -> float:
        """Return the factor on a covariance.

        Wrong depth shifts what is seen by parallax, so errors grow with the distance between the
        query and the photos that the map was made of.

        Args:
            kind: of pose.
            distance: `KeyframeSet.distance` of it.
        """
        at_photo, growth = self.kappas[kind]
        return at_photo + growth * min(distance, MAX_CALIBRATED_DISTANCE) ** 2

    def to_dict(self) -> dict:
        """Return plain JSON values."""
        return {
            'kappas': {kind: list(pair) for kind, pair in self.kappas.items()},
            'coarse_translation': self.coarse_translation,
            'coarse_rotation': self.coarse_rotation,
            'acceptance': self.acceptance.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'Calibration':
        """Return the calibration that `to_dict` described."""
        return cls(
            {kind: (float(a), float(b)) for kind, (a, b) in values['kappas'].items()},
            float(values['coarse_translation']),
            float(values['coarse_rotation']),
            AcceptanceModel.from_dict(values['acceptance']),
        )


@dataclass(frozen=True)
class MapBundle:
    """Everything a Localizer needs; poses and points are in the field frame.

    Attributes:
        info: provenance and figures for people: units, preset, seed, seconds, counts.
        sizes: working sizes.
        transform: between the user's map frame and the field frame.
        scene_scale: typical distance from the cameras to what they see, field units.
        synthesizer, extractor, keyframes, sparse, regressor: the learned parts.
        histogram_10: mean luminance histogram of the photos, in percent: the exposure of views
            that are rendered without a query.
        regressor_camera: view of the regressor.
        reference_camera: view of retrieval.
        reference_descriptors_ND, T_field_reference_N44: of retrieval.
        calibration: of covariances and scores.
    """

    info: Mapping[str, Any]
    sizes: WorkingSizes
    transform: SceneTransform
    scene_scale: float
    synthesizer: FeatureSynthesizer
    histogram_10: torch.Tensor
    extractor_name: str
    extractor: DenseExtractor
    keyframes: list[Keyframe]
    sparse: SparseIndex
    regressor: PoseRegressor
    regressor_camera: Camera
    reference_camera: Camera
    reference_descriptors_ND: torch.Tensor
    T_field_reference_N44: np.ndarray
    calibration: Calibration

    @property
    def field(self) -> RadianceField:
        """Return what renders, at the mean exposure of the photos."""
        return field_of(self.synthesizer, self.histogram_10)

    def save(self, folder: Path) -> None:
        """Write the map; a crash at any moment leaves the old one or the new one, whole.

        Raises:
            BundleError: when it cannot be written.
        """
        with atomic_folder(folder) as part:
            write_json(part / 'map.json', self._index())
            save_tensors(part / 'field.safetensors', _halved(self.synthesizer))
            save_tensors(part / 'features.safetensors', extractor_tensors(self.extractor))
            save_tensors(part / 'regressor.safetensors', self.regressor.tensors())
            save_tensors(part / 'references.safetensors', self._references())

    def _index(self) -> dict:
        return {
            'schema': MAP_SCHEMA,
            'kind': MAP_KIND,
            'posefield_version': __version__,
            **self.info,
            'sizes': asdict(self.sizes),
            'field_short_side': self.sizes.field,
            'transform': asdict(self.transform),
            'scene_scale': self.scene_scale,
            'synthesizer': self.synthesizer.to_config(),
            'exposure_histogram': self.histogram_10.tolist(),
            'features': self.extractor_name,
            'regressor': {
                'kind': self.regressor.kind,
                'config': self.regressor.config.to_dict(),
                'camera': camera_to_dict(self.regressor_camera),
            },
            'reference_camera': camera_to_dict(self.reference_camera),
            'keyframe_cameras': [camera_to_dict(k.camera) for k in self.keyframes],
            'calibration': self.calibration.to_dict(),
        }

    def _references(self) -> dict[str, torch.Tensor]:
        tensors = {
            'sparse.points': torch.from_numpy(self.sparse.points_N3.astype(np.float32)),
            'sparse.sigmas': torch.from_numpy(self.sparse.sigmas_N.astype(np.float32)),
            'sparse.descriptors': quantised_descriptors(self.sparse.descriptors_N128),
            'retrieval.descriptors': self.reference_descriptors_ND.cpu().to(torch.float16),
            'retrieval.poses': torch.from_numpy(self.T_field_reference_N44.astype(np.float32)),
            'keyframes.poses': torch.from_numpy(
                np.stack([keyframe.T_field_cam for keyframe in self.keyframes])
            ),
        }
        for index, keyframe in enumerate(self.keyframes):
            tensors[f'keyframe.{index}.jpeg'] = torch.from_numpy(keyframe.jpeg)
            tensors[f'keyframe.{index}.depths'] = torch.from_numpy(keyframe.depths_hw)
            tensors[f'keyframe.{index}.trust'] = torch.from_numpy(keyframe.trust_hw)
        return tensors

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = 'cpu') -> 'MapBundle':
        """Read a map.

        Raises:
            BundleError: when it is damaged, unsafe, or of a newer version.
        """
        folder = Path(folder)
        index = read_json(folder / 'map.json', schema=MAP_SCHEMA, kind=MAP_KIND)
        try:
            return _loaded(folder, index, device)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            RuntimeError,
            CameraError,
        ) as error:
            raise BundleError(
                f'The map {folder} is damaged or of another version: {error}'
            ) from error


def _loaded(folder: Path, index: dict, device: torch.device | str) -> MapBundle:
    field_tensors = _floats(load_tensors(folder / 'field.safetensors'))
    if index['schema'] == 1:
        index, field_tensors = _from_schema_1(index, field_tensors)
    histogram_10 = torch.tensor(index['exposure_histogram'], dtype=torch.float32, device=device)
    if histogram_10.shape != (BINS,):
        raise ValueError(
            f'exposure_histogram has the shape {tuple(histogram_10.shape)}, expected ({BINS},)'
        )
    about = index['regressor']
    regressor_tensors = _floats(load_tensors(folder / 'regressor.safetensors'))
    try:
        synthesizer = FeatureSynthesizer.from_config(
            index['synthesizer'], torch.Generator(), field_tensors
        )
        regressor = load_regressor(about['kind'], about['config'], regressor_tensors)
    except BundleError as error:
        raise BundleError(f'The map {folder} cannot be used: {error}') from error
    extractor = _loaded_extractor(folder, index['features'], device)
    tensors = load_tensors(folder / 'references.safetensors')
    reference_camera = camera_from_dict(index['reference_camera'])
    _check_references(tensors, len(index['keyframe_cameras']), reference_camera)
    transform = index['transform']
    return MapBundle(
        info=index,
        sizes=WorkingSizes(**index['sizes']),
        transform=SceneTransform(**{**transform, 'centre': tuple(transform['centre'])}),
        scene_scale=float(index['scene_scale']),
        synthesizer=synthesizer.to(device).eval().requires_grad_(False),
        histogram_10=histogram_10,
        extractor_name=index['features'],
        extractor=extractor,
        keyframes=_loaded_keyframes(index, tensors),
        sparse=SparseIndex(
            tensors['sparse.points'].double().numpy(),
            tensors['sparse.sigmas'].double().numpy(),
            restored_descriptors(tensors['sparse.descriptors']),
        ),
        regressor=regressor.to(device),
        regressor_camera=camera_from_dict(about['camera']),
        reference_camera=reference_camera,
        reference_descriptors_ND=tensors['retrieval.descriptors'].to(torch.float32),
        T_field_reference_N44=tensors['retrieval.poses'].double().numpy(),
        calibration=Calibration.from_dict(index['calibration']),
    )


def _from_schema_1(
    index: dict, tensors: Mapping[str, torch.Tensor]
) -> tuple[dict, dict[str, torch.Tensor]]:
    """Return index and field tensors of an older map as they are written now."""
    return {
        **index,
        'synthesizer': {'kind': 'grid', 'field': index['field'], 'act': False, 'fusion': None},
        'exposure_histogram': [0] * BINS,
        'regressor': {
            'kind': 'compact',
            'config': index['regressor'],
            'camera': index['reference_camera'],
        },
    }, {f'field.{name}': tensor for name, tensor in tensors.items()}


def _loaded_extractor(folder: Path, name: str, device: torch.device | str) -> DenseExtractor:
    path = folder / 'features.safetensors'
    tensors = load_tensors(path)
    try:
        return load_extractor(name, tensors, device)
    except BundleError as error:
        raise BundleError(f'{path} cannot be used: {error}') from error


def _check_references(
    tensors: Mapping[str, torch.Tensor], keyframes: int, reference_camera: Camera
) -> None:
    """Check shapes, and the types of what is decoded, before anything relies on them.

    Raises:
        ValueError: naming the tensor, what was found and what is expected.
    """
    points, views = len(tensors['sparse.points']), len(tensors['retrieval.poses'])
    descriptor = GlobalDescriptor().length(reference_camera.width, reference_camera.height)
    expected: dict[str, tuple[int, ...]] = {
        'sparse.points': (points, 3),
        'sparse.sigmas': (points,),
        'sparse.descriptors': (points, 128),
        'retrieval.poses': (views, 4, 4),
        'retrieval.descriptors': (views, descriptor),
        'keyframes.poses': (max(keyframes, 1), 4, 4),
    }
    for number in range(keyframes):
        depths, trust = f'keyframe.{number}.depths', f'keyframe.{number}.trust'
        expected[depths] = (*tensors[depths].shape, 1, 1)[:2]
        expected[trust] = tuple(tensors[depths].shape)
        jpeg = f'keyframe.{number}.jpeg'
        expected[jpeg] = (tensors[jpeg].numel(),)
        for name in (trust, jpeg):
            if tensors[name].dtype != torch.uint8:
                raise ValueError(f'{name} is of {tensors[name].dtype}, expected torch.uint8')
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f'{name} has the shape {tuple(tensors[name].shape)}, expected {shape}'
            )


def _loaded_keyframes(index: dict, tensors: Mapping[str, torch.Tensor]) -> list[Keyframe]:
    poses = tensors['keyframes.poses'].double().numpy()
    return [
        Keyframe(
            T_field_cam=poses[number],
            camera=camera_from_dict(camera),
            jpeg=tensors[f'keyframe.{number}.jpeg'].numpy(),
            depths_hw=tensors[f'keyframe.{number}.depths'].numpy(),
            trust_hw=tensors[f'keyframe.{number}.trust'].numpy(),
        )
        for number, camera in enumerate(index['keyframe_cameras'])
    ]


def quantised_descriptors(descriptors_N128: torch.Tensor) -> torch.Tensor:
    """Return unit root-SIFT descriptors as uint8."""
    return (descriptors_N128 * DESCRIPTOR_SCALE).round().clamp(0, 255).to(torch.uint8)


def restored_descriptors(quantised_N128: torch.Tensor) -> torch.Tensor:
    """Return unit float32 descriptors from `quantised_descriptors`."""
    return torch.nn.functional.normalize(quantised_N128.to(torch.float32), dim=1)


def camera_to_dict(camera: Camera) -> dict:
    """Return a camera as JSON values."""
    return {**asdict(camera), 'distortion': list(camera.distortion)}


def camera_from_dict(values: Mapping[str, Any]) -> Camera:
    """Return the camera that `camera_to_dict` described."""
    numbers = {name: float(values[name]) for name in ('fx', 'fy', 'cx', 'cy')}
    if not all(math.isfinite(number) for number in numbers.values()):
        raise CameraError(f'Camera intrinsics must be finite, found {numbers}.')
    return Camera(
        int(values['width']),
        int(values['height']),
        **numbers,
        model=values['model'],
        distortion=tuple(values['distortion']),
    )


def _halved(synthesizer: FeatureSynthesizer) -> dict[str, torch.Tensor]:
    """Return weights in half precision; statistics, which span more magnitudes, as they are."""
    learned = {name for name, _ in synthesizer.named_parameters()}
    return {
        name: tensor.cpu().to(torch.float16 if name in learned else tensor.dtype)
        for name, tensor in synthesizer.tensors().items()
    }


def _floats(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
