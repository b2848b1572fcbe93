"""Images find the masks of their stamps, and do not wait for ever."""

from posefield.data.mask_pairing import MaskPairing


def found(items):
    return [(item.stamp_ns, item.image, item.mask) for item in items]


def test_an_image_waits_for_its_mask():
    pairing = MaskPairing()
    assert pairing.add_image(1, 'image', 0.0) == []
    assert found(pairing.add_mask(1, 'mask', 0.1)) == [(1, 'image', 'mask')]
    assert pairing.without_mask == 0


def test_a_mask_may_come_first():
    pairing = MaskPairing()
    assert pairing.add_mask(1, 'mask', 0.0) == []
    assert found(pairing.add_image(1, 'image', 0.1)) == [(1, 'image', 'mask')]


def test_without_its_mask_an_image_leaves_after_the_timeout():
    pairing = MaskPairing(timeout_s=0.3)
    pairing.add_image(1, 'image', 0.0)
    assert pairing.flush(0.29) == []
    assert found(pairing.flush(0.31)) == [(1, 'image', None)]
    assert pairing.without_mask == 1


def test_the_mask_of_a_later_image_ends_the_waiting_of_earlier_ones():
    pairing = MaskPairing()
    for stamp in (1, 2, 3):
        pairing.add_image(stamp, f'image {stamp}', 0.0)
    assert found(pairing.add_mask(2, 'mask', 0.1)) == [
        (1, 'image 1', None),
        (2, 'image 2', 'mask'),
    ]
    assert found(pairing.flush(9.0)) == [(3, 'image 3', None)]


def test_memory_is_bounded():
    pairing = MaskPairing(timeout_s=100.0, buffer=3)
    given = [item for stamp in range(10) for item in pairing.add_image(stamp, stamp, 0.0)]
    assert [item.stamp_ns for item in given] == list(range(7))
    for stamp in range(100, 110):
        pairing.add_mask(stamp, stamp, 0.0)
    # Of the masks only the last three are left.
    assert found(pairing.add_image(106, 106, 0.0)) == [(7, 7, None)]
    assert found(pairing.add_image(107, 107, 0.0)) == [
        (8, 8, None),
        (9, 9, None),
        (106, 106, None),
        (107, 107, 107),
    ]
