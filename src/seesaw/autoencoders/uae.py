"""UAE: RAE's encoder and decoder, trained together, with a modulator of frequency bands."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seesaw.autoencoders.precision import FixedDtype
from seesaw.autoencoders.rae_dinov2 import RAEDinov2
from seesaw.autoencoders.weights import MAIN, STATISTICS, Layout

ENCODER = "encoder.encoder."
DECODER = "decoder."


class FrequencyModulator(FixedDtype):
    """Splits a grid into rings of frequencies, mixes them, and adds what two convolutions make.

    Each band is cut out of what the bands before it left over. The rings are inclusive on both
    edges and the last ends at half the grid's side, so that the corners of the spectrum are lost.
    Always float32.

    Args:
        channels: of the grid.
        radii: outer radii of the rings, ascending, in units in which the last one is side / 2.
        mixes: linear maps from bands to bands, one after the other.
    """

    def __init__(
        self, channels: int, radii: Sequence[float] = (0.32, 16.0), mixes: int = 2
    ) -> None:
        super().__init__()
        bands = len(radii)
        self.radii = tuple(radii)
        self.band_transform = nn.Module()
        self.band_transform.layers = nn.ModuleList(
            nn.Linear(bands, bands, bias=False) for _ in range(mixes)
        )
        self.denoiser = nn.Sequential(
            nn.Conv2d(bands * channels, bands * channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(bands * channels, channels, 3, padding=1),
        )

    def forward(self, grids: Tensor) -> Tensor:
        """Grids ``(N, C, s, s)`` to grids of the same shape and dtype."""
        bands = self.split(grids.float())
        for layer in self.band_transform.layers:
            bands = layer(bands.movedim(1, -1)).movedim(-1, 1)
        return (self.denoiser(bands.flatten(1, 2)) + bands.sum(1)).to(grids.dtype)

    def split(self, grids: Tensor) -> Tensor:
        """Grids ``(N, C, s, s)`` to their bands ``(N, bands, C, s, s)``."""
        side = grids.shape[-1]
        steps = torch.arange(side, device=grids.device, dtype=grids.dtype) - side // 2
        radius = (steps[:, None] ** 2 + steps**2).sqrt()
        edges = [0.0, *(side / 2 * radius / self.radii[-1] for radius in self.radii)]
        bands, rest = [], grids
        for inner, outer in zip(edges, edges[1:], strict=False):
            ring = (inner <= radius) & (radius <= outer)
            band = torch.fft.ifft2(torch.fft.fft2(rest) * torch.fft.ifftshift(ring)).real
            bands.append(band)
            rest = rest - band
        return torch.stack(bands, dim=1)


class UAE(RAEDinov2):
    """UAE ("Unified Autoencoding", WeichenFan/UAE): a fine-tuned RAE in one checkpoint.

    Version 1 (branch old_uae, commit e0f28f7) passes the latents through a frequency modulator;
    version 2 (branch main, commit 3c2fde4) has none. Latents are raw; no statistics were published
    (a file ``stats`` with ``mean`` and ``var``, as RAE's, is taken where there is one).

    Args:
        version: 1 or 2.
        modulator: whether latents pass through the modulator; None: as the version has it. Without
            it the latents of version 1 are those before the modulator, which its decoder was not
            trained on.
        radii: of the modulator's rings, see :class:`FrequencyModulator`.
        **sizes: see :class:`seesaw.autoencoders.rae_dinov2.RAEDinov2`.

    Raises:
        ValueError: an unknown version, a modulator asked of version 2, or sizes that do not fit.
    """

    layouts: ClassVar[Mapping[str, Layout]] = {
        MAIN: Layout(entry="model", ema_entry="ema"),
        STATISTICS: Layout(optional=True),
    }

    def __init__(
        self,
        *,
        version: int = 1,
        modulator: bool | None = None,
        radii: Sequence[float] = (0.32, 16.0),
        **sizes: Any,
    ) -> None:
        if version not in (1, 2):
            raise ValueError(f"version {version!r} of UAE is unknown; there are 1 and 2")
        if version == 2 and modulator:
            raise ValueError("version 2 of UAE has no modulator; leave modulator out")
        super().__init__(**sizes)
        self.modulated = version == 1 and modulator is not False
        if version == 1:
            self.freq_modulator = FrequencyModulator(self.latent_shape[0], radii)

    def parts(self) -> Mapping[str, nn.Module]:
        """Role of a file to the module that it fills."""
        return {MAIN: self}

    def convert_weights(self, role: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keys of the file to those of this module; some files have ``module.`` before each."""
        parts: dict[str, dict[str, Tensor]] = {ENCODER: {}, DECODER: {}, "": {}}
        for key, tensor in state.items():
            key = key.removeprefix("module.")
            prefix = next(prefix for prefix in parts if key.startswith(prefix))
            parts[prefix][key.removeprefix(prefix)] = tensor
        encoder, decoder = (
            self.encoder.convert(parts[ENCODER]),
            self.decoder.convert(parts[DECODER]),
        )
        return {
            **{f"encoder.{key}": tensor for key, tensor in encoder.items()},
            **{f"{DECODER}{key}": tensor for key, tensor in decoder.items()},
            **parts[""],
        }

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """The encoder's tokens as a grid, modulated; there is no variance."""
        latents = self.encoder(images)
        return (self.freq_modulator(latents) if self.modulated else latents), None
