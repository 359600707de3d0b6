"""Seesaw: measure the autoencoder of a latent diffusion model from every side.

The package knows nothing of Snakemake. Importing it, or :mod:`seesaw.registry`, imports no torch.
"""

__version__ = "0.1.0"
