"""What several library tests share."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))


def pytest_collection_modifyitems(items):
    """Full-size networks only when asked for: ``SEESAW_SLOW=1 python -m pytest -m slow``."""
    if not os.environ.get("SEESAW_SLOW"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow; set SEESAW_SLOW=1 to run it"))


@pytest.fixture(scope="session")
def recipe_normal():
    """Normal latents of the recipe: float32 tensors that depend on a name only."""
    import torch
    from recipe import generator

    def make(name, shape, scale, shift):
        values = generator(0, name).standard_normal(tuple(shape)) * scale + shift
        return torch.from_numpy(values.astype("float32"))

    return make
