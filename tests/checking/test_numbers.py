"""The number that a reply gives, and None wherever a reader would hesitate."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from nbhelpers import extract_number
from nbhelpers.checking.numbers import RULES, exact_number


@pytest.mark.parametrize(
    "reply, expected",
    [
        # The number by itself, in the notations that models use
        ("36", 36),
        ("36.", 36),  # the end of a sentence, no decimal point
        ("**36**", 36),
        ("`36`", 36),
        ("(36)", 36),
        ("$36$", 36),
        (r"\(36\)", 36),
        ("36!", 36),  # joy, no factorial
        ("1,250", 1250),
        ("1,250,000.5", Fraction(2500001, 2)),
        ("1\u202f250", 1250),  # a narrow space groups digits
        (r"1{,}250", 1250),  # LaTeX
        (r"1\,250", 1250),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("-5", -5),
        ("−5", -5),  # U+2212
        ("–5", -5),  # an en dash
        ("minus 5", -5),
        ("(-5)", -5),
        ("$-5", -5),
        ("-$5", -5),
        ("$12.50", Fraction(25, 2)),
        ("€ 1,250", 1250),
        ("50%", 50),  # the number as written; its unit says percent
        (r"50\%", 50),
        ("3/4", Fraction(3, 4)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"\frac34", Fraction(3, 4)),
        (r"1\frac{1}{2}", Fraction(3, 2)),
        ("1½ cups", Fraction(3, 2)),
        ("½", Fraction(1, 2)),
        ("1 1/2", Fraction(3, 2)),
        ("1.5e3", 1500),
        (r"1.5 \times 10^{3}", 1500),
        ("1.5 × 10^-1", Fraction(3, 20)),
        ("3 million", 3_000_000),
        ("2 dozen eggs", 24),
        ("5 km", 5),
        ("5km", 5),
        ("20°C", 20),
        ("٣٦", 36),  # Arabic-Indic digits
        ("３６", 36),  # full width
        ("𝟑𝟔", 36),  # mathematical bold
        ("3\u200b6", 36),  # a space of no width
        # The only number of a sentence
        ("Ada has 36 marbles.", 36),
        ("...36", 36),
        ("1. Add them.\n2. That makes 36.", 36),  # markers of a list
        ("Step 2: it is 36.", 36),
        ("On the 2nd try she gets 36.", 36),
        ("<think>12 or 13?</think>36", 36),
        # After a mark
        ("6 + 9 = 15. The answer is 15.", 15),
        ("The answer is 6 + 9 = 15.", 15),
        ("The final answer is: **15**", 15),
        ("Answer: 15 marbles", 15),
        ("**Answer:** 15", 15),
        ("Answer: the answer is 15", 15),  # two marks, one number
        ("6 and 9 make\n#### 15", 15),
        ("The answer is\n\n15", 15),
        ("The answer is 15. Again: the answer is 15.0", 15),  # agreement
        ("The answer to 6 + 9 is 15.", 15),
        ("The answer is x = 15", 15),
        ('The answer is "15"', 15),
        ("The answer is -15 degrees.", -15),
        # In a box
        (r"6 + 9 makes $\boxed{15}$.", 15),
        (r"\boxed{15\text{ km}}", 15),
        (r"\boxed{x = 15}", 15),
        (r"\boxed{\$12.50}", Fraction(25, 2)),
        (r"\boxed{\frac{3}{4}}", Fraction(3, 4)),
    ],
)
def test_a_number_is_read(reply, expected):
    assert extract_number(reply).value == expected


@pytest.mark.parametrize(
    "reply, why",
    [
        ("", "the reply is empty"),
        ("I do not know.", "there is no number"),
        ("twelve", "there is no number"),
        ("6 + 9 = 15", "there are 3 numbers, and none is marked"),  # "last" would read it: ask for a mark instead
        ("12,5", "can be read in more than one way"),  # a decimal comma, or two numbers
        ("0,500", "can be read in more than one way"),
        ("1.2.3", "can be read in more than one way"),
        ("1,2,3", "can be read in more than one way"),
        ("3/4/2026", "several slashes"),
        ("12:30", "a time or a ratio"),
        ("12/0", "a division by zero"),
        ("5k", "'k' follows"),
        ("3x", "'x' follows"),
        ("10^3", "a power follows"),
        ("5²", "a power follows"),
        ("The answer is 36 ± 2.", "a margin follows"),
        (r"\sqrt{9}", "part of a formula"),
        ("√9", "part of a formula"),
        ("x + 3", "part of a calculation"),
        ("x2", "there is no number"),  # a name
        ("H2O", "there is no number"),
        ("about 36", "'about' leaves a doubt"),
        ("not 36", "'not' leaves a doubt"),
        ("It isn't 36.", "n't"),
        ("36?", "'?' leaves a doubt"),
        ("more than 36", "'more' leaves a doubt"),
        ("12 or 13", "there are 2 numbers"),
        ("The answer is not 36.", "stands between the mark and the number"),
        ("The answer is about 36.", "stands between the mark and the number"),
        ("The answer is 12 or 13.", "more than one number stands after the mark"),
        ("The answer is 12 to 13.", "more than one number stands after the mark"),
        ("The answer is 12-13.", "a calculation stands after the mark"),
        ("The answer is 6 + 9.", "a calculation stands after the mark"),
        ("The answer is unclear; 36 was given.", "stands between the mark and the number"),
        ("The answer is clear. Ada has 36.", "stands between the mark and the number"),
        ("The answer is 12. Wait, the answer is 13.", "the numbers after a mark differ"),
        (r"\boxed{12} or \boxed{13}", "the numbers in a box differ"),
        (r"\boxed{12, 13}", "more than one number stands in the box"),
        (r"\boxed{}", "there is no number in the box"),
        (r"\boxed{12", "there is no number in the box"),  # never closed
        (r"\boxed{12}. The answer is 13.", "differ"),
        ("<think>So it is 36", "cut off inside its reasoning"),
        ("\u202e63\u202c", "change the order in which it is shown"),  # written 63, shown 36
        ("9" * 101, "a number of 101 characters is not read"),
    ],
)
def test_a_doubt_is_none_and_says_so(reply, why):
    read = extract_number(reply)
    assert (read.value, read.rule) == (None, None) and why in read.why


@pytest.mark.parametrize(
    "rule, expected",
    [("first", 6), ("last", 16), ("boxed", 14), ("marked", 15), ("only", None), ("careful", None)],
)
def test_each_rule_reads_another_number(rule, expected):
    reply = r"6 and 9: \boxed{14}, no, the answer is 15. Or 16"
    read = extract_number(reply, rule)
    assert read.value == expected and read.rule == (rule if expected else None)


@pytest.mark.parametrize(
    "reply, expected",
    [
        ("The answer is 36, because", 36),
        (r"So it is \boxed{36}", 36),  # its brace is there
        ("The answer is 36", None),  # perhaps of 365
        ("The answer is 3.", None),  # perhaps of 3.5
        ("The answer is 36. The answer is 4", None),  # a mark without its number
        ("She has 36 marbles, and", None),  # the answer may be to come
        ("36", None),
    ],
)
def test_a_reply_that_was_cut_off_gives_a_complete_and_marked_number_only(reply, expected):
    assert extract_number(reply, finished=False).value == expected
    assert extract_number(reply, "last", finished=False).value is not None  # as asked


def test_first_and_last_take_the_number_whatever_is_said_of_it():
    assert extract_number("not 36", "last").value == 36
    assert extract_number("12, and 12,5", "last").value is None  # but not what can be read in two ways


@pytest.mark.parametrize(
    "reply, last",
    [("10-20", 20), ("8 - 5", 5), ("8 minus 5", 5), ("5 -3", 3), ("x-3", 3), ("(8)-3", 3)],
)
def test_a_minus_between_two_things_is_no_sign(reply, last):
    assert extract_number(reply, "last").value == last


@pytest.mark.parametrize(
    "reply, text, unit",
    [
        ("She pays $12.50.", "$12.50", "$"),
        ("It is 5 km long.", "5", "km"),
        ("A half: 50%", "50", "%"),
        ("at −5 °C", "-5", "°C"),
        ("$36$", "36", ""),  # dollars of LaTeX are no money
    ],
)
def test_a_read_number_says_what_stood_there(reply, text, unit):
    read = extract_number(reply)
    assert (read.text, read.unit) == (text, unit)


@pytest.mark.parametrize(
    "reply, key, equal",
    [
        ("0.1", 0.1, True),  # as floats are written, not as they are stored
        ("1/10", 0.1, True),
        ("1,250", "1250", True),
        ("1250", "$1,250.00", True),
        ("0.33", Fraction(1, 3), False),
        ("no idea", 0, False),  # None is not zero
        ("50%", 0.5, False),  # the unit is not applied
    ],
)
def test_equality_with_a_key_is_exact(reply, key, equal):
    assert extract_number(reply).equals(key) is equal


def test_a_tolerance_is_a_distance_that_counts_as_equal():
    read = extract_number("0.33")
    assert read.equals(Fraction(1, 3), tolerance=0.01) and not read.equals(Fraction(1, 3), tolerance="0.001")
    assert read.equals(0.34, tolerance=0.01)  # exactly so far; in floats 0.34 - 0.33 is more than 0.01


@pytest.mark.parametrize("key", ["12 or 13", "", "twelve", float("nan"), float("inf"), "12,5"])
def test_a_key_that_is_no_single_number_is_refused(key):
    with pytest.raises(ValueError, match="is not a single number"):
        exact_number(key)


@pytest.mark.parametrize("key", [None, True, [12]])
def test_a_key_of_another_type_is_refused(key):
    with pytest.raises(TypeError, match="is no number"):
        extract_number("12").equals(key)


def test_a_wrong_argument_is_refused():
    with pytest.raises(TypeError, match="the reply must be a string, not int"):
        extract_number(12)
    with pytest.raises(ValueError, match="rule='middle' is unknown"):
        extract_number("12", "middle")


def test_every_reading_of_128_replies_that_were_read_by_hand_is_right():
    """Replies of a small model to word problems, 84 of which give an answer: see book/data/README.md."""
    file = Path(__file__).parents[2] / "book/data/word_problem_replies.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    reads = [extract_number(row["reply"], finished=row["finished"]) for row in rows]
    given = [(read, row) for read, row in zip(reads, rows, strict=True) if read.value is not None]
    assert len(rows) == 128 and len(given) >= 65
    assert [row["reply"] for read, row in given if row["says"] is None or not read.equals(row["says"])] == []


HOSTILE = {
    "digits": "9" * 100_000,
    "dots": "." * 100_000,
    "digits and dots": "1." * 50_000,
    "commas": "1," * 50_000,
    "minus": "-" * 100_000,
    "spaces": " " * 100_000,
    "answer": "answer " * 15_000,
    "answer is": "the answer is " * 8_000,
    "boxes": "\\boxed{" * 15_000,
    "braces": "\\boxed{" + "{" * 100_000,
    "fractions": "\\frac{1}{" * 12_000,
    "slashes": "1/" * 50_000,
    "stars": "*" * 100_000,
    "underscores": "_" * 100_000,
    "hashes": "#" * 100_000,
    "lines": "\n" * 100_000,
    "list": "".join(f"{n % 99}. x\n" for n in range(15_000)),
    "dollars": "$" * 100_000,
    "commands": "\\text{" * 16_000,
    "half": "½" * 100_000,
    "minus words": "minus " * 16_000,
    "tags": "<think>" * 14_000,
    "nulls": "\0" * 100_000,
    "surrogate": "\ud800 12",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("rule", RULES)
def test_a_hostile_reply_is_read_or_not_but_never_an_error(name, rule):
    """Each of these ends in a fraction of a second; a pattern that is quadratic in 100,000 characters would not."""
    assert extract_number(HOSTILE[name], rule).why


def test_what_is_looked_at_does_not_grow_with_the_reply(monkeypatch):
    """The bound itself: whatever is searched has at most 10,000 characters."""
    from nbhelpers.checking import numbers

    lengths = []
    monkeypatch.setattr(numbers, "plain", lambda text: lengths.append(len(text)) or text)
    for rule in RULES:
        extract_number("7" + " x" * 100_000, rule)
    assert max(lengths) == 10_000


def test_of_a_long_reply_the_end_is_searched_and_the_only_number_is_not_known():
    long = "1 " + "word " * 5_000
    assert extract_number(long + "The answer is 36.").value == 36
    assert extract_number(long + "36", "last").value == 36
    assert extract_number(long + "36", "first").value == 1
    assert "more than 10,000 characters" in extract_number(long + "36").why
