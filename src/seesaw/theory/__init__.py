"""Target ``theory``: what the Seesaw paper proves or assumes, checked numerically.

One module per claim, with a function of the same name ``(*, seed) -> Claim``. No GPU, no weights
and no data: the images are the mini world's scenes.
"""

CLAIMS: tuple[str, ...] = ("theorem_5_2", "proposition_5_4", "equation_6", "canny_chance")
"""Names of the claims; each is a module of this package and a function in it."""
