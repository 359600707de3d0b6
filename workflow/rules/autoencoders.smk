rule train_autoencoder:
    """Train an autoencoder of the pool, or fine-tune it from another one."""
    input:
        images="<results>/data/train/manifest.json",
        init=get_initial_weights,
        teacher=get_teacher_weights,
    output:
        weights="<results>/autoencoders/{autoencoder}/weights.safetensors",
        summary="<results>/autoencoders/{autoencoder}/training.json",
    log:
        "<results>/logs/train_autoencoder/{autoencoder}.log",
    benchmark:
        "<results>/benchmarks/train_autoencoder/{autoencoder}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=600,
    params:
        version=get_training_version,
        model=get_model,
        training=get_training,
        teacher=get_teacher,
        seed=config["seed"],
    script:
        "../scripts/train_autoencoder.py"
