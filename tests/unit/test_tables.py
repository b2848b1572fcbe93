"""Tables of several runs: the figures of known inputs, files that can be read back."""

import csv
from dataclasses import replace
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from posefield.cli.app import main
from posefield.errors import BundleError, DataError
from posefield.evaluation.metrics import FrameResult, summarise
from posefield.evaluation.published import CAMBRIDGE, DEPTH_SLAM, SEVEN_SCENES, SFM
from posefield.evaluation.run_figures import (
    RunFigures,
    SceneLabel,
    method_name,
    read_run,
    read_runs,
)
from posefield.evaluation.table_files import make_tables, to_csv, to_html, to_markdown
from posefield.evaluation.tables import NONE, Table, significant
from posefield.geometry.poses import perturbed
from support.fake_localizer import DEPTH, localization
from support.scenes import make_scene

CHESS = SceneLabel('chess', SEVEN_SCENES, SFM, 'chess')
HEADS = SceneLabel('heads', SEVEN_SCENES, SFM, 'heads')


def results(
    translations: list[float], rotation_deg: float = 0.5, coarse: tuple | None = None
) -> list[FrameResult]:
    """Frames that are off by exactly this much; infinite ones have no pose."""
    frames = []
    for index, translation in enumerate(translations):
        generator = np.random.default_rng(index)
        if math.isinf(translation):
            frames.append(FrameResult(f'{index}', np.eye(4), None, 0.5))
            continue
        found = localization(perturbed(np.eye(4), translation, rotation_deg, generator))
        if coarse is not None:
            start = perturbed(np.eye(4), *coarse, generator)
            found = replace(found, T_map_cam_coarse=start)
        frames.append(FrameResult(f'{index}', np.eye(4), found, 0.25))
    return frames


def run(
    scene: SceneLabel = CHESS,
    method: str = 'ours',
    translations: list[float] | None = None,
    units: str = 'metres',
    **options,
) -> RunFigures:
    frames = results([0.01, 0.02, 0.03] if translations is None else translations, **options)
    return RunFigures.from_results(frames, scene=scene, method=method, units=units)


def table(tables: list[Table], title: str) -> Table:
    found = [table for table in tables if title in table.title]
    assert len(found) == 1
    return found[0]


def cells(table: Table) -> dict[tuple[str, str], str]:
    return {
        (row[0], name): cell
        for row in table.rows
        for name, cell in zip(table.header, row, strict=True)
    }


def write_metrics(path: Path, translations: list[float], **changes) -> Path:
    """A metrics.json as map evaluate writes it."""
    document = {
        'schema': 1,
        'kind': 'relocalization_metrics',
        **summarise(results(translations)),
        'units': 'metres',
        'scene': {
            'name': path.stem, 'format': '7scenes', 'source': 'redkitchen', 'poses': 'sfm.txt',
        },
        'options': {'map_folder': f'maps/{path.stem}', 'refiner': None},
        'machine': {'processor': 'x86', 'cpus': 2, 'gpu': None},
        **changes,
    }  # fmt: skip
    path.write_text(json.dumps({key: value for key, value in document.items() if value != {}}))
    return path


def test_medians_per_scene_and_the_mean_over_scenes():
    runs = [
        run(CHESS, translations=[0.01, 0.02, 0.09], rotation_deg=0.5, coarse=(0.5, 8.0)),
        run(HEADS, translations=[0.04], rotation_deg=1.5, coarse=(0.3, 4.0)),
    ]
    found = cells(table(make_tables(runs), 'median error (m'))
    assert found['chess', 'ours'] == '0.500 / 8.00 → 0.0200 / 0.500'
    assert found['heads', 'ours'] == '0.300 / 4.00 → 0.0400 / 1.50'
    assert found['average of 2', 'ours'] == '0.400 / 6.00 → 0.0300 / 1.00'


def test_errors_relative_to_the_depth_have_their_own_table():
    runs = [run(translations=[0.02 * DEPTH]), run(HEADS, translations=[0.04 * DEPTH])]
    found = cells(table(make_tables(runs), '% of depth'))
    assert found['chess', 'ours'] == '2.00 / 0.500'
    assert found['average of 2', 'ours'] == '3.00 / 0.500'


def test_a_method_has_an_average_only_over_all_scenes():
    runs = [run(CHESS, 'a'), run(HEADS, 'a'), run(HEADS, 'b')]
    tables = make_tables(runs)
    found = cells(table(tables, 'median error (m'))
    assert found['chess', 'b'] == NONE
    assert found['average of 2', 'b'] == NONE != found['average of 2', 'a']
    averages = [r for r in table(tables, 'share of images').rows if r[0].startswith('average')]
    assert [row[1] for row in averages] == ['a']


def test_without_any_common_method_there_is_no_average():
    tables = make_tables([run(CHESS, 'a'), run(HEADS, 'b')])
    assert len(table(tables, 'median error (m').rows) == 2
    assert len(table(tables, 'share of images').rows) == 2


def test_a_median_of_lost_frames_is_no_number_nor_is_its_average():
    tables = make_tables([run(CHESS, translations=[0.01, math.inf, math.inf]), run(HEADS)])
    found = cells(table(tables, 'median error (m'))
    assert found['chess', 'ours'].endswith(f'{NONE} / {NONE}')
    assert found['average of 2', 'ours'].endswith(f'{NONE} / {NONE}')
    assert table(tables, 'share of images').rows[0][:4] == ('chess', 'ours', '3', '2')


def test_recall_is_the_share_below_both_thresholds():
    runs = [
        run(CHESS, translations=[0.005, 0.015, 0.04, 0.09, 0.2, 0.4, 4.0, 9.0], rotation_deg=0.5),
        run(HEADS, translations=[0.005, math.inf], rotation_deg=3.0),
    ]
    shares = table(make_tables(runs), 'share of images')
    assert shares.header[4:11] == (
        '5 m, 10°', '0.5 m, 5°', '25 cm, 2°', '10 cm, 5°', '5 cm, 5°', '2 cm, 2°', '1 cm, 1°',
    )  # fmt: skip
    chess, heads, average = shares.rows
    assert chess[4:11] == ('87.5', '75.0', '62.5', '50.0', '37.5', '25.0', '12.5')
    assert heads[4:11] == ('50.0', '50.0', '0.0', '50.0', '50.0', '0.0', '0.0')
    assert average[:4] == ('average of 2', 'ours', '10', '1')
    assert average[4:7] == ('68.8', '62.5', '31.2')


def test_metres_mean_nothing_in_a_map_of_unknown_scale():
    tables = make_tables([run(SceneLabel('fox'), units='arbitrary')])
    assert not any('(m /' in table.title for table in tables)
    assert table(tables, 'share of images').header[4:] == ('10 %, 5°', '5 %, 5°', '2 %, 1°')
    lines = list(csv.DictReader(io.StringIO(to_csv([run(SceneLabel('fox'), units='arbitrary')]))))
    assert lines[0]['recall_0.05_5'] == '' and lines[0]['recall_depth_0.05_5'] == '1.0'


def test_ground_truths_and_data_sets_are_never_averaged():
    slam = replace(CHESS, ground_truth=DEPTH_SLAM)
    shop = SceneLabel('shop', CAMBRIDGE, SFM, 'ShopFacade')
    runs = [run(SceneLabel('fox')), run(HEADS), run(slam), run(shop), run(CHESS)]
    medians = [table for table in make_tables(runs) if 'median error (m' in table.title]
    assert [[row[0] for row in table.rows] for table in medians] == [
        ['heads', 'chess', 'average of 2'], ['chess'], ['shop'], ['fox'],
    ]  # fmt: skip
    assert 'depth SLAM ground truth' in medians[1].title


def test_published_figures_stand_beside_ours_over_the_same_scenes():
    tables = make_tables([run(CHESS), run(HEADS)], published=True)
    medians = table(tables, 'median error (m')
    found = cells(medians)
    assert found['chess', 'DFNet → NeFeS-50, published'] == '0.033 / 1.12 → 0.0165 / 0.565'
    # Means of chess and heads, not of the seven scenes.
    assert found['average of 2', 'DFNet → NeFeS-50, published'] == '0.0375 / 1.68 → 0.0183 / 0.922'
    assert any('3 images here, 2000 in the published figures' in note for note in medians.notes)
    assert any('0.023 / 0.79' in note for note in medians.notes)
    shares = table(tables, 'share of images').rows
    assert ('DFNet → NeFeS-50, published', '2000') in [row[1:3] for row in shares]
    assert any('NeFeS-50' in row[1] for row in table(tables, 'Time per image').rows)


def test_published_figures_against_another_ground_truth_are_left_out():
    slam = replace(CHESS, ground_truth=DEPTH_SLAM)
    tables = make_tables([run(slam, coarse=(0.15, 4.0))], published=True)
    medians = table(tables, 'median error (m')
    assert medians.header == ('scene', 'ours')
    assert len(table(tables, 'error after refinement (m').rows) == 1
    assert any('0.08 / 2.8' in note for note in medians.notes)
    assert not any('0.023 / 0.79' in note for note in medians.notes)


def test_scenes_outside_the_benchmarks_get_no_published_figures():
    medians = table(make_tables([run(SceneLabel('chess'))], published=True), 'median error (m')
    assert medians.header == ('scene', 'ours')
    assert len(medians.notes) == 1


def test_what_became_of_starts_is_tabled_by_how_far_off_they_were():
    started = run(translations=[0.01, 0.02, 0.5], coarse=(0.15, 4.0))
    tables = make_tables([started, run(HEADS)], published=True)
    by_start = table(tables, 'error after refinement (m / °)')
    assert by_start.header[2:] == (
        '< 2 cm', '2 – 5 cm', '5 – 10 cm', '10 – 20 cm', '20 – 50 cm', '0.5 – 1 m', '≥ 1 m',
    )  # fmt: skip
    ours, published = by_start.rows
    assert ours == (
        'chess', 'ours', NONE, NONE, NONE, '0.0200 / 0.500, 67 % of 3', NONE, NONE, NONE,
    )  # fmt: skip
    assert published[2] == '0.0140 / 0.440, 50 % of 1421'
    relative = table(tables, 'error after refinement (% of depth / °)')
    assert relative.header[2:4] == ('< 1 %', '1 – 2 %')
    assert relative.rows[0][5] == '1.00 / 0.500, 67 % of 3'
    assert len(relative.rows) == 1


def test_runs_that_refined_nothing_have_no_table_by_start():
    assert not any('by that of the start' in table.title for table in make_tables([run()]))


def test_the_time_of_an_image_and_of_its_stages():
    tables = make_tables([run()])
    found = cells(table(tables, 'Time per image'))
    assert found['chess', 'median'] == '250 ms'
    assert found['chess', 'images per second'] == '4.00'
    assert found['chess', 'renders'] == '3.00' and found['chess', 'most renders'] == '3'
    stages = table(tables, 'Time by stage')
    assert stages.header[-1] == 'total'
    assert cells(stages)['chess', 'alignment'] == '2.00 ms / 2.00 ms'


def test_markdown_reads_back():
    tables = make_tables([run(CHESS, 'a|b'), run(HEADS, 'a|b')], published=True)
    blocks = to_markdown(tables).split('## ')[1:]
    assert [block.splitlines()[0] for block in blocks] == [table.title for table in tables]
    for block, made in zip(blocks, tables, strict=True):
        lines = [line for line in block.splitlines() if line.startswith('|')]
        rows = [
            tuple(cell.strip() for cell in line.replace('\\|', '\0').strip('|').split('|'))
            for line in lines
        ]
        rows = [tuple(cell.replace('\0', '|') for cell in row) for row in rows]
        assert rows[0] == made.header
        assert set(rows[1]) == {'---'} and len(rows[1]) == len(made.header)
        assert tuple(rows[2:]) == made.rows
        assert all(note in block for note in made.notes)


def test_csv_reads_back_with_all_digits():
    made = [run(CHESS, translations=[1 / 30, 1 / 70, math.inf]), run(HEADS, 'b, quoted "c"')]
    lines = list(csv.DictReader(io.StringIO(to_csv(made, published=True))))
    measured = [line for line in lines if line['source'] == 'measured']
    assert [line['scene'] for line in measured] == ['chess', 'heads']
    assert measured[1]['method'] == 'b, quoted "c"'
    for line, figures in zip(measured, made, strict=True):
        assert float(line['median_translation']) == figures.refined.translation
        assert float(line['median_seconds']) == figures.seconds[0]
    assert measured[0]['frames_without_pose'] == '1'
    assert float(measured[0]['recall_0.02_2']) == pytest.approx(1 / 3)
    published = [line for line in lines if line['source'] != 'measured']
    assert len(published) == 6 and all(line['source'] for line in published)


def test_the_page_has_every_cell_and_escapes_it():
    page = to_html(make_tables([run(method='<b>')], published=True))
    assert '<b>' not in page and '&lt;b&gt;' in page
    assert page.count('<section>') == page.count('</section>') == 5


def test_numbers_have_three_digits():
    assert [significant(value) for value in (0.0165, 1.9951, 10.0, 99.97, 1234.5, 0.0)] == [
        '0.0165', '2.00', '10.0', '100', '1234', '0',
    ]  # fmt: skip
    assert significant(None) == significant(math.inf) == NONE


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        ({}, 'ladder'),
        ({'refiner': None, 'without': ['sparse']}, 'ladder, without sparse'),
        ({'sequence': True}, 'ladder, tracking'),
        ({'bag': 'drives/one', 'map_folder': 'maps/a'}, 'tracker'),
        ({'refiner': 'nefes-b', 'iterations': 20}, 'ladder, nefes-b, 20 iterations'),
        ({'refiner': 'field', 'perturb': [0.1, 6.0]}, 'field, from 10 %, 6°'),
        ({'perturb': [0.1, 6.0], 'degradation': 'gamma'}, 'all refiners, from 10 %, 6°, gamma'),
    ],
)
def test_a_method_is_named_by_its_options(options, name):
    assert method_name(options) == name


def test_metrics_files_say_what_they_are_of(tmp_path):
    found = read_run(write_metrics(tmp_path / 'blocks.json', [0.01]))
    assert found.scene == SceneLabel('redkitchen', SEVEN_SCENES, SFM, 'redkitchen')
    assert found.machine == 'x86, 2 CPUs, no GPU'
    about = {'name': 'x', 'format': '7scenes', 'source': 'Kitchen', 'poses': 'distributed',
             'split': 'halves'}  # fmt: skip
    found = read_run(write_metrics(tmp_path / 'halves.json', [0.01], scene=about))
    assert found.scene == SceneLabel('Kitchen (halves)', SEVEN_SCENES, DEPTH_SLAM, 'redkitchen')
    about = {'name': 'fox', 'format': 'nerf', 'source': 'transforms.json'}
    found = read_run(write_metrics(tmp_path / 'fox.json', [0.01], scene=about))
    assert found.scene == SceneLabel('fox')


def test_metrics_without_a_scene_are_of_the_folder_they_name_or_lie_in(tmp_path):
    options = {'scene_folder': '/somewhere/office'}
    path = write_metrics(tmp_path / 'a.json', [0.01], scene={}, options=options)
    assert read_run(path).scene == SceneLabel('office')
    path = write_metrics(tmp_path / 'bag.json', [0.01], scene={}, options={'bag': 'drives/one'})
    assert read_run(path).scene == SceneLabel('one')
    path = write_metrics(tmp_path / 'b.json', [0.01], scene={}, options={}, machine={})
    assert read_run(path).scene == SceneLabel(tmp_path.name)


def test_runs_that_differ_only_in_the_map_are_told_apart_by_it(tmp_path):
    paths = [write_metrics(tmp_path / f'{name}.json', [0.01]) for name in ('small', 'large')]
    runs = read_runs([(None, path) for path in paths])
    assert [figures.method for figures in runs] == ['ladder (small)', 'ladder (large)']
    runs = read_runs([('a', paths[0]), ('b', paths[1])])
    assert [figures.method for figures in runs] == ['a', 'b']


def test_runs_that_cannot_be_told_apart_are_an_error_that_names_both(tmp_path):
    path = write_metrics(tmp_path / 'one.json', [0.01])
    with pytest.raises(DataError, match='one.json.*one.json.*NAME='):
        read_runs([(None, path), (None, path)])


def test_a_file_that_is_no_metrics_is_named(tmp_path):
    (tmp_path / 'map.json').write_text('{"schema": 1, "kind": "map"}')
    with pytest.raises(BundleError, match='map.json'):
        read_run(tmp_path / 'map.json')
    path = write_metrics(tmp_path / 'counts.json', [0.01])
    document = json.loads(path.read_text())
    del document['median_translation_error']
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match='counts.json.*median_translation_error'):
        read_run(path)


def test_the_command_writes_and_prints_the_tables(tmp_path, capsys):
    first = write_metrics(tmp_path / 'a.json', [0.01, 0.02])
    second = write_metrics(tmp_path / 'b.json', [0.03])
    arguments = ['tables', f'fast={first}', str(second), '--out', str(tmp_path / 'out' / 'new')]
    assert main([*arguments, '--published']) == 0
    out = capsys.readouterr().out
    folder = tmp_path / 'out' / 'new'
    assert {path.name for path in folder.iterdir()} == {'tables.md', 'tables.html', 'tables.csv'}
    tables = (folder / 'tables.md').read_text()
    assert tables.split('## ', 1)[1].strip() in out
    assert '| fast | ladder |' in tables and 'published' in tables
    assert (folder / 'tables.html').read_text().startswith('<!doctype html>')


def test_a_missing_file_is_one_line_and_code_1(tmp_path, capsys):
    assert main(['tables', 'x=gone.json', '--out', str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert 'gone.json' in error and len(error.strip().splitlines()) == 1


def test_tables_that_cannot_be_written_are_one_line_and_code_1(tmp_path, capsys):
    path = write_metrics(tmp_path / 'a.json', [0.01])
    (tmp_path / 'file').write_text('')
    assert main(['tables', str(path), '--out', str(tmp_path / 'file')]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_what_map_evaluate_writes_can_be_tabled(tmp_path, monkeypatch):
    class Localizer:
        info = {'units': 'metres', 'field_short_side': 6}

        def localize(self, image, camera, prior=None):
            return localization(np.eye(4))

        def render(self, T_map_cam, camera):
            shape = (camera.height, camera.width)
            return type('Rendering', (), {'image_HW3': np.zeros((*shape, 3), np.float32)})

    monkeypatch.setattr(
        'posefield.relocalization.localizer.Localizer.load', lambda *args, **kwargs: Localizer()
    )
    make_scene(tmp_path / 'source').save(tmp_path / 'scene')
    arguments = ['map', 'evaluate', 'a_map', str(tmp_path / 'scene'), '--split', 'all', '--quiet']
    assert main([*arguments, '--json', str(tmp_path / 'metrics.json')]) == 0
    about = json.loads((tmp_path / 'metrics.json').read_text())['scene']
    assert about == {'format': 'test', 'name': 'scene'}
    found = read_run(tmp_path / 'metrics.json')
    assert (found.scene, found.method, found.frames) == (SceneLabel('scene'), 'ladder', 4)
