from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from synalign.errors import ModelError, UsageError
from synalign.models.transformer import DOWNLOAD, Transformer
from tests.models.conftest import HAS_TRANSFORMERS
from tests.models.toy import examples, inputs

GIVEN = examples(24, 0)


@pytest.mark.skipif(HAS_TRANSFORMERS, reason="transformers is installed")
def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(UsageError, match=r"pip install 'synalign\[transformers\]'"):
        Transformer("some-model").fit(GIVEN, 3, 0)


def test_each_setting_matters(tiny_bert: Path) -> None:
    later = inputs(np.arange(6) % 3, 9)
    first = {"least_steps": 4, "epochs": 1, "learning_rate": 1e-3}
    plain = Transformer(str(tiny_bert), **first).fit(GIVEN, 3, 0).predict_proba(later)
    for other in (
        {"epochs": 6}, {"least_steps": 9}, {"batch_size": 5}, {"learning_rate": 4e-3}, {"weight_decay": 50.0},
        {"max_length": 4},
    ):  # fmt: skip
        changed = Transformer(str(tiny_bert), **{**first, **other}).fit(GIVEN, 3, 0).predict_proba(later)
        assert np.abs(changed - plain).max() > 1e-6, other


def test_no_more_tokens_than_the_model_has_places_for(tiny_bert: Path) -> None:
    fitted = Transformer(str(tiny_bert), max_length=10_000, least_steps=1, epochs=1).fit(GIVEN, 3, 0)
    later = inputs(np.arange(2), 9)
    long = type(later)(later.vectors, ["parcel " * 500, ""])
    assert np.isfinite(fitted.predict_proba(long)).all()


def test_nothing_is_written_to_the_terminal(tiny_bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Transformer(str(tiny_bert), least_steps=1, epochs=1).fit(GIVEN, 3, 0)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_is_not_on_this_machine_is_not_downloaded(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.delenv(DOWNLOAD, raising=False)
    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(UsageError, match="nothing was downloaded") as caught:
        Transformer("no-such-organisation/no-such-model").fit(GIVEN, 3, 0)
    assert "https://huggingface.co/no-such-organisation/no-such-model" in str(caught.value)
    assert "download=True" in str(caught.value)
    assert f"{DOWNLOAD}=1" in str(caught.value)


def test_what_is_allowed_is_passed_on(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the setting nor the variable reaches the network here: the argument of the library is looked at."""
    import transformers

    seen = []
    load = transformers.AutoTokenizer.from_pretrained

    def look(*given: object, **settings: object) -> object:
        seen.append(settings["local_files_only"])
        return load(*given, **settings)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", look)
    monkeypatch.delenv(DOWNLOAD, raising=False)
    Transformer(str(tiny_bert), least_steps=1, epochs=1).fit(GIVEN, 3, 0)
    Transformer(str(tiny_bert), least_steps=1, epochs=1, download=True).fit(GIVEN, 3, 0)
    monkeypatch.setenv(DOWNLOAD, "1")
    Transformer(str(tiny_bert), least_steps=1, epochs=1).fit(GIVEN, 3, 0)
    assert seen == [True, False, False]


def test_a_folder_that_holds_no_model_is_named(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="save_pretrained"):
        Transformer(str(tmp_path)).fit(GIVEN, 3, 0)


def test_weights_that_are_damaged_or_of_another_model_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    damaged, other = tmp_path / "damaged", tmp_path / "other"
    for folder in (damaged, other):
        shutil.copytree(tiny_bert, folder)
    whole = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cannot be loaded"):
        Transformer(str(damaged)).fit(GIVEN, 3, 0)
    config = json.loads((other / "config.json").read_text())
    config |= {"model_type": "distilbert", "dim": 32, "n_heads": 2, "n_layers": 2, "hidden_dim": 64}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="most would be random numbers"):
        Transformer(str(other)).fit(GIVEN, 3, 0)


def test_the_pretrained_weights_are_used(tiny_bert: Path) -> None:
    """With next to no learning, what is said follows from the weights in the folder and the new head."""
    import torch
    from transformers import AutoModel

    fitted = Transformer(str(tiny_bert), least_steps=1, epochs=1, learning_rate=1e-9).fit(GIVEN, 3, 0)
    stored = AutoModel.from_pretrained(tiny_bert).embeddings
    found = fitted.model.bert.embeddings.word_embeddings.weight
    assert torch.allclose(found, stored.word_embeddings.weight, atol=1e-6)
