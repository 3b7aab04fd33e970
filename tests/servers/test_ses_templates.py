"""Templates as the local SES renders them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.testing.servers._ses.handlebars import MissingError, TemplateError, render

DATA = {
    "name": "Ana",
    "contact": {"city": "Riga", "tags": ["a", "b"]},
    "items": [{"title": "Mat", "sizes": ["S", "M"]}, {"title": "Ball", "sizes": []}],
    "vip": True,
    "none": None,
    "no": False,
    "zero": 0,
    "empty": [],
    "price": 9.5,
    "html": "<b>&'\"",
    "url-1": "x",
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain } text {", "plain } text {"),
        ("Hi {{name}}, {{ name }}!", "Hi Ana, Ana!"),
        ("{{html}}|{{{html}}}|{{&html}}", "<b>&'\"|<b>&'\"|<b>&'\""),
        ("{{contact.city}} {{contact/city}} {{items.1.title}} {{url-1}}", "Riga Riga Ball x"),
        ("{{none}}|{{no}}|{{zero}}|{{price}}|{{contact.tags}}", "|false|0|9.5|a,b"),
        ("{{#if vip}}yes{{else}}no{{/if}}{{#if no}}yes{{else}}no{{/if}}", "yesno"),
        ("{{#if zero}}1{{/if}}{{#if empty}}2{{/if}}{{#if missing}}3{{/if}}{{#if none}}4{{/if}}.", "."),
        ("{{#unless vip}}a{{else}}b{{/unless}}{{#unless missing}}c{{/unless}}", "bc"),
        (
            "{{#each items}}{{@index}}{{title}}{{#if @first}}!{{/if}}{{#unless @last}}, {{/unless}}{{/each}}",
            "0Mat!, 1Ball",
        ),
        ("{{#each items}}{{#each sizes}}{{../title}}-{{this}} {{/each}}{{/each}}", "Mat-S Mat-M "),
        ("{{#each contact.tags}}{{.}}{{@root.name}}{{/each}}", "aAnabAna"),
        ("{{#each empty}}x{{else}}nothing{{/each}}{{#each missing}}x{{^}}none{{/each}}", "nothingnone"),
        ("{{#each contact}}{{@key}} {{/each}}", "city tags "),
        ("{{#with contact}}{{city}} {{../name}}{{/with}}", "Riga Ana"),
        ("a{{! a note }}b{{!-- {{name}} --}}c", "abc"),
        ("a  {{~name~}}  b", "aAnab"),
        ('{{#*inline "row"}}<{{name}}>{{/inline}}{{> row}}{{> row}}', "<Ana><Ana>"),
    ],
)
def test_a_template_is_rendered(template, expected):
    assert render(template, DATA) == expected


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{missing}}", "missing"),
        ("{{contact.street}}", "contact.street"),
        ("{{#each items}}{{name}}{{/each}}", "name"),
        ("{{#if vip}}{{{gone}}}{{/if}}", "gone"),
        ("{{> row}}", "row"),
        ("{{@index}}", "@index"),
    ],
)
def test_what_the_data_lacks_fails_the_rendering(template, name):
    with pytest.raises(MissingError, match=f"Attribute '{name}' is not present in the rendering data."):
        render(template, DATA)


def test_what_is_not_reached_may_be_missing():
    assert render("{{#if no}}{{missing}}{{/if}}ok", DATA) == "ok"


@pytest.mark.parametrize(
    "template",
    [
        *(
            "{{#if vip}}x",
            "{{/if}}",
            "{{#if vip}}x{{/each}}",
            "{{else}}",
            "{{#if a}}{{else}}{{else}}{{/if}}",
            "{{#if}}x{{/if}}",
        ),
        *("{{#loud a}}x{{/loud}}", "{{upper name}}", "{{}}", "{{a", "{{a}", "{{#if a b}}x{{/if}}"),
    ],
)
def test_a_template_that_is_not_one_is_refused(template):
    with pytest.raises(TemplateError):
        render(template, DATA)


@pytest.mark.parametrize(
    "template", ["{{#if a}}x{{/if}}", "{{else}}", "{{> a}}", "{{a.b}}", "{{@root}}", "{{../a}}", "{{&a}}"]
)
def test_simple_templates_know_names_only(template):
    with pytest.raises(TemplateError):
        render(template, {"a": "1"}, simple=True)
    assert render("{{a}} {{{a}}}{{! note}}", {"a": "1"}, simple=True) == "1 1"


@given(values=st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=20), max_size=5))
def test_values_are_never_read_as_templates(values):
    template = "".join(f"[{{{{{name}}}}}]" for name in values)
    assert render(template, values, simple=True) == "".join(f"[{value}]" for value in values.values())


@given(template=st.text('{}#/^!&>~.@ abif"-', max_size=40))
def test_any_text_is_rendered_or_refused(template):
    try:
        shown = render(template, {"a": "1", "b": {"a": "2"}})
    except (TemplateError, MissingError):
        return
    assert "{{a}}" not in shown
