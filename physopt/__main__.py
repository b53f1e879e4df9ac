"""`python -m physopt`."""

from physopt.cli import main
from physopt.machine.parent import begin_run

if __name__ == "__main__":
    begin_run()
    raise SystemExit(main())
