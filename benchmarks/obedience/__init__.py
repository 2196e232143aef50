"""Do generated people do what the prompt says? Prompts, judges of joints, and the check of the judges on real clips."""
