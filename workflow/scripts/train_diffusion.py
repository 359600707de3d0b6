"""Rule train_diffusion: see seesaw.diffusion.job.train_diffusion."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.diffusion.job import train_diffusion
    from seesaw.external import with_weights

    wildcards = snakemake.wildcards
    job = {
        **with_weights(snakemake.params.model, snakemake.input.weights),
        "images": snakemake.input.images,
        "index": snakemake.input.index,
        "size": wildcards.model,
        "patch_size": snakemake.params.patch_size,
        "posterior": snakemake.params.posterior,
        "recipe": {"steps": int(wildcards.step), **snakemake.params.recipe},
        "time_shift_dimensions": snakemake.params.time_shift_dimensions,
        "stop": int(wildcards.step),
        "start": snakemake.input.start or None,
        "output": snakemake.output.state,
        "seed": snakemake.params.seed,
        "what": f"{wildcards.model} on {wildcards.autoencoder}",
    }
    train_diffusion(job, devices=snakemake.resources.gpu, device=device)
