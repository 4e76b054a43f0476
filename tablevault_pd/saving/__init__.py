"""Save rows: convert any object to Arrow, fit it to the list, stage and commit it."""
