from seesaw.registry import METRICS
from seesaw.versions import code_hash


rule score_metric:
    """One metric of one autoencoder: a table per image, and its scores with their origin."""
    input:
        reference=get_metric_input(EVALUATION),
        source=get_metric_input(None),
        weights=get_metric_weights,
    output:
        scores="<results>/metrics/{autoencoder}/{metric}.json",
        images="<results>/metrics/{autoencoder}/{metric}.parquet",
    log:
        "<results>/logs/score_metric/{autoencoder}_{metric}.log",
    benchmark:
        "<results>/benchmarks/score_metric/{autoencoder}_{metric}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=FEATURE_BATCH_SIZE,
        gpu=lambda wildcards: int(runs_network(METRICS[wildcards.metric])),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=120,
    params:
        version=get_metric_version,
        network=get_metric_network,
        protocol=get_protocol,
        seed=config["seed"],
    script:
        "../scripts/score_metric.py"


rule collect_scores:
    """All scores of one stage in one long table, with where each comes from."""
    input:
        scores=get_stage_scores,
        manifests=get_scored_manifests,
    output:
        table="<results>/scores/{stage}.csv",
    log:
        "<results>/logs/collect_scores/{stage}.log",
    benchmark:
        "<results>/benchmarks/collect_scores/{stage}.tsv"
    conda:
        "../../envs/tables.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=30,
    params:
        code=code_hash("seesaw.metrics.collect"),
        autoencoders=get_scored,
        data=config["name"],
    script:
        "../scripts/collect_scores.py"


rule scores:
    """All scores of the run in one long table."""
    input:
        scores=scores_of(*SCORES),
    output:
        table="<results>/tables/scores.csv",
    log:
        "<results>/logs/scores.log",
    benchmark:
        "<results>/benchmarks/scores/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.metrics.collect"),
        autoencoders=list(AUTOENCODERS),
    script:
        "../scripts/scores.py"
