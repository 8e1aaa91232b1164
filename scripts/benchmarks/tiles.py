"""An image in tiles, beside the same image in one piece and the network alone."""

from collections.abc import Callable

from benchmarks.pairs import Goal, Pair
from benchmarks.settings import Benchmark


def list_pairs(task: Benchmark) -> list[Pair]:
    """Stitched logits of 1024 x 1024, and the prediction of 2048 x 2048 with tiles of several sizes."""
    from benchmarks.networks import make_image, make_predictor, run_network

    pairs = [_stitch(model, task.choose(1024, 128)) for model in ("valid", "same")]
    side = task.choose(2048, 256)
    image, what = make_image(side), f"{side} x {side}, small network"

    def predict(*words: str) -> Callable[[], object]:
        predictor = make_predictor(task, *words)
        return lambda: predictor.probabilities(image)

    whole = predict(f"inference.tile={side}")
    pairs.append(Pair("tiles", what, "default tile", "one piece", predict(), whole, Goal("ratio", 0.95), 5))
    for tile in (side // 8, side // 4):
        count = (side // tile) ** 2
        alone = run_network(make_predictor(task).networks[0], tile, count)
        ours = predict(f"inference.tile={tile}")
        pairs.append(Pair("tiles", what, f"tiles of {tile}", f"network alone, {count} x {tile}", ours, alone, None, 3))
    return pairs


def _stitch(model: str, side: int) -> Pair:
    import torch

    from unet_exp.compose import compose_train
    from unet_exp.config import parse
    from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
    from unet_exp.network import build

    source = mirror_source(torch.randn(1, 1, side, side))
    config = parse(compose_train(["experiment=small", f"model={model}"]))
    network = build(config, channels=1, classes=2).eval()

    def stitched(tile: int) -> object:
        settings = config.inference.model_copy(update={"tile": tile})
        return tiled_logits(network, source, side, side, settings)

    what, tile = f"{side} x {side}, small network, {model}", side // 4
    return Pair("tiles", what, f"tiles of {tile}", "one piece", lambda: stitched(tile), lambda: stitched(side))
