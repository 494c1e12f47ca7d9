"""The network: backbones of every family, start weights, mirror images, patches, and small convolutions."""

import socket

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from training_data import make_config

from deepfake_detector.bundled_models import RELEASED_DETECTOR, SHA256, bundled_model
from deepfake_detector.files import file_sha256
from deepfake_detector.training import small_map_conv
from deepfake_detector.training.checkpoint import save_detector
from deepfake_detector.training.losses import ClassifierWithLoss
from deepfake_detector.training.model import ModelError, create_model
from deepfake_detector.training.small_map_conv import SmallMapConv, use_small_map_convs

BACKBONES = [
    "resnet10t", "mobilenetv2_050", "efficientnet_b0", "densenet121", "convnext_atto", "regnetx_002", "vgg11_bn",
    "vit_tiny_patch16_224", "vit_tiny_patch16_224.augreg_in21k", "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224", "levit_128s", "mixer_s32_224", "mobilevit_xxs", "hrnet_w18_small",
    "xcit_nano_12_p16_224", "pit_ti_224", "maxvit_rmlp_pico_rw_256",
]  # fmt: skip


def random_crops(count, size):
    return torch.randint(0, 255, (count, 3, size, size), dtype=torch.uint8)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbone_trains_or_is_refused_in_one_sentence(backbone):
    try:
        model = create_model(backbone, size=96, patch_head=True)
    except ModelError as error:
        assert backbone in str(error) and "\n" not in str(error)
        return
    loss, _ = ClassifierWithLoss(model.train(), 0.5, 1.0)(
        random_crops(4, 96), torch.tensor([1.0, 0.0] * 2), torch.ones(4, dtype=torch.bool)
    )
    loss.backward()
    with torch.no_grad():
        assert model.eval()(random_crops(2, 96)).shape == (2,)


@pytest.mark.parametrize("backbone", ["resnet10t", "mobilenetv2_050", "vit_tiny_patch16_224"])
def test_new_network_is_sure_of_nothing(backbone):
    with torch.no_grad():
        assert create_model(backbone, size=224)(random_crops(2, 224)).abs().max() < 1


@pytest.mark.parametrize("patch_head", [False, True])
def test_face_and_its_mirror_image_have_the_same_logit(patch_head):
    model = create_model("resnet10t", patch_head=patch_head).eval()
    crops = random_crops(3, 64)
    torch.testing.assert_close(model(crops), model(crops.flip(3)))
    assert not torch.allclose(model.forward_features(crops)[0], model.forward_features(crops.flip(3))[0])


def test_logit_of_a_face_includes_the_mean_of_its_patches():
    model = create_model("resnet10t", patch_head=True).eval()
    crops = random_crops(3, 64)
    before, patches, _ = model.forward_features(crops)
    assert patches.shape == (3, 1, 4, 4)
    model.patch_head.bias.data += 1
    torch.testing.assert_close(model.forward_features(crops)[0], before + 1)


def test_unknown_backbone_names_near_ones():
    with pytest.raises(ModelError, match="resnet18"):
        create_model("resnet1")


def save_backbone(path):
    state = create_model("resnet10t").backbone.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def test_backbone_starts_from_a_weights_file_of_any_head(tmp_path):
    save_backbone(tmp_path / "w.safetensors")
    started = create_model("resnet10t", str(tmp_path / "w.safetensors")).backbone.state_dict()
    read = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(started[name], read[name]) for name in read if not name.startswith("fc."))


def test_weights_of_another_backbone_are_refused(tmp_path):
    save_backbone(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"model\.weights"):
        create_model("resnet18", str(tmp_path / "w.safetensors"))


def test_imagenet_out_of_reach_is_an_error_that_says_what_to_do(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("deepfake_detector.training.model.hf_hub_download", unreachable)
    with pytest.raises(ModelError, match=r"cannot be fetched.*\.safetensors"):
        create_model("resnet34", "imagenet")


def test_imagenet_weights_of_the_hub_are_those_whose_hash_the_hub_states(tmp_path, monkeypatch):
    repository = tmp_path / "models--timm--resnet10t.c3_in1k"
    for folder in ("refs", "blobs", "snapshots/v1"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs/main").write_text("v1")
    weights = timm.create_model("resnet10t").state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    blob = (tmp_path / "w.safetensors").rename(repository / "blobs" / file_sha256(tmp_path / "w.safetensors"))
    (repository / "snapshots/v1/model.safetensors").symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    network = create_model("resnet10t", "imagenet")
    assert torch.equal(network.backbone.layer1[0].conv1.weight, weights["layer1.0.conv1.weight"])
    blob.write_bytes(blob.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ModelError, match="is damaged: its SHA-256 is"):
        create_model("resnet10t", "imagenet")
    with pytest.raises(ModelError, match="the hub has none"):
        create_model("gcvit_xxtiny", "imagenet")


@pytest.mark.parametrize(("stride", "side"), [(1, 3), (2, 8), (2, 7), (1, 1)])
def test_convolution_of_a_small_map_as_a_product_gives_the_same_result_and_gradients(stride, side, monkeypatch):
    monkeypatch.setattr(small_map_conv, "FEWEST_CHANNELS", 8)
    plain = torch.nn.Conv2d(6, 8, 3, stride, 1)
    other = torch.nn.Sequential(torch.nn.Conv2d(6, 8, 3, stride, 1), torch.nn.Conv2d(6, 8, 1))
    other[0].load_state_dict(plain.state_dict())
    use_small_map_convs(other)
    assert [type(layer) for layer in other] == [SmallMapConv, torch.nn.Conv2d]
    images, results = torch.randn(5, 6, side, side), []
    for layer in (plain, other[0]):
        image = images.clone().requires_grad_()
        answer = layer(image)
        (answer**2).sum().backward()
        results.append((answer, image.grad, layer.weight.grad, layer.bias.grad))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_imagenet_weights_of_resnet18_come_with_the_project(monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *args, **kwargs: pytest.fail("something was fetched"))
    state = create_model("resnet18", "imagenet").backbone.state_dict()
    shipped = load_file(bundled_model("resnet18_imagenet.safetensors"))
    assert all(torch.equal(state[name].half(), shipped[name].half()) for name in shipped if name != "conv1.weight")


def test_training_starts_from_the_released_detector_or_from_any_other(checkpoint):
    shipped = load_file(bundled_model(RELEASED_DETECTOR))
    state = create_model("resnet18", "released").state_dict()
    differing = {name for name in shipped if not torch.equal(state[name].half(), shipped[name].half())}
    assert not differing and {"backbone.layer4.1.conv2.weight", "backbone.fc.bias"} <= set(shipped)
    own, started = load_file(checkpoint), create_model("resnet10t", str(checkpoint)).state_dict()
    assert torch.equal(started["backbone.conv1.0.weight"], own["backbone.conv1.0.weight"])
    with pytest.raises(ModelError, match="not a resnet10t"):
        create_model("resnet10t", "released")


def test_training_that_starts_from_a_detector_takes_its_patch_head_too(tmp_path):
    detector = create_model("resnet10t", patch_head=True)
    save_detector(tmp_path / "start.safetensors", detector, make_config())
    started = create_model("resnet10t", str(tmp_path / "start.safetensors"), patch_head=True)
    crops = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(started.eval()(crops), detector.eval()(crops))


def test_damaged_imagenet_weights_are_refused(monkeypatch):
    monkeypatch.setitem(SHA256, "resnet18_imagenet.safetensors", "0" * 64)
    with pytest.raises(ModelError, match="git checkout"):
        create_model("resnet18", "imagenet")


def test_training_that_starts_from_a_detector_without_a_patch_head_begins_with_its_logits(tmp_path):
    detector = create_model("resnet10t").eval()
    save_detector(tmp_path / "start.safetensors", detector, make_config())
    started = create_model("resnet10t", str(tmp_path / "start.safetensors"), patch_head=True).eval()
    crops = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(started(crops), detector(crops))
