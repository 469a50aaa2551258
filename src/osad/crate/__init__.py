"""A cell with all its inputs as a Workflow Run RO-Crate."""
