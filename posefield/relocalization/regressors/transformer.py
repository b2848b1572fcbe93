"""A transformer that asks a feature map one question for each learned query (nefes.md 1.3).

Encoder and decoder as in DETR, normalised before each part, with GELU.
"""

import torch
from torch import nn


class _Attention(nn.Module):
    """Attention whose output is added to what asks."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, asking: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        found, _ = self.attention(asking, keys, values, need_weights=False)
        return self.dropout(found)


def _feed_forward(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width),
        nn.Dropout(dropout),
    )


class _EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = _Attention(width, heads, dropout)
        self.feed_forward = _feed_forward(width, hidden, dropout)

    def forward(self, tokens_BNC: torch.Tensor, positions_NC: torch.Tensor) -> torch.Tensor:
        normed = self.norm(tokens_BNC)
        located = normed + positions_NC
        tokens_BNC = tokens_BNC + self.attention(located, located, normed)
        return tokens_BNC + self.feed_forward(tokens_BNC)


class _DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = _Attention(width, heads, dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = _Attention(width, heads, dropout)
        self.feed_forward = _feed_forward(width, hidden, dropout)

    def forward(
        self,
        answers_BSC: torch.Tensor,
        queries_SC: torch.Tensor,
        memory_BNC: torch.Tensor,
        located_BNC: torch.Tensor,
    ) -> torch.Tensor:
        normed = self.self_norm(answers_BSC)
        asking = normed + queries_SC
        answers_BSC = answers_BSC + self.self_attention(asking, asking, normed)
        asking = self.cross_norm(answers_BSC) + queries_SC
        answers_BSC = answers_BSC + self.cross_attention(asking, located_BNC, memory_BNC)
        return answers_BSC + self.feed_forward(answers_BSC)


class MapTransformer(nn.Module):
    """Answers to S learned queries about a feature map of one size.

    Args:
        inputs: channels of the map.
        size: (height, width) of the map.
        queries: number of queries S.
        width, heads, hidden, layers, dropout: of encoder and decoder.
    """

    def __init__(
        self,
        inputs: int,
        size: tuple[int, int],
        queries: int,
        *,
        width: int,
        heads: int,
        hidden: int,
        layers: int,
        dropout: float,
    ):
        super().__init__()
        self.projection = nn.Conv2d(inputs, width, 1)
        self.rows = nn.Parameter(torch.rand(size[0], width // 2))
        self.columns = nn.Parameter(torch.rand(size[1], width // 2))
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.encoder = nn.ModuleList(
            _EncoderLayer(width, heads, hidden, dropout) for _ in range(layers)
        )
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(
            _DecoderLayer(width, heads, hidden, dropout) for _ in range(layers)
        )
        self.decoder_norm = nn.LayerNorm(width)
        for part in (self.encoder, self.decoder):
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)

    def forward(self, map_BCHW: torch.Tensor) -> torch.Tensor:
        """Return one answer for each query, (B, S, width)."""
        height, width = map_BCHW.shape[-2:]
        positions_NC = torch.cat(
            [
                self.rows[:, None].expand(-1, width, -1),
                self.columns[None].expand(height, -1, -1),
            ],
            dim=2,
        ).flatten(0, 1)
        tokens_BNC = self.projection(map_BCHW).flatten(2).mT
        for layer in self.encoder:
            tokens_BNC = layer(tokens_BNC, positions_NC)
        memory_BNC = self.encoder_norm(tokens_BNC)
        answers_BSC = torch.zeros_like(self.queries).expand(len(map_BCHW), -1, -1)
        for layer in self.decoder:
            answers_BSC = layer(answers_BSC, self.queries, memory_BNC, memory_BNC + positions_NC)
        return self.decoder_norm(answers_BSC)
