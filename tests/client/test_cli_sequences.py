"""`sightline predict` and `sightline follow`: text, tokens, lists, CSV files, lines."""

import json

import pytest

from sightline.v1 import sequence_pb2
from tests.support.counter import ABORTED, UNAVAILABLE


@pytest.fixture
def ask(run, target):
    def call(verb, *arguments, **options):
        return run(verb, *arguments, "--model", "counter", "--target", target, **options)

    return call


def test_a_text_is_printed_with_its_continuation(ask):
    result = ask("predict", "abc", "--max-steps", 4)

    assert (result.exit_code, result.stdout) == (0, "abcdefg\n")


def test_a_text_may_come_from_standard_input(ask):
    assert ask("predict", "-", input="xy").stdout == "xyz\n"


def test_tokens_are_continued(ask):
    assert ask("predict", "--tokens", "3, 4", "--max-steps", 2).stdout == "5 6 \n"


def test_numbers_are_printed_with_their_interval(ask):
    result = ask("predict", "--values", "1,2.5", "--max-steps", 2, "--interval", 0.5)

    assert result.stdout.split("\n")[:2] == [
        "   1  3.5 (2.5 to 4.5)",
        "   2  4.5 (2.5 to 6.5)",
    ]


def test_steps_are_printed_as_json(ask):
    result = ask("predict", "abc", "--json", "--alternatives", 1)

    step, end = map(json.loads, result.stdout.splitlines())
    assert step == {
        "text": "d",
        "token": 100,
        "log_probability": -0.5,
        "alternatives": [{"text": "a", "token": 97, "log_probability": 0}],
    }
    assert (end["finish_reason"], end["model"]["version"]) == ("stop", 4)
    assert end["timing"]["device"] == "cpu"


def test_options_reach_the_server(ask, counter):
    options = ["--temperature", 0.5, "--top-k", 3, "--top-p", 0.25, "--seed", 7, "--beams", 1]
    options += ["--stop", "x", "--stop", "y", "--exclude-stop"]
    ask("predict", "abc", *options, "--repetition-penalty", 2)

    (request,) = counter.requests
    sampling = request.options.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.5, 3, 0.25)
    assert (sampling.seed, sampling.beams, sampling.repetition_penalty) == (7, 1, 2)
    assert list(request.options.stop) == ["x", "y"]
    assert request.options.exclude_stop


CSV = "month,sunspots,area\n1749-01,1.5,10\n1749-02,2.5,20\n"


@pytest.mark.parametrize(
    ("content", "columns", "values", "series"),
    [
        (CSV, ["sunspots"], [1.5, 2.5], 1),
        (CSV, ["3"], [10, 20], 1),
        (CSV, ["area", "sunspots"], [10, 1.5, 20, 2.5], 2),
        (CSV, [], [1.5, 10, 2.5, 20], 2),
        ("1\n2\n\n3\n", [], [1, 2, 3], 1),
        ("7", [], [7], 1),
    ],
)
def test_columns_of_a_csv_file_are_continued(
    ask, counter, tmp_path, content, columns, values, series
):
    path = tmp_path / "series.csv"
    path.write_text(content)
    chosen = [part for name in columns for part in ("--column", name)]

    assert ask("predict", "--csv", path, *chosen).exit_code == 0
    history = counter.requests[0].history.values
    assert (list(history.values), history.series) == (values, series)


def test_a_csv_file_may_come_from_standard_input(ask, counter):
    ask("predict", "--csv", "-", "--column", "area", input=CSV)
    assert list(counter.requests[0].history.values.values) == [10, 20]


@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        ([], ""),
        (["abc", "--values", "1,2"], ""),
        (["--values", "1,two"], ""),
        (["--values", ","], ""),
        (["--tokens", "1.5"], ""),
        (["--csv", "absent.csv"], ""),
        (["--csv", "-"], ""),
        (["--csv", "-"], "name\nanna\n"),
        (["--csv", "-", "--column", "absent"], CSV),
        (["--csv", "-", "--column", "month"], CSV),
        (["--csv", "-", "--column", "2"], "a,b\n1,2\n3\n"),
        (["--csv", "-", "--column", "sunspots"], "sunspots\n"),
        (["abc", "--top-p", "0"], ""),
        (["abc", "--max-steps", "0"], ""),
    ],
)
def test_an_invalid_history_is_wrong_usage(ask, counter, arguments, content):
    result = ask("predict", *arguments, input=content)

    assert result.exit_code == 2
    assert not counter.requests


def test_a_broken_stream_is_one_sentence_after_the_printed_steps(ask, counter, target):
    counter.breaks.append((1, UNAVAILABLE))
    result = ask("predict", "a", "--max-steps", 4)

    assert (result.exit_code, result.stdout) == (1, "abc\n")
    assert result.stderr == f"sightline: {target}: as the script says\n"


def test_follow_answers_each_line(ask, counter):
    result = ask("follow", "--max-steps", 2, "--interval", 0.5, input="1\n2.5\n")

    assert result.stdout.splitlines() == [
        "2 (1 to 3) | 3 (1 to 5)",
        "4.5 (3.5 to 5.5) | 5.5 (3.5 to 7.5)",
    ]
    assert counter.requests[0].options.interval == 0.5


def test_follow_prints_the_prediction_for_samples_that_do_not_fill_a_frame(ask, counter):
    counter.last = sequence_pb2.FollowResponse(
        steps=[sequence_pb2.Step(values=[0.5])], observed_steps=2, padded_samples=3
    )
    assert ask("follow", input="1\n").stdout.splitlines()[1:] == ["0.5"]
    (_, last) = ask("follow", "--json", input="1\n").stdout.splitlines()
    assert json.loads(last)["padded_samples"] == 3


def test_several_numbers_on_a_line_are_one_step_of_several_series(ask, counter):
    ask("follow", input="1, 2; 3\n")
    assert counter.requests[0].observed.values.series == 3


def test_lines_may_be_text(ask, counter):
    ask("follow", "--text", input="to be\nor\n")
    assert [r.observed.text for r in counter.requests] == ["to be\n", "or\n"]


def test_predictions_are_printed_as_json(ask):
    result = ask("follow", "--json", input="1\n2\n")

    first, second = map(json.loads, result.stdout.splitlines())
    assert first["steps"] == [{"values": [2], "lower": [1], "upper": [3]}]
    assert (second["observed_steps"], second["model"]["name"]) == (2, "counter")


def test_follow_continues_when_the_server_has_lost_its_state(ask, counter):
    counter.breaks.append((1, ABORTED))
    assert ask("follow", input="1\n2\n").stdout.splitlines()[1].startswith("4 ")


def test_follow_can_end_when_the_state_is_lost(ask, counter):
    counter.breaks.append((1, ABORTED))
    result = ask("follow", "--no-resume", input="1\n2\n")

    assert result.exit_code == 1
    assert "send the history again" in result.stderr


def test_a_line_that_is_no_number_is_wrong_usage(ask):
    result = ask("follow", input="1\ntwo\n")

    assert result.exit_code == 2
    assert "line 2: 'two' is no number" in result.stderr
