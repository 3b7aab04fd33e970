"""What is read from a CSV file: columns, rows, physical lines, and what is wrong with them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.cli.people import Count, People, Row, Unusable, columns_of, slug

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=8)


@pytest.fixture
def people(tmp_path):
    def make(content, **options):
        path = tmp_path / "people.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return People(path, **options)

    return make


def read(people, **options):
    count = Count()
    rows = list(people.rows(count, **options))
    count.check()
    return count, [r for r in rows if isinstance(r, Row)], [r for r in rows if isinstance(r, Unusable)]


class TestColumns:
    @pytest.mark.parametrize("header", ["email", "E-Mail", "Email Address", "EMAIL_ADDRESS", "Mail", "Customer Email"])
    def test_the_address_is_found_by_its_header(self, people, header):
        columns = people(f"City,{header},Name\nX,a@example.com,Ada\n").columns

        assert (columns.email, columns.name, columns.variables) == (1, 2, {0: "city"})

    def test_an_exact_name_wins(self, people):
        columns = people("Billing Email,Email,Full Name\n").columns

        assert (columns.email, columns.name, columns.variables) == (1, 2, {0: "billing_email"})

    def test_several_that_could_be_it_ask_to_choose(self, people):
        with pytest.raises(errors.ConfigurationError, match="Billing Email, Work Email"):
            people("Billing Email,Work Email\n")

    def test_none_that_could_be_it_lists_what_there_is(self, people):
        with pytest.raises(errors.ConfigurationError, match="City, Name"):
            people("City,Name\n")

    def test_a_file_without_a_header_is_told(self, people):
        with pytest.raises(errors.ConfigurationError, match="first line holds an address"):
            people("a@example.com,Ada\n")

    def test_columns_can_be_mapped(self, people):
        mapping = {"email": "Contact", "name": "who", "key": "Number", "town": "City"}
        found = people("Number,Contact,Who,City\n7,a@example.com,Ada,Bonn\n", mapping=mapping)
        _, (row,), _ = read(found)

        assert (row.recipient.email, row.recipient.name, row.recipient.key) == ("a@example.com", "Ada", "7")
        assert row.recipient.variables == {"town": "Bonn", "name": "Ada"}

    def test_a_mapped_column_that_is_not_there_lists_what_there_is(self, people):
        with pytest.raises(errors.ConfigurationError, match=r"'Contact'.*Number, Mail"):
            people("Number,Mail\n", mapping={"email": "Contact"})

    def test_names_are_slugs_and_each_stands_for_one_column(self):
        headers = ["Email", "Lifetime Value", "lifetime-value", "2nd Name", "Stra\u00dfe", "Pr\u00e9nom"]
        headers += ["\u540d\u524d", "", "EMAIL 2"]
        columns = columns_of(headers, {"email": "Email"})

        assert list(columns.variables.values()) == [
            "lifetime_value",
            "lifetime_value_2",
            "_2nd_name",
            "strae",
            "prenom",
            "column_7",
            "column_8",
            "email_2",
        ]

    @given(st.text())
    def test_a_slug_can_stand_in_a_text(self, header):
        name = slug(header)

        assert name == "" or (name.isascii() and name.isidentifier() and name == name.lower())


class TestRows:
    def test_byte_order_mark_crlf_padding_and_blank_rows(self, people):
        content = "\ufeffEmail,Name,City\r\n  a@example.com ,Ada, Bonn \r\n\r\n,,\r\n \r\nb@EXAMPLE.com,Bob,\r\n"
        count, rows, bad = read(people(content))

        assert (count.rows, count.blank, count.unusable, count.recipients) == (5, 3, 0, 2)
        assert [(row.line, row.recipient.email) for row in rows] == [(2, "a@example.com"), (6, "b@EXAMPLE.com")]
        assert rows[0].recipient.variables == {"city": "Bonn", "name": "Ada"}
        assert bad == []

    def test_lines_are_those_of_the_file_also_after_rows_that_span_several(self, people):
        content = 'Email,Note\n\na@example.com,"one\ntwo\r\nthree"\nbad,x\n"b@example.com\nBcc: c@example.com",y\nz@,\n'
        _, rows, bad = read(people(content))

        assert [row.line for row in rows] == [3]
        assert [(row.line, row.last_line) for row in bad] == [(6, 6), (7, 8), (9, 9)]
        assert [row.lines for row in bad] == ["line 6", "lines 7-8", "line 9"]
        assert "line breaks" in bad[1].reason

    def test_a_row_with_too_many_cells_is_unusable_and_a_short_one_lacks_them(self, people):
        content = "Email,City,Country\na@example.com,Bonn,DE,extra\nb@example.com,Bonn,DE,,\nc@example.com,Bonn\n"
        _, rows, (bad,) = read(people(content))

        assert bad.line == 2
        assert "4 cells" in bad.reason
        assert [row.recipient.variables for row in rows] == [{"city": "Bonn", "country": "DE"}, {"city": "Bonn"}]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_the_delimiter_is_found(self, people, delimiter):
        content = delimiter.join(["Email", "Name", "City"]) + "\n" + delimiter.join(["a@example.com", "Ada", "Bonn"])
        _, (row,), _ = read(people(content))

        assert row.recipient.name == "Ada"

    def test_the_delimiter_can_be_told(self, people):
        _, (row,), _ = read(people("Email#a,b,c\na@example.com#1,2,3\n", delimiter="#"))

        assert row.recipient.variables == {"a_b_c": "1,2,3"}

    def test_only_the_first_usable_ones(self, people):
        content = "email\nbad\na@example.com\nb@example.com\nc@example.com\n"
        count, rows, bad = read(people(content), limit=2)

        assert (len(rows), len(bad), count.rows) == (2, 1, 3)

    def test_reading_again_starts_again(self, people):
        found = people("email\na@example.com\n")

        assert read(found) == read(found)

    @given(st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=20))
    def test_every_row_is_accounted_for_whatever_stands_in_it(self, tmp_path_factory, cells):
        """Judged by counting line breaks in what was written."""
        path = tmp_path_factory.mktemp("csv") / "people.csv"
        out = io.StringIO()
        csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["email", "name", "city"], *cells])
        path.write_text(out.getvalue(), encoding="utf-8", newline="")
        count, rows, bad = read(People(path))

        assert count.rows == len(cells)
        line, starts = 2, []
        for row in cells:
            starts.append(line)
            line += 1 + sum(cell.count("\n") for cell in row)
        told = sorted([row.line for row in rows] + [row.line for row in bad])
        assert set(told) <= set(starts)
        assert len(told) == len(cells) - count.blank


class TestWhatCannotBeRead:
    def fails(self, people, content, words, **options):
        with pytest.raises(errors.ConfigurationError) as caught:
            read(people(content, **options))
        for word in words:
            assert word in str(caught.value)

    def test_no_file_a_folder_or_nothing_in_it(self, people, tmp_path):
        with pytest.raises(errors.ConfigurationError, match="no such file"):
            People(tmp_path / "nothing.csv")
        with pytest.raises(errors.ConfigurationError, match="not a file"):
            People(tmp_path)
        for content in ("", "\n\n", "\ufeff"):
            self.fails(people, content, ["empty"])

    def test_another_encoding_names_the_line_and_the_way_out(self, people):
        rows = "".join(f"a{number}@example.com,Bonn\n" for number in range(2000))
        content = b"email,city\n" + rows.encode() + "b@example.com,K\u00f6ln\n".encode("cp1252")
        self.fails(people, content, ["line 2002", "0xf6", "--encoding"])

        count, _, _ = read(people(content, encoding="cp1252"))
        assert count.recipients == 2001

    def test_utf_16_as_spreadsheets_save_it(self, people):
        content = "email,city\na@example.com,K\u00f6ln\n".encode("utf-16")
        self.fails(people, content, ["--encoding"])
        self.fails(people, b"email\n", ["--encoding"], encoding="utf-16")

        assert read(people(content, encoding="utf-16"))[0].recipients == 1

    def test_an_unknown_encoding(self, people):
        self.fails(people, "email\n", ["--encoding", "bogus"], encoding="bogus")

    def test_a_quote_that_is_not_closed_swallows_nobody(self, people):
        few = 'email,city\na@example.com,Bonn\nb@example.com,"Bonn\nc@example.com,Bonn\n'
        self.fails(people, few, ["line 3", "quote"])
        self.fails(people, few + "d@example.com,Bonn\n" * 500, ["line 3", "quote"])

    def test_sloppy_quotes_are_read_as_they_stand(self, people):
        _, rows, _ = read(people('email,name\na@example.com,"Ada" Lovelace\n'))

        assert rows[0].recipient.name == "Ada Lovelace"
