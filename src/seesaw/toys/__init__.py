"""Toy examples of the iFID paper (Section 3.4 and 3.5), small enough to check by closed forms.

Each module holds one toy, a function of the module's name that returns a :class:`Toy`. Models are
of the family of this package's diffusion models: the linear path, a network that predicts the
velocity, the samplers of :mod:`seesaw.diffusion.samplers`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TOYS = ("isolated_modes", "two_point_vae")


@dataclass(frozen=True)
class Toy:
    """What a toy found.

    Attributes:
        figure: its figure.
        table: a row per mixture, set of points and quantity: mean and spread over seeds.
        points: the points and curves that the figure draws besides the table's numbers.
    """

    figure: "Figure"
    table: "pd.DataFrame"
    points: "pd.DataFrame"
