"""From the text of an experiment file to the experiment, or to one sentence why not."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel

from ..errors import ConfigError, PullbackError, nearest
from .sections import Experiment
from .tables import TABLES, Section, Table, built

_MOST_TEXT = 1 << 22


def read(path: Path | None, settings: Iterable[str] = ()) -> Experiment:
    """Read an experiment file, or the defaults if there is none, and put the settings over it.

    A setting has the form ``key=value``.

    Raises:
        ConfigError: the file is missing or not TOML; a key is unknown; a value does not fit.
    """
    table = {} if path is None else _parse_file(Path(path))
    for setting in settings:
        _override(table, setting)
    experiment = parse(table, "the settings" if path is None else str(path))
    return experiment


def parse(table: Mapping[str, Any], where: str) -> Experiment:
    """Turn a table into an experiment, and try to build what can be built without data.

    Raises:
        ConfigError: as `read`.
    """
    try:
        experiment = Experiment.model_validate(_with_tuples(table))
    except pydantic.ValidationError as error:
        raise _explain(error, table, where) from None
    except RecursionError:
        raise ConfigError("the experiment is nested too deeply", where=where) from None
    try:
        experiment.data_spec()
        experiment.chosen()
        experiment.network.build(1)
        built((experiment.loss, experiment.rule, *experiment.penalty, *experiment.augment))
        if experiment.peers is not None:
            experiment.peers.build()
    except PullbackError as error:
        raise error.at(where) from None
    return experiment


def _with_tuples(value: Any) -> Any:
    """Lists as tuples, which strict fields want and which cannot change."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(each) for key, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _parse_file(path: Path) -> dict[str, Any]:
    try:
        return decode(path.read_text("utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no experiment file '{path}'", next="`pullback init` writes one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the experiment file '{path}' cannot be read: {error}") from None


def decode(text: str, where: str) -> dict[str, Any]:
    """Read the text of an experiment file as a table, which `parse` takes.

    Raises:
        ConfigError: it is not TOML, or none that any experiment needs: larger than 4 MiB, or
            nested too deeply.
    """
    if len(text) > _MOST_TEXT:
        raise ConfigError(f"{len(text):,} characters, {_MOST_TEXT:,} at most", where=where)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError("the experiment file is nested too deeply", where=where) from None
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of 5,000 digits
        raise ConfigError(f"the experiment file is not TOML: {error}", where=where) from None


def _override(table: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(
            f"a setting has the form key=value, got '{setting}'",
            next="such as -s rule.learning_rate=0.1",
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if not re.fullmatch(r"[\w./~-]+", text.strip()):
            raise ConfigError(
                f"'{text}' is not a TOML value",
                where=f"the setting '{key}'",
                next="quote strings, as in -s 'name=\"my run\"'",
            ) from None
        value = text.strip()
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if isinstance(inner, str):
            inner = table[part] = {"name": inner}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"'{part}' is not a table",
                where=f"the setting '{setting}'",
                next=f"set all of {part} at once",
            )
        table = inner
    table[path[-1]] = value


def _explain(error: pydantic.ValidationError, table: Mapping[str, Any], where: str) -> ConfigError:
    """Turn the first fault that pydantic found into one sentence."""
    # An unknown key explains itself best, whatever else is wrong.
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    place, model = _place(fault["loc"], table)
    kind, got, context = fault["type"], fault.get("input"), fault.get("ctx", {})
    if kind == "extra_forbidden":
        known = [key for key in model.model_fields if key != "name" or issubclass(model, Table)]
        return ConfigError(
            f"unknown key '{place}'", where=where, next=nearest(str(fault["loc"][-1]), known)
        )
    if kind == "union_tag_invalid":
        known = re.findall(r"'([^']+)'", context["expected_tags"])
        return ConfigError(
            f"unknown name '{context['tag']}' for {place}",
            where=where,
            next=nearest(context["tag"], known),
        )
    if kind == "literal_error" and fault["loc"][-1] == "name":
        known = re.findall(r"'([^']+)'", context["expected"])
        return ConfigError(
            f"unknown name '{got}' for {place}", where=where, next=nearest(str(got), known)
        )
    if kind == "union_tag_not_found":
        return ConfigError(f"{place} has no name", where=where, next=f"set {place}.name")
    if kind == "missing":
        return ConfigError(f"the key '{place}' is missing", where=where, next="give it a value")
    # A field of several types has a fault for each of them: all are told, or the innermost one.
    rivals = [each for each in faults if _place(each["loc"], table)[0].startswith(place)]
    if len(rivals) > 1 and place:
        deepest = max(len(each["loc"]) for each in rivals)
        rivals = [each for each in rivals if len(each["loc"]) == deepest]
        place, got = _place(rivals[0]["loc"], table)[0], rivals[0]["input"]
    reason = " or ".join(map(_reason, rivals)).replace(" or should", " or")
    if kind == "value_error" and not place:
        return ConfigError(reason, where=where)
    got_text = "" if kind == "value_error" else f", got {got!r}"
    return ConfigError(f"{place or 'the experiment'}: {reason}{got_text}", where=where)


def _reason(fault: Any) -> str:
    text = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    text = text.replace("a valid tuple", "a list").replace("Tuple", "List")
    return re.sub("^(String|List) should", "should", text)


def _place(loc: tuple[int | str, ...], table: Any) -> tuple[str, type[BaseModel]]:
    """Write a place as in ``network.layers[0].width``, and find the model in force there."""
    place, model, entered = "", Experiment, False
    for part in loc:
        is_key = isinstance(table, dict) and part in table
        # The name of a table comes once, where it is entered; after it the same word is a key.
        is_name = not entered and isinstance(table, dict) and table.get("name") == part
        if isinstance(part, str) and part in TABLES and (is_name or not is_key):
            model, entered = TABLES[part], True
            continue
        entered = False
        if isinstance(part, str) and re.match(
            r"(int|float|number|schedule|range|choices)$|(tuple|literal)\[", part
        ):
            continue  # one of the types that the value of a field may have
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
        table = _inside(table, part)
        field = model.model_fields.get(part) if isinstance(part, str) else None
        section = None if field is None else _section_in(field.annotation)
        if section is not None:
            model = section
        elif isinstance(table, dict) and table.get("name") in TABLES:
            model = TABLES[table["name"]]
    return place, model


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that a field holds, if it holds one, or may hold none."""
    kinds = [kind for kind in typing.get_args(annotation) or [annotation] if kind is not type(None)]
    found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
    return found[0] if len(kinds) == len(found) == 1 and not issubclass(found[0], Table) else None


def _inside(table: Any, part: int | str) -> Any:
    """What a table or a list holds at this key or index; None if it holds nothing there."""
    if isinstance(table, dict):
        return table.get(part)
    if isinstance(table, list) and isinstance(part, int) and part < len(table):
        return table[part]
    return None


def schema() -> dict[str, Any]:
    """The JSON Schema of an experiment file, for editors."""
    return Experiment.model_json_schema()
