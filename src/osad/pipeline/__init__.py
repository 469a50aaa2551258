"""The pipeline as data: parameters, rules, jobs, fingerprints, and its steps."""
