"""Safe files: whole folders or nothing, JSON with a schema, tensors without pickle.

A map is an untrusted download and a save may be cut off at any moment.  Every write goes to a
temporary name beside its target and is renamed when it is complete and on the disk.
"""

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import glob
import json
import os
from pathlib import Path
import secrets
import shutil

import safetensors
import safetensors.torch
import torch

from posefield.errors import BundleError

# How files begin that torch.load would unpickle: a zip archive or a bare pickle (protocol 2+).
PICKLE_STARTS = (b'PK\x03\x04', b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')

# What flock answers on file systems that have no locks; there the user keeps writers apart.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `path` when the block ends well.

    A crash at any moment leaves the whole old or the whole new folder; what it leaves beside
    them is cleared away by the next write, and put right by the next read.  An error in the
    block removes the temporary folder and leaves the old one.

    Args:
        path: the folder to make or to replace.  One that exists and is not empty must hold an
            index (a JSON file with `schema` and `kind`) of a kind that the new one holds too.

    Raises:
        BundleError: when the folder may not be replaced or cannot be written, as on a full disk.
    """
    path = Path(path).resolve()
    with _write_errors(path), _temporary_folder(path) as temporary:
        try:
            yield temporary
        except BundleError as error:
            # Name the file where the user expects it, not where it was being made.
            raise BundleError(str(error).replace(str(temporary), str(path))) from error
        _fsync_tree(temporary)
        _swap(temporary, path)


def ensure_replaceable(path: str | Path, *kinds: str) -> None:
    """Check early that `atomic_folder` may replace this folder, so that no work is lost late.

    Args:
        path: the folder to be made or replaced.
        kinds: what the new folder will be, such as `map`; without any, every index will do.

    Raises:
        BundleError: when the path is a file, a mount point, or a folder with other content.
    """
    path = Path(path).resolve()
    if not path.parent.is_dir():
        return
    with _write_errors(path), _locked(path.parent):
        _refuse_to_replace(path, set(kinds))


def recover_folder(path: str | Path) -> None:
    """Put the old folder back where a crash fell between renaming it away and the new one in."""
    path = Path(path).resolve()
    if path.exists() or not _set_aside(path).exists():
        return
    with _write_errors(path), _locked(path.parent):
        if not path.exists() and _set_aside(path).exists():
            _set_aside(path).rename(path)


def atomic_write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file so that a crash leaves the whole old or the whole new content.

    Raises:
        BundleError: when it cannot be written, as on a full disk; the old file is then kept.
    """
    path = Path(path).resolve()
    temporary = path.with_name(f'.{path.name}.new')
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            try:
                with temporary.open('wb') as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _fsync(path.parent)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file; see `atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode())


def write_json(path: str | Path, content: dict) -> None:
    """Write a JSON file for machines and people; see `atomic_write_bytes`.

    Raises:
        BundleError: for NaN, infinity or a type that JSON has not, too.
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f'{path} cannot be written as JSON: {error}.') from error
    atomic_write_text(path, text + '\n')


def read_json(path: str | Path, *, schema: int, kind: str) -> dict:
    """Read a JSON file that says what it is.

    Args:
        path: the file, such as `map.json`.
        schema: the newest schema that the caller understands.
        kind: what the file must be, such as `map`.

    Raises:
        BundleError: when it is missing, damaged, of another kind or of a newer schema.
    """
    content = _parse_json(path, _read_bytes(path))
    if content.get('kind') != kind:
        raise BundleError(f'{path} is of kind {content.get("kind")!r}, expected {kind!r}.')
    found = content.get('schema')
    if type(found) is not int or found < 1:
        raise BundleError(f'{path} has schema {found!r}, expected a whole number from 1.')
    if found > schema:
        raise BundleError(
            f'{path} has schema {found}, this posefield reads up to {schema}; update posefield.'
        )
    return content


def save_tensors(path: str | Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write named tensors as safetensors; see `atomic_write_bytes`."""
    own = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    atomic_write_bytes(path, safetensors.torch.save(own))


def load_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read named tensors from a safetensors file; nothing in it is ever executed.

    Raises:
        BundleError: when the file is missing, damaged, or a pickle in its place.
    """
    content = _read_bytes(path)
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        # Only now: the length of its header, 640 for one, lets a safetensors file begin so too.
        if content.startswith(PICKLE_STARTS):
            raise BundleError(
                f'{path} is a pickle or zip archive, expected safetensors; it was not opened, '
                'because a pickle can run any program.'
            ) from error
        raise BundleError(
            f'{path} is not a whole safetensors file ({len(content)} bytes found): {error}.'
        ) from error


def _read_bytes(path: str | Path) -> bytes:
    path = Path(path)
    recover_folder(path.parent)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(
            f'{path} is missing; the folder is incomplete or is something else.'
            if path.parent.is_dir()
            else f'{path.parent} does not exist, expected a folder with {path.name}.'
        ) from error
    except OSError as error:
        raise BundleError(f'{path} cannot be read: {error.strerror}.') from error


def _parse_json(path: str | Path, content: bytes) -> dict:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f'{path} is not whole JSON: {error}.') from error
    if not isinstance(parsed, dict):
        raise BundleError(f'{path} holds a {type(parsed).__name__}, expected a JSON object.')
    return parsed


def _refuse_to_replace(path: Path, kinds: set[str]) -> None:
    if os.path.ismount(path):
        raise BundleError(f'{path} is a mount point; choose a folder inside it.')
    if path.exists() and not path.is_dir():
        raise BundleError(f'{path} is a file, expected a folder or nothing there.')
    if not path.is_dir() or not any(path.iterdir()):
        return
    found = _kinds(path)
    if not found:
        raise BundleError(
            f"{path} has files that are not posefield's; choose another folder or empty it."
        )
    if kinds and not kinds & found:
        old, new = (' and a '.join(sorted(names)) for names in (found, kinds))
        raise BundleError(
            f'{path} holds a {old}, which a {new} would replace; choose another folder.'
        )


def _kinds(folder: Path) -> set[str]:
    """Return what a folder says it is, by the index files at its top."""
    kinds = set()
    for file in folder.glob('*.json'):
        try:
            content = _parse_json(file, file.read_bytes())
        except BundleError:
            continue  # A damaged file vouches for nothing.
        if isinstance(content.get('schema'), int) and isinstance(content.get('kind'), str):
            kinds.add(content['kind'])
    return kinds


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a write into a sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = f' ({error.filename})' if error.filename else ''
        raise BundleError(
            f'{path} could not be written: {reason}{where}; what was there before is unchanged.'
        ) from error


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the folder's advisory lock; gives False where another process has it (no wait)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Make `<sibling of path>/<name of path>`, and clear away the siblings that crashes left.

    The sibling is locked while in use, which tells it from one that was left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    sibling = path.with_name(f'.{path.name}.new-{secrets.token_hex(4)}')
    with contextlib.ExitStack() as stack:
        with _locked(path.parent):
            _refuse_to_replace(path, set())
            for left in path.parent.glob(f'.{glob.escape(path.name)}.new-*'):
                with _locked(left, wait=False) as abandoned:
                    if abandoned:
                        shutil.rmtree(left)
            if path.exists() and _set_aside(path).exists():
                shutil.rmtree(_set_aside(path))
            temporary = sibling / path.name
            temporary.mkdir(parents=True)
            stack.enter_context(_locked(sibling))
        try:
            yield temporary
        finally:
            with _locked(path.parent):
                # What cannot be deleted now is cleared away by the next write.
                shutil.rmtree(sibling, ignore_errors=True)


def _swap(temporary: Path, path: Path) -> None:
    """Put a complete folder in the place of the old one, and the old one in its place."""
    old = _set_aside(path)
    with _locked(path.parent):
        _refuse_to_replace(path, _kinds(temporary))
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        _fsync(path.parent)
        if old.exists():
            # There it is deleted; half deleted it must not be taken for a folder set aside.
            old.rename(temporary)


def _set_aside(path: Path) -> Path:
    """Return the name that the old folder has between the two renames."""
    return path.with_name(f'.{path.name}.old')


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_tree(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            _fsync(Path(root, name))
        _fsync(Path(root))
