"""The BLEU that the page derives, compared with sacrebleu and with numbers from papers."""

import random

import pytest
import sacrebleu
from notebook_code import definitions
from sacrebleu.metrics import BLEU, CHRF, TER

page = definitions("text_overlap/bleu.ipynb")

# Papineni et al. (2002), section 2: the references of "Candidate 1" and "Candidate 2", lower case, no punctuation
GUIDES = [
    "it is a guide to action that ensures that the military will forever heed party commands",
    "it is the guiding principle which guarantees the military forces always being under the command of the party",
    "it is the practical guide for the army always to heed the directions of the party",
]
FIRST = "it is a guide to action which ensures that the military always obeys the commands of the party"
SECOND = "it is to insure the troops forever hearing the activity guidebook that party direct"
CAT = ["the cat is on the mat", "there is a cat on the mat"]
# sacrebleu's own test set of three sentences with two references each
DOGS = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
DOG_REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]


@pytest.mark.parametrize(
    "hypothesis, references, n, expected",
    [
        ("the the the the the the the", CAT, 1, (2, 7)),  # a reference has "the" at most twice (2002, section 2.1)
        (FIRST, GUIDES, 1, (17, 18)),
        (FIRST, GUIDES, 2, (10, 17)),
        (FIRST, GUIDES, 3, (7, 16)),
        (FIRST, GUIDES, 4, (4, 15)),
        (SECOND, GUIDES, 1, (8, 14)),
        (SECOND, GUIDES, 2, (1, 13)),
        (SECOND, GUIDES, 3, (0, 12)),
        (SECOND, GUIDES, 4, (0, 11)),
        ("two words", ["two words"], 3, (0, 0)),  # too short for a trigram
    ],
)
def test_clipped_counts(hypothesis, references, n, expected):
    assert page.clipped(hypothesis.split(), [r.split() for r in references], n) == expected


@pytest.mark.parametrize(
    "hypothesis, references, smoothing, expected",
    [
        (FIRST, GUIDES, "none", 50.45666840058485),  # nothing to smooth
        (SECOND, GUIDES, "exp", 6.9630033057),  # the paper has no score for it; sacrebleu has
        ("this is a fest", ["this is a test"], "exp", 59.460355750136),  # 3/4, 2/3, 1/2, and 1/2 instead of 0/1
        ("nothing shared", ["quite another sentence"], "exp", 0.0),
        ("the cat is on", ["the cat is on the mat"], "exp", 60.653065971263345),  # exp(1 - 6/4)
    ],
)
def test_sentences_with_known_scores(hypothesis, references, smoothing, expected):
    ours = page.sentence_bleu(hypothesis, references, smoothing)
    library = BLEU(tokenize="none", effective_order=True, smooth_method=smoothing)
    assert ours == pytest.approx(library.sentence_score(hypothesis, references).score, abs=1e-8)
    if expected is not None:
        assert ours == pytest.approx(expected, abs=1e-8)


def test_the_counts_of_sacrebleus_own_tests():
    """compute_bleu([9, 7, 5, 3], [10, 8, 6, 4], 11, 11) and, smoothed by 0.1, ([4, 2, 1, 0], [6, 5, 4, 3], 6, 8)."""
    assert page.bleu([9, 7, 5, 3, 10, 8, 6, 4, 11, 11]) == pytest.approx(83.75922397, abs=1e-7)
    assert page.bleu([4, 2, 1, 0, 6, 5, 4, 3, 6, 8], "floor") == pytest.approx(15.55722182, abs=1e-7)


def test_the_corpus_of_sacrebleus_own_tests():
    ours = page.corpus_bleu(DOGS, DOG_REFERENCES)
    streams = [list(stream) for stream in zip(*DOG_REFERENCES, strict=True)]
    assert ours == pytest.approx(sacrebleu.corpus_bleu(DOGS, streams, tokenize="none").score, abs=1e-8)
    assert ours == pytest.approx(49.1919566, abs=1e-6)


@pytest.mark.parametrize("smoothing", ["none", "floor", "add-k", "exp"])
def test_random_sentences_and_corpora_match_sacrebleu(smoothing):
    """2,500 sentences for each smoothing, in corpora of 5, from few distinct words so that n-grams match often."""
    rng = random.Random(smoothing)
    single = BLEU(tokenize="none", effective_order=True, smooth_method=smoothing)
    together = BLEU(tokenize="none", smooth_method=smoothing)
    for _ in range(500):
        texts = [" ".join(rng.choices("abcdef", k=rng.randrange(1, 12))) for _ in range(15)]
        hypotheses, references = texts[:5], [texts[5 + 2 * i : 7 + 2 * i] for i in range(5)]
        for hypothesis, known in zip(hypotheses, references, strict=True):
            theirs = single.sentence_score(hypothesis, known).score
            assert page.sentence_bleu(hypothesis, known, smoothing) == pytest.approx(theirs, abs=1e-8)
        theirs = together.corpus_score(hypotheses, [list(s) for s in zip(*references, strict=True)]).score
        assert page.corpus_bleu(hypotheses, references, smoothing) == pytest.approx(theirs, abs=1e-8)


@pytest.mark.parametrize(
    "metric, expected",
    [
        (BLEU(tokenize="13a"), 48.530827),  # sacrebleu's own tests, as are the next two
        (BLEU(tokenize="none"), 49.1919566),  # "man." is not "man"
        (BLEU(tokenize="intl"), 43.91623493),
        *[(BLEU(max_ngram_order=n), s) for n, s in enumerate([77.65, 60.50, 53.93, 48.53, 46.14, 43.28], 1)],
        (CHRF(), 59.73),
        (CHRF(word_order=2), 59.15),
        (TER(), 40.00),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_library_that_the_page_trusts(metric, expected):
    """The same corpus under the page's other metrics, so that no new version of sacrebleu changes them unnoticed."""
    streams = [list(stream) for stream in zip(*DOG_REFERENCES, strict=True)]
    assert metric.corpus_score(DOGS, streams).score == pytest.approx(expected, abs=0.005)


def test_one_moved_block_is_one_edit():
    """TER of "d e f g h a b c" against "a b c d e f g h": one shift of eight words."""
    assert TER().corpus_score(["d e f g h a b c"], [["a b c d e f g h"]]).score == pytest.approx(100 / 8)


def test_the_floor_that_sacrebleu_tests():
    """3/4, 2/3, 1/2 and 0/1: with a floor of 0.01 sacrebleu's own test has 0.2236; the page's floor is 0.1."""
    fest = ("this is a fest", ["this is a test"])
    library = sacrebleu.sentence_bleu(*fest, smooth_method="floor", smooth_value=0.01, tokenize="none")
    assert library.score == pytest.approx(22.3606797749979, abs=1e-8)
    assert page.sentence_bleu(*fest, "floor") == pytest.approx(22.3606797749979 * 10**0.25, abs=1e-8)


def test_token_lists_are_taken_as_they_are():
    assert page.sentence_bleu(FIRST.split(), [g.split() for g in GUIDES]) == page.sentence_bleu(FIRST, GUIDES)
