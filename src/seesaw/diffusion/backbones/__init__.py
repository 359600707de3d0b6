"""Published diffusion backbones in their official layouts. :func:`load_backbone` is the way in."""

from seesaw.diffusion.backbones.base import Backbone, load_backbone

__all__ = ["Backbone", "load_backbone"]
