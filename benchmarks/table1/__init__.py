"""Every row of the paper's Table 1 in one command.

::

    python -m benchmarks.table1 --size tiny
    python -m benchmarks.table1 --size small --data FOLDER
    python -m benchmarks.table1 --size small --data FOLDER --estimate
    python -m benchmarks.table1 --size paper --pairs pairs.jsonl --prompts test.jsonl --seeds 3
    python -m benchmarks.table1 --size paper --estimate

"tiny" builds random language models of 0.1 M parameters in a temporary folder and needs no
network: it shows that every system runs from rows to a score. **Its numbers mean nothing**,
since random models neither write nor judge. "small" runs the systems on SmolLM2-135M-Instruct, on
prompts, published responses and published judgements of AlpacaEval, on two cores. "paper" takes
the paper's models (one GPU with 80 GB). ``--estimate`` prints how long that should take. Whatever
is finished stays in ``--folder``, so an interrupted run goes on where it stopped.

The labeller of the first rows' synthetic pairs is ``--labeller``, and it is not the evaluator. The
base model is an Instruct model, whose chat template the systems use.
"""

from .cli import main, parser
from .summary import markdown
from .systems import ROWS
from .table import table1

__all__ = ["ROWS", "main", "markdown", "parser", "table1"]
