"""The folds: of every subject one, balanced in centre and lesion volume, and the same for the same dataset."""

import dataclasses
from collections import Counter
from statistics import median

import numpy as np
import pytest

from isles_assets.products.preview.folds import FOLDS, folds
from isles_assets.products.sidecar import Sidecar
from isles_assets_tests.isles24 import ISLES24, SUBJECT_IDS

CENTRES = dict(
    zip(SUBJECT_IDS, np.random.default_rng(0).choice(["1", "2", "unknown"], 149, p=[0.6, 0.3, 0.1]), strict=True)
)
ML = dict(zip(SUBJECT_IDS, np.exp(np.random.default_rng(1).normal(2.8, 1.6, 149)), strict=True))


def sidecars(ml=ML):
    blank = Sidecar(subject="", version="", clinical="", synthetic=False, files={}, sources={}, facts={}, noted={})
    return {subject: dataclasses.replace(blank, subject=subject, facts={"lesion_ml": ml[subject]}) for subject in ml}


def test_folds_are_balanced_in_number_centre_and_lesion_volume():
    fold_of = folds(ISLES24, sidecars(), CENTRES)
    assert fold_of.keys() == set(SUBJECT_IDS) and set(fold_of.values()) == set(range(FOLDS))

    def spread(subjects):
        counts = Counter(fold_of[subject] for subject in subjects)
        return max(counts.values()) - min(counts.values())

    assert spread(SUBJECT_IDS) <= 1
    for centre in set(CENTRES.values()):
        assert spread(subject for subject in SUBJECT_IDS if CENTRES[subject] == centre) <= 1
    medians = [median(ML[subject] for subject in SUBJECT_IDS if fold_of[subject] == fold) for fold in range(FOLDS)]
    assert max(medians) - min(medians) < median(ML.values()) / 2


def test_the_order_of_what_is_given_changes_no_fold():
    turned = dict(reversed(sidecars().items()))
    assert folds(ISLES24, turned, CENTRES) == folds(ISLES24, sidecars(), CENTRES)


@pytest.mark.parametrize("unknown", [None, 0.0])
def test_a_lesion_of_unknown_volume_counts_as_none(unknown):
    ml = {**ML, SUBJECT_IDS[7]: unknown}
    assert folds(ISLES24, sidecars(ml), CENTRES) == folds(ISLES24, sidecars({**ml, SUBJECT_IDS[7]: 0}), CENTRES)


def test_a_part_of_the_release_has_no_folds():
    assert set(folds(ISLES24.only(SUBJECT_IDS[:20]), sidecars(), CENTRES).values()) == {None}
