"""The autoencoder contract and the one function that builds an autoencoder."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seesaw.autoencoders.weights import MAIN, STATISTICS, Layout, Weights, load_weights
from seesaw.entries import with_architecture
from seesaw.published_autoencoders import published_autoencoder, published_names
from seesaw.registry import FAMILIES, resolve, unknown

LATENTS = ("raw", "normalized")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTISATIONS = {"uint8-round": 0.5, "uint8-floor": 2.0**-10}
"""Quantisation to uint8 -> what is added before truncation."""
OPTIONS = ("latents", "ema", "normalization", "dtype", "compile")
"""What a config may say of any family, beside its keyword arguments."""


class Autoencoder(nn.Module):
    """What every stage expects of an autoencoder.

    Images are float RGB in [-1, 1], ``(N, 3, resolution, resolution)``; :meth:`decode` may leave
    that range, the caller clamps. Latents are a grid ``(N, C, H, W)`` (``spatial``) or tokens
    ``(N, T, C)``. A family's ``__init__`` takes its config as keyword arguments.

    A family implements :meth:`posterior` and :meth:`render`; a class that only measures needs
    :meth:`encode` and :meth:`decode`, and need not derive from this one.

    Attributes:
        resolution: side of the images it takes, in pixels.
        latent_shape: shape of one latent, ``(C, H, W)`` or ``(T, C)``.
        spatial: whether the latent is a grid.
        stochastic: whether the posterior has a spread, so that a sample differs from the mean.
        resizable: whether :meth:`decode` takes latent grids of any side (needed by the
            equivariance objectives).
        layouts: role of each weights file -> where in it the weights lie.
        ema: whether averaged weights are taken where a file holds both.
        latents: ``"raw"``, or ``"normalized"``: :meth:`encode` returns ``(z - mean) * scale`` and
            :meth:`decode` takes that.
        normalization: ``(mean, scale)``, numbers or tensors that broadcast to the latents; None
            where nobody gave them.
        on_meta: whether it may be built on the device ``meta`` and take its tensors from the files:
            it must hold no tensor that is not in them.
    """

    resolution: int
    latent_shape: tuple[int, ...]
    spatial: bool
    stochastic: bool = False
    resizable: bool = False
    layouts: ClassVar[Mapping[str, Layout]] = {MAIN: Layout()}
    ema: bool = False
    latents: str = "raw"
    normalization: tuple[Tensor | float, Tensor | float] | None = None
    on_meta: ClassVar[bool] = False

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and log variance of the raw latents, each ``(N, *latent_shape)``.

        The log variance is None where the encoder is deterministic.
        """
        raise NotImplementedError

    def render(self, latents: Tensor) -> Tensor:
        """Raw latents ``(N, *latent_shape)`` to images ``(N, 3, R, R)``, about [-1, 1]."""
        raise NotImplementedError

    def parts(self) -> Mapping[str, nn.Module]:
        """Role of a weights file -> the module that it fills."""
        return {MAIN: self}

    def convert_weights(self, role: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keys of a file to keys of the part that it fills; unknown keys stay as they are."""
        return state

    def statistics(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and scale of the latents from the file of the role ``stats``."""
        raise ValueError(f"{type(self).__name__} takes no file of statistics")

    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images ``(N, 3, R, R)`` to latents ``(N, *latent_shape)``, in the dtype of the weights.

        Args:
            images: float RGB in [-1, 1].
            noise: standard normal, shaped like the latents: the posterior sample ``mean + std *
                noise``. ``None``: the posterior mean.

        Raises:
            ValueError: no float images of this size.
        """
        self._check_images(images)
        mean, log_variance = self.posterior(images.to(self._dtype(images)))
        if noise is not None and log_variance is not None:
            mean = mean + (0.5 * log_variance).exp() * noise.to(mean)
        if self.latents == "raw":
            return mean
        center, scale = self._normalization(mean)
        return (mean - center) * scale

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``(N, *latent_shape)`` to images ``(N, 3, R, R)``, about [-1, 1], unclamped.

        Raises:
            ValueError: latents of another shape.
        """
        self._check_latents(latents)
        latents = latents.to(self._dtype(latents))
        if self.latents == "normalized":
            center, scale = self._normalization(latents)
            latents = latents / scale + center
        return self.render(latents)

    def _normalization(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.normalization is None:
            raise ValueError(
                f"{type(self).__name__} has no statistics of its latents, which latents: "
                f"normalized needs; give a weights file in the role {STATISTICS!r}, or "
                "normalization: {mean: ..., scale: ...} in its config, or latents: raw"
            )
        mean, scale = (torch.as_tensor(part).to(like) for part in self.normalization)
        return mean, scale

    def _dtype(self, values: Tensor) -> torch.dtype:
        floats = (p.dtype for p in self.parameters() if p.is_floating_point())
        return next(floats, values.dtype)

    def _check_images(self, images: Tensor) -> None:
        size = (3, self.resolution, self.resolution)
        if images.ndim != 4 or tuple(images.shape[1:]) != size or not images.is_floating_point():
            raise ValueError(
                f"{type(self).__name__} was given images {tuple(images.shape)} of {images.dtype}; "
                f"it takes float RGB in [-1, 1], (N, {', '.join(map(str, size))}). Crop and scale "
                "them to that size first"
            )

    def _check_latents(self, latents: Tensor) -> None:
        given, expected = tuple(latents.shape[1:]), tuple(self.latent_shape)
        fits = given == expected or (
            self.resizable and len(given) == len(expected) and given[0] == expected[0]
        )
        if not fits or not latents.is_floating_point():
            raise ValueError(
                f"{type(self).__name__} was given latents {tuple(latents.shape)} of "
                f"{latents.dtype}; it takes floats, (N, {', '.join(map(str, expected))})"
            )


def build_autoencoder(family: str, config: Mapping[str, Any] | None = None) -> nn.Module:
    """An untrained autoencoder of a registered family, or of a person's class ``"module:Class"``.

    Raises:
        ValueError: unknown family, class not found, config keys that the family does not take, or
            that it needs and that are not given.
    """
    cls = _class_of(family)
    config = dict(config or {})
    accepted = inspect.signature(cls).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        bad = [key for key in config if key not in accepted]
        if bad:
            raise ValueError(
                f"autoencoder family {family!r} does not take {', '.join(map(repr, bad))}; "
                f"it takes {', '.join(accepted) or 'nothing'}"
            )
    missing = [
        key
        for key, parameter in accepted.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and key not in config
    ]
    if missing:
        raise ValueError(
            f"autoencoder family {family!r} needs {' and '.join(map(repr, missing))}; give the key "
            "under 'config' of its entry in 'autoencoders'"
        )
    try:
        return cls(**config)
    except TypeError as error:
        raise ValueError(f"cannot build autoencoder family {family!r}: {error}") from error


def load_autoencoder(
    name: str,
    weights: Weights | None = None,
    config: Mapping[str, Any] | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """An autoencoder in evaluation mode on ``device``, its weights loaded strictly.

    Args:
        name: of a published autoencoder or of an architecture (``config/autoencoders.yaml``), of a
            family (:data:`seesaw.registry.FAMILIES`), or ``"module:Class"``.
        weights: the official file, or a mapping role -> file where there are several; None for a
            class that needs none. See :func:`seesaw.autoencoders.weights.load_weights`.
        config: keyword arguments of the family, in place of those of the published one
            (``diffusers-kl`` takes its architecture from a ``config.json`` beside the weights,
            where nothing is said of it: :func:`seesaw.entries.with_architecture`); and the
            options of :data:`OPTIONS`: ``latents`` (``"raw"`` or ``"normalized"``), ``ema`` (which
            weights, where a file holds both), ``normalization`` (``{mean, scale}``: numbers, or
            lists per channel), ``dtype`` (a name of :data:`DTYPES`), ``compile`` (``torch.compile``
            encoder and decoder: minutes at first, faster afterwards).
        device: torch device.
        dtype: of weights and computation; None: that of the config, else float32.

    Raises:
        ValueError: see :func:`build_autoencoder` and
            :func:`seesaw.autoencoders.weights.load_weights`; or the object lacks a part of the
            contract.
    """
    family, config = _described(name, config or {})
    config = with_architecture(family, config, weights)
    options = {key: config.pop(key) for key in OPTIONS if key in config}
    target = _class_of(family)
    on_meta = weights is not None and getattr(target, "on_meta", False)
    with torch.device("meta" if on_meta else "cpu"):
        autoencoder = build_autoencoder(family, config)
    _apply(autoencoder, options, name)
    if weights is not None:
        load_weights(autoencoder, weights)
    for part in ("encode", "decode", "resolution", "latent_shape"):
        if not hasattr(autoencoder, part):
            raise ValueError(
                f"autoencoder {name!r} has no {part!r}; it must offer encode, decode, resolution "
                "and latent_shape (see seesaw.autoencoders.Autoencoder)"
            )
    if isinstance(autoencoder, nn.Module):
        dtype = dtype or DTYPES[options.get("dtype", "float32")]
        autoencoder.eval().requires_grad_(False).to(device=device, dtype=dtype)
        if all(parameter.ndim != 5 for parameter in autoencoder.parameters()):
            autoencoder.to(memory_format=torch.channels_last)
    if options.get("compile"):
        autoencoder.posterior = torch.compile(autoencoder.posterior)
        autoencoder.render = torch.compile(autoencoder.render)
    if weights is not None and getattr(autoencoder, "latents", "raw") == "normalized":
        autoencoder._normalization(torch.zeros(1, device=device))
    return autoencoder


def _described(name: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Family and config of a name."""
    if ":" in name:
        return name, dict(config)
    published = published_autoencoder(name)
    if published is not None:
        return published["family"], {**published["config"], **config}
    if name in FAMILIES:
        return name, dict(config)
    raise unknown("autoencoder", name, [*published_names(), *FAMILIES])


def _class_of(family: str) -> Any:
    return resolve(family) if ":" in family else FAMILIES.load(family)


def _apply(autoencoder: object, options: Mapping[str, Any], name: str) -> None:
    if options and not isinstance(autoencoder, Autoencoder):
        raise ValueError(
            f"autoencoder {name!r} does not take {', '.join(map(repr, options))}: its class does "
            "not derive from seesaw.autoencoders.Autoencoder"
        )
    if options.get("latents", "raw") not in LATENTS:
        raise unknown("value of latents", options["latents"], LATENTS)
    if options.get("dtype", "float32") not in DTYPES:
        raise unknown("value of dtype", options["dtype"], DTYPES)
    for key in ("latents", "ema"):
        if options.get(key) is not None:
            setattr(autoencoder, key, options[key])
    given = options.get("normalization")
    if given is not None:
        shape = (-1, *[1] * (len(autoencoder.latent_shape) - 1)) if autoencoder.spatial else (-1,)
        autoencoder.normalization = tuple(
            torch.tensor(given[key], dtype=torch.float32).reshape(shape)
            if isinstance(given[key], list | tuple)
            else float(given[key])
            for key in ("mean", "scale")
        )


def encode_uint8(autoencoder: nn.Module, images: Tensor, noise: Tensor | None = None) -> Tensor:
    """uint8 images ``(N, 3, R, R)`` on any device to float32 latents, checked against the contract.

    Raises:
        ValueError: images of a size that the autoencoder cannot take, latents of another shape than
            it declares, or a posterior sample asked of a class that has none.
    """
    size = tuple(images.shape[-2:])
    if size != (autoencoder.resolution,) * 2:
        raise ValueError(
            f"this autoencoder takes images of {autoencoder.resolution} x {autoencoder.resolution} "
            f"pixels, the packed data has {size[0]} x {size[1]}; set data.resolution to "
            f"{autoencoder.resolution}"
        )
    pixels = images.float() / 127.5 - 1.0
    if noise is None or not getattr(autoencoder, "stochastic", False):
        latents = autoencoder.encode(pixels)
    else:
        latents = autoencoder.encode(pixels, noise=noise)
    expected = tuple(autoencoder.latent_shape)
    if tuple(latents.shape[1:]) != expected:
        raise ValueError(
            f"encode returned latents of shape {tuple(latents.shape[1:])}, latent_shape says "
            f"{expected}"
        )
    return latents.float()


def decode_float(autoencoder: nn.Module, latents: Tensor) -> Tensor:
    """Latents to float32 images about [-1, 1], unclamped."""
    return autoencoder.decode(latents).float()


def to_uint8(images: Tensor, quantisation: str = "uint8-round") -> tuple[Tensor, Tensor]:
    """Float images about [-1, 1] to uint8, and the clipped share per image.

    Args:
        images: ``(N, 3, R, R)``.
        quantisation: ``"uint8-round"`` or ``"uint8-floor"``, see :func:`quantise`.

    Returns:
        uint8 ``(N, 3, R, R)`` and float64 ``(N,)``: the share of values outside [-1, 1].
    """
    levels = to_levels(images)
    clipped = ((levels < 0) | (levels > 255)).flatten(1).double().mean(1)
    return quantise(levels, quantisation).to(torch.uint8), clipped


def to_levels(images: Tensor) -> Tensor:
    """Float images about [-1, 1] on the scale 0..255 of uint8, neither clipped nor rounded."""
    return images * 127.5 + 127.5


def quantise(levels: Tensor, quantisation: str) -> Tensor:
    """What becomes of float pixels on the scale 0..255, still as floats.

    Args:
        levels: of any shape.
        quantisation: ``"uint8-round"``: clipped and rounded half up; ``"uint8-floor"``: clipped
            and truncated, after adding 2^-10, so that a level that float32 holds as 41.99999 stays
            42; ``"clipped"``: only that; ``"float"``: nothing.

    Raises:
        ValueError: another name.
    """
    if quantisation == "float":
        return levels
    if quantisation == "clipped":
        return levels.clamp(0, 255)
    if quantisation not in QUANTISATIONS:
        raise unknown("quantisation", quantisation, (*QUANTISATIONS, "clipped", "float"))
    return torch.floor(levels.clamp(0, 255) + QUANTISATIONS[quantisation])
