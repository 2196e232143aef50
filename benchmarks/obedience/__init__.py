"""Benchmark of whether generated motions follow the prompt: prompts, rules on joints ("judges"), and their check on real clips."""
