"""Conversations as templates write them: every form of a call, and nothing left out silently."""

import json

import pytest
import tiny_models

from lens_sklearn import LLMEmbedder
from lens_sklearn._conversation_text import write_conversation
from lens_sklearn._messages import read_text

# As templates of Llama and GLM do: they read arguments as an object, and fail on JSON text.
ITEMS = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }} {{ m.content }}{% for call in m.tool_calls"
    " or [] %}{{ call.function.name }}{% for k, v in call.function.arguments | items %} {{ k }}"
    " {{ v }}{% endfor %}{% endfor %} {{ eos_token }}{% endfor %}"
)
# As Zephyr's does: of roles that it does not know it writes nothing.
KNOWN_ROLES = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}user {{ m.content }} "
    "{{ eos_token }}{% elif m.role == 'assistant' %}assistant {{ m.content | trim }} "
    "{{ eos_token }}{% endif %}{% endfor %}"
)


def call(arguments):
    return {"type": "function", "function": {"name": "saw", "arguments": arguments}}


def assistant(content, **fields):
    return {"role": "assistant", "content": content, **fields}


def user(content):
    return {"role": "user", "content": content}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    templates = {"items": ITEMS, "known": KNOWN_ROLES}
    return {
        name: tiny_models.save_decoder(folder / name, chat_template=template)
        for name, template in templates.items()
    }


def test_arguments_as_json_text_are_read_by_a_template_of_objects(models):
    rows = [
        {"prompt": [user("why")], "chosen": [assistant(None, tool_calls=[call(arguments)])]}
        | {"rejected": [assistant("no")]}
        for arguments in ({"the": "cat"}, '{"the": "cat"}')
    ]
    object_, text = LLMEmbedder(models["items"]).fit_transform(rows)
    assert (object_ == text).all()
    assert (object_[0] != object_[1]).any()


def test_arguments_that_no_form_writes_name_the_row(models):
    wrong = [assistant("yes", tool_calls=[call("not JSON")])]
    rows = [{"prompt": "why", "chosen": "yes", "rejected": "no"}]
    rows.append({"prompt": "why", "chosen": "yes", "rejected": wrong})
    message = r"row 1, column 'rejected': the chat template refuses .* item pairs"
    with pytest.raises(ValueError, match=message):
        LLMEmbedder(models["items"]).fit_transform(rows)


def test_a_template_of_null_contents_gets_them():
    def apply(dicts):  # as DeepSeek's
        if dicts[0]["content"] is not None:
            return "<" + dicts[0]["content"] + ">"
        return "".join(c["function"]["name"] + c["function"]["arguments"] for c in calls_of(dicts))

    def calls_of(dicts):
        return [c for message in dicts for c in message["tool_calls"]]

    message = read_text([assistant(None, tool_calls=[call({"a": 1})])], "row 0")
    assert write_conversation(message, apply) == 'saw{"a": 1}'


def test_the_form_that_data_have_comes_first():
    seen = []
    message = read_text([assistant("", tool_calls=[call('{"a": 1}')])], "row 0")
    text = write_conversation(message, lambda dicts: seen.append(dicts) or json.dumps(dicts))
    assert len(seen) == 1
    assert json.loads(text) == [assistant("", tool_calls=[call('{"a": 1}')])]


@pytest.mark.parametrize("role", ["system", "tool", "developer"])
def test_a_message_that_the_template_leaves_out_is_refused(models, role):
    prompt = [{"role": role, "content": "the cat sat"}, user("why")]
    rows = [{"prompt": prompt, "chosen": "yes", "rejected": "no"}]
    message = (
        f"row 0, column 'chosen', message 0: the chat template leaves out what the role {role!r}"
    )
    with pytest.raises(ValueError, match=message):
        LLMEmbedder(models["known"]).fit_transform(rows)
    # Who gives a template of their own has chosen so.
    X = LLMEmbedder(models["known"], chat_template=KNOWN_ROLES + " ").fit_transform(rows)
    assert X.shape == (1, 2, X.shape[2])


def test_what_a_template_trims_or_has_nothing_of_is_written(models):
    prompt = [{"role": "system", "content": ""}, user("why")]
    row = {"prompt": prompt, "chosen": [assistant("  yes \n")], "rejected": "no"}
    assert LLMEmbedder(models["known"]).fit_transform([row]).shape[0] == 1


def test_an_earlier_call_is_written_or_refused(models):
    prompt = [user("why"), assistant("", tool_calls=[call({"the": "cat"})])]
    prompt.append({"role": "tool", "content": "a dog", "tool_call_id": "1"})
    rows = [{"prompt": prompt, "chosen": "yes", "rejected": "no"}]
    assert LLMEmbedder(models["items"]).fit_transform(rows).shape[0] == 1
    # The template names the field and writes nothing of it.
    silent = ITEMS.replace("m.tool_calls", "m.tool_calls and []")
    with pytest.raises(
        ValueError, match="message 1: the chat template does not write .*tool_calls"
    ):
        LLMEmbedder(models["items"], chat_template=silent).fit_transform(rows)


def test_reasoning_of_earlier_turns_may_be_left_out(models):
    template = (
        "{% for m in messages %}{{ m.role }} {{ m.content }}{% if loop.last %} "
        "{{ m.reasoning_content }}{% endif %} {{ eos_token }}{% endfor %}"
    )
    prompt = [user("why"), assistant("yes", reasoning_content="the cat"), user("how")]
    answers = [[assistant("no", reasoning_content=text)] for text in ("a cat", "a dog")]
    rows = [{"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}]
    chosen, rejected = LLMEmbedder(models["items"], chat_template=template).fit_transform(rows)[0]
    assert (chosen != rejected).any()
