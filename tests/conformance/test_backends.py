"""The package's engines have every property; the usual loop, and bfloat16, fail where they are known to."""

import warnings

import pytest

from nbhelpers.conformance import ARCHITECTURES, check_backend, write_model
from nbhelpers.conformance.backends import nbhelpers_backend, transformers_backend


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp(request.param), request.param), request.param


@pytest.mark.parametrize("engine", ["auto", "packed", "plain"])
def test_our_engines_have_every_property(model, engine):
    folder, architecture = model
    report = check_backend(nbhelpers_backend(folder, engine), architecture)
    assert report.passed, report
    assert max(finding.largest_error for finding in report.findings) < 2e-5


def test_the_usual_loop_fails_at_the_edges_of_a_text_and_nowhere_else(model):
    folder, architecture = model
    report = check_backend(transformers_backend(folder), architecture)
    assert report.failures == ["BOS", "boundary"], report
    assert report["boundary"].got == 0.0  # " ret" + "urn" is one token, and none is left for the answer


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "counts"])
def test_bfloat16_is_no_float32(architecture, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # packed and plain differ in bfloat16, and say so
        report = check_backend(nbhelpers_backend(write_model(tmp_path, architecture), dtype="bfloat16"), architecture)
    assert report.failures == ["precision"], report
