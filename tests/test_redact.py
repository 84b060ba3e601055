"""Masking and finding personal data in JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.logs import Page, parse_line, parse_run, render
from archiver.redact import (
    MASK,
    NEEDED,
    has,
    mask_document,
    mask_fields,
    mask_page,
    mask_row,
    mentions,
    row_has,
    rule,
    spellings,
)
from tests.examples import examples

ORDER = {
    "email": "a@b.c",
    "customer": {"email": "a@b.c", "name": "Ayşe", "phones": ["1", "2"]},
    "orders": [{"id": 1, "address": {"city": "İzmir"}}, {"id": 2, "address": None}],
    "odd name": 1,
    "price": Decimal("1.10"),
}


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("email", {("email",), ("customer", "email")}),
        ("$.email", {("email",)}),
        ("$.customer.email", {("customer", "email")}),
        ("$.customer", {("customer",)}),
        ("$..city", {("orders", 0, "address", "city")}),
        ("$.orders[*].address", {("orders", 0, "address")}),
        ("$.orders[0].id", {("orders", 0, "id")}),
        ("$.orders[7].id", set()),
        ("$.customer.phones[1]", {("customer", "phones", 1)}),
        ("$.customer.*", {("customer", "email"), ("customer", "name"), ("customer", "phones")}),
        ("$['odd name']", {("odd name",)}),
        ('$["customer"].name', {("customer", "name")}),
        ("price", {("price",)}),
        ("nothing", set()),
    ],
)
def test_a_rule_masks_what_it_names_and_nothing_else(text: str, gone: set[tuple[Any, ...]]) -> None:
    masked = mask_row(ORDER, (text,))
    assert set(differences(ORDER, masked)) == gone
    assert all(at(masked, place) == MASK for place in gone)


def differences(one: Any, other: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if type(one) is type(other) and isinstance(one, dict):
        assert one.keys() == other.keys()
        return [found for key in one for found in differences(one[key], other[key], (*place, key))]
    if type(one) is type(other) and isinstance(one, list):
        assert len(one) == len(other)
        return [found for key in range(len(one)) for found in differences(one[key], other[key], (*place, key))]
    return [] if one == other else [place]


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


@pytest.mark.parametrize(
    "text", ["$", "a.b", "$.a[", "$a", "*", "a[0]", "$.a[x]", "..a", "$.", "$..", "id", "$.id", "sub_flows", "$.state"]
)
def test_what_is_no_rule_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|name"):
        rule(text)


def test_what_the_archiver_needs_stays_also_in_sub_flows() -> None:
    row = {"id": 1, "created": "0", "state": 3, "triggered_by": "a@b.c", "x": {"id": 9}}
    row |= {"sub_flows": [{"id": 2, "state": 3, "triggered_by": "a@b.c"}, 7]}
    masked = mask_row(row, ("$..id", "triggered_by", "$.*"))
    assert masked["id"] == 1
    assert masked["state"] == 3
    assert masked["triggered_by"] == MASK
    assert masked["x"] == MASK
    assert parse_run(masked).log_id == 1
    masked = mask_row(row, ("triggered_by", "$..id"))
    assert masked["sub_flows"] == [{"id": 2, "state": 3, "triggered_by": MASK}, 7]
    assert masked["x"] == {"id": MASK}


@pytest.mark.parametrize("text", ["$.*", "$..*", "$..sub_flows", "$.sub_flows[*]", "$.sub_flows.*"])
def test_no_rule_takes_the_sub_flows_themselves(text: str) -> None:
    """Without them nobody would know that one failed, and that its file is wanted."""
    steps = [{"id": 2, "status": 3, "triggered_by": "a@b.c"}, "odd"]
    row = {"id": 1, "created": "0", "state": 3, "sub_flows": steps}
    masked = mask_row(row, (text,))
    assert masked["sub_flows"][0] == {"id": 2, "status": 3, "triggered_by": MASK}
    assert masked["sub_flows"][1] in (MASK, "odd")
    assert [step.log_id for step in parse_run(mask_row(row | {"sub_flows": steps[:1]}, (text,))).steps] == [2]
    assert mask_row(row | {"sub_flows": "none"}, ("$.*",))["sub_flows"] == MASK


def values_of(value: Any, field: str) -> list[Any]:
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [value[field]] if isinstance(value, dict) and field in value else []
    return own + [found for item in items for found in values_of(item, field)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"abc", *NEEDED]), inner, max_size=4),
    max_leaves=12,
)
rows = st.dictionaries(st.sampled_from([*"abc", *NEEDED]), json_values, max_size=6)


@settings(max_examples=examples(), suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(rows, st.lists(st.sampled_from(["a", "$.b", "$..c", "$.a.*", "$.sub_flows[*].a", "$..*"]), max_size=3))
def test_masking_is_once_and_for_all_and_keeps_the_shape(row: dict[str, Any], texts: list[str]) -> None:
    masked = mask_row(row, tuple(texts))
    assert mask_row(masked, tuple(texts)) == masked
    assert masked.keys() == row.keys()
    assert all(masked[name] == row[name] for name in NEEDED - {"sub_flows"} if name in row)
    if "a" in texts:
        free = {key: masked[key] for key in masked.keys() - NEEDED}
        assert all(found in (MASK, None) for found in values_of(free, "a"))
    assert render(parse_line(masked)) == masked


@settings(max_examples=examples(), suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(rows)
def test_without_rules_nothing_changes(row: dict[str, Any]) -> None:
    assert mask_row(row, ()) is row
    page = Page([row], 1, 1)
    assert mask_page(page, ()) is page


def test_a_document_keeps_the_digits_of_its_numbers() -> None:
    text, hits = mask_document(
        '{"price": 1.10, "big": 123456789012345678901234567890, "a": [{"mail": "x"}]}', ("mail",)
    )
    assert text == '{"a":[{"mail":"[redacted]"}],"big":123456789012345678901234567890,"price":1.10}'
    assert hits == {"mail": 1}


@pytest.mark.parametrize(
    ("value", "word", "found"),
    [
        ({"k": "7"}, "7", True),
        ({"k": 7}, "7", True),
        ({"k": 7.0}, "7", True),
        ({"k": True}, "true", True),
        ({"k": 1}, "true", False),
        ({"k": True}, "1", False),
        ({"k": ["x", "y"]}, "y", True),
        ({"a": [{"k": "y"}]}, "y", True),
        ({"other": "y"}, "y", False),
        ({"k": None}, "null", False),
        ({"k": {"k": 'it\'s "q"'}}, 'it\'s "q"', True),
        ([], "y", False),
    ],
)
def test_a_persons_value_is_found_as_text_number_or_boolean(value: Any, word: str, found: bool) -> None:
    assert has(value, "k", spellings(word)) is found


def test_bytes_that_are_no_json_may_mention_it() -> None:
    assert mentions("… Ayşe …".encode(), "Ayşe")
    assert mentions(rb"{broken: \"Ay\u015fe\"", "Ayşe")
    assert not mentions(b"nobody", "Ayşe")


def test_nothing_to_mask_leaves_the_page_itself() -> None:
    page = Page([{"sku": "x"}], 1, None, None)
    assert mask_page(page, ()) is page
    assert mask_page(page, ("sku",)) == Page([{"sku": MASK}], 1, None, None)


def test_a_value_may_stand_in_lists_of_lists() -> None:
    assert has({"a": [{"sku": [["x"], 1]}]}, "sku", ["x"])
    assert not has({"a": [{"sku": [["y"], 1]}]}, "sku", ["x"])
    assert not has("x", "sku", ["x"])
    assert not row_has({"sub_flows": [{"sku": "x"}]}, "sku", ["x"])
    assert row_has({"sku": "x"}, "sku", ["x"])


def test_fields_are_masked_by_their_very_names() -> None:
    row = {"id": 1, "customer.email": "a", "$.x[": [{"customer.email": "b", "customer": {"email": "c"}}]}
    masked = {"id": 1, "customer.email": MASK, "$.x[": [{"customer.email": MASK, "customer": {"email": "c"}}]}
    assert mask_fields(row, ["customer.email", "id"]) == masked
    assert mask_fields(row, []) is row
