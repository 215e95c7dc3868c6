"""The states of jobs upstream: every spelling, in every place where it is told."""

from typing import Any

import pytest

from gateway_client.job_states import SPELLINGS, JobState, job_progress, job_state, state_of

WORDS = [(word, state) for state, words in SPELLINGS.items() for word in words.split()]


@pytest.mark.parametrize(("word", "state"), WORDS)
def test_a_word_in_all_its_cases(word: str, state: JobState) -> None:
    spelled = [
        word,
        word.upper(),
        word.title(),
        word.replace("_", "-"),
        word.replace("_", " "),
        word.replace("_", ""),
        f" {word} ",
    ]
    assert {state_of(each) for each in spelled} == {state}
    assert state.is_over == (state not in (JobState.WAITING, JobState.RUNNING))


@pytest.mark.parametrize("word", ["unknown", "UNKNOWN", "", "perhaps", "完成", None, 1, True, [], {}])
def test_what_is_no_answer_is_asked_again(word: Any) -> None:
    assert state_of(word) is JobState.UNCLEAR
    assert not JobState.UNCLEAR.is_over


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"status": "completed"}, JobState.SUCCEEDED),
        ({"state": "success"}, JobState.SUCCEEDED),
        ({"task_status": "succeed"}, JobState.SUCCEEDED),
        ({"output": {"task_status": "RUNNING"}}, JobState.RUNNING),
        ({"output": "https://cdn.test/v.mp4", "status": "succeeded"}, JobState.SUCCEEDED),
        ({"data": {"status": "FAILURE", "fail_reason": "no"}}, JobState.FAILED),
        ({"data": {"task_status": "processing"}}, JobState.RUNNING),
        ({"task": {"status": "expired"}}, JobState.STOPPED),
        ({"code": "success", "data": {"status": "IN_PROGRESS"}}, JobState.RUNNING),
        ({"status": "success", "data": {"status": "NOT_START"}}, JobState.WAITING),
        ({"code": "success", "data": {"progress": "10%"}}, JobState.UNCLEAR),
        ({"status": 200}, JobState.UNCLEAR),
        ({}, JobState.UNCLEAR),
        (None, JobState.UNCLEAR),
        ([], JobState.UNCLEAR),
    ],
)
def test_where_a_state_is_told(body: Any, state: JobState) -> None:
    assert job_state(body) is state


@pytest.mark.parametrize(
    ("told", "percent"),
    [
        *((0, 0), (45, 45), (100, 100), (0.45, 45), (1, 1), ("45", 45), ("45%", 45), (" 45.5 % ", 45), ("100%", 100)),
        *((-1, None), (101, None), ("soon", None), ("²", None), (True, None), (None, None), ("", None)),
    ],
)
def test_progress(told: Any, percent: int | None) -> None:
    assert job_progress({"progress": told}) == percent
    assert job_progress({"data": {"progress": told}}) == percent


def test_no_progress() -> None:
    assert [job_progress(body) for body in ({}, None, [])] == [None] * 3
