from seesaw.versions import code_hash


rule table2:
    """Seesaw Table 2, as far as it is measured: reconstruction and condition consistency."""
    input:
        scores=scores_of("metrics", "gfid", "probes"),
    output:
        table=report(
            "<results>/tables/table2.csv",
            caption="../report/table2.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/table2.log",
    benchmark:
        "<results>/benchmarks/table2/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/table2.py"


rule table3:
    """Seesaw Table 3: samples under control, with what to compare them with."""
    input:
        scores=scores_of("metrics", "control"),
    output:
        table=report(
            "<results>/tables/table3.csv",
            caption="../report/table3.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/table3.log",
    benchmark:
        "<results>/benchmarks/table3/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/table3.py"


rule table4:
    """Seesaw Table 4: how the branches were trained."""
    input:
        scores=scores_of("control"),
    output:
        table=report(
            "<results>/tables/table4.csv",
            caption="../report/table4.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/table4.log",
    benchmark:
        "<results>/benchmarks/table4/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/table4.py"


rule table5:
    """Seesaw Table 5: every autoencoder by every metric of its reconstructions, with baselines."""
    input:
        scores=scores_of("metrics"),
    output:
        table=report(
            "<results>/tables/table5.csv",
            caption="../report/table5.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/table5.log",
    benchmark:
        "<results>/benchmarks/table5/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/table5.py"


rule ifid_table4:
    """iFID Table 4: interpolation, size of the reference set, number of neighbours."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        table=report(
            "<results>/tables/ifid_table4.csv",
            caption="../report/ifid_table4.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/ifid_table4.log",
    benchmark:
        "<results>/benchmarks/ifid_table4/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/ifid_table4.py"


rule ifid_table5:
    """iFID Table 5: interpolation strength."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        table=report(
            "<results>/tables/ifid_table5.csv",
            caption="../report/ifid_table5.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/ifid_table5.log",
    benchmark:
        "<results>/benchmarks/ifid_table5/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/ifid_table5.py"


rule correlations:
    """Every metric against every condition metric: Pearson, Spearman, n, interval, p."""
    input:
        scores=scores_of("metrics", "ifid", "gfid", "diffusability"),
    output:
        table=report(
            "<results>/tables/correlations.csv",
            caption="../report/correlations.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/correlations.log",
    benchmark:
        "<results>/benchmarks/correlations/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/correlations.py"


rule protocols:
    """Every autoencoder by every protocol, and whether their ranks agree."""
    input:
        scores=scores_of("protocols"),
    output:
        table=report(
            "<results>/tables/protocols.csv",
            caption="../report/protocols.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/protocols.log",
    benchmark:
        "<results>/benchmarks/protocols/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.protocol_tables"),
    script:
        "../scripts/protocols.py"


rule protocol_sweep:
    """rFID of the same weights under every protocol of the sweep, and what each axis moves."""
    input:
        scores=scores_of("metrics", "protocols"),
    output:
        table=report(
            "<results>/tables/protocol_sweep.csv",
            caption="../report/protocol_sweep.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/protocol_sweep.log",
    benchmark:
        "<results>/benchmarks/protocol_sweep/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.protocol_tables"),
    script:
        "../scripts/protocol_sweep.py"


rule diffusability_losses:
    """EQ, SE, VF and GMM loss of every autoencoder."""
    input:
        scores=scores_of("diffusability"),
    output:
        table=report(
            "<results>/tables/diffusability_losses.csv",
            caption="../report/diffusability_losses.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/diffusability_losses.log",
    benchmark:
        "<results>/benchmarks/diffusability_losses/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/diffusability_losses.py"


rule network_quality:
    """How good the networks that were trained here are, on held-out truth."""
    input:
        quality=get_quality,
    output:
        table=report(
            "<results>/tables/network_quality.csv",
            caption="../report/network_quality.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/network_quality.log",
    benchmark:
        "<results>/benchmarks/network_quality/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.tables"),
    script:
        "../scripts/network_quality.py"


rule autoencoder_properties:
    """What each autoencoder is and costs: size, speed, memory, statistics of its latents."""
    input:
        manifests=expand(
            "<results>/reconstruct/{autoencoder}/manifest.json",
            autoencoder=AUTOENCODERS,
        ),
        speeds=expand(
            "<results>/reconstruct/{autoencoder}/speed.json",
            autoencoder=AUTOENCODERS,
        ),
    output:
        table=report(
            "<results>/tables/autoencoder_properties.csv",
            caption="../report/autoencoder_properties.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/autoencoder_properties.log",
    benchmark:
        "<results>/benchmarks/autoencoder_properties/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.autoencoder_properties"),
        autoencoders=get_builds,
    script:
        "../scripts/autoencoder_properties.py"


rule table1:
    """Seesaw Table 1 as far as a run can have it: what is measured, what each metric selects."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        table=report(
            "<results>/tables/table1.csv",
            caption="../report/table1.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/table1.log",
    benchmark:
        "<results>/benchmarks/table1/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.generation_tables"),
    script:
        "../scripts/table1.py"


rule generation:
    """Every generation metric of every set of samples."""
    input:
        scores=scores_of("gfid"),
    output:
        table=report(
            "<results>/tables/generation.csv",
            caption="../report/generation.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/generation.log",
    benchmark:
        "<results>/benchmarks/generation/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.generation_tables"),
    script:
        "../scripts/generation.py"


rule ifid_table1:
    """iFID Table 1: correlation of rFID and iFID with gFID(t)."""
    input:
        scores=scores_of("metrics", "ifid", "gfid"),
    output:
        table=report(
            "<results>/tables/ifid_table1.csv",
            caption="../report/ifid_table1.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/ifid_table1.log",
    benchmark:
        "<results>/benchmarks/ifid_table1/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.generation_tables"),
    script:
        "../scripts/ifid_table1.py"


rule ifid_table2:
    """iFID Table 2: the autoencoders of the run."""
    input:
        scores=scores_of("metrics"),
        reconstructions=expand(
            "<results>/reconstruct/{autoencoder}/manifest.json",
            autoencoder=AUTOENCODERS,
        ),
    output:
        table=report(
            "<results>/tables/ifid_table2.csv",
            caption="../report/ifid_table2.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/ifid_table2.log",
    benchmark:
        "<results>/benchmarks/ifid_table2/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.generation_tables"),
        autoencoders=get_builds,
    script:
        "../scripts/ifid_table2.py"


rule ifid_table3:
    """iFID Table 3: correlation of metrics and losses with gFID."""
    input:
        scores=scores_of("metrics", "ifid", "gfid", "diffusability"),
    output:
        table=report(
            "<results>/tables/ifid_table3.csv",
            caption="../report/ifid_table3.rst",
            category="Tables",
        ),
    log:
        "<results>/logs/ifid_table3.log",
    benchmark:
        "<results>/benchmarks/ifid_table3/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.generation_tables"),
    script:
        "../scripts/ifid_table3.py"
