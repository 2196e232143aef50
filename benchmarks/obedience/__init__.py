"""Benchmark of whether generated motions follow the prompt: prompts, rules on joints ("judges"), and tests of the judges."""
