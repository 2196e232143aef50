"""Do generated motions follow the prompt? Prompts, judges of joints, and the check of the judges on real clips."""
