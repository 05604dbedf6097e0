"""Benchmarks: every method on the same splits by prompt, every number with its interval.

::

    python -m benchmarks.run --suite curves --data FOLDER --n-jobs 2   # resumable
    python -m benchmarks.run --quick --data FOLDER --n-jobs 2          # five minutes
    python -m benchmarks.report                                        # tables and figures

Run them as modules (``-m``): a script started by its path would find the folder ``datasets``
here before the library of that name.

``objective`` defines the metrics, ``datasets`` yields splits, ``methods`` has one file a method,
``suites`` says what is run on what, ``curves`` reads data multipliers off learning curves.
"""
