#!/bin/sh
# A Python with what the documentation uses, in target/python.
set -eu

[ -x target/python/bin/python ] || python3 -m venv target/python
target/python/bin/python -c 'import duckdb, IPython, pandas, polars, pyarrow, tensorboard' 2>/dev/null ||
    target/python/bin/pip install --quiet duckdb ipython pandas polars pyarrow setuptools tensorboard
