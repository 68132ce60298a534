"""Real servers for integration tests: started on free ports, stopped, killed and brought back."""
