"""These tests run where kvpress is installed: `make test-record`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("kvpress") else ["*"]
