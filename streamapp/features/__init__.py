"""The feature contract, the user profile and the kernel that computes one and updates the other."""
