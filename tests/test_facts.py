"""What the joints prove of hand-made people who sit, squat, jump, kick, tumble …, and the frames in which they do it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.facts import prove
from motion.skeleton import HUMANML3D
from prepare.synthetic import bower, raiser, walker, waver
from tests import performers as people

SIDES = ("left", "right")
QUICK = settings(max_examples=10, deadline=None)


def mirrored(joints):
    return joints[:, list(HUMANML3D.mirror)] * np.float32([-1, 1, 1])


def done(joints):
    """How often each action is done."""
    return Counter(event.action for event in prove(joints).events)


# ------------------------------------------------------------------------------------------------------------- postures
@QUICK
@given(seat=st.floats(0.45, 0.6), rest=st.floats(1.5, 4.0), rises=st.booleans())
def test_sitting_down_is_proven_and_is_no_squat(seat, rest, rises):
    facts = prove(people.sitter(seat, rest, rises))
    assert Counter(event.action for event in facts.events) == Counter(["sit down", "sit"] + ["stand up"] * rises)
    sat = facts.of("sit down")[0]
    assert sat.manner == "chair" and sat.size == pytest.approx(seat, abs=0.04)
    start, end = facts.span("sit down")
    assert people.BEFORE - 6 <= start <= people.BEFORE + 8 and people.BEFORE + 18 <= end <= people.BEFORE + 45
    if rises:
        start, end = facts.span("stand up")
        leaves = people.BEFORE + (1 + rest) * 20
        assert leaves - 16 <= start <= leaves + 6 and leaves + 12 <= end <= leaves + 30


@pytest.mark.parametrize(("seat", "kind"), [(0.2, "floor"), (0.38, "low"), (0.5, "chair"), (0.8, "high")])
def test_seats_are_told_by_their_height(seat, kind):
    assert [event.manner for event in prove(people.sitter(seat)).of("sit")] == [kind]


@QUICK
@given(depth=st.floats(0.42, 0.55), times=st.integers(1, 4))
def test_squats_are_counted_and_are_no_sits(depth, times):
    facts = prove(people.squatter(depth, times))
    assert len(facts.of("squat")) == times and not facts.of("sit") and not facts.of("sit down") and not facts.jumps
    start, end = facts.span("squat")
    assert start >= people.BEFORE - 4 and end <= people.BEFORE + 30 * times + 4


@pytest.mark.parametrize("rises", [False, True])
def test_lying_down_and_getting_up_are_proven(rises):
    facts = prove(people.lier(rises))
    assert [(event.action, event.manner) for event in facts.events] == [
        ("lie down", "back"), ("lie", "back"), *[("get up from the floor", "back")] * rises
    ]  # fmt: skip
    assert facts.span("lie down")[0] == pytest.approx(people.BEFORE, abs=8)
    if rises:
        assert facts.span("get up from the floor")[0] >= people.BEFORE + 75


def test_crawling_is_proven():
    assert done(people.crawler()) == {"crawl": 1}
    assert not done(people.crawler(distance=0.1))["crawl"], "on all fours without moving along"


@pytest.mark.parametrize(("knees", "manner"), [(True, "knees"), (False, "waist")])
def test_a_hand_that_goes_to_the_floor_picks_up_or_puts_down(knees, manner):
    facts = prove(people.picker(knees))
    (event,) = facts.of("pick up")
    assert facts.of("put down") == (event,) and (event.side, event.manner) == ("both", manner)
    assert facts.span("pick up") == pytest.approx((people.BEFORE + 4, people.BEFORE + 36), abs=6)


@pytest.mark.parametrize("up", [True, False])
def test_steps_lead_up_or_down(up):
    (event,) = prove(people.climber(0.6, up)).of("climb steps")
    assert event.manner == ("up" if up else "down") and event.size == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize("side", [0, 1])
def test_balancing_names_the_leg(side):
    (event,) = prove(people.balancer(side)).of("balance on one leg")
    assert event.side == SIDES[side]
    assert not done(people.balancer(side, seconds=1.5)), "too short"


# ------------------------------------------------------------------------------------------------------------- airborne
@QUICK
@given(height=st.floats(0.12, 0.5), times=st.integers(1, 3), forward=st.sampled_from([0.0, 0.6]))
def test_jumps_are_counted_and_measured(height, times, forward):
    facts = prove(people.jumper(height, times, forward))
    assert facts.jumps == times and not facts.of("hop")
    assert all(event.side == "both" and event.size == pytest.approx(height, abs=0.03) for event in facts.of("jump"))
    assert facts.direction == ("forward" if forward else "in place")
    start, end = facts.span("jump")
    assert people.BEFORE - 4 <= start <= people.BEFORE + 10 and end <= len(people.jumper(height, times, forward))


@pytest.mark.parametrize(("foot", "side"), [(0, "left"), (1, "right"), (None, "both")])
def test_hops_are_counted_by_the_foot(foot, side):
    assert [event.side for event in prove(people.jumper(0.07, 4, foot=foot)).of("hop")] == [side] * 4


@QUICK
@given(side=st.sampled_from([0, 1]), height=st.floats(0.55, 1.1), times=st.integers(1, 3))
def test_kicks_tell_leg_count_and_height(side, height, times):
    facts = prove(people.kicker(side, height, times))
    assert facts.pair("kick") == ((times, 0) if side == 0 else (0, times)) and not facts.jumps
    assert all(event.size == pytest.approx(height, abs=0.08) for event in facts.of("kick"))
    assert facts.span("kick")[1] <= people.BEFORE + 24 * times + 6


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("times", [1, 3])
def test_punches_tell_arm_and_count(side, times):
    assert prove(people.puncher(side, times)).pair("punch") == ((times, 0) if side == 0 else (0, times))


def test_a_ball_thrown_overhead_is_a_throw_and_raised_hands_are_none():
    facts = prove(people.thrower())
    assert [event.side for event in facts.of("throw")] == ["both"]
    assert not prove(raiser("both", hold=0.4, rise=0.4)).of("throw")


@pytest.mark.parametrize("times", [2, 5])
def test_jumping_jacks_are_counted(times):
    assert done(people.jacks(times)) == {"jumping jacks": times}


@pytest.mark.parametrize(
    ("axis", "hands", "action", "manner"),
    [(0, False, "flip", "forward"), (2, False, "flip", "sideways"), (0, True, "flip", "handspring"), (2, True, "cartwheel", "")],
)
def test_flips_and_cartwheels_are_distinguished(axis, hands, action, manner):
    for joints in (people.tumbler(axis, hands), mirrored(people.tumbler(axis, hands))):
        (event,) = prove(joints).events
        assert (event.action, event.manner) == (action, manner)
        assert event.start <= people.BEFORE + 8 and event.end >= people.BEFORE + 14


def test_a_backflip_turns_backward():
    joints = people.tumbler(0, hands_down=False)[::-1]
    assert [event.manner for event in prove(joints).of("flip")] == ["backward"]


@pytest.mark.parametrize(("backward", "way"), [(True, "backward"), (False, "forward")])
def test_arm_circles_have_a_direction_and_a_count(backward, way):
    assert [event.manner for event in prove(people.circler(2, backward)).of("circle the arms")] == [way] * 2


# -------------------------------------------------------------------------------------------------------------- silence
@pytest.mark.parametrize("direction", [0, 90, 180])
@pytest.mark.parametrize("turn", [0, 90])
def test_walkers_runners_wavers_and_raisers_do_nothing_else(direction, turn):
    quiet = [walker(6, direction=direction, turn=turn), walker(8, stride=0.9, pace=2.6, run=True), raiser("both"), waver("left", 4)]
    assert [done(joints) for joints in quiet] == [{}] * 4
    assert not done(bower(60, 2))


def test_a_body_at_rest_is_not_active():
    joints = people.kicker()
    start, end = prove(joints).active
    assert people.BEFORE - 8 <= start <= people.BEFORE + 6 and people.BEFORE + 16 <= end <= people.BEFORE + 30
    assert prove(joints).span("dance") == (start, end), "of what joints do not prove, the frames in which the body moves"
    assert prove(np.repeat(joints[:1], 40, axis=0)).active == (0, 40)


@pytest.mark.parametrize(
    "joints", [people.kicker(0, 0.8, 2), people.puncher(1, 2), people.jumper(0.07, 3, foot=0), people.balancer(1)]
)
def test_sides_are_mirrored(joints):
    other = {"left": "right", "right": "left"}
    events = [event._replace(side=other.get(event.side, event.side)) for event in prove(joints).events]
    mirror = list(prove(mirrored(joints)).events)
    assert [event[:4] for event in mirror] == [event[:4] for event in events] and events


def test_facts_do_not_depend_on_where_the_body_stands_and_faces():
    quarter = np.float32([[0, 0, -1], [0, 1, 0], [1, 0, 0]])
    for joints in (people.sitter(), people.kicker(), people.tumbler(2, True), people.crawler()):
        moved = joints @ quarter + np.float32([3, 0, -2])
        assert [event[:4] for event in prove(moved).events] == [event[:4] for event in prove(joints).events]
