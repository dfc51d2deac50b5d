"""The ways out: apply commands to Moodle, watch Moodle, deliver completions to ELM."""
