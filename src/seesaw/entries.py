"""Entries of the pool that a person wrote: what they may leave out, and what they must say.

Torch-free: it runs whenever Snakemake parses the workflow.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seesaw.registry import FAMILIES

Config = Mapping[str, Any]

FOLDER_FAMILY = "diffusers-kl"
"""The family whose architecture may stand in the ``config.json`` beside the weights."""
HUB_CLASS = "AutoencoderKL"
SPOKEN_OF = ("official", "patch", "widths", "latent_channels", "layers", "attention", "norm_groups")
"""Keys of a config that say the architecture of :data:`FOLDER_FAMILY`; with one, no file does."""
STRUCTURE = (
    "in_channels",
    "out_channels",
    "down_block_types",
    "up_block_types",
    "block_out_channels",
    "layers_per_block",
    "act_fn",
    "latent_channels",
    "norm_num_groups",
    "use_quant_conv",
    "use_post_quant_conv",
    "mid_block_add_attention",
)
"""What a ``config.json`` says of the network; the rest is compared when the weights are loaded."""

MOST_TOKENS = 256
"""Tokens that published diffusion transformers see of an image of 256 pixels."""


def with_architecture(family: str, config: Config, weights: object) -> dict[str, Any]:
    """The config of an autoencoder, with ``official`` from the ``config.json`` beside its weights.

    Only for :data:`FOLDER_FAMILY`, and only where the config itself says nothing of the
    architecture and diffusers wrote such a file.

    Args:
        family: of the autoencoder.
        config: keyword arguments of the family.
        weights: file, folder, or mapping role -> either; None: it has none.

    Raises:
        ValueError: the file is no JSON or of another class of diffusers; or a folder has none.
    """
    config = dict(config)
    path = weights.get("autoencoder") if isinstance(weights, Mapping) else weights
    if family != FOLDER_FAMILY or not path or set(SPOKEN_OF) & set(config):
        return config
    path = Path(str(path))
    file = (path if path.is_dir() else path.parent) / "config.json"
    if file.is_file():
        official = _official(file)
        return {**config, "official": official} if official else config
    if path.is_dir():
        raise ValueError(
            f"{path} has no config.json, where the architecture of diffusers' {HUB_CLASS} stands; "
            "put it there (save_pretrained writes it), or give config: {official: {...}}"
        )
    return config


def _official(file: Path) -> dict[str, Any] | None:
    """What a ``config.json`` says of the network; None: it is not diffusers'."""
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(found, Mapping) or "_class_name" not in found:
        return None
    if found["_class_name"] != HUB_CLASS:
        raise ValueError(
            f"{file} is of class {found['_class_name']}; the family {FOLDER_FAMILY!r} is diffusers'"
            f" {HUB_CLASS}. Choose the family that fits, or write a class of your own "
            "(docs/autoencoders.md)"
        )
    return {key: found[key] for key in STRUCTURE if key in found}


def completed(entry: Mapping[str, Any], resolution: int) -> dict[str, Any]:
    """An entry of the pool with what follows from its weights and from the study.

    ``config.resolution`` where its family needs it, ``config.official`` (see
    :func:`with_architecture`) and ``latent_shape`` of a KL family.

    Args:
        entry: of ``autoencoders``.
        resolution: ``data.resolution``.

    Raises:
        ValueError: see :func:`with_architecture`; or its ``latent_shape`` is another than follows.
    """
    family, config, found = entry["family"], dict(entry.get("config", {})), dict(entry)
    needs = FAMILIES[family].needs if family in FAMILIES else ()
    if "resolution" in needs:
        config.setdefault("resolution", resolution)
    where = f"config, autoencoders.{entry['name']}"
    try:
        config = with_architecture(family, config, entry.get("weights"))
    except ValueError as error:
        raise ValueError(f"{where}.weights: {error}") from None
    if config:
        found["config"] = config
    shape = _shape_of(family, config) if architecture_known(found) else None
    if shape is None:
        return found
    if list(found.setdefault("latent_shape", shape)) != shape:
        raise ValueError(
            f"{where}.latent_shape: {found['latent_shape']} is given, its architecture makes "
            f"{shape}; correct it, or leave it out"
        )
    return found


def architecture_known(entry: Mapping[str, Any]) -> bool:
    """Whether the config says the architecture; not while the folder that will is not there."""
    config = entry.get("config", {})
    silent = entry["family"] == FOLDER_FAMILY and not set(SPOKEN_OF) & set(config)
    return not (silent and entry.get("weights"))


def _shape_of(family: str, config: Config) -> list[int] | None:
    """Shape of a latent by the config; None where it does not say."""
    if family == "tokenizer-1d":
        return [config.get("tokens", 16), config.get("channels", 8)]
    if family not in (FOLDER_FAMILY, "ldm-kl"):
        return None
    official = config.get("official")
    if official is None and family == FOLDER_FAMILY:
        names = {"block_out_channels": "widths", "latent_channels": "latent_channels"}
        official = {key: config[name] for key, name in names.items() if name in config}
    if not isinstance(official, Mapping):
        return None
    resolution, patch = config.get("resolution", 256), config.get("patch", 1)
    widths, channels = official.get("block_out_channels", (64,)), official.get("latent_channels", 4)
    if not isinstance(widths, Sequence) or not all(
        isinstance(number, int) for number in (resolution, patch, channels)
    ):
        return None
    side, rest = divmod(resolution, patch * 2 ** (len(widths) - 1))
    return None if rest else [channels, side, side]


def check_entries(config: Config) -> None:
    """Raise unless every autoencoder can be built and diffused as far as the config says.

    Args:
        config: of the run, its pool resolved, its families known.

    Raises:
        ValueError: where in the config, what is missing, what to do.
    """
    pool = [completed(entry, config["data"]["resolution"]) for entry in config["autoencoders"]]
    for entry in pool:
        _check_needs(entry)
    if "diffusion" not in config:
        return
    distinct = [entry["name"] for entry in pool if "duplicate_of" not in entry]
    diffused = config["diffusion"].get("autoencoders", distinct)
    for entry in pool:
        if entry["name"] in diffused and "patch_size" not in entry:
            _check_tokens(entry)


def _check_needs(entry: Mapping[str, Any]) -> None:
    """What the class of a family cannot do without; without importing it."""
    family = entry["family"]
    needs = FAMILIES[family].needs if family in FAMILIES else ()
    missing = [key for key in needs if key not in entry.get("config", {})]
    if not missing:
        return
    from seesaw.config import load_yaml
    from seesaw.published_autoencoders import REGISTRY

    registry = load_yaml(REGISTRY)
    built = {n for n, made in registry["architectures"].items() if made["family"] == family}
    like = [n for n, made in registry["autoencoders"].items() if made.get("architecture") in built]
    hint = f", or say what it is like: {', '.join(like)}" if like else ""
    raise ValueError(
        f"config, autoencoders.{entry['name']}.config: the family {family!r} needs "
        f"{' and '.join(map(repr, missing))}; give the key there{hint}"
    )


def _check_tokens(entry: Mapping[str, Any]) -> None:
    """An autoencoder that is diffused and has no ``patch_size``, which means patches of 1."""
    where, shape = f"config, autoencoders.{entry['name']}", entry.get("latent_shape")
    if shape is None:
        raise ValueError(
            f"{where}: a diffusion model is trained on it (diffusion.autoencoders), whose cost "
            "hangs on patch_size, the side of the latent squares that become one token. Say "
            "patch_size (2, as published ones with 32 x 32 latents have, 1 with 16 x 16), or "
            "latent_shape"
        )
    if len(shape) != 3 or math.prod(shape[1:]) <= MOST_TOKENS:
        return
    patch = next(p for p in range(2, max(shape) + 1) if _tokens(shape, p) <= MOST_TOKENS)
    raise ValueError(
        f"{where}: latent {'x'.join(map(str, shape))} gives {_tokens(shape, 1):,} tokens at patch "
        f"1, published diffusion transformers have {MOST_TOKENS}; say patch_size: {patch} "
        f"({_tokens(shape, patch)} tokens{', as published f8 do' if patch == 2 else ''}) or "
        "patch_size: 1"
    )


def _tokens(shape: Sequence[int], patch: int) -> int:
    return math.prod(-(-side // patch) for side in shape[1:])
