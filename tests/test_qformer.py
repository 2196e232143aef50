"""The Q-Former: its text branch is BERT, masks hide what they should, captions look back only, caches change nothing."""

import pytest
import torch

from models.bert import Bert, BertConfig
from models.qformer import QFormer, QFormerConfig

SIZES = {
    "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40, "max_position_embeddings": 30,
}  # fmt: skip


@pytest.fixture
def model() -> QFormer:
    torch.manual_seed(0)
    return QFormer(QFormerConfig(vocab_size=50, num_queries=5, cross_width=16, **SIZES)).eval()


def text(length: int = 7, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 49, (batch, length), generator=generator), torch.ones(batch, length, dtype=torch.bool)


def context(length: int = 6, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, length, 16, generator=generator), torch.ones(batch, length, dtype=torch.bool)


def test_text_branch_with_a_backbone_is_hugging_faces_bert(tmp_path):
    transformers = pytest.importorskip("transformers")
    from models.bert import load_bert

    torch.manual_seed(0)
    oracle = transformers.BertModel(transformers.BertConfig(vocab_size=49, **SIZES), add_pooling_layer=False).eval()
    oracle.save_pretrained(tmp_path)
    model = QFormer(QFormerConfig(vocab_size=50, num_queries=5, cross_width=16, **SIZES)).eval()
    model.init_backbone_(load_bert(tmp_path))
    ids, valid = text()
    valid[1, 4:] = False
    expected = oracle(input_ids=ids, attention_mask=valid.long()).last_hidden_state
    assert torch.allclose(model.text(ids, valid)[valid], expected[valid], atol=1e-5)


def test_a_backbone_gives_text_and_queries_the_same_feed_forward(model):
    torch.manual_seed(3)
    bert = Bert(BertConfig(vocab_size=49, **SIZES)).eval()
    model.init_backbone_(bert)
    ids, valid = text()
    assert torch.allclose(model.text(ids, valid), bert(ids, valid), atol=1e-5)
    for layer in model.layers:
        assert torch.equal(layer.query.ff1.weight, layer.text.ff1.weight)
    assert torch.equal(model.words.weight[-1], bert.words.weight.mean(0))


@pytest.mark.parametrize("changed", [{"hidden_size": 32}, {"num_hidden_layers": 2}, {"vocab_size": 50}])
def test_a_backbone_of_other_sizes_is_refused(model, changed):
    with pytest.raises(ValueError, match=next(iter(changed)) if "vocab_size" not in changed else "words"):
        model.init_backbone_(Bert(BertConfig(**{"vocab_size": 49, **SIZES, **changed})))


def test_queries_look_at_the_context_in_every_second_layer_only(model):
    assert [layer.cross is not None for layer in model.layers] == [True, False, True]


def test_padding_changes_nothing(model):
    (ids, text_valid), (keys, key_valid) = text(), context()
    longer_ids, longer_text = torch.cat((ids, ids), 1), torch.cat((text_valid, ~text_valid), 1)
    longer_keys, longer_valid = torch.cat((keys, 9 * keys), 1), torch.cat((key_valid, ~key_valid), 1)
    queries, caches = model.queries(keys, key_valid)
    assert torch.allclose(model.text(longer_ids, longer_text)[:, :7], model.text(ids, text_valid), atol=1e-5)
    assert torch.allclose(model.queries(longer_keys, longer_valid)[0], queries, atol=1e-5)
    together = model.both(longer_ids, longer_text, longer_keys, longer_valid)
    assert torch.allclose(together, model.both(ids, text_valid, keys, key_valid), atol=1e-5)
    assert torch.allclose(
        model.caption(longer_ids, longer_text, caches)[0][:, :7], model.caption(ids, text_valid, caches)[0], atol=1e-5
    )


def test_a_caption_looks_back_only(model):
    """The gradient of an output with regard to later words is 0, to itself and earlier words and the queries it is not."""
    (ids, valid), (keys, key_valid) = text(batch=1), context(batch=1)
    keys.requires_grad_()
    words = model.words(ids).detach().requires_grad_()
    model.words.forward = lambda _: words
    hidden = model.caption(ids, valid, model.queries(keys, key_valid)[1])[0]
    hidden[0, 3].sum().backward()
    reach = words.grad[0].abs().sum(-1)
    assert (reach[:4] > 0).all() and (reach[4:] == 0).all()
    assert keys.grad.abs().sum() > 0


def test_queries_do_not_see_text_but_both_sees_everything(model):
    (ids, valid), (keys, key_valid) = text(), context()
    other = ids.flip(1)
    together = model.both(ids, valid, keys, key_valid)
    assert together.shape == (len(ids), 5, 24)
    assert not torch.allclose(model.both(other, valid, keys, key_valid), together, atol=1e-3)


def test_the_output_of_the_first_word_alone_is_the_same(model):
    ids, valid = text()
    assert torch.allclose(model.text(ids, valid, wanted=1), model.text(ids, valid)[:, :1], atol=1e-6)


def test_captions_word_by_word_through_caches_equal_captions_at_once(model):
    (ids, valid), (keys, key_valid) = text(), context()
    _, caches = model.queries(keys, key_valid)
    at_once = model.caption(ids, valid, caches)[0]
    one_by_one = []
    for position in range(ids.shape[1]):
        hidden, caches = model.caption(ids[:, position : position + 1], valid[:, :1], caches)
        one_by_one.append(hidden)
    assert torch.allclose(torch.cat(one_by_one, dim=1), at_once, atol=1e-5)
