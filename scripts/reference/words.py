"""What the reference says beside its tables."""

from reference.rows import LAUNCHER, TOP

INTRODUCTION = """\
# Configuration

<!-- Written by `python scripts/make_reference.py`; change the comments in conf/ instead. -->

Every option of every group, and every key: what it means, its default value, and what it may be.

{contents}
```bash
python scripts/train.py loss=focal                             # an option of a group, with its default values
python scripts/train.py loss=focal loss.gamma=3                # a key
python scripts/train.py trainer.max_time=null                  # null: none, or what the table says
python scripts/train.py ~trainer.max_time                      # the same
python scripts/train.py 'optimizer.betas=[0.8,0.99]'           # a list, which a shell wants in quotes
python scripts/train.py model=custom model.target=mine.Net 'model.params={{width: 8}}'     # keys with values
python scripts/train.py data=folder 'data.images="a,b/*.png"'  # text with a comma: in quotes of its own
python scripts/train.py -m loss=dice,focal 'seed=range(3)'     # several values: a sweep
python scripts/train.py loss=dice --cfg job                    # does not train: prints every key with its value
python scripts/train.py loss=dice --cfg job -p loss            # only those of a group
python scripts/train.py --config-dir mine loss=ours            # an option of your own: mine/loss/ours.yaml
```

A wrong word, key, value or combination is one line that says what is allowed, before anything is loaded. In a file of
your own, keys are nested (`loss: {{gamma: 3}}`), and `defaults: [focal, _self_]` begins with those of another option.

In the tables a dot stands between alternatives, and `${{data.name}}` for the value of another key; *to be typed*: there
is no default. Rows below **with** are of these options alone: others lack the key, or mean something else by it.
"""

ABOUT_GROUPS = {
    TOP: "Keys in no group.",
    "experiment": """\
Recipes. They choose options and set keys of other groups; what is typed beside them wins. By default there is none.
Several values are a sweep. `${if_membranes:...}` is null unless the classes are membrane and cell, and
`${for_known_optimizer:...}` is null with `optimizer=torch` and `optimizer=custom`.""",
    "model": "The network: [network.md](network.md), [encoders.md](encoders.md).",
    "fusion": "How a level of the decoder takes in the skip: [network.md](network.md).",
    "loss": "What the training minimises. The paper's loss: [paper.md](paper.md).",
    "augmentation": "What happens to a patch before the network sees it: [augmentation.md](augmentation.md).",
    "data": """\
Images, their splits, and the patches that are cut from them: [your_images.md](your_images.md),
[datasets.md](datasets.md).""",
    "inference": "How whole images are predicted, tile by tile: [predict.md](predict.md).",
    "optimizer": "What changes the weights.",
    "scheduler": "How the learning rate changes during the training.",
    "trainer": "How long a training takes, on what it runs, and what it keeps.",
    "metrics": "What is scored and drawn beside the usual scores: [metrics.md](metrics.md).",
    "logger": """\
Where scores and pictures are sent: [loggers.md](loggers.md). `'logger=[wandb,tensorboard]'` has the keys of both.""",
    "search": "A search for good values of keys: [compare.md](compare.md#a-search).",
    "sweep": "Several trainings from one command: [compare.md](compare.md).",
    LAUNCHER: """\
What starts the runs of a sweep. By default one follows another; `hydra/launcher=joblib hydra.launcher.n_jobs=2` trains
two at once on this machine, after `pip install -e '.[sweep]'`; SLURM: [cluster.md](cluster.md).""",
    "debug": "Short trainings that find mistakes. They set keys of other groups; what is typed beside them wins.",
}
"""The groups in their order, with a sentence on each."""

_AS_TRAIN = "It takes the words of `scripts/train.py` too."
ABOUT_COMMANDS = {
    "evaluate": "Scores: [metrics.md](metrics.md).",
    "predict": "More: [predict.md](predict.md).",
    "check_data": f"{_AS_TRAIN} More: [your_images.md](your_images.md).",
    "preview": f"{_AS_TRAIN} More: [preview.md](preview.md).",
    "compare": "More: [compare.md](compare.md).",
    "export": "More: [export.md](export.md).",
    "cache": "More: [your_images.md](your_images.md#data-of-any-size).",
}
