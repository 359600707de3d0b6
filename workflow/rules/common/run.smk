# What a run lacks and what it fetches: weights are checked before its first job.
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from seesaw.assets import can_come, check, settle_time, weights_folder
from seesaw.device import unused_gpus
from seesaw.external import stop_words

# What fetch_asset makes. Not what is there already, so that no file that a person has put there is
# ever made again or removed; but a job's own process must find its rule in any case.
WEIGHTS = weights_folder(config)
CAN_COME = can_come(ASSETS, config)
TO_FETCH = {
    path: asset
    for path, asset in CAN_COME.items()
    if not (workflow.is_main_process and path.exists())
}

ABSENT, USED = set(), set()


def get_asset(wildcards):
    """All that is known of a file to fetch."""
    return ASSETS[WEIGHTS / wildcards.asset]


def note_absent(absent):
    """Remember what is not there. It stops a run before its first job, see onstart, but no plan.

    Where no onstart follows (--no-hooks, which the processes of a run's own jobs have as well), it
    stops at once.
    """
    ABSENT.add(absent)
    settings = workflow.execution_settings
    if settings is not None and settings.no_hooks and not workflow.dryrun:
        raise WorkflowError(stop_words(ABSENT))


def absent_of_run():
    """What the jobs lack that will run. A job that is done already needs its inputs no more."""
    ABSENT.clear()
    USED.clear()
    for job in workflow.dag.needrun_jobs():
        job.rule.expand_input(job.wildcards_dict)
    return ABSENT


def warn_of_unused_gpus():
    """Say so where all GPUs of this machine are left idle: the limit of 0 is but a default."""
    limit = workflow.global_resources.get("gpu")
    asked = (
        job.rule.resources["gpu"].evaluate(job.wildcards, input=job.input, attempt=1, threads=1)
        for job in workflow.dag.needrun_jobs()
        if "gpu" in job.rule.resources
    )
    words = unused_gpus(limit and limit.value, (gpus.value for gpus in asked))
    if words:
        logger.warning(words)


def check_assets(paths):
    """Stop a run whose weights are not those of the registry or of the lock file."""
    wrong = []
    for path in sorted(set(paths) & set(ASSETS)):
        if path.exists():
            try:
                check(ASSETS[path], WEIGHTS, say=logger.info)
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


onstart:
    if absent_of_run():
        raise WorkflowError(stop_words(ABSENT))
    check_assets(USED)
    if workflow.local_exec:
        warn_of_unused_gpus()
        # For each finished job Snakemake's limit of jobs per second leaves a timer behind that wakes
        # the scheduler once a second for ever: 40% of a core after 200 jobs. Here it has no use.
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    settle_times()


onerror:
    settle_times()
