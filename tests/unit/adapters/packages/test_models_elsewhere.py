from __future__ import annotations

import numpy as np
import pytest

from lockgate.adapters.packages.remote import check_host, learned_classes
from lockgate.base.errors import NotServable
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.registry.serving import Serving, Upstream

SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.1, 0.9, 0.0]])


def test_the_class_of_each_score_is_learned_from_what_the_model_says():
    assert learned_classes(["b", "a", "c", "a"], SCORES) == ("b", "a", "c")


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "c", "c"],  # two names for one score
        ["b", "a", "a", "a"],  # one name for two scores
    ],
)
def test_what_contradicts_itself_is_no_classifier(labels: list[str]):
    assert learned_classes(labels, SCORES) == ()


def test_a_score_that_was_never_the_highest_has_no_name():
    assert learned_classes(["b", "a"], SCORES[:2]) == ()


def test_rows_whose_scores_tie_say_nothing():
    scores = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])
    assert learned_classes(["?", "x", "y"], scores) == ("x", "y")


@pytest.mark.parametrize("url", ["http://169.254.169.254/v1", "http://models.example.org.evil/v1", "http:///v1"])
def test_only_named_hosts_are_spoken_to(url: str):
    config = ModelConfig(model="m", owner="o", serving=Serving(lane="upstream", upstream=Upstream(url=url)))
    with pytest.raises(NotServable, match="no model may be answered by"):
        check_host(config, ("models.example.org",))
    check_host(config, ())
