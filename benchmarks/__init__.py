"""Benchmarks: each one is a command, runs on one machine and writes its raw figures down."""
