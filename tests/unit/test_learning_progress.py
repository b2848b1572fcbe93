"""What a person or a log sees of training."""

import io

import pytest
from rich.console import Console

from posefield.learning.progress import (
    LogProgress,
    QuietProgress,
    RichProgress,
    make_progress,
    metrics_text,
    seconds_text,
)

METRICS = {'loss': 0.012345, 'psnr': 24.06}


def test_log_lines_are_few_and_the_last_one_is_always_there():
    stream, now = io.StringIO(), [0.0]
    progress = LogProgress(stream, every_s=10.0, clock=lambda: now[0])
    progress.start('field', True)
    for second in range(25):
        now[0] = float(second)
        progress.update('field', second / 25, METRICS, 25.0 - second)
    progress.update('field', 1.0, METRICS, None)
    progress.close()
    assert stream.getvalue().splitlines() == [
        'field: 0 %, loss 0.0123, psnr 24.1 dB, 25 s left',
        'field: 40 %, loss 0.0123, psnr 24.1 dB, 15 s left',
        'field: 80 %, loss 0.0123, psnr 24.1 dB, 5 s left',
        'field: 100 %, loss 0.0123, psnr 24.1 dB',
    ]


def test_a_new_stage_is_logged_at_once_and_an_unknown_total_has_no_percentage():
    stream = io.StringIO()
    progress = LogProgress(stream, every_s=10.0, clock=lambda: 0.0)
    for stage, known in (('field', True), ('matching', False)):
        progress.start(stage, known)
        progress.update(stage, 0.0, {'loss': 1.0}, None)
    assert stream.getvalue().splitlines() == ['field: 0 %, loss 1', 'matching: loss 1']


def test_the_bar_shows_stage_loss_psnr_and_time_left():
    stream = io.StringIO()
    progress = RichProgress(
        Console(file=stream, force_terminal=True, width=120, color_system=None)
    )
    progress.start('field', True)
    progress.update('field', 0.43, METRICS, 80.0)
    progress.close()
    shown = stream.getvalue()
    for text in ('field', '43%', 'loss 0.0123, psnr 24.1 dB', '1 min 20 s left'):
        assert text in shown


def test_quiet_shows_nothing(capsys):
    progress = QuietProgress()
    progress.start('field', True)
    progress.update('field', 1.0, METRICS, 0.0)
    progress.close()
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize(
    ('terminal', 'quiet', 'kind'),
    [(True, False, RichProgress), (True, True, LogProgress), (False, False, LogProgress)],
)
def test_a_bar_is_for_a_terminal_only(monkeypatch, terminal, quiet, kind):
    monkeypatch.setattr('sys.stderr.isatty', lambda: terminal, raising=False)
    assert type(make_progress(quiet)) is kind


def test_texts():
    assert metrics_text({}) == ''
    assert metrics_text({'loss': 123456.0}) == 'loss 1.23e+05'
    assert metrics_text({'steps': 123456}) == 'steps 123456'
    assert [seconds_text(s) for s in (0.4, 59.4, 59.6, 185.2, 3599.9, 7620.0)] == [
        '0 s',
        '59 s',
        '1 min 00 s',
        '3 min 05 s',
        '1 h 00 min',
        '2 h 07 min',
    ]
