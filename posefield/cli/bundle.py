"""posefield bundle: look into maps and models."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help='Look into maps and models.', no_args_is_help=True)

# Index file -> the kind of folder it makes.
INDEX_FILES = {
    'map.json': 'map',
    'scene.json': 'scene',
    'model.json': 'model',
    'multiview.json': 'multiview',
}


@app.callback()
def _group() -> None:
    """Keep `info` a subcommand although it is the only one so far."""


@app.command()
def info(
    folder: Annotated[
        Path, typer.Argument(metavar='DIR', help='Map, model, scene or recording folder.')
    ],
    as_json: Annotated[bool, typer.Option('--json', help='Print JSON.')] = False,
) -> None:
    """Say what is in a bundle and how large it is."""
    index, sizes = read_bundle(folder)
    total = sum(sizes.values())
    if as_json:
        typer.echo(json.dumps({**index, 'files': sizes, 'bytes': total}, indent=2))
        return
    typer.echo(f'{folder}: {index["kind"]}, {total / 1e6:.2f} MB')
    for name, value in index.items():
        if isinstance(value, str | int | float | bool) and name != 'kind':
            typer.echo(f'  {name:<24} {value}')
    typer.echo('files')
    for name, size in sizes.items():
        typer.echo(f'  {name:<24} {size / 1e6:.3f} MB')


def newest_schema(kind: str) -> int:
    """Return the newest schema of a kind of bundle that this version reads."""
    if kind == 'map':
        from posefield.relocalization.map_bundle import MAP_SCHEMA

        return MAP_SCHEMA
    if kind == 'model':
        from posefield.articulation.model_bundle import MODEL_SCHEMA

        return MODEL_SCHEMA
    if kind == 'multiview':
        from posefield.data.multiview import MULTIVIEW_SCHEMA

        return MULTIVIEW_SCHEMA
    from posefield.data.scene import SCENE_SCHEMA

    return SCENE_SCHEMA


def read_bundle(folder: Path) -> tuple[dict, dict[str, int]]:
    """Return the index of a bundle and the bytes of each file; a scene's images are added up.

    Raises:
        BundleError: when the folder is no bundle, or one that this version cannot read.
    """
    from posefield.errors import BundleError
    from posefield.storage import read_json, recover_folder

    recover_folder(folder)
    for name, kind in INDEX_FILES.items():
        if (folder / name).is_file():
            index = read_json(folder / name, schema=newest_schema(kind), kind=kind)
            break
    else:
        raise BundleError(f'{folder} is no bundle: expected one of {", ".join(INDEX_FILES)}.')
    sizes: dict[str, int] = {}
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            name = path.relative_to(folder).parts[0]
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return index, sizes
