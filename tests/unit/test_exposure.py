"""Per-photo exposure."""

import torch

from posefield.fields.exposure import ExposureTable


def test_exposure_begins_neutral():
    table = ExposureTable(3)
    colours = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(table(colours, torch.tensor([0, 1, 2, 0, 1])), colours)
    assert float(table.penalty()) == 0.0


def test_each_ray_gets_the_gain_and_offset_of_its_own_photo():
    table = ExposureTable(2)
    with torch.no_grad():
        table.gain_offset[1] = torch.tensor([0.5, 0.0, -0.5, 0.1, 0.2, 0.0])
    colours = torch.tensor([[0.4, 0.4, 0.4], [0.4, 0.4, 0.4]])
    expected = torch.tensor([[0.4, 0.4, 0.4], [0.7, 0.6, 0.2]])
    torch.testing.assert_close(table(colours, torch.tensor([0, 1])), expected)
    assert float(table.penalty()) > 0.0


def test_exposure_learns_the_brightness_of_a_photo():
    table = ExposureTable(2)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.05)
    colours = torch.rand(200, 3, generator=torch.Generator().manual_seed(1))
    photos = torch.arange(200) % 2
    recorded = torch.where(photos[:, None] == 1, 1.3 * colours + 0.05, colours)
    for _ in range(300):
        optimizer.zero_grad()
        loss = ((table(colours, photos) - recorded) ** 2).mean()
        loss.backward()
        optimizer.step()
    expected = torch.tensor([[0.0] * 6, [0.3] * 3 + [0.05] * 3])
    torch.testing.assert_close(table.gain_offset.detach(), expected, atol=0.02, rtol=0.0)
