"""The pretended GPU refuses what CUDA refuses, and computes what the processor computes."""

import pytest
import torch
from fake_gpu import GPU, FakeGpu, OnGpu, needs_no_gpu

pytestmark = needs_no_gpu
DEVICE = r"expected all tensors on the same device"


@pytest.fixture
def gpu():
    with FakeGpu() as gpu:
        yield gpu


def here(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


def there(*shape):
    return here(*shape).to(GPU)


WRONG = {
    "sum": (lambda: there(3) + here(3), DEVICE),
    "join": (lambda: torch.cat([there(2), here(2)]), DEVICE),
    "product": (lambda: here(2, 2) @ there(2, 2), DEVICE),
    "from numpy": (lambda: torch.from_numpy(here(3).numpy()) * there(3), DEVICE),
    "written to": (lambda: torch.zeros(()).add_(there(1)[0]), DEVICE),
    "a number is no matrix": (lambda: torch.cat([there(2), torch.zeros(())[None]]), DEVICE),
    "gradient": (lambda: here(2).requires_grad_().mul(there(2)).sum().backward(), DEVICE),
    "index": (lambda: here(3)[there(2).long()], "indices on"),
    "mask": (lambda: here(3)[there(3) > 1], "indices on"),
    "assigned": (lambda: there(3).index_put_((torch.tensor([0, 1]),), here(2)), DEVICE),
    "picked": (lambda: there(3).gather(0, torch.tensor([0])), DEVICE),
    "array": (lambda: there(3).numpy(), "numpy"),
    "draw": (lambda: torch.rand(3, device=GPU, generator=torch.Generator()), "generator"),
    "drawn into": (lambda: there(3).uniform_(generator=torch.Generator()), "generator"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.usefixtures("gpu")
def test_what_cuda_refuses(case):
    function, message = WRONG[case]
    with pytest.raises(RuntimeError, match=message):
        function()


UNDETERMINED = {
    "histc": lambda x: x.histc(),
    "weighed counts": lambda x: torch.bincount(x.long(), weights=x),
    "median with its place": lambda x: x.median(0),
    "put": lambda x: x.put_(torch.zeros(1, device=GPU).long(), torch.ones(1, device=GPU)),
    "mirrored": lambda x: torch.nn.functional.pad(
        x.view(1, 1, 2, 2).requires_grad_(), (1, 1, 1, 1), mode="reflect"
    ).sum().backward(),
    "pooling": lambda x: torch.nn.functional.adaptive_avg_pool2d(
        x.view(1, 1, 2, 2).requires_grad_(), (3, 1)
    ).sum().backward(),
}  # fmt: skip


@pytest.fixture
def determinism():
    """Leave torch's setting as it was: a test before may have run a job, which sets it."""
    before = torch.are_deterministic_algorithms_enabled()
    yield torch.use_deterministic_algorithms
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("case", UNDETERMINED)
def test_what_has_no_deterministic_form_is_refused_if_one_is_asked_for(case, determinism):
    determinism(False)
    with FakeGpu():
        UNDETERMINED[case](there(4))
    determinism(True)
    with pytest.raises(RuntimeError, match="no deterministic form"), FakeGpu():
        UNDETERMINED[case](there(4))
    with FakeGpu():
        torch.bincount(there(3).long(), minlength=5)  # Counts of whole numbers have one.
        there(4).median()


def test_values_and_gradients_are_those_of_the_processor(gpu):
    weight, x = there(3, 2).requires_grad_(), torch.ones(4, 3, device=GPU)
    loss = (x @ weight).square().sum() * torch.tensor(0.5)  # One number may be on either side.
    loss.backward()
    optimiser = torch.optim.Adam([weight], lr=0.25, fused=True)
    optimiser.step()
    assert isinstance(weight.grad, OnGpu)
    assert weight.grad.device == loss.device == torch.device(GPU)
    # Columns sum to 6 and 9; the gradient is 4 times that, Adam's first step the learning rate.
    assert loss.item() == 4 * (36 + 81) / 2
    assert weight.grad.tolist() == [[24.0, 36.0]] * 3
    torch.testing.assert_close(weight.detach().cpu(), here(3, 2) - 0.25)
    picked = there(5)[torch.tensor([1, 3])]  # Indices may be on the processor.
    picked[picked > 2] = torch.tensor(7.0)
    assert picked.tolist() == [1.0, 7.0]
    target = torch.zeros(2)
    target.copy_(picked)
    assert target.tolist() == [1.0, 7.0]
    assert {"mm", "_fused_adam_", "index"} <= gpu.used


def test_nothing_leaves_it():
    with FakeGpu():
        x = there(2)
    with pytest.raises(RuntimeError, match="has left"):
        x + 1
