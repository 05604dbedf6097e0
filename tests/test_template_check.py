"""Chat templates that a file brings along."""

import pytest

from lens_sklearn._template_check import check_template

PLAIN = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}\n{% endfor %}"
TOOLS = """
{%- macro show(value) %}{{ value | tojson }}{% endmacro -%}
{%- macro line(value) %}- {{ show(value) }}{% endmacro -%}
{%- set ns = namespace(last=messages|length - 1, text='') -%}
{%- for message in messages[::-1] -%}
{%- set index = (messages|length - 1) - loop.index0 -%}
{%- if (message.role == 'user') != (index % 2 == 0) -%}{%- set ns.last = index -%}{%- endif -%}
{%- for call in message.tool_calls -%}
{%- for name, value in call.arguments.items() -%}
{%- if value is none -%}{%- continue -%}{%- endif -%}
{%- set ns.text = ns.text ~ name ~ ' ' ~ line(value) -%}
{%- endfor -%}{%- endfor -%}
{% generation %}{{ message.content }}{%- endgeneration -%}
{%- endfor -%}
{{ strftime_now('%d %b %Y') }}{% for i in range(3) %}!{% endfor %}
"""


@pytest.mark.parametrize("template", ["", "plain text", PLAIN, TOOLS, "é" * 65_536])
def test_templates_of_models_pass(template):
    check_template(template)


@pytest.mark.parametrize(
    "template, message",
    [
        ("{{ 'a' * 9 }}", "multiplies"),
        ("{% set x = 9 ** 9 %}", "multiplies"),
        ("{{ 'a' | center(10001) }}", "has a number beyond 10000"),
        ("{% for i in range(100000) %}a{% endfor %}", "has a number beyond 10000"),
        ("{{ '%1000000000d' % 1 }}", "has a number beyond 10000"),
        ("{{ '{:1000000000}'.format(1) }}", "has a number beyond 10000"),
        ("{% set a = a ~ a %}", "joins a text with itself"),
        ("{% set ns.a = ns.a + ns.a %}", "joins a text with itself"),
        (
            "{% for i in messages %}{% for j in range(9999) %}a{% endfor %}{% endfor %}",
            "has a loop over a range within another loop",
        ),
        ("{% for i in m %}" * 5 + "{% endfor %}" * 5, "has more than 4 loops"),
        ("{% for i in m recursive %}{{ loop(m) }}{% endfor %}", "has more than 4 loops"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}", "'f' that calls itself or a later"),
        (
            "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}",
            "'f' that calls itself or a later",
        ),
    ],
)
def test_bombs_are_refused(template, message):
    with pytest.raises(ValueError, match=f"chat_template .*{message}.*, which can take memory"):
        check_template(template)


@pytest.mark.parametrize("template", ["{% for", "{{ a", "{% unknown %}", "{{ " + "(" * 30_000])
def test_what_is_no_template(template):
    with pytest.raises(ValueError, match="chat_template is no Jinja template"):
        check_template(template)


def test_a_long_text():
    with pytest.raises(ValueError, match="has 65537 characters, more than 65536"):
        check_template("a" * 65_537)
