"""A benchmark that measures whether generated motions follow their prompts, by rules on the joints ("judges")."""
