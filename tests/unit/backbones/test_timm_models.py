"""Models of timm as backbones: what timm says of them, and the maps of small random ones."""

import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
from data_cases import noise
from project_cases import ROOT
from safetensors.torch import save_file

from osad.backbones import get_backbone, module
from osad.backbones.hub import fetch
from osad.core.errors import ConfigError, DataError
from osad.core.files import read_tensors, sha256_file
from osad.data.manifest import Record, write_manifest
from osad.features.packs import Pack
from osad.pipeline import config
from osad.pipeline.grid import Grid
from osad.pipeline.steps.features import main as features_main

VIT, REGISTERS = "test_vit.r160_in1k", "test_vit2.r160_in1k"
DINO = "vit_small_patch14_reg4_dinov2.lvd142m"
CNNS = ("mobilenetv3_small_050", "regnetx_002")


def random_model(name: str, **options: Any) -> Any:
    """Return a model of timm with random weights and statistics, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, **options).eval()
        for key, tensor in model.state_dict().items():
            if key.endswith(("running_mean", "running_var", "norm.bias", "norm.weight")):
                tensor.uniform_(0.5, 1.5)
    return model


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A function that saves the weights of a random model and returns the path."""

    def save(name: str):
        path = folder / f"{name}.pth"
        if not path.is_file():
            torch.save(random_model(name).state_dict(), path)
        return path

    folder = tmp_path_factory.mktemp("weights")
    return save


def test_listed_backbones_do_not_import_timm():
    code = (
        "import sys; from osad.backbones import get_backbone; "
        "get_backbone('resnet18').check_size(225, [32]); assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", CNNS)
def test_networks_are_described_by_timm(name):
    backbone, cfg = get_backbone(name), timm.get_pretrained_cfg(name)
    data = timm.data.resolve_data_config(pretrained_cfg=cfg.to_dict())
    with torch.device("meta"):
        info: Any = timm.create_model(name, features_only=True).feature_info
    assert backbone.levels == dict(zip(info.reduction(), info.channels(), strict=True))
    assert (backbone.mean, backbone.std) == (data["mean"], data["std"])
    assert backbone.interpolation == data["interpolation"]
    assert backbone.image_size == data["input_size"][-1]
    assert backbone.licence == cfg.license
    assert backbone.source == f"https://huggingface.co/timm/{name}.{cfg.tag}"
    assert backbone.file == f"{name}.{cfg.tag}.safetensors"
    assert module(name) == "osad.backbones.timm_models"
    assert get_backbone(f"{name}.{cfg.tag}").file == backbone.file


@pytest.mark.parametrize("name", CNNS)
def test_maps_of_networks_with_levels(tmp_path, files, name):
    backbone, weights = get_backbone(name), tmp_path / "w.safetensors"
    backbone.obtain(weights, local=files(name))
    original = random_model(name, features_only=True, out_indices=(2, 4))
    original.load_state_dict(torch.load(files(name)), strict=False)
    backbone.check_size(70, [8, 32])
    with torch.inference_mode():
        maps = backbone.build(weights, strides=[8, 32])(images(70))
        expected = original(images(70))
    assert [m.shape[2:] for m in maps] == [(9, 9), (3, 3)]
    torch.testing.assert_close(list(maps), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "stride", "channels", "size"),
    [(VIT, 16, 64, 160), (VIT, 16, 64, 80), (REGISTERS, 16, 64, 96), (DINO, 14, 384, 70)],
)
def test_maps_of_transformers_are_their_patch_tokens(tmp_path, files, name, stride, channels, size):
    backbone, weights = get_backbone(name), tmp_path / "w.safetensors"
    assert backbone.levels == {stride: channels}
    backbone.check_size(size, [stride])
    backbone.obtain(weights, local=files(name))
    original, side = random_model(name, dynamic_img_size=True), size // stride
    with torch.inference_mode():
        (maps,) = backbone.build(weights, strides=[stride])(images(size))
        tokens = original.forward_features(images(size))
    extra = {VIT: 1, REGISTERS: 1, DINO: 5}[name]
    assert tokens.shape == (2, extra + side**2, channels)
    expected = tokens[:, extra:].transpose(1, 2).reshape(2, channels, side, side)
    torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-5)
    assert float(expected.std()) > 0.1


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        (DINO, 225, "choose 224 or 238, multiples of 14"),
        ("vit_so400m_patch14_siglip_384", 384, "choose 378 or 392, multiples of 14"),
        ("vgg11", 225, "choose 224 or 256, multiples of 32"),  # It rounds down.
        ("gmixer_12_224", 256, "choose 224$"),  # Its size is fixed.
        ("crossvit_small_240", 256, "choose another backbone"),
    ],
)
def test_sizes_that_a_network_does_not_take(name, size, message):
    backbone = get_backbone(name)
    with pytest.raises(ConfigError, match=rf"features\.image_size: {name} gives .* {message}"):
        backbone.check_size(size, list(backbone.levels))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_small_patch14_dino2", "such as vit_small_patch14_dinov2"),
        (f"{DINO}x", f"such as {DINO}"),  # The tag is wrong.
        ("resnet18.", "choose from tf_efficientnet_lite0, .* or the models of timm"),
        ("../resnet50", "is unknown"),
        ("hf-hub:timm/resnet50", "is unknown"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ConfigError, match=message):
        get_backbone(name)


def test_the_classifier_of_a_file_does_not_count(tmp_path, files):
    """Nor does it whether timm or the name chooses the weights: equal ones give equal files."""
    backbone, digests = get_backbone(VIT), set()
    state = torch.load(files(VIT))
    headless = {key: tensor for key, tensor in state.items() if not key.startswith("head.")}
    assert len(headless) == len(state) - 2
    for other in (state, headless, headless | {"head.weight": torch.ones(3, 64)}):
        save_file(other, tmp_path / "mine.safetensors")
        get_backbone("test_vit").obtain(tmp_path / "out", local=tmp_path / "mine.safetensors")
        digests.add(sha256_file(tmp_path / "out"))
        backbone.obtain(tmp_path / "out", local=tmp_path / "mine.safetensors")
        digests.add(sha256_file(tmp_path / "out"))
    assert len(digests) == 1
    assert read_tensors(tmp_path / "out").keys() == headless.keys()


def test_other_weights_are_refused(tmp_path, files):
    backbone, state = get_backbone(VIT), torch.load(files(VIT))
    cases = {
        "tensor norm.bias is missing": {k: v for k, v in state.items() if k != "norm.bias"},
        r"pos_embed has shape \(1, 5, 64\), expected \(1, 101, 64\)": state
        | {"pos_embed": torch.ones(1, 5, 64)},
        "tensor header.weight does not belong": state | {"header.weight": torch.ones(1)},
        r"give the weights of test_vit\.r160_in1k": torch.load(files(REGISTERS)),
    }
    for message, wrong in cases.items():
        torch.save(wrong, tmp_path / "w.pth")
        with pytest.raises(DataError, match=message):
            backbone.obtain(tmp_path / "out", local=tmp_path / "w.pth")
    assert not (tmp_path / "out").exists()


def test_download(tmp_path, server, files, monkeypatch):
    backbone = get_backbone(VIT)
    save_file(torch.load(files(VIT)), tmp_path / "hub.safetensors")
    server.script.content = (tmp_path / "hub.safetensors").read_bytes()
    backbone.obtain(tmp_path / "a")
    backbone.obtain(tmp_path / "b", local=files(VIT))
    path = f"/timm/{VIT}/resolve/main/model.safetensors"
    assert server.script.paths == [path, "/blob"]
    assert sha256_file(tmp_path / "a") == sha256_file(tmp_path / "b")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = rf"{VIT}: http://127\.0\.0\.1:9{path}.*no connection.*features\.weights_file"
    with pytest.raises(DataError, match=message):
        backbone.obtain(tmp_path / "c")
    with pytest.raises(DataError, match=r"names no repository .* features\.weights_file"):
        fetch(backbone, None, tmp_path / "c", repository="")


def test_parameters_and_paths_of_a_transformer(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        f"features: {{backbone: {DINO}, image_size: 224, strides: [14]}}\n"
        "grid: {methods: [mahalanobis, patchcore]}\n"
        "methods: {mahalanobis: {strides: [14]}, patchcore: {strides: [14]}}\nfigures: []\n"
    )
    grid = Grid(config.load(ROOT, tmp_path / "mine.yaml"), ROOT)
    assert grid.params.features.first.weights == f"data/weights/{DINO}.safetensors"
    assert grid.packs == (("elpv", "all", f"{DINO}-224", "plain"),)
    (tmp_path / "more.yaml").write_text("features: {image_size: 250}\n")
    with pytest.raises(ConfigError, match="choose 238 or 252"):
        config.load(ROOT, tmp_path / "mine.yaml", tmp_path / "more.yaml")
    (tmp_path / "more.yaml").write_text("features: {strides: [14, 16]}\n")
    with pytest.raises(ConfigError, match=f"{DINO} has no stride 16; choose from 14"):
        config.load(ROOT, tmp_path / "mine.yaml", tmp_path / "more.yaml")


def test_packs_do_not_depend_on_the_number_of_processes(tmp_path, monkeypatch, files):
    monkeypatch.chdir(tmp_path)
    records = []
    for number in range(18):
        noise(number, 32).save(f"{number:02}.png")
        digest = sha256_file(f"{number:02}.png")
        records.append(Record(f"{number:02}.png", 0, "good", "train", "", digest))
    write_manifest("m.csv", records)
    get_backbone(VIT).obtain(tmp_path / "w.safetensors", local=files(VIT))
    options = f"--pack plain --manifest m.csv --backbone {VIT} --weights w.safetensors --gpu 0"
    for threads in ("1", "2"):
        more = f"--image-size 48 --strides 16 --threads {threads} --output {threads}.safetensors"
        features_main([*options.split(), *more.split()])
    assert sha256_file("1.safetensors") == sha256_file("2.safetensors")
    pack = Pack.open("1.safetensors")
    assert (pack.info.backbone, pack.tensor("s16").shape) == (VIT, (18, 64, 3, 3))
    with pytest.raises(ConfigError, match="choose 48 or 64, multiples of 16"):
        features_main([*options.split(), *more.replace("48", "50").split()])
