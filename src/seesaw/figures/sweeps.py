"""Seesaw Figures 5-9: generation and reconstruction metrics against one family of conditions."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from seesaw.figures.scatter import Key, scatter_grid
from seesaw.score_table import measured

ACROSS = ("gfid", "rfid", "ifid", "psnr", "ssim", "lpips")


def figure5(scores: pd.DataFrame, key: Key = "autoencoder") -> tuple[Figure, pd.DataFrame]:
    """Seesaw Figure 5: against Canny drift."""
    return condition_figure(scores, ["canny"], key=key)


def figure6(scores: pd.DataFrame, key: Key = "autoencoder") -> tuple[Figure, pd.DataFrame]:
    """Seesaw Figure 6: against depth drift."""
    return condition_figure(scores, ["depth"], key=key)


def figure7(scores: pd.DataFrame, key: Key = "autoencoder") -> tuple[Figure, pd.DataFrame]:
    """Seesaw Figure 7: against segmentation drift."""
    return condition_figure(scores, ["segmentation"], key=key)


def figure8(scores: pd.DataFrame, key: Key = "autoencoder") -> tuple[Figure, pd.DataFrame]:
    """Seesaw Figure 8: against identity similarity and face detection recall."""
    return condition_figure(scores, ["identity", "face-recall"], key=key)


def figure9(scores: pd.DataFrame, key: Key = "autoencoder") -> tuple[Figure, pd.DataFrame]:
    """Seesaw Figure 9: against CLIP and DINO similarity."""
    return condition_figure(scores, ["clip", "dino"], key=key)


def condition_figure(
    scores: pd.DataFrame,
    conditions: Sequence[str],
    columns: int = 3,
    key: Key = "autoencoder",
) -> tuple[Figure, pd.DataFrame]:
    """A block of panels per condition, one panel per measured metric of :data:`ACROSS`."""
    across, down = measured(scores, ACROSS), measured(scores, conditions)
    missing = [metric for metric in (*ACROSS, *conditions) if metric not in (*across, *down)]
    cells = [
        [(x, y) for x in across[start : start + columns]]
        for y in down
        for start in range(0, len(across), columns)
    ]
    return scatter_grid(scores, cells, missing, key)
