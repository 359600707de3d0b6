# Official weights. A file that is there when a run starts is an input like any other; the rule knows
# those only that are not, and the lock file (hashes of all that was ever used) is no input.
from seesaw.assets import options_of

# So that many jobs do not hammer a server. --resources would take the place of a profile's limit.
if "download" not in workflow.global_resources:
    workflow.register_resource("download", 4)


rule fetch_asset:
    """Fetch an official file (weights, statistics), resumed after a cut, with the right hash."""
    output:
        # not removed before the job: another run may just have fetched it
        file=update(f"{WEIGHTS}/{{asset}}"),
    log:
        "<results>/logs/fetch_asset/{asset}.log",
    wildcard_constraints:
        asset=any_of(asset.path for asset in TO_FETCH.values()),
    localrule: True  # on a cluster: where Snakemake runs, since compute nodes seldom have a network
    conda:
        "../../envs/tables.yaml"
    resources:
        download=1,
    params:
        version=get_version("assets"),
        asset=get_asset,
        folder=lambda wildcards, output: output.file[: -len(wildcards.asset) - 1],
        options=options_of(config),
        seed=config["seed"],
    script:
        "../scripts/fetch_asset.py"
