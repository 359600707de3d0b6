from seesaw.versions import code_hash


rule figure2:
    """Seesaw Figure 2: Spearman heat map of generation and reconstruction metrics by conditions."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        pdf="<results>/figures/figure2.pdf",
        png=report(
            "<results>/figures/figure2.png",
            caption="../report/figure2.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure2.csv",
    log:
        "<results>/logs/figure2.log",
    benchmark:
        "<results>/benchmarks/figure2/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.correlation"),
    script:
        "../scripts/figure2.py"


rule figure3:
    """Seesaw Figure 3: reconstruction metrics against condition drift."""
    input:
        scores=scores_of("metrics", "gfid"),
    output:
        pdf="<results>/figures/figure3.pdf",
        png=report(
            "<results>/figures/figure3.png",
            caption="../report/figure3.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure3.csv",
    log:
        "<results>/logs/figure3.log",
    benchmark:
        "<results>/benchmarks/figure3/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.scatter"),
    script:
        "../scripts/figure3.py"


rule figure4:
    """Seesaw Figure 4: conditions, samples under control, and the conditions found in them."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        hints=[
            f"<results>/conditions/{EVALUATION}/{player(c)}/manifest.json"
            for c in CONTROL["conditions"]
        ],
        samples=expand(
            "<results>/control/{autoencoder}/{condition}/samples/manifest.json",
            autoencoder=CONTROLLED,
            condition=CONTROL["conditions"],
        ),
        maps=[
            f"<results>/conditions/{name}@control@{c}/{player(c)}/manifest.json"
            for name in CONTROLLED
            for c in CONTROL["conditions"]
        ],
    output:
        pdf="<results>/figures/figure4.pdf",
        png=report(
            "<results>/figures/figure4.png",
            caption="../report/figure4.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure4.csv",
    log:
        "<results>/logs/figure4.log",
    benchmark:
        "<results>/benchmarks/figure4/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.images"),
        autoencoders=list(CONTROLLED),
        conditions={c: player(c) for c in CONTROL["conditions"]},
        seed=config["seed"],
    script:
        "../scripts/figure4.py"


rule figure5:
    """Seesaw Figure 5: every metric against Canny drift."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        pdf="<results>/figures/figure5.pdf",
        png=report(
            "<results>/figures/figure5.png",
            caption="../report/figure5.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure5.csv",
    log:
        "<results>/logs/figure5.log",
    benchmark:
        "<results>/benchmarks/figure5/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.sweeps"),
    script:
        "../scripts/figure5.py"


rule figure6:
    """Seesaw Figure 6: every metric against depth drift."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        pdf="<results>/figures/figure6.pdf",
        png=report(
            "<results>/figures/figure6.png",
            caption="../report/figure6.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure6.csv",
    log:
        "<results>/logs/figure6.log",
    benchmark:
        "<results>/benchmarks/figure6/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.sweeps"),
    script:
        "../scripts/figure6.py"


rule figure7:
    """Seesaw Figure 7: every metric against segmentation drift."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        pdf="<results>/figures/figure7.pdf",
        png=report(
            "<results>/figures/figure7.png",
            caption="../report/figure7.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure7.csv",
    log:
        "<results>/logs/figure7.log",
    benchmark:
        "<results>/benchmarks/figure7/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.sweeps"),
    script:
        "../scripts/figure7.py"


rule figure8:
    """Seesaw Figure 8: every metric against identity and Face@R."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        pdf="<results>/figures/figure8.pdf",
        png=report(
            "<results>/figures/figure8.png",
            caption="../report/figure8.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure8.csv",
    log:
        "<results>/logs/figure8.log",
    benchmark:
        "<results>/benchmarks/figure8/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.sweeps"),
    script:
        "../scripts/figure8.py"


rule figure9:
    """Seesaw Figure 9: every metric against CLIP and DINO similarity."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        pdf="<results>/figures/figure9.pdf",
        png=report(
            "<results>/figures/figure9.png",
            caption="../report/figure9.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure9.csv",
    log:
        "<results>/logs/figure9.log",
    benchmark:
        "<results>/benchmarks/figure9/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.sweeps"),
    script:
        "../scripts/figure9.py"


rule ifid_figure5:
    """iFID Figure 5: image, drawn neighbour, interpolation and reconstruction, decoded."""
    input:
        examples=expand(
            "<results>/ifid/{autoencoder}/examples.safetensors",
            autoencoder=AUTOENCODERS,
        ),
    output:
        pdf="<results>/figures/ifid_figure5.pdf",
        png=report(
            "<results>/figures/ifid_figure5.png",
            caption="../report/ifid_figure5.rst",
            category="Figures",
        ),
        csv="<results>/figures/ifid_figure5.csv",
    log:
        "<results>/logs/ifid_figure5.log",
    benchmark:
        "<results>/benchmarks/ifid_figure5/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.images"),
        autoencoders=list(AUTOENCODERS),
    script:
        "../scripts/ifid_figure5.py"


rule autoencoder_grid:
    """The same images through every autoencoder."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        reconstructions=expand(
            "<results>/reconstruct/{autoencoder}/manifest.json",
            autoencoder=AUTOENCODERS,
        ),
        psnr=expand("<results>/metrics/{autoencoder}/psnr.parquet", autoencoder=AUTOENCODERS),
    output:
        pdf="<results>/figures/autoencoder_grid.pdf",
        png=report(
            "<results>/figures/autoencoder_grid.png",
            caption="../report/autoencoder_grid.rst",
            category="Figures",
        ),
        csv="<results>/figures/autoencoder_grid.csv",
    log:
        "<results>/logs/autoencoder_grid.log",
    benchmark:
        "<results>/benchmarks/autoencoder_grid/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.images"),
        autoencoders=list(AUTOENCODERS),
        images_shown=10,
        seed=config["seed"],
    script:
        "../scripts/autoencoder_grid.py"


rule probe_strip:
    """Condition maps beside those that probes read from every latent (Seesaw A.3)."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        examples=expand(
            "<results>/probes/{autoencoder}/examples/{condition}.safetensors",
            autoencoder=PROBED,
            condition=PROBES["conditions"],
        ),
    output:
        pdf="<results>/figures/probe_strip.pdf",
        png=report(
            "<results>/figures/probe_strip.png",
            caption="../report/probe_strip.rst",
            category="Figures",
        ),
        csv="<results>/figures/probe_strip.csv",
    log:
        "<results>/logs/probe_strip.log",
    benchmark:
        "<results>/benchmarks/probe_strip/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.images"),
        autoencoders=PROBED,
        conditions={c: player(c) for c in PROBES["conditions"]},
    script:
        "../scripts/probe_strip.py"


rule scenes:
    """The mini world shown: images, true depth, true segmentation, captions."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        index=f"<results>/data/{EVALUATION}/index.parquet",
    output:
        pdf="<results>/figures/scenes.pdf",
        png=report(
            "<results>/figures/scenes.png",
            caption="../report/scenes.rst",
            category="Figures",
        ),
        csv="<results>/figures/scenes.csv",
    log:
        "<results>/logs/scenes.log",
    benchmark:
        "<results>/benchmarks/scenes/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.images"),
        images_shown=12,
        seed=config["seed"],
    script:
        "../scripts/scenes.py"


rule gallery:
    """One autoencoder's worst, median and best reconstructions, with their condition maps."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        reconstructions="<results>/reconstruct/{autoencoder}/manifest.json",
        metrics=lambda wildcards: expand(
            "<results>/metrics/{autoencoder}/{metric}.parquet",
            autoencoder=wildcards.autoencoder,
            metric=GALLERY_METRICS,
        ),
        reference_conditions=get_gallery_conditions(EVALUATION),
        conditions=get_gallery_conditions(None),
    output:
        pdf="<results>/figures/gallery/{autoencoder}.pdf",
        png=report(
            "<results>/figures/gallery/{autoencoder}.png",
            caption="../report/gallery.rst",
            category="Figures",
            subcategory="Gallery",
        ),
        csv="<results>/figures/gallery/{autoencoder}.csv",
    log:
        "<results>/logs/gallery/{autoencoder}.log",
    benchmark:
        "<results>/benchmarks/gallery/{autoencoder}.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.gallery"),
        metrics=GALLERY_METRICS,
        networks={role: player(role) for role in GALLERY_ROLES},
        ranked_by="psnr",
        images_shown=3,
    script:
        "../scripts/gallery.py"


rule figure1:
    """After Seesaw Figure 1: ranks by gFID, by PSNR and by condition drift."""
    input:
        scores=scores_of("metrics", "gfid"),
    output:
        pdf="<results>/figures/figure1.pdf",
        png=report(
            "<results>/figures/figure1.png",
            caption="../report/figure1.rst",
            category="Figures",
        ),
        csv="<results>/figures/figure1.csv",
    log:
        "<results>/logs/figure1.log",
    benchmark:
        "<results>/benchmarks/figure1/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.generation"),
    script:
        "../scripts/figure1.py"


rule ifid_figure1:
    """After iFID Figure 1: gFID against rFID and iFID."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        pdf="<results>/figures/ifid_figure1.pdf",
        png=report(
            "<results>/figures/ifid_figure1.png",
            caption="../report/ifid_figure1.rst",
            category="Figures",
        ),
        csv="<results>/figures/ifid_figure1.csv",
    log:
        "<results>/logs/ifid_figure1.log",
    benchmark:
        "<results>/benchmarks/ifid_figure1/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.generation"),
    script:
        "../scripts/ifid_figure1.py"


rule gfid_t:
    """Curves of gFID(t), and what goes along with them (iFID Table 1)."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        pdf="<results>/figures/gfid_t.pdf",
        png=report(
            "<results>/figures/gfid_t.png",
            caption="../report/gfid_t.rst",
            category="Figures",
        ),
        csv="<results>/figures/gfid_t.csv",
    log:
        "<results>/logs/gfid_t.log",
    benchmark:
        "<results>/benchmarks/gfid_t/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.generation"),
    script:
        "../scripts/gfid_t.py"


rule ifid_figure2:
    """After iFID Figure 2: images denoised from t, refinement to navigation."""
    input:
        index=f"<results>/data/{EVALUATION}/index.parquet",
        examples=expand(
            "<results>/gfid/{autoencoder}/{model}/examples.safetensors",
            autoencoder=DIFFUSED,
            model=MODELS[:1],
        ),
    output:
        pdf="<results>/figures/ifid_figure2.pdf",
        png=report(
            "<results>/figures/ifid_figure2.png",
            caption="../report/ifid_figure2.rst",
            category="Figures",
        ),
        csv="<results>/figures/ifid_figure2.csv",
    log:
        "<results>/logs/ifid_figure2.log",
    benchmark:
        "<results>/benchmarks/ifid_figure2/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.samples"),
        autoencoders=DIFFUSED,
        source=config["data"]["splits"][EVALUATION]["source"],
    script:
        "../scripts/ifid_figure2.py"


rule sample_grid:
    """Samples of every diffusion model, by every way to sample."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        index=f"<results>/data/{EVALUATION}/index.parquet",
        samples=get_samples,
    output:
        pdf="<results>/figures/sample_grid.pdf",
        png=report(
            "<results>/figures/sample_grid.png",
            caption="../report/sample_grid.rst",
            category="Figures",
        ),
        csv="<results>/figures/sample_grid.csv",
    log:
        "<results>/logs/sample_grid.log",
    benchmark:
        "<results>/benchmarks/sample_grid/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.figures.samples"),
        samples=list(SAMPLES),
        source=config["data"]["splits"][EVALUATION]["source"],
        images_shown=max(2, 12 // max(1, len(MODELS) * len(SAMPLERS))),
        seed=config["seed"],
    script:
        "../scripts/sample_grid.py"
