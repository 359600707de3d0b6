"""Weights files: strict loading, and what is not a weights file."""

import pytest
import torch
from torch import nn

from seesaw.autoencoders.weights import load_weights, save_weights


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
    with pytest.raises(ValueError, match="Python objects"):
        load_weights(small(), tmp_path / "module.pt")


def test_weights_for_a_class_that_is_no_module(tmp_path):
    class Plain:
        pass

    with pytest.raises(ValueError, match=r"no torch\.nn\.Module"):
        load_weights(Plain(), tmp_path / "w.pt")
