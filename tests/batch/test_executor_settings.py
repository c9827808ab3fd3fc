"""What executors can be asked for: each declares it, and all that is wrong is said before any work."""

from __future__ import annotations

import pytest

from trojai_seam.batch.executors import EXECUTORS
from trojai_seam.batch.executors.kinds import settings_of
from trojai_seam.batch.options import EXECUTOR_OPTIONS, Options, executor_for
from trojai_seam.errors import ConfigProblem, UsageProblem


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({}, "serial"),
        ({"workers": 1}, "serial"),
        ({"workers": 2}, "pool"),
        ({"prefetch": 1}, "pool"),
        ({"time_limit": 9.0}, "pool"),
        ({"executor_options": {"memory_limit": "2097152"}}, "pool"),
        ({"ray_address": "auto", "workers": 3}, "ray"),
    ],
)
def test_auto_is_the_first_that_can_do_what_is_asked(asked, name):
    assert executor_for(Options(**asked))[0] == name


def test_several_devices_need_processes():
    assert executor_for(Options(), devices=2)[0] == "pool"
    with pytest.raises(UsageProblem, match="is one worker on one device; use --executor pool"):
        executor_for(Options(executor="serial"), devices=2)


def test_all_that_is_wrong_is_said_at_once():
    wrong = {"workers": 0, "prefetch": 7, "time_limit": -1.0, "memory_limit": 5, "ray_address": "here:1"}
    with pytest.raises(ConfigProblem) as found:
        Options(executor="pool", executor_options={"wokers": "3"}, **wrong)
    assert {finding.split(":")[0] for finding in found.value.findings} == {*wrong, "wokers"}
    assert "ray_address: no such option; --executor ray has it" in str(found.value)
    assert "wokers: no such option; did you mean workers?" in str(found.value)


def test_serial_has_no_limits_and_one_worker():
    with pytest.raises(ConfigProblem, match=r"workers: .*time_limit: no such option; --executor pool, ray has it"):
        Options(executor="serial", workers=2, time_limit=3.0)


def test_options_may_come_as_texts():
    settings = executor_for(Options(executor_options={"workers": "4", "time_limit": "none"}))[1]
    assert settings == settings_of("pool", {"workers": 4})
    assert settings.per_device(2) == 2
    with pytest.raises(UsageProblem, match="cannot be shared evenly among 3 devices"):
        settings.per_device(3)


def test_every_option_of_the_command_line_is_a_setting_of_some_executor():
    known = {name for executor in EXECUTORS for name in EXECUTORS.get(executor).settings.model_fields}
    assert set(EXECUTOR_OPTIONS) <= known


def test_who_can_do_what_an_executor_cannot_is_named():
    with pytest.raises(ConfigProblem, match=r"workers: '?4'? should be less than or equal to 1; use --executor pool$"):
        Options(executor="serial", workers=4)
    with pytest.raises(ConfigProblem, match=r"greater than or equal to 1$"):
        Options(executor="serial", workers=0)


def test_amounts_are_read_as_on_the_command_line():
    asked = Options(executor_options={"memory_limit": "4GiB", "time_limit": "30m"})
    assert executor_for(asked)[1] == settings_of("pool", {"memory_limit": 4 << 30, "time_limit": 1800})
    with pytest.raises(ConfigProblem, match="memory_limit: '4G': want a whole number of bytes"):
        Options(executor_options={"memory_limit": "4G"})
    with pytest.raises(ConfigProblem, match="time_limit: 'soon': expected seconds, or 15m, 2h"):
        Options(executor_options={"time_limit": "soon"})


def test_two_numbers_of_workers_are_told_with_all_else():
    with pytest.raises(ConfigProblem) as found:
        Options(executor="pool", workers=2, workers_per_gpu=2, prefetch=9)
    assert [finding.split(":")[0] for finding in found.value.findings] == ["workers_per_gpu", "prefetch"]
    assert "workers is given too; expected only one of them;" in str(found.value)
