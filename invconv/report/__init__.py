"""Documents: pages of results, figures, and what was published; pure functions of rows."""
