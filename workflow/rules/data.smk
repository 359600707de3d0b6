rule pack_images:
    """Pack the images of a split once: cropped, uint8, in shards, with an index."""
    input:
        folder=get_folder,
    output:
        manifest="<results>/data/{split}/manifest.json",
        index="<results>/data/{split}/index.parquet",
    log:
        "<results>/logs/pack_images/{split}.log",
    benchmark:
        "<results>/benchmarks/pack_images/{split}.tsv"
    priority: 10  # it wants several cores at once; later it would wait until all are free
    conda:
        "../../envs/tables.yaml"
    threads: 8
    resources:
        mem_mb=get_packing_memory,
        runtime=600,
    params:
        version=get_data_version,
        stamp=get_folder_stamp,
        source=get_source,
        resolution=config["data"]["resolution"],
        crop=get_crop,
        shard_size=config["data"]["shard_size"],
        seed=config["seed"],
    script:
        "../scripts/pack_images.py"
