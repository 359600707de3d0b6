"""Search: the K nearest reference latents of every evaluation latent, exactly.

Reference latents are never stored: a shard of reference images is encoded, compared and forgotten
(1.28 million latents of a high-dimensional autoencoder are half a terabyte). Nor are those of the
evaluation images held in the host's memory: they go to the GPU shard by shard, once if they fit
there (50,000 of 768 x 16 x 16 are 39 GB), else for every block of references. A float32 matrix
product proposes candidates; a candidate that could enter a running top-K is measured again in
float64. So the result depends neither on block sizes nor on how many jobs share the shards.

Costs follow the official iFID code (tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID, evalvae.py,
commit bac6ede): squared L2, or minus the cosine of the flattened latents.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesaw.autoencoders.base import load_autoencoder
from seesaw.batching import Batched, fitted_sizes
from seesaw.neighbours.table import write_neighbours
from seesaw.progress import progress
from seesaw.reconstruct import encode_batch
from seesaw.registry import unknown
from seesaw.seeds import seed_for
from seesaw.shards import Shards

DISTANCES = ("l2", "cosine")
QUERY_BYTES = 4 << 30  # queries on the device at a time, at most
BLOCK_BYTES = 1 << 28  # reference latents compared at a time
BLOCK_ROWS = (1024, 16384)  # and how many these are at least and at most
COST_VALUES = 1 << 27  # approximate costs at a time
PAIR_VALUES = 1 << 24  # numbers of candidate pairs measured at a time
ROOM = 0.6  # share of a GPU's free memory that all queries may take


def reference_ranks(ids: Sequence[str], seed: int) -> np.ndarray:
    """Rank of each reference image in a seeded order that depends on the ids only, ``(N,)``.

    The reference set of size ``n`` is the images of rank below ``n``, so sets are nested.
    """
    keys = [(seed_for(seed, "reference", image_id), image_id) for image_id in ids]
    ranks = np.empty(len(ids), np.int64)
    ranks[sorted(range(len(ids)), key=keys.__getitem__)] = np.arange(len(ids))
    return ranks


@dataclass
class TopK:
    """Running top-K of ``queries`` queries: costs ascending, ties by reference index.

    Attributes:
        cost: float64 ``(queries, k)``, infinity where empty.
        index: int64 ``(queries, k)``, -1 where empty.
        msd: mean squared difference of the pair's latents, float64 ``(queries, k)``.
    """

    queries: int
    k: int
    cost: np.ndarray = field(init=False)
    index: np.ndarray = field(init=False)
    msd: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.cost = np.full((self.queries, self.k), np.inf)
        self.index = np.full((self.queries, self.k), -1, np.int64)
        self.msd = np.full((self.queries, self.k), np.inf)

    def add(self, query: np.ndarray, index: np.ndarray, cost: np.ndarray, msd: np.ndarray) -> None:
        """Offer candidates, one per row of the four arrays ``(M,)``; a pair is offered once."""
        if not len(query):
            return
        rows, position = np.unique(query, return_inverse=True)
        order = np.lexsort((index, cost, position))
        starts = np.searchsorted(position[order], np.arange(len(rows)))
        within = np.arange(len(order)) - starts[position[order]]
        kept = order[within < self.k]
        slot, row = within[within < self.k], position[kept]

        def merge(current: np.ndarray, offered: np.ndarray, empty: float) -> np.ndarray:
            fresh = np.full((len(rows), self.k), empty, current.dtype)
            fresh[row, slot] = offered[kept]
            return np.concatenate([current[rows], fresh], axis=1)

        cost_all = merge(self.cost, cost, np.inf)
        index_all = merge(self.index, index, -1)
        msd_all = merge(self.msd, msd, np.inf)
        best = np.lexsort((index_all, cost_all), axis=1)[:, : self.k]
        self.cost[rows] = np.take_along_axis(cost_all, best, 1)
        self.index[rows] = np.take_along_axis(index_all, best, 1)
        self.msd[rows] = np.take_along_axis(msd_all, best, 1)


def exact_costs(queries: Tensor, references: Tensor, distance: str) -> tuple[Tensor, Tensor]:
    """Cost and mean squared difference of pairs of flattened latents, ``(M, D)`` each, float64."""
    q, r = queries.double(), references.double()
    msd = (q - r).square().mean(1)
    if distance == "l2":
        return msd * q.shape[1], msd
    norms = q.norm(dim=1).clamp_min(1e-8) * r.norm(dim=1).clamp_min(1e-8)
    return -(q * r).sum(1) / norms, msd


def approximate_costs(queries: Tensor, references: Tensor, distance: str) -> tuple[Tensor, Tensor]:
    """float32 costs ``(Q, R)`` by one matrix product, and a bound on their error ``(Q, 1)``."""
    rounding = 4 * queries.shape[1] ** 0.5 * torch.finfo(torch.float32).eps
    if distance == "cosine":
        q = torch.nn.functional.normalize(queries, dim=1)
        r = torch.nn.functional.normalize(references, dim=1)
        return -(q @ r.T), torch.full((len(queries), 1), rounding, device=queries.device)
    center = queries.mean(0)
    q, r = queries - center, references - center
    q_square, r_square = q.square().sum(1, keepdim=True), r.square().sum(1)
    bound = rounding * (q_square + r_square.max())
    return q_square + r_square - 2 * (q @ r.T), bound


def offer(
    tops: Mapping[int | str, TopK],
    *,
    queries: Tensor,
    first_query: int,
    references: Tensor,
    reference_index: np.ndarray,
    members: Mapping[int | str, np.ndarray],
    distance: str,
    forbidden: np.ndarray | None = None,
) -> None:
    """Offer a block of references to a block of queries.

    Args:
        tops: the running top-K of all queries, per size of the reference set.
        queries: flattened latents ``(Q, D)``, float32.
        first_query: row in ``tops`` of the first of them.
        references: flattened latents ``(R, D)``, float32.
        reference_index: their indices in the reference split ``(R,)``.
        members: per size, which rows of ``references`` belong to that reference set.
        distance: ``"l2"`` or ``"cosine"``.
        forbidden: pairs ``(P, 2)`` of (row of queries, row of references) that may not match.
    """
    rough, bound = approximate_costs(queries, references, distance)
    if forbidden is not None and len(forbidden):
        rough[forbidden[:, 0], forbidden[:, 1]] = torch.inf
    for size, top in tops.items():
        member = torch.from_numpy(members[size]).to(rough.device)
        if not len(member):
            continue
        costs = rough if len(member) == rough.shape[1] else rough[:, member]
        worst = torch.from_numpy(top.cost[first_query : first_query + len(queries), -1])
        limit = worst.to(rough.device, rough.dtype)[:, None]
        if torch.isinf(limit).any():
            best = costs.kthvalue(min(top.k, costs.shape[1]), dim=1, keepdim=True).values
            limit = torch.minimum(limit, best + bound)
        near = (costs <= limit + bound) & torch.isfinite(costs)
        query_row, column = torch.nonzero(near, as_tuple=True)
        _measure(
            top,
            queries,
            first_query,
            references,
            member[column],
            query_row,
            distance,
            reference_index,
        )


def _measure(
    top: TopK,
    queries: Tensor,
    first_query: int,
    references: Tensor,
    reference_row: Tensor,
    query_row: Tensor,
    distance: str,
    reference_index: np.ndarray,
) -> None:
    """Measure candidate pairs in float64 and add them."""
    step = max(1, PAIR_VALUES // queries.shape[1])
    for start in range(0, len(query_row), step):
        q, r = query_row[start : start + step], reference_row[start : start + step]
        cost, msd = exact_costs(queries[q], references[r], distance)
        top.add(
            q.cpu().numpy() + first_query,
            reference_index[r.cpu().numpy()],
            cost.cpu().numpy(),
            msd.cpu().numpy(),
        )


def find_neighbours(
    *,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    reconstructions: str | Path,
    references: str | Path,
    output: str | Path,
    exclude_self: bool,
    distances: Sequence[str],
    sizes: Sequence[int | str],
    k: int,
    part: int,
    parts: int,
    batch_size: int,
    posterior: str,
    seed: int,
    device: str,
) -> None:
    """Search every ``parts``-th reference shard, from ``part`` on, and write the top-K found there.

    Batches of images and blocks of queries that do not fit into memory are halved; the attributes
    of the table (``pandas.DataFrame.attrs``) then say so (``fitted_batch_size``).

    Args:
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        reconstructions: manifest with the evaluation latents.
        references: manifest of the packed reference split.
        output: Parquet table to write: distance, references, query, rank, neighbour, cost, msd.
        exclude_self: an image may not be its own neighbour (both splits are the same one).
        distances: of ``"l2"``, ``"cosine"``.
        sizes: sizes of the reference set, or ``"all"``.
        k: neighbours per query.
        part: which part this job searches, from 0.
        parts: how many jobs share the reference shards.
        batch_size: reference images encoded at a time.
        posterior: ``"mean"`` or ``"sample"``.
        seed: of the subsets and of posterior samples.
        device: torch device.

    Raises:
        ValueError: an unknown distance, or a reference set smaller than asked for or than ``k``.
    """
    queries, pool = Shards(reconstructions), Shards(references)
    limits = _check_sizes(sizes, len(pool), k + int(exclude_self), pool.path)
    for distance in distances:
        if distance not in DISTANCES:
            raise unknown("distance", distance, DISTANCES)
    autoencoder = load_autoencoder(family, weights, config, device=device)
    ranks = reference_ranks(pool.ids, seed)
    row_of = {image_id: row for row, image_id in enumerate(queries.ids)} if exclude_self else {}
    tops = {d: {size: TopK(len(queries), k) for size in sizes} for d in distances}
    latents = Queries(queries, device)
    low, high = BLOCK_ROWS
    rows = min(max(BLOCK_BYTES // (4 * latents.width), low), high)
    chunk = max(1, min(QUERY_BYTES // (4 * latents.width), COST_VALUES // rows))
    encode = Batched(
        partial(encode_batch, autoencoder, posterior=posterior, seed=seed, device=device),
        "encoding",
    )
    compare = Batched(partial(_compare, tops), "comparing")
    search = {
        "encode": encode,
        "wanted": ranks < max(limits.values()),
        "batch_size": batch_size,
        "rows": rows,
    }
    with torch.inference_mode():
        for ids, index, encoded in _encoded(pool, range(part, len(pool.shards), parts), **search):
            members = {size: np.flatnonzero(ranks[index] < limits[size]) for size in sizes}
            own = [(row_of[i], row) for row, i in enumerate(ids) if i in row_of]
            for first in range(0, len(queries), chunk):
                compare(
                    np.arange(first, min(first + chunk, len(queries))),
                    queries=latents,
                    references=encoded,
                    reference_index=index,
                    members=members,
                    own=own,
                )
    write_neighbours(output, tops, queries.ids, pool.ids, fitted_sizes(encode, compare))


def _compare(
    tops: Mapping[str, Mapping[int | str, TopK]],
    rows: np.ndarray,
    *,
    queries: "Queries",
    references: Tensor,
    own: Sequence[tuple[int, int]],
    **block: Any,
) -> None:
    """Offer a block of references to the queries of consecutive rows ``(Q,)``, or to none.

    Where it fails the running top-K are as before, so that it can be tried again with fewer.
    """
    first, end = int(rows[0]), int(rows[-1]) + 1
    pairs = [(q - first, r) for q, r in own if first <= q < end]
    running = [top for sizes in tops.values() for top in sizes.values()]
    before = [[a[first:end].copy() for a in (t.cost, t.index, t.msd)] for t in running]
    try:
        block["queries"] = queries.rows(first, end)
        for distance, sizes in tops.items():
            offer(
                sizes,
                first_query=first,
                references=references,
                distance=distance,
                forbidden=np.array(pairs, np.int64).reshape(-1, 2),
                **block,
            )
    except BaseException:
        for top, (cost, index, msd) in zip(running, before, strict=True):
            top.cost[first:end], top.index[first:end], top.msd[first:end] = cost, index, msd
        raise


class Queries:
    """Flattened latents of the evaluation images, read from their mapped shards as they are needed.

    Those that leave room for the rest are moved to a GPU at once, a shard at a time.

    Args:
        shards: with a field ``latents``, float32.
        device: torch device.

    Attributes:
        width: numbers of a latent.
        held: all of them on the GPU ``(N, D)``; None where they are read again and again.
    """

    def __init__(self, shards: Shards, device: str) -> None:
        self._shards, self._device = shards, device
        self.width = math.prod(shards.fields["latents"]["shape"])
        self.held: Tensor | None = None
        if torch.device(device).type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if 4 * len(shards) * self.width < ROOM * free:
                self.held = self._read(0, len(shards))

    def rows(self, first: int, end: int) -> Tensor:
        """Some rows on the device ``(end - first, D)``; not to be written to."""
        return self._read(first, end) if self.held is None else self.held[first:end]

    def _read(self, first: int, end: int) -> Tensor:
        rows = torch.empty((end - first, self.width), device=self._device)
        at = 0
        for piece in self._shards.pieces("latents", first, end):
            rows[at : at + len(piece)] = torch.from_numpy(piece).flatten(1)
            at += len(piece)
        return rows


def _encoded(
    pool: Shards,
    shards: Sequence[int],
    *,
    encode: Callable[..., Tensor],
    wanted: np.ndarray,
    batch_size: int,
    rows: int,
) -> Iterator[tuple[list[str], np.ndarray, Tensor]]:
    """Latents of the wanted references in blocks: ids, indices in the split, ``(R, D)`` float32."""
    index_of = {image_id: index for index, image_id in enumerate(pool.ids)}
    batches = progress(
        pool.batches(["images"], batch_size, shards=shards),
        total=sum(-(-pool.shards[shard]["n"] // batch_size) for shard in shards),
        what=f"encoding {sum(pool.shards[shard]['n'] for shard in shards)} references",
        unit="batche",
    )
    ids: list[str] = []
    parts: list[Tensor] = []
    for batch in batches:
        index = np.array([index_of[image_id] for image_id in batch.ids])
        kept = np.flatnonzero(wanted[index])
        if len(kept):
            ids += [batch.ids[row] for row in kept]
            parts.append(encode(batch["images"][kept], ids[-len(kept) :]).flatten(1))
        if len(ids) >= rows:
            yield ids, np.array([index_of[i] for i in ids]), torch.cat(parts)
            ids, parts = [], []
    if ids:
        yield ids, np.array([index_of[i] for i in ids]), torch.cat(parts)


def _check_sizes(
    sizes: Sequence[int | str], available: int, least: int, path: Path
) -> dict[int | str, int]:
    limits = {size: available if size == "all" else int(size) for size in sizes}
    for size, limit in limits.items():
        if limit > available:
            raise ValueError(
                f"neighbours.references asks for {size} images, {path} has {available}; "
                f"use at most {available}, or 'all'"
            )
        if limit < least:
            raise ValueError(
                f"a reference set of {limit} images cannot give the {least} candidates that are "
                "needed; lower neighbours.k or use more references"
            )
    return limits
