"""Procedural textures of the simulated room, as (H, W, 3) uint8 RGB images."""

import colorsys

import cv2
import numpy as np

Texture = np.ndarray
Colour = tuple[float, float, float]

LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789'


def random_colour(
    rng: np.random.Generator, saturation: float = 0.55, value: float = 0.75
) -> Colour:
    """Return an RGB colour in [0, 255] of random hue, near this saturation and value."""
    hue, ds, dv = rng.uniform(size=3)
    saturation, value = np.clip([saturation + 0.3 * ds - 0.15, value + 0.3 * dv - 0.15], 0.0, 1.0)
    r, g, b = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255.0 * r, 255.0 * g, 255.0 * b


def noise(
    rng: np.random.Generator, height: int, width: int, cells: int, stretch: float = 1.0
) -> np.ndarray:
    """Return smooth fractal noise in about [-1, 1], (H, W).

    Args:
        rng: source of randomness.
        height, width: size in pixels.
        cells: cells of the coarsest layer along the height.
        stretch: how many times longer than high the cells are.
    """
    total = np.zeros((height, width), np.float32)
    weight = 0.0
    for layer in range(4):
        rows = min(cells * 2**layer, height)
        columns = min(max(2, round(rows * width / height / stretch)), width)
        grid = rng.uniform(-1.0, 1.0, size=(rows + 1, columns + 1)).astype(np.float32)
        total += 0.5**layer * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weight += 0.5**layer
    return total / weight


def _finish(image: np.ndarray) -> Texture:
    return np.clip(image, 0, 255).astype(np.uint8)


def _shade(colour: Colour, strength: np.ndarray) -> np.ndarray:
    return np.asarray(colour, np.float32) * (1.0 + strength[..., None])


def plaster(rng: np.random.Generator, height: int, width: int, colour: Colour) -> Texture:
    """Return an almost plain wall with faint stains."""
    return _finish(_shade(colour, 0.05 * noise(rng, height, width, 4)))


def bricks(rng: np.random.Generator, height: int, width: int, rows: int = 28) -> Texture:
    """Return a brick wall, every brick of its own shade."""
    image = _shade((186.0, 178.0, 168.0), 0.10 * noise(rng, height, width, 24))
    step = height / rows
    length = 2.6 * step
    joint = max(1, round(0.08 * step))
    for row in range(rows):
        y0, y1 = round(row * step) + joint, round((row + 1) * step) - joint
        for column in range(-1, int(width / length) + 1):
            x0 = round((column + 0.5 * (row % 2)) * length) + joint
            x1 = round(x0 + length) - 2 * joint
            red = rng.uniform(120.0, 185.0)
            colour = (red, red * rng.uniform(0.45, 0.62), red * rng.uniform(0.35, 0.5))
            cv2.rectangle(image, (x0, y0), (x1, y1), colour, -1)
    return _finish(image * (1.0 + 0.12 * noise(rng, height, width, 40)[..., None]))


def planks(rng: np.random.Generator, height: int, width: int, rows: int = 24) -> Texture:
    """Return a wooden floor of boards with grain."""
    grain = noise(rng, height, width, 3 * rows, stretch=14.0)
    image = np.zeros((height, width, 3), np.float32)
    step = height / rows
    for row in range(rows):
        y0, y1 = round(row * step), round((row + 1) * step)
        x0 = -int(rng.uniform(0, width / 3))
        while x0 < width:
            x1 = x0 + int(rng.uniform(0.2, 0.45) * width)
            tone = rng.uniform(0.75, 1.15)
            image[y0:y1, max(x0, 0) : x1] = np.array([168.0, 118.0, 74.0]) * tone
            cv2.line(image, (x1, y0), (x1, y1), (62.0, 42.0, 26.0), 2)
            x0 = x1
        cv2.line(image, (0, y0), (width, y0), (62.0, 42.0, 26.0), 2)
    return _finish(image * (1.0 + 0.25 * grain[..., None]))


def wood(rng: np.random.Generator, height: int, width: int, colour: Colour) -> Texture:
    """Return wood with long grain along the width."""
    grain = noise(rng, height, width, 30, stretch=10.0)
    rings = np.sin(30.0 * noise(rng, height, width, 3, stretch=5.0))
    return _finish(_shade(colour, 0.22 * grain + 0.10 * rings))


def wallpaper(rng: np.random.Generator, height: int, width: int, colour: Colour) -> Texture:
    """Return stripes with medallions that are alike but not the same."""
    image = _shade(colour, 0.04 * noise(rng, height, width, 12))
    period = height // 9
    for column, x in enumerate(range(0, width, period)):
        if column % 2:
            image[:, x : x + period] *= 0.86
        for y in range(period // 2, height, period):
            accent = random_colour(rng, 0.35, 0.6)
            radius = int(period * rng.uniform(0.10, 0.24))
            centre = (x + period // 2, y + (column % 2) * period // 2)
            cv2.ellipse(
                image, centre, (radius, 2 * radius // 3), rng.uniform(0, 180), 0, 360, accent, -1
            )
    return _finish(image)


def tiles(rng: np.random.Generator, height: int, width: int, columns: int) -> Texture:
    """Return square tiles, some of them coloured."""
    image = np.full((height, width, 3), 120.0, np.float32)
    step = width / columns
    for row in range(int(np.ceil(height / step))):
        for column in range(columns):
            colour = random_colour(rng, 0.45, 0.7) if rng.uniform() < 0.35 else (205, 208, 200)
            tone = rng.uniform(0.92, 1.05)
            start = (round(column * step) + 2, round(row * step) + 2)
            end = (round((column + 1) * step) - 2, round((row + 1) * step) - 2)
            cv2.rectangle(image, start, end, [tone * c for c in colour], -1)
    return _finish(image * (1.0 + 0.05 * noise(rng, height, width, 20)[..., None]))


def fabric(rng: np.random.Generator, height: int, width: int, colour: Colour) -> Texture:
    """Return a checked cloth with worn places."""
    image = _shade(colour, 0.15 * noise(rng, height, width, 6))
    for axis, size in ((0, height), (1, width)):
        position = 0
        while position < size:
            band = int(rng.uniform(0.02, 0.09) * size) + 1
            tone = rng.uniform(0.7, 1.25)
            where = (
                slice(position, position + band) if axis == 0 else slice(None),
                slice(position, position + band) if axis == 1 else slice(None),
            )
            image[where] *= tone
            position += band
    return _finish(image)


def painting(rng: np.random.Generator, height: int, width: int) -> Texture:
    """Return a framed poster of shapes, lines and letters on a mottled ground."""
    image = _shade(random_colour(rng, 0.3, 0.85), 0.25 * noise(rng, height, width, 3))
    for _ in range(int(rng.integers(8, 16))):
        colour = random_colour(rng, 0.7, 0.7)
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        size = rng.uniform(0.05, 0.28) * min(height, width)
        kind = rng.integers(3)
        if kind == 0:
            cv2.circle(image, centre, int(size), colour, -1, cv2.LINE_AA)
        elif kind == 1:
            points = np.array(centre) + rng.normal(scale=size, size=(4, 2))
            cv2.fillPoly(image, [points.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            end = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            cv2.line(image, centre, end, colour, int(size / 6) + 2, cv2.LINE_AA)
    for _ in range(int(rng.integers(1, 4))):
        text = ''.join(rng.choice(list(LETTERS), size=int(rng.integers(2, 6))))
        origin = (int(rng.uniform(0, 0.5) * width), int(rng.uniform(0.2, 0.95) * height))
        scale = min(height, width) / 130.0 * rng.uniform(0.6, 1.4)
        thickness = max(2, int(2.5 * scale))
        dark = random_colour(rng, 0.5, 0.2)
        cv2.putText(
            image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, dark, thickness, cv2.LINE_AA
        )
    border = max(3, min(height, width) // 28)
    edge = random_colour(rng, 0.4, 0.3)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), edge, 2 * border)
    return _finish(image)


def books(rng: np.random.Generator, height: int, width: int, shelves: int = 5) -> Texture:
    """Return the front of a bookshelf."""
    image = np.full((height, width, 3), (58.0, 40.0, 28.0), np.float32)
    step = height / shelves
    for shelf in range(shelves):
        bottom = round((shelf + 1) * step) - round(0.10 * step)
        x = round(0.03 * width)
        while x < 0.95 * width:
            thick = int(rng.uniform(0.02, 0.055) * width)
            if rng.uniform() < 0.08:
                x += 2 * thick
                continue
            top = bottom - round(rng.uniform(0.55, 0.82) * step)
            colour = random_colour(rng, 0.55, 0.6)
            cv2.rectangle(image, (x, top), (x + thick - 2, bottom), colour, -1)
            label = top + round(rng.uniform(0.15, 0.5) * (bottom - top))
            cv2.rectangle(
                image, (x, label), (x + thick - 2, label + thick), random_colour(rng, 0.2, 0.9), -1
            )
            x += thick
        cv2.rectangle(image, (0, bottom), (width, round((shelf + 1) * step)), (112, 78, 50), -1)
    return _finish(image)


def speckle(rng: np.random.Generator, height: int, width: int, colour: Colour) -> Texture:
    """Return blotches of one hue, for leaves, stone and balls."""
    blotches = np.sign(noise(rng, height, width, 10)) * 0.18
    return _finish(_shade(colour, blotches + 0.35 * noise(rng, height, width, 24)))


def landscape(rng: np.random.Generator, height: int, width: int) -> Texture:
    """Return a window: hills under a sky, behind bars."""
    y = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    sky = np.array([150.0, 190.0, 235.0]) * (1.0 - 0.2 * y) + 40.0 * y
    image = np.repeat(sky, width, axis=1).astype(np.float32)
    image += 25.0 * np.clip(noise(rng, height, width, 4, stretch=2.0), 0, 1)[..., None]
    x = np.arange(width)
    for depth in range(4):
        ridge = noise(rng, 2, width, 2)[0] * 0.08 + 0.5 + 0.12 * depth
        points = np.stack([x, ridge * height], axis=1)
        outline = np.concatenate([points, [[width, height], [0, height]]])
        green = (95.0 - 15 * depth, 150.0 - 18 * depth, 90.0 - 16 * depth)
        cv2.fillPoly(image, [outline.astype(np.int32)], green)
    bar = height // 26
    for position in (0, width // 2, width - 1):
        cv2.line(image, (position, 0), (position, height), (235, 235, 230), bar)
    for position in (0, height // 2, height - 1):
        cv2.line(image, (0, position), (width, position), (235, 235, 230), bar)
    return _finish(image)


def with_corner_shade(texture: Texture, strength: float = 0.25) -> Texture:
    """Return a wall texture that darkens towards its edges, as corners of rooms do."""
    height, width = texture.shape[:2]
    reach = 0.18 * height
    y = np.arange(height)[:, None]
    x = np.arange(width)[None, :]
    near_y = np.exp(-np.minimum(y, height - 1 - y) / reach)
    near_x = np.exp(-np.minimum(x, width - 1 - x) / reach)
    return _finish(texture * (1.0 - strength * np.maximum(near_x, near_y))[..., None])
