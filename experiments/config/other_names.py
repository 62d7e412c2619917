"""What other tools call the keys of a configuration, so that a message about such a name says what it is here."""

from __future__ import annotations

import itertools

_BY_KEY = {
    "train.epochs": "max_epochs num_epochs n_epochs num_train_epochs",
    "train.steps": "max_steps num_train_steps num_training_steps total_steps",
    "train.clip_norm": "gradient_clip_val max_grad_norm clip_grad_norm grad_clip grad_clip_norm global_clipnorm",
    "train.clip_value": "clip_grad_value clipvalue",
    "train.accumulate": "accumulate_grad_batches gradient_accumulation_steps accumulation_steps grad_accum",
    "train.precision": "fp16 bf16 amp use_amp mixed_precision autocast",
    "train.device": "accelerator devices gpus num_gpus strategy num_nodes",
    "train.compile": "torch_compile",
    "train.channels_last": "memory_format",
    "data": "dataset datamodule dataloader train_dataset",
    "data.batch_size": "train_batch_size per_device_train_batch_size",
    "data.eval_batch_size": "val_batch_size per_device_eval_batch_size",
    "data.eval_batches": "limit_val_batches validation_steps",
    "data.workers": "num_workers dataloader_num_workers",
    "data.collate": "collate_fn",
    "data.sampling": "shuffle sampler",
    "data.augment": "augmentations augmentation transform transforms",
    "data.subset": "overfit_batches limit_train_batches max_train_samples",
    "data.val": "validation_split val_split val_size",
    "data.test": "test_split test_size",
    "extends": "defaults",
    "seed": "seed_everything random_seed random_state manual_seed",
    "model": "network net architecture",
    "init": "pretrained pretrained_model_name_or_path",
    "loss": "criterion loss_fn",
    "optimizer": "optim",
    "optimizer.lr": "learning_rate base_lr init_lr",
    "optimizer.groups": "param_groups parameter_groups",
    "schedule": "scheduler lr_scheduler lr_scheduler_type learning_rate_schedule",
    "schedule.warmup": "warmup_steps num_warmup_steps warmup_epochs warmup_ratio",
    "eval.every": "val_check_interval check_val_every_n_epoch eval_steps eval_strategy evaluation_strategy",
    "eval.metric": "monitor metric_for_best_model",
    "stop.patience": "early_stopping early_stopping_patience",
    "checkpoint.every": "save_steps save_strategy save_freq every_n_train_steps",
    "checkpoint.keep": "save_total_limit max_to_keep",
    "checkpoint.best": "save_best_only",
    "log.every": "log_every_n_steps logging_steps log_interval",
    "log.to": "logger loggers report_to",
    "hooks": "callbacks",
    "optrun train --dry-run": "fast_dev_run",
    "optrun resume RUN": "ckpt_path resume_from_checkpoint",
}
_HERE = dict(itertools.chain.from_iterable(((name, key) for name in names.split()) for key, names in _BY_KEY.items()))


def other_key(name: str) -> str | None:
    """Return what a key of Lightning, Keras, Hugging Face or Hydra is called here; None for other names."""
    return _HERE.get(name.rpartition(".")[2].replace("-", "_").lower())


def other_name(name: str) -> str | None:
    """Return the hint at what a key of Lightning, Keras, Hugging Face or Hydra is called here; None for other names."""
    here = other_key(name)
    return f"here it is `{here}`" if here else None
