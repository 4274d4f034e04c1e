"""One token that counts as many is many equal ones."""

import torch

from testbed.flow.transformer import JOINT, CountedTokens, new_transformer
from testbed.text import WIDTH


def test_a_counted_token_is_that_many_equal_ones() -> None:
    torch.manual_seed(0)
    transformer = new_transformer().eval()
    for weight in transformer.parameters():
        torch.nn.init.normal_(weight, std=0.1)  # else the last layer gives zero
    sample, pooled, s = torch.randn(2, 4, 16, 16), torch.randn(2, 2 * WIDTH), torch.tensor([100.0, 900.0])
    text = torch.randn(2, 16, JOINT)
    whole = torch.cat([text, torch.zeros(2, 30, JOINT)], dim=1)
    with torch.no_grad():
        expected = transformer(sample, whole, pooled, s).sample
        once = transformer(sample, whole[:, :17], pooled, s).sample
        transformer.set_attn_processor(CountedTokens(30))
        found = transformer(sample, whole[:, :17], pooled, s).sample
    # Rounding of float32; a token that counts once is far off.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert (once - expected).norm() > 0.01 * expected.norm()
