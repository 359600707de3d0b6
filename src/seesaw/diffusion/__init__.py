"""Stage ``diffusion``: latent diffusion models trained on an autoencoder's latents, and samples."""
