"""MS-Transformer: one network for several scenes, which it tells apart (nefes.md 1.3)."""

import copy
from dataclasses import dataclass, replace
import math

import roma
import torch
from torch import nn
import torch.nn.functional as F

from posefield.errors import LearningError
from posefield.features.imagenet import imagenet_normalised
from posefield.relocalization.regressors.backbones import TwoScaleBackbone, check_backbone
from posefield.relocalization.regressors.regressor import (
    PoseRegressor,
    Regression,
    RegressorConfig,
    evaluating,
    rigid_poses,
)
from posefield.relocalization.regressors.transformer import MapTransformer


@dataclass(frozen=True)
class MsTransformerConfig(RegressorConfig):
    """Which MS-Transformer.

    Attributes:
        scenes: names of the scenes, each with its own field frame.
        scene: the one of the map that holds the network; None while it has no map.
        backbone: one of BACKBONES.
        weights: `imagenet`, or `random` for the first weights of the backbone.
        width, heads, hidden, dropout: of the transformers.
        translation_layers, rotation_layers: of encoder and of decoder.  Published: 6 and 6, and
            6 and 4 for 7-Scenes in one configuration.
        shared_heads: whether all scenes share the last layers.
        head_width: units of the last layers.
        image_side: short side that images are resized to.
        crop: side of the square that is cut out of them.
    """

    scenes: tuple[str, ...] = ('scene',)
    scene: str | None = None
    backbone: str = 'efficientnet_b0'
    weights: str = 'imagenet'
    width: int = 256
    heads: int = 4
    hidden: int = 256
    dropout: float = 0.1
    translation_layers: int = 6
    rotation_layers: int = 6
    shared_heads: bool = False
    head_width: int = 1024
    image_side: int = 256
    crop: int = 224

    def __post_init__(self):
        check_backbone(self.backbone, self.weights)
        if not self.scenes or len(set(self.scenes)) < len(self.scenes):
            raise LearningError(
                f'An MS-Transformer needs scenes of different names, found {self.scenes}.'
            )
        if self.scene is not None and self.scene not in self.scenes:
            raise LearningError(
                f'Unknown scene {self.scene!r}, expected one of {", ".join(self.scenes)}.'
            )
        if self.width % (2 * self.heads):
            raise LearningError(
                f'The width of an MS-Transformer must be a multiple of twice its heads '
                f'({2 * self.heads}), found {self.width}.'
            )
        if not 0 < self.crop <= self.image_side:
            raise LearningError(
                f'The crop must fit into images with a short side of {self.image_side}, found '
                f'{self.crop}.'
            )


@dataclass(frozen=True)
class MsTransformerOutput:
    """What the network says about a batch.

    Attributes:
        centres_B3: camera centres in the field frame of the scene in `scenes_B`.
        quats_xyzw_B4: unit quaternions of R_field_cam.
        scene_log_probabilities_BS: of all scenes.
        scenes_B: index of the scene whose answer was taken.
    """

    centres_B3: torch.Tensor
    quats_xyzw_B4: torch.Tensor
    scene_log_probabilities_BS: torch.Tensor
    scenes_B: torch.Tensor

    def poses(self) -> torch.Tensor:
        """Return [R | t] (B, 3, 4), camera to field."""
        R = roma.unitquat_to_rotmat(self.quats_xyzw_B4)
        return torch.cat([R, self.centres_B3[:, :, None]], dim=2)


class MsTransformer(PoseRegressor):
    """Two transformers, one for the centre and one for the rotation, with a query per scene."""

    kind = 'ms-transformer'
    config_type = MsTransformerConfig
    short_side = 256

    def __init__(self, config: MsTransformerConfig):
        super().__init__(config)
        self.backbone = TwoScaleBackbone(config.backbone)
        fine, coarse = math.ceil(config.crop / 8), math.ceil(config.crop / 16)
        scenes = len(config.scenes)
        sizes = {
            'width': config.width,
            'heads': config.heads,
            'hidden': config.hidden,
            'dropout': config.dropout,
        }
        self.translation = MapTransformer(
            self.backbone.coarse_channels,
            (coarse, coarse),
            scenes,
            layers=config.translation_layers,
            **sizes,
        )
        self.rotation = MapTransformer(
            self.backbone.fine_channels,
            (fine, fine),
            scenes,
            layers=config.rotation_layers,
            **sizes,
        )
        self.scene_head = nn.Linear(2 * config.width, 1)
        heads = 1 if config.shared_heads else scenes
        self.translation_heads = nn.ModuleList(self._head(3) for _ in range(heads))
        self.rotation_heads = nn.ModuleList(self._head(4) for _ in range(heads))

    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return [R | t] (B, 3, 4), each in the frame of the scene that it was taken for."""
        return self.recognise(self.centre_crops(images_B3HW)).poses()

    def recognise(
        self, crops_B3SS: torch.Tensor, scenes_B: torch.Tensor | None = None
    ) -> MsTransformerOutput:
        """Return scenes and poses of square images as `centre_crops` makes them.

        Args:
            crops_B3SS: RGB in [0, 1].
            scenes_B: which scene's answer to take, as in training; the likeliest by default.
        """
        fine, coarse = self.backbone(imagenet_normalised(crops_B3SS))
        centres = self.translation(coarse)
        rotations = self.rotation(fine)
        logits_BS = self.scene_head(torch.cat([centres, rotations], dim=2)).squeeze(2)
        if scenes_B is None:
            scenes_B = logits_BS.argmax(dim=1)
        quats = _answers(self.rotation_heads, rotations, scenes_B)
        return MsTransformerOutput(
            _answers(self.translation_heads, centres, scenes_B),
            F.normalize(quats, dim=1),
            F.log_softmax(logits_BS, dim=1),
            scenes_B,
        )

    @torch.no_grad()
    def regress(self, image_HW3: torch.Tensor) -> Regression:
        """Return pose and scene of one image; see `Regression.in_expected_scene`."""
        with evaluating(self):
            output = self.recognise(self.centre_crops(image_HW3.permute(2, 0, 1)[None]))
        scene = int(output.scenes_B[0])
        return Regression(
            rigid_poses(output.poses().double().cpu())[0],
            self.config.scenes[scene],
            self.config.scene,
            float(output.scene_log_probabilities_BS[0, scene].exp()),
        )

    def for_scene(self, scene: str) -> 'MsTransformer':
        """Return a copy for the map of one of its scenes."""
        network = copy.deepcopy(self)
        network.config = replace(self.config, scene=scene)
        return network

    def scene_index(self, scene: str) -> int:
        """Return the number of a scene.

        Raises:
            LearningError: when it is not one of the network's.
        """
        if scene not in self.config.scenes:
            raise LearningError(
                f'Unknown scene {scene!r}, expected one of {", ".join(self.config.scenes)}.'
            )
        return self.config.scenes.index(scene)

    def resized(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return images with the short side that the crops are taken from."""
        height, width = images_B3HW.shape[-2:]
        scale = self.config.image_side / min(height, width)
        size = (round(height * scale), round(width * scale))
        if size == (height, width):
            return images_B3HW
        return F.interpolate(
            images_B3HW, size=size, mode='bilinear', align_corners=False, antialias=True
        )

    def centre_crops(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return the square middle of images, (B, 3, crop, crop)."""
        images_B3HW = self.resized(images_B3HW)
        crop = self.config.crop
        top, left = ((side - crop) // 2 for side in images_B3HW.shape[-2:])
        return images_B3HW[:, :, top : top + crop, left : left + crop]

    def load_pretrained(self) -> None:
        """Start the backbone from ImageNet, where the configuration asks for it."""
        if self.config.weights == 'imagenet':
            self.backbone.load_imagenet()

    def _head(self, outputs: int) -> nn.Sequential:
        width, hidden = self.config.width, self.config.head_width
        return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def _answers(heads: nn.ModuleList, tokens_BSC: torch.Tensor, scenes_B: torch.Tensor):
    """Return what the head of each image's scene makes of that scene's token, (B, outputs)."""
    rows = torch.arange(len(scenes_B), device=scenes_B.device)
    if len(heads) == 1:
        return heads[0](tokens_BSC[rows, scenes_B])
    answers = [head(tokens_BSC[:, scene]) for scene, head in enumerate(heads)]
    return torch.stack(answers, dim=1)[rows, scenes_B]
