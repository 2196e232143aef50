"""The training loop of all training stages, such as the tokeniser and the masked transformer.

A stage provides a model with `loss(batch) → (loss, logs)`, batches as a pure function of their index, and optionally a validation
function and a more expensive evaluation, such as FID of generated motion. The trainer handles precision, gradient accumulation and
clipping, weight averaging, the learning rate, logs, checkpoints, resuming and multiple processes. A batch is determined by its
index and the rank of the process. A resume file contains all other state of a run. A resumed run therefore reproduces an
uninterrupted run bit for bit, unless the learning rate depends on the clock (`--schedule cosine` with `--max_minutes`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from options.cli import write_opt
from options.ranges import check_ranges
from options.train import Training
from training.parts import (
    Batch,
    Batches,
    Best,
    Evaluation,
    Metrics,
    Prefetcher,
    Reporter,
    StopSignal,
    WeightAverage,
    learning_rate,
)
from training.processes import loss_module, resumed_random_states
from training.update import Update
from training.utilisation import Utilisation
from utils.checkpoint import (
    CheckpointFolder,
    git_revision,
    load_own_state,
    load_resume,
    own_state,
    previous,
    save_resume,
    save_weights,
    train_,
)
from utils.errors import UserError, note
from utils.locks import FolderLock, remove_half_files
from utils.padding import batch_to_units
from utils.provenance import add_provenance, provenance
from utils.runtime import (
    Agreement,
    Distributed,
    preserved_random_states,
    random_states,
    resolve_device,
    seed_everything,
    set_random_states,
)

DEADLINE = -1  # reason for stopping: --max_minutes have passed
# Attributes that are stored unchanged in the resume file. Resume files of older versions lack the last two attributes.
PLAIN_STATE = ("step", "sums", "summed", "best_value", "validation_due", "best_evaluation", "evaluation_due")


class Trainer:
    """Trains `model` and writes to `folder`: `latest`, `net_best_<metric>`, `resume.pt`, `opt.txt`, TensorBoard events.

    Args:
        model: `model.loss(batch)` returns the loss and a dict of detached scalars, with the same names at every step.
        validate: `validate(model)` returns a dict of metrics, and optionally texts and images to log. The function is called on
            rank 0, without gradients, in fp32 and eval mode, with the averaged weights.
        best: name of the metric that selects the best weights, and "min" or "max".
        evaluation: a second validation with its own metric and interval. Every process calls its function `score`, so that the
            processes can share the work.
        model_metadata: kind, config and dataset_name, which are stored in every weights file.

    Raises `UserError` in three cases: a setting is invalid; the run exists, but --is_continue is not set; --is_continue is set, but
    the run does not exist.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        config: Training,
        folder: CheckpointFolder,
        *,
        validate: Callable[[nn.Module], Metrics] | None = None,
        best: Best = ("loss", "min"),
        evaluation: Evaluation | None = None,
        model_metadata: dict[str, Any],
    ) -> None:
        _check(config, batches)
        self.processes = Distributed.from_environment()
        self.batches, self.config, self.folder, self.validate, self.best = batches, config, folder, validate, best
        self.evaluation = evaluation
        self.metadata = {**model_metadata, "revision": git_revision()}
        self.device = resolve_device(config.gpu_id)
        self.model = model.to(self.device)
        self.update = Update(self.model, config, self.device, self.processes.world)
        self.average = WeightAverage(model, config.ema_decay)
        self.total_steps = max(1, config.max_epoch * batches.steps_per_epoch // config.accumulate)
        self.total_steps = min(self.total_steps, config.max_iters or self.total_steps)
        self.samples = config.batch_size * config.accumulate * self.processes.world  # per step, over all processes

        self.step = 0  # number of completed updates
        self.sums: dict[str, Tensor] = {}  # sums of logged values since the last log line, on `device`
        self.summed = 0  # number of updates in `sums`
        self.first_bad = torch.tensor(-1, device=self.device)  # first update whose loss or gradient was not finite
        self.best_value: float | None = None
        self.best_evaluation: float | None = None
        self.validation_due = self.evaluation_due = False
        self.random: list[dict[str, Any]] | None = None  # random states by rank; None: initialise from the seed
        self.utilisation = Utilisation(self.device)
        self.prefetcher: Prefetcher | None = None  # set by `fit`, as are the next three attributes
        self.report: Reporter | None = None
        self.stop: StopSignal | None = None
        self.agreement: Agreement | None = None
        self.began = time.monotonic()
        self.lock = claim(folder) if self.processes.main else None
        try:
            self._resume_or_start()
        except BaseException:
            self.close()
            raise

    def fit(self) -> None:
        """Train until the last step, or until --max_minutes have passed.

        After SIGINT or SIGTERM, finish the step, save, and exit with 128 + the signal's number. Raises `UserError`, naming the step
        and the batch, if the loss or the gradient is not finite.
        """
        config, rank = self.config, self.processes.rank
        with (
            closing(self),
            self.processes.group(self.device),
            Prefetcher(self._batch, self.device) as self.prefetcher,
            Reporter(self.folder.root, self.step, self.total_steps, self.processes.main, self.samples) as self.report,
            StopSignal() as self.stop,
        ):
            self.update.forward = loss_module(self.model, self.processes.world)
            set_random_states(self.random[rank]) if self.random else seed_everything(config.seed + rank)
            self._begin_files()
            self.began = time.monotonic()
            self.agreement = Agreement(self.processes)
            reason = self._loop()
            self.agreement.close()
            self.processes.wait()  # until rank 0 has written its last files
        if reason > 0:
            raise SystemExit(128 + reason)

    def close(self) -> None:
        """Release the lock on the folder."""
        if self.lock:
            self.lock.release()

    def _loop(self) -> int:
        """Train until there is a reason to stop, and return it: 0 (last step), DEADLINE (--max_minutes over) or a signal number."""
        config, reason = self.config, 0
        if self.validation_due:  # the validation was skipped when the run was interrupted
            self._validate()
        if self.evaluation_due:
            self._evaluate()
        if self.step >= self.total_steps:
            self.report.say(f"the run is complete at step {self.step}; to train longer, raise --max_epoch or --max_iters")
        train_(self.model)
        while self.step < self.total_steps and not reason:
            self._update()
            reason, last = self._reason_to_stop(), self.step == self.total_steps
            if self.step % config.log_every == 0 or last:
                self._log()
            ending = last or reason == DEADLINE
            self.validation_due = self._validation_is_due() or ending
            self.evaluation_due = self.evaluation is not None and (self._ends_epochs(self.evaluation.epochs) or ending)
            if self.validation_due and reason <= 0:
                self._validate()
            if self.evaluation_due and reason <= 0:
                self._evaluate()
            if self.step % config.save_latest == 0 or last or reason:
                self._save()
        if reason:
            self.report.say(f"stopped and saved at step {self.step}; resume with the same command and --is_continue")
        return reason

    def _update(self) -> None:
        """Update the weights once, with the mean gradient of `accumulate` batches."""
        config = self.config
        minutes = self._minutes() if self.processes.world == 1 else 0  # all processes need the same rate
        rate = learning_rate(self.step, self.total_steps, config, minutes)
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        with self.utilisation.counting():
            for index in self._batch_indices(self.step):
                batch = self.prefetcher.get(index, end=self.total_steps * config.accumulate)
                logs = self.update.gradient(batch)
                finite &= torch.isfinite(logs["loss"])
                self._sum({name: value / config.accumulate for name, value in logs.items()})
        logs = self.update.step(rate)
        finite &= torch.isfinite(logs["grad_norm"])
        self._sum(logs)
        self.summed += 1
        self.first_bad = torch.where(finite | (self.first_bad >= 0), self.first_bad, self.step)
        self.average.update()
        self.step += 1

    def _batch(self, index: int) -> Batch:
        """Batch `index`, on the CPU. If updates are captured as CUDA graphs, the batch is padded, so that few shapes occur."""
        batch = self.batches.batch(index)
        return batch_to_units(batch) if self.update.graphs else batch

    def _minutes(self) -> float:
        """Minutes since `fit` began."""
        return (time.monotonic() - self.began) / 60

    def _sum(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.float()

    def _log(self) -> None:
        """Log one line with the means of all values since the last line, over all processes."""
        self._check_finite()
        means = self.processes.mean(torch.stack(list(self.sums.values())) / self.summed).tolist()
        values = {**dict(zip(self.sums, means)), "lr": self.update.rate}
        self.report.step_line(values, self.step, self._epoch(self.step - 1), self.utilisation)
        self.sums, self.summed = {}, 0

    def _validate(self) -> None:
        """Validate the averaged weights, on rank 0."""
        self._check_finite()
        self.validation_due = False
        if self.validate is not None and self.processes.main:
            self.best_value = self._score("validation", self.validate, self.best, self.best_value)

    def _evaluate(self) -> None:
        """Evaluate the averaged weights, in all processes."""
        self._check_finite()
        self.evaluation_due = False
        if self.evaluation is not None:
            evaluation = self.evaluation
            self.best_evaluation = self._score("evaluation", evaluation.score, evaluation.best, self.best_evaluation)

    def _score(self, title: str, score: Callable[[nn.Module], Metrics], best: Best, value: float | None) -> float | None:
        """Compute the metrics `score(model)` of the averaged weights, and save the weights on rank 0 if their metric `best` is
        better than `value`, the best so far.

        Returns the new best value. The random states of the training are preserved.
        """
        name, direction = best
        self.model.eval()
        with preserved_random_states(), self.average.in_use(), torch.no_grad():
            metrics = score(self.model)
            sign = 1 if direction == "min" else -1
            improved = sign * metrics[name] < (float("inf") if value is None else sign * value)
            if improved:
                value = float(metrics[name])
                if self.processes.main:
                    self._save_weights(f"net_best_{name}", {"metric": {"name": name, "value": value, "better": direction}})
        train_(self.model)
        text = self.report.values(title, metrics, self.step)
        self.report.say(f"{title} at step {self.step}  {text}{'  (best so far)' if improved else ''}")
        self.report.start_clock(self.step)
        return value

    def _save(self) -> None:
        """Save the latest weights and the resume file."""
        self._check_finite()
        if self.processes.main:
            with self.average.in_use():
                self._save_weights("latest")
        self._save_resume()

    def _save_resume(self) -> None:
        """Save everything that is needed to resume the run bit for bit."""
        random = self.processes.gather(random_states())
        if not self.processes.main:
            return
        state = {name: getattr(self, name) for name in PLAIN_STATE}
        state |= {"optimizer": self.update.state_dict(), "average": self.average.state_dict()}
        save_resume(self.folder.resume, {**state, "model": own_state(self.model), "random": random, "samples": self.samples})

    def _save_weights(self, tag: str, extra: dict[str, Any] | None = None) -> None:
        save_weights(self.folder.weights(tag), own_state(self.model), {**self.metadata, "step": self.step, **(extra or {})})

    def _begin_files(self) -> None:
        """Write the flags and the provenance. In a new run, also write a resume file of step 0, so that the run can be resumed."""
        if not self.random and self.processes.main:
            for path in (self.folder.resume, previous(self.folder.resume)):
                path.unlink(missing_ok=True)  # left by an earlier run that was interrupted before its first save
        if self.processes.main:
            write_opt(self.folder.opt, self.config)
            add_provenance(self.folder.root / "provenance.json", {"step": self.step, **provenance(self.config, self.device)})
        if not self.random:
            self._save_resume()

    def _resume_or_start(self) -> None:
        """Continue the run in the folder, or check that no run would be overwritten. Removes incomplete files."""
        folder = self.folder
        if self.processes.main:
            remove_half_files(folder.root, (".", "meta", "model", "eval"))
        if self.config.is_continue and (folder.has_resume() or folder.weights("latest").is_file() or not folder.opt.is_file()):
            return self._load()
        if self.config.is_continue:  # the run was interrupted before it had a resume file
            if any(getattr(self.config, flag, "") for flag in ("init", "resume_trans")):
                raise UserError(f"{folder.root}: no resume file yet; start the run again without --is_continue")
            if self.processes.main:
                note(f"{folder.root}: no resume file yet; the run starts from the beginning")
        elif folder.has_weights() and not folder.only_begun():
            raise UserError(f"{folder.root}: this run exists; continue it with --is_continue, or choose another --name")

    def _load(self) -> None:
        """Restore the state that `_save_resume` saved."""
        path = self.folder.resume
        state = load_resume(path)
        same = len(state["random"]) == self.processes.world
        random = state["random"] if same else resumed_random_states(path, state, self.config, self.samples, self.processes.world)
        load_own_state(self.model, state["model"], path)
        self.update.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.random = random
        for name in PLAIN_STATE:
            setattr(self, name, state.get(name, getattr(self, name)))
        self.sums = {name: value.to(self.device) for name, value in self.sums.items()}

    def _reason_to_stop(self) -> int:
        """The reason for stopping: 0 (none), DEADLINE (--max_minutes over), or a signal's number, which takes precedence.

        All processes stop at the same step. With several processes, they stop one step after the step at which the first process
        has a reason for stopping.
        """
        return self.agreement.largest(self.stop.number or (DEADLINE if 0 < self.config.max_minutes < self._minutes() else 0))

    def _check_finite(self) -> None:
        """Raise `UserError` if the loss or gradient of an update was not finite. The message names any data that is not finite."""
        step = int(self.first_bad)
        if step < 0:
            return
        indices = self._batch_indices(step)
        location = f"step {step + 1} (epoch {self._epoch(step)}, batch {', '.join(map(str, indices))})"
        for index in indices:
            for name, value in self.batches.batch(index).items():
                rows = (~torch.isfinite(value)).nonzero()[:, 0].unique().tolist()
                if rows:
                    raise UserError(f"{location}: '{name}' of batch {index} holds NaN or inf in rows {rows}; correct or remove it")
        raise UserError(f"{location}: loss or gradient is NaN or inf, but the data is finite; lower --lr, or try --precision fp32")

    def _batch_indices(self, step: int) -> range:
        return range(step * self.config.accumulate, (step + 1) * self.config.accumulate)

    def _epoch(self, step: int) -> int:
        """The epoch of update `step`, counted from 1."""
        return step * self.config.accumulate // self.batches.steps_per_epoch + 1

    def _validation_is_due(self) -> bool:
        """Whether a validation is due: every `eval_iter` steps, or every `eval_every_e` epochs if `eval_iter` is 0."""
        if self.config.eval_iter:
            return self.step % self.config.eval_iter == 0
        return self._ends_epochs(self.config.eval_every_e)

    def _ends_epochs(self, epochs: int) -> bool:
        """Whether the last update completed a period of `epochs` epochs."""
        period = epochs * self.batches.steps_per_epoch
        return self.step * self.config.accumulate // period > (self.step - 1) * self.config.accumulate // period


def claim(folder: CheckpointFolder) -> FolderLock:
    """Lock the folder of a run. Raises `UserError` if another process is training this run."""
    return FolderLock(folder.root, f"{folder.root}: another process is training this run; choose another --name")


def _check(config: Training, batches: Batches) -> None:
    check_ranges(vars(config))
    if not 0 < config.lr < float("inf"):
        raise UserError(f"--lr {config.lr}: must be positive")
    if not 0 <= config.ema_decay < 1:
        raise UserError(f"--ema_decay {config.ema_decay}: must be at least 0 and below 1")
    if batches.steps_per_epoch < 1:
        raise UserError(f"--batch_size {config.batch_size}: larger than the training set; lower it")
