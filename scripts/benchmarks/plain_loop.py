"""A training as one writes it by hand: `python plain_loop.py <steps> <tile> <images.npz>`; for `groups=train`."""

import sys

import numpy as np
import torch
from torch import nn

sys.path.insert(0, sys.argv[4])  # of unet_exp, whose network it takes


def main() -> None:
    """Trains the network of `experiment=small` on crops of the images."""
    from unet_exp.compose import compose_train
    from unet_exp.config import parse
    from unet_exp.network import build

    steps, tile = map(int, sys.argv[1:3])
    with np.load(sys.argv[3]) as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"])
    network = build(parse(compose_train(["experiment=small"])), 1, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.003)
    for _ in range(steps):
        found = []
        for index in torch.randint(len(images), (2,)):
            top, left = (int(torch.randint(size - tile + 1, ())) for size in images.shape[1:])
            part = (index, slice(top, top + tile), slice(left, left + tile))
            turns = int(torch.randint(4, ()))
            found.append((images[part].rot90(turns), labels[part].rot90(turns)))
        x, y = torch.stack([image for image, _ in found])[:, None], torch.stack([label for _, label in found])
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        torch.autograd.backward(loss)
        optimizer.step()
    torch.save(network.state_dict(), "network.pt")


if __name__ == "__main__":
    main()
