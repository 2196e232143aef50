"""Whether generated motions follow the prompt: prompts, judges of joints, and a check of the judges on real clips."""
