"""`python -m streamapp` is the command `streamapp`."""

from streamapp.cli.main import run

if __name__ == "__main__":
    run()
