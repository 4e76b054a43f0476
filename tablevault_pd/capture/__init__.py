"""What a session records about the code that runs: scripts, and the environment around them."""
