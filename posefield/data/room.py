"""A furnished room in PyBullet, drawn by its software renderer with exact poses and depth.

The map frame stands in the middle of the floor: x along the long wall, z up, metres.
"""

from pathlib import Path
import tempfile

import cv2
import numpy as np

from posefield.data import room_textures as textures
from posefield.data.image_files import write_rgb
from posefield.data.room_meshes import Mesh, ball, box, cylinder, grid
from posefield.data.tiny_renderer import GlView, import_pybullet
from posefield.geometry.camera import Camera

ROOM_XYZ = np.array([5.0, 4.0, 2.6])
NEAR, FAR = 0.05, 12.0
SUPERSAMPLING = 2
PIXELS_PER_METRE = 220
# Neighbouring samples further apart than this share of their depth lie on different things.
DEPTH_EDGE = 0.05
X, Y, Z = np.eye(3)


class SimulatedRoom:
    """A room of about 5 x 4 x 2.6 m with furniture; use it as a context manager.

    Args:
        seed: of textures, colours and small shifts of the furniture.

    Raises:
        DataError: when PyBullet is not installed.
    """

    def __init__(self, seed: int = 0):
        self._bullet = import_pybullet()
        self._rng = np.random.default_rng(seed)
        self._client: int | None = None

    def __enter__(self) -> 'SimulatedRoom':
        self._client = self._bullet.connect(self._bullet.DIRECT)
        with tempfile.TemporaryDirectory() as folder:
            self._folder = Path(folder)
            self._things = 0
            self._build_walls()
            self._hang_pictures()
            self._furnish()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bullet.disconnect(self._client)
        self._client = None

    def render(self, T_map_cam: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """Draw a view.

        Args:
            T_map_cam: (4, 4) pose inside the room.
            camera: a pinhole camera.

        Returns:
            image (H, W, 3) uint8 RGB, and depth (H, W) float32 along the optical axis in metres,
            0 where a pixel covers an edge between two things.
        """
        fine = camera.resized(camera.width * SUPERSAMPLING, camera.height * SUPERSAMPLING)
        view = GlView.of(fine, T_map_cam, near=NEAR, far=FAR)
        _, _, rgba, buffer, _ = self._bullet.getCameraImage(
            fine.width,
            fine.height,
            viewMatrix=view.view_matrix,
            projectionMatrix=view.projection_matrix,
            lightDirection=[0.35, -0.5, 0.8],
            lightColor=[1.0, 0.98, 0.94],
            lightAmbientCoeff=0.72,
            lightDiffuseCoeff=0.35,
            lightSpecularCoeff=0.0,
            shadow=0,
            renderer=self._bullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )
        rgba = np.asarray(rgba, dtype=np.uint8).reshape(fine.height, fine.width, 4)
        buffer = np.asarray(buffer, dtype=np.float32).reshape(fine.height, fine.width)
        size = (camera.width, camera.height)
        image = cv2.resize(rgba[..., :3], size, interpolation=cv2.INTER_AREA)
        return image, _downsample_depth(FAR * NEAR / (FAR - (FAR - NEAR) * buffer))

    def _add(
        self,
        mesh: Mesh,
        texture: textures.Texture,
        position_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0),
        yaw: float = 0.0,
    ) -> None:
        bullet = self._bullet
        obj = self._folder / f'{self._things}.obj'
        png = self._folder / f'{self._things}.png'
        self._things += 1
        mesh.write_obj(obj)
        write_rgb(png, texture)
        shape = bullet.createVisualShape(
            bullet.GEOM_MESH, fileName=str(obj), physicsClientId=self._client
        )
        body = bullet.createMultiBody(
            0,
            baseVisualShapeIndex=shape,
            basePosition=list(position_xyz),
            baseOrientation=[0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)],
            physicsClientId=self._client,
        )
        loaded = bullet.loadTexture(str(png), physicsClientId=self._client)
        bullet.changeVisualShape(
            body, -1, textureUniqueId=loaded, rgbaColor=[1, 1, 1, 1], physicsClientId=self._client
        )

    def _build_walls(self) -> None:
        rng = self._rng
        length, depth, height = ROOM_XYZ
        long_wall = _pixels(height), _pixels(length)
        short_wall = _pixels(height), _pixels(depth)
        floor = _pixels(depth), _pixels(length)
        low = -ROOM_XYZ * [0.5, 0.5, 0.0]
        high = ROOM_XYZ * [0.5, 0.5, 1.0]
        panels = textures.plaster(rng, *short_wall, (214.0, 222.0, 208.0))
        dado = round(0.42 * short_wall[0])
        panels[-dado:] = textures.tiles(rng, dado, short_wall[1], 26)
        surfaces = (
            (low, length * X, depth * Y, textures.planks(rng, *floor)),
            (low + height * Z, depth * Y, length * X,
             textures.plaster(rng, *reversed(floor), (236.0, 234.0, 228.0))),
            (low + depth * Y, length * X, height * Z, textures.bricks(rng, *long_wall)),
            (high * [1, -1, 0], -length * X, height * Z,
             textures.plaster(rng, *long_wall, (226.0, 214.0, 190.0))),
            (high * [1, 1, 0], -depth * Y, height * Z,
             textures.wallpaper(rng, *short_wall, (198.0, 190.0, 160.0))),
            (low, depth * Y, height * Z, panels),
        )  # fmt: skip
        for origin, edge_u, edge_v, texture in surfaces:
            mesh = grid(origin, edge_u, edge_v, cells=8)
            self._add(mesh, textures.with_corner_shade(texture))

    def _hang(
        self, wall: str, along: float, bottom: float, width: float, height: float,
        texture: textures.Texture,
    ) -> None:  # fmt: skip
        """Put a flat picture on a wall; `along` is the map x or y of its middle."""
        right, inwards = {
            'north': (X, -Y),
            'south': (-X, Y),
            'east': (-Y, -X),
            'west': (Y, X),
        }[wall]
        middle = np.abs(right) * along - inwards * (ROOM_XYZ / 2 - 0.01)
        origin = middle - right * width / 2 + bottom * Z
        self._add(grid(origin, right * width, height * Z), texture)

    def _hang_pictures(self) -> None:
        rng = self._rng
        pictures = (
            ('north', 0.35, 1.15, 1.0, 0.75),
            ('north', 1.55, 1.30, 0.6, 0.85),
            ('south', 1.75, 1.20, 0.7, 0.95),
            ('south', -1.70, 1.25, 0.9, 0.65),
            ('east', 1.25, 1.35, 0.55, 0.75),
            ('east', -0.55, 1.25, 1.1, 0.80),
            ('west', 1.30, 1.40, 0.8, 0.60),
            ('west', -1.35, 1.35, 0.6, 0.80),
        )
        for wall, along, bottom, width, height in pictures:
            along += rng.uniform(-0.08, 0.08)
            poster = textures.painting(rng, _pixels(height), _pixels(width))
            self._hang(wall, along, bottom, width, height, poster)
        window = textures.landscape(rng, _pixels(1.2), _pixels(1.6))
        self._hang('south', 0.1, 1.0, 1.6, 1.2, window)
        door = textures.wood(rng, _pixels(0.9), _pixels(2.05), (150.0, 104.0, 66.0))
        self._hang('west', -0.30, 0.0, 0.9, 2.05, np.rot90(door).copy())

    def _furnish(self) -> None:
        self._place_shelf_and_plant()
        self._place_sofa_and_lamp()
        self._place_sideboard()
        self._place_desk()
        self._place_coffee_table()

    def _shift(self, x: float, y: float, z: float = 0.0) -> tuple[float, float, float]:
        dx, dy = self._rng.uniform(-0.04, 0.04, size=2)
        return x + dx, y + dy, z

    def _cloth(self, size: int = 256) -> textures.Texture:
        return textures.fabric(self._rng, size, size, textures.random_colour(self._rng))

    def _wood(self, size: int = 256) -> textures.Texture:
        tone = self._rng.uniform(0.6, 1.3)
        return textures.wood(self._rng, size, size, (150.0 * tone, 104.0 * tone, 64.0 * tone))

    def _speckle(self, size: int = 256) -> textures.Texture:
        return textures.speckle(self._rng, size, size, textures.random_colour(self._rng))

    def _place_shelf_and_plant(self) -> None:
        rng = self._rng
        x, y, _ = self._shift(-1.35, 1.78)
        self._add(box((1.2, 0.36, 1.95)), self._wood(), (x, y, 0.0))
        front = textures.books(rng, _pixels(1.9), _pixels(1.15))
        corner = np.array([x - 0.575, y - 0.185, 0.03])
        self._add(grid(corner, 1.15 * X, 1.9 * Z), front)
        self._add(box((0.45, 0.3, 0.25)), self._cloth(), (x - 0.2, y, 1.95), 0.2)
        pot = self._shift(2.1, 1.6)
        self._add(cylinder(0.16, 0.34, 0.21), self._speckle(), pot)
        for _ in range(6):
            dx, dy, dz = rng.uniform(-0.17, 0.17, size=3)
            leaves = textures.speckle(rng, 128, 256, (70.0, rng.uniform(105.0, 150.0), 60.0))
            radius = rng.uniform(0.14, 0.24)
            self._add(
                ball(radius, 2.2 * radius),
                leaves,
                (pot[0] + dx, pot[1] + dy, 0.55 + 2.0 * abs(dz)),
            )

    def _place_sofa_and_lamp(self) -> None:
        x, y, _ = self._shift(0.0, -1.5)
        cloth = self._cloth(512)
        self._add(box((1.9, 0.85, 0.42)), cloth, (x, y, 0.0))
        self._add(box((1.9, 0.2, 0.88)), cloth, (x, y - 0.36, 0.0))
        for side in (-1.0, 1.0):
            self._add(box((0.2, 0.85, 0.62)), cloth, (x + 0.98 * side, y, 0.0))
        for i, offset in enumerate((-0.6, 0.1, 0.55)):
            self._add(
                box((0.42, 0.14, 0.40)), self._cloth(), (x + offset, y - 0.12, 0.42), 0.3 * i
            )
        lamp = self._shift(-1.95, -1.6)
        self._add(cylinder(0.17, 0.03), self._wood(), lamp)
        self._add(cylinder(0.02, 1.5), self._wood(), lamp)
        self._add(cylinder(0.24, 0.32, 0.14), self._cloth(), (lamp[0], lamp[1], 1.42))
        stack = self._shift(1.95, -1.5)
        heights = (0.45, 0.36, 0.28)
        for i, height in enumerate(heights):
            size = 0.62 - 0.14 * i
            crate = textures.painting(self._rng, 256, 256) if i else self._wood()
            self._add(box((size, size, height)), crate, (*stack[:2], sum(heights[:i])), 0.35 * i)

    def _place_sideboard(self) -> None:
        rng = self._rng
        x, y, _ = self._shift(2.2, 0.0)
        self._add(box((0.48, 1.5, 0.85)), self._wood(512), (x, y, 0.0))
        for i in range(3):
            door = textures.wood(rng, 256, 160, textures.random_colour(rng, 0.35, 0.7))
            corner = np.array([x - 0.25, y + 0.72 - 0.48 * i, 0.06])
            self._add(grid(corner, -0.45 * Y, 0.74 * Z), door)
        self._add(cylinder(0.08, 0.34, 0.05), self._speckle(), (x, y + 0.55, 0.85))
        self._add(ball(0.14, 0.28), textures.tiles(rng, 128, 256, 12), (x, y + 0.15, 0.85))
        self._add(
            box((0.2, 0.34, 0.26)), textures.painting(rng, 200, 200), (x, y - 0.25, 0.85), 0.4
        )
        self._add(cylinder(0.11, 0.2), self._cloth(), (x, y - 0.6, 0.85))

    def _place_desk(self) -> None:
        rng = self._rng
        x, y, _ = self._shift(-2.1, 0.75)
        self._add(box((0.7, 1.4, 0.05)), self._wood(512), (x, y, 0.70))
        for dx in (-0.3, 0.3):
            for dy in (-0.65, 0.65):
                self._add(box((0.06, 0.06, 0.70)), self._wood(64), (x + dx, y + dy, 0.0))
        self._add(box((0.05, 0.62, 0.40)), self._speckle(), (x - 0.15, y, 0.85))
        screen = textures.painting(rng, 260, 400)
        self._add(grid(np.array([x - 0.12, y - 0.29, 0.88]), 0.58 * Y, 0.34 * Z), screen)
        self._add(cylinder(0.1, 0.1, 0.03), self._speckle(), (x - 0.15, y, 0.75))
        for i in range(4):
            cover = textures.painting(rng, 160, 160)
            self._add(box((0.24, 0.18, 0.04)), cover, (x, y + 0.48, 0.75 + 0.04 * i), 0.4 * i)
        self._add(cylinder(0.05, 0.11), self._speckle(), (x + 0.15, y - 0.45, 0.75))
        seat = self._shift(-1.45, 0.6)
        self._add(box((0.42, 0.42, 0.06)), self._cloth(), (*seat[:2], 0.44))
        self._add(box((0.05, 0.42, 0.5)), self._wood(), (seat[0] + 0.2, seat[1], 0.5))
        self._add(cylinder(0.04, 0.44), self._wood(64), seat)
        self._add(cylinder(0.22, 0.03), self._wood(64), seat)
        self._add(cylinder(0.14, 0.32, 0.18), self._speckle(), self._shift(-2.2, -0.95))

    def _place_coffee_table(self) -> None:
        rng = self._rng
        rug = textures.fabric(rng, 440, 660, textures.random_colour(rng, 0.6, 0.6))
        self._add(grid(np.array([-1.1, -0.8, 0.008]), 2.2 * X, 1.5 * Y, cells=4), rug)
        x, y, _ = self._shift(0.1, -0.1)
        self._add(box((0.95, 0.6, 0.05)), self._wood(), (x, y, 0.38), 0.15)
        for dx in (-0.4, 0.4):
            for dy in (-0.22, 0.22):
                self._add(box((0.05, 0.05, 0.38)), self._wood(64), (x + dx, y + dy, 0.0))
        self._add(cylinder(0.12, 0.08, 0.2), textures.tiles(rng, 64, 256, 20), (x + 0.2, y, 0.43))
        for i in range(3):
            cover = textures.painting(rng, 160, 160)
            self._add(
                box((0.28, 0.2, 0.035)), cover, (x - 0.22, y + 0.05, 0.43 + 0.035 * i), 0.5 * i
            )
        self._add(ball(0.16, 0.32), textures.tiles(rng, 128, 256, 10), self._shift(0.95, 0.75))


def _pixels(metres: float) -> int:
    return round(metres * PIXELS_PER_METRE)


def _downsample_depth(depth: np.ndarray) -> np.ndarray:
    """Return the depth at the centres of blocks of samples: inverse depth is linear on planes."""
    n = SUPERSAMPLING
    height, width = depth.shape
    blocks = depth.reshape(height // n, n, width // n, n)
    nearest, farthest = blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))
    mean = 1.0 / (1.0 / blocks).mean(axis=(1, 3))
    return np.where(farthest - nearest < DEPTH_EDGE * nearest, mean, 0.0).astype(np.float32)
