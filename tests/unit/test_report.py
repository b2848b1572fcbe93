"""The HTML report: complete, self-contained, and honest about frames without a pose."""

import base64
from dataclasses import replace
from html.parser import HTMLParser
import re

import cv2
import numpy as np
import pytest

from posefield.evaluation.metrics import FrameResult, summarise
from posefield.evaluation.relocalization_report import (
    RelocalizationReport,
    ReportView,
    angle,
    chosen_frames,
    length,
    milliseconds,
    percent,
    write_report,
)
from posefield.evaluation.trajectory_plots import upright_axes
from posefield.geometry.poses import perturbed
from support.fake_localizer import localization


class Page(HTMLParser):
    """Collects the texts, image sources and references of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.texts, self.images, self.references, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == 'img':
            self.images.append(attributes['src'])
        self.references += [attributes[key] for key in ('href', 'src') if key in attributes]
        if tag not in ('img', 'meta', 'br'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return ' '.join(self.texts)


def drive(count: int = 8) -> list[FrameResult]:
    """Frames on a circle whose error grows; the last one has no pose."""
    generator = np.random.default_rng(0)
    results = []
    for index in range(count):
        truth = np.eye(4)
        truth[:3, 3] = [np.cos(index), 0.1 * index, np.sin(index)]
        found = localization(perturbed(truth, 0.01 * (index + 1), 0.1 * (index + 1), generator))
        found = replace(found, accepted=index % 3 != 2, score=1 - index / count)
        results.append(FrameResult(f'frame{index}.png', truth, found, 0.2 + 0.1 * index, 20.0))
    results.append(FrameResult('gone <b>.png', np.eye(4), None, 0.3, failure='no hypothesis'))
    return results


def report(results: list[FrameResult], **changes) -> RelocalizationReport:
    query = np.random.default_rng(1).random((30, 40, 3)).astype(np.float32)
    views = [
        ReportView(label, result, query, np.roll(query, 2, axis=1))
        for label, result in chosen_frames(results)
    ]
    made = RelocalizationReport(
        title='Relocalization in <a room>',
        lead='Nine images.',
        units='metres',
        results=results,
        summary=summarise(results),
        views=views,
        facts=[('map', 'out/map')],
    )
    return replace(made, **changes)


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp('report') / 'report.html'
    write_report(path, report(drive()))
    return Page(path.read_text())


def test_the_page_has_every_part_and_needs_no_other_file(page):
    assert page.open == []
    assert all(reference.startswith('data:image/png;base64,') for reference in page.references)
    # Trajectory, three times query, render and blend, two error figures, score against error.
    assert len(page.images) == 1 + 9 + 2 + 1
    for text in ('Trajectory', 'Best frame', 'Median frame', 'Worst frame', 'out/map'):
        assert text in page.text
    assert 'Relocalization in <a room>' in page.text
    assert '1 frames without a pose' in page.text


def test_refined_drives_are_drawn_before_and_after(tmp_path):
    generator = np.random.default_rng(2)
    results = [
        replace(
            result,
            localization=replace(
                result.localization,
                T_map_cam_coarse=perturbed(result.T_map_cam_true, 0.2, 5.0, generator),
            ),
        )
        for result in drive(2)[:-1]
    ]
    write_report(tmp_path / 'report.html', report(results, views=[]))
    text = (tmp_path / 'report.html').read_text()
    assert text.count('alt="Cameras before and after refinement') == 1
    assert len(Page(text).images) == 1 + 1 + 2 + 1


def test_the_pictures_are_pictures(page):
    for source in page.images:
        data = base64.b64decode(source.partition(',')[2])
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image.std() > 5.0


def test_best_median_and_worst_are_ranked_by_error():
    chosen = chosen_frames(drive())
    assert [label for label, _ in chosen] == ['Best frame', 'Median frame', 'Worst frame']
    errors = [result.errors.rotation_deg for _, result in chosen]
    assert errors == sorted(errors)
    assert chosen[0][1].name == 'frame0.png' and chosen[2][1].name == 'frame7.png'


def test_a_run_without_any_pose_still_has_a_report(tmp_path):
    results = drive()[-1:]
    write_report(tmp_path / 'report.html', report(results))
    page = Page((tmp_path / 'report.html').read_text())
    assert 'no pose' in page.text
    assert 'Trajectory' not in page.text


def test_one_located_frame_is_enough(tmp_path):
    write_report(tmp_path / 'report.html', report(drive()[:1]))
    assert (tmp_path / 'report.html').stat().st_size > 50_000


def test_figures_are_written_for_people():
    assert length(0.0123, 'metres') == '1.23 cm'
    assert length(2.5, 'metres') == '2.50 m'
    assert length(0.0123, 'arbitrary') == '0.0123 units'
    assert length(None, 'metres') == length(float('inf'), 'metres') == 'no pose'
    assert angle(0.123) == '0.12°'
    assert percent(0.987) == '99 %'
    assert not re.search(r'\d', percent(None))


def test_durations_are_written_for_people():
    assert milliseconds(0.00123) == '1.23 ms'
    assert milliseconds(0.0456) == '45.6 ms'
    assert milliseconds(0.9994) == '999 ms'
    assert milliseconds(7.2) == '7.20 s'
    assert milliseconds(None) == milliseconds(float('inf')) == '–'


def test_the_runtime_of_each_stage_is_on_the_page_with_the_total_last(page):
    stages = page.text[page.text.index('Runtime') :]
    assert stages.index('alignment') < stages.index('total') < stages.index('whole call')
    assert '2.00 ms' in stages and '500 ms' in stages


def test_drawing_axes_turn_the_map_upright_and_never_mirror_it():
    for up_axis in range(3):
        for sign in (1, -1):
            pose = np.eye(4)
            pose[:3, 1] = 0
            pose[up_axis, 1] = -sign  # Camera y points down.
            axes = upright_axes(pose[None])
            rotation = axes(np.eye(3)).T
            assert np.linalg.det(rotation) == 1.0
            up = np.zeros(3)
            up[up_axis] = sign
            np.testing.assert_array_equal(axes(up), [0, 0, 1])
