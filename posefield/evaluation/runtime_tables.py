"""Tables of how long an image takes, and what that time goes to."""

from collections.abc import Sequence

from posefield.evaluation.published import NEFES_RUNTIME
from posefield.evaluation.relocalization_report import milliseconds
from posefield.evaluation.run_figures import RunFigures
from posefield.evaluation.tables import NONE, Table, by_scene, significant


def runtime_table(runs: Sequence[RunFigures], published: bool) -> Table:
    """Return how long an image took, a row for each run."""
    rows = [
        (
            run.scene.name,
            run.method,
            milliseconds(run.seconds[0]),
            milliseconds(run.seconds[1]),
            significant(run.frames_per_second),
            significant(run.renders),
            NONE if run.max_renders is None else str(run.max_renders),
            run.machine or NONE,
        )
        for run in by_scene(runs)
    ]
    notes = ()
    if published:
        seconds = NEFES_RUNTIME.seconds_per_image
        iterations = str(NEFES_RUNTIME.iterations)
        rows.append(
            (
                NONE,
                f'{NEFES_RUNTIME.method}, published',
                milliseconds(seconds),
                NONE,
                significant(1 / seconds),
                iterations,
                iterations,
                'a GPU that is not named',
            )
        )
        notes = (
            f'Published time: {iterations} iterations of {milliseconds(seconds / 50)} '
            f'({NEFES_RUNTIME.source}).',
        )
    header = (
        'scene',
        'method',
        'median',
        '95 % within',
        'images per second',
        'renders',
        'most renders',
        'machine',
    )
    return Table('Time per image', header, tuple(rows), notes, text_columns=2)


def stage_table(runs: Sequence[RunFigures]) -> Table:
    """Return the median and 95 % time of each stage, a row for each run that knows them."""
    known = [run for run in by_scene(runs) if run.stages]
    stages = list(dict.fromkeys(stage for run in known for stage in run.stages))
    stages.sort(key=lambda stage: stage == 'total')
    rows = tuple(
        (
            run.scene.name,
            run.method,
            *(
                ' / '.join(map(milliseconds, run.stages[stage])) if stage in run.stages else NONE
                for stage in stages
            ),
        )
        for run in known
    )
    header = ('scene', 'method', *stages)
    return Table('Time by stage (median / 95 % within)', header, rows, text_columns=2)
