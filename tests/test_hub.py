"""The Hub, played by functions that write down what they are asked for: there is no network."""

import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from sklearn.pipeline import Pipeline
from tiny_models import save_encoder

from lens_sklearn import (
    EmbeddingScaler,
    LinearRewardRegressor,
    LLMEmbedder,
    ResponseFeatures,
    ResponseViews,
    export,
    from_pretrained,
    model_card,
    push_to_hub,
)

TOKEN = "hf_neverShown"
ROWS = [
    {"prompt": word, "chosen": "a red dog" * (i + 1), "rejected": "so"}
    for i, word in enumerate(["the cat", "why", "how", "told"])
]


class Hub:
    """Keeps one repository as a folder, and what each call was given."""

    def __init__(self, folder):
        self.folder, self.calls, self.error = folder, [], None

    def create_repo(self, repo_id, **given):
        self.calls.append(("create_repo", repo_id, given))
        self.fail()
        self.folder.mkdir(exist_ok=True)
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, **given):
        self.calls.append(("upload_folder", given["repo_id"], given))
        (pattern,) = given["delete_patterns"]
        for path in self.folder.glob(pattern):
            path.unlink()
        for pattern in given["allow_patterns"]:
            for path in Path(given["folder_path"]).glob(pattern):
                shutil.copy(path, self.folder)

    def snapshot_download(self, repo_id, **given):
        self.calls.append(("snapshot_download", repo_id, given))
        self.fail()
        return str(self.folder)

    def fail(self):
        if self.error is not None:
            raise self.error


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = Hub(tmp_path / "repository")
    for name in ("create_repo", "upload_folder", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, getattr(hub, name))
    return hub


@pytest.fixture
def model(pairs):
    steps = [("scale", EmbeddingScaler()), ("reward", LinearRewardRegressor())]
    return Pipeline(steps).fit(pairs)


def test_there_and_back(hub, model, candidates):
    url = push_to_hub(model, "user/my-reward", token=TOKEN, revision="dev")
    assert url == "https://huggingface.co/user/my-reward"
    (_, repo, made), (_, to, sent) = hub.calls
    assert repo == to == "user/my-reward"
    assert made == {"token": TOKEN, "private": True, "exist_ok": True, "repo_type": "model"}
    assert sent["token"] == TOKEN and sent["revision"] == "dev" and sent["repo_type"] == "model"
    assert not Path(sent["folder_path"]).exists()
    names = sorted(path.name for path in hub.folder.iterdir())
    assert names[:2] == ["README.md", "pipeline.json"] and names[2].startswith("weights-")
    assert len(names) == 3
    assert not [path for path in hub.folder.iterdir() if TOKEN.encode() in path.read_bytes()]
    card = huggingface_hub.ModelCard.load(hub.folder / "README.md")
    assert 'from_pretrained("user/my-reward")' in card.text
    again = from_pretrained("user/my-reward", revision="dev", token=TOKEN)
    np.testing.assert_array_equal(again.predict(candidates[0]), model.predict(candidates[0]))
    name, repo, asked = hub.calls[-1]
    assert (name, repo, asked["revision"]) == ("snapshot_download", "user/my-reward", "dev")
    assert asked["token"] == TOKEN
    assert asked["allow_patterns"] == ["pipeline.json", "weights-*.safetensors", "README.md"]


def test_login_is_left_to_the_library(hub, model):
    push_to_hub(model, "user/my-reward", private=False)
    from_pretrained("user/my-reward")
    assert [given["token"] for _, _, given in hub.calls] == [None] * 3
    assert hub.calls[0][2]["private"] is False


def test_a_second_upload_replaces_the_weights(hub, model, pairs):
    push_to_hub(model, "user/my-reward")
    other = Pipeline(model.steps).fit(pairs[:30])
    push_to_hub(other, "user/my-reward", card=model_card(model, license="mit"))
    assert len(list(hub.folder.glob("weights-*"))) == 1
    assert "license: mit" in (hub.folder / "README.md").read_text(encoding="utf-8")
    again = from_pretrained("user/my-reward")
    np.testing.assert_array_equal(again.predict(pairs), other.predict(pairs))


def test_a_card_may_be_text(hub, model):
    push_to_hub(model, "user/my-reward", card="# Mine")
    assert (hub.folder / "README.md").read_text(encoding="utf-8") == "# Mine"


def test_a_folder_goes_first(hub, model, pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export.save(model, "user/my-reward")
    again = from_pretrained("user/my-reward")
    np.testing.assert_array_equal(again.predict(pairs), model.predict(pairs))
    from_pretrained(tmp_path / "user" / "my-reward")
    assert not hub.calls
    for given in ({"revision": "main"}, {"token": TOKEN}):
        with pytest.raises(ValueError, match="has no effect on the folder") as caught:
            from_pretrained("user/my-reward", **given)
        assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("views", [False, True])
def test_a_folder_of_this_machine_is_no_encoder_for_others(views, hub, tmp_path, monkeypatch):
    local = save_encoder(tmp_path / "user" / "encoder")
    monkeypatch.chdir(tmp_path)
    for name in (local, "user/encoder"):
        step = LLMEmbedder(name)
        if views:
            step = ResponseViews(step, ResponseFeatures())
        embedded = Pipeline([("embed", step), ("reward", LinearRewardRegressor())]).fit(ROWS)
        with pytest.raises(ValueError, match="LLMEmbedder has model_name=.* a folder of this mach"):
            push_to_hub(embedded, "user/my-reward")
    assert not hub.calls
    embedder = LLMEmbedder(local).fit(ROWS).set_params(model_name="else/encoder")
    push_to_hub(embedder, "user/my-reward", card="")
    assert from_pretrained("user/my-reward").model_name == "else/encoder"
    assert str(tmp_path) not in (hub.folder / "pipeline.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("repo", ["/home/me/model", "a/b/c", "~/x", "", "../x", 3, "a/b\n"])
def test_what_is_no_repository_is_refused(repo, hub, model, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # a folder of that name would be loaded
    for ask in (lambda: push_to_hub(model, repo), lambda: from_pretrained(repo)):
        with pytest.raises((ValueError, TypeError), match="name on the Hub|str"):
            ask()
    assert not hub.calls


@pytest.mark.parametrize("token", [TOKEN + "\n", "a b", "", True, "hf_ä"])
def test_a_token_that_cannot_be_sent_is_refused_unseen(token, hub, model):
    for ask in (
        lambda: push_to_hub(model, "user/my-reward", token=token),
        lambda: from_pretrained("user/my-reward", token=token),
    ):
        with pytest.raises(ValueError, match="token has to be a text without white") as caught:
            ask()
        assert TOKEN not in str(caught.value)
    assert not hub.calls


def test_errors_say_what_was_asked_and_no_token(hub, model):
    hub.error = RuntimeError(f"401: Bearer {TOKEN} is wrong")
    for ask, lead in (
        (lambda: push_to_hub(model, "user/my-reward", token=TOKEN), "did not take the model"),
        (lambda: from_pretrained("user/my-reward", token=TOKEN), "did not give the model"),
    ):
        with pytest.raises(OSError, match=f"^user/my-reward: the Hub {lead}") as caught:
            ask()
        assert "RuntimeError: 401: Bearer … is wrong" in str(caught.value)
        assert TOKEN not in str(caught.value) and caught.value.__suppress_context__
    hub.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        from_pretrained("user/my-reward")


def test_without_a_network_the_error_says_so():
    # tests run with HF_HUB_OFFLINE=1, and this is the library's own function
    with pytest.raises(OSError, match=r"user/none: the Hub did not give the model \(\w+: "):
        from_pretrained("user/none")


def test_what_is_no_model_is_no_model(hub):
    hub.folder.mkdir()
    with pytest.raises(FileNotFoundError, match="not a saved reward model"):
        from_pretrained("user/my-reward")
