"""Shards and the files below them: whole or absent, and the same rows however they are read."""

import json
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from seesaw.files import (
    atomic,
    read_json,
    sha256_of,
    write_csv,
    write_json,
    write_parquet,
    write_tensors,
)
from seesaw.shards import (
    Shards,
    ShardWriter,
    batches_after,
    batches_in_shards,
    describe,
    require_same_ids,
    write_manifest,
    write_shard,
)


def make(folder, n=10, shard_size=4, batch=3, offset=0, meta=None):
    """Shards whose row i holds numbers made from i."""
    rows = np.arange(offset, offset + n)
    arrays = {
        "images": (rows[:, None, None] + np.arange(6).reshape(2, 3)).astype(np.uint8),
        "score": rows.astype(np.float32) / 7,
    }
    path = folder / "manifest.json"
    with ShardWriter(path, shard_size=shard_size, meta=meta or {}) as writer:
        for start in range(0, n, batch):
            part = slice(start, start + batch)
            ids = [f"im{i:03d}" for i in rows[part]]
            writer.add(ids, {name: array[part] for name, array in arrays.items()})
    return path, arrays


def write_and_fail(path, ids, arrays):
    with ShardWriter(path, shard_size=2, meta={}) as writer:
        writer.add(ids, arrays)
        raise RuntimeError("stop")


def names(folder):
    return sorted(p.name for p in folder.iterdir())


# ------------------------------------------------------------------------------- writing, reading


def test_round_trip(tmp_path):
    path, arrays = make(tmp_path, n=10, shard_size=4, meta={"palette": [[1, 2, 3]]})
    shards = Shards(path)
    assert len(shards) == 10
    assert [s["n"] for s in shards.shards] == [4, 4, 2]
    assert shards.meta == {"palette": [[1, 2, 3]]}
    assert shards.fields == describe(arrays)
    assert shards.ids == [f"im{i:03d}" for i in range(10)]
    for field, array in arrays.items():
        loaded = shards.load(field)
        assert loaded.dtype == array.dtype
        np.testing.assert_array_equal(loaded, array)
    assert names(tmp_path) == ["manifest.json", *(f"shard-0000{i}.safetensors" for i in range(3))]


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 12),
    shard_size=st.integers(1, 13),
    write_batch=st.integers(1, 13),
    read_batch=st.integers(1, 13),
)
def test_sizes_change_no_row(tmp_path_factory, n, shard_size, write_batch, read_batch):
    path, arrays = make(tmp_path_factory.mktemp("s"), n, shard_size, write_batch)
    shards = Shards(path)
    batches = list(shards.batches(["images", "score"], read_batch))
    assert max(map(len, batches)) <= min(read_batch, shard_size)
    assert [i for b in batches for i in b.ids] == [f"im{i:03d}" for i in range(n)]
    for field, array in arrays.items():
        np.testing.assert_array_equal(np.concatenate([b[field] for b in batches]), array)


def test_the_size_of_written_batches_changes_no_byte(tmp_path):
    one, _ = make(tmp_path / "one", batch=1)
    all_at_once, _ = make(tmp_path / "all", batch=10)
    assert sha256_of(one.parent) == sha256_of(all_at_once.parent)


def test_batches_of_chosen_shards(tmp_path):
    path, _ = make(tmp_path, n=10, shard_size=4)
    batches = Shards(path).batches(["score"], 100, shards=[2, 0])
    assert [b.ids[0] for b in batches] == ["im008", "im000"]


def test_take_keeps_order_and_repeats(tmp_path):
    path, arrays = make(tmp_path, n=10, shard_size=4)
    rows = [9, 0, 4, 4, 1]
    batch = Shards(path).take([f"im{i:03d}" for i in rows], ["images", "score"])
    assert batch.ids == [f"im{i:03d}" for i in rows]
    np.testing.assert_array_equal(batch["images"], arrays["images"][rows])
    np.testing.assert_array_equal(batch["score"], arrays["score"][rows])


def test_batches_are_pieces_of_the_mapped_file(tmp_path):
    path, arrays = make(tmp_path, n=8, shard_size=4)
    stored = [file.read_bytes() for file in sorted(tmp_path.glob("shard-*"))]
    batches = list(Shards(path).batches(["images", "score"], 3))
    for batch in batches:
        assert not batch["images"].flags.owndata
        batch["images"][:] = 255
    assert [file.read_bytes() for file in sorted(tmp_path.glob("shard-*"))] == stored
    np.testing.assert_array_equal(Shards(path).load("images"), arrays["images"])
    for file in tmp_path.glob("shard-*"):
        file.unlink()  # what was handed out outlives the file
    scores = np.concatenate([batch["score"] for batch in batches])
    np.testing.assert_array_equal(scores, arrays["score"])


# ------------------------------------------------------------------------------------- attachments


def attach(path, arrays, meta=None):
    with ShardWriter(path, shard_size=2, meta=meta or {}) as writer:
        writer.add(["a", "b", "c"], {"x": np.arange(3)})
        if arrays:
            writer.attach("sums", arrays)


def test_what_is_attached_is_named_by_the_manifest(tmp_path):
    path, sums = tmp_path / "manifest.json", {"total": np.float64(3.0), "all": np.eye(2)}
    attach(path, sums, meta={"network": "none"})
    found = Shards(path).attached("sums")
    assert found["total"] == 3.0
    np.testing.assert_array_equal(found["all"], np.eye(2))
    assert Shards(path).meta["sums"]["file"] == "attached-sums.safetensors"
    assert Shards(path).attached("network") is None
    assert Shards(path).attached("other") is None


def test_what_an_earlier_manifest_attached_goes(tmp_path):
    path = tmp_path / "manifest.json"
    attach(path, {"total": np.zeros(1)})
    (tmp_path / ".attached-sums.77.part.safetensors").write_bytes(b"x")
    attach(path, {})
    assert Shards(path).attached("sums") is None
    assert names(tmp_path) == [
        "manifest.json",
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]


def test_an_attachment_that_is_not_the_manifests_is_refused(tmp_path):
    path, file = tmp_path / "manifest.json", tmp_path / "attached-sums.safetensors"
    attach(path, {"total": np.zeros(1)})
    write_tensors(file, {"total": np.ones(1)})
    with pytest.raises(ValueError, match="is not the file that .* names: it was cut or changed"):
        Shards(path).attached("sums")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="is named by .* but missing"):
        Shards(path).attached("sums")


def test_take_of_an_unknown_id_names_it(tmp_path):
    path, _ = make(tmp_path)
    with pytest.raises(KeyError, match="'nobody'"):
        Shards(path).take(["im000", "nobody"], ["score"])


def test_unknown_field_names_the_valid_ones(tmp_path):
    path, _ = make(tmp_path)
    for call in (
        lambda s: s.load("image"),
        lambda s: s.take(["im000"], ["image"]),
        lambda s: list(s.batches(["image"], 2)),
    ):
        with pytest.raises(ValueError, match="no field 'image'; it has images, score"):
            call(Shards(path))


@pytest.mark.parametrize("size", [0, -3])
def test_sizes_below_one_are_refused(tmp_path, size):
    path, _ = make(tmp_path)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        list(Shards(path).batches(["score"], size))
    with pytest.raises(ValueError, match="shard_size must be at least 1"):
        ShardWriter(path, shard_size=size, meta={})


# -------------------------------------------------------------------------- half-written, damaged


def test_an_exception_leaves_no_manifest(tmp_path):
    path = tmp_path / "manifest.json"
    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail(path, ["a", "b", "c"], {"x": np.zeros(3)})
    assert names(tmp_path) == ["shard-00000.safetensors"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Shards(path)


def test_a_set_that_is_half_rewritten_is_not_taken_for_whole(tmp_path):
    path, arrays = make(tmp_path, n=8, shard_size=2)
    sizes = [shard["bytes"] for shard in Shards(path).shards]
    other = {field: np.zeros_like(array[:2]) for field, array in arrays.items()}
    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail(path, ["im000", "im001"], other)
    # the new shard has the size of the old one, so sizes alone would not tell
    assert (tmp_path / "shard-00000.safetensors").stat().st_size == sizes[0]
    with pytest.raises(FileNotFoundError):
        Shards(path)


def write_some(path, stop, resume="a", n=10, shard_size=4):
    """Rows of :func:`make`, one at a time; cut off before row ``stop``."""
    writer = ShardWriter(path, shard_size=shard_size, meta={}, resume=resume)
    with writer:
        first = writer.done
        for i in range(first, n):
            if i == stop:
                raise RuntimeError("stop")
            writer.add([f"im{i:03d}"], {"score": np.array([i / 7], np.float32)})
    return first


@pytest.mark.parametrize(("stop", "kept"), [(0, 0), (3, 0), (4, 4), (7, 4), (9, 8)])
def test_a_set_that_was_cut_off_goes_on_after_its_last_whole_shard(tmp_path, stop, kept):
    write_some(tmp_path / "whole/manifest.json", None)
    path = tmp_path / "cut/manifest.json"
    with pytest.raises(RuntimeError, match="stop"):
        write_some(path, stop)
    assert not path.exists()
    assert write_some(path, None) == kept
    assert names(path.parent) == names(tmp_path / "whole")
    for name in names(path.parent):
        assert (path.parent / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_shards_that_another_run_left_are_not_gone_on_with(tmp_path):
    path = tmp_path / "manifest.json"

    def cut(resume="a"):
        with pytest.raises(RuntimeError, match="stop"):
            write_some(path, 9, resume)

    cut("b")
    assert write_some(path, None) == 0
    cut()
    (tmp_path / "shard-00001.safetensors").write_bytes(b"other")
    assert write_some(path, None) == 0
    cut()
    with pytest.raises(RuntimeError, match="stop"):
        write_some(path, 2, "b")  # and this one leaves nothing to go on with
    assert write_some(path, None) == 0
    cut()
    make(tmp_path)
    assert names(tmp_path) == ["manifest.json", *(f"shard-0000{i}.safetensors" for i in range(3))]


def write_three(path, seed, *, stop):
    """Three images in shards of two, or what is left of them; what a writer found at its start."""
    with ShardWriter(path, shard_size=2, meta={"seed": seed}, resume="a") as writer:
        found = [part.tolist() for part in writer.kept("score")]
        assert list(writer.kept("other")) == []
        rows = np.arange(writer.done, 3.0)
        if stop:
            writer.meta["fitted"] = {"step": 3}
        writer.add([f"i{row:.0f}" for row in rows], {"score": rows})
        if stop:
            writer.meta["fitted"] = "after the last whole shard"
            raise RuntimeError("stop")
    return found


def test_what_was_kept_can_be_read_and_keeps_its_meta(tmp_path):
    path = tmp_path / "manifest.json"
    with pytest.raises(RuntimeError, match="stop"):
        write_three(path, 1, stop=True)
    assert write_three(path, 2, stop=False) == [[0.0, 1.0]]
    assert Shards(path).meta == {"seed": 2, "fitted": {"step": 3}}
    assert write_three(path, 2, stop=False) == []


def uneven(folder):
    """Three shards of 4, 1 and 4 images."""
    path, _ = make(folder, n=9, shard_size=4)
    content = read_json(path)
    arrays = load_file(folder / "shard-00001.safetensors")
    for index, rows in ((1, slice(0, 1)), (2, slice(1, 5))):
        some = {field: np.concatenate([array, array])[rows] for field, array in arrays.items()}
        ids = [f"x{index}{row}" for row in range(len(some["score"]))]
        content["shards"][index] = write_shard(folder, index, ids, some)
    write_manifest(path, content["shards"], content["fields"], {})
    return Shards(path)


@pytest.mark.parametrize("done", range(10))
def test_batches_after_are_those_of_a_whole_run(tmp_path, done):
    shards = uneven(tmp_path)
    every = list(batches_after(shards, ["score"], 3, 0))
    assert [len(batch) for batch, old in every] == [3, 1, 1, 3, 1]
    assert {old for _, old in every} == {0}
    found = list(batches_after(shards, ["score"], 3, done))
    wanted = [batch.ids for batch, _ in every][len(every) - len(found) :]
    assert [batch.ids for batch, _ in found] == wanted
    assert [i for batch, old in found for i in batch.ids[old:]] == shards.ids[done:]


@pytest.mark.parametrize(("first", "end"), [(0, 9), (0, 4), (3, 6), (4, 5), (8, 9), (5, 5)])
def test_pieces_are_rows_of_the_mapped_files(tmp_path, first, end):
    shards = uneven(tmp_path)
    found = list(shards.pieces("images", first, end))
    whole = shards.load("images")
    assert np.array_equal(np.concatenate([whole[:0], *found]), whole[first:end])
    assert all(len(piece) and not piece.flags.owndata for piece in found)


def test_batches_that_end_with_each_shard():
    assert batches_in_shards(10, 4, 3) == [(0, 3), (3, 4), (4, 7), (7, 8), (8, 10)]
    assert batches_in_shards(10, 4, 3, start=8) == [(8, 10)]
    assert batches_in_shards(10, 4, 3, start=10) == []


def test_stale_shards_and_leftovers_of_killed_jobs_go(tmp_path):
    make(tmp_path, n=10, shard_size=2)
    leftover = tmp_path / ".shard-00001.4711.part.safetensors"
    leftover.write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("kept")
    path, _ = make(tmp_path, n=10, shard_size=6)
    assert names(tmp_path) == [
        "manifest.json",
        "notes.txt",
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]
    assert len(Shards(path).ids) == 10


def test_a_cut_shard_is_named(tmp_path):
    path, _ = make(tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(
        ValueError, match=r"shard-00001\.safetensors has \d+ bytes.* cut or changed"
    ):
        Shards(path)


def test_a_missing_shard_is_named(tmp_path):
    path, _ = make(tmp_path)
    (tmp_path / "shard-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-00002\.safetensors is named by"):
        Shards(path)


def test_an_unknown_format_and_broken_json_are_errors(tmp_path):
    path, _ = make(tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(ValueError, match="has format 99, this version reads 1"):
        Shards(path)
    path.write_text('{"format": 1,')
    with pytest.raises(ValueError, match="is not valid JSON"):
        Shards(path)


@pytest.mark.parametrize(
    "batches, words",
    [
        ([(["a"], {"x": np.zeros(1)}), (["b"], {"y": np.zeros(1)})], "earlier ones had"),
        ([(["a"], {"x": np.zeros((1, 2))}), (["b"], {"x": np.zeros((1, 3))})], "earlier ones had"),
        ([(["a"], {"x": np.zeros(1)}), (["b"], {"x": np.zeros(1, int)})], "earlier ones had"),
        ([(["a", "b"], {"x": np.zeros(3)})], "'x' has 3 rows for 2 image ids"),
        # one row too many and one too few would shift every image between them
        ([(["a", "b"], {"x": np.zeros(3)}), (["c", "d"], {"x": np.zeros(1)})], "has 3 rows for 2"),
        ([(["a", "b"], {"x": np.zeros(2)}), (["b"], {"x": np.zeros(1)})], "occurs twice"),
        ([(["a", "a"], {"x": np.zeros(2)})], "occurs twice"),
        ([], "no image was written"),
    ],
)
def test_bad_batches_are_refused(tmp_path, batches, words):
    path = tmp_path / "manifest.json"

    def write():
        with ShardWriter(path, shard_size=10, meta={}) as writer:
            for ids, arrays in batches:
                writer.add(ids, arrays)

    with pytest.raises(ValueError, match=words):
        write()
    assert not path.exists()


def test_different_images_are_told_apart_from_different_order(tmp_path):
    a = Shards(make(tmp_path / "a", n=6)[0])
    b = Shards(make(tmp_path / "b", n=6, shard_size=2)[0])
    require_same_ids(a, b)
    c = Shards(make(tmp_path / "c", n=6, offset=2)[0])
    with pytest.raises(ValueError, match=r"2 only in the first, 2 only in the second .*'im000'"):
        require_same_ids(a, c)
    path = tmp_path / "d" / "manifest.json"
    with ShardWriter(path, shard_size=9, meta={}) as writer:
        writer.add(a.ids[::-1], {"x": np.zeros(6)})
    with pytest.raises(ValueError, match="same images in different order"):
        require_same_ids(a, Shards(path))


def test_a_manifest_written_by_parts_counts_its_images(tmp_path):
    path, arrays = make(tmp_path, n=10, shard_size=4)
    entries = Shards(path).shards
    write_manifest(path, entries[:2], describe(arrays), {})
    assert len(Shards(path)) == 8
    assert not (tmp_path / "shard-00002.safetensors").exists()


# ------------------------------------------------------------------------------------------ files


def test_atomic_replaces_only_on_success(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"x": 1})

    def write():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write()
    assert read_json(path) == {"x": 1}
    assert names(path.parent) == ["a.json"]


def test_the_temporary_file_lies_beside_the_target_and_keeps_its_suffix(tmp_path):
    with atomic(tmp_path / "a.parquet") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".parquet"
        assert not (tmp_path / "a.parquet").exists()
        temporary.write_text("x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [1, float("-inf")]}])
def test_json_refuses_what_json_cannot_hold(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, "old")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, value)
    assert read_json(path) == "old"


def test_tables_and_tensors_round_trip(tmp_path):
    table = pd.DataFrame({"id": ["a", "b"], "value": [0.1, np.nan]})
    write_parquet(tmp_path / "t.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table)
    write_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text() == "id,value\na,0.1\nb,\n"
    strided = np.arange(12.0).reshape(3, 4)[:, ::2]
    write_tensors(tmp_path / "t.safetensors", {"x": strided}, {"ids": "[]"})
    np.testing.assert_array_equal(load_file(tmp_path / "t.safetensors")["x"], strided)


def test_digest_of_a_folder_sees_names_and_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.bin").write_bytes(b"123")
    same = sha256_of(tmp_path / "a")
    assert sha256_of(tmp_path / "b") == same
    (tmp_path / "b" / "w.bin").rename(tmp_path / "b" / "v.bin")
    assert sha256_of(tmp_path / "b") != same
    (tmp_path / "a" / "w.bin").write_bytes(b"124")
    assert sha256_of(tmp_path / "a") != same
    # the well-known digest of "abc"
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_readers_never_see_half_a_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, [0] * 1000)
    stop = threading.Event()
    seen = []

    def read():
        while not stop.is_set():
            seen.append(len(read_json(path)))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(60):
        write_json(path, [n] * 1000)
    stop.set()
    reader.join()
    assert set(seen) == {1000}
