from seesaw.protocols.study import network_of, protocols_for, protocols_of, recorded


rule score_protocols:
    """rFID, PSNR, SSIM and LPIPS of one autoencoder by the protocols of one crop, and the sweep."""
    input:
        images=get_cropped_images,
        references=get_protocol_references,
        weights=get_weights,
        network_weights=lambda wildcards: weights_of_network(player("inception")),
        alex_weights=get_lpips_weights("alex"),
        vgg_weights=get_lpips_weights("vgg"),
    output:
        scores="<results>/protocols/{autoencoder}/{crop}.json",
    log:
        "<results>/logs/score_protocols/{autoencoder}_{crop}.log",
    benchmark:
        "<results>/benchmarks/score_protocols/{autoencoder}_{crop}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=BATCH_SIZE,
        feature_batch_size=FEATURE_BATCH_SIZE,
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=600,
    params:
        version=get_protocols_version,
        model=get_model,
        protocols=lambda wildcards: {
            name: recorded(protocol)
            for name, protocol in protocols_for(
                config, wildcards.autoencoder, wildcards.crop
            ).items()
        },
        scored=list(protocols_of(config)),
        compared=lambda wildcards: [
            list(at) for _, *at in protocol_features(wildcards.crop, wildcards.autoencoder)
        ],
        networks=lambda wildcards: {
            p.resize: network_of(config, p)
            for p in protocols_for(config, wildcards.autoencoder, wildcards.crop).values()
        },
        lpips=get_protocol_lpips,
        protocol=get_protocol,
        seed=config["seed"],
    script:
        "../scripts/score_protocols.py"
