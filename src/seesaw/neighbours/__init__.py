"""Stage ``neighbours``: the K nearest reference latents of every evaluation latent, exactly."""
