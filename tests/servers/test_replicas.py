"""Requests go to replicas by common prefix."""

import random

import pytest
from scripted_server import ScriptedServer

from nbhelpers.servers import Endpoint, complete
from nbhelpers.servers.replicas import spread


@pytest.mark.parametrize(
    "prefixes, costs, replicas, expected, why",
    [
        ("baba", [1] * 4, 2, [[1, 3], [0, 2]], "one prefix, one replica, in the order of the tree"),
        ("baba", [1] * 4, 1, [[0, 1, 2, 3]], "a single server: as given"),
        ("aaa", [1] * 3, 2, [[0, 1, 2], []], "one prefix cannot be shared out"),
        ("", [], 3, [[], [], []], "nothing"),
        ("abcd", [9, 1, 1, 1], 2, [[0], [1, 2, 3]], "weights count, not numbers"),
        (
            ["A1", "A2", "A3", "A4", "B1", "B2", "B3"],
            [1] * 7,
            2,
            [[0, 1, 2, 3], [4, 5, 6]],
            "cut where least is shared",
        ),
        ([[1, 2], [3], [1, 2], [1, 5]], [1] * 4, 2, [[0, 2], [3, 1]], "rows of ids"),
        ("abc", [1] * 3, 5, [[0], [1], [2], [], []], "more replicas than prefixes"),
    ],
)
def test_spread(prefixes, costs, replicas, expected, why):
    found = spread(prefixes, costs, replicas)
    assert sorted(number for share in found for number in share) == list(range(len(prefixes)))
    assert len(found) == replicas
    if "more" in why:
        assert max(map(len, found)) == 1
    else:
        assert found == expected, why


def test_every_prefix_meets_one_replica_and_the_weights_are_alike():
    rng = random.Random(0)
    for _ in range(50):
        groups = [f"{rng.choice('ABC')}{rng.random()}" for _ in range(60)]
        requests = [(group, rng.randint(50, 100)) for group in groups for _ in range(4)]
        rng.shuffle(requests)
        prefixes, costs = zip(*requests, strict=True)
        shares = spread(prefixes, costs, 3)
        where = [{prefixes[number] for number in share} for share in shares]
        assert sum(map(len, where)) == len(set(prefixes))
        weights = [sum(costs[number] for number in share) for share in shares]
        assert max(weights) < 1.6 * sum(weights) / 3
        for share in shares:  # depth first: what is alike stands together
            assert [prefixes[number] for number in share] == sorted(prefixes[number] for number in share)


def test_chats_that_begin_alike_meet_one_replica():
    first, second = ScriptedServer(), ScriptedServer()
    try:
        chats = [
            [{"role": "system", "content": f"You are {who}."}, {"role": "user", "content": f"Question {number}"}]
            for number in range(6)
            for who in ("a judge of prose", "no judge")
        ]
        replies = complete(Endpoint([first.url, second.url], "m", cache=None), chats, 5)
        assert [reply.text for reply in replies] == [f"echo {chat[-1]['content']}" for chat in chats]
        met = [{body["messages"][0]["content"] for body in server.bodies} for server in (first, second)]
        assert sorted(map(len, met)) == [1, 1] and met[0] != met[1]
    finally:
        first.close()
        second.close()
