"""The one training loop, for every stage.

A stage provides a model with `loss(batch) → (loss, logs)`, batches as a pure function of their index, and optionally a validation
function. The trainer does the rest: precision, accumulation, clipping, weight averaging, schedule, logs, checkpoints, resuming,
processes. A costlier evaluation (FID of generated motion) is a callback from the script: nothing here knows about motion. Because
batches are pure and all other state is in one resume file, a resumed run continues bit for bit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from options.cli import write_opt
from options.ranges import check_ranges
from options.train import Training
from training.parts import (
    Batch,
    Best,
    Evaluation,
    Metrics,
    Prefetcher,
    Reporter,
    StopSignal,
    WeightAverage,
    learning_rate,
    parameter_groups,
)
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
from utils.errors import UserError
from utils.locks import FolderLock, remove_half_files
from utils.provenance import add_provenance, provenance
from utils.runtime import (
    Agreement,
    Distributed,
    autocast,
    preserved_random_states,
    random_states,
    resolve_device,
    seed_everything,
    set_random_states,
)

DEADLINE = -1  # why a run stopped: --max_minutes
# Attributes that the resume file holds as they are; files from before there were evaluations lack theirs.
PLAIN_STATE = ("step", "sums", "summed", "best_value", "validation_due", "best_evaluation", "evaluation_due")


class Batches(Protocol):
    """Training data. `batch(index)` depends only on its index and the process's rank, and uses no global random state."""

    steps_per_epoch: int

    def batch(self, index: int) -> Batch:
        """Batch number `index`, from 0 without end; a pure function."""


class Trainer:
    """Trains `model` and fills `folder`: `latest`, `net_best_<metric>`, `resume.pt`, `opt.txt`, TensorBoard events.

    `model.loss(batch)` returns the loss and a dict of detached scalars, the same names at every step. `validate(model)`, called
    without gradient, in fp32 and eval mode with the averaged weights, returns named metrics and optionally texts and pictures;
    `best` is the metric that selects the best weights, and "min" or "max". `evaluation` does the same every few epochs, with best
    weights of its own; every process calls it, so that they can share the work. `model_metadata` (kind, config, dataset_name) goes
    into every weights file.

    Raises `UserError` if the run exists (without --is_continue) or does not exist (with it), and for invalid settings.
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
        self.weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, config.weight_decay), lr=config.lr, betas=(0.9, config.beta2), fused=True
        )
        self.average = WeightAverage(model, config.ema_decay)
        self.total_steps = max(1, config.max_epoch * batches.steps_per_epoch // config.accumulate)
        self.total_steps = min(self.total_steps, config.max_iters or self.total_steps)

        self.samples = config.batch_size * config.accumulate * self.processes.world  # of a step, in all processes

        self.step = 0  # updates done
        self.sums: dict[str, Tensor] = {}  # of the logged terms since the last log line; on the device, so that no step waits
        self.summed = 0
        self.first_bad = torch.tensor(-1, device=self.device)  # first update whose loss or gradient was not finite
        self.best_value: float | None = None
        self.best_evaluation: float | None = None
        self.validation_due = self.evaluation_due = False
        self.random: list[dict[str, Any]] | None = None  # by rank; None: from the seed
        self.prefetcher: Prefetcher | None = None  # this and the next four: while `fit` runs
        self.utilisation = Utilisation(self.device)
        self.report: Reporter | None = None
        self.stop: StopSignal | None = None
        self.agreement: Agreement | None = None
        self.forward: nn.Module | None = None
        self.began = time.monotonic()
        self.lock = claim(folder) if self.processes.main else None
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def fit(self) -> None:
        """Train to the last step, or to --max_minutes. SIGINT or SIGTERM: finish the step, save, exit with 128 + its number.

        Raises `UserError` when the loss or the gradient is not finite, naming the step and the batch.
        """
        config, rank = self.config, self.processes.rank
        with (
            closing(self),
            self.processes.group(self.device),
            Prefetcher(self.batches.batch, self.device) as self.prefetcher,
            Reporter(self.folder.root, self.step, self.total_steps, self.processes.main, self.samples) as self.report,
            StopSignal() as self.stop,
        ):
            self.forward = self._wrapped_loss()
            set_random_states(self.random[rank]) if self.random else seed_everything(config.seed + rank)
            self._begin_files()
            self.began = time.monotonic()
            self.agreement = Agreement(self.processes)
            why = self._loop()
            self.agreement.close()
            self.processes.wait()  # rank 0 has written its last files
        if why > 0:
            raise SystemExit(128 + why)

    def close(self) -> None:
        """Release the lock on the folder."""
        if self.lock:
            self.lock.release()

    def _loop(self) -> int:
        """Update, log, validate, save. Returns the reason for stopping: 0 (last step reached), DEADLINE, or a signal's number."""
        config, why = self.config, 0
        if self.validation_due:  # a signal came before it
            self._validate()
        if self.evaluation_due:
            self._evaluate()
        if self.step >= self.total_steps:
            self.report.say(f"complete at step {self.step}; to train on, raise --max_epoch or --max_iters")
        train_(self.model)
        while self.step < self.total_steps and not why:
            self._update()
            why, last = self._why_stop(), self.step == self.total_steps
            if self.step % config.log_every == 0 or last:
                self._log()
            ending = last or why == DEADLINE
            self.validation_due = self._validation_falls_here() or ending
            self.evaluation_due = self.evaluation is not None and (self._ends_epochs(self.evaluation.epochs) or ending)
            if self.validation_due and why <= 0:
                self._validate()
            if self.evaluation_due and why <= 0:
                self._evaluate()
            if self.step % config.save_latest == 0 or last or why:
                self._save()
        if why:
            self.report.say(f"stopped and saved at step {self.step}; go on with the same command and --is_continue")
        return why

    def _update(self) -> None:
        """One update of the weights, from the mean gradient of `accumulate` batches."""
        config = self.config
        minutes = self._minutes() if self.processes.world == 1 else 0  # processes must agree on the rate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.total_steps, config, minutes)
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        with self.utilisation.counting():
            for index in self._batch_indices(self.step):
                batch = self.prefetcher.get(index, end=self.total_steps * config.accumulate)
                # Read by DDP alone: processes exchange gradients once an update.
                self.forward.require_backward_grad_sync = (index + 1) % config.accumulate == 0
                with autocast(self.device, config.precision):
                    loss, logs = self.forward(batch)
                (loss / config.accumulate).backward()
                finite &= torch.isfinite(loss)
                self._sum({name: value / config.accumulate for name, value in logs.items()})
        norm = clip_grad_norm_(self.weights, config.clip_grad or float("inf"))
        finite &= torch.isfinite(norm)
        self._sum({"grad_norm": norm})
        self.summed += 1
        self.first_bad = torch.where(finite | (self.first_bad >= 0), self.first_bad, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update()
        self.step += 1

    def _minutes(self) -> float:
        """Minutes since `fit` began."""
        return (time.monotonic() - self.began) / 60

    def _sum(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.float()

    def _log(self) -> None:
        """Log one line: the means of all terms since the last line, over all processes."""
        self._check_finite()
        means = self.processes.mean(torch.stack(list(self.sums.values())) / self.summed).tolist()
        values = {**dict(zip(self.sums, means)), "lr": self.optimizer.param_groups[0]["lr"]}
        self.report.step_line(values, self.step, self._epoch(self.step - 1), self.utilisation)
        self.sums, self.summed = {}, 0

    def _validate(self) -> None:
        """Rank 0 validates the averaged weights."""
        self._check_finite()
        self.validation_due = False
        if self.validate is not None and self.processes.main:
            self.best_value = self._score("validation", self.validate, self.best, self.best_value)

    def _evaluate(self) -> None:
        """All processes evaluate the averaged weights, and rank 0 keeps the best."""
        self._check_finite()
        self.evaluation_due = False
        if self.evaluation is not None:
            evaluation = self.evaluation
            self.best_evaluation = self._score("evaluation", evaluation.score, evaluation.best, self.best_evaluation)

    def _score(self, title: str, score: Callable[[nn.Module], Metrics], best: Best, value: float | None) -> float | None:
        """Score the averaged weights and keep them if they beat the best `value`, which is returned, so far.

        The training's random draws stay as they were.
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
        """Save everything that a bit-for-bit continuation needs."""
        random = self.processes.gather(random_states())
        if not self.processes.main:
            return
        state = {name: getattr(self, name) for name in PLAIN_STATE}
        state |= {name: getattr(self, name).state_dict() for name in ("optimizer", "average")}
        save_resume(self.folder.resume, {**state, "model": own_state(self.model), "random": random, "samples": self.samples})

    def _save_weights(self, tag: str, more: dict[str, Any] | None = None) -> None:
        save_weights(self.folder.weights(tag), own_state(self.model), {**self.metadata, "step": self.step, **(more or {})})

    def _begin_files(self) -> None:
        """Write the flags and, in a new run, a resume file at step 0, so that the run can be resumed from any point."""
        if not self.random and self.processes.main:
            for path in (self.folder.resume, previous(self.folder.resume)):
                path.unlink(missing_ok=True)  # of a run that was only begun
        if self.processes.main:
            write_opt(self.folder.opt, self.config)
            add_provenance(self.folder.root / "provenance.json", {"step": self.step, **provenance(self.config, self.device)})
        if not self.random:
            self._save_resume()

    def _take_up(self) -> None:
        """Continue the run in the folder, or check that no run would be overwritten. Removes half-written files."""
        folder = self.folder
        if self.processes.main:
            remove_half_files(folder.root, (".", "meta", "model", "eval"))
        if self.config.is_continue and (folder.has_resume() or folder.weights("latest").is_file() or not folder.opt.is_file()):
            return self._load()
        if self.config.is_continue:  # cut off before there was anything to continue
            if any(getattr(self.config, flag, "") for flag in ("init", "resume_trans")):
                raise UserError(f"{folder.root}: no resume file yet; start it again without --is_continue")
            if self.processes.main:
                print(f"note: {folder.root}: no resume file yet; the run starts from the beginning", file=sys.stderr)
        elif folder.has_weights() and not folder.only_begun():
            raise UserError(f"{folder.root}: this run exists; continue it with --is_continue, or choose another --name")

    def _load(self) -> None:
        """Restore the state that `_save_resume` saved."""
        path = self.folder.resume
        state = load_resume(path)
        same = len(state["random"]) == self.processes.world
        random = state["random"] if same else self._random_of_new_processes(path, state)
        load_own_state(self.model, state["model"], path)
        # The groups hold settings, not state: current flags have priority.
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.average.load_state_dict(state["average"])
        self.random = random
        for name in PLAIN_STATE:
            setattr(self, name, state.get(name, getattr(self, name)))
        self.sums = {name: value.to(self.device) for name, value in self.sums.items()}

    def _random_of_new_processes(self, path: Path, state: dict[str, Any]) -> list[dict[str, Any]]:
        """New random states by rank, for a run that was started with another number of processes.

        Raises `UserError` unless the number of samples per step is the same.
        """
        before, now, samples = len(state["random"]), self.processes.world, state.get("samples")
        if samples != self.samples:
            size, rest = divmod(samples or 0, now * self.config.accumulate)
            other = f", or give --batch_size {size}" if size and not rest else ""
            raise UserError(f"{path}: this run had {before} processes, now {now}; start as many{other}")
        states = []
        with preserved_random_states():
            for rank in range(now):
                seed_everything(self.config.seed + rank + 1_000_003 * state["step"])
                states.append(random_states())
        return states

    def _wrapped_loss(self) -> nn.Module:
        loss = _Loss(self.model)
        if self.processes.world > 1:
            # Looking for parameters without gradient costs time: models that use all of them at every step say so.
            uses_all = getattr(self.model, "uses_all_parameters", False)
            loss = DistributedDataParallel(loss, find_unused_parameters=not uses_all)
        return loss

    def _why_stop(self) -> int:
        """Why to stop, if at all. All processes stop at the same step, the one after a signal reached one of them. A signal has
        priority."""
        return self.agreement.largest(self.stop.number or (DEADLINE if 0 < self.config.max_minutes < self._minutes() else 0))

    def _check_finite(self) -> None:
        step = int(self.first_bad)
        if step < 0:
            return
        indices = self._batch_indices(step)
        place = f"step {step + 1} (epoch {self._epoch(step)}, batch {', '.join(map(str, indices))})"
        for index in indices:
            for name, value in self.batches.batch(index).items():
                rows = (~torch.isfinite(value)).nonzero()[:, 0].unique().tolist()
                if rows:
                    raise UserError(f"{place}: '{name}' of batch {index} holds NaN or inf in rows {rows}; correct or remove it")
        raise UserError(f"{place}: loss or gradient is NaN or inf though the data is not; lower --lr, or try --precision fp32")

    def _batch_indices(self, step: int) -> range:
        return range(step * self.config.accumulate, (step + 1) * self.config.accumulate)

    def _epoch(self, step: int) -> int:
        """The epoch, from 1, in which update `step` begins."""
        return step * self.config.accumulate // self.batches.steps_per_epoch + 1

    def _validation_falls_here(self) -> bool:
        """Whether a validation is due: another `eval_iter` steps, or else `eval_every_e` epochs, are complete."""
        if self.config.eval_iter:
            return self.step % self.config.eval_iter == 0
        return self._ends_epochs(self.config.eval_every_e)

    def _ends_epochs(self, epochs: int) -> bool:
        """Whether the last update completed another `epochs` epochs."""
        period = epochs * self.batches.steps_per_epoch
        return self.step * self.config.accumulate // period > (self.step - 1) * self.config.accumulate // period


def claim(folder: CheckpointFolder) -> FolderLock:
    """Lock a run's folder. Raises `UserError` if another process trains there."""
    return FolderLock(folder.root, f"{folder.root}: another process is training this run; choose another --name")


class _Loss(nn.Module):
    """`model.loss` as a forward pass, which is what DDP wraps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, logs = self.model.loss(batch)
        return loss, {name: value.detach() for name, value in {"loss": loss, **logs}.items()}


def _check(config: Training, batches: Batches) -> None:
    check_ranges(vars(config))
    if not 0 < config.lr < float("inf"):
        raise UserError(f"--lr {config.lr}: must be positive")
    if not 0 <= config.ema_decay < 1:
        raise UserError(f"--ema_decay {config.ema_decay}: must be at least 0 and below 1")
    if batches.steps_per_epoch < 1:
        raise UserError(f"--batch_size {config.batch_size}: larger than the training set; lower it")
