"""The cost model: closed forms, operations counted by torch, published sizes."""

import math

import pytest
import torch
from diffusers import AutoencoderKL
from small_study import CONFIG, KL
from torch.utils.flop_counter import FlopCounterMode

from seesaw.control.frozen import GRIDS
from seesaw.costs.assumptions import rate
from seesaw.costs.flops import (
    autoencoder_flops,
    kl_flops,
    sit_flops,
    sit_parameters,
    sit_shape,
    transformer_flops,
)
from seesaw.costs.generating import PUBLISHED_POINTS
from seesaw.costs.rules import COSTS, cost
from seesaw.costs.study import Cost, Job, Study
from seesaw.costs.work import (
    control_training_hours,
    encoding_hours,
    sampling_hours,
    segment_steps,
    training_hours,
)
from seesaw.diffusion.sizes import SIZES
from seesaw.plan import cost_table, plan_text

STUDY = Study(CONFIG)
XL = {"width": 1152, "depth": 28, "patch_channels": 16}


def of(rule, *, gpu=1, study=STUDY, **wildcards):
    return cost(Job(rule=rule, wildcards=wildcards, gpu=gpu), study)


@pytest.mark.parametrize(
    "size, multiply_adds", [("SiT-S", 6.06e9), ("SiT-B", 23.01e9), ("SiT-XL", 118.64e9)]
)
def test_transformers_as_published(size, multiply_adds):
    """DiT (arXiv 2212.09748), table 4: DiT-S/2, B/2 and XL/2 on 32 x 32 x 4."""
    width, depth = SIZES[size].width, SIZES[size].depth
    flops = sit_flops(width=width, depth=depth, tokens=256, patch_channels=16)
    assert flops / 2 == pytest.approx(multiply_adds, rel=2e-3)


@pytest.mark.parametrize("size, millions", [("SiT-B", 130), ("SiT-L", 458), ("SiT-XL", 675)])
def test_parameters_as_published(size, millions):
    width, depth = SIZES[size].width, SIZES[size].depth
    parameters = sit_parameters(width=width, depth=depth, patch_channels=16)
    assert parameters / 1e6 == pytest.approx(millions, abs=0.5)


def test_blocks_are_those_of_torch():
    width, depth, tokens = 64, 2, 24
    layer = torch.nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, depth, enable_nested_tensor=False).train()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, tokens, width))
    assert counter.get_total_flops() == transformer_flops(tokens=tokens, width=width, depth=depth)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("quant", [False, True])
def test_kl_autoencoders_are_those_of_diffusers(attention, quant):
    widths, layers = (32, 64, 64), 2
    down, up = ["DownEncoderBlock2D"] * 3, ["UpDecoderBlock2D"] * 3
    if attention:
        down[-1], up[0] = "AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D"
    with torch.device("meta"):
        model = AutoencoderKL(
            block_out_channels=widths,
            layers_per_block=layers,
            latent_channels=6,
            down_block_types=down,
            up_block_types=up,
            use_quant_conv=quant,
            use_post_quant_conv=quant,
            mid_block_add_attention=not quant,
        )
        images, latents = torch.zeros(1, 3, 32, 32), torch.zeros(1, 6, 8, 8)
        counted = []
        for call in (lambda: model.encode(images), lambda: model.decode(latents)):
            with FlopCounterMode(display=False) as counter:
                call()
            counted.append(counter.get_total_flops())
    assert tuple(counted) == kl_flops(
        resolution=32,
        widths=widths,
        layers=layers,
        latent_channels=6,
        middle_attention=not quant,
        deepest_attention=attention,
        quant_conv=quant,
        post_quant_conv=quant,
    )


def test_patches_cost_what_their_channels_cost():
    plain = kl_flops(resolution=8, widths=[32], layers=1, latent_channels=4)
    patched = kl_flops(resolution=32, patch=4, widths=[32], layers=1, latent_channels=4)
    more = 2 * 8 * 8 * 9 * 32 * (48 - 3)
    assert patched == (plain[0] + more, plain[1] + more)


def test_hours_in_closed_form():
    assert training_hours(rate("training"), steps=100, batch_size=12) == 1.0
    assert control_training_hours(rate("training"), steps=3600, batch_size=1) == 2 + 3 * rate(
        "control-share"
    )
    assert sampling_hours(rate("sampling"), images=36, evaluations=100) == 1.0
    tf32 = {"images": 36, "evaluations": 100, "precision": "tf32"}
    assert sampling_hours(rate("sampling-tf32"), **tf32) == 1.0
    assert sampling_hours(0, images=7200, evaluations=9, decode=rate("autoencoder")) == 2.0


def test_control_in_closed_form():
    """Heun's 20 steps are 39 evaluations, twice with guidance; the branch is half a backbone."""
    forward = sit_flops(width=768, depth=12, tokens=256, patch_channels=16)
    encode, decode = autoencoder_flops(KL)
    share = rate("control-share")
    seconds = forward * (1 + share) * 78 / rate("sampling") + decode / rate("autoencoder")
    sampled = of("sample_control", autoencoder="kl", condition="canny")
    assert sampled.hours == pytest.approx(300 * seconds / 3600)
    assert sampled.kept == 300 * 3 * 256**2
    found = of("extract_conditions", source="kl@control@canny", network="canny")
    assert found.kept == 300 * 256**2
    trained = of("train_control", autoencoder="kl", condition="canny")
    work = (2 + 3 * share) * forward / rate("training") + encode / rate("encoding")
    assert trained.hours == pytest.approx(32_000 * work / 3600)


def test_published_backbones_under_control():
    """LightningDiT counts as SiT-XL, DiT-DH as that and two blocks of width 2048."""
    config = dict(CONFIG)
    hours = {}
    for name in ("lightningdit-xl/1", "ditdh-xl"):
        listed = [{"name": "kl", "backbone": {"name": name}}]
        config["control"] = {**CONFIG["control"], "autoencoders": listed}
        study = Study(config)
        hours[name] = of("sample_control", study=study, autoencoder="kl", condition="x").hours
        assert PUBLISHED_POINTS[name] == GRIDS[name].points
    xl, head = (
        sit_flops(width=w, depth=d, tokens=256, patch_channels=16)
        for w, d in ((1152, 28), (2048, 2))
    )
    decode = 300 * autoencoder_flops(KL)[1] / rate("autoencoder") / 3600
    pass_of = 300 * (1 + rate("control-share")) / rate("sampling") / 3600
    assert hours["lightningdit-xl/1"] == pytest.approx(249 * pass_of * xl + decode)
    assert hours["ditdh-xl"] == pytest.approx(49 * pass_of * (xl + head) + decode)


def test_sit_xl_takes_its_67_hours():
    forward = sit_flops(tokens=256, **XL)
    assert training_hours(forward, steps=400_000, batch_size=128) == pytest.approx(67, abs=0.1)


def test_tokens_of_a_sit():
    assert sit_shape(KL) == (256, 16)
    assert sit_shape({"latent_shape": [32, 16, 16], "patch_size": 1}) == (256, 32)
    assert sit_shape({"latent_shape": [64, 32]}) == (64, 32)
    assert sit_shape({}) is None


def test_segments():
    assert segment_steps(100, []) == 100
    assert segment_steps(300, [100, 200, 300, 400]) == 100


def test_a_chain_of_segments_costs_its_steps():
    jobs = [
        Job(
            rule="train_diffusion",
            wildcards={"autoencoder": "kl", "model": model, "step": f"{step:07d}"},
            gpu=1,
        )
        for model in ("SiT-XL", "SiT-B")
        for step in (150_000, 300_000, 400_000)
    ]
    study = Study(CONFIG, jobs)
    xl = [cost(job, study) for job in jobs[:3]]
    encoding = 400_000 * 128 * autoencoder_flops(KL)[0] / rate("encoding") / 3600
    assert math.fsum(c.hours for c in xl) == pytest.approx(67 + encoding, abs=0.1)
    assert xl[0].hours == pytest.approx(1.5 * xl[2].hours)
    assert xl[0].kept == sit_parameters(**XL) * rate("checkpoint")


def test_latents_that_fit_are_encoded_once():
    once, fits = autoencoder_flops(KL)[0] / rate("encoding") / 3600, 2**31 // (4 * 4096)
    assert encoding_hours(KL, images=fits, passes=9) == pytest.approx(fits * once)
    assert encoding_hours(KL, images=fits + 1, passes=9) == pytest.approx((fits + 1) * 9 * once)
    assert encoding_hours({"family": "a:B"}, images=1, passes=1) is None


def test_rules_in_closed_form():
    encode, decode = autoencoder_flops(KL)
    seconds = (encode + decode) / rate("autoencoder")
    image, latent = 3 * 256**2, 4 * 4 * 32 * 32
    assert of("reconstruct_images", autoencoder="kl") == Cost(
        50_000 * (encode + decode) / rate("autoencoder") / 3600, 50_000 * (image + latent)
    )
    assert of("pack_images", gpu=0, split="train") == Cost(0.0, 1_281_167 * image)
    assert of("score_ifid", autoencoder="kl").hours == pytest.approx(
        2 * 50_000 * (seconds + 1 / rate("features")) / 3600  # alphas 0 and 0.5, the default again
    )
    search = 2 * 50_000 * 4 * 32 * 32 * 2 / rate("search")
    assert of("find_neighbours", autoencoder="kl", part="0").hours == pytest.approx(
        1_281_167 / 4 * (encode / rate("autoencoder") + search) / 3600
    )


def test_protocols_in_closed_form():
    each = sum(autoencoder_flops(KL)) / rate("autoencoder")
    job = {"autoencoder": "kl", "crop": "resize-center-crop"}
    # mean and sample; two kinds of features; LPIPS in the right range twice, in the other once
    seconds = 2 * each + 2 / rate("features") + 3 / rate("perceptual")
    found = of("score_protocols", **job)
    assert found.hours == pytest.approx(50_000 * seconds / 3600)
    rae = of("score_protocols", **{**job, "crop": "adm"}).hours
    assert rae == pytest.approx(
        50_000 * (each + 1 / rate("features") + 1 / rate("lpips-vgg")) / 3600
    )
    swept = {**CONFIG, "protocols": {**CONFIG["protocols"], "sweep": ["kl"]}}
    more = of("score_protocols", study=Study(swept), **job).hours
    assert more == pytest.approx(50_000 * (seconds + 4 / rate("features")) / 3600)  # one resize


def test_conditions_of_the_images_that_a_source_has():
    one, many = (of("extract_conditions", network="inception", source=s) for s in ("kl", "train"))
    assert one.kept == 50_000 * 4 * 2048
    assert many.hours == pytest.approx(one.hours * 1_281_167 / 50_000)


def test_networks_that_cost_more_than_their_kind_say_so():
    plain, large = (
        of("extract_conditions", network=f"dpt_hybrid_midas{end}", source="kl")
        for end in ("", "-384")
    )
    assert large.hours == pytest.approx(plain.hours * rate("map") / rate("dpt_hybrid_midas-384"))
    assert large.kept == plain.kept == 50_000 * 256**2
    assert of("extract_conditions", network="canny", source="kl").kept == plain.kept
    assert of("extract_conditions", network="canny-512", source="kl").kept == 4 * plain.kept
    for network, speed in (("lpips-alex", "perceptual"), ("lpips-vgg", "lpips-vgg")):
        study = Study({**CONFIG, "networks": {"lpips": {"network": network}}})
        found = of("score_metric", study=study, autoencoder="kl", metric="lpips")
        assert found.hours == pytest.approx(50_000 / rate(speed) / 3600)


@pytest.mark.parametrize(
    "rule", sorted(set(COSTS) - {"train_autoencoder", "train_network", "fetch_asset"})
)
def test_every_rule_has_a_finite_estimate(rule):
    wildcards = {"autoencoder": "kl", "split": "val", "network": "inception", "metric": "lpips"}
    wildcards |= {"source": "val", "crop": "resize-center-crop"}
    estimate = of(rule, model="SiT-B", step="0400000", sampler="guided", **wildcards)
    assert 0 <= estimate.hours < 200
    assert rule == "pack_images" or estimate.hours > 0


def test_downloads_count_where_their_size_is_known():
    def source(name, **more):
        return {"network": name, "weights": f"weights/{name}", "source": {"url": name, **more}}

    sizes = {"https://h/a": {"size": 500}, "https://h/b": {"about": 10**9}, "https://h/c": {}}
    networks = {url[-1]: source(url, **size) for url, size in sizes.items()}
    study = Study({**CONFIG, "networks": networks})
    kept = [of("fetch_asset", gpu=0, study=study, asset=url).kept for url in sizes]
    assert kept == [500, 10**9, None]
    jobs = [Job("fetch_asset", {"asset": url}) for url in sizes]
    text = plan_text(Study(study.config, jobs), cost_table(Study(study.config, jobs)))
    assert "To download: 3 files of weights; 1.0 GB are the 2 whose size is known." in text
    assert of("fetch_asset", gpu=0, asset="gone").kept is None


def test_guidance_doubles_the_evaluations_of_its_interval():
    each = {"autoencoder": "kl", "model": "SiT-B"}
    images, decode = 50_000, autoencoder_flops(KL)[1] / rate("autoencoder")
    plain, guided = (of("sample_images", sampler=s, **each).hours for s in ("plain", "guided"))
    step = sit_flops(width=768, depth=12, tokens=256, patch_channels=16) / rate("sampling")
    assert plain == pytest.approx(images * (250 * step + decode) / 3600)
    assert guided == pytest.approx(images * (75 * step + decode) / 3600)


def test_what_is_not_known_is_not_zero():
    assert of("reconstruct_images", autoencoder="own") == Cost(None, None)
    assert of("train_diffusion", autoencoder="own", model="SiT-B", step="1").hours is None
    assert of("rule_of_tomorrow") == Cost(None, None)
    assert of("rule_of_tomorrow", gpu=0) == Cost(0.0, None)
    with pytest.raises(ValueError, match="unknown autoencoder 'lk'. Did you mean 'kl'"):
        of("reconstruct_images", autoencoder="lk")


def test_image_counts(tmp_path):
    study = Study({**CONFIG, "pathvars": {"results": str(tmp_path)}})
    assert (study.images("train"), study.images("val")) == (1_281_167, 50_000)
    (tmp_path / "data/val").mkdir(parents=True)
    (tmp_path / "data/val/manifest.json").write_text('{"n": 150}')
    assert study.images("val") == 150
    splits = {"more": {"source": "folder"}, "few": {"source": "folder", "limit": 7}}
    study = Study({**CONFIG, "data": {**CONFIG["data"], "splits": splits}})
    assert (study.images("few"), study.images("more")) == (7, None)
    splits = {name: {"source": "imagenet", "split": "val"} for name in ("test", "cut", "less")}
    splits["cut"]["images"] = 49_999
    splits["less"] |= {"images": 49_999, "limit": 9}
    study = Study({**CONFIG, "data": {**CONFIG["data"], "splits": splits}})
    assert [study.images(name) for name in splits] == [50_000, 49_999, 9]
