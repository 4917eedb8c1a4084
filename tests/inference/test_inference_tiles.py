import pytest
import torch

from umanet.inference.tiles import run_in_tiles

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
