"""Weights files: strict loading, and what is not a weights file."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from seesaw.autoencoders import inert
from seesaw.autoencoders.weights import Layout, load_weights, save_weights


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def scrambled() -> nn.Module:
    module = small()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    module[1].num_batches_tracked.fill_(7)
    return module


def test_saved_weights_come_back(tmp_path):
    source, target = scrambled(), small()
    save_weights(source, tmp_path / "w.safetensors")
    assert not same(source, target)
    load_weights(target, tmp_path / "w.safetensors")
    assert same(source, target)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_torch_files_with_and_without_a_wrapper(tmp_path, suffix, wrapper):
    source, target, path = scrambled(), small(), tmp_path / f"w{suffix}"
    state = source.state_dict()
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, path)
    load_weights(target, path)
    assert same(source, target)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_converted(tmp_path, dtype):
    source, target, path = scrambled(), small(), tmp_path / "w.pt"
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in source.state_dict().items()}
    torch.save(state, path)
    load_weights(target, path)
    assert target[0].weight.dtype == torch.float32
    assert torch.equal(target[0].weight, source[0].weight.to(dtype).float())


def test_tied_weights_are_saved_under_both_names(tmp_path):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    save_weights(tied, tmp_path / "w.safetensors")
    free = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_weights(free, tmp_path / "w.safetensors")
    assert torch.equal(free[0].weight, free[1].weight)
    assert torch.equal(free[0].weight, tied[0].weight)


def test_wrong_keys_are_counted_and_the_first_ten_named(tmp_path):
    target = nn.ModuleDict({f"layer{i:02d}": nn.Linear(2, 2, bias=False) for i in range(14)})
    state = {k: v for k, v in target.state_dict().items() if k != "layer03.weight"}
    state["layer05.weight"] = torch.zeros(3, 2)
    state["layer06.weight"] = torch.zeros(2, 2, dtype=torch.int8)
    state.update({f"extra{i:02d}": torch.zeros(1) for i in range(12)})
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_weights(target, tmp_path / "w.pt")
    message = str(caught.value)
    assert "1 missing:\n    layer03.weight (2, 2)" in message
    assert "1 misshapen:\n    layer05.weight (3, 2), expected (2, 2)" in message
    assert "layer06.weight torch.int8, expected torch.float32" in message
    assert "12 unexpected" in message
    assert "and 2 more" in message
    assert "extra09" in message
    assert "extra10" not in message


def test_a_failed_load_changes_nothing(tmp_path):
    target = small()
    state = scrambled().state_dict()
    del state["2.bias"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="1 missing"):
        load_weights(target, tmp_path / "w.pt")
    assert same(target, small())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        (b"\n  <html lang='en'>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git-lfs pointer"),
        (b"\x00\x01garbage that is nothing" * 9, "cut short"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_what_is_no_weights_file(tmp_path, content, words, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_weights(small(), path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_file(tmp_path, suffix, share):
    path = tmp_path / f"w{suffix}"
    if suffix == ".pt":
        torch.save(small().state_dict(), path)
    else:
        save_weights(small(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="cut short"):
        load_weights(small(), path)


def test_a_missing_file_a_folder_and_a_strange_suffix(tmp_path):
    with pytest.raises(FileNotFoundError, match="correct 'weights'"):
        load_weights(small(), tmp_path / "none.pt")
    with pytest.raises(ValueError, match="is a folder"):
        load_weights(small(), tmp_path)
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"'\.h5'.*safetensors"):
        load_weights(small(), tmp_path / "w.h5")


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"a": torch.zeros(1)}, "ema": {"a": torch.zeros(1)}},
        {"model": {"a": torch.zeros(1)}, "state_dict": {"a": torch.zeros(1)}},
        {"ema": {"a": torch.zeros(1)}},
        {"step": 3},
        {},
    ],
)
def test_ambiguous_or_empty_checkpoints(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="not clear"):
        load_weights(small(), tmp_path / "w.pt")


def test_a_checkpoint_of_something_else(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds a list"):
        load_weights(small(), tmp_path / "list.pt")
    torch.save(small(), tmp_path / "module.pt")  # a pickled module would run code
    with pytest.raises(ValueError, match="holds a Sequential .its code is not run"):
        load_weights(small(), tmp_path / "module.pt")


def test_weights_for_a_class_that_is_no_module(tmp_path):
    class Plain:
        pass

    with pytest.raises(ValueError, match=r"no torch\.nn\.Module"):
        load_weights(Plain(), tmp_path / "w.pt")


class Evil:
    """Unpickled the ordinary way, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class Callback:
    """What training frameworks leave in a checkpoint: an object with a state."""

    def __init__(self):
        self.best, self.history = torch.tensor(3.0), {"loss": [1.0, 2.0]}


def test_objects_beside_the_tensors_are_read_over_and_run_no_code(tmp_path):
    source, target, trap = scrambled(), small(), tmp_path / "trap"
    content = {"state_dict": source.state_dict(), "callbacks": [Callback()], "x": Evil(trap)}
    torch.save(content, tmp_path / "w.ckpt")
    load_weights(target, tmp_path / "w.ckpt")
    assert same(source, target)
    assert not trap.exists()
    assert pickle.loads(pickle.dumps(Evil(trap))) is not None  # the trap is one
    assert trap.exists()


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.tensor])
def test_a_plain_pickle_of_arrays_or_tensors(tmp_path, kind):
    values = {"mean": kind([1.0, 2.0]) if kind is torch.tensor else np.array([1.0, 2.0], kind)}
    (tmp_path / "stats.pkl").write_bytes(pickle.dumps({"a.b-1": values, "n": 3}))
    found = inert.load(tmp_path / "stats.pkl")["a.b-1"]["mean"]
    assert type(found) is type(values["mean"])
    assert found.tolist() == [1.0, 2.0]


class Two(nn.Module):
    """Two parts in two files, and statistics."""

    layouts = {
        "encoder": Layout(entry="model", ema_entry="ema", drop=("loss.",)),
        "decoder": Layout(optional=True),
        "stats": Layout(entry="a.b-1", optional=True),
    }

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)

    def parts(self):
        return {"encoder": self.encoder, "decoder": self.decoder}

    def statistics(self, state):
        return state["mean"], 1 / state["std"]


def test_files_by_role_entry_and_dropped_keys(tmp_path):
    plain, averaged = torch.ones(2, 2), torch.full((2, 2), 2.0)
    torch.save(
        {
            "model": {"weight": plain, "loss.a": plain},
            "ema": {"weight": averaged, "loss.b": plain},
            "epoch": 1,
        },
        tmp_path / "e.pt",
    )
    torch.save({"weight": 3 * plain}, tmp_path / "d.pt")
    statistics = {"a.b-1": {"mean": np.zeros(2), "std": np.full(2, 4.0)}}
    (tmp_path / "stats.pkl").write_bytes(pickle.dumps(statistics))
    files = {"encoder": tmp_path / "e.pt", "decoder": tmp_path / "d.pt"}
    for ema, value in ((None, 1.0), (False, 1.0), (True, 2.0)):
        two = Two()
        load_weights(two, {**files, "stats": tmp_path / "stats.pkl"}, ema=ema)
        assert two.encoder.weight.unique().tolist() == [value]
        assert two.decoder.weight.unique().tolist() == [3.0]
        assert two.normalization[1].tolist() == [0.25, 0.25]
    load_weights(Two(), tmp_path / "e.pt")  # one path is the first role's
    with pytest.raises(ValueError, match="'encoder' is missing"):
        load_weights(Two(), {"decoder": tmp_path / "d.pt"})
    with pytest.raises(ValueError, match="'decodr' is none of them"):
        load_weights(Two(), {**files, "decodr": tmp_path / "d.pt"})
    torch.save({"net": {"weight": plain}, "epoch": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="holds 'net', 'epoch', and no state dict 'ema'"):
        load_weights(Two(), tmp_path / "other.pt", ema=True)


def test_a_folder_stands_for_the_file_in_it(tmp_path):
    source, target = scrambled(), small()
    save_weights(source, tmp_path / "diffusion_pytorch_model.safetensors")
    load_weights(target, tmp_path)
    assert same(source, target)


def test_a_module_without_memory_takes_the_tensors_of_the_file(tmp_path):
    source = scrambled().half()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    with torch.device("meta"):
        target = small()
    load_weights(target, tmp_path / "w.pt")
    assert target[0].weight.dtype == torch.float32
    assert same(source.float(), target)
