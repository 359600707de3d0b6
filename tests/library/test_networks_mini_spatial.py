"""The mini world's spatial detectors: training, contract, quality, and their scores' arithmetic."""

import numpy as np
import pytest
import torch
from torch import nn

from seesaw import muon
from seesaw.files import write_tensors
from seesaw.mini import depth, face, segmentation, training
from seesaw.mini.scenes import LABELS, PALETTE, MiniScenes
from seesaw.networks import load_network
from seesaw.shards import Shards, ShardWriter

STEPS = {"mini-depth": 25, "mini-segmentation": 40, "mini-face": 30}
MODULES = {"mini-depth": depth, "mini-segmentation": segmentation, "mini-face": face}
FIELDS = {
    "mini-depth": {"map": ("uint8", (32, 32))},
    "mini-segmentation": {"labels": ("uint8", (32, 32))},
    "mini-face": {
        "found": ("uint8", ()),
        "score": ("float32", ()),
        "box": ("float32", (4,)),
        "embedding": ("float32", (64,)),
    },
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    out = {}
    for split, count in (("train", 1000), ("val", 200)):
        config = {"source": "mini", "count": count}
        source = MiniScenes(config, split=split, resolution=32, crop="adm", seed=0)
        manifest = tmp_path_factory.mktemp(split) / "manifest.json"
        with ShardWriter(manifest, shard_size=400, meta={}) as writer:
            writer.add(source.ids, source.render(range(count)))
        out[split] = Shards(manifest)
    return out


@pytest.fixture(scope="module")
def trained(splits):
    """Each network after a short training: (state, {(metric, variant): score})."""
    out = {}
    for name, module in MODULES.items():
        state, scores = module.train(splits["train"], splits["val"], steps=STEPS[name], seed=0)
        assert {score.network for score in scores} == {name}
        out[name] = (state, {(s.metric, s.variant): s.value for s in scores})
    return out


@pytest.fixture
def weights(trained, tmp_path):
    def path(name):
        file = tmp_path / f"{name}.safetensors"
        write_tensors(file, trained[name][0])
        return file

    return path


@pytest.mark.parametrize("name", MODULES)
def test_fields_of_the_contract(name, weights, splits):
    network = load_network(name, weights(name))
    images = splits["val"].load("images")[:70]
    seen = network.extract(images)
    assert {k: (str(a.dtype), a.shape[1:]) for k, a in seen.items()} == FIELDS[name]
    assert {len(a) for a in seen.values()} == {70}


@pytest.mark.parametrize("name", MODULES)
def test_an_image_does_not_depend_on_its_batch(name, weights, splits):
    network = load_network(name, weights(name))
    images = splits["val"].load("images")[:130]
    whole = network.extract(images)
    for rows in ([0], [129, 3, 3], list(range(40, 130))):
        for key, array in network.extract(images[rows]).items():
            # whole numbers to the bit; a matrix product may round by a row's place in its block
            tolerance = 0 if array.dtype == np.uint8 else 1e-5
            np.testing.assert_allclose(array, whole[key][rows], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", MODULES)
def test_training_is_decided_by_its_seed(name, splits, tmp_path):
    train = MODULES[name].train
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, _ = train(splits["train"], splits["val"], steps=2, seed=3)
    assert torch.equal(before, torch.random.get_rng_state()), "the global generator is left alone"
    torch.manual_seed(6)
    again, _ = train(splits["train"], splits["val"], steps=2, seed=3)
    other, _ = train(splits["train"], splits["val"], steps=2, seed=4)
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])
    assert any((first[key] != other[key]).any() for key in first)


def test_even_short_training_beats_the_baselines(trained):
    scores = {key: value for _, one in trained.values() for key, value in one.items()}
    assert scores["depth-mae", ""] < 0.75 * scores["depth-mae", "constant"]
    assert scores["pixel-accuracy", ""] > scores["pixel-accuracy", "majority"] - 0.02
    assert scores["segmentation-miou", ""] > scores["segmentation-miou", "majority"] + 0.05
    assert scores["identity-auc", ""] > 0.7
    assert scores["identity-cosine", ""] > scores["identity-cosine", "different person"] + 0.1


def test_baselines_are_the_truth_of_the_split(trained, splits):
    scores = {key: value for _, one in trained.values() for key, value in one.items()}
    truth = splits["val"].load("depth").astype(float)
    constant = np.median(splits["train"].load("depth"))
    assert scores["depth-mae", "constant"] == pytest.approx(np.abs(truth - constant).mean() / 255)
    ground = (splits["val"].load("labels") == 0).mean()
    assert scores["pixel-accuracy", "majority"] == pytest.approx(ground)
    assert scores["segmentation-miou", "majority"] == pytest.approx(ground / len(LABELS))


def test_faces_not_found_are_zeros(weights, splits):
    network = load_network("mini-face", weights("mini-face"))
    seen = network.extract(splits["val"].load("images"))
    found = seen["found"] == 1
    assert not found.all()
    assert (seen["box"][~found] == 0).all()
    assert (seen["embedding"][~found] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(seen["embedding"][found], axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found, seen["score"] >= face.THRESHOLD)


def test_palette_is_in_the_meta(weights):
    meta = load_network("mini-segmentation", weights("mini-segmentation")).meta
    assert np.array_equal(np.array(meta["palette"], np.uint8), PALETTE)
    assert meta["labels"] == list(LABELS)


@pytest.mark.parametrize("name", MODULES)
def test_errors_in_words(name, weights, trained):
    network = load_network(name, weights(name))
    with pytest.raises(ValueError, match="expected uint8 RGB"):
        network.extract(np.zeros((2, 3, 32, 32), np.float32))
    with pytest.raises(ValueError, match="multiples of 8, got 30 x 32"):
        network.extract(np.zeros((2, 3, 30, 32), np.uint8))
    with pytest.raises(ValueError, match="no images"):
        network.extract(np.zeros((0, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="train_network"):
        type(network)(None, "cpu")


def test_weights_of_another_network_are_refused(weights):
    with pytest.raises(ValueError, match="does not fit"):
        load_network("mini-depth", weights("mini-face"))


def test_an_image_size_other_than_trained_on_is_taken(weights):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 48), np.uint8)
    assert load_network("mini-depth", weights("mini-depth")).extract(images)["map"].shape[1:] == (
        64,
        48,
    )


# the parts


def test_folding_the_normalisation_changes_nothing():
    with training.seeded(0):
        block = training.ConvNorm(5, 7, 6, stride=2).train()
        x = torch.randn(4, 5, 16, 16)
        for _ in range(3):
            block(x * 3 + 1)
        nn.init.normal_(block.norm.weight)
        nn.init.normal_(block.norm.bias)
    block.eval()
    expected = block(x)
    state = training.save_state(block)
    assert block.norm is not None, "the model itself is left as it was"
    folded = training.load_state(training.ConvNorm(5, 7, 6, stride=2, norm=False), state)
    assert expected.shape == (4, 7, 8, 8)
    torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 12), (8, 40), (40, 8)])
def test_orthogonal_keeps_directions_and_evens_out_singular_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    result = u.T @ muon.orthogonal(matrix, 5) @ v.T
    assert 0.4 < result.diagonal().min()
    assert result.diagonal().max() < 1.3
    assert (result - result.diag().diag()).abs().max() < 1e-3


def test_learning_rate_rises_then_falls():
    rates = [training.learning_rate(step, 100) for step in range(100)]
    peak = int(np.argmax(rates))
    assert rates[0] == pytest.approx(0.1)
    assert rates[peak] == 1
    assert peak in (9, 10)
    assert np.all(np.diff(rates[:peak]) > 0)
    assert np.all(np.diff(rates[peak + 1 :]) < 0)
    assert rates[-1] < 0.02


def test_minibatches_pass_over_all_rows_in_every_epoch():
    rows = np.arange(20)
    batches = training.minibatches({"rows": rows, "twice": 2 * rows}, batch_size=5, seed=0)
    epochs = [torch.cat([next(batches)["rows"] for _ in range(4)]) for _ in range(2)]
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(20))] * 2
    assert not torch.equal(*epochs)
    batch = next(batches)
    assert torch.equal(2 * batch["rows"], batch["twice"])


@pytest.mark.parametrize("matrix_lr", [None, 0.3])
def test_fit_solves_a_least_squares_problem(matrix_lr):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(4, 6, generator=generator)
    with training.seeded(0):
        model = nn.Linear(6, 4)

    def batches():
        while True:
            x = torch.randn(64, 6, generator=generator)
            yield x, x @ target.T + 1

    losses = training.fit(
        model,
        batches(),
        lambda batch: (model(batch[0]) - batch[1]).square().mean(),
        steps=200,
        lr=0.05,
        seed=0,
        what="a line",
        matrix_lr=matrix_lr,
        weight_decay=0,
    )
    assert losses.shape == (200,)
    assert losses[-10:].mean() < 2e-2 * losses[0]
    torch.testing.assert_close(model.bias.detach(), torch.ones(4), atol=0.1, rtol=0)


def test_fit_stops_at_nan_and_bad_steps():
    model = nn.Linear(1, 1)
    words = {"lr": 0.1, "seed": 0, "what": "mini-x"}

    def loss(x):
        return model(x).mean() * (float("nan") if x.item() >= 2 else 1)

    batches = (torch.full((1, 1), float(i)) for i in range(9))
    with pytest.raises(FloatingPointError, match="mini-x, step 2 of 5, .*: the loss is nan"):
        training.fit(model, batches, loss, steps=5, **words)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        training.fit(model, iter(()), loss, steps=0, **words)


def test_load_arrays_stops_at_the_limit(splits):
    arrays = training.load_arrays(splits["train"], ["identity"], limit=500)
    np.testing.assert_array_equal(arrays["identity"], splits["train"].load("identity")[:500])


def test_mean_iou_by_hand():
    truth, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0], np.uint8)
    counts = segmentation.confusion(truth, predicted, 3)
    np.testing.assert_array_equal(counts, [[2, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert segmentation.mean_iou(counts) == pytest.approx((2 / 4 + 1 / 3) / 2)


def test_verification_agrees_with_its_definition():
    generator = np.random.default_rng(0)
    who = generator.integers(0, 6, 60)
    centres = generator.standard_normal((6, 8))
    vectors = np.round(centres[who] + generator.standard_normal((60, 8)), 1)
    vectors[5] = vectors[4]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    got = face.verification(vectors, who)
    cosine = vectors @ vectors.T
    i, j = np.triu_indices(60, 1)
    same, other = cosine[i, j][who[i] == who[j]], cosine[i, j][who[i] != who[j]]
    difference = same[:, None] - other[None, :]
    assert got["auc"] == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean())
    assert 0.6 < got["auc"] < 0.999
    assert got["same"] == pytest.approx(same.mean())
    assert got["different"] == pytest.approx(other.mean())
    nearest = [max((k for k in range(60) if k != n), key=lambda k: cosine[n, k]) for n in range(60)]
    assert got["rank1"] == pytest.approx(np.mean(who[nearest] == who))


def test_verification_without_pairs_is_undefined():
    got = face.verification(np.zeros((0, 8), np.float32), np.zeros(0, np.int16))
    assert got == {"auc": None, "rank1": None, "same": None, "different": None}
    assert face.verification(np.eye(3), np.array([0, 1, 2]))["auc"] is None


def test_box_iou_by_hand():
    a = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 3, 3], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(face.box_iou(a, b), [1, 1 / 7, 0, 0])


def test_cells_that_say_the_truth_decode_to_the_true_box_at_no_loss():
    boxes = torch.tensor([[4.0, 10.0, 13.0, 21.0], [0.0, 0.0, 0.0, 0.0]])
    found = torch.tensor([1, 0], dtype=torch.uint8)
    cells = torch.zeros(2, 5, 8, 8)
    x, y = face.cell_centres(cells)
    centre, side = (8.5, 15.5), face.TYPICAL_FACE * 32
    cells[0, 1], cells[0, 2] = centre[0] / 4 - x, centre[1] / 4 - y
    cells[0, 3], cells[0, 4] = np.log(9 / side), np.log(11 / side)
    cells[:, 0] = -20
    column, row = int(centre[0] // 4), int(centre[1] // 4)
    cells[0, 0, row, column] = 20
    probability, decoded = face.decode(cells)
    torch.testing.assert_close(decoded[0], boxes[0])
    assert probability[0] > 0.99
    assert probability[1] < 0.01
    assert face.detection_loss(cells, boxes, found) < 1e-4
    cells[0, 0] = cells[0, 0].roll(2, 0)
    assert face.detection_loss(cells, boxes, found) > 10


def test_a_crop_of_a_box_is_the_box():
    pixels = torch.arange(32.0 * 32).view(1, 1, 32, 32).expand(1, 3, 32, 32)
    crop = face.crop_faces(pixels, torch.tensor([[4.0, 8.0, 20.0, 24.0]]))
    torch.testing.assert_close(crop, pixels[:, :, 8:24, 4:20], atol=1e-3, rtol=0)


def test_training_without_any_face_is_refused(tmp_path, splits):
    batch = splits["train"].take(splits["train"].ids[:60], list(splits["train"].fields))
    rows = np.flatnonzero(batch["face_found"] == 0)
    with ShardWriter(tmp_path / "manifest.json", shard_size=100, meta={}) as writer:
        writer.add([batch.ids[i] for i in rows], {k: a[rows] for k, a in batch.arrays.items()})
    with pytest.raises(ValueError, match="no training image has a face"):
        face.train(Shards(tmp_path / "manifest.json"), splits["val"], steps=1, seed=0)


@pytest.mark.parametrize("name", ["mini-depth", "mini-segmentation"])
def test_damaged_weights_are_an_error_and_no_map(trained, tmp_path, name):
    state = dict(trained[name][0])
    last = "leave.bias"
    state[last] = np.full_like(state[last], np.nan)
    write_tensors(tmp_path / "bad.safetensors", state)
    network = load_network(name, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=f"{name} computed NaN or infinite values for image 0"):
        network.extract(np.zeros((2, 3, 32, 32), np.uint8))
