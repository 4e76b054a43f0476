"""Pictures of a vault's answers: ``df.vault.plot()`` draws the natural one, ``df.vault.plot.curves()`` and others by name."""
