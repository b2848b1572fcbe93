"""Which frames teach a map and which are held out."""

from collections.abc import Iterable, Mapping, Sequence
import json
from pathlib import Path

from posefield.errors import DataError

DEFAULT_HOLD_OUT = 6

Splits = dict[str, tuple[str, ...]]


def hold_out(names: Iterable[str], every: int = DEFAULT_HOLD_OUT) -> Splits:
    """Return train and test splits: test is every N-th name in order, starting with the first.

    Args:
        names: frame names; they are sorted here.
        every: N, at least 2; 0 holds nothing out.

    Raises:
        DataError: for a negative number or 1, which would leave nothing to train on.
    """
    names = sorted(names)
    if every == 0:
        return {'train': tuple(names)}
    if every < 2:
        raise DataError(f'Holding out every N-th image needs N of at least 2 (or 0), got {every}.')
    test = set(names[::every])
    return {
        'train': tuple(name for name in names if name not in test),
        'test': tuple(name for name in names if name in test),
    }


def hold_out_validation(splits: Splits, every: int) -> Splits:
    """Return splits whose `val` is every N-th training name in order, starting with the first.

    What is chosen on `val` (when to stop, which settings) then owes nothing to `test`.

    Args:
        splits: with `train`; the other splits stay as they are.
        every: N, at least 2.

    Raises:
        DataError: for a number below 2, or splits that have a `val` of their own already.
    """
    if every < 2:
        raise DataError(
            f'Validating on every N-th training image needs N of at least 2, got {every}.'
        )
    if 'val' in splits:
        raise DataError(
            f'The source has a val split of its own ({len(splits["val"])} images); leave out '
            '--validation.'
        )
    held_out = hold_out(splits['train'], every)
    return {**splits, 'train': held_out['train'], 'val': held_out['test']}


def read_split_file(path: Path, split_name: str | None) -> dict[str, list[str]]:
    """Return the lists of one named split in a JSON file {name: {train: [...], test: [...]}}.

    Args:
        path: the file; a file that holds `train` and `test` directly needs no name.
        split_name: which of its splits.

    Raises:
        DataError: when the file or the split in it cannot be used.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f'The split file {path} cannot be read: {error}.') from error
    if not isinstance(content, dict):
        raise DataError(f'The split file {path} must hold an object, found a list or number.')
    lists = content if split_name is None else content.get(split_name)
    if not isinstance(lists, dict) or not isinstance(lists.get('train'), list):
        found = ', '.join(sorted(content)) or 'nothing'
        raise DataError(
            f'The split file {path} has no split {split_name or "(unnamed)"} with a train list, '
            f'found {found}.'
        )
    return lists


def match_names(
    lists: Mapping[str, Sequence[str]], names: Iterable[str], source: str
) -> tuple[Splits, tuple[str, ...]]:
    """Return splits with the scene's own frame names, and the listed names that it lacks.

    A listed name matches a frame of the same name with or without its last suffix.

    Args:
        lists: split name to listed image names.
        names: frame names of the scene.
        source: where the lists are from, for the message.

    Raises:
        DataError: when a list matches no frame at all.
    """
    by_name: dict[str, str] = {}
    for name in names:
        by_name[name] = name
        by_name[name.rpartition('.')[0]] = name
    splits: Splits = {}
    missing: list[str] = []
    for split, listed in lists.items():
        found = [by_name.get(name) or by_name.get(name.rpartition('.')[0]) for name in listed]
        missing += [name for name, match in zip(listed, found, strict=True) if match is None]
        splits[split] = tuple(dict.fromkeys(match for match in found if match is not None))
        if listed and not splits[split]:
            raise DataError(
                f'None of the {len(listed)} images that {source} lists for {split} is there '
                f'(the first is {listed[0]}).'
            )
    return splits, tuple(missing)
