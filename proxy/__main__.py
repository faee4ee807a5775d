"""`python -m proxy` and the command `tidegate`."""

from proxy.surfaces.cli.main import tidegate


def main() -> None:
    """Run the command line; exits with its code: 0 fine, 1 errors, 2 usage."""
    tidegate(prog_name="tidegate")


if __name__ == "__main__":
    main()
