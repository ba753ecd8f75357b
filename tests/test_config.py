"""The configuration: what is allowed, and what the message says of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from synalign.config import Config, RunConfig, dumps, load, override, parse
from synalign.errors import ConfigError


def test_a_configuration_survives_being_written_and_read(tmp_path: Path) -> None:
    given = {
        "seed": 5,
        "task": {"labels": {"0": "bad", "1": "gut 😀"}, "language": "German"},
        "select": {"budget": 9, "length_scale": 0.25},
        "llm": {"model": "m", "base_url": "http://localhost:1/v1", "redact": ["email"], "budget": "5 usd"},
        "prices": {"m": {"input": 0.1, "output": 2.0}},
        "reason": {"attributes": {"tone": "category", "length": "number"}, "values": {"tone": ["calm", "angry"]}},
        "accept": {"too_near": False, "copied": 0.5, "phrases": ["as an AI"]},
    }
    config = parse(Config, given, "test")
    path = tmp_path / "synalign.toml"
    path.write_text(dumps(config), encoding="utf-8")
    assert load(Config, path) == config


def test_label_meanings_may_have_bare_numbers_as_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[task]\nlabels = {0 = "negative", 1 = "positive"}\n')
    assert load(Config, path).task.labels == {"0": "negative", "1": "positive"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[selct]\n", "did you mean 'select'"),
        ("[select]\nbudgt = 3\n", "select.budgt: no such key; did you mean 'budget'"),
        ("[align]\nzzz = 3\n", "known here: bandwidths, by_label, device, duplicates, features, kernel, label_shares"),
        ("[select]\nbudget = 0\n", "select.budget"),
        ("[select]\nlength_scale = -1.0\n", "greater than 0"),
        ("[align]\nstrength = 0\n", "align.strength"),
        ("[align]\nfeatures = 7\n", "multiple of 2"),
        ("[embed]\nmodel = 'lsa'\n", "builtin/lsa"),
        ("seed = -1\n", "seed"),
        ("[llm]\nbudget = '5 euros'\n", "llm.budget: Value error, must be an amount and a unit"),
        ("[llm]\nredact = ['name']\n", "llm.redact.0: Input should be 'email', 'phone'"),
        ("[llm]\ninput_price = 1.0\n", "llm.input_price: no such key"),
        ("[prices.m]\ninput = 1.0\noutput = -1.0\n", "prices.m.output: Input should be greater than or equal to 0"),
        ("[prices.m]\ninput = 1.0\n", "prices.m.output: Field required"),
        ("[reason]\nattributes = {}\n", "reason.attributes"),
        ("[reason]\nattributes = {tone = 'colour'}\n", "reason.attributes.tone: Input should be 'category'"),
        ("[annotate]\nbatch = 0\n", "annotate.batch"),
        ("[generate]\nrefill = 3\n", "generate.refill: no such key; did you mean 'refills'"),
        ("[accept]\nnear_duplicat = false\n", "accept.near_duplicat: no such key; did you mean 'near_duplicate'"),
        ("[accept]\ncopied = 1.5\n", "accept.copied"),
        ("[accept]\ncopied = true\n", "accept.copied"),
        ("[accept]\nlength_slack = 0.5\n", "accept.length_slack"),
        ("[select\n", "not a valid TOML"),
    ],
)
def test_a_wrong_file_says_what_and_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Config, path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_wrong_key_of_a_source_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('workspace = "w"\n[[sources]]\npath = "a.csv"\nlable = "x"\n')
    with pytest.raises(ConfigError, match="did you mean 'label'"):
        load(RunConfig, path)


def test_a_missing_file_a_folder_and_bytes_that_are_no_text_are_config_errors(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'[task]\ndescription = "\xe9"\n')
    for path, message in [
        (tmp_path / "no.toml", "no configuration file"),
        (tmp_path, "is a folder"),
        (tmp_path / "latin.toml", "not a valid TOML"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load(Config, path)


def test_override_changes_only_what_is_given_and_checks_it() -> None:
    section = Config().select
    assert override(section, {"budget": None}) is section
    assert override(section, {"budget": 3}).budget == 3
    with pytest.raises(ConfigError, match="select is not valid"):
        override(section, {"unit": "word"})


def test_the_fixture_run_file_is_valid() -> None:
    plan = load(RunConfig, Path(__file__).resolve().parents[1] / "fixtures" / "demo.toml")
    assert len(plan.task.labels) == 5
