"""What everything else builds on: cells' ids, errors, files, seeds and late imports."""
