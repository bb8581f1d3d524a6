"""Choosing tokens, generating: the ids of an independent loop, and one sentence per error."""

import json
import math
import random

import numpy as np
import pytest
from click.testing import CliRunner

import csc
from blob_factory import tiny_encoder_blob
from csc._choose import Choice, choose, make_choice, pack_scale
from csc.cli import main
from csc_convert import oracle
from entry_factory import cached_attention_blob, decoder_blob

BLOB = decoder_blob()[0]
PROMPT = [3, 22, 0, 7]


def naive_exp(step):
    return math.floor(255 * math.exp(-step / 32) + 0.5)


def naive_choice(logits, top_k, requant, state):
    """SPEC.md 3.8 with plain numbers; returns the token and the new state."""
    multiplier, shift = requant % 65536, requant // 65536
    order = sorted(enumerate(logits), key=lambda pair: (-pair[1], pair[0]))[:top_k]
    weights = []
    for _, logit in order:
        scaled = ((order[0][1] - logit) * multiplier + 2 ** (shift - 1)) // 2**shift
        weights.append(naive_exp(min(255, scaled)))
    state ^= state * 2**13 % 2**32
    state ^= state // 2**17
    state ^= state * 2**5 % 2**32
    u = state * sum(weights) // 2**32
    for (token, _), weight in zip(order, weights, strict=True):
        if u < weight:
            return token, state
        u -= weight
    raise AssertionError("the weights end before u")


LOGITS = {
    "random": lambda rng: rng.integers(-32768, 32768, 200),
    "near": lambda rng: rng.integers(-40, 41, 300),
    "equal": lambda rng: np.full(37, -5),
    "few values": lambda rng: rng.integers(0, 3, 99),
    "limits": lambda rng: rng.choice([-32768, 32767], 50),
    "one": lambda rng: rng.integers(-9, 9, 1),
    "two": lambda rng: np.array([4, 9]),
    "falling": lambda rng: np.arange(100, 0, -1),
}


@pytest.mark.parametrize("scale", [0.001, 0.05, 1.0, 31.0])
@pytest.mark.parametrize("kind", LOGITS)
def test_choice_equals_plain_numbers_and_the_oracle(kind, scale):
    rng = np.random.default_rng(5)
    logits = LOGITS[kind](rng).astype(np.int16)
    for top_k in {1, 2, min(8, len(logits)), len(logits) // 2 + 1, len(logits)} & set(
        range(1, len(logits) + 1)
    ):
        requant = pack_scale(32 * scale)
        choice = Choice(top_k, requant, 77)
        chooser = oracle.Chooser(top_k, requant % 65536, requant // 65536, 77)
        state = 77
        for _ in range(12):
            token, state = naive_choice(logits.tolist(), top_k, requant, state)
            assert chooser.choose(logits) == token
            assert choose(logits, choice) == token
            if top_k > 1:
                assert choice.random == chooser.random == state


def test_greedy_is_the_first_of_the_largest():
    logits = np.array([[3, 9, -2, 9, 9]], np.int16)
    assert choose(logits, make_choice(1, 1.0, 1, 0.0, 5)) == oracle.greedy(logits) == 1


def test_draws_follow_the_weights():
    """About as often as softmax says, over a thousand draws."""
    logits = np.array([0, 1000, 2000, 500], np.int16)
    scale = 1 / 1000
    choice = make_choice(4, 1.0, 12345, scale, 4)
    counts = np.bincount([choose(logits, choice) for _ in range(4000)], minlength=4)
    wanted = np.exp(logits * scale) / np.exp(logits * scale).sum()
    np.testing.assert_allclose(counts / 4000, wanted, atol=0.03)


@pytest.mark.parametrize(
    "real", [1e-9, 0.001, 0.031, 0.5, 1.0, 31.9, 700.0, 16383.0, 16384.0, 40000.0, 1e9]
)
def test_scale_is_near(real):
    packed = pack_scale(real)
    multiplier, shift = packed % 65536, packed // 65536
    assert 0 <= multiplier <= 32767 and 1 <= shift <= 46
    if 2**-31 < real < 16383:
        assert abs(multiplier / 2**shift - real) <= real / 2**14


def steps(session, prompt, count, chooser, stop_ids=(), context=13):
    """Generate with the oracle: prefill as far as it goes, the rest step by step."""
    logits = session.run("prefill", {"ids": prompt[:6]})["logits"]
    for token in prompt[6:]:
        logits = session.run("step", {"ids": [token]})["logits"]
    made = []
    while len(made) < count:
        made.append(chooser(logits))
        if made[-1] in stop_ids or session.position >= context:
            break
        if len(made) < count:
            logits = session.run("step", {"ids": [made[-1]]})["logits"]
    return made


def chooser_of(top_k, temperature, seed):
    if top_k == 1:
        return oracle.greedy
    packed = pack_scale(32 / 1024 / temperature)
    return oracle.Chooser(top_k, packed % 65536, packed // 65536, seed).choose


@pytest.mark.parametrize("backend", ["host", "portable", "cs1", "cs2"])
@pytest.mark.parametrize(
    ("prompt", "count", "top_k", "temperature", "seed"),
    [
        (PROMPT, 6, 1, 1.0, 1),
        (PROMPT, 6, 8, 1.0, 1),
        (PROMPT, 9, 23, 2.5, 99),
        ([5], 4, 5, 0.3, 2**32 - 1),
        (PROMPT * 2, 3, 3, 1.0, 4),
        (PROMPT * 3 + [1], 5, 3, 1.0, 4),
    ],
)
def test_generation_equals_the_oracle(backend, prompt, count, top_k, temperature, seed):
    options = {"top_k": top_k, "temperature": temperature, "seed": seed}
    got = list(csc.generate(csc.load(BLOB), prompt, count, backend=backend, **options))
    chooser = chooser_of(top_k, temperature, seed)
    assert got == steps(oracle.Session(BLOB), prompt, count, chooser)


def test_seeds_differ_and_repeat():
    model = csc.load(BLOB)
    made = [tuple(csc.generate(model, PROMPT, 9, top_k=23, seed=seed)) for seed in range(1, 9)]
    assert len(set(made)) > 4
    assert made[2] == tuple(csc.generate(model, PROMPT, 9, top_k=23, seed=3))


def test_it_stops_behind_a_stop_id():
    whole = list(csc.generate(BLOB, PROMPT, 9, top_k=23, seed=6))
    stop = whole[3]
    short = list(csc.generate(BLOB, PROMPT, 9, top_k=23, seed=6, stop_ids=[stop, 22222]))
    assert short == whole[: whole.index(stop) + 1]


def test_it_ends_where_the_context_is_full():
    assert len(list(csc.generate(BLOB, PROMPT, 99))) == 13 - len(PROMPT) + 1
    assert len(list(csc.generate(BLOB, [1] * 13, 99))) == 1


def test_it_streams():
    """Nothing runs before a token is asked for, and then no more than that token needs."""
    model = csc.load(BLOB)
    seen = []
    session = model.session()
    run = session._run
    session._run = lambda step, fetch: (seen.append(step.entry.name), run(step, fetch))[1]
    model.session = lambda backend: session
    tokens = csc.generate(model, PROMPT, 3)
    assert seen == []
    next(tokens)
    assert seen == ["prefill"]
    next(tokens)
    assert seen == ["prefill", "step"]
    assert list(tokens) and seen == ["prefill", "step", "step"]


def test_no_tokens():
    assert list(csc.generate(BLOB, PROMPT, 0)) == []


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([], {}, "The prompt is empty"),
        ([1] * 14, {}, r"The prompt has 14 tokens, but the context of .* has 13"),
        ([1, 23], {}, r"The id at place 1 of the prompt is 23, but .* has ids 0 to 22"),
        ([-1], {}, "The id at place 0 of the prompt is -1"),
        ([1], {"max_new_tokens": -1}, "max_new_tokens must be at least 0"),
        ([1], {"top_k": 0}, "top_k must be 1 to 23"),
        ([1], {"top_k": 24}, "top_k must be 1 to 23"),
        ([1], {"temperature": 0}, "temperature must be above 0"),
        ([1], {"temperature": math.nan}, "temperature must be above 0"),
        ([1], {"seed": 0}, "seed must be 1 to 4294967295"),
        ([1], {"seed": 2**32}, "seed must be 1 to"),
    ],
)
def test_wrong_requests(prompt, options, message):
    with pytest.raises(csc.InputError, match=message) as caught:
        csc.generate(BLOB, prompt, **{"max_new_tokens": 3, **options})
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("blob", [tiny_encoder_blob()[0], cached_attention_blob(1, 4)[0]])
def test_models_that_generate_nothing(blob):
    with pytest.raises(csc.InputError, match="generates no text: it needs the entries"):
        csc.generate(blob, [1], 3)


def test_logits_without_a_scale_are_for_greedy_alone():
    blob = decoder_blob(scale=0.0)[0]
    assert list(csc.generate(blob, PROMPT, 4)) == list(csc.generate(BLOB, PROMPT, 4))
    with pytest.raises(csc.InputError, match="have no scale"):
        csc.generate(blob, PROMPT, 4, top_k=2)


def test_a_long_random_walk_of_the_generator():
    """The generator of C runs like plain numbers for a while: no state is lost."""
    logits = np.array(random.Random(3).choices(range(-99, 99), k=64), np.int16)
    choice, state = Choice(64, pack_scale(0.3), 1), 1
    for _ in range(500):
        token, state = naive_choice(logits.tolist(), 64, choice.requant, state)
        assert (choose(logits, choice), choice.random) == (token, state)


def cli(tmp_path, *arguments):
    path = tmp_path / "tiny.cscb"
    path.write_bytes(BLOB)
    return CliRunner().invoke(main, ["generate", str(path), *arguments])


def test_command(tmp_path):
    wanted = list(csc.generate(BLOB, PROMPT, 5, top_k=8, seed=3))
    options = ["--ids", "3,22, 0,7", "--max-new", "5", "--top-k", "8", "--seed", "3"]
    done = cli(tmp_path, *options)
    assert done.exit_code == 0
    assert [int(line) for line in done.output.split()] == wanted
    file = tmp_path / "made.json"
    cli(tmp_path, *options, "--json", str(file), "--stop", str(wanted[1]), "--backend", "cs1")
    end = wanted.index(wanted[1]) + 1
    assert json.loads(file.read_text()) == {"prompt": PROMPT, "ids": wanted[:end]}


def test_command_with_bad_ids(tmp_path):
    assert "whole numbers" in cli(tmp_path, "--ids", "1,x").output
    done = cli(tmp_path, "--ids", "99")
    assert done.exit_code == 2 and "csc: The id at place 0 of the prompt is 99" in done.output
