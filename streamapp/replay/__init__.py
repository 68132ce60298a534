"""Recorded traffic: read it, encode it canonically, and send it or hand it on without a broker."""
