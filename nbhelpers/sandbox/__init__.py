"""Run a program that somebody else wrote, a model for instance, and find out whether it passes tests.

May import: nothing of the package. Must not know: models, text, prompts.

The program and its tests run in two processes. They exchange plain data over two pipes: the tests call functions, the
program returns values. So the program can neither see the tests nor write their verdict.

`isolation` shuts a process off, as far as the operating system allows; `plain_data`, `program` and `verdict` are what
runs inside, and import nothing but the standard library; `running` starts both, watches the clock, and ends both.
"""

from .isolation import Isolation, isolation
from .running import ProgramRun, run_program

__all__ = ["Isolation", "ProgramRun", "isolation", "run_program"]
