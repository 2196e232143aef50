"""The settings of sampling: one frozen object, which is passed from the flags down to the models."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

Flags = TypeVar("Flags")  # a dataclass of flags


@dataclass(frozen=True)
class SamplingSettings:
    """Settings of sampling.

    Attributes:
        time_steps: number of sampling steps of the masked transformer.
        cond_scale, res_cond_scale: guidance scales of the base and the residual codes; 1: no guidance.
        temperature: sampling temperature; higher values give more varied motions.
        topkr: fraction of the codes, from 0 to 1, that is excluded from sampling, beginning with the least likely code.
        seed: random seed. The seed and the sample number of a motion determine the motion.
        choice_temperature: initial scale of the Gumbel noise that is added to the log confidences; 0: no noise. At each step, the
            masked transformer keeps the tokens with the highest noisy confidences.
        stepwise: generate the steps of a prompt ("squats, then jumps") one after the other, if the weights can fill gaps.
        layered: if a prompt describes two simultaneous actions ("walks while waving") and the weights can fill gaps, generate
            one motion for the whole prompt and one motion for each action; if one action is a gesture, the result is composed of
            the motions of the two actions; otherwise, the result is the motion of the whole prompt.
        candidates: number of motions that are generated for each step of a prompt and for each of two simultaneous actions, or in
            an edit for each window. The motion with the highest score is kept.
    """

    time_steps: int = 18
    cond_scale: float = 4.0
    res_cond_scale: float = 5.0
    temperature: float = 1.0
    topkr: float = 0.9
    seed: int = 0
    choice_temperature: float = 0.0
    stepwise: bool = True
    layered: bool = True
    candidates: int = 1

    def changed(self, flags: Any) -> SamplingSettings:
        """Return a copy of these settings, in which attributes of `flags` that are not None replace the fields of the same name.

        If `flags` ask for a loop, `candidates` is 1.
        """
        given = {field.name: getattr(flags, field.name, None) for field in fields(self)}
        given |= {"candidates": 1} if getattr(flags, "loop", False) else {}  # loops are not compared
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def recorded(self, flags: Flags) -> Flags:
        """Return a copy of `flags` with the values of these settings, for the provenance of the results."""
        return replace(flags, **{field.name: getattr(self, field.name) for field in fields(self) if hasattr(flags, field.name)})


EMBEDDED_SAMPLING = SamplingSettings(  # best for the embedded weights (docs/experiments.md)
    cond_scale=2.0, res_cond_scale=2.0, choice_temperature=4.0, candidates=8
)
