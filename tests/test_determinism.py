"""With deterministic algorithms on, PyTorch refuses some operations on a GPU. Training must have none of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deepfake_detector.training.losses import ClassifierWithLoss
from deepfake_detector.training.model import create_model
from deepfake_detector.training.temporal_heads import create_temporal_head

# What torch.use_deterministic_algorithms refuses on CUDA or MPS, by the operations that its documentation names
# (PyTorch 2.15), as the dispatcher calls them. Backward operations are refused where only differentiating is.
REFUSED = {
    "aten.median.dim", "aten.nanmedian.dim", "aten.kthvalue", "aten.histc", "aten.bincount", "aten.put_", "aten.put",
    "aten.scatter_reduce", "aten.scatter_reduce_", "aten.index_reduce", "aten.index_reduce_",
    "aten._adaptive_avg_pool2d_backward", "aten._adaptive_avg_pool3d_backward", "aten.adaptive_max_pool2d_backward",
    "aten.avg_pool3d_backward", "aten.fractional_max_pool2d_backward", "aten.fractional_max_pool3d_backward",
    "aten.max_unpool2d", "aten.max_unpool3d", "aten.grid_sampler_2d_backward", "aten.grid_sampler_3d_backward",
    "aten.upsample_linear1d_backward", "aten.upsample_bilinear2d_backward", "aten._upsample_bilinear2d_aa_backward",
    "aten.upsample_bicubic2d_backward", "aten._upsample_bicubic2d_aa_backward", "aten.upsample_trilinear3d_backward",
    "aten.reflection_pad1d_backward", "aten.reflection_pad2d_backward", "aten.reflection_pad3d_backward",
    "aten.nll_loss_forward", "aten.nll_loss2d_forward", "aten._ctc_loss_backward",
    "aten._embedding_bag_per_sample_weights_backward",
}  # fmt: skip


class Dispatched(TorchDispatchMode):
    """Collects the names of all operations that PyTorch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names |= {str(func), str(func.overloadpacket)}
        return func(*args, **(kwargs or {}))


@contextmanager
def none_refused() -> Iterator[set[str]]:
    with Dispatched() as mode:
        yield mode.names
    assert not mode.names & REFUSED


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0", "mobilenetv2_100"])
def test_training_step_has_no_operation_that_a_gpu_refuses(backbone):
    learner = ClassifierWithLoss(create_model(backbone, patch_head=True), 0.5, 1.0).train()
    optimizer = torch.optim.AdamW(learner.parameters(), fused=True)
    crops = torch.randint(0, 255, (4, 3, 96, 96), dtype=torch.uint8)
    with none_refused() as seen:
        learner(crops, torch.tensor([1.0, 0.0] * 2), torch.ones(4, dtype=torch.bool))[0].backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
    assert {"aten.convolution_backward", "aten._fused_adamw_"} <= seen  # the backward pass is looked at, too


@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_temporal_head_has_no_operation_that_a_gpu_refuses(kind):
    head = create_temporal_head(kind, 512)
    with none_refused():
        head(torch.randn(2, 16, 512)).sum().backward()


@pytest.mark.parametrize("temporal", ["mean", "gru", "attention"])
def test_scoring_has_no_operation_that_a_gpu_refuses(temporal):
    model = create_model("resnet18", patch_head=True).eval()
    if temporal != "mean":
        model.temporal = create_temporal_head(temporal, 512).eval()
    with torch.no_grad(), none_refused():
        model(torch.randint(0, 255, (4, 3, 96, 96), dtype=torch.uint8))
