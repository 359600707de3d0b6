from seesaw.limits import job_minutes
from seesaw.registry import NETWORKS


rule extract_conditions:
    """What one detector or feature network finds in one source's images."""
    input:
        images=get_source_images,
        weights=get_network_weights,
    output:
        manifest="<results>/conditions/{source}/{network}/manifest.json",
    log:
        "<results>/logs/extract_conditions/{source}_{network}.log",
    benchmark:
        "<results>/benchmarks/extract_conditions/{source}_{network}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=FEATURE_BATCH_SIZE,
        gpu=lambda wildcards: int(NETWORKS[wildcards.network].torch),
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: job_minutes(
            "extract_conditions", wildcards, config, least=120, attempt=attempt
        ),
    params:
        version=get_network_version,
    script:
        "../scripts/extract_conditions.py"
