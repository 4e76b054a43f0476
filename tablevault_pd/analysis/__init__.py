"""What changed over steps, sessions and versions, what got better, and by how much: frames, and pictures of them."""
