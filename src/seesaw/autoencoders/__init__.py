"""Autoencoders: one contract for every family.

:func:`load_autoencoder` is the only way in. It imports torch; :mod:`seesaw.registry` does not.
"""

from seesaw.autoencoders.base import Autoencoder, load_autoencoder

__all__ = ["Autoencoder", "load_autoencoder"]
