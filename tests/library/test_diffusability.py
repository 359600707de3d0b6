"""Diffusability losses: closed forms, properties, official numbers; the stage that runs them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_shards import shards_of
from recipe import generator, pictures
from torch.nn import functional as F

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.objectives import cosine_excess, distance_excess
from seesaw.autoencoders.transforms import rescale, rotate
from seesaw.diffusability import Context
from seesaw.diffusability.alignment import AlignmentLoss, fit_projector
from seesaw.diffusability.equivariance import EquivarianceLoss, equivariance_errors, transforms
from seesaw.diffusability.mixture import LOG_2PI, MixtureLoss, fit_mixture, fit_whitening
from seesaw.diffusability.scale_equivariance import ScaleEquivarianceLoss, scale_errors
from seesaw.diffusability.score import score_diffusability, subset
from seesaw.files import write_tensors
from seesaw.registry import LOSSES
from seesaw.results import read_scores

REFERENCE = Path(__file__).parents[1] / "reference"
STORED = json.loads((REFERENCE / "diffusability.json").read_text())
TEST_MODULE = __name__


class Mix(Autoencoder):
    """Colours mixed pixel by pixel and mixed back: commutes with everything that moves pixels."""

    spatial, resizable = True, True

    def __init__(self, resolution=8, offset=0.0, resizable=True):
        super().__init__()
        self.resolution, self.latent_shape = resolution, (3, resolution, resolution)
        self.resizable = resizable
        self.offset = offset
        self.matrix = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.5, 0.0, 1.0]])

    def encode(self, images, noise=None):
        return torch.einsum("ij,njhw->nihw", self.matrix, images)

    def decode(self, latents):
        return torch.einsum("ij,njhw->nihw", self.matrix.inverse(), latents) + self.offset


class Blocks(Mix):
    """4 x 4 means out, repeated on the way back: commutes with quarter turns, not with scales."""

    def __init__(self, resolution=32):
        super().__init__(resolution)
        self.latent_shape = (3, resolution // 4, resolution // 4)

    def encode(self, images, noise=None):
        return F.avg_pool2d(images, 4)

    def decode(self, latents):
        return latents.repeat_interleave(4, -1).repeat_interleave(4, -2)


class Bare:
    """As Blocks, with no more than a measuring class must have."""

    resolution, latent_shape = 32, (3, 8, 8)
    encode, decode = Blocks.encode, Blocks.decode


class Tokens(Autoencoder):
    """The pixels of an image in a row: no grid."""

    resolution, latent_shape, spatial = 8, (64, 3), False

    def encode(self, images, noise=None):
        return images.flatten(2).transpose(1, 2)

    def decode(self, latents):
        return latents.transpose(1, 2).reshape(-1, 3, 8, 8)


class Teacher:
    """Tokens of a 4 x 4 grid: the means of the image's 16 parts, through a fixed matrix."""

    dim, grid = 5, 4
    matrix = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))

    def tokens(self, images):
        return F.adaptive_avg_pool2d(images, 4).flatten(2).transpose(1, 2) @ self.matrix


def random_images(count=6, side=8, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def normal(name, shape, scale=1.0, shift=0.0):
    return generator(0, name).standard_normal(tuple(shape)) * scale + shift


def measured(loss, autoencoder, images, train=None, batch=4):
    """Values of a loss by variant; None where undefined."""
    ids = [f"im{i:03d}" for i in range(len(images))]
    if train is not None:
        names = [f"t{i:03d}" for i in range(len(train))]
        for start in range(0, len(train), batch):
            part = train[start : start + batch]
            loss.fit(names[start : start + batch], part, autoencoder.encode(part))
        loss.finish_fit()
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        loss.add(ids[start : start + batch], part, autoencoder.encode(part))
    return {finding.variant: finding for finding in loss.findings()}


def values_of(*args, **kwargs):
    return {variant: f.value for variant, f in measured(*args, **kwargs).items()}


class TestEquivariance:
    def test_grid(self):
        every = transforms(8)
        assert len(every) == 15
        assert (8, 0) not in every
        assert {side for side, _ in every} == {2, 4, 6, 8}
        assert {side for side, _ in transforms(4)} == {1, 2, 3, 4}
        assert {side for side, _ in transforms(6)} == {1, 3, 4, 6}, "rounded down"
        assert {side for side, _ in transforms(2)} == {1, 2}, "no grid of side 0"

    def test_zero_for_an_equivariant_autoencoder(self):
        found = values_of(EquivarianceLoss(Context(autoencoder=Mix())), Mix(), random_images())
        assert found.keys() == {"", "rotations", "identity"}
        assert all(value < 1e-6 for value in found.values())

    def test_a_constant_error_is_what_it_is(self):
        model = Mix(offset=0.25)
        found = values_of(EquivarianceLoss(Context(autoencoder=model)), model, random_images())
        assert found == pytest.approx(dict.fromkeys(found, 0.25), abs=1e-6)

    def test_commuting_with_turns_is_not_commuting_with_scales(self):
        model = Blocks()
        images = model.decode(random_images(5, 8))
        found = values_of(EquivarianceLoss(Context(autoencoder=model)), model, images)
        assert found["rotations"] < 1e-6
        assert found["identity"] < 1e-6
        assert found[""] > 0.05

    def test_mean_over_the_grid_by_hand(self):
        model, images = Blocks(), random_images(3, 32)
        z = model.encode(images)
        by_hand = [
            (rotate(rescale(images, 4 * side), k) - model.decode(rotate(rescale(z, side), k)))
            .abs()
            .mean()
            .item()
            for side in (2, 4, 6, 8)
            for k in range(4)
            if (side, k) != (8, 0)
        ]
        found = values_of(EquivarianceLoss(Context(autoencoder=model)), model, images)
        assert found[""] == pytest.approx(np.mean(by_hand), rel=1e-5)

    def test_official_training_step(self):
        """Losses and transformed latents of a linear autoencoder, for each scale and turn."""
        name = "eq_transform/px128"
        images = torch.from_numpy(pictures(f"{name}/x", 2, 128, 128)).float() / 127.5 - 1
        down, up = (
            torch.from_numpy(normal(f"{name}/{key}", (4, 3, 4, 4), 0.15).astype("float32"))
            for key in "ED"
        )
        latents = F.conv2d(images, down, stride=4)
        latent = np.load(REFERENCE / "eq_transform.npz")
        for key, expected in STORED["eq_transform"].items():
            scale, turns = key.removeprefix("s").split("_k")
            # the official code turns the other way round
            chosen = (int(float(scale) * 32), -int(turns) % 4)
            error = equivariance_errors(
                lambda z: F.conv_transpose2d(z, up, stride=4), images, latents, [chosen]
            )
            assert error.mean().item() == pytest.approx(expected, abs=2e-6), key
            if key in latent:
                turned = rotate(rescale(latents[:1], chosen[0]), chosen[1])[0]
                np.testing.assert_allclose(turned, latent[key], atol=2e-5)
        assert len(STORED["eq_transform"]) == 20

    def test_fixed_grids_have_rotations_only(self):
        model = Mix(resizable=False)
        found = measured(EquivarianceLoss(Context(autoencoder=model)), model, random_images())
        assert found[""].value is None
        assert found[""].n == 0
        assert found[""].note == "undefined: its decoder takes grids of 8 x 8 only"
        assert found["rotations"].value < 1e-6
        assert found["rotations"].n == 6

    def test_lpips_beside_it_where_images_are_large_enough(self):
        from seesaw.networks import load_network

        network = load_network("lpips-alex-random")
        model = Blocks(32)
        context = Context(autoencoder=model, networks={"lpips": network})
        images = random_images(3, 32)
        found = measured(EquivarianceLoss(context), model, images)
        assert "LPIPS needs sides of 31 pixels" in found["lpips"].note
        assert found["lpips"].role == "lpips"
        assert found[""].role is None
        turned = [rotate(images, k) for k in (1, 2, 3)]
        by_hand = [network.distance_of_signed(x, model.decode(model.encode(x))) for x in turned]
        expected = float(torch.stack(by_hand).mean())
        assert found["rotations lpips"].value == pytest.approx(expected, rel=1e-6)
        large = Mix(128, offset=0.3)
        context = Context(autoencoder=large, networks={"lpips": network})
        found = values_of(EquivarianceLoss(context), large, random_images(1, 128))
        assert found["lpips"] > found["rotations lpips"] / 10 > 0

    def test_a_decoder_that_only_says_it_is_resizable(self):
        model = Mix()
        model.decode = lambda latents: torch.zeros(len(latents), 3, 8, 8)
        loss = EquivarianceLoss(Context(autoencoder=model))
        with pytest.raises(ValueError, match="must scale its images with the latent grid"):
            measured(loss, model, random_images())


class TestScaleEquivariance:
    def test_zero_for_an_equivariant_autoencoder(self):
        found = values_of(ScaleEquivarianceLoss(Context(autoencoder=Mix())), Mix(), random_images())
        assert found.keys() == {"", "s=2", "s=4"}
        assert all(value < 1e-6 for value in found.values())

    def test_by_hand_and_by_the_equivariance_loss(self):
        model, images = Blocks(), random_images(3, 32)
        errors = scale_errors(model.decode, images, model.encode(images))
        small = F.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False)
        by_hand = small - model.decode(
            F.interpolate(model.encode(images), size=4, mode="bilinear", align_corners=False)
        )
        expected = by_hand.abs().flatten(1).mean(1)
        torch.testing.assert_close(errors[:, 0].float(), expected, atol=1e-6, rtol=1e-6)
        same = equivariance_errors(model.decode, images, model.encode(images), [(4, 0), (2, 0)])
        torch.testing.assert_close(errors, same)
        found = values_of(ScaleEquivarianceLoss(Context(autoencoder=model)), model, images)
        assert found[""] == pytest.approx((found["s=2"] + found["s=4"]) / 2)

    @pytest.mark.parametrize(
        "model, words",
        [
            (Mix(resizable=False), "takes grids of 8 x 8 only"),
            (Mix(6), "grid of 6 x 6 cannot be shrunk by 4"),
            (Tokens(), "1-D tokens have no grid"),
        ],
    )
    def test_undefined(self, model, words):
        images = random_images(2, model.resolution)
        found = measured(ScaleEquivarianceLoss(Context(autoencoder=model)), model, images)
        assert {f.value for f in found.values()} == {None}
        assert words in found[""].note


class Features(Mix):
    """Latents that are a teacher's features; ``change`` is a matrix on their channels."""

    def __init__(self, change=None, repeat=1):
        super().__init__(8)
        self.change = torch.eye(5) if change is None else change
        self.repeat = repeat
        self.latent_shape = (5, 4 * repeat, 4 * repeat)

    def encode(self, images, noise=None):
        grid = (Teacher().tokens(images) @ self.change).transpose(1, 2).reshape(-1, 5, 4, 4)
        return grid.repeat_interleave(self.repeat, -1).repeat_interleave(self.repeat, -2)


class TestAlignment:
    def found(self, model, teacher=None, **options):
        context = Context(
            autoencoder=model,
            networks={"dino-large": teacher or Teacher()},
            options={"train_images": 40, **options},
        )
        train = random_images(40, model.resolution, seed=1)
        return values_of(AlignmentLoss(context), model, random_images(), train)

    def test_zero_where_latents_are_features(self):
        for repeat in (1, 2):  # a finer grid is averaged
            found = self.found(Features(repeat=repeat))
            assert len(found) == 6
            assert all(abs(value) < 1e-5 for value in found.values()), found

    def test_turned_features_have_the_same_distances(self):
        turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)))
        found = self.found(Features(turn))
        assert all(abs(value) < 1e-5 for value in found.values()), found

    def test_a_linear_map_of_features_is_undone_by_the_projector_only(self):
        found = self.found(Features(torch.diag(torch.tensor([9.0, 1, 1, 0.5, 1]))))
        assert found["cosine margin=0"] < 1e-4
        assert found["distance margin=0"] > 0.05

    def test_parts_and_margins(self):
        found = self.found(Mix())
        for margin in ("", " margin=0"):
            parts = found[f"distance{margin}"] + found[f"cosine{margin}"]
            assert found[margin.strip()] == pytest.approx(parts, rel=1e-12)
        assert found["distance"] < found["distance margin=0"]

    @pytest.mark.parametrize("name", STORED["vf_loss"])
    def test_official_loss(self, name):
        case = STORED["vf_loss"][name]
        z, f = (
            torch.from_numpy(normal(f"vf_loss/{name}/{key}", shape, scale, shift).astype("float32"))
            .flatten(2)
            .transpose(1, 2)
            for key, shape, scale, shift in zip("zf", case["shapes"], (1, 2), case["shifts"])
        )
        distance, cosine = case["margins"]
        assert distance_excess(z, f, distance).mean().item() == pytest.approx(
            case["distmat"], abs=1e-6
        )
        if cosine is not None:
            found = cosine_excess(z, f, cosine).mean().item()
            assert found == pytest.approx(case["mcos"], abs=2e-6)

    def test_projector_starts_at_least_squares_and_goes_down(self):
        z = torch.from_numpy(normal("z", (300, 4)).astype("float32"))
        f = torch.from_numpy(normal("f", (300, 7)).astype("float32"))
        f[:, :4] += 2 * z.square() + z
        start = fit_projector(z, f, 0.0, iterations=0)
        expected = np.linalg.lstsq(z, F.normalize(f, dim=-1), rcond=None)[0]
        np.testing.assert_allclose(start, expected, atol=1e-5)
        with torch.inference_mode():
            best = fit_projector(z.clone(), f.clone(), 0.0)
        loss = [cosine_excess(z @ w, f, 0.0).mean().item() for w in (start, best)]
        assert loss[1] < loss[0] - 1e-4

    def test_zero_latents_have_no_projector(self):
        with pytest.raises(ValueError, match="latents are all zero"):
            fit_projector(torch.zeros(9, 4), torch.ones(9, 3), 0.0)

    def test_undefined_for_tokens(self):
        found = measured(
            AlignmentLoss(Context(autoencoder=Tokens(), networks={"dino-large": Teacher()})),
            Tokens(),
            random_images(),
            random_images(),
        )
        assert {f.value for f in found.values()} == {None}
        assert found[""].note == "undefined: 1-D tokens have no grid"

    def test_a_network_without_tokens_is_an_error(self):
        with pytest.raises(ValueError, match="does not offer .*choose one that does"):
            AlignmentLoss(Context(autoencoder=Mix(), networks={"dino-large": object()}))


def correlated(name, shape):
    """Features of the recipe: scaled columns, half of the left neighbour."""
    rng = generator(0, name)
    x = rng.standard_normal(shape) * (0.5 + rng.random(shape[1]))
    return x + 0.5 * np.roll(x, 1, axis=1)


class TestMixture:
    def test_reference_numbers_of_scikit_learn(self):
        """PCA, standardisation and EM from a fixed start, as scikit-learn 1.9.1 does them."""
        stored, name = STORED["gmm_nll"], "gmm_nll/small"
        basis = normal(f"{name}/basis", (24, 48)) * 0.8 ** np.arange(24)[:, None]
        jump = normal(f"{name}/jump", (4, 48), 2.0)
        train, held = (
            torch.from_numpy(
                correlated(f"{name}/{key}", (count, 24)) @ basis + jump[np.arange(count) % 4]
            )
            for key, count in (("train", 600), ("train_held", 200))
        )
        whitening = fit_whitening(train, stored["K"])
        assert whitening.kept == pytest.approx(stored["explained"], abs=1e-9)
        assert fit_whitening(train, stored["K"] - 1).kept < 0.9
        rows, others = whitening(train), whitening(held)
        for steps, key in ((0, "nll_0"), (20, "nll_em")):
            mixture = fit_mixture(rows, rows[:5], steps)
            assert mixture.nll(rows).mean().item() == pytest.approx(stored[f"{key}_train"])
            assert mixture.nll(others).mean().item() == pytest.approx(stored[f"{key}_held"])
        weights = mixture.weights.sort().values
        np.testing.assert_allclose(weights, sorted(stored["weights_sorted"]), atol=1e-7)

    @pytest.mark.parametrize("count", [30, 200], ids=["wide", "tall"])
    def test_whitening(self, count):
        rows = torch.from_numpy(correlated("rows", (count, 60)) + 3)
        whitening = fit_whitening(rows, 12)
        white = whitening(rows)
        np.testing.assert_allclose(white.mean(0), 0, atol=1e-9)
        np.testing.assert_allclose(white.T @ white / count, np.eye(12), atol=1e-8)
        values = np.linalg.svd(rows.numpy() - rows.numpy().mean(0), compute_uv=False) ** 2
        assert whitening.kept == pytest.approx(values[:12].sum() / values.sum())

    def test_wide_and_tall_agree(self):
        rows = torch.from_numpy(correlated("agree", (50, 40)))
        padded = torch.cat([rows, torch.zeros(50, 40)], 1)
        a, b = fit_whitening(rows, 8)(rows), fit_whitening(padded, 8)(padded)
        torch.testing.assert_close(a.abs(), b.abs(), atol=1e-7, rtol=1e-6)

    def test_two_clusters(self):
        rng = np.random.default_rng(1)
        centre = np.where(np.arange(1000)[:, None] % 4 == 0, 20.0, -20.0)
        rows = torch.from_numpy(centre + rng.standard_normal((1000, 2)))
        mixture = fit_mixture(rows, rows[:2], 30)
        assert mixture.weights.tolist() == pytest.approx([0.25, 0.75])
        entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) + LOG_2PI + 1
        assert mixture.nll(rows).mean().item() == pytest.approx(entropy, abs=0.05)

    def loss(self, model, train, **options):
        options = {"train_images": len(train), "pca": 6, "components": 3, **options}
        return MixtureLoss(Context(autoencoder=model, options=options))

    @pytest.mark.parametrize("model", [Mix(), Tokens()], ids=["grid", "tokens"])
    def test_the_loss_of_grids_and_tokens(self, model):
        """Flattened in another order, the same numbers: the same latents."""
        train = random_images(60, seed=2)
        loss = self.loss(model, train)
        found = values_of(loss, model, train, train)
        assert found["gaussian"] == pytest.approx(3 * (LOG_2PI + 1))
        assert found[""] == pytest.approx(found["train"])
        assert found[""] < found["gaussian"]
        assert loss.protocol()["train_images"] == 60
        assert loss.protocol()["pca"] == 6

    def test_the_order_of_training_images_does_not_matter(self):
        model, train = Mix(), random_images(60, seed=2)
        found = []
        for order in (range(60), reversed(range(60))):
            loss = self.loss(model, train)
            for i in order:
                loss.fit([f"t{i}"], train[i : i + 1], model.encode(train[i : i + 1]))
            loss.finish_fit()
            loss.add(["a", "b"], train[:2], model.encode(train[:2]))
            found.append([f.value for f in loss.findings()])
        assert found[0] == pytest.approx(found[1], rel=1e-8)

    @pytest.mark.parametrize(
        "options, words",
        [
            ({"components": 61}, "components is 61, more than the 60 training images"),
            ({"pca": 60}, "pca is 60, but 60 training latents .* vary in 59 directions only"),
        ],
    )
    def test_too_many_components(self, options, words):
        model, train = Mix(), random_images(60)
        with pytest.raises(ValueError, match=words):
            measured(self.loss(model, train, **options), model, train, train)


def test_subsets_depend_on_ids_alone():
    ids = [f"a{i}" for i in range(50)]
    chosen = subset(ids, 10, 3, "x")
    assert len(chosen) == 10
    assert chosen == [image_id for image_id in ids if image_id in chosen], "stored order"
    assert set(subset(ids[::-1], 10, 3, "x")) == set(chosen)
    assert set(chosen) < set(subset(ids, 20, 3, "x"))
    assert set(subset(ids, 10, 4, "x")) != set(chosen) != set(subset(ids, 10, 3, "y"))
    assert subset(ids, "all", 3, "x") == ids
    with pytest.raises(ValueError, match="51 images are asked for x, the split has 50"):
        subset(ids, 51, 3, "x")


OPTIONS = {
    "losses": ["eq-loss", "se-loss", "vf-loss", "gmm-loss"], "images": 20, "train_images": 45,
    "pca": 8, "components": 3, "em_steps": 30,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures as packed splits, and a feature network that was never trained."""
    from seesaw.mini.dino import PatchTransformer
    from seesaw.mini.training import save_state, seeded

    folder = tmp_path_factory.mktemp("world")
    with seeded(0):
        write_tensors(folder / "dino.safetensors", save_state(PatchTransformer(norm=False)))
    return {
        "folder": folder,
        "train": shards_of(folder, images=pictures("train", 60, 32, 32), shard_size=25),
        "val": shards_of(folder, images=pictures("val", 30, 32, 32), shard_size=11),
    }


def run_stage(world, tmp_path, family, config, *, train="train", batch_size=7, **options):
    from seesaw.autoencoders.base import load_autoencoder
    from seesaw.mini.training import seeded

    weights = None
    with seeded(5):
        model = load_autoencoder(family, None, config)
        if ":" not in family:
            weights = tmp_path / "weights.safetensors"
            state = {key: value.numpy() for key, value in model.state_dict().items()}
            if hasattr(model, "parts"):
                state = {k: v.numpy() for k, v in model.parts()["autoencoder"].state_dict().items()}
            write_tensors(weights, state)
    with torch.inference_mode():
        pixels = torch.from_numpy(world["val"].load("images")).float() / 127.5 - 1
        latents = model.encode(pixels).numpy()
    stored = shards_of(tmp_path, ids=world["val"].ids, latents=latents)
    score_diffusability(
        autoencoder="it", family=family, config=config, weights=weights,
        images=world["val"].path, reconstructions=stored.path, train=train and world[train].path,
        networks={"dino-large": "mini-dino", "lpips": "lpips-alex-random"},
        network_weights={"dino-large": world["folder"] / "dino.safetensors"},
        options={**OPTIONS, **options}, output_scores=tmp_path / "scores.json",
        batch_size=batch_size, posterior="mean", protocol={"crop": "adm"}, seed=3, device="cpu",
        provenance={"seed": 3},
    )  # fmt: skip
    name, scores, provenance = read_scores(tmp_path / "scores.json")
    assert (name, provenance) == ("it", {"seed": 3})
    return {(score.metric, score.variant): score for score in scores}


KL = ("diffusers-kl", {"resolution": 32, "patch": 4, "widths": [16], "norm_groups": 4})


def test_scores_carry_their_origin(world, tmp_path):
    found = run_stage(world, tmp_path, *KL)
    assert {metric for metric, _ in found} == set(OPTIONS["losses"])
    for (metric, variant), score in found.items():
        entry = LOSSES[metric]
        unit = "1" if "lpips" in variant else entry.unit
        assert (score.unit, score.metric_version) == (unit, entry.version)
        assert not score.higher_is_better
        assert score.protocol["crop"] == "adm"
        assert score.protocol["evaluation_images"] == 20
        assert score.n == (0 if score.value is None else 45 if variant == "train" else 20)
    assert found["eq-loss", ""].network is None
    assert found["eq-loss", ""].protocol["latent_sides"] == "2,4,6,8 of 8"
    assert found["eq-loss", "rotations lpips"].network == "lpips-alex-random"
    assert found["vf-loss", ""].network == "mini-dino"
    assert found["vf-loss", ""].protocol["projector"] == "2880 tokens of 45 training images"
    assert found["gmm-loss", ""].protocol["components"] == 3
    assert [k for k, score in found.items() if score.value is None] == [("eq-loss", "lpips")]


def test_batch_and_shard_sizes_change_nothing(world, tmp_path):
    plain = run_stage(world, tmp_path, *KL)
    other = dict(world)
    other["train"] = shards_of(tmp_path, images=world["train"].load("images"), shard_size=60)
    other["val"] = shards_of(tmp_path, images=world["val"].load("images"), shard_size=4)
    changed = run_stage(other, tmp_path, *KL, batch_size=20)
    assert changed.keys() == plain.keys()
    for key, score in plain.items():
        if score.value is not None:
            assert changed[key].value == pytest.approx(score.value, rel=1e-6, abs=1e-8), key


def test_what_a_tokenizer_and_a_fixed_grid_have(world, tmp_path):
    tokens = run_stage(world, tmp_path, "tokenizer-1d", {"resolution": 32, "width": 16, "depth": 1})
    assert {metric for (metric, _), s in tokens.items() if s.value is not None} == {"gmm-loss"}
    assert tokens["eq-loss", ""].note == "undefined: 1-D tokens have no grid"
    fixed = run_stage(world, tmp_path, "rae", {"resolution": 32, "width": 16, "depth": 1})
    plain = {m for (m, variant), s in fixed.items() if variant == "" and s.value is not None}
    assert plain == {"vf-loss", "gmm-loss"}
    assert fixed["eq-loss", "rotations"].value > 0
    assert fixed["se-loss", ""].note == "undefined: its decoder takes grids of 8 x 8 only"


def test_a_class_of_ones_own(world, tmp_path):
    """Nothing to fit, so no training set; a class that does not say what it can do."""
    only = {"losses": ["eq-loss", "se-loss"], "images": "all", "train": None}
    found = run_stage(world, tmp_path, f"{TEST_MODULE}:Blocks", {}, **only)
    assert found["eq-loss", ""].n == 30
    assert found["eq-loss", ""].value > found["eq-loss", "identity"].value > 0.01
    bare = run_stage(world, tmp_path, f"{TEST_MODULE}:Bare", {}, **only)
    assert bare["eq-loss", ""].value is None
    assert bare["eq-loss", "rotations"].value == found["eq-loss", "rotations"].value
    with pytest.raises(ValueError, match="gmm-loss: a loss is fitted"):
        run_stage(world, tmp_path, *KL, **{**only, "losses": ["gmm-loss"]})


def test_numbers_that_are_not_finite_name_their_image(world, tmp_path, monkeypatch):
    def broken(self, latents):
        return latents.repeat_interleave(4, -1).repeat_interleave(4, -2) * float("nan")

    monkeypatch.setattr(Blocks, "decode", broken)
    first = subset(world["val"].ids, 20, 3, "diffusability")[0]
    with pytest.raises(ValueError, match=f"EquivarianceLoss of image '{first}' is NaN"):
        run_stage(world, tmp_path, f"{TEST_MODULE}:Blocks", {}, losses=["eq-loss"])
    assert not (tmp_path / "scores.json").exists()
