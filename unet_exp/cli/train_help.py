"""What `scripts/train.py --help` prints: Hydra's own help copies its settings once for each group, a second in all."""

from textwrap import shorten

from unet_exp.options import Options

_RECIPES = "experiment"
_TYPED, _ABOUT = 34, 84  # signs: a word as it is typed, and what it is

USAGE = """Train a U-Net, score it on held-out images and draw its predictions.
Usage: python scripts/train.py [word or key]=[value] ...

Words (group: options):

{words}

Recipes, which choose words and set keys (docs/configuration.md has all that each of them sets):

{recipes}

Most used keys (--cfg job prints all of them, --cfg job -p model one group):
  seed  name  resume  rerun  preview  verbose  init_from  model.depth  model.width  model.match  model.block
  model.deep_supervision  loss.class_weights  optimizer.lr  trainer.max_epochs  trainer.max_steps
  trainer.max_time  trainer.accelerator  trainer.devices  trainer.precision  trainer.monitor
  data.root  data.seed  data.tile  data.batch_size  data.num_workers  data.fold  data.folds
  inference.tile  inference.angles  metrics.warping  metrics.tolerance  metrics.own  data.pixel_size
  augmentation.transforms  augmentation.then  optimizer.target  scheduler.target  callbacks  trust
  loss.w0  loss.sigma  augmentation.std  augmentation.rotation  sweep.resume  sweep.per_job
  search.trials

scripts/preview.py takes the same words and draws the first patches, without training.

Examples:
  python scripts/train.py experiment=demo
  python scripts/train.py experiment=small model=valid fusion=add
  python scripts/train.py data=isbi2012 data.root=path/to/isbi2012 loss.class_weights=inverse
  python scripts/train.py experiment=small augmentation=albumentations 'augmentation.transforms=[{{name: D4}}]'
  python scripts/train.py experiment=small optimizer=torch optimizer.target=NAdam 'logger=[wandb,tensorboard]'
  python scripts/train.py experiment=small optimizer=sgd optimizer.lr=0.01 scheduler=cosine trainer.max_steps=2000
  python scripts/train.py experiment=paper_isbi2012_small data.root=path/to/isbi2012
  python scripts/train.py -m experiment=small fusion=concat,add,none seed=0,1,2
  python scripts/train.py -m experiment=small seed=0,1,2 hydra/launcher=slurm hydra.launcher.partition=gpu
  python scripts/train.py resume=outputs/train/<run>
  python scripts/train.py experiment=small resume=auto
  python scripts/train.py sweep.resume=outputs/sweep/<sweep>
  python scripts/train.py rerun=outputs/train/<run>
  python scripts/train.py experiment=small search=optuna search.trials=30 fusion=concat,add
"""


def format_help(extra_dir: str | None = None) -> str:
    """The usage, with all groups and their options.

    Args:
        extra_dir: a folder of the user's own configs.
    """
    options = Options(extra_dir)
    folders = [*options.list_folders()]
    recipes = [
        (folder, word) for folder in folders if folder.split("/")[0] == _RECIPES for word in options.words(folder)
    ]
    return USAGE.format(
        words="\n".join(f"{folder}: {', '.join(options.words(folder))}" for folder in folders),
        recipes="\n".join(_describe(options, folder, word) for folder, word in recipes),
    )


def _describe(options: Options, folder: str, word: str) -> str:
    """A line: the word as it is typed, and how its file begins."""
    typed = f"{folder}={word}"
    return f"  {typed:<{_TYPED}}{shorten(options.about(folder, word), _ABOUT, placeholder=' ...')}".rstrip()
