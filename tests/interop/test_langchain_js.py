"""LangChain manifests in JavaScript: npm's library makes the very messages that the one in Python makes."""

import json
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from optimizer.completion import Constraint

Rendered = Callable[..., Any]


@pytest.fixture(scope="module")
def exports(prompts_of: Callable[[str], ModuleType]) -> ModuleType:
    return prompts_of("test_langchain_exports")


def test_the_library_makes_the_very_messages(exports: ModuleType, rendered: Rendered) -> None:
    rng = random.Random(5)
    prompts = [(frozen, exports.written(frozen)) for frozen in (exports.a_prompt(rng) for _ in range(500))]
    cases = [
        (frozen, text, [each for each in exports.filled(frozen, rng) if exports.holds(frozen, each)])
        for frozen, text in prompts
        if text is not None
    ]
    assert len(cases) >= 300
    found = rendered("@langchain/core", "langchain.mjs", [(text, fillings) for _, text, fillings in cases])
    for (frozen, text, fillings), each in zip(cases, found, strict=True):
        assert each.get("messages") == [frozen.messages(**inputs) for inputs in fillings], (text, each)
        assert each["metadata"]["optimizer"]["fingerprint"] == frozen.fingerprint
        assert each["metadata"]["optimizer"]["model"] == frozen.model


def test_every_name_that_is_written_is_one_there_too(exports: ModuleType, rendered: Rendered) -> None:
    frozen = [exports.frozen_of(exports.message("user", "x", exports.hole(name))) for name in exports.NAMES]
    data = [(exports.written(each), [{each.inputs[0]: "{v}"}]) for each in frozen]
    for each, found in zip(frozen, rendered("@langchain/core", "langchain.mjs", data), strict=True):
        assert found.get("messages") == [each.messages(**{each.inputs[0]: "{v}"})], (each.inputs, found)


def test_parameters_and_schema_reach_whoever_loads_the_file(exports: ModuleType, rendered: Rendered) -> None:
    schemas = [exports.SCHEMA, exports.DEEP]
    frozen = [
        exports.frozen_of(
            exports.message("user", "Go"),
            parameters=(("max_tokens", 16), ("temperature", 1e-7)),
            constraint=Constraint(json_schema=schema),
        )
        for schema in schemas
    ]
    found = rendered("@langchain/core", "langchain.mjs", [(exports.written(each), [{}]) for each in frozen])
    for each, schema in zip(found, schemas, strict=True):
        assert each.get("messages") == [[{"role": "user", "content": "Go"}]], each
        assert each["metadata"]["response_format"]["json_schema"]["schema"] == json.loads(schema)
        assert each["metadata"]["parameters"] == {"temperature": 1e-7, "extra_body": {"max_tokens": 16}}
