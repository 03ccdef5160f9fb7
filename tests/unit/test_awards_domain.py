"""Stars: the thresholds at their edges, and what every entry and reversal changes."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.awards import domain
from services.awards.domain import (
    Logged,
    Reversed,
    StarEarned,
    StarState,
    StarWithdrawn,
    Tally,
    Thresholds,
)

HOURS = {"hours": [100, 300, 600, 1000, 1500]}
STARS = Thresholds.of(HOURS, "民函〔2012〕340号")


def id_(number):
    return UUID(int=number)


def logged(number, minutes):
    return Logged(id_(number), minutes)


def reversed_(number, entry, minutes):
    return Reversed(id_(number), id_(entry), minutes)


def run(*changes, tally=None, thresholds=STARS):
    """Apply changes in order and return the last tally with everything that came of them."""
    tally, outcomes = tally or Tally(), []
    for change in changes:
        tally, more = domain.apply(tally, change, thresholds)
        outcomes += more
    return tally, outcomes


@pytest.mark.parametrize(
    ("minutes", "star"),
    [
        (0, 0),
        (5994, 0),  # 99.9 h
        (5999, 0),
        (6000, 1),
        (6001, 1),
        (17999, 1),  # 299.98 h
        (18000, 2),
        (35999, 2),
        (36000, 3),
        (59999, 3),
        (60000, 4),
        (89999, 4),
        (90000, 5),
        (10_000_000, 5),
    ],
)
def test_the_threshold_itself_is_included(minutes, star):
    assert domain.star_for(minutes, STARS) == star


@pytest.mark.parametrize(
    "hours",
    [[], [100, 300, 600, 1000, 1500, 2000], [0, 100], [-5], [300, 100], [100, 100], [1.5], ["a"], [True]],
)
def test_thresholds_must_be_up_to_five_ascending_whole_numbers(hours):
    with pytest.raises(ValueError, match=r"thresholds|stars"):
        Thresholds.of({"hours": hours})


@pytest.mark.parametrize(
    ("minutes", "zh", "en"),
    [
        (
            5999,
            "累计志愿服务时间99小时59分钟，尚未达到星级标准；距一星级还差0小时1分钟。依据：民函〔2012〕340号。",
            "Service time adds up to 99 h 59 min: no star yet; 0 h 1 min more for star 1. Rule: 民函〔2012〕340号.",
        ),
        (
            6000,
            "累计志愿服务时间100小时，达到一星级标准（100小时以上，含本数）；距二星级还差200小时。"
            "依据：民函〔2012〕340号。",
            "Service time adds up to 100 h: star 1 (100 h or more); 200 h more for star 2. Rule: 民函〔2012〕340号.",
        ),
        (
            90000,
            "累计志愿服务时间1500小时，达到五星级标准（1500小时以上，含本数）。依据：民函〔2012〕340号。",
            "Service time adds up to 1500 h: star 5 (1500 h or more). Rule: 民函〔2012〕340号.",
        ),
    ],
)
def test_a_star_explains_itself_in_both_languages_with_the_clause(minutes, zh, en):
    explanation = domain.explain(minutes, STARS)
    assert (explanation.zh, explanation.en) == (zh, en)
    assert explanation.clause == "民函〔2012〕340号"
    assert explanation.star == domain.star_for(minutes, STARS)


def test_an_explanation_without_a_clause_claims_none():
    explanation = domain.explain(0, Thresholds.of(HOURS))
    assert "依据" not in explanation.zh
    assert "Rule" not in explanation.en


def test_an_entry_that_reaches_a_threshold_earns_its_star_once():
    tally, outcomes = run(logged(1, 5999), logged(2, 1), logged(3, 1))
    assert outcomes == [StarEarned(1, 1, 6000)]
    assert tally == Tally(6001, {1: StarState(1, held=True)})


def test_one_entry_can_cross_several_stars_in_ascending_order():
    _, outcomes = run(logged(1, 36000))
    assert outcomes == [StarEarned(1, 1, 36000), StarEarned(2, 1, 36000), StarEarned(3, 1, 36000)]


def test_a_reversal_below_the_threshold_withdraws_the_star_and_is_named():
    tally, outcomes = run(logged(1, 5000), logged(2, 1000), reversed_(9, 2, 1000))
    assert outcomes[1:] == [StarWithdrawn(1, 1, id_(9), 5000)]
    assert tally.stars == {1: StarState(1, held=False)}


def test_a_reversal_that_leaves_the_threshold_withdraws_nothing():
    _, outcomes = run(logged(1, 6000), logged(2, 60), reversed_(9, 2, 60))
    assert outcomes == [StarEarned(1, 1, 6000)]


def test_a_reversal_can_withdraw_several_stars_from_the_highest_down():
    _, outcomes = run(logged(1, 18000), reversed_(9, 1, 18000))
    assert outcomes[2:] == [StarWithdrawn(2, 1, id_(9), 0), StarWithdrawn(1, 1, id_(9), 0)]


def test_earning_a_withdrawn_star_again_is_its_next_occurrence():
    tally, outcomes = run(
        logged(1, 6000), reversed_(9, 1, 6000), logged(2, 6000), reversed_(8, 2, 6000), logged(3, 6000)
    )
    assert [(type(outcome), outcome.occurrence) for outcome in outcomes] == [
        (StarEarned, 1),
        (StarWithdrawn, 1),
        (StarEarned, 2),
        (StarWithdrawn, 2),
        (StarEarned, 3),
    ]
    assert tally.stars == {1: StarState(3, held=True)}


def test_a_total_below_zero_is_a_permanent_error():
    with pytest.raises(domain.NegativeTotal) as caught:
        run(logged(1, 60), reversed_(9, 2, 61))
    assert caught.value.code == "event.negative_total"
    assert "61 minutes back from 60" in str(caught.value)


@pytest.mark.parametrize("change", [logged(1, 0), logged(1, -5), reversed_(9, 1, 0), reversed_(9, 1, -5)])
def test_minutes_that_are_not_positive_are_a_permanent_error(change):
    with pytest.raises(domain.SenselessMinutes) as caught:
        run(change, tally=Tally(100))
    assert caught.value.code == "event.senseless_minutes"


def test_a_stricter_table_takes_no_star_that_a_reversal_did_not_take():
    stricter = Thresholds.of({"hours": [200, 400]})
    tally, _ = run(logged(1, 6000), logged(2, 60))
    tally, outcomes = run(reversed_(9, 2, 60), tally=tally, thresholds=stricter)
    assert outcomes == []
    assert tally.stars[1].held


def test_a_milder_table_gives_its_stars_with_the_next_entry_only():
    milder = Thresholds.of({"hours": [10, 20]})
    tally, _ = run(logged(1, 1300), logged(2, 10))
    tally, outcomes = run(reversed_(9, 2, 10), tally=tally, thresholds=milder)
    assert outcomes == []
    tally, outcomes = run(reversed_(8, 1, 200), tally=tally, thresholds=milder)
    assert outcomes == [], "a star that was never earned cannot be withdrawn"
    _, outcomes = run(logged(3, 100), tally=tally, thresholds=milder)
    assert outcomes == [StarEarned(1, 1, 1200), StarEarned(2, 1, 1200)]


def test_a_tally_is_never_changed_in_place():
    before, _ = run(logged(1, 6000))
    kept = dict(before.stars)
    run(reversed_(9, 1, 6000), logged(2, 18000), tally=before)
    assert (before.minutes, dict(before.stars)) == (6000, kept)


@given(st.lists(st.tuples(st.integers(1, 40000), st.booleans()), max_size=30))
def test_whatever_comes_the_stars_held_are_those_of_the_total_and_occurrences_add_up(steps):
    tally, entries, earned, withdrawn = Tally(), [], 0, 0
    for number, (minutes, take_back) in enumerate(steps):
        if take_back and entries:
            entry, amount = entries.pop()
            change = Reversed(id_(1000 + number), id_(entry), amount)
        else:
            entries.append((number, minutes))
            change = logged(number, minutes)
        tally, outcomes = domain.apply(tally, change, STARS)
        earned += sum(isinstance(outcome, StarEarned) for outcome in outcomes)
        withdrawn += sum(isinstance(outcome, StarWithdrawn) for outcome in outcomes)
    held = {star for star, state in tally.stars.items() if state.held}
    assert tally.minutes == sum(minutes for _, minutes in entries)
    assert held == set(range(1, domain.star_for(tally.minutes, STARS) + 1))
    assert earned - withdrawn == len(held)
    assert earned == sum(state.occurrences for state in tally.stars.values())
