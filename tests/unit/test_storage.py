"""Saving and loading: nothing is lost, nothing is executed, everything wrong is named."""

import errno
import json
import os
from pathlib import Path
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch

from posefield import storage
from posefield.errors import BundleError


class _CreatesFile:
    """A pickle of this makes a file as soon as it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _write_map(folder: Path, version: int) -> None:
    storage.write_json(folder / 'map.json', {'schema': 1, 'kind': 'map', 'version': version})
    storage.save_tensors(folder / 'field.safetensors', {'grid': torch.full((64, 4), version)})


def _save_map(path: Path, version: int) -> None:
    with storage.atomic_folder(path) as folder:
        _write_map(folder, version)


def _map_version(path: Path) -> int:
    """Load a map whole and return its version; its two files must agree."""
    version = storage.read_json(path / 'map.json', schema=1, kind='map')['version']
    grid = storage.load_tensors(path / 'field.safetensors')['grid']
    assert grid.shape == (64, 4)
    assert (grid == version).all()
    return version


def test_tensors_round_trip(tmp_path):
    tensors = {
        'half': torch.randn(3, 4).half(),
        'transposed': torch.arange(6).reshape(2, 3).T,
        'bytes': torch.arange(5, dtype=torch.uint8),
        'scalar': torch.tensor(2.5),
        'empty': torch.zeros(0, 3),
    }
    tensors['shared'] = tensors['half']
    storage.save_tensors(tmp_path / 'weights.safetensors', tensors)
    loaded = storage.load_tensors(tmp_path / 'weights.safetensors')
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


PICKLES = ['torch zip', 'torch legacy', *range(pickle.HIGHEST_PROTOCOL + 1)]


@pytest.mark.parametrize('form', PICKLES)
def test_pickle_in_place_of_safetensors_is_never_executed(tmp_path, form):
    proof = tmp_path / 'executed'
    path = tmp_path / 'field.safetensors'
    if isinstance(form, int):
        path.write_bytes(pickle.dumps(_CreatesFile(proof), protocol=form))
    else:
        zipped = form == 'torch zip'
        torch.save(_CreatesFile(proof), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BundleError, match='field.safetensors.*safetensors'):
        storage.load_tensors(path)
    assert not proof.exists()
    if isinstance(form, int):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path.rename(tmp_path / 'field.pt'), weights_only=False)
    assert proof.exists(), 'the bait does not work, so this test would prove nothing'


def test_tensors_are_read_whatever_their_header_is_long(tmp_path):
    """Some lengths are the first bytes of a pickle."""
    path, starts = tmp_path / 'field.safetensors', set()
    for length in range(568, 600, 4):
        name = 'n' * length
        storage.save_tensors(path, {name: torch.ones(1)})
        starts.add(path.read_bytes()[:2])
        assert list(storage.load_tensors(path)) == [name]
    assert starts & set(storage.PICKLE_STARTS)


def test_every_truncation_of_a_tensor_file_is_an_error(tmp_path):
    path = tmp_path / 'field.safetensors'
    storage.save_tensors(path, {'grid': torch.ones(7, 3), 'bias': torch.zeros(2)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError, match=f'{path}.*{length} bytes'):
            storage.load_tensors(path)


def test_missing_files_and_folders_are_named(tmp_path):
    (tmp_path / 'map').mkdir()
    with pytest.raises(BundleError, match='map/field.safetensors is missing.*incomplete'):
        storage.load_tensors(tmp_path / 'map' / 'field.safetensors')
    with pytest.raises(BundleError, match='nowhere does not exist, expected a folder'):
        storage.read_json(tmp_path / 'nowhere' / 'map.json', schema=1, kind='map')
    with pytest.raises(BundleError, match='map cannot be read: Is a directory'):
        storage.load_tensors(tmp_path / 'map')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"schema": 1, "kind": "ma', 'not whole JSON'),
        ('', 'not whole JSON'),
        ('\xff', 'not whole JSON'),
        ('[' * 100_000, 'not whole JSON'),
        ('[1, 2]', 'holds a list, expected a JSON object'),
        ('{"schema": 3, "kind": "map"}', 'has schema 3, this posefield reads up to 2'),
        ('{"schema": "1", "kind": "map"}', "has schema '1', expected a whole number"),
        ('{"schema": true, "kind": "map"}', 'has schema True, expected a whole number'),
        ('{"schema": 0, "kind": "map"}', 'has schema 0, expected a whole number'),
        ('{"kind": "map"}', 'has schema None, expected a whole number'),
        ('{"schema": 1, "kind": "scene"}', "is of kind 'scene', expected 'map'"),
        ('{"schema": 1}', "is of kind None, expected 'map'"),
    ],
)
def test_wrong_json_is_a_sentence(tmp_path, content, message):
    path = tmp_path / 'map.json'
    path.write_text(content, encoding='latin-1')
    with pytest.raises(BundleError, match=message) as caught:
        storage.read_json(path, schema=2, kind='map')
    assert str(path) in str(caught.value)


def test_older_schema_is_read(tmp_path):
    storage.write_json(tmp_path / 'map.json', {'schema': 1, 'kind': 'map', 'size': 2.5})
    assert storage.read_json(tmp_path / 'map.json', schema=2, kind='map')['size'] == 2.5


@pytest.mark.parametrize('value', [float('nan'), float('inf'), torch.zeros(1), {1, 2}])
def test_json_that_others_cannot_read_is_refused_and_the_old_file_kept(tmp_path, value):
    path = tmp_path / 'metrics.json'
    storage.write_json(path, {'error': 1.0})
    with pytest.raises(BundleError, match='metrics.json cannot be written as JSON'):
        storage.write_json(path, {'error': value})
    assert json.loads(path.read_text()) == {'error': 1.0}


def test_folder_is_replaced_whole(tmp_path):
    path = tmp_path / 'new' / 'map'
    with storage.atomic_folder(path) as folder:
        _write_map(folder, 1)
        (folder / 'images').mkdir()
        (folder / 'images' / 'a.txt').write_text('only in the first')
        assert not path.exists()
    _save_map(path, 2)
    assert _map_version(path) == 2
    assert sorted(os.listdir(path)) == ['field.safetensors', 'map.json']
    assert os.listdir(path.parent) == ['map']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_while_saving_keeps_the_old_folder(tmp_path, error):
    path = tmp_path / 'map'
    _save_map(path, 1)
    with pytest.raises(error), storage.atomic_folder(path) as folder:
        storage.save_tensors(folder / 'field.safetensors', {'grid': torch.zeros(1)})
        raise error
    assert _map_version(path) == 1
    assert os.listdir(tmp_path) == ['map']


def test_relative_paths_links_and_odd_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to('real [1]*', target_is_directory=True)
    _save_map(Path('real [1]*'), 1)
    _save_map(Path('link'), 2)
    assert _map_version(tmp_path / 'real [1]*') == 2
    assert sorted(os.listdir(tmp_path)) == ['link', 'real [1]*']


def test_folders_that_are_not_ours_are_not_replaced(tmp_path):
    home = tmp_path / 'home'
    home.mkdir()
    (home / 'thesis.tex').write_text('years of work')
    (home / 'package.json').write_text('{"name": "not an index"}')
    with pytest.raises(BundleError, match='home has files that are not'):
        _save_map(home, 1)
    assert (home / 'thesis.tex').read_text() == 'years of work'

    (tmp_path / 'file').write_text('text')
    with pytest.raises(BundleError, match='file is a file, expected a folder'):
        _save_map(tmp_path / 'file', 1)
    with pytest.raises(BundleError, match='mount point'):
        storage.ensure_replaceable('/')


def test_a_map_does_not_replace_a_scene(tmp_path):
    scene = tmp_path / 'scene'
    with storage.atomic_folder(scene) as folder:
        storage.write_json(folder / 'scene.json', {'schema': 1, 'kind': 'scene'})
    with pytest.raises(BundleError, match='holds a scene, which a map would replace'):
        storage.ensure_replaceable(scene, 'map')
    with pytest.raises(BundleError, match='holds a scene, which a map would replace'):
        _save_map(scene, 1)
    storage.ensure_replaceable(scene, 'scene')
    assert os.listdir(scene) == ['scene.json']


def test_full_disk_keeps_the_old_folder(tmp_path, monkeypatch):
    path = tmp_path / 'map'
    _save_map(path, 1)

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, 'fsync', no_space)
    expected = f'{path}/map.json could not be written: No space left on device; what was'
    with pytest.raises(BundleError, match=expected):
        _save_map(path, 2)
    monkeypatch.undo()
    assert _map_version(path) == 1
    assert os.listdir(tmp_path) == ['map']
    assert sorted(os.listdir(path)) == ['field.safetensors', 'map.json']


def test_file_size_limit_while_saving_keeps_the_old_file(tmp_path):
    """A real refusal of the kernel in the middle of a write, as a full disk gives."""
    path = tmp_path / 'big.safetensors'
    storage.save_tensors(path, {'x': torch.ones(4)})
    script = """
        import resource, signal, sys, torch
        from posefield import errors, storage
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            storage.save_tensors(sys.argv[1], {'x': torch.ones(1_000_000)})
        except errors.BundleError as error:
            print(error)
    """
    done = _run_python(script, path)
    assert 'big.safetensors could not be written: File too large' in done.stdout, done.stderr
    assert torch.equal(storage.load_tensors(path)['x'], torch.ones(4))
    assert os.listdir(tmp_path) == ['big.safetensors']


def test_kill_at_every_line_of_a_save_leaves_a_whole_map(tmp_path):
    """Fork a save for every line of storage.py that it runs and SIGKILL it there."""
    script = """
        import os, signal, sys
        sys.path.insert(0, sys.argv[2])
        from pathlib import Path
        from posefield import storage
        from test_storage import _map_version, _save_map

        path = Path(sys.argv[1])
        _save_map(path, 0)

        def save_and_die(at_line):
            lines = 0
            def trace(frame, event, argument):
                nonlocal lines
                if frame.f_code.co_filename != storage.__file__:
                    return None
                lines += event == 'line'
                if lines == at_line:
                    os.kill(os.getpid(), signal.SIGKILL)
                return trace
            sys.settrace(trace)
            _save_map(path, at_line)
            os._exit(0)

        versions, status, line, before = [], signal.SIGKILL, 0, 0
        while os.WTERMSIG(status) == signal.SIGKILL:
            line += 1
            child = os.fork()
            if not child:
                save_and_die(line)
            _, status = os.waitpid(child, 0)
            version = _map_version(path)
            assert version in (before, line), (version, before, line)
            versions.append(version == line)
            if line % 3 == 0:
                _save_map(path, line)
            before = _map_version(path)
            left = [name for name in os.listdir(path.parent) if name != path.name]
            assert len(left) <= 2, left
        assert os.WEXITSTATUS(status) == 0
        _save_map(path, -1)
        assert os.listdir(path.parent) == [path.name], os.listdir(path.parent)
        print(line, sum(versions))
    """
    done = _run_python(script, tmp_path / 'maps' / 'map', Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    lines, replaced = map(int, done.stdout.split())
    assert lines > 100
    assert 1 < replaced < lines / 2


def test_concurrent_writers_leave_one_whole_map(tmp_path):
    script = """
        import os, sys
        sys.path.insert(0, sys.argv[2])
        from pathlib import Path
        from test_storage import _map_version, _save_map
        path = Path(sys.argv[1])
        for writer in range(4):
            if not os.fork():
                for turn in range(10):
                    _save_map(path, 10 * writer + turn)
                os._exit(0)
        print(sum(os.wait()[1] for _ in range(4)))
        _map_version(path)
    """
    done = _run_python(script, tmp_path / 'map', Path(__file__).parent)
    assert done.stdout.strip() == '0', done.stderr
    assert os.listdir(tmp_path) == ['map']


def test_a_reader_never_takes_away_a_folder_in_the_middle_of_a_swap(tmp_path):
    """Between the two renames of a live writer a reader waits instead of undoing the first."""
    path = tmp_path / 'map'
    _save_map(path, 1)
    path.rename(tmp_path / '.map.old')
    with storage._locked(tmp_path):
        script = f'from posefield import storage; storage.recover_folder({str(path)!r})'
        reader = subprocess.Popen(
            [sys.executable, '-c', script],
            cwd=Path(storage.__file__).parents[1],
        )
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(timeout=3)
        assert not path.exists()
    assert reader.wait(timeout=60) == 0
    assert _map_version(path) == 1


def _run_python(script: str, *arguments: object) -> subprocess.CompletedProcess:
    root = Path(storage.__file__).parents[1]
    return subprocess.run(
        [sys.executable, '-c', textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
    )
