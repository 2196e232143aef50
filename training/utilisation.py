"""Model FLOPs utilisation: the fraction of a GPU's peak FLOP/s that training uses (Chowdhery et al. 2022, appendix B).

`torch.utils.flop_counter` counts the FLOPs of matrix products, convolutions and attention in the first update, forward and
backward. The FLOPs of recurrent layers are not counted. The peak is the rate of dense bf16 matrix products in NVIDIA's data sheets.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.utils.flop_counter import FlopCounterMode

# Peaks in TFLOP/s with float32 accumulation, by whole words in the GPU's name; the first match is used.
PEAKS = {
    "B200": 2250, "H200 NVL": 835, "H200": 989, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "H800": 989, "H20": 148,
    "A100": 312, "A800": 312, "A40": 150, "A30": 165, "A10G": 70, "A10": 125, "L40S": 362, "L40": 181, "L4": 121,
    "RTX 6000 Ada": 364, "RTX A6000": 155, "RTX 5090": 209, "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip


def peak_flops(device: torch.device) -> float | None:
    """Peak FLOP/s of bf16 matrix products on `device`; None for a CPU or a GPU that `PEAKS` does not list."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((1e12 * peak for card, peak in PEAKS.items() if re.search(rf"\b{card}\b", name)), None)


class Utilisation:
    """Counts the FLOPs of one update if the device's peak is known."""

    def __init__(self, device: torch.device) -> None:
        self.peak = peak_flops(device)
        self.counter: FlopCounterMode | None = None

    def counting(self) -> AbstractContextManager:
        """A context for each update. Only the FLOPs of the first update are counted, because counting takes time."""
        if self.peak is None or self.counter is not None:
            return nullcontext()
        self.counter = FlopCounterMode(display=False)
        return self.counter

    def fraction(self, seconds: float) -> float | None:
        """The utilisation, from 0 to 1, if an update takes `seconds`; None if the peak is unknown."""
        return None if self.counter is None else self.counter.get_total_flops() / (seconds * self.peak)
