"""The plan of a study and what it costs: ``python -m seesaw.plan``, without any data or weights.

Snakemake itself says which jobs a run would do (a dry-run in this process, read from its log
events); :mod:`seesaw.costs` says what each costs. So a new rule shows up by itself.

    python -m seesaw.plan                                    config/config.yaml, all of it
    python -m seesaw.plan --configfile config/compare.yaml   another config
    python -m seesaw.plan results/tables/table5.csv          one artifact
"""

import argparse
import io
import logging
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesaw.assets import assets_of, can_come
from seesaw.catalogue import read_registry
from seesaw.config import controlled_of, gfid_references, load_yaml
from seesaw.costs.assumptions import ASSUMPTIONS, DEVICE
from seesaw.costs.rules import COSTS, cost
from seesaw.costs.study import Job, Study
from seesaw.external import absent_images, absent_weights
from seesaw.resolved import resolved

if TYPE_CHECKING:
    import pandas as pd

CONFIG = Path("config/config.yaml")
NOT_ESTIMATED = "not estimated"
PLENTY = 1_000_000  # GPUs: the plan shall show what each job asks for, not what this host has


class _Events(logging.Filter):
    """Takes the jobs out of Snakemake's log; lets errors pass and drops the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "event", None) == "job_info":
            fields = vars(record)
            self.jobs.append(_job(fields["rule_name"], fields["wildcards"], fields["resources"]))
        return record.levelno >= logging.ERROR


def _job(rule: str, wildcards: Mapping[str, str], resources: Any) -> Job:
    amounts = {name: getattr(resources, name, 0) for name in ("gpu", "mem_mb", "runtime")}
    whole = {name: value if isinstance(value, int) else 0 for name, value in amounts.items()}
    return Job(rule=rule, wildcards=dict(wildcards or {}), **whole)


def planned_jobs(
    configfile: str | Path = CONFIG, targets: Sequence[str] = (), *, forceall: bool = False
) -> list[Job]:
    """Jobs that Snakemake would run now, without the collecting rule ``all``.

    Run it in the folder of the Snakefile.

    Args:
        configfile: the config of the run.
        targets: files to make; the whole study where there are none.
        forceall: count what is done already, too.

    Raises:
        ValueError: Snakemake cannot plan it; with its words.
    """
    from snakemake.cli import main

    words = ["--dry-run", "--cores", "all", "--resources", f"gpu={PLENTY}", "--scheduler", "greedy"]
    words += ["--forceall"] if forceall else []
    words += ["--nolock", "--configfile", str(configfile), "--", *targets]
    events, printed = _Events(), io.StringIO()
    logger = logging.getLogger("snakemake.logging")
    logger.addFilter(events)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            main(words)
    except SystemExit as end:
        if end.code:
            raise ValueError(f"there is no plan:\n{printed.getvalue().strip()}") from None
    finally:
        logger.removeFilter(events)
    return [job for job in events.jobs if job.rule != "all"]


def load_study(configfile: str | Path, jobs: Sequence[Job]) -> Study:
    """The config with its pool resolved, as the workflow sees it, and the jobs."""
    return Study(resolved(load_yaml(configfile), read_registry()), tuple(jobs))


def cost_table(study: Study) -> "pd.DataFrame":
    """One row per rule, the costliest first, and a row ``total``.

    Columns: rule; jobs; gpu_jobs, those that ask for a GPU; gpu_hours and kept_gb (1e9 bytes), over
    the jobs that are estimated (missing where none is); unestimated_hours and unestimated_kept, how
    many jobs are not; longest_hours of one job on the GPUs that it asks for, and runtime_hours, its
    limit; late, how many jobs are estimated to take longer than their own limit; mem_mb, the
    largest.
    """
    import pandas as pd

    rules = list(dict.fromkeys(job.rule for job in study.jobs))
    rows = [_row(rule, [job for job in study.jobs if job.rule == rule], study) for rule in rules]
    rows.sort(key=lambda row: -(row["gpu_hours"] or 0))
    total: dict[str, Any] = {"rule": "total"}
    for name in ("jobs", "gpu_jobs", "unestimated_hours", "unestimated_kept", "late"):
        total[name] = sum(row[name] for row in rows)
    for name in ("gpu_hours", "kept_gb"):
        total[name] = math.fsum(row[name] for row in rows if row[name] is not None)
    for name in ("longest_hours", "mem_mb"):
        total[name] = max((row[name] for row in rows if row[name] is not None), default=None)
    total["runtime_hours"] = None
    return pd.DataFrame([*rows, total])


def _row(rule: str, jobs: Sequence[Job], study: Study) -> dict[str, Any]:
    costs = [cost(job, study) for job in jobs]
    hours = [c.hours for c in costs if c.hours is not None]
    kept = [c.kept for c in costs if c.kept is not None]
    elapsed = [c.hours / max(job.gpu, 1) for c, job in zip(costs, jobs) if c.hours is not None]
    timed = [
        ((c.hours or 0.0) / job.gpu, job.runtime / 60)
        for c, job in zip(costs, jobs)
        if job.gpu and job.runtime
    ]
    longest = max((hours for hours, _ in timed), default=None)
    return {
        "rule": rule,
        "jobs": len(jobs),
        "gpu_jobs": sum(job.gpu > 0 for job in jobs),
        "gpu_hours": math.fsum(hours) if hours else None,
        "kept_gb": math.fsum(kept) / 1e9 if kept else None,
        "unestimated_hours": len(jobs) - len(hours),
        "unestimated_kept": len(jobs) - len(kept),
        "longest_hours": max(elapsed, default=None),
        "runtime_hours": min((most for hours, most in timed if hours == longest), default=None),
        "late": sum(hours > most for hours, most in timed),
        "mem_mb": max((job.mem_mb for job in jobs), default=0),
    }


def absent_lines(study: Study) -> list[str]:
    """How much of what the plan's jobs need from outside is not there yet, one line per kind."""
    config = study.config
    named = {job.wildcards.get("autoencoder") for job in study.jobs}
    pool = [entry for entry in config["autoencoders"] if entry["name"] in named]
    splits = {job.wildcards.get("split") for job in study.jobs} - {None}
    players = config["networks"].values()
    absent = (absent_images(split, config["data"]["splits"][split]) for split in sorted(splits))
    images = {a.what: a for a in absent if a}  # two crops of one split are one set
    come = can_come(assets_of(config), config)
    files = [a for e in pool for a in absent_weights(f"autoencoder {e['name']!r}", e, come)]
    files += [a for p in players for a in absent_weights(f"network {p['network']!r}", p, come)]
    rules = {job.rule for job in study.jobs}
    if "score_gfid" in rules:
        references = gfid_references(config)
        files += [
            a
            for r in references
            for a in absent_weights(f"reference {r['name']!r} of gFID", r, come)
        ]
    if "train_control" in rules:
        backbones = [(name, b) for name, b in controlled_of(config) if b and name in named]
        parts = [(name, part) for name, b in backbones for part in (b, b["latents"])]
        files += [
            a
            for name, part in parts
            for a in absent_weights(f"the backbone of {name!r}", part, come)
        ]
    missing = {"sets of images": [*images.values()], "weights files": files}
    lines = [
        f"  {len(found)} {what}: {_some([a.what for a in found])}"
        for what, found in missing.items()
        if found
    ]
    return ["not there yet, and a run would stop before its first job:", *lines] if lines else []


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plan_text(study: Study, table: "pd.DataFrame") -> str:
    """The table for a reader, with what it rests on."""
    name = study.config["name"]
    rows = [("rule", "jobs", "GPU-hours", "longest", "limit", "GB kept", "mem_mb")]
    small = (table["gpu_jobs"] == 0) & ~table["rule"].isin(["total", *COSTS])
    rows += [_cells(row) for row in table[~small].to_dict("records")]
    if small.any():
        many = f"{small.sum()} rules without a GPU"
        rows.insert(-1, (many, str(table.loc[small, "jobs"].sum()), *"---", NOT_ESTIMATED, "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"Plan of {name!r}. Estimated {DEVICE}-hours and disk; nothing here was measured.", ""]
    for number, row in enumerate(rows):
        if number in (1, len(rows) - 1):
            lines.append("  ".join("-" * width for width in widths))
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    lines += ["", *_notes(study, table)]
    lines += ["", "assumptions (src/seesaw/costs/assumptions.py):"]
    lines += [f"  {key}: {a.value:.6g} {a.unit}; {a.source}" for key, a in ASSUMPTIONS.items()]
    absent = absent_lines(study)
    return "\n".join([*lines, *([""] if absent else []), *absent]) + "\n"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Hours and bytes with a + where some jobs are not in the sum."""

    def number(value: Any, digits: int, unestimated: int = 0) -> str:
        if value is None or math.isnan(value):
            return NOT_ESTIMATED if unestimated else "-"
        return f"{value:,.{digits}f}{'+' if unestimated else ''}"

    hours = number(row["gpu_hours"], 1, row["unestimated_hours"]) if row["gpu_jobs"] else "-"
    return (
        row["rule"],
        str(row["jobs"]),
        hours,
        number(row["longest_hours"] or None, 2),
        number(row["runtime_hours"], 1),
        number(row["kept_gb"], 1, row["unestimated_kept"]),
        str(int(row["mem_mb"])),
    )


def _notes(study: Study, table: "pd.DataFrame") -> list[str]:
    body = table[table["rule"] != "total"]
    total = table.iloc[-1]
    lines = [f"GPU-hours on {DEVICE}s; longest job and its limit in hours, GB of 1e9 bytes."]
    if total["unestimated_hours"]:
        rules = body.loc[body["unestimated_hours"] > 0, "rule"]
        lines.append(
            f"+ : {total['unestimated_hours']} GPU jobs are not estimated, nor in the total "
            f"({', '.join(rules)})."
        )
    if total["unestimated_kept"]:
        lines.append(
            f"Disk of {total['unestimated_kept']} jobs is not estimated: scores, tables, figures "
            "and what else the table says."
        )
    hours = total["gpu_hours"]
    lines.append(f"{hours:,.0f} GPU-hours are {hours / 4 / 24:,.1f} days of four GPUs at work.")
    late = body[body["late"] > 0]
    if len(late):
        lines.append(
            f"Longer than their limit, by this estimate: {', '.join(late['rule'])}; raise it with "
            "--set-resources RULE:runtime=MINUTES."
        )
    fetched = [cost(job, study).kept for job in study.jobs if job.rule == "fetch_asset"]
    if fetched:
        known = [size for size in fetched if size is not None]
        some = f"{math.fsum(known) / 1e9:,.1f} GB are the {len(known)} whose size is known"
        sizes = some if known else "their sizes are not known"
        lines.append(f"To download: {len(fetched)} files of weights; {sizes}.")
    lines.append("Not counted: work on CPUs, and original image files and weights that are there.")
    for split in study.config["data"]["splits"]:
        count = study.images(split)
        if count is not None:
            gigabytes = count * study.image_bytes / 1e9
            lines.append(f"Packed images of {split!r}: {count:,} of them, {gigabytes:,.1f} GB.")
    return lines


def main(words: Iterable[str] | None = None) -> None:
    """Print the table; write it as CSV where asked to."""
    parser = argparse.ArgumentParser(prog="python -m seesaw.plan", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("targets", nargs="*", help="files to make; default, the whole study")
    parser.add_argument("--configfile", default=CONFIG, type=Path, help=f"default, {CONFIG}")
    parser.add_argument("--forceall", action="store_true", help="count what is done already, too")
    parser.add_argument("--output", type=Path, help="write the table as CSV, too")
    given = parser.parse_args(None if words is None else list(words))
    try:
        jobs = planned_jobs(given.configfile, given.targets, forceall=given.forceall)
        study = load_study(given.configfile, jobs)
    except ValueError as error:
        sys.exit(str(error))
    if not jobs:
        sys.stdout.write("Nothing to be done; --forceall counts what is done already.\n")
        return
    table = cost_table(study)
    sys.stdout.write(plan_text(study, table))
    if given.output:
        from seesaw.files import write_csv

        write_csv(given.output, table)
        sys.stdout.write(f"\nwritten to {given.output}\n")


if __name__ == "__main__":
    main()
