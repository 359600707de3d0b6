"""What several library tests share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))


@pytest.fixture(scope="session")
def recipe_normal():
    """Normal latents of the recipe: float32 tensors that depend on a name only."""
    import torch
    from recipe import generator

    def make(name, shape, scale, shift):
        values = generator(0, name).standard_normal(tuple(shape)) * scale + shift
        return torch.from_numpy(values.astype("float32"))

    return make
