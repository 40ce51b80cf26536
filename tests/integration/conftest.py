"""A cluster for each test, cleaned up by pid; its logs are read for sanitizers' complaints."""

import pytest

from cluster import Cluster


@pytest.fixture
def cluster(tmp_path):
    """Not started: a test says with which agents and options."""
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.fixture
def bank(cluster):
    """Started with two agents and one account of 100 at each: `a` at bank-a, `b` at bank-b."""
    cluster.start()
    cluster.ctl.run(("bank-a", "put a 100"), ("bank-b", "put b 100"), options=["--wait"], expect=0)
    return cluster
