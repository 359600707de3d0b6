"""ControlNet branch: wiring by hand, zero start, gradients, files, the loss."""

import importlib
import math

import pytest
import torch
from backbone_fill import SMALL, fill_backbone
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from seesaw.control.branch import (
    ControlNet,
    HintEncoder,
    default_depth,
    load_branch,
    save_branch,
    state_sha256,
)
from seesaw.control.train import control_loss, on_the_path, velocity_loss
from seesaw.diffusion.backbones import load_backbone
from seesaw.registry import BACKBONES

recipe = importlib.import_module("recipe")
NAMES = sorted(SMALL)
RESOLUTION = 16


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def backbone_of(name, **config):
    return fill_backbone(load_backbone(name, config={**SMALL[name], **config}))


def control_of(name, **options):
    torch.manual_seed(0)
    return ControlNet(backbone_of(name), resolution=RESOLUTION, **options)


def normal(key, *shape):
    return torch.from_numpy(recipe.generator(0, key).standard_normal(shape)).float()


def batch(name, count=2, channels=1):
    x = normal("x", count, *SMALL[name]["latent_shape"])
    t, y = torch.linspace(0.2, 0.8, count), torch.arange(count) + 4
    return x, t, y, normal("hint", count, channels, RESOLUTION, RESOLUTION).sigmoid()


class Scale(nn.Module):
    """A block that multiplies by a number and adds the conditioning."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, tokens, conditioning):
        return self.factor * tokens + conditioning


class Toy(nn.Module):
    """Five scalar blocks on a 2 x 2 grid; a token is a latent cell."""

    latent_shape, token_grid, num_classes = (3, 2, 2), (2, 2), 1

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Scale(a) for a in (2.0, 3.0, 5.0, 7.0, 11.0))

    def embed(self, x, t, y):
        return x.flatten(2).transpose(1, 2).double(), t.double().view(-1, 1, 1)

    def unembed(self, tokens, conditioning):
        return tokens.transpose(1, 2).reshape(-1, 3, 2, 2)


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, hint):
        return torch.full((len(hint), 4, 3), self.value, dtype=torch.float64)


# ------------------------------------------------------------------------------------ closed forms


def test_wiring_by_hand():
    """Copy 1 takes what frozen block 0 returns and the hint; copy i speaks to block i + 1."""
    control = ControlNet(Toy(), resolution=8, depth=2).double()
    control.hint = Constant(10.0)
    for layer, gain in [(control.before, 0.5), (control.after[0], 100.0), (control.after[1], 1e4)]:
        layer.weight.data = gain * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        control.copies[0].factor.fill_(13.0)
        control.copies[1].factor.fill_(17.0)
        x, t = torch.full((1, 3, 2, 2), 0.3, dtype=torch.float64), torch.tensor([0.25])
        found = control(x, t, torch.zeros(1).long(), torch.zeros(1, 1, 8, 8))
    c = 0.25
    tokens = 2 * 0.3 + c
    first = 13 * (tokens + 0.5 * 10) + c
    tokens = 3 * (tokens + 100 * first) + c
    second = 17 * first + c
    tokens = 5 * (tokens + 1e4 * second) + c
    tokens = 11 * (7 * tokens + c) + c
    torch.testing.assert_close(found, torch.full_like(found, tokens), rtol=1e-12, atol=0)


def test_as_many_copies_as_pixart_delta():
    assert [default_depth(n) for n in (2, 3, 4, 12, 28)] == [1, 1, 2, 6, 13]


@given(st.integers(2, 100))
def test_the_last_copy_has_a_block_to_speak_to(blocks):
    assert 1 <= default_depth(blocks) < blocks


def convolutions(stages, channels=3):
    encoder = HintEncoder(channels, 7, stages)
    layers = [layer for layer in encoder.layers if isinstance(layer, nn.Conv2d)]
    assert sum(isinstance(layer, nn.SiLU) for layer in encoder.layers) == len(layers) - 1
    return [(c.in_channels, c.out_channels, c.stride[0], *c.kernel_size) for c in layers]


def test_hint_encoder_is_controlnets():
    """cldm/cldm.py: 16, 16, 32 / 2, 32, 96 / 2, 96, 256 / 2, then the model's width."""
    pairs = [(3, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 96, 2), (96, 96, 1)]
    pairs += [(96, 256, 2), (256, 7, 1)]
    assert convolutions(3) == [(*pair, 3, 3) for pair in pairs]
    more = [*pairs[:-1], (256, 256, 1), (256, 256, 2), (256, 7, 1)]
    assert convolutions(4) == [(*pair, 3, 3) for pair in more]
    assert convolutions(0) == [(3, 16, 1, 3, 3), (16, 16, 1, 3, 3), (16, 7, 1, 3, 3)]


@pytest.mark.parametrize("stages", [0, 1, 2, 3, 4])
def test_a_hint_is_seen_and_only_by_the_tokens_near_it(stages):
    """A lit lower left corner: with torch's default weights 1e-5 would arrive at four halvings."""
    torch.manual_seed(0)
    side, cell = 8, 1 << stages
    hint = torch.zeros(2, 1, side * cell, side * cell)
    hint[1, :, -2 * cell :, : 2 * cell] = 1.0
    with torch.no_grad():
        tokens = HintEncoder(1, 64, stages)(hint).view(2, side, side, 64)
    change = (tokens[1] - tokens[0]).square().mean(2).sqrt()
    assert 0.005 < change[-2:, :2].min() < change[-2:, :2].max() < 3
    assert not change[:-5].any()
    assert not change[:, 5:].any()


@pytest.mark.parametrize("name, blocks", [("lightningdit-xl/1", 28), ("ditdh-xl", 28)])
def test_branch_of_the_published_size(name, blocks):
    """13 copies, 14 zero layers of 1152 x 1152, four halvings from 256 px to 16 tokens."""
    with torch.device("meta"):
        control = ControlNet(BACKBONES.load(name)(**BACKBONES[name].config), resolution=256)
    assert (control.depth, len(control.backbone.blocks)) == (13, blocks)
    block = sum(value.numel() for value in control.backbone.blocks[0].parameters())
    hint = sum(value.numel() for value in control.hint.parameters())
    branch = sum(value.numel() for value in control.branch_parameters())
    assert branch == 13 * block + 14 * (1152**2 + 1152) + hint
    assert len(convolutions(4)) == sum(isinstance(m, nn.Conv2d) for m in control.hint.layers)


# -------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_at_first_the_output_is_the_backbones(name, channels):
    control = control_of(name, hint_channels=channels)
    x, t, y, hint = batch(name, channels=channels)
    with torch.no_grad():
        expected = control.backbone(x, t, y)
        assert expected.abs().max() > 0.5
        assert torch.equal(control(x, t, y, hint), expected)
        assert torch.equal(control(x, t, y, 1 - hint), expected)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_open_layer_by_layer(name):
    """First the zero layers behind the copies, then that of the hint, then the hint encoder."""
    control = control_of(name)
    optimiser = torch.optim.SGD(control.branch_parameters(), lr=0.01)
    x, t, y, hint = batch(name)
    target = normal("target", *x.shape)
    reached = []
    for _ in range(3):
        optimiser.zero_grad()
        (control(x, t, y, hint) - target).square().mean().backward()
        parts = (control.after, control.copies, control.before, control.hint)
        reached.append([all(p.grad.any() for p in part.parameters()) for part in parts])
        assert all(p.grad is None for p in control.backbone.parameters())
        if len(reached) == 1:
            assert not any(p.grad.any() for p in control.copies.parameters())
            assert not any(p.grad.any() for p in control.before.parameters())
        optimiser.step()
    assert reached == [
        [True, False, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]


def test_training_uses_the_hint_and_leaves_the_backbone_alone():
    """The target is a picture that only the hint tells."""
    name = "lightningdit-xl/1"
    control = control_of(name)
    before = state_sha256(control.backbone)
    optimiser = torch.optim.AdamW(control.branch_parameters(), lr=3e-3)
    x, t, y, _ = batch(name, count=4)
    hint = torch.zeros(4, 1, RESOLUTION, RESOLUTION)
    hint[1::2] = 1.0
    x, t, y = x[:1].expand(4, -1, -1, -1), t[:1].expand(4), y[:1].expand(4)
    target = control.backbone(x, t, y) + hint.mean((1, 2, 3)).view(-1, 1, 1, 1)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (control(x, t, y, hint) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # without the hint the best is the mean of both targets: 0.25
    assert losses[0] == pytest.approx(0.5, abs=1e-4)
    assert losses[-1] < 0.05
    assert state_sha256(control.backbone) == before


def test_the_backbone_stays_frozen_and_in_evaluation_mode():
    control = control_of("ditdh-xl", depth=2)
    assert control.train() is control
    assert control.copies.training
    assert not any(part.training for part in control.backbone.modules())
    trained = {name for name, value in control.named_parameters() if value.requires_grad}
    assert trained == set(control.branch_state())
    assert len(trained) == len(list(control.branch_parameters()))
    assert not any(name.startswith("backbone") for name in trained)
    copied = control.copies[1].attn.proj.weight
    original = control.backbone.blocks[1].attn.proj.weight
    assert torch.equal(copied, original)
    assert copied.data_ptr() != original.data_ptr()


@pytest.mark.parametrize("name", NAMES)
def test_a_velocity_does_not_depend_on_the_rest_of_the_batch(name):
    control = control_of(name)
    for layer in (control.before, *control.after):
        nn.init.normal_(layer.weight, std=0.05)
    x, t, y, hint = batch(name)
    with torch.no_grad():
        together = control(x, t, y, hint)
        alone = control(x[1:], t[1:], y[1:], hint[1:])
        assert (together - control.backbone(x, t, y)).abs().max() > 0.01
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------- words


def test_what_cannot_be_is_refused_in_words():
    backbone = backbone_of("ditdh-xl")
    flat = Toy()
    flat.token_grid, flat.latent_shape = None, (64, 32)
    for given_backbone, options, words in [
        (flat, {}, r"latents of shape \(64, 32\) are 1-D tokens"),
        (backbone, {"resolution": 24}, "use 4 times a power of two"),
        (backbone, {"resolution": 2}, "use 4 times a power of two"),
        (backbone, {"resolution": 18}, "use 4 times a power of two"),
        (backbone, {"depth": 3}, r"depth must be in 1 .. 2 for 3 blocks, got 3"),
        (backbone, {"depth": 0}, "got 0"),
        (backbone, {"hint_channels": 2}, "1 or 3 channels, got 2"),
        (backbone_of("ditdh-xl", depth=1), {}, "at least 2 blocks, got 1"),
    ]:
        with pytest.raises(ValueError, match=words):
            ControlNet(given_backbone, **{"resolution": RESOLUTION, **options})
    control = control_of("ditdh-xl")
    x, t, y, hint = batch("ditdh-xl")
    for wrong in ((hint * 255).byte(), hint[:1], hint[..., :8], hint.expand(-1, 3, -1, -1)):
        with pytest.raises(ValueError, match=r"expected hints of shape \(2, 1, 16, 16\), float"):
            control(x, t, y, wrong)


# ------------------------------------------------------------------------------------------- files


def test_a_branch_returns_from_its_file(tmp_path):
    name = "ditdh-xl"
    control = control_of(name, depth=2, hint_channels=3)
    for value in control.branch_parameters():
        nn.init.normal_(value, std=0.1)
    save_branch(control, tmp_path / "branch.safetensors")
    stored = load_file(tmp_path / "branch.safetensors")
    assert set(stored) == set(control.branch_state())
    with safe_open(tmp_path / "branch.safetensors", "pt") as file:
        assert file.metadata()["backbone_sha256"] == state_sha256(control.backbone)
    again = load_branch(tmp_path / "branch.safetensors", backbone_of(name))
    assert (again.depth, again.hint_channels, again.resolution) == (2, 3, RESOLUTION)
    arguments = batch(name, channels=3)
    with torch.no_grad():
        expected = control(*arguments)
        assert torch.equal(again(*arguments), expected)
        assert (expected - control.backbone(*arguments[:3])).abs().max() > 0.1


def test_another_backbone_or_another_file_is_refused(tmp_path):
    name = "lightningdit-xl/1"
    path = tmp_path / "branch.safetensors"
    save_branch(control_of(name), path)
    other = backbone_of(name)
    other.blocks[2].norm1.weight[3] += 1e-6
    with pytest.raises(ValueError, match="use the backbone's weights that it was trained with"):
        load_branch(path, other)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_branch(tmp_path / "absent.safetensors", other)
    save_file(load_file(path), tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="not a ControlNet branch: it names no backbone"):
        load_branch(tmp_path / "plain.safetensors", other)


def test_the_digest_sees_names_and_values():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.load_state_dict(a.state_dict())
    assert state_sha256(a) == state_sha256(b)
    assert state_sha256(nn.Sequential(a)) != state_sha256(a)
    b.bias.data[0] += 1
    assert state_sha256(a) != state_sha256(b)
    assert state_sha256(a.half()) != state_sha256(nn.Linear(2, 2))


# -------------------------------------------------------------------------------------------- loss


@given(st.floats(0, 1), st.sampled_from([0, 1]))
@settings(deadline=None)
def test_the_path_leads_from_any_time_to_the_data(time, data_at):
    data, noise = torch.full((1, 2), 3.0), torch.full((1, 2), -1.0)
    x, velocity = on_the_path(data, noise, torch.tensor([time]), data_at=data_at)
    torch.testing.assert_close(x + (data_at - time) * velocity, data)
    torch.testing.assert_close(x + (1 - data_at - time) * velocity, noise)


def test_velocity_loss_in_closed_form():
    target = torch.zeros(2, 2, 1, 2)
    target[:, 0] = 2.0
    turned = torch.zeros_like(target)
    turned[0, 1], turned[1, 0] = 2.0, -1.0
    assert velocity_loss(turned, target, cosine=False).tolist() == [4.0, 4.5]
    assert velocity_loss(turned, target, cosine=True).tolist() == [5.0, 6.5]
    assert velocity_loss(target, target, cosine=True).tolist() == [0.0, 0.0]


class Recorder(nn.Module):
    """Stands for a ControlNet whose backbone draws fixed times; keeps what it is asked."""

    def __init__(self, data_at):
        super().__init__()
        self.backbone = self
        self.data_at, self.cosine_loss, self.num_classes = data_at, False, 7

    def draw_times(self, count, generator):
        return torch.full((count,), 0.25)

    def forward(self, x, t, y, hint):
        self.asked = (x, t, y, hint)
        return torch.zeros_like(x)


@pytest.mark.parametrize("data_at", [0, 1])
def test_the_loss_of_a_branch(data_at):
    """Zero prediction: the squared velocity, 1 + data^2 on average; hints and shares are kept."""
    recorder, count = Recorder(data_at), 4000
    latents, labels = torch.full((count, 1, 2, 2), 2.0), torch.full((count,), 3)
    hints = normal("hints", count, 1, 4, 4)
    found = control_loss(recorder, latents, labels, hints, torch.Generator().manual_seed(0))
    assert found.shape == ()
    assert found.item() == pytest.approx(1 + 4, abs=0.15)
    x, t, y, hint = recorder.asked
    assert torch.equal(hint, hints)
    assert set(t.tolist()) == {0.25}
    share_of_data = 0.25 if data_at else 0.75
    assert x.mean().item() == pytest.approx(2 * share_of_data, abs=0.05)
    assert x.std().item() == pytest.approx(1 - share_of_data, abs=0.02)
    assert set(y.tolist()) == {3, 7}
    assert (y == 7).float().mean().item() == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / count))
    again = control_loss(recorder, latents, labels, hints, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)
    control_loss(
        recorder, latents, labels, hints, torch.Generator().manual_seed(0), label_dropout=0.0
    )
    assert set(recorder.asked[2].tolist()) == {3}


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_reaches_the_branch_of_every_backbone(name):
    control = control_of(name)
    x, _, y, hint = batch(name)
    control_loss(control, x, y, hint, torch.Generator().manual_seed(0)).backward()
    assert all(layer.weight.grad.any() for layer in control.after)
