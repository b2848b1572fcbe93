"""Importer of Cambridge Landmarks (Kendall et al., ICCV 2015).

A scene has images `seqN/frameNNNNN.png`, lists `dataset_train.txt` and `dataset_test.txt` with
poses, and the VisualSFM model `reconstruction.nvm`, whose focal lengths are for the images as
published, 1920 pixels wide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posefield.data.image_files import IMAGE_SUFFIXES, image_size
from posefield.data.pose_files import NamedPose, read_cambridge_poses
from posefield.data.scene import Frame, Scene, frame_name, with_found_masks
from posefield.data.splits import Splits, hold_out
from posefield.errors import DataError
from posefield.geometry.camera import Camera

LISTS = {'train': 'dataset_train.txt', 'test': 'dataset_test.txt'}
MODEL = 'reconstruction.nvm'
MODEL_WIDTH = 1920
# No camera of the benchmark is this far away (metres); GreatCourt lists one that is.
OUTLIER = 1e4
NVM_COLUMNS = 'file focal qw qx qy qz x y z radial 0'


@dataclass(frozen=True)
class NvmCamera:
    """The intrinsics of one image in a VisualSFM model.

    Attributes:
        focal: pixels.
        radial: r of undistorted = distorted (1 + r |distorted|^2), coordinates at depth 1.
    """

    focal: float
    radial: float


def read_cambridge(
    source: Path | str, *, focal: float | None = None, every: int | None = None
) -> Scene:
    """Read a scene of Cambridge Landmarks.

    Images without a file, and those listed more than 10 km away, are skipped and listed.

    Args:
        source: folder with `dataset_train.txt`.
        focal: of all images, pixels of the images as they are there, without distortion; None
            takes each image's own from `reconstruction.nvm`.
        every: hold out every N-th image; None takes the published lists.

    Raises:
        DataError, PoseError, CameraError: when what is there cannot be used.
    """
    source = Path(source)
    if not (source / LISTS['train']).is_file():
        raise DataError(f'{source} has no {LISTS["train"]}, expected a Cambridge Landmarks scene.')
    if focal is None and not (source / MODEL).is_file():
        raise DataError(
            f'{source} has no {MODEL}, which holds the focal lengths; give one with --focal.'
        )
    cameras = None if focal is not None else read_nvm_cameras(source / MODEL)
    frames: list[Frame] = []
    skipped: list[str] = []
    splits: Splits = {}
    for split, name in LISTS.items():
        poses = read_cambridge_poses(source / name) if (source / name).is_file() else []
        found = _find_images(source, poses, skipped)
        of_split = [_frame(source, path, pose, focal, cameras) for path, pose in found]
        frames += of_split
        if of_split:
            splits[split] = tuple(sorted(frame.name for frame in of_split))
    if 'train' not in splits:
        raise DataError(
            f'None of the images that {source / LISTS["train"]} lists can be used '
            f'(skipped: {", ".join(skipped[:3]) or "nothing"}).'
        )
    frames.sort(key=lambda frame: frame.name)
    names = [frame.name for frame in frames]
    return Scene(
        root=source,
        frames=with_found_masks(source, frames),
        splits=splits if every is None else hold_out(names, every),
        units='metres',
        skipped=tuple(skipped),
        provenance={
            'format': 'cambridge',
            'source': source.resolve().name,
            'focal': MODEL if focal is None else focal,
        },
    )


def read_nvm_cameras(path: Path) -> dict[str, NvmCamera]:
    """Return the cameras of a VisualSFM model (NVM_V3) by image name without suffix.

    Raises:
        DataError: when the file is no such model, or a line of a camera is wrong.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'The model {path} cannot be read: {error}.') from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered or not numbered[0][1].startswith('NVM_V3'):
        raise DataError(f'{path} is no VisualSFM model: its first line must begin with NVM_V3.')
    count = numbered[1][1].strip() if len(numbered) > 1 else ''
    if not count.isdigit():
        raise DataError(f'{path} must say how many cameras it has, found {count[:80]!r}.')
    listed = numbered[2 : 2 + int(count)]
    if len(listed) < int(count):
        raise DataError(
            f'The model {path} is cut short: it has {count} cameras but lines of {len(listed)}.'
        )
    return dict(_nvm_line(number, line, path) for number, line in listed)


def _nvm_line(number: int, line: str, path: Path) -> tuple[str, NvmCamera]:
    words = line.split()
    try:
        focal, *_, radial, _ = (float(word) for word in words[-10:])
    except ValueError:
        words = []
    if len(words) < 11:
        raise DataError(
            f'Line {number} of {path} must be "{NVM_COLUMNS}", found {line.strip()[:80]!r}.'
        )
    return _stem(' '.join(words[:-10])), NvmCamera(focal, radial)


def _find_images(
    source: Path, poses: Sequence[NamedPose], skipped: list[str]
) -> list[tuple[Path, NamedPose]]:
    """Return the images there are with their poses; the others are added to `skipped`."""
    found = []
    for pose in poses:
        name = frame_name(pose.name)
        path = source / name
        candidates = (path, *(path.with_suffix(suffix) for suffix in IMAGE_SUFFIXES))
        image = next((candidate for candidate in candidates if candidate.is_file()), None)
        distance = float(np.linalg.norm(pose.T_map_cam[:3, 3]))
        if distance > OUTLIER:
            skipped.append(f'{name} (listed {distance:.3g} m away)')
        elif image is None:
            skipped.append(name)
        else:
            found.append((image, pose))
    return found


def _frame(
    source: Path,
    path: Path,
    pose: NamedPose,
    focal: float | None,
    cameras: Mapping[str, NvmCamera] | None,
) -> Frame:
    width, height = image_size(path)
    distortion: tuple[float, ...] = ()
    if cameras is not None:
        camera = cameras.get(_stem(pose.name))
        if camera is None:
            raise DataError(
                f'The image {pose.name} is not in {source / MODEL}, which holds the focal '
                'lengths; give one for all with --focal.'
            )
        focal = camera.focal * max(width, height) / MODEL_WIDTH
        distortion = forward_distortion(camera.radial)
    model = 'plumb_bob' if distortion else 'pinhole'
    centre = (width - 1) / 2, (height - 1) / 2
    return Frame(
        name=frame_name(path.relative_to(source).as_posix()),
        image_path=path,
        camera=Camera(width, height, focal, focal, *centre, model, distortion),
        T_map_cam=pose.T_map_cam,
    )


def forward_distortion(radial: float) -> tuple[float, ...]:
    """Return k1, k2, p1, p2, k3 of a distortion that is given the other way round.

    VisualSFM has undistorted u = d (1 + r d^2).  Reversing the series gives
    d = u (1 - r u^2 + 3 r^2 u^4 - 12 r^3 u^6 + ...).
    """
    if radial == 0.0:
        return ()
    return (-radial, 3.0 * radial**2, 0.0, 0.0, -12.0 * radial**3)


def _stem(name: str) -> str:
    return name.rpartition('.')[0] or name
