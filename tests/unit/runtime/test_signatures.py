"""Signatures of rules' functions are looked up once."""

from __future__ import annotations

import inspect

from snakemake import common, rules

from osad.runtime.signatures import remember_signatures


def test_signatures_are_looked_up_once_and_are_the_same(monkeypatch):
    original = inspect.signature
    calls = []
    for module in (common, rules):
        plain = getattr(module.get_function_params, "__wrapped__", module.get_function_params)
        monkeypatch.setattr(module, "get_function_params", plain)
    monkeypatch.setattr(inspect, "signature", lambda f: calls.append(f) or original(f))
    remember_signatures()
    remember_signatures()

    def reads(wildcards, input, threads):
        return [wildcards, input, threads]

    for look_up in (common.get_function_params, rules.get_function_params) * 3:
        assert list(look_up(reads)) == ["wildcards", "input", "threads"]
    assert calls == [reads]
    assert list(rules.get_function_params(lambda w: w)) == ["w"]
    assert len(calls) == 2


def test_a_function_may_name_its_own_parameters(monkeypatch):
    plain = getattr(common.get_function_params, "__wrapped__", common.get_function_params)
    for module in (common, rules):
        monkeypatch.setattr(module, "get_function_params", plain)
    remember_signatures()

    def any_arguments(*arguments):
        return arguments

    common.overwrite_function_params(any_arguments, ["wildcards", "attempt"])
    assert rules.get_function_params(any_arguments) == ["wildcards", "attempt"]
