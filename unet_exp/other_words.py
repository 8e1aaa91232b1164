"""What other programs, and other commands of this one, call keys and options: easily typed here, and not known."""

WITHOUT_LOGGER = "logger=csv writes metrics.csv alone, and switches W&B off"
OPTIONS = {
    **{("logger", word): WITHOUT_LOGGER for word in ("null", "none", "false", "no", "off", "disabled")},
    **{("search", word): f"type search=optuna search.sampler={word}" for word in ("tpe", "random", "qmc")},
}
"""By group and word that is no option of it: what to type."""

OF_TRAINING = {
    "learning_rate": "optimizer.lr",
    "gpus": "trainer.devices",
    "device": "trainer.accelerator",
    "trainer.device": "trainer.accelerator or trainer.devices",
    "fast_dev_run": "debug=fast",
    "overfit_batches": "debug=overfit",
    "gradient_clip_val": "trainer.clip_norm",
    "accumulate_grad_batches": "trainer.accumulate",
    "check_val_every_n_epoch": "trainer.val_every_epochs",
    "limit_train_batches": "trainer.limit_batches",
    "limit_val_batches": "trainer.limit_batches",
    "default_root_dir": "output",
    "seed_everything": "seed",
    "ckpt_path": "resume",
    "checkpoint": "init_from",
    "hparams_search": "search",
    "trials": "search.trials",
    "n_trials": "search.trials",
    "amp": "trainer.precision",
    "logging": "logger",
    "trainer.logger": "logger",
}
"""By key, whole or its last part: that of a training."""

OF_CHECKPOINT = {"ckpt_path": "checkpoint", "ckpt": "checkpoint", "weights": "checkpoint", "data.images": "input"}
"""By key: that of a command that uses a trained network."""
