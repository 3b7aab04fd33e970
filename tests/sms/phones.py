"""Makes `tests/data/phones.csv`: mobile numbers by the numbering plans of ten countries, as people write them.

    python tests/sms/phones.py > tests/data/phones.csv

Always the same file. The numbers are made up; some may be somebody's.
"""

import csv
import io
import random
import sys

SEED = 4
PER_COUNTRY, REPEATED, BAD = 500, 100, 100

NBSP = "\u00a0"

# Country code, beginnings of mobile numbers, digits in all after the country code, how people write it ("#" a digit).
PLANS = {
    "US": ("1", ("206", "212", "303", "305", "312", "404", "415", "512", "602", "617", "702", "718"), 10,
           ("+1 (###) ###-####", "+1-###-###-####", "+1.###.###.####", "+1##########")),
    "GB": ("44", ("74", "75", "77", "78", "79"), 10, ("+44 #### ######", "+44 #### ### ###", "+44##########")),
    "DE": ("49", ("151", "152", "157", "159", "160", "162", "170", "171", "175", "179"), 10,
           ("+49 ### #######", "+49 (###) ### ## ##", "+49-###-#######", "+49##########")),
    "FR": ("33", ("6", "73", "74", "75", "76", "77", "78"), 9,
           ("+33 # ## ## ## ##", "+33.#.##.##.##.##", "+33#########")),
    "ES": ("34", ("6", "71", "72", "73", "74"), 9, ("+34 ### ## ## ##", "+34 ### ### ###", "+34#########")),
    "IT": ("39", ("320", "328", "333", "335", "338", "340", "347", "349", "366", "389", "391"), 10,
           ("+39 ### ### ####", "+39 ### #######", "+39##########")),
    "BR": ("55", ("119", "219", "319", "419", "519", "619", "719", "819"), 11,
           ("+55 (##) #####-####", "+55 ## #####-####", "+55###########")),
    "IN": ("91", ("6", "7", "8", "9"), 10, ("+91 ##### #####", "+91-##########", "+91##########")),
    "AU": ("61", ("4",), 9, ("+61 ### ### ###", "+61 (#) ########", "+61#########")),
    "JP": ("81", ("70", "80", "90"), 10, ("+81 ##-####-####", "+81 ## #### ####", "+81##########")),
}  # fmt: skip

# What people write by mistake, from a good number.
MISTAKES = (
    lambda number: number[1:],
    lambda number: "00" + number[1:],
    lambda number: number[:-2] + "O" + number[-1],
    lambda number: number + " ext. 12",
    lambda number: number + " / " + number,
    lambda number: number + "0000000",
    lambda number: number[:6],
    lambda number: "+0" + number[1:],
    lambda number: "tel:" + number,
    lambda _: "n/a",
    lambda _: "",
    lambda number: number[:4] + "\u2013" + number[4:],
)


def rows():
    """Country, number as written, number in E.164 (`""` where it is none)."""
    choose = random.Random(SEED)
    found = []
    for country, (code, beginnings, length, styles) in PLANS.items():
        numbers = set()
        while len(numbers) < PER_COUNTRY:
            start = choose.choice(beginnings)
            # In North America the third block begins with 2 to 9 as well.
            rest = [choose.choice("23456789"), *choose.choices("0123456789", k=length - len(start) - 1)]
            numbers.add(start + "".join(rest))
        found += [(country, written(choose, code, number, styles), f"+{code}{number}") for number in sorted(numbers)]
    again = [(country, number, number) for country, _, number in choose.sample(found, REPEATED)]
    bad = [
        (country, mistake(number), "")
        for (country, _, number), mistake in zip(choose.sample(found, BAD), (MISTAKES * BAD)[:BAD], strict=True)
    ]
    found += again + bad
    choose.shuffle(found)
    return found


def written(choose, code, number, styles):
    """The number as somebody types it."""
    style = choose.choice(styles).removeprefix("+" + code)
    digits = iter(number)
    text = f"+{code}" + "".join(next(digits) if one == "#" else one for one in style)
    odd = choose.random()
    if odd < 0.05:
        return f" {text} "
    return text.replace(" ", NBSP) if odd < 0.1 else text


def table():
    """The file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("country", "phone", "e164"))
    writer.writerows(rows())
    return out.getvalue()


if __name__ == "__main__":
    sys.stdout.write(table())
