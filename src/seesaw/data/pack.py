"""Pack one split of an image source into shards: in parallel, and again after a kill.

Beside each shard lies a record, ``shard-00000.json``: a fingerprint of all that the shard was made
from, and the shard's sha256. A later run keeps a shard whose fingerprint and bytes are still right
and makes the others. The record is a file of its own so that a shard's bytes depend on its images
only, not on when or where their files were written.
"""

import hashlib
import json
import logging
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seesaw.data import INDEX_COLUMNS, ProblemFiles, Source, load_source
from seesaw.data.containers import leave_with_parent
from seesaw.files import read_json, sha256_of, write_csv, write_json, write_parquet
from seesaw.progress import progress
from seesaw.registry import CROPS, SOURCES, STAGES
from seesaw.shards import describe, shard_name, write_manifest, write_shard

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SHOWN_PROBLEMS = 20
CHOICE_KEYS = ("limit", "skip_problems", "images", "devkit")
"""Config keys that decide which images there are, or their labels, not how they look: a change of
them alone does not make finished shards again."""


@dataclass(frozen=True)
class Job:
    """What every shard of one packing has in common; sent to each worker once."""

    source: Source
    folder: Path
    shard_size: int
    resolution: int
    recipe: Mapping[str, Any]
    skip_problems: bool


@dataclass(frozen=True)
class Packed:
    """One shard: its manifest entry (None if nothing was written) and what was found on the way."""

    index: int
    shard: dict[str, Any] | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    upscaled: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    kept: bool = False


def pack_images(
    *,
    source: Mapping[str, Any],
    split: str,
    resolution: int,
    crop: str,
    shard_size: int,
    seed: int,
    workers: int,
    manifest: str | Path,
    index: str | Path,
) -> None:
    """Write the shards of one split beside ``manifest``, then ``index``, then ``manifest``.

    Killed at any moment, it goes on where it was when it is started again. Neither the number of
    workers nor the shard size changes an image.

    Args:
        source: the split's config block: ``source``, what that source takes, and for files
            ``skip_problems``: leave out files that cannot be read, instead of stopping.
        split: name of the split.
        resolution: side of the packed images in pixels.
        crop: name in :data:`seesaw.registry.CROPS`.
        shard_size: images per shard; a worker holds one shard in memory.
        seed: of the source's choices (which images, or what is rendered).
        workers: processes; 1 packs in this process.
        manifest: path of the manifest to make. Its ``meta``: split, source, resolution, crop,
            seed, n, ``problems`` (files left out), ``upscaled`` (smaller than the resolution).
        index: path of the Parquet index to make: id, label, path, caption, in stored order.

    Raises:
        FileNotFoundError: the image folder is missing.
        ValueError: a setting that cannot be, an empty folder, or unreadable files (all of them are
            in ``problems.csv`` beside the manifest).
    """
    _check_settings(resolution=resolution, shard_size=shard_size, workers=workers)
    skip_problems = source.get("skip_problems", False)
    if not isinstance(skip_problems, bool):
        raise ValueError(f"skip_problems is true or false, got {skip_problems!r}")
    manifest = Path(manifest)
    loaded = load_source(source, split=split, resolution=resolution, crop=crop, seed=seed)
    if hasattr(loaded, "prepare"):
        loaded.prepare(manifest.parent, shard_size=shard_size, workers=workers)
    table = loaded.index()
    _check_index(table, split)
    _clean(manifest)
    job = Job(
        source=loaded,
        folder=manifest.parent,
        shard_size=shard_size,
        resolution=resolution,
        recipe=_recipe(loaded, source, split=split, resolution=resolution, crop=crop, seed=seed),
        skip_problems=skip_problems,
    )
    count = -(-len(table) // shard_size)
    work = progress(
        _pack_all(job, list(table["id"]), workers),
        total=count,
        what=f"packing {split}",
        unit="shard",
    )
    done = sorted(work, key=lambda packed: packed.index)
    logger.info("%d of %d shards were there already", sum(p.kept for p in done), count)
    problems = {image_id: reason for packed in done for image_id, reason in packed.problems.items()}
    _report_problems(problems, table, manifest, skip=job.skip_problems)
    whole = [packed for packed in done if packed.shard is not None]
    if not whole:
        raise ValueError(f"none of the {len(table)} images of split {split!r} could be packed")
    if any(packed.fields != whole[0].fields for packed in whole):
        raise ValueError(f"source {source['source']!r} returned different fields for some images")
    left = table[~table["id"].isin(list(problems))]
    write_parquet(index, left[list(INDEX_COLUMNS)])
    meta = {
        "split": split,
        "source": dict(getattr(loaded, "recorded", source)),
        "resolution": resolution,
        "crop": crop,
        "seed": seed,
        "n": len(left),
        "problems": len(problems),
        "upscaled": sum(packed.upscaled for packed in whole),
    }
    _remove_records(manifest.parent, {packed.index for packed in whole})
    write_manifest(
        manifest, [packed.shard for packed in whole if packed.shard], whole[0].fields, meta
    )
    if hasattr(loaded, "tidy"):
        loaded.tidy()


def pack_shard(job: Job, index: int, ids: Sequence[str]) -> Packed:
    """Make shard ``index``, which holds the images ``ids``, or keep it if it is still right."""
    first = index * job.shard_size
    rows: Sequence[int] = range(first, first + len(ids))
    fingerprint = _fingerprint(job, rows, ids)
    kept = _kept(job.folder, index, fingerprint)
    if kept is not None:
        return kept
    problems: dict[str, str] = {}
    try:
        arrays = job.source.render(rows)
    except ProblemFiles as error:
        problems = error.reasons
        rows = [row for row in rows if ids[row - first] not in problems]
        if not job.skip_problems or not rows:
            return Packed(index, problems=problems)
        arrays = job.source.render(rows)
    _check_arrays(arrays, len(rows), job.resolution)
    record = _record_path(job.folder, index)
    record.unlink(missing_ok=True)
    shard = write_shard(job.folder, index, [ids[row - first] for row in rows], arrays)
    upscaled = 0
    if "original_size" in arrays:
        upscaled = int((arrays["original_size"].min(axis=1) < job.resolution).sum())
    fields = describe(arrays)
    if not problems:  # a shard with gaps is made again next time: its files may have been repaired
        found = {"shard": shard, "fields": fields, "upscaled": upscaled}
        write_json(record, {"fingerprint": fingerprint, **found})
    return Packed(index, shard, fields, upscaled, problems)


def _recipe(loaded: Source, config: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """What decides how the images of a split look, apart from their ids and files."""
    import PIL

    if hasattr(loaded, "stamps"):  # files look the same whatever the seed and the split's name
        settings = {name: settings[name] for name in ("resolution", "crop")}
    return {
        **settings,
        "source": {key: value for key, value in config.items() if key not in CHOICE_KEYS},
        "versions": {
            "source": SOURCES[config["source"]].version,
            "crop": CROPS[settings["crop"]].version,
            "data": STAGES["data"],
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
    }


def _fingerprint(job: Job, rows: Sequence[int], ids: Sequence[str]) -> str:
    """Hash of all that a shard is made from."""
    stamps = job.source.stamps(rows) if hasattr(job.source, "stamps") else None
    content = {"recipe": job.recipe, "ids": list(ids), "stamps": stamps}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _kept(folder: Path, index: int, fingerprint: str) -> Packed | None:
    """The shard of an earlier run, if it was made from the same and its bytes are whole."""
    path = folder / shard_name(index)
    try:
        record = read_json(_record_path(folder, index))
        if record["fingerprint"] != fingerprint or sha256_of(path) != record["shard"]["sha256"]:
            return None
        return Packed(index, record["shard"], record["fields"], record["upscaled"], kept=True)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _pack_all(job: Job, ids: Sequence[str], workers: int) -> Iterator[Packed]:
    """Yield the shards as they are done."""
    size = job.shard_size
    parts = [ids[first : first + size] for first in range(0, len(ids), size)]
    workers = min(workers, len(parts))
    if workers == 1:
        for index, part in enumerate(parts):
            yield pack_shard(job, index, part)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(job,),
    )
    try:
        work = [pool.submit(_pack_in_worker, index, part) for index, part in enumerate(parts)]
        for future in as_completed(work):
            yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"one of {workers} packing processes was killed, most likely for memory: give the job "
            "fewer threads or more memory, or make shard_size smaller; finished shards are kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_job: Job | None = None
"""In a worker process: the job it works on."""


def _start_worker(job: Job) -> None:
    global _job
    _job = job
    leave_with_parent()


def _pack_in_worker(index: int, ids: Sequence[str]) -> Packed:
    assert _job is not None
    return pack_shard(_job, index, ids)


def _check_settings(**settings: Any) -> None:
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is a whole number of at least 1, got {value!r}")


def _check_index(table: "pd.DataFrame", split: str) -> None:
    """Raise unless a source kept its contract."""
    missing = [column for column in INDEX_COLUMNS if column not in table]
    if missing:
        raise ValueError(f"the index of split {split!r} lacks the columns {', '.join(missing)}")
    ids = table["id"]
    if not len(ids):
        raise ValueError(f"the source of split {split!r} has no images")
    if not (ids.is_monotonic_increasing and ids.is_unique):
        raise ValueError(f"the ids of split {split!r} must be sorted and unique")


def _check_arrays(arrays: Mapping[str, np.ndarray], n: int, resolution: int) -> None:
    images = arrays["images"]
    wanted = (n, 3, resolution, resolution)
    if images.dtype != np.uint8 or images.shape != wanted:
        raise ValueError(
            f"the source returned images {images.dtype} {images.shape}, expected uint8 {wanted}"
        )


def _report_problems(
    problems: Mapping[str, str], table: "pd.DataFrame", manifest: Path, *, skip: bool
) -> None:
    """Write ``problems.csv`` (or remove an old one); raise unless problems are to be skipped."""
    path = manifest.with_name("problems.csv")
    if not problems:
        path.unlink(missing_ok=True)
        return
    rows = table[table["id"].isin(list(problems))][["id", "path"]]
    write_csv(path, rows.assign(reason=[problems[image_id] for image_id in rows["id"]]))
    if skip:
        logger.warning("%d files left out, see %s", len(problems), path)
        return
    lines = [f"  {image_id}: {problems[image_id]}" for image_id in rows["id"][:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  ... and {len(problems) - SHOWN_PROBLEMS} more")
    raise ValueError(
        f"{len(problems)} of {len(table)} image files cannot be packed (all listed in {path}):\n"
        + "\n".join(lines)
        + "\nRepair them and run again, or set 'skip_problems: true' beside 'path' in the config "
        "to leave them out: finished shards are kept. (If you remove or add files, later images "
        "move to other shards and are packed again.)"
    )


def _record_path(folder: Path, index: int) -> Path:
    return (folder / shard_name(index)).with_suffix(".json")


def _clean(manifest: Path) -> None:
    """Make the folder; remove an old manifest and what a killed run left half written."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.unlink(missing_ok=True)
    for part in manifest.parent.glob(".shard-*.part.*"):
        part.unlink(missing_ok=True)


def _remove_records(folder: Path, indices: set[int]) -> None:
    """Remove the records of shards that the manifest will not name."""
    named = {_record_path(folder, index) for index in indices}
    for record in folder.glob("shard-*.json"):
        if record not in named:
            record.unlink()
