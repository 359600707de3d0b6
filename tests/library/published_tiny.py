"""Tiny instances of the published architectures, their weights unlike an initial model's."""

import functools

import torch

from seesaw.autoencoders import load_autoencoder
from seesaw.published_autoencoders import published_autoencoder

RESOLUTION = 32
TRANSFORMER = {"width": 24, "depth": 1, "heads": 2}
VIT = {"width": 32, "depth": 1, "heads": 2}
RAE = {
    **VIT,
    "encoder_input": 28,
    "encoder_table": 3,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "decoder_hidden": 24,
}
TINY = {  # family -> keyword arguments in place of an architecture's own
    "qwenimage-kl": {
        "official": {
            "base_dim": 8,
            "z_dim": 3,
            "dim_mult": [1, 2],
            "num_res_blocks": 1,
            "temperal_downsample": [True],
            "latents_mean": [0.1, 0.2, 0.3],
            "latents_std": [1.0, 2.0, 4.0],
        }
    },
    "cogvideox-kl": {
        "official": {
            "block_out_channels": [8, 16],
            "down_block_types": ["CogVideoXDownBlock3D"] * 2,
            "up_block_types": ["CogVideoXUpBlock3D"] * 2,
            "latent_channels": 3,
            "layers_per_block": 1,
            "norm_num_groups": 4,
        }
    },
    "ltx-kl": {
        "official": {
            "latent_channels": 5,
            "block_out_channels": [8, 8],
            "decoder_block_out_channels": [8, 8],
            "down_block_types": ["LTXVideoDownBlock3D"] * 2,
            "layers_per_block": [1, 1, 1],
            "decoder_layers_per_block": [1, 1, 1],
            "spatio_temporal_scaling": [True, False],
            "decoder_spatio_temporal_scaling": [True, False],
            "decoder_inject_noise": [False] * 3,
            "downsample_type": ["conv", "conv"],
            "upsample_residual": [False] * 2,
            "upsample_factor": [1, 1],
        }
    },
    "rae-dinov2": RAE,
    "uae": RAE,
    "vtp": {"width": 64, "depth": 1},
    "svg": {
        "encoder": VIT,
        "residual_encoder": VIT,
        "widths": [8, 8, 8, 8, 16],
        "norm_groups": 4,
    },
    "dmvae": {"encoder": VIT, "latent_channels": 4, "widths": [8, 8, 8, 16], "norm_groups": 4},
    "softvq": {
        **TRANSFORMER,
        "patch": 8,
        "tokens": 6,
        "channels": 4,
        "codebooks": 2,
        "codes": 10,
    },
    "maetok": {**TRANSFORMER, "patch": 8, "tokens": 5, "channels": 3},
    "detok": {**TRANSFORMER, "patch": 8, "channels": 3},
}


@functools.cache
def tiny_config(architecture):
    """The config of an architecture, made small; a family that is not known here is an error."""
    published = published_autoencoder(architecture)
    family, config = published["family"], published["config"]
    if family in ("ldm-kl", "diffusers-kl"):
        stages = len(config["official"]["block_out_channels"])
        small = {"block_out_channels": [8] * stages, "layers_per_block": 1, "norm_num_groups": 4}
        changes = {"official": {**config["official"], **small}}
    elif family in TINY:
        changes = TINY[family]
    else:
        raise ValueError(f"no tiny instance of {family!r}; add one to TINY")
    if "resolution" in config or family not in ("rae-dinov2", "uae"):
        changes = {"resolution": RESOLUTION, **changes}
    return {**changes, "latents": "raw", "normalization": None}


def tiny_published(architecture, **options):
    """A small autoencoder of an architecture, filled, in evaluation mode."""
    config = {**tiny_config(architecture), **options}
    return scrambled(load_autoencoder(architecture, None, config))


def scrambled(module, seed=0):
    """Every parameter drawn anew, so that no token, channel or branch starts as nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim < 2:
                gain = name.endswith(("weight", "gamma", "lambda1"))
                parameter.copy_(0.1 * noise + float(gain))
            else:
                parameter.copy_(noise / max(1, parameter[0].numel()) ** 0.5)
    return module.eval().requires_grad_(False)


def pixels(count=3, resolution=RESOLUTION, seed=9):
    """Images in [-1, 1], ``(count, 3, resolution, resolution)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, resolution, resolution, generator=generator) * 2 - 1
