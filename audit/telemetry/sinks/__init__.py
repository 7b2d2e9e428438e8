"""Where spans go: what a sink is, how spans are delivered to it without loss, and the file that names them."""
