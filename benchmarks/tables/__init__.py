"""README's and the guides' tables, from the committed results of benchmarks and campaigns."""
