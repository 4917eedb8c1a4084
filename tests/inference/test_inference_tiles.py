import pytest
import torch
from monai.inferers.utils import sliding_window_inference

from umanet.inference.tiles import half_on_cuda, mirrored, run_in_tiles

CPU = torch.device("cpu")


def both_signs(tile):
    """A network without context: tiles must not be visible."""
    return torch.cat([tile, -2 * tile], 1)


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((20, 30), (8, 8)), ((8, 8), (8, 8)), ((5, 30), (8, 12)), ((3, 3), (8, 8)), ((9, 14, 6), (4, 6, 8))],
    ids=str,
)
def test_a_pointwise_network_gives_the_same_in_tiles_as_in_one_piece(shape, patch):
    image = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    found = run_in_tiles(both_signs, image, patch, CPU)
    torch.testing.assert_close(found, both_signs(image), rtol=1e-5, atol=1e-6)


def test_an_image_of_the_size_of_the_patch_passes_in_one_piece():
    seen = []

    def network(tile):
        seen.append(tuple(tile.shape))
        return tile

    run_in_tiles(network, torch.zeros(1, 2, 8, 8), (8, 8), CPU)
    assert seen == [(1, 2, 8, 8)]


@pytest.mark.parametrize("side", [40, 160])
def test_what_the_network_holds_does_not_grow_with_the_image(side):
    seen = []

    def network(tile):
        seen.append(tile.numel())
        return tile

    run_in_tiles(network, torch.zeros(1, 1, side, 16), (16, 16), CPU)
    assert max(seen) <= 4 * 16 * 16
    assert len(seen) >= side / 16 / 4


def test_the_middle_of_a_tile_counts_more_than_its_edge():
    def distance_to_edge(tile):
        ramp = torch.arange(8.0)
        return torch.minimum(ramp, 7 - ramp).view(1, 1, 1, 8).expand(len(tile), 1, 8, 8).contiguous()

    found = run_in_tiles(distance_to_edge, torch.zeros(1, 1, 8, 24), (8, 8), CPU)
    plain_mean = 1.5  # of two tiles that overlap by half: d and 3 - d
    assert found[0, 0, 4, 6] > plain_mean


@pytest.mark.parametrize("capable", [True, False])
def test_auto_is_bfloat16_where_the_device_has_it(capable, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: capable)
    assert half_on_cuda("auto") is (torch.bfloat16 if capable else torch.float16)
    assert [half_on_cuda(wanted) for wanted in ("32", "bf16", "16")] == [None, torch.bfloat16, torch.float16]


def convolution(device):
    """With the type of what it gives, before that is made float32."""
    layer = torch.nn.Conv2d(1, 2, 3, padding=1).to(device)
    seen = []

    def network(tile):
        seen.append(layer(tile))
        return seen[-1]

    return network, seen


@pytest.mark.parametrize("precision", ["auto", "bf16", "16"])
def test_on_a_cpu_everything_is_float32(precision):
    network, seen = convolution(CPU)
    run_in_tiles(network, torch.rand(1, 1, 8, 20), (8, 8), CPU, precision)
    assert {found.dtype for found in seen} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(8, 8), (8, 20)], ids=["in one piece", "in tiles"])
@pytest.mark.parametrize("precision", ["auto", "bf16", "16", "32"])
def test_on_a_cuda_device_tiles_are_computed_as_in_training_and_given_as_float32(precision, shape):
    cuda = torch.device("cuda")
    network, seen = convolution(cuda)
    image = torch.rand(1, 1, *shape)
    found = run_in_tiles(network, image, (8, 8), cuda, precision)
    assert {tile.dtype for tile in seen} == {half_on_cuda(precision) or torch.float32}
    assert (found.dtype, found.device) == (torch.float32, CPU)
    torch.testing.assert_close(found, run_in_tiles(network, image, (8, 8), cuda), rtol=2e-2, atol=2e-2)


def test_a_mirrored_network_is_the_mean_over_all_mirror_images():
    weight = torch.arange(24.0).view(1, 1, 4, 6)

    def network(tile):
        return tile * weight

    tile = torch.rand(2, 1, 4, 6)
    flips = [[2], [3], [2, 3]]
    expected = (network(tile) + sum(network(tile.flip(axes)).flip(axes) for axes in flips)) / 4
    torch.testing.assert_close(mirrored(network, (0, 1))(tile), expected)
    assert mirrored(network, ()) is network


@pytest.mark.parametrize(
    ("shape", "patch"), [((20, 31), (8, 6)), ((5, 30), (8, 12)), ((9, 14, 7), (4, 6, 8)), ((7, 9), (1, 5))], ids=str
)
def test_tiles_are_blended_as_by_the_sliding_window_of_monai(shape, patch):
    image = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    network = (torch.nn.Conv2d if len(shape) == 2 else torch.nn.Conv3d)(2, 3, 3, padding=1)
    with torch.no_grad():
        expected = sliding_window_inference(image, patch, 4, network, overlap=0.5, mode="gaussian")
    torch.testing.assert_close(run_in_tiles(network, image, patch, CPU), expected, rtol=1e-5, atol=1e-5)
