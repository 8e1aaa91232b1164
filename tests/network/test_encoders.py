"""The U-Net's decoder on encoders of timm: channels, sight, tiles, pretrained weights, and each mistake in one line."""

import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from itertools import product
from math import gcd
from pathlib import Path
from typing import Any

import pytest
import torch
from one_piece import whole_image_logits
from timm_beside import timm_on_path
from torch import Tensor, nn

from unet_exp import network
from unet_exp.compose import compose_train, parse_overrides
from unet_exp.config import Config, parse
from unet_exp.errors import ConfigError, DataError
from unet_exp.geometry import FUSIONS
from unet_exp.inference.large import budget
from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
from unet_exp.inference.tiling.tile_size import are_exact, resolve_tile
from unet_exp.network import (
    EncoderNetwork,
    cost,
    count_parameters,
    fold_batch_norm,
    probabilities,
    receptive_field,
)
from unet_exp.network.timm_encoders import find_maps, require_weights

RESNET, CONVNEXT, EFFICIENTNET = "test_resnet", "test_convnext", "test_efficientnet"
"""Networks of timm as small as tests need: maps from 1/2, from 1/4, and with squeeze-and-excitation."""


@pytest.fixture(scope="module", autouse=True)
def _timm() -> Iterator[None]:
    with timm_on_path():
        yield


@cache
def defaults() -> dict[str, Any]:
    return compose_train(["model=encoder", "model.weights=null", "model.width=2"])


def config_of(encoder: str, *words: str) -> Config:
    """Of a training with `model=encoder` and keys; a whole composition each time would take 0.2 s."""
    values = deepcopy(defaults())
    values["model"]["encoder"] = encoder
    for override in parse_overrides(words):
        group, _, key = override.key_or_group.partition(".")
        values[group][key or "name"] = override.value()
    return parse(values)


@cache
def completed(encoder: str, *words: str) -> Config:
    return network.complete(config_of(encoder, *words))


def build(encoder: str, *words: str, channels: int = 3, classes: int = 2) -> EncoderNetwork:
    """In evaluation mode, its norms as if they had seen data."""
    torch.manual_seed(0)
    made = network.build(completed(encoder, *words), channels, classes).eval()
    assert isinstance(made, EncoderNetwork)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return made


@pytest.mark.parametrize(
    ("encoder", "depth", "skips", "fusion"),
    [
        *((RESNET, 3, [32, 0], fusion) for fusion in FUSIONS),
        pytest.param(RESNET, 6, [192, 48, 32, 32, 0], "concat", marks=pytest.mark.slow),
        pytest.param(CONVNEXT, 6, [48, 32, 24, 0, 0], "attention", marks=pytest.mark.slow),
    ],
)
def test_its_decoder_is_the_unets(encoder: str, depth: int, skips: list[int], fusion: str) -> None:
    made = build(encoder, f"model.depth={depth}", f"fusion={fusion}", classes=3)
    step = 1 << (depth - 1)
    assert made(torch.zeros(2, 3, 2 * step, 3 * step)).shape == (2, 3, 2 * step, 3 * step)
    expected, below = 0, made.encoder.feature_info.channels()[-1]
    for level, skip in zip(range(depth - 1, 0, -1), skips, strict=True):
        out = 2 << (level - 1)
        up = skip or out
        steps = FUSIONS[fusion].learned(up, skip, "batch") if skip else ()
        fused = FUSIONS[fusion].channels(up, skip) if skip else up
        expected += 4 * below * up + up + sum(step.parameters for step in steps)
        expected += 9 * fused * out + 2 * out + 9 * out * out + 2 * out
        below = out
    groups = made.parameter_groups()
    own, theirs = (sum(weight.numel() for weight in group["params"]) for group in groups)
    assert own == expected + below * 3 + 3
    everything = sum(weight.numel() for weight in made.parameters())
    assert count_parameters(completed(encoder, f"model.depth={depth}", f"fusion={fusion}"), 3, 3) == everything
    assert own + theirs == everything == cost(made, 2 * step)[0]


def test_its_blocks_may_be_residual() -> None:
    plain, residual = (build(RESNET, "model.depth=4", f"model.block={block}") for block in ("plain", "residual"))
    assert residual.architecture.receptive_field_radius == plain.architecture.receptive_field_radius
    assert [type(each.convs) for each in residual.decoder] != [type(each.convs) for each in plain.decoder]
    assert residual(torch.zeros(1, 3, 16, 24)).shape == (1, 2, 16, 24)


@pytest.mark.parametrize(("block", "numerator"), [("plain", 2), ("residual", 1)])
def test_its_head_has_the_variance_that_its_blocks_ask_for(block: str, numerator: int) -> None:
    """Behind residual units no ReLU takes half of it away."""
    made = build(RESNET, "model.depth=3", "model.width=64", f"model.block={block}", classes=200)
    assert made.head.weight.std().item() == pytest.approx((numerator / 64) ** 0.5, rel=0.03)


def test_multiply_accumulates_are_counted() -> None:
    """Four times as many on twice the side; and the skips of 32 channels at levels 2 and 3 add what they must."""
    bare, joined = (build(RESNET, "model.depth=4", f"fusion={fusion}") for fusion in ("none", "concat"))
    one, two = (cost(bare, size)[1] for size in (64, 128))
    assert one is not None
    assert two == 4 * one
    assert cost(joined, 64)[1] == one + 9 * 32 * (4 * 32**2 + 8 * 16**2)


@pytest.mark.parametrize("encoder", [RESNET, pytest.param(CONVNEXT, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("depth", "upsample"), [(6, "transposed"), (4, "bilinear")])
def test_what_an_output_pixel_sees_is_measured(encoder: str, depth: int, upsample: str) -> None:
    """Against the whole network: which columns of its output change to no number with a column of the image."""
    words = (f"model.depth={depth}", f"model.upsample={upsample}")
    made, stride = build(encoder, *words), 1 << (depth - 1)
    radius, width = made.architecture.receptive_field_radius, 2048 if encoder == CONVNEXT else 768
    assert radius is not None
    farthest = 0
    for phase in range(stride):
        image = torch.zeros(1, 3, 2 * stride, width)
        image[..., width // 2 + phase] = torch.nan
        with torch.no_grad():
            seeing = made(image)[0, 0].isnan().any(dim=0).nonzero()[:, 0] - width // 2 - phase
        farthest = max(farthest, -int(seeing[0]), int(seeing[-1]))
    assert farthest <= radius <= farthest + 3


@pytest.mark.parametrize(("upsample", "tolerance"), [("transposed", 1e-5), ("bilinear", 1e-4)])
def test_tiles_equal_one_piece(upsample: str, tolerance: float) -> None:
    words = (f"model.upsample={upsample}", "model.depth=4")
    made = build(RESNET, *words)
    assert are_exact(made)
    image, size = torch.randn(1, 3, 50, 300), (50, 300)
    with torch.no_grad():
        whole = whole_image_logits(made, image)
        stitched = tiled_logits(made, mirror_source(image), *size, inference(tile=64))
        cut = tiled_logits(made, mirror_source(image), *size, inference(tile=64, context=8))
    torch.testing.assert_close(stitched, whole, atol=tolerance * float(whole.abs().max()), rtol=0)
    assert (cut - whole).abs().max() > 100 * (stitched - whole).abs().max()


def inference(**changes: object) -> Any:
    return parse(defaults()).inference.model_copy(update=changes)


def test_an_encoder_that_sees_the_whole_image_says_so_and_its_tiles_have_seams() -> None:
    made = build(EFFICIENTNET)
    assert completed(EFFICIENTNET).model.receptive_field_radius == "image"
    # Only its last stage squeezes.
    assert are_exact(build(EFFICIENTNET, "model.depth=4"))
    assert "have seams" in made.architecture.describe_sight()
    assert not are_exact(made)
    assert resolve_tile(inference(tile="auto"), [made], torch.device("cpu"), memory=1).tile == 1024
    image = torch.randn(1, 3, 64, 800)
    image[..., :400] *= 5
    with torch.no_grad():
        whole = whole_image_logits(made, image)
        stitched = tiled_logits(made, mirror_source(image), 64, 800, inference(tile=128))
    assert (stitched - whole).abs().max() > 1e-4
    for words in (("model.norm=instance",), ("model.norm=group",)):
        assert not are_exact(build(RESNET, "model.depth=3", *words))


def test_one_whose_maps_do_not_move_with_the_image_has_seams_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Windows(nn.Module):
        """Sees few pixels, but not alike: as attention within windows does."""

        def forward(self, x: Tensor) -> list[Tensor]:
            maps = [nn.functional.avg_pool2d(x[:, :1], side).expand(-1, count, -1, -1) for side, count in SIDES]
            return [each * (1 + torch.arange(each.shape[-1]) // 8 % 2) for each in maps]

    SIDES = [(2, 32), (4, 32)]
    monkeypatch.setattr(receptive_field, "create_encoder", lambda *_: Windows())
    assert receptive_field.measure_sight(RESNET, 3) is None


def test_what_fails_while_it_is_measured_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Picky(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            if x.shape[-1] > 64:
                raise RuntimeError("too\nwide")
            return [torch.zeros(1, 32, *(length // side for length in x.shape[-2:])) for side in (2, 4)]

    monkeypatch.setattr(receptive_field, "create_encoder", lambda *_: Picky())
    with pytest.raises(ConfigError, match="test_resnet: it does not take images of 8 x 1024") as mistake:
        receptive_field.measure_sight(RESNET, 3)
    assert "\n" not in str(mistake.value)


@pytest.mark.slow
def test_a_transformer_of_four_resolutions_sees_the_whole_image() -> None:
    assert receptive_field.measure_sight("pvt_v2_b0", 5) is None


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_memory_of_a_pass_is_that_of_the_maps_that_live_at_once(fusion: str) -> None:
    made: Any = build(RESNET, f"fusion={fusion}").to(memory_format=torch.channels_last)  # as it predicts on a CPU
    side = 512
    image = torch.zeros(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    with torch.profiler.profile(profile_memory=True) as profiled, torch.no_grad():
        made(image)
    now = peak = 0
    for event in sorted(profiled.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    estimate = budget.forward_bytes(made, side, side)
    assert peak <= 1.05 * estimate
    assert estimate <= 1.3 * peak


def weights_of(encoder: str) -> tuple[Any, dict[str, Tensor]]:
    """A whole classifier of timm in evaluation mode, as if it had been trained, and its weights."""
    import timm

    torch.manual_seed(1)
    whole = timm.create_model(encoder).eval()
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return whole, whole.state_dict()


def test_pretrained_weights_are_those_of_the_file_for_any_number_of_channels() -> None:
    whole, weights = weights_of(RESNET)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = whole.forward_intermediates(image, intermediates_only=True)
        for channels, same in ((3, image), (1, image[:, :1]), (4, torch.cat([image, image[:, :1]], dim=1))):
            made = build(RESNET, channels=channels)
            made.load_encoder(weights)
            found = made.eval().encoder(same)
            if channels == 3:
                assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
            if channels == 1:  # grey is as if all three channels had its values
                alike = whole.forward_intermediates(same.expand(-1, 3, -1, -1), intermediates_only=True)
                assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(found, alike, strict=True))
            if channels == 4:  # red stands in the fourth place too, and all count less
                kernels = next(made.encoder.parameters()), next(whole.parameters())
                torch.testing.assert_close(kernels[0], 0.75 * torch.cat([kernels[1], kernels[1][:, :1]], dim=1))


@pytest.mark.parametrize(
    ("channels", "mean", "std"), [(3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), (1, 0.449, 0.226)]
)
def test_values_from_0_to_1_are_standardised_as_the_weights_want(channels: int, mean: Any, std: Any) -> None:
    """Against the same network after the user's own normalisation."""
    torch.manual_seed(0)
    image = torch.rand(1, channels, 64, 64)
    plain = build("resnet10t", "model.depth=3", channels=channels)
    config = completed("resnet10t", "model.depth=3")
    words = {"model": config.model.model_copy(update={"weights": "imagenet"})}
    values = config.data.model_copy(update={"normalization": "none"})
    wants = network.build(config.model_copy(update={**words, "data": values}), channels, 2).eval()
    wants.load_state_dict(plain.state_dict())
    shape = (1, channels, 1, 1)
    ready = (image - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    with torch.no_grad():
        torch.testing.assert_close(wants(image), plain(ready))
        assert not torch.allclose(wants(image), plain(image))


def test_a_frozen_encoder_learns_nothing_and_keeps_its_statistics() -> None:
    made = build(RESNET, "model.depth=3").train()
    made.freeze(True)
    made.train()
    before = deepcopy(made.encoder.state_dict())
    made(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(weight.grad is None for weight in made.encoder.parameters())
    assert all(weight.grad is not None for weight in made.decoder.parameters())
    assert all(torch.equal(value, before[key]) for key, value in made.encoder.state_dict().items())
    made.freeze(False)
    assert all(module.training for module in made.modules())
    made(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(weight.grad is not None for weight in made.encoder.parameters())


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        (["model.freeze_epochs=2", "model.lr_factor=0.1"], [0, 0, 0.1, 0.1]),
        (["model.lr_factor=0.1", "model.lr_factor_epochs=2"], [0.1, 0.1, 1, 1]),
        (["model.freeze_epochs=1", "model.lr_factor=0.5", "model.lr_factor_epochs=1"], [0, 0.5, 1, 1]),
        ([], [1, 1, 1, 1]),
    ],
)
def test_the_learning_rate_of_the_encoder_by_epoch(words: list[str], rates: list[float]) -> None:
    model: Any = config_of(RESNET, *words).model
    assert [model.encoder_rate(epoch) for epoch in range(4)] == rates


@pytest.mark.parametrize(
    ("encoder", "words", "said"),
    [
        ("resnet35", [], "timm .* has no such encoder; did you mean .*resnet34"),
        ("resnet18.a9", [], "timm cannot create it as an encoder .*Invalid pretrained tag"),
        ("tresnet_m", [], "timm cannot create it|has no map"),
        ("test_vit", [], "model.encoder=test_vit: its maps have one resolution; set an encoder with finer ones too"),
        (RESNET, ["model.depth=7"], "model.depth=7 does not .* set 3 or 4 or 5 or 6"),
        (CONVNEXT, ["model.depth=3"], "model.depth=3 does not .* set 4 or 5 or 6"),
        ("test_maxvit", [], "it does not take images of 64 x 96 pixels"),
    ],
)
def test_an_encoder_that_does_not_fit_is_told_in_one_line(encoder: str, words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as mistake:
        network.complete(config_of(encoder, *words))
    assert "\n" not in str(mistake.value)


@pytest.mark.slow
def test_it_goes_with_experiments_and_debugging_but_not_with_what_is_the_unets() -> None:
    for words in ("experiment=small", "experiment=own", "debug=overfit", "debug=fast"):
        assert parse(compose_train(["model=encoder", words])).model.name == "encoder"
    for words, said in (
        ("experiment=skip_fusion", "model.match is of the U-Net"),
        ("model.lr_factor=0", "model.lr_factor=0: should be greater than 0"),
        ("model.lr_factor_epochs=2", "model.lr_factor_epochs=2 does nothing with model.lr_factor=1: leave it out"),
        ("model.encoder=hf-hub:their/model", "must be a name of timm"),
        ("model.match=flops", "type one of these too; model=encoder has the keys name, encoder"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse(compose_train(["model=encoder", words]))


def test_timm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find_maps.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"model=encoder needs the extra: pip install -e '\.\[encoders\]'"):
        network.complete(config_of(RESNET))


def test_weights_of_another_network_are_refused() -> None:
    _, weights = weights_of(RESNET)
    require_weights(RESNET, 6, weights)
    for wrong, said in (
        (
            {"conv1.0.weight": weights["conv1.0.weight"]},
            r"they are no weights of test_resnet: \d+ are missing, such as",
        ),
        (weights_of(CONVNEXT)[1], "they are no weights of test_resnet"),
        ({**weights, "conv1.0.weight": torch.zeros(5, 5, 3, 3)}, "they are no weights of test_resnet"),
    ):
        with pytest.raises(DataError, match=said) as mistake:
            require_weights(RESNET, 6, wrong)
        assert "\n" not in str(mistake.value)
    gone = {key: value for key, value in weights.items() if key != "layer3.0.bn2.running_mean"}
    with pytest.raises(DataError, match=r"1 are missing, such as layer3\.0\.bn2\.running_mean"):
        require_weights(RESNET, 6, gone)


def test_the_batch_norms_of_the_decoder_are_folded() -> None:
    made = build(RESNET, "model.depth=4")
    folded = fold_batch_norm(made)
    image = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(probabilities(folded(image), "softmax"), probabilities(made(image), "softmax"))
    norms = [[module for module in each.modules() if isinstance(module, nn.BatchNorm2d)] for each in (made, folded)]
    assert len(norms[0]) - len(norms[1]) == 2 * len(made.decoder)
    assert norms[1]


def test_a_copy_keeps_the_hooks_by_which_an_encoder_gives_its_maps_beside_one_that_cannot_be_copied() -> None:
    import timm

    class Fixed:
        def __call__(self, *_: object) -> None:
            pass

        def __deepcopy__(self, memo: object) -> None:
            raise RuntimeError("this cannot be copied")

    made = build(RESNET, "model.depth=3")
    indices = find_maps(RESNET, 3).indices
    made.encoder = timm.create_model(RESNET, features_only=True, feature_cls="hook", out_indices=indices).eval()
    for part in (made.head, made.encoder, next(each for each in made.encoder.modules() if each._forward_hooks)):
        part.register_forward_hook(Fixed())
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        expected, copied = made(image), network.copy_network(made)
        for weight in made.parameters():
            weight.zero_()
        torch.testing.assert_close(copied(image), expected)


@pytest.mark.slow
def test_the_page_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "encoders.md").read_text()
    ((code, said),) = re.findall(r"^```python\n(.*?)^```$\n+```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == said


def test_sizes_are_multiples_of_the_total_stride() -> None:
    made = build(RESNET, "model.depth=4")
    for height, width in product((16, 24, 40), repeat=2):
        assert made(torch.zeros(1, 3, height, width)).shape[-2:] == (height, width)
    for size, near in ((8, "the smallest legal size is 16"), (20, "the nearest legal sizes are 16 and 24")):
        with pytest.raises(ConfigError, match=f"model.encoder=test_resnet and model.depth=4: {near}"):
            made(torch.zeros(1, 3, size, 16))
    assert gcd(*(made.architecture.sizes.step, made.architecture.sizes.total_stride)) == 8


@pytest.mark.parametrize(
    ("encoder", "depths"),
    [
        (RESNET, (3, 6)),
        (EFFICIENTNET, (4, 6)),
        ("mobilenetv3_small_050", (4,)),
        pytest.param("tf_mobilenetv3_small_minimal_100", (3, 5), marks=pytest.mark.slow),
        pytest.param("ghostnet_100", (4, 6), marks=pytest.mark.slow),
        pytest.param("xception41", (4, 5), marks=pytest.mark.slow),
    ],
)
def test_all_of_an_encoder_that_it_counts_learns(encoder: str, depths: tuple[int, ...]) -> None:
    """With one image of the smallest size: if what is behind the coarsest map ran, its norms would see a pixel."""
    for depth in depths:
        config = config_of(encoder, f"model.depth={depth}", "model.receptive_field_radius=9")
        made: Any = network.build(config, 3, 2).train()
        side = 2 << (depth - 1)
        made(torch.randn(1, 3, side, side)).sum().backward()
        learning = [weight for weight in made.parameters() if weight.requires_grad]
        assert all(weight.grad is not None for weight in learning)
        assert {*learning} == {weight for group in made.parameter_groups() for weight in group["params"]}
        assert sum(weight.numel() for weight in learning) == count_parameters(config, 3, 2) == cost(made, side)[0]


def test_weights_that_a_cut_encoder_lacks_are_missed() -> None:
    _, weights = weights_of("mobilenetv3_small_050")
    config = config_of("mobilenetv3_small_050", "model.depth=4", "model.receptive_field_radius=9")
    made: Any = network.build(config, 3, 2)
    made.load_encoder(weights)
    kept = made.encoder.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in kept.items())
    assert len(kept) < len(weights) / 2
    gone = {key: value for key, value in weights.items() if key != [*kept][-3]}
    with pytest.raises(DataError, match="1 are missing"):
        made.load_encoder(gone)


def test_a_norm_behind_global_pooling_that_cannot_train_is_one_line() -> None:
    made = network.build(config_of("skresnet18", "model.depth=3", "model.receptive_field_radius=image"), 3, 2)
    with pytest.raises(ConfigError, match=r"of 8 x 8 pixels a norm in it sees a single value.*data.batch_size=2"):
        made.train()(torch.zeros(1, 3, 8, 8))
    assert made(torch.zeros(2, 3, 8, 8)).shape == (2, 2, 8, 8)
