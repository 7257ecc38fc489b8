"""Chats are checked and rendered in one place, with one sentence for each mistake."""

import pytest
from tiny_models import make_tokenizer

import nbhelpers as nb
from nbhelpers.chats import check_chat, render_chat

CHAT = [{"role": "user", "content": "What is the end?"}]
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    + "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.mark.parametrize(
    "chat, error, message",
    [
        ("Hello", TypeError, "chat 3 must be a list of messages such as {'role': 'user', 'content': 'Hello'}, not 'H"),
        (["Hello"], TypeError, r"not \['Hello'\]"),
        (CHAT[0], TypeError, "must be a list of messages"),
        ([{"role": "user"}], TypeError, "must be a list of messages"),
        ([{"content": "Hello"}], TypeError, "must be a list of messages"),
        ([{"role": "user", "content": None}], TypeError, "must be a list of messages"),
        ([], ValueError, "chat 3 is a chat without messages: there is nothing to reply to"),
    ],
)
def test_what_is_no_chat_is_named(chat, error, message):
    with pytest.raises(error, match=message):
        check_chat(chat, "chat 3")


def test_a_chat_is_rendered_up_to_where_the_reply_begins(gpt2):
    tokenizer = make_tokenizer()
    lm = nb.wrap_model(gpt2.model, tokenizer, "chatty")
    with pytest.raises(ValueError, match="chat 3 is a chat, and the tokenizer of 'chatty' has no chat template"):
        render_chat(lm, CHAT, "chat 3")
    tokenizer.chat_template = TEMPLATE
    assert render_chat(lm, CHAT, "chat 3") == "user: What is the end?\nassistant:"
    tokenizer.chat_template = "{{ raise_exception('only robots') }}"
    with pytest.raises(ValueError, match="chat 3: the chat template of 'chatty' refuses it: only robots"):
        render_chat(lm, CHAT, "chat 3")
