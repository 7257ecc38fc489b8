"""The ROUGE that the page derives, compared with rouge-score and with numbers from papers."""

import random

import pytest
from notebook_code import definitions
from rouge_score.rouge_scorer import RougeScorer

page = definitions("text_overlap/rouge.ipynb")

GUNMAN = "police killed the gunman"  # Lin (2004), section 3.1: the reference of the example


@pytest.mark.parametrize(
    "prediction, target, n, expected",
    [
        ("testing", "testing one two", 1, (1, 1 / 3, 1 / 2)),  # rouge-score's own tests
        ("testing one", "testing one two", 2, (1, 1 / 2, 2 / 3)),  # one of the two bigrams
        ("the the the", "the cat", 1, (1 / 3, 1 / 2, 2 / 5)),  # clipped: the reference has "the" once
        ("police kill the gunman", GUNMAN, 2, (1 / 3, 1 / 3, 1 / 3)),  # "the gunman"
        ("the gunman kill police", GUNMAN, 2, (1 / 3, 1 / 3, 1 / 3)),  # the same bigram, the opposite meaning
        ("the gunman police killed", GUNMAN, 1, (1, 1, 1)),  # every word, in no order
        ("Testing, ONE-two", "testing one two", 1, (1, 1, 1)),  # case and punctuation do not count
        ("one", "two", 1, (0, 0, 0)),
        ("", "two", 1, (0, 0, 0)),
        ("one", "", 1, (0, 0, 0)),
        ("one two", "one two", 3, (0, 0, 0)),  # too short for a trigram
    ],
)
def test_rouge_n(prediction, target, n, expected):
    assert page.rouge_n(prediction, target, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "prediction, target, expected",
    [
        ("testing two", "testing one two", (1, 2 / 3, 4 / 5)),  # rouge-score's own tests
        ("police kill the gunman", GUNMAN, (3 / 4, 3 / 4, 3 / 4)),  # police, the, gunman
        ("the gunman kill police", GUNMAN, (1 / 2, 1 / 2, 1 / 2)),  # the, gunman
        ("the gunman police killed", GUNMAN, (1 / 2, 1 / 2, 1 / 2)),
        ("", GUNMAN, (0, 0, 0)),
    ],
)
def test_rouge_l(prediction, target, expected):
    assert page.rouge_l(prediction, target) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "prediction, target, expected",
    [
        # Lin (2004), section 3.2: the union of "w1 w2" and "w1 w3 w5" has 4 of 5 words; the prediction has 10
        ("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "w1 w2 w3 w4 w5", (4 / 10, 4 / 5, 8 / 15)),
        ("d e f\na b c", "a b c\nd e f", (1, 1, 1)),  # sentences may swap places...
        ("d e f a b c", "a b c d e f", (1 / 2, 1 / 2, 1 / 2)),  # ...if newlines separate them
        ("a", "a\na", (1, 1 / 2, 2 / 3)),  # one word counts once
        ("\n\n", "a", (0, 0, 0)),
    ],
)
def test_rouge_lsum(prediction, target, expected):
    assert page.rouge_lsum(prediction, target) == pytest.approx(expected, abs=1e-12)


def test_random_texts_match_rouge_score():
    """10,000 pairs of one or more lines, from few distinct words so that matches overlap and compete."""
    library = RougeScorer(["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"])
    rng = random.Random(0)
    for _ in range(10_000):
        alphabet = "abc\n" if rng.random() < 0.5 else "abcdefgh\n"
        said, wanted = (" ".join(rng.choices(alphabet, k=rng.randrange(14))) for _ in range(2))
        theirs = library.score(wanted, said)
        ours = {f"rouge{n}": page.rouge_n(said, wanted, n) for n in (1, 2, 3)}
        ours |= {"rougeL": page.rouge_l(said, wanted), "rougeLsum": page.rouge_lsum(said, wanted)}
        for name, values in ours.items():
            assert values == pytest.approx(tuple(theirs[name]), abs=1e-8), (name, said, wanted)


def test_token_lists_are_taken_as_they_are():
    assert page.rouge_n(["Ü", "b"], ["Ü", "c"], 1) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert page.rouge_l(["Ü", "b"], ["Ü", "c"])[2] == pytest.approx(1 / 2)


def test_thai_scores_zero_with_the_librarys_tokenizer_and_one_with_the_pages():
    """The fault the page demonstrates; this test tells us if a later version of the library fixes it."""
    thai = "ฉันรักภาษาไทย"
    assert RougeScorer(["rouge1"]).score(thai, thai)["rouge1"].fmeasure == 0
    assert page.rouge_n(list(thai), list(thai), 1) == (1, 1, 1)
