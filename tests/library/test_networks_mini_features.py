"""mini-inception, mini-clip and mini-dino: what they learn, extract and report."""

import importlib
import math

import numpy as np
import pytest
import torch

from seesaw.files import write_tensors
from seesaw.mini.scenes import CLASSES, FIELDS, VOCABULARY, MiniScenes
from seesaw.networks import load_network
from seesaw.registry import NETWORKS, resolve
from seesaw.shards import Shards, ShardWriter

NAMES = ("mini-inception", "mini-clip", "mini-dino")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pack(folder, split, count):
    scenes = MiniScenes(
        {"source": "mini", "count": count}, split=split, resolution=32, crop="none", seed=0
    )
    with ShardWriter(folder / split / "manifest.json", shard_size=200, meta={}) as writer:
        writer.add(scenes.ids, scenes.render(range(count)))
    return Shards(folder / split / "manifest.json")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return pack(folder, "train", 500), pack(folder, "val", 230)


def trained(name, world, **options):
    settings = {"steps": 3, "seed": 5, "batch_size": 16, **options}
    return resolve(NETWORKS[name].trainer)(*world, **settings)


@pytest.fixture(scope="module")
def states(world):
    return {name: trained(name, world)[0] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_training_follows_its_seed_alone(name, world, states):
    torch.manual_seed(99)
    again, _ = trained(name, world)
    other, _ = trained(name, world, seed=6)
    assert list(again) == list(states[name])
    assert all(np.array_equal(again[key], states[name][key]) for key in again)
    assert any(not np.array_equal(other[key], again[key]) for key in again)


@pytest.mark.parametrize("name", NAMES)
def test_features_come_from_a_file_and_do_not_depend_on_the_batch(name, world, states, tmp_path):
    write_tensors(tmp_path / "weights.safetensors", states[name])
    network = load_network(name, tmp_path / "weights.safetensors")
    images = world[1].load("images")[:60]
    whole = network.extract(images)
    assert whole["features"].shape == (60, 64)
    assert whole["features"].dtype == np.float32
    assert np.linalg.matrix_rank(whole["features"] - whole["features"].mean(0)) > 15
    for field, array in whole.items():
        parts = [network.extract(images[i : i + 7])[field] for i in range(0, 60, 7)]
        np.testing.assert_array_equal(np.concatenate(parts), array)


def test_mini_inception_takes_pixels_that_were_never_rounded(world, states):
    network = resolve(NETWORKS["mini-inception"].target)(states["mini-inception"])
    images = world[1].load("images")[:60]
    expected = network.extract(images)
    pixels = torch.from_numpy(images.copy()).double()
    found = network.extract_pixels(pixels)
    for field in ("features", "logits"):
        assert found[field].dtype == np.float32
        np.testing.assert_array_equal(found[field], expected[field])
    beyond = 1.2 * pixels - 25.3
    assert beyond.min() < 0
    assert beyond.max() > 255
    whole = network.extract_pixels(beyond)["features"]
    for other in (beyond.round(), beyond.clamp(0, 255)):
        assert np.abs(network.extract_pixels(other)["features"] - whole).max() > 1e-4
    np.testing.assert_array_equal(network.extract_pixels(beyond[7:9])["features"], whole[7:9])
    with pytest.raises(ValueError, match=r"scale 0\.\.255, got uint8 \(60, 3, 32, 32\)"):
        network.extract_pixels(images)
    with pytest.raises(ValueError, match="no images"):
        network.extract_pixels(pixels[:0])


@pytest.mark.parametrize("name", NAMES)
def test_images_of_another_size_are_resized(name, world, states):
    network = resolve(NETWORKS[name].target)(states[name])
    images = world[1].load("images")[:4]
    larger = images.repeat(2, axis=2).repeat(2, axis=3)
    near = network.extract(larger)["features"]
    here = network.extract(images)["features"]
    assert near.shape == here.shape
    apart = np.linalg.norm(here[:, None] - here, axis=2)
    assert np.linalg.norm(near - here, axis=1).max() < apart[apart > 0].min()
    with pytest.raises(ValueError, match="expected uint8 RGB images"):
        network.extract(images / 255)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_another_network_are_refused(name, states):
    other = NAMES[NAMES.index(name) - 1]
    with pytest.raises((ValueError, RuntimeError)):
        resolve(NETWORKS[name].target)(states[other])


# ---------------------------------------------------------------------------------- mini-inception


def test_caption_loss_of_no_preference_is_the_entropy_of_each_field():
    inception = importlib.import_module("seesaw.mini.inception")
    starts = np.array(inception.STARTS[:-1])
    logits = torch.zeros(3, len(VOCABULARY))
    attributes = torch.from_numpy(np.stack([starts, starts + 1, starts]).astype(np.uint8))
    sizes = {field: math.log(len(words)) for field, words in FIELDS.items()}
    expected = sizes["class"] + 0.2 * (sum(sizes.values()) - sizes["class"])
    loss = inception.caption_loss(logits, attributes, 0.2)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    sure = torch.nn.functional.one_hot(attributes.long(), len(VOCABULARY)).sum(1) * 100.0
    assert float(inception.caption_loss(sure, attributes, 0.2)) == pytest.approx(0, abs=1e-6)


def test_mini_inception_learns_and_its_logits_are_those_of_the_classes(world):
    inception = importlib.import_module("seesaw.mini.inception")
    state, _ = trained("mini-inception", world, steps=50, batch_size=32)
    network = inception.MiniInception(state)
    images, attributes = world[1].load("images"), world[1].load("attributes")
    found = network.extract(images)
    assert found["logits"].shape == (230, len(CLASSES))
    ground = list(FIELDS).index("ground")
    logits = found["features"] @ state["head.weight"].T + state["head.bias"]
    rows = slice(*inception.STARTS[inception.CLASS_FIELD : inception.CLASS_FIELD + 2])
    np.testing.assert_allclose(logits[:, rows], found["logits"], atol=1e-4)
    start, stop = inception.STARTS[ground : ground + 2]
    said = logits[:, start:stop].argmax(1) + start
    assert (said == attributes[:, ground]).mean() > 0.5


def test_top_1_is_scored_against_truth_and_majority(world):
    inception = importlib.import_module("seesaw.mini.inception")
    truth = world[1].load("attributes")[:, inception.CLASS_FIELD].astype(int)
    start = inception.STARTS[inception.CLASS_FIELD]
    answers = iter(np.split(np.eye(10)[truth - start], [200]))

    class Oracle:
        def extract(self, images):
            return {"logits": next(answers)}

    best, majority = inception.score(Oracle(), world[1], common=start + 3)
    assert (best.value, best.n, best.variant) == (1, 230, "")
    assert majority.value == pytest.approx(np.mean(truth == start + 3))
    assert majority.variant == "majority"


# --------------------------------------------------------------------------------------- mini-clip


def test_mini_clip_learns_to_find_captions(world):
    clip = importlib.import_module("seesaw.mini.clip")
    state, scores = trained("mini-clip", world, steps=60, batch_size=32)
    value = {(score.metric, score.variant): score for score in scores}
    found = value["caption-retrieval", ""]
    assert found.n == 200
    assert value["caption-retrieval", "chance"].value == 0.01
    assert value["zero-shot", "chance"].value == 0.1
    assert found.value > 0.1
    network = clip.MiniClip(state)
    features = network.extract(world[1].load("images")[:20])["features"]
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    text = network.embed_text(np.array([[0], [5]]))
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)
    assert abs(text[0] @ text[1]) < 0.999


def test_captions_are_bags_of_words():
    clip = importlib.import_module("seesaw.mini.clip")
    attributes = torch.tensor([[3, 0, 5], [1, 2, 4]], dtype=torch.uint8)
    counts = clip.word_counts(attributes)
    assert counts.shape == (2, len(VOCABULARY))
    assert counts[0].nonzero().flatten().tolist() == [0, 3, 5]
    assert torch.equal(counts, clip.word_counts(attributes.flip(1)))
    keep = torch.tensor([[True, False, True], [False, False, False]])
    assert clip.word_counts(attributes, keep)[0].nonzero().flatten().tolist() == [3, 5]
    assert clip.word_counts(attributes, keep)[1].sum() == 0


def test_retrieval_counts_a_caption_of_the_same_words_as_found():
    retrieved = importlib.import_module("seesaw.mini.clip").retrieved
    words = np.array([[0, 9], [1, 9], [0, 9]])
    similarity = np.array([[0.1, 0.2, 0.9], [0.9, 0.1, 0.0], [0.0, 0.1, 0.2]])
    assert retrieved(similarity, words) == 2


# --------------------------------------------------------------------------------------- mini-dino


def test_tokens_are_a_grid_of_the_image(world, states):
    network = resolve(NETWORKS["mini-dino"].target)(states["mini-dino"])
    images = world[1].load("images")[:3]
    pixels = (torch.from_numpy(images).float() / 127.5 - 1).requires_grad_()
    tokens = network.tokens(pixels)
    assert tokens.shape == (3, network.grid**2, network.dim)
    tokens.square().sum().backward()
    assert pixels.grad.abs().sum() > 0
    features = network.extract(images)["features"]
    np.testing.assert_allclose(tokens.mean(1).detach().numpy(), features, atol=1e-5)
    with torch.no_grad():
        changed = pixels.detach().clone()
        changed[:, :, 8:12, 20:24] *= -1
        change = (network.tokens(changed) - tokens).norm(dim=2).reshape(3, 8, 8)
    around = change[:, 1:4, 4:7].mean((1, 2))
    assert torch.all(around > 1.2 * change.mean((1, 2)))
    assert torch.all(around > change.transpose(1, 2)[:, 1:4, 4:7].mean((1, 2)))


def test_patches_are_those_of_the_token_grid():
    dino = importlib.import_module("seesaw.mini.dino")
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[:, :, 8:12, 20:24] = 1
    rows = dino.patches(pixels)
    assert rows.shape == (1, 64, 48)
    assert rows.sum(2).nonzero().tolist() == [[0, 2 * 8 + 5]]


def test_contrast_of_perfect_pairs_has_its_closed_form():
    dino = importlib.import_module("seesaw.mini.dino")
    pairs = torch.eye(4).repeat(2, 1) * 3
    expected = math.log(1 + 6 * math.exp(-1 / dino.TEMPERATURE))
    assert float(dino.contrast(pairs)) == pytest.approx(expected, rel=1e-5)
    mixed = pairs[torch.tensor([0, 1, 2, 3, 1, 0, 3, 2])]
    assert float(dino.contrast(mixed)) > expected + 1


def test_views_differ_and_pair_up(world):
    dino = importlib.import_module("seesaw.mini.dino")
    pixels = torch.from_numpy(world[0].load("images")[:6]).float() / 127.5 - 1
    torch.manual_seed(0)
    views = dino.two_views(pixels)
    assert views.shape == (12, 3, 32, 32)
    assert views.abs().max() <= 1
    assert all(not torch.equal(views[i], views[i + 6]) for i in range(6))


def test_mini_dino_is_scored_beside_an_untrained_network(world):
    _, scores = trained("mini-dino", world)
    readings = {(score.metric, score.variant) for score in scores}
    assert readings == {
        (metric, variant) for metric in ("knn", "linear-probe") for variant in ("", "untrained")
    } | {("knn", "majority")}
    assert all(0 <= score.value <= 1 and score.n == 230 for score in scores)


def test_vote_and_probe_agree_with_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    dino = importlib.import_module("seesaw.mini.dino")
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 300)
    known = rng.standard_normal((300, 5)) + np.eye(3, 5)[classes]
    asked_classes = rng.integers(0, 3, 200)
    asked = rng.standard_normal((200, 5)) + np.eye(3, 5)[asked_classes]
    model = neighbors.KNeighborsClassifier(7, metric="cosine").fit(known, classes)
    np.testing.assert_array_equal(dino.vote(known, classes, asked, k=7), model.predict(asked))
    assert (dino.probe(known, classes, asked) == asked_classes).mean() > 0.5
    shifted = dino.probe(known + 1000, classes, asked + 1000)
    np.testing.assert_array_equal(shifted, dino.probe(known, classes, asked))
