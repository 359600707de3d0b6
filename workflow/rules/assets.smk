# Official weights. A file that is there when a run starts is an input like any other; the rule knows
# those only that are not, and the lock file (hashes of all that was ever used) is no input.
WEIGHTS = weights_folder(config)

# So that many jobs do not hammer a server. --resources would take the place of a profile's limit.
if "download" not in workflow.global_resources:
    workflow.register_resource("download", 4)


def check_assets(paths):
    """Stop a run whose weights are not those of the registry or of the lock file."""
    wrong = []
    for path in sorted(set(paths) & set(ASSETS)):
        if path.exists():
            try:
                check(ASSETS[path], WEIGHTS)
            except ValueError as error:
                wrong.append(str(error))
    if wrong:
        raise WorkflowError(
            "Weights are not what they were. No job was started.\n" + "\n".join(wrong)
        )


def settle_times():
    """Undo that Snakemake touches what was fetched: its time is that of its first fetch."""
    for asset in TO_FETCH.values():
        settle_time(asset, WEIGHTS)


onsuccess:
    settle_times()


onerror:
    settle_times()


def get_asset(wildcards):
    """All that is known of a file to fetch."""
    return ASSETS[WEIGHTS / wildcards.asset]


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
        folder=str(WEIGHTS),
        options=options_of(config),
        seed=config["seed"],
    script:
        "../scripts/fetch_asset.py"
