"""RAE as its authors published it: a frozen DINOv2 encoder and a trained ViT decoder."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.rae_parts import Dinov2Encoder, PixelDecoder
from seesaw.autoencoders.weights import Layout

EPS = 1e-5


class RAEDinov2(Autoencoder):
    """RAE (arXiv 2510.11690) with DINOv2 and registers, in the official files.

    Follows the authors' code (bytetriper/RAE, commit a4d18c4): latents are the encoder's patch
    tokens after a LayerNorm without affine, a grid (width, g, g) for g = encoder_input / 14. The
    architecture ``rae_dinov2b`` has the option ``latents: normalized``, as the authors' encode and
    decode do: per element, with the file of statistics. No noise is added to the latents (the
    authors' ``noise_tau`` is a matter of training). The mini world's RAE is
    :class:`seesaw.autoencoders.rae.RAE`.

    Files: ``encoder`` (DINOv2 with registers, in names of transformers 4 or 5; the last LayerNorm's
    affine is dropped, as by the authors), ``decoder``, and ``stats`` (mean and variance), which
    ``latents: raw`` does not need.

    Args:
        width: channels of the encoder and of the latents.
        depth: blocks of the encoder.
        heads: attention heads of the encoder.
        encoder_input: side to which the encoder resizes its images, in pixels.
        encoder_table: side of the encoder's grid of position embeddings.
        decoder_width: channels of a token in the decoder.
        decoder_depth: blocks of the decoder.
        decoder_heads: attention heads of the decoder.
        decoder_hidden: hidden width of the decoder's perceptrons.
        decoder_patch: side of the square of pixels that a token makes; images have a side of
            decoder_patch * encoder_input / 14.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    spatial = True
    on_meta = True
    layouts: ClassVar[Mapping[str, Layout]] = {
        "encoder": Layout(),
        "decoder": Layout(),
        "stats": Layout(optional=True),
    }

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        encoder_input: int = 224,
        encoder_table: int = 37,
        decoder_width: int = 1152,
        decoder_depth: int = 28,
        decoder_heads: int = 16,
        decoder_hidden: int = 4096,
        decoder_patch: int = 16,
    ) -> None:
        super().__init__()
        self.encoder = Dinov2Encoder(
            width=width, depth=depth, heads=heads, input_size=encoder_input, table=encoder_table
        )
        grid = self.encoder.grid
        self.decoder = PixelDecoder(
            channels=width,
            grid=grid,
            width=decoder_width,
            depth=decoder_depth,
            heads=decoder_heads,
            hidden=decoder_hidden,
            patch=decoder_patch,
        )
        self.resolution = grid * decoder_patch
        self.latent_shape = (width, grid, grid)

    def parts(self) -> Mapping[str, nn.Module]:
        """Role of a file to the module that it fills."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    def convert_weights(self, role: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keys of the file of ``role`` to those of its module."""
        return self.parts()[role].convert(state) if role in self.parts() else state

    def statistics(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and scale 1 / sqrt(variance + 1e-5), each ``(1, *latent_shape)``.

        Raises:
            ValueError: no ``mean`` and ``var`` of the latents' shape.
        """
        missing = [key for key in ("mean", "var") if key not in state]
        if missing:
            raise ValueError(
                f"the file of statistics holds {', '.join(map(repr, state)) or 'nothing'}; it must "
                f"hold 'mean' and 'var', and lacks {' and '.join(map(repr, missing))}"
            )
        mean, variance = state["mean"].float(), state["var"].float()
        for name, tensor in (("mean", mean), ("var", variance)):
            if tuple(tensor.shape) not in (self.latent_shape, (1, *self.latent_shape)):
                raise ValueError(
                    f"{name!r} in the file of statistics is {tuple(tensor.shape)}, the latents are "
                    f"{self.latent_shape}"
                )
        return mean.view(1, *self.latent_shape), 1 / (variance + EPS).sqrt().view(
            1, *self.latent_shape
        )

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """The encoder's tokens as a grid, before any statistics; there is no variance."""
        return self.encoder(images), None

    def render(self, latents: Tensor) -> Tensor:
        """Raw latents to images about [-1, 1], unclamped."""
        return self.decoder(latents)
